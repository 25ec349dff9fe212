//! The `health_check` extension: tells probes whether the collector takes requests.
//!
//! It answers from a thread of its own, so busy workers do not make the process look dead. It listens before the
//! pipelines start and until they have stopped: a probe hears 503 in between, not a refused connection.

mod answer;
mod config;

pub use config::{Answers, CheckCollectorPipeline, Config, ResponseBody};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, Health};
use millrace_net::admin::AdminServer;
use millrace_net::config::{header_map, listen_address};
use std::sync::{Arc, Mutex, PoisonError};

/// The `health_check` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "health_check",
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
        Ok(Arc::new(HealthCheck { config: self.clone(), context, server: Mutex::default() }))
    }
}

struct HealthCheck {
    config: Config,
    context: Context,
    server: Mutex<Option<AdminServer>>,
}

impl HealthCheck {
    fn listen(&self) -> Result<(), BuildError> {
        let endpoint = &self.config.server.endpoint;
        let (host, port) = listen_address(endpoint).map_err(|error| self.context.error(error))?;
        let router = router(&self.config, self.context.shared.health.clone());
        let server = AdminServer::start("health_check", &host, port, router).map_err(|error| {
            self.context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?"))
        })?;
        tracing::info!(
            otelcol.component.id = %self.context.id,
            otelcol.component.kind = "extension",
            endpoint = %server.address(),
            "Starting health_check extension"
        );
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}

impl Extension for HealthCheck {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { self.listen() })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(server) = server {
                server.stop().await;
            }
        })
    }
}

fn router(config: &Config, health: Health) -> Router {
    let answers = Arc::new(config.answers.clone());
    let headers = headers(config);
    Router::new().fallback(move |uri: Uri| async move { respond(&answers, uri.path(), &health, headers) })
}

/// What every answer has.
fn headers(config: &Config) -> HeaderMap {
    let mut headers = header_map(&config.server.response_headers);
    if !config.server.keep_alives_enabled {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers
}

fn respond(answers: &Answers, path: &str, health: &Health, headers: HeaderMap) -> Response {
    let answer = answers.to(path, health);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("all of them are known");
    *response.headers_mut() = headers;
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
