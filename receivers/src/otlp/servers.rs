//! The receiver's servers: prepared while an earlier graph may still be at work at the same addresses, and then either
//! new ones or those of that graph, which go on with other requests in mind.

use super::grpc::Service;
use axum::Router;
use millrace_config::GivenOnly;
use millrace_config::encode::{Secrets, encode};
use millrace_engine::component::{BuildError, Context};
use millrace_net::config::{GrpcServerConfig, HttpServerConfig};
use millrace_net::connections::Running;
use millrace_net::listeners::{Reserved, reserve};
use millrace_net::post::{Post, Watch};
use millrace_net::stream::Listener;
use millrace_net::{grpc, http};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

type GrpcPost = Post<Arc<grpc::Server<Service>>>;
type HttpPost = Post<http::Server>;

/// A server that could begin at any moment.
pub(super) struct Prepared {
    place: Place,
    kind: Kind,
}

enum Kind {
    Grpc(Arc<Service>, Box<grpc::ServerOptions>),
    Http(Router, Box<http::ServerOptions>),
}

/// Where it will listen.
struct Place {
    endpoint: String,
    key: String,
    /// What connections depend on; requests are served anew in any case.
    print: u64,
    reserved: Arc<Reserved>,
    listener: Listener,
}

/// A server at work.
pub(super) struct Serving {
    watch: AnyWatch,
    _reserved: Arc<Reserved>,
}

enum AnyWatch {
    Grpc(Watch<Arc<grpc::Server<Service>>>),
    Http(Watch<http::Server>),
}

impl Prepared {
    pub(super) fn grpc(
        context: &Context,
        config: &GrpcServerConfig,
        service: Arc<Service>,
        options: grpc::ServerOptions,
    ) -> Result<Self, BuildError> {
        // What is asked of requests one by one.
        let connections = GrpcServerConfig {
            auth: GivenOnly::Off,
            middlewares: Vec::new(),
            include_metadata: false,
            max_recv_msg_size_mib: 0,
            ..config.clone()
        };
        let place = Place::reserve(context, "GRPC", &config.transport, &config.endpoint, &connections)?;
        Ok(Self { place, kind: Kind::Grpc(service, Box::new(options)) })
    }

    pub(super) fn http(
        context: &Context,
        config: &HttpServerConfig,
        router: Router,
        options: http::ServerOptions,
    ) -> Result<Self, BuildError> {
        let connections = HttpServerConfig {
            auth: GivenOnly::Off,
            middlewares: Vec::new(),
            include_metadata: false,
            max_request_body_size: 0,
            cors: GivenOnly::Off,
            response_headers: Default::default(),
            compression_algorithms: None,
            ..config.clone()
        };
        let place = Place::reserve(context, "HTTP", &config.transport, &config.endpoint, &connections)?;
        Ok(Self { place, kind: Kind::Http(router, Box::new(options)) })
    }

    /// Begins to serve.
    pub(super) fn serve(self, context: &Context) -> Serving {
        let (lasting, tasks) = (&context.shared.lasting, &context.shared.tasks);
        let generation = context.shared.generation.first();
        let Place { key, print, reserved, listener, endpoint } = self.place;
        let watch = match self.kind {
            Kind::Grpc(service, options) => AnyWatch::Grpc(match GrpcPost::find(lasting, &key, print) {
                Some(post) => {
                    let gone = post.server.replace(service, &options);
                    post.watch(generation, gone)
                }
                None => {
                    tracing::info!(otelcol.component.id = %context.id, otelcol.component.kind = "receiver", endpoint, "Starting GRPC server");
                    reserved.take_turn();
                    let (server, gone) = grpc::Server::new(service, *options, tasks.clone());
                    let serving = Arc::clone(&server);
                    let running =
                        Running::start(tasks, "grpc server", |stopping| serving.serve(listener, stopping));
                    Post::open(lasting, &key, print, server, running).watch(generation, gone)
                }
            }),
            Kind::Http(router, options) => AnyWatch::Http(match HttpPost::find(lasting, &key, print) {
                Some(post) => {
                    let gone = post.server.replace(router, &options.door);
                    post.watch(generation, gone)
                }
                None => {
                    tracing::info!(otelcol.component.id = %context.id, otelcol.component.kind = "receiver", endpoint, "Starting HTTP server");
                    reserved.take_turn();
                    let (server, gone) = http::Server::new(router, *options, tasks.clone());
                    let serving = server.clone();
                    let running =
                        Running::start(tasks, "http server", |stopping| serving.serve(listener, stopping));
                    Post::open(lasting, &key, print, server, running).watch(generation, gone)
                }
            }),
        };
        Serving { watch, _reserved: reserved }
    }
}

impl Place {
    fn reserve(
        context: &Context,
        protocol: &str,
        transport: &str,
        endpoint: &str,
        connections: &impl Serialize,
    ) -> Result<Self, BuildError> {
        let unreachable = |error: std::io::Error| {
            context
                .error(format!("cannot listen on {endpoint}: {error}; is another collector running there?"))
        };
        let reserved = reserve(&context.shared, transport, endpoint).map_err(unreachable)?;
        let listener = reserved.listener().map_err(unreachable)?;
        let print = encode(connections, Secrets::Shown).map_or(0, |node| node.print());
        let key = format!("{} {protocol} {:x}", context.id, reserved.number());
        Ok(Self { endpoint: endpoint.to_owned(), key, print, reserved, listener })
    }
}

impl Serving {
    /// Returns when every request has been answered that came for this receiver, or at `deadline`; if no later one goes
    /// on with the server, that is ended.
    pub(super) async fn end(self, deadline: Instant) {
        match self.watch {
            AnyWatch::Grpc(watch) => watch.end(deadline).await,
            AnyWatch::Http(watch) => watch.end(deadline).await,
        }
    }
}
