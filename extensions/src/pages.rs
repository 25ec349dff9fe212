//! What the extensions that serve pages share: small servers for people and probes.

use axum::Router;
use millrace_engine::component::{BuildError, Context};
use millrace_net::admin::{AdminServer, Counted};
use millrace_net::config::HttpServerConfig;
use std::sync::{Mutex, PoisonError};

/// Servers of one extension while they run.
#[derive(Default)]
pub(crate) struct PageServers(Mutex<Vec<AdminServer>>);

impl PageServers {
    /// Makes a server of what a section `server` says, to [`begin`](Self::begin) later.
    ///
    /// # Errors
    /// What of it cannot be done.
    pub(crate) fn prepare(
        &self,
        name: &'static str,
        server: &HttpServerConfig,
        context: &Context,
        router: Router,
        counted: Counted,
    ) -> Result<(), BuildError> {
        let running = AdminServer::http(name, server, context, router, counted)?;
        self.keep(name, &server.endpoint, context, running);
        Ok(())
    }

    /// The same in plain text, where there is only an address.
    ///
    /// # Errors
    /// Why it cannot be listened on.
    pub(crate) fn prepare_plain(
        &self,
        name: &'static str,
        endpoint: &str,
        context: &Context,
        router: Router,
    ) -> Result<(), BuildError> {
        let running = AdminServer::start(name, &context.shared, endpoint, router).map_err(|error| {
            context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?"))
        })?;
        self.keep(name, endpoint, context, running);
        Ok(())
    }

    /// Keeps a server until [`stop`](Self::stop).
    pub(crate) fn keep(&self, name: &str, endpoint: &str, context: &Context, running: AdminServer) {
        let endpoint = running.address().map_or_else(|| endpoint.to_owned(), |address| address.to_string());
        tracing::info!(
            otelcol.component.id = %context.id,
            otelcol.component.kind = "extension",
            endpoint,
            "Starting {name} extension"
        );
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(running);
    }

    /// Begins to answer.
    pub(crate) fn begin(&self) {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().for_each(AdminServer::begin);
    }

    pub(crate) async fn stop(&self) {
        let running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for server in running {
            server.stop().await;
        }
    }
}
