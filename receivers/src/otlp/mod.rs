//! The OTLP receiver: gRPC, HTTP with protobuf, HTTP with JSON.
//!
//! A request is received whole, charged to the budget, validated once, and handed to the pipelines; the sender hears
//! success only when responsibility has passed on.

mod config;
mod decode;
mod grpc;
mod http;
mod intake;
mod media_type;
mod servers;
mod spans;

pub use config::{Config, HttpConfig, Paths, Protocols};

use futures_util::future::join_all;
use intake::Intake;
use millrace_engine::component::{
    BuildError, Context, Factory, Outputs, Receiver, ReceiverConfig, Stability,
};
use millrace_engine::{BoxFuture, Budget};
use millrace_net::admission::Admission;
use millrace_net::config::TlsServerConfig;
use millrace_net::connections::{Door, Speaks, Windows};
use millrace_net::http::Front;
use millrace_net::measures::RpcServer;
use millrace_net::tls::{ALPN_H2, ALPN_HTTP1, Site};
use millrace_net::{grpc::ServerOptions as GrpcOptions, http::ServerOptions as HttpOptions};
use millrace_wire::Signal;
use servers::{Prepared, Serving};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The `otlp` receiver.
pub const FACTORY: Factory<dyn ReceiverConfig> = Factory {
    name: "otlp",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ReceiverConfig for Config {
    fn build(&self, context: Context, outputs: Outputs) -> Result<Arc<dyn Receiver>, BuildError> {
        let protocols = &self.protocols;
        let offers = &context.shared.offers;
        let grpc = protocols.grpc.as_option().map_or(Ok(Admission::default()), |grpc| {
            let auth = grpc.auth.as_option().and_then(|auth| auth.authenticator.as_ref());
            Admission::of(offers, auth, &grpc.middlewares)
        });
        let grpc = grpc.map_err(|error| context.error(error))?;
        let front = protocols.http.as_option().map(|http| Front::of(&http.server, offers)).transpose();
        let front = front.map_err(|error| context.error(error))?.map(Arc::new);
        let intake = Arc::new(Intake::new(&context, &outputs));
        let windows = windows(&context);
        let config = self.clone();
        Ok(Arc::new(Otlp {
            config,
            context,
            admission: grpc,
            front,
            intake,
            windows,
            prepared: Mutex::default(),
            serving: Mutex::default(),
        }))
    }
}

struct Otlp {
    config: Config,
    context: Context,
    /// Of gRPC.
    admission: Admission,
    /// Of HTTP, if it is served.
    front: Option<Arc<Front>>,
    intake: Arc<Intake>,
    /// Shared by both transports, so that together they stay within their share of the budget.
    windows: Arc<Windows>,
    prepared: Mutex<Vec<Prepared>>,
    serving: Mutex<Vec<Serving>>,
}

impl Otlp {
    fn prepare_grpc(&self) -> Result<(), BuildError> {
        let Some(config) = self.config.protocols.grpc.as_option() else { return Ok(()) };
        let shared = &self.context.shared;
        let options = GrpcOptions {
            max_message: within(&shared.intake, config.max_message()),
            max_streams: (config.max_concurrent_streams > 0).then_some(config.max_concurrent_streams),
            budget: shared.intake.clone(),
            windows: Arc::clone(&self.windows),
            door: self.door(Speaks::Grpc, config.tls.as_option(), &[ALPN_H2])?,
            admission: self.admission.clone(),
            keepalive: config.lives(),
            pings: config.pings(),
        };
        let service = grpc::Service::new(
            Arc::clone(&self.intake),
            config.include_metadata,
            RpcServer::new(&self.context, &config.endpoint),
        );
        self.keep(Prepared::grpc(&self.context, config, Arc::new(service), options)?);
        Ok(())
    }

    fn prepare_http(&self) -> Result<(), BuildError> {
        let (Some(config), Some(front)) = (self.config.protocols.http.as_option(), &self.front) else {
            return Ok(());
        };
        let options = HttpOptions {
            timeouts: config.server.timeouts(),
            keep_alive: config.server.keep_alives_enabled,
            door: self.door(Speaks::Http, config.server.tls.as_option(), &[ALPN_H2, ALPN_HTTP1])?,
            windows: Some(Arc::clone(&self.windows)),
        };
        let router = http::router(Arc::clone(&self.intake), config, Arc::clone(front), &self.context);
        self.keep(Prepared::http(&self.context, &config.server, router, options)?);
        Ok(())
    }

    fn keep(&self, prepared: Prepared) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
    }

    fn door(
        &self,
        speaks: Speaks,
        tls: Option<&TlsServerConfig>,
        alpn: &'static [&'static [u8]],
    ) -> Result<Door, BuildError> {
        let door = Door::of(&self.context, speaks, self.context.shared.intake.clone());
        let site = Site::transport(&self.context, speaks.transport());
        let tls = tls.map(|tls| tls.acceptor(&site, alpn)).transpose();
        Ok(Door { tls: tls.map_err(|error| self.context.error(error))?, ..door })
    }
}

/// What both transports lease windows from, as long as there is a receiver of that name.
fn windows(context: &Context) -> Arc<Windows> {
    let (lasting, key) = (&context.shared.lasting, context.id.to_string());
    lasting.find(&key).unwrap_or_else(|| {
        let windows = Windows::new(context.shared.intake.clone());
        lasting.put(&key, &windows);
        windows
    })
}

/// A limit that the whole budget could hold: what never fits is to be refused for good, not put off for ever.
fn within(budget: &Budget, limit: usize) -> usize {
    usize::try_from(budget.limit()).unwrap_or(usize::MAX).min(limit)
}

impl Receiver for Otlp {
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            self.prepare_grpc()?;
            self.prepare_http()
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let prepared = std::mem::take(&mut *self.prepared.lock().unwrap_or_else(PoisonError::into_inner));
            let serving = prepared.into_iter().map(|prepared| prepared.serve(&self.context));
            self.serving.lock().unwrap_or_else(PoisonError::into_inner).extend(serving);
            Ok(())
        })
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let serving = std::mem::take(&mut *self.serving.lock().unwrap_or_else(PoisonError::into_inner));
            join_all(serving.into_iter().map(|serving| serving.end(deadline))).await;
        })
    }
}
