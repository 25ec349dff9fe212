//! The server: what it is given, and what it does with a request. What it does with a connection is in
//! [`super::connection`].

use super::conduct::Conduct;
use super::connection;
use super::head::{Head, Refusal, unknown_method};
use super::keepalive::Keepalive;
use super::message::{Message, receive};
use super::stream::{Answers, stream};
use super::watch::PingPolicy;
use super::{Code, Status, prefix};
use crate::admission::Admission;
use crate::connections::{Door, Stopping, WINDOW_MIN, Windows, accept};
use crate::stream::{Listener, Peer};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use millrace_engine::extension::Denied;
use millrace_engine::{BoxFuture, Budget, Charge, Current, Failure, Gone, Identity, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// The limit for receiving one request; a sender slower than this holds memory for too long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
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
    /// Our settings, which every connection begins with.
    pub(super) greeting: Bytes,
}

/// What it does with requests, whatever connection they come on.
struct Calls<U> {
    service: Arc<U>,
    max_message: usize,
    budget: Budget,
    admission: Admission,
}

impl<U: Unary> Server<U> {
    /// A server of `service`, and what tells when the last of its requests is over.
    pub fn new(service: Arc<U>, options: ServerOptions, tasks: Tasks) -> (Arc<Self>, Gone) {
        let greeting = connection::greeting(&options);
        let (calls, gone) = Current::new(Calls::new(service, &options));
        (Arc::new(Self { calls, options, tasks, greeting }), gone)
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

    /// One request and its answer.
    pub(super) async fn exchange(
        self: Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        peer: Peer,
        conduct: Arc<Conduct>,
    ) {
        self.calls.read().answer(request, &mut respond, peer, &conduct).await;
        conduct.answered();
    }
}

impl<U: Unary> Calls<U> {
    fn new(service: Arc<U>, options: &ServerOptions) -> Self {
        let ServerOptions { max_message, budget, admission, .. } = options.clone();
        Self { service, max_message, budget, admission }
    }

    /// Who sent a request, if it may come in.
    async fn admit(&self, headers: &HeaderMap, latest: Instant) -> Result<Option<Arc<Identity>>, Status> {
        let admission = &self.admission;
        let identity = match timeout_at(latest.into(), admission.authenticate(headers)).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(Denied::Unauthenticated(denied))) => {
                return Err(Status::new(Code::Unauthenticated, denied.to_string()));
            }
            Ok(Err(Denied::NotNow(failure))) => return Err(self.service.status(&failure)),
            Err(_) => return Err(Status::new(Code::DeadlineExceeded, "authentication took too long")),
        };
        admission.pass().map_err(|failure| self.service.status(&failure))?;
        Ok(identity)
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        peer: Peer,
        conduct: &Conduct,
    ) {
        let received = Instant::now();
        let (request, mut body) = request.into_parts();
        let Head { content_type, encoding, deadline } = match Head::read(&request, received) {
            Ok(head) => head,
            Err(refusal) => {
                self.service.refused(&refusal.status);
                let path = request.uri.path();
                if refusal.http == http::StatusCode::OK && self.service.route(path).is_some() {
                    self.service.answered(path, refusal.status.code, received);
                }
                return refuse(respond, HeaderValue::from_static("application/grpc"), &refusal);
            }
        };
        // Methods have no query; what has one is another name.
        let route = match request.uri.query() {
            None => self.service.route(request.uri.path()),
            Some(_) => None,
        };
        let Some(route) = route else {
            let status = unknown_method(request.uri.path());
            self.service.refused(&status);
            return refuse(respond, content_type, &status.into());
        };
        let latest = received + RECEIVE_TIMEOUT;
        let latest = deadline.map_or(latest, |deadline| deadline.min(latest));
        let identity = if self.admission.asks_nothing() {
            None
        } else {
            match self.admit(&request.headers, latest).await {
                Ok(identity) => identity,
                Err(status) => {
                    self.service.refused(&status);
                    self.service.answered(request.uri.path(), status.code, received);
                    return refuse(respond, content_type, &status.into());
                }
            }
        };
        let receiving = receive(&mut body, encoding, self.max_message, &self.budget);
        let message = timeout_at(latest.into(), receiving).await.unwrap_or_else(|_| {
            Err(Status::new(Code::DeadlineExceeded, "the request took too long to arrive"))
        });
        let Message { bytes: message, charge, wire_bytes } = match message {
            Ok(message) => message,
            Err(status) => {
                self.service.refused(&status);
                self.service.answered(request.uri.path(), status.code, received);
                return refuse(respond, content_type, &status.into());
            }
        };
        drop(body);
        if wire_bytes > WINDOW_MIN as usize / 2 {
            conduct.want_window();
        }
        let call = Call {
            route,
            message,
            charge,
            wire_bytes,
            peer: peer.0,
            identity,
            headers: request.headers,
            received,
        };
        if let Some(answers) = self.service.answers(&call) {
            let code = Box::pin(stream(respond, head(content_type), answers, deadline)).await;
            return self.service.answered(request.uri.path(), code, received);
        }
        let call = self.service.call(call);
        let answer = match deadline {
            None => call.await,
            Some(deadline) => timeout_at(deadline.into(), call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        let code = answer.as_ref().err().map_or(Code::Ok, |status| status.code);
        self.service.answered(request.uri.path(), code, received);
        match answer {
            Ok(message) => answer_with(respond, content_type, &message),
            Err(status) => refuse(respond, content_type, &status.into()),
        }
    }
}

/// Headers, one message, trailers. Errors mean that the peer has gone; it will send again.
fn answer_with(respond: &mut SendResponse<Bytes>, content_type: HeaderValue, message: &[u8]) {
    let Ok(mut stream) = respond.send_response(head(content_type), false) else { return };
    let mut framed = BytesMut::with_capacity(super::PREFIX_LEN + message.len());
    framed.put_slice(&prefix(message.len(), false));
    framed.put_slice(message);
    if stream.send_data(framed.freeze(), false).is_ok() {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = stream.send_trailers(trailers);
    }
}

/// Trailers only.
fn refuse(respond: &mut SendResponse<Bytes>, content_type: HeaderValue, refusal: &Refusal) {
    let mut response = head(content_type);
    *response.status_mut() = refusal.http;
    response.headers_mut().extend(refusal.status.to_trailers());
    let _ = respond.send_response(response, true);
}

fn head(content_type: HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}
