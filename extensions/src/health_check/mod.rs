//! The `health_check` extension: tells probes whether the collector takes requests, and how each component is.
//!
//! It answers from a thread of its own, so busy workers do not make the process look dead. It listens before the
//! pipelines start and until they have stopped: a probe hears 503 in between, not a refused connection.

mod aggregate;
mod answer;
mod config;
mod grpc;
mod status_page;

pub use config::{Answers, CheckCollectorPipeline, ComponentHealth, Config, Page, Pages, ResponseBody, V2};

use crate::pages::PageServers;
use answer::Answer;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use grpc::{HealthService, Judge};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{StatusCode, Uri};
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, Health};
use millrace_net::admin::{AdminServer, Counted};
use millrace_net::measures::RpcServer;
use std::sync::Arc;

/// The `health_check` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "health_check",
    // The Go collector has two; what only the second can do, this one does when it is asked to.
    aliases: &["healthcheckv2"],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::over::<Config>(config::DEFAULTS),
    plan: |node, path, diags| {
        Some(Box::new(millrace_config::decode_over::<Config>(config::DEFAULTS, node, path, diags)?))
    },
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(HealthCheck { config: self.clone(), context, servers: PageServers::default() }))
    }
}

struct HealthCheck {
    config: Config,
    context: Context,
    servers: PageServers,
}

impl HealthCheck {
    fn listen(&self) -> Result<(), BuildError> {
        let Config { server, answers } = &self.config;
        let health = self.context.shared.health.clone();
        if !answers.is_v2() {
            // The Go collector counts requests to the second version only.
            let router = router(answers.clone(), health);
            return self.servers.prepare("health_check", server, &self.context, router, Counted::No);
        }
        let component_health = answers.component_health.as_option().cloned();
        if let Some(v2) = answers.http.as_option() {
            let router = router_v2(v2.clone(), component_health.clone(), health.clone());
            self.servers.prepare("health_check", &v2.server, &self.context, router, Counted::Yes)?;
        }
        if let Some(server) = answers.grpc.as_option() {
            let measures = RpcServer::new(&self.context, &server.endpoint);
            let service = HealthService::new(Judge { health, component_health }, measures);
            let running = AdminServer::grpc("health_grpc", server, &self.context, Arc::new(service))?;
            self.servers.keep("health_check", &server.endpoint, &self.context, running);
        }
        Ok(())
    }
}

impl Extension for HealthCheck {
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { self.listen() })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            self.servers.begin();
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.servers.stop())
    }
}

fn router(answers: Answers, health: Health) -> Router {
    let answers = Arc::new(answers);
    Router::new().fallback(move |uri: Uri| async move { respond(answers.to(uri.path(), &health)) })
}

fn router_v2(v2: V2, component_health: Option<ComponentHealth>, health: Health) -> Router {
    let shared = Arc::new((v2, component_health));
    Router::new().fallback(move |uri: Uri| async move {
        let (v2, component_health) = &*shared;
        let query = uri.query().unwrap_or_default();
        respond(status_page::answer(v2, component_health.as_ref(), uri.path(), query, &health))
    })
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("all of them are known");
    if let Some(content_type) = answer.content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    // A path that cannot be a header cannot have been asked for either.
    if let Some(location) = answer.location.and_then(|path| HeaderValue::try_from(path).ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests;
