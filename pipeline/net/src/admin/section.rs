//! The same servers as a section of the configuration says: with TLS, authentication, other origins, and timeouts.

use super::{AdminServer, Begun, CONNECTIONS_BYTES, contained, serve_http, supervision};
use crate::admission::Admission;
use crate::config::{GrpcServerConfig, HttpServerConfig, TlsServerConfig};
use crate::connections::{Door, Speaks, Windows};
use crate::grpc::{self, Unary};
use crate::http::{Accepted, Front, ServerOptions, Turned};
use crate::listeners::reserve;
use crate::measures::HttpServer;
use crate::tls::{ALPN_H2, ALPN_HTTP1, Site, TlsError};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use millrace_engine::Budget;
use millrace_engine::component::{BuildError, Context};
use std::fmt;
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// What messages to a gRPC server take, and the largest one: probes send names.
const MESSAGES_BYTES: u64 = 1 << 20;

/// Whether requests are counted as the Go collector counts those to its servers, at level detailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// They are.
    Yes,
    /// They are not.
    No,
}

#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Listen(#[from] io::Error),
}

impl StartError {
    fn of(self, context: &Context, endpoint: &str) -> BuildError {
        match self {
            Self::Tls(error) => context.error(error),
            Self::Listen(error) => context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?")),
        }
    }
}

impl AdminServer {
    /// Serves `router` as `config` says. `name` is the thread's. To be called when the extensions have been built.
    ///
    /// # Errors
    /// What of the configuration cannot be done.
    pub fn http(
        name: &'static str,
        config: &HttpServerConfig,
        context: &Context,
        router: Router,
        counted: Counted,
    ) -> Result<Self, BuildError> {
        let front = Front::of(config, &context.shared.offers).map_err(|error| context.error(error))?;
        let measures = (counted == Counted::Yes).then(|| HttpServer::new(context));
        let border = Arc::new(Border { front, accepted: config.accepted(usize::MAX), measures });
        let router = router.layer(from_fn(contained)).layer(from_fn(move |request, next| {
            let border = Arc::clone(&border);
            async move { border.cross(request, next).await }
        }));
        let (door, site) = (door(context, Speaks::Http), Site::of(context));
        let (config, endpoint, shared) = (config.clone(), config.endpoint.clone(), context.shared.clone());
        let started = Self::on_a_thread(name, async move |stopping| {
            let tls = acceptor(config.tls.as_option(), &site, &[ALPN_H2, ALPN_HTTP1])?;
            let options = ServerOptions {
                timeouts: config.timeouts(),
                keep_alive: config.keep_alives_enabled,
                door: Door { tls, ..door },
                windows: None,
            };
            let reserved = reserve(&shared, &config.transport, &config.endpoint)?;
            serve_http(&reserved, router, options, stopping)
        });
        started.map_err(|error: StartError| error.of(context, &endpoint))
    }

    /// Serves `service` as `config` says. `name` is the thread's. To be called when the extensions have been built.
    ///
    /// # Errors
    /// What of the configuration cannot be done.
    pub fn grpc(
        name: &'static str,
        config: &GrpcServerConfig,
        context: &Context,
        service: Arc<impl Unary>,
    ) -> Result<Self, BuildError> {
        let authenticator = config.auth.as_option().and_then(|auth| auth.authenticator.as_ref());
        let admission = Admission::of(&context.shared.offers, authenticator, &config.middlewares);
        let admission = admission.map_err(|error| context.error(error))?;
        let (door, site) = (door(context, Speaks::Grpc), Site::transport(context, "grpc"));
        let (config, endpoint, shared) = (config.clone(), config.endpoint.clone(), context.shared.clone());
        let started = Self::on_a_thread(name, async move |stopping| {
            let budget = Budget::new(MESSAGES_BYTES);
            let tls = acceptor(config.tls.as_option(), &site, &[ALPN_H2])?;
            let options = grpc::ServerOptions {
                max_message: config.max_message().min(MESSAGES_BYTES as usize),
                max_streams: (config.max_concurrent_streams > 0).then_some(config.max_concurrent_streams),
                windows: Windows::new(budget.clone()),
                budget,
                door: Door { tls, ..door },
                admission,
                keepalive: config.lives(),
                pings: config.pings(),
            };
            let reserved = reserve(&shared, &config.transport, &config.endpoint)?;
            let listener = reserved.listener()?;
            let (server, _) = grpc::Server::new(service, options, supervision());
            Ok(Begun { reserved, serving: Box::pin(server.serve(listener, stopping)) })
        });
        started.map_err(|error: StartError| error.of(context, &endpoint))
    }
}

fn acceptor(
    tls: Option<&TlsServerConfig>,
    site: &Site,
    alpn: &'static [&'static [u8]],
) -> Result<Option<crate::tls::Acceptor>, TlsError> {
    tls.map(|tls| tls.acceptor(site, alpn)).transpose()
}

fn door(context: &Context, speaks: Speaks) -> Door {
    Door::of(context, speaks, Budget::new(CONNECTIONS_BYTES))
}

/// What a request passes on its way to a handler.
struct Border {
    front: Front,
    accepted: Accepted,
    measures: Option<HttpServer>,
}

impl Border {
    async fn cross(&self, request: Request, next: Next) -> Response {
        match self.measures.as_ref().filter(|measures| measures.is_active()) {
            Some(measures) => measures.observe(None, request, |request| self.answer(request, next)).await,
            None => self.answer(request, next).await,
        }
    }

    async fn answer(&self, request: Request, next: Next) -> Response {
        let handle = async |request: Request, _| match self.accepted.check(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(error) => told(StatusCode::BAD_REQUEST, error),
        };
        self.front.answer(request, handle, refusal).await
    }
}

/// What whoever may not come in is told.
fn refusal(_: &HeaderMap, turned: Turned) -> Response {
    match turned {
        Turned::Unauthenticated(message) => told(StatusCode::UNAUTHORIZED, message),
        Turned::Away(failure) => {
            let mut response = told(StatusCode::SERVICE_UNAVAILABLE, failure);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
            response
        }
        Turned::TooSlow => told(StatusCode::SERVICE_UNAVAILABLE, "authentication took too long"),
    }
}

/// An error as Go's servers word it.
fn told(status: StatusCode, message: impl fmt::Display) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, format!("{message}\n")).into_response()
}
