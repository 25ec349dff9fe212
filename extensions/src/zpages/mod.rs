//! The `zpages` extension: what runs, for people who look at one collector.
//!
//! The pages stand where those of the Go collector do, so that bookmarks and checks of them work, and say what there is
//! to say here. They are plain: no scripts, nothing from elsewhere.

mod config;
mod html;

pub use config::{Config, Expvar, Own};

use crate::pages::PageServers;
use axum::Router;
use axum::response::{IntoResponse, Response};
use html::Page;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use millrace_engine::BoxFuture;
use millrace_engine::component::{
    BuildError, Context, Extension, ExtensionConfig, Factory, Shared, Stability,
};
use millrace_engine::status::{Event, Group};
use millrace_net::admin::Counted;
use std::sync::Arc;

/// The `zpages` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "zpages",
    aliases: &[],
    signals: &[],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::over::<Config>(config::DEFAULTS),
    plan: |node, path, diags| {
        Some(Box::new(millrace_config::decode_over::<Config>(config::DEFAULTS, node, path, diags)?))
    },
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(ZPages { config: self.clone(), context, pages: PageServers::default() }))
    }
}

struct ZPages {
    config: Config,
    context: Context,
    pages: PageServers,
}

impl Extension for ZPages {
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let Config { server, own } = &self.config;
            let (shared, has_expvar) = (self.context.shared.clone(), own.expvar.enabled);
            let router =
                Router::new().fallback(move |uri: Uri| async move { page(uri.path(), &shared, has_expvar) });
            self.pages.prepare("zpages", server, &self.context, router, Counted::Yes)
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            self.pages.begin();
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pages.stop())
    }
}

fn page(path: &str, shared: &Shared, has_expvar: bool) -> Response {
    let (content_type, body) = match path {
        "/debug/servicez" => ("text/html; charset=utf-8", service(shared)),
        "/debug/pipelinez" => ("text/html; charset=utf-8", pipelines(shared)),
        "/debug/extensionz" => ("text/html; charset=utf-8", extensions(shared)),
        "/debug/featurez" => ("text/html; charset=utf-8", features()),
        "/debug/tracez" => ("text/html; charset=utf-8", traces()),
        "/debug/expvarz" if has_expvar => ("application/json; charset=utf-8", numbers(shared)),
        _ => return (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    };
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

fn service(shared: &Shared) -> String {
    let health = &shared.health;
    let mut page = Page::new("Service millrace");
    page.table(
        "Build Info",
        &["property", "value"],
        [
            ["Command".to_owned(), "millrace".to_owned()],
            ["User agent".to_owned(), shared.user_agent.to_string()],
        ],
    );
    page.table(
        "Runtime Info",
        &["property", "value"],
        [
            ["State".to_owned(), format!("{:?}", health.state())],
            ["Uptime".to_owned(), format!("{:.0?}", health.started().elapsed())],
            ["Memory budget, intake".to_owned(), of(&shared.intake)],
            ["Memory budget, work".to_owned(), of(&shared.work)],
            ["Panics".to_owned(), shared.tasks.panics().to_string()],
        ],
    );
    let loaded = health.configuration();
    let age = |at: std::time::SystemTime| format!("{:.0?} ago", at.elapsed().unwrap_or_default());
    page.table(
        "Configuration",
        &["property", "value"],
        [
            ["Hash".to_owned(), loaded.hash],
            ["Loaded".to_owned(), loaded.since.map(age).unwrap_or_default()],
            ["Reloads".to_owned(), format!("{} succeeded, {} failed", loaded.replaced, loaded.failed)],
            [
                "Failed since".to_owned(),
                loaded.failure.map(|(at, why)| format!("{}: {why}", age(at))).unwrap_or_default(),
            ],
        ],
    );
    page.links(&[("pipelinez", "Pipelines"), ("extensionz", "Extensions"), ("featurez", "Features")]);
    page.finish()
}

fn of(budget: &millrace_engine::Budget) -> String {
    format!("{} of {} bytes", budget.used(), budget.limit())
}

fn pipelines(shared: &Shared) -> String {
    let mut page = Page::new("Pipelines");
    for group in shared.health.components().groups().iter() {
        if let Some(pipeline) = &group.pipeline {
            components(&mut page, &pipeline.to_string(), group, shared);
        }
    }
    page.finish()
}

fn extensions(shared: &Shared) -> String {
    let mut page = Page::new("Extensions");
    for group in shared.health.components().groups().iter().filter(|group| group.pipeline.is_none()) {
        components(&mut page, "Extensions", group, shared);
    }
    page.finish()
}

/// A table of components and how each is.
fn components(page: &mut Page, title: &str, group: &Group, shared: &Shared) {
    let rows = group.members.iter().map(|member| {
        let Event { condition, since, error, .. } = shared.health.components().status(member).event();
        let error = error.as_deref().unwrap_or_default().to_owned();
        [
            member.kind.to_owned(),
            member.id.to_string(),
            format!("{condition:?}"),
            format!("{:.0?}", since.elapsed()),
            error,
        ]
    });
    page.table(title, &["kind", "id", "status", "for", "error"], rows);
}

fn features() -> String {
    let mut page = Page::new("Feature Gates");
    page.text(
        "Feature gates are set on the command line: --feature-gates. `millrace featuregate` lists them.",
    );
    page.finish()
}

fn traces() -> String {
    let mut page = Page::new("Traces");
    page.text("This collector keeps no spans of its own work in memory. Its metrics say what it does.");
    page.finish()
}

fn numbers(shared: &Shared) -> String {
    let budget = |budget: &millrace_engine::Budget| serde_json::json!({"used": budget.used(), "limit": budget.limit(), "refused": budget.refused()});
    let numbers = serde_json::json!({
        "uptime_seconds": shared.health.started().elapsed().as_secs_f64(),
        "panics": shared.tasks.panics(),
        "budget": {"intake": budget(&shared.intake), "work": budget(&shared.work)},
    });
    numbers.to_string()
}

#[cfg(test)]
mod tests;
