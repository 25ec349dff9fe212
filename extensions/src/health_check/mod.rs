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

use crate::pages::{PageServer, check_transport, headers};
use answer::Answer;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use grpc::{HealthService, Judge};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, Health};
use millrace_net::config::{GrpcServerConfig, listen_address};
use std::sync::{Arc, Mutex, PoisonError};

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
        let answers = &self.answers;
        let http = answers.http.as_option().map_or(&self.server.transport, |v2| &v2.server.transport);
        check_transport(http, &context)?;
        if let Some(grpc) = answers.grpc.as_option() {
            check_transport(&grpc.transport, &context)?;
        }
        let (pages, service) = (PageServer::default(), Mutex::default());
        Ok(Arc::new(HealthCheck { config: self.clone(), context, pages, service }))
    }
}

struct HealthCheck {
    config: Config,
    context: Context,
    pages: PageServer,
    service: Mutex<Option<HealthService>>,
}

impl HealthCheck {
    fn listen(&self) -> Result<(), BuildError> {
        let answers = &self.config.answers;
        let health = self.context.shared.health.clone();
        if !answers.is_v2() {
            let router = router(&self.config, health);
            return self.pages.start("health_check", &self.config.server.endpoint, &self.context, router);
        }
        let component_health = answers.component_health.as_option().cloned();
        if let Some(v2) = answers.http.as_option() {
            let router = router_v2(v2.clone(), component_health.clone(), health.clone());
            self.pages.start("health_check", &v2.server.endpoint, &self.context, router)?;
        }
        if let Some(server) = answers.grpc.as_option() {
            self.listen_grpc(server, Judge { health, component_health })?;
        }
        Ok(())
    }

    fn listen_grpc(&self, server: &GrpcServerConfig, judge: Judge) -> Result<(), BuildError> {
        let endpoint = &server.endpoint;
        let (host, port) = listen_address(endpoint).map_err(|error| self.context.error(error))?;
        let service = HealthService::start(host, port, judge).map_err(|error| {
            self.context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?"))
        })?;
        tracing::info!(
            otelcol.component.id = %self.context.id,
            otelcol.component.kind = "extension",
            endpoint = %service.address,
            "Starting the gRPC health service"
        );
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        Ok(())
    }
}

impl Extension for HealthCheck {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { self.listen() })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.pages.stop().await;
            let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(service) = service {
                service.stop().await;
            }
        })
    }
}

fn router(config: &Config, health: Health) -> Router {
    let answers = Arc::new(config.answers.clone());
    let headers = headers(&config.server);
    Router::new().fallback(move |uri: Uri| async move { respond(answers.to(uri.path(), &health), headers) })
}

fn router_v2(v2: V2, component_health: Option<ComponentHealth>, health: Health) -> Router {
    let headers = headers(&v2.server);
    let shared = Arc::new((v2, component_health));
    Router::new().fallback(move |uri: Uri| async move {
        let (v2, component_health) = &*shared;
        let query = uri.query().unwrap_or_default();
        respond(status_page::answer(v2, component_health.as_ref(), uri.path(), query, &health), headers)
    })
}

fn respond(answer: Answer, headers: HeaderMap) -> Response {
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
