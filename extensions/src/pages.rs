//! What the extensions that serve pages share: small servers for people and probes.

use axum::Router;
use http::HeaderMap;
use http::header::{CONNECTION, HeaderValue};
use millrace_config::Checker;
use millrace_engine::component::{BuildError, Context};
use millrace_net::admin::AdminServer;
use millrace_net::config::{HttpServerConfig, header_map, listen_address};
use std::sync::{Mutex, PoisonError};

/// Keys of servers that these have not.
const LACKING: &[&str] = &["tls", "auth", "cors", "middlewares"];

/// Refuses what a server of pages cannot do; ignoring it would leave open what was meant to be closed.
pub(crate) fn refuse_what_pages_lack(at: &mut Checker<'_>) {
    for key in LACKING {
        if at.is_set(key) {
            at.error(key, "this extension's server does not have it yet\nremove it, and keep the endpoint on localhost or behind something that has it");
        }
    }
}

/// Refuses to listen on what these servers cannot.
pub(crate) fn check_transport(transport: &str, context: &Context) -> Result<(), BuildError> {
    match transport {
        "tcp" => Ok(()),
        other => Err(context.error(format!("transport `{other}` is not supported here; use tcp"))),
    }
}

/// A server of pages while it runs.
#[derive(Default)]
pub(crate) struct PageServer(Mutex<Option<AdminServer>>);

impl PageServer {
    /// Starts to serve.
    ///
    /// # Errors
    /// Why the address cannot be listened on.
    pub(crate) fn start(
        &self,
        name: &'static str,
        endpoint: &str,
        context: &Context,
        router: Router,
    ) -> Result<(), BuildError> {
        let (host, port) = listen_address(endpoint).map_err(|error| context.error(error))?;
        let server = AdminServer::start(name, &host, port, router).map_err(|error| {
            context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?"))
        })?;
        tracing::info!(
            otelcol.component.id = %context.id,
            otelcol.component.kind = "extension",
            endpoint = %server.address(),
            "Starting {name} extension"
        );
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    pub(crate) async fn stop(&self) {
        let server = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.stop().await;
        }
    }
}

/// What every answer has.
pub(crate) fn headers(config: &HttpServerConfig) -> HeaderMap {
    let mut headers = header_map(&config.response_headers);
    if !config.keep_alives_enabled {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers
}
