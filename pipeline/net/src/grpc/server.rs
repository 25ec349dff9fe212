//! The server: what it is given. What it does with a connection is in [`super::connection`], and with a request in
//! [`super::exchange`].

use super::keepalive::Keepalive;
use super::pings::PingPolicy;
use super::stream::Answers;
use super::{Code, Status};
use crate::admission::Admission;
use crate::connections::{Door, Stopping, Windows, accept};
use crate::stream::Listener;
use bytes::Bytes;
use http::HeaderMap;
use millrace_engine::current::Reading;
use millrace_engine::{BoxFuture, Budget, Charge, Current, Failure, Gone, Identity, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What the server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The largest message, compressed or not, in bytes.
    pub max_message: usize,
    /// Requests under way per connection; `None` means 1,000. Clients keep further ones to themselves meanwhile.
    pub max_streams: Option<u32>,
    /// What messages are charged to.
    pub budget: Budget,
    /// What windows are leased from.
    pub windows: Arc<Windows>,
    /// Counts of connections, what they are charged to, and their TLS.
    pub door: Door,
    /// Who may come in.
    pub admission: Admission,
    /// How long connections live.
    pub keepalive: Keepalive,
    /// How often clients may ping.
    pub pings: PingPolicy,
}

/// One call, received whole.
#[derive(Debug)]
pub struct Call {
    /// What [`Unary::route`] said.
    pub route: u8,
    /// The message, inflated.
    pub message: Bytes,
    /// What it holds of the budget.
    pub charge: Charge,
    /// Its size on the wire.
    pub wire_bytes: usize,
    /// Where it came from; Unix sockets have no addresses.
    pub peer: Option<SocketAddr>,
    /// Who sent it, where that is asked for.
    pub identity: Option<Arc<Identity>>,
    /// Its headers.
    pub headers: HeaderMap,
    /// When its headers arrived.
    pub received: Instant,
}

/// A service of unary methods.
pub trait Unary: Send + Sync + 'static {
    /// The method behind a path, as a number of the service's own.
    fn route(&self, path: &str) -> Option<u8>;

    /// Handles a call; the answer is the encoded response message.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>>;

    /// The answers to a call, if it is of a method that has many; [`Unary::call`] is not asked then.
    fn answers(&self, _call: &Call) -> Option<Answers> {
        None
    }

    /// What a sender is told of a failure.
    fn status(&self, failure: &Failure) -> Status;

    /// A call was refused before it reached [`Unary::call`].
    fn refused(&self, status: &Status);

    /// A call of a known method has been answered, be it with a refusal.
    fn answered(&self, _path: &str, _code: Code, _received: Instant) {}
}

/// A gRPC server for one service at a time.
pub struct Server<U> {
    calls: Current<Calls<U>>,
    pub(super) options: ServerOptions,
    pub(super) tasks: Tasks,
}

/// What it does with requests, whatever connection they come on.
pub(super) struct Calls<U> {
    pub(super) service: Arc<U>,
    pub(super) max_message: usize,
    pub(super) budget: Budget,
    pub(super) admission: Admission,
}

impl<U: Unary> Server<U> {
    /// A server of `service`, and what tells when the last of its requests is over.
    pub fn new(service: Arc<U>, options: ServerOptions, tasks: Tasks) -> (Arc<Self>, Gone) {
        let (calls, gone) = Current::new(Calls::new(service, &options));
        (Arc::new(Self { calls, options, tasks }), gone)
    }

    /// Serves `service` from the next request on, also on connections that are open. Of the options everything counts
    /// that is asked of single requests, and certificates for new connections; the rest stays as it was. Tells when the
    /// last request of `service` is over.
    pub fn replace(&self, service: Arc<U>, options: &ServerOptions) -> Gone {
        self.options.door.take_certificates_of(&options.door);
        self.calls.replace(Calls::new(service, options))
    }

    /// Serves until `stopping`, and then until every connection has ended.
    pub async fn serve(self: Arc<Self>, listener: impl Into<Listener>, stopping: Stopping) {
        let (tasks, door) = (self.tasks.clone(), self.options.door.clone());
        let serve = |socket, peer, stopping| Arc::clone(&self).connection(socket, peer, stopping);
        accept(listener.into(), tasks, door, stopping, serve).await;
    }

    /// What serves a request that comes now.
    pub(super) fn calls(&self) -> Reading<Calls<U>> {
        self.calls.read()
    }
}

impl<U: Unary> Calls<U> {
    fn new(service: Arc<U>, options: &ServerOptions) -> Self {
        let ServerOptions { max_message, budget, admission, .. } = options.clone();
        Self { service, max_message, budget, admission }
    }
}
