//! One request: from its head, which says whether it can be answered at all, to its answer.

use super::head::{Head, Refusal, unknown_method};
use super::message::{Arrived, Message, open};
use super::outbox::{Reply, Word};
use super::server::{Call, Calls, Unary};
use super::stream::stream;
use super::{Code, Status};
use crate::stream::Peer;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode};
use millrace_engine::current::Reading;
use millrace_engine::extension::Denied;
use millrace_engine::{Budget, Identity};
use millrace_http2::Request;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

/// The limit for receiving one request; a sender slower than this holds memory for too long.
pub(super) const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request whose head is in order. What serves it is what served when it arrived.
pub(super) struct Asked<U> {
    calls: Reading<Calls<U>>,
    headers: HeaderMap,
    path: PathAndQuery,
    route: u8,
    head: Head,
    received: Instant,
    latest: Instant,
}

/// An answer in place of one that cannot be.
pub(super) type Refused = (HeaderValue, Refusal);

impl<U: Unary> Asked<U> {
    /// Judges a head that arrived at `received`; what is refused is counted.
    pub(super) fn judge(
        calls: Reading<Calls<U>>,
        request: Request,
        received: Instant,
    ) -> Result<Self, Refused> {
        let Request { method, path, headers } = request;
        let head = match Head::read(&method, &headers, received) {
            Ok(head) => head,
            Err(refusal) => {
                let service = &calls.service;
                service.refused(&refusal.status);
                if refusal.http == StatusCode::OK && service.route(path.path()).is_some() {
                    service.answered(path.path(), refusal.status.code, received);
                }
                return Err((HeaderValue::from_static("application/grpc"), refusal));
            }
        };
        // Methods have no query; what has one is another name.
        let route = match path.query() {
            None => calls.service.route(path.path()),
            Some(_) => None,
        };
        let Some(route) = route else {
            let status = unknown_method(path.path());
            calls.service.refused(&status);
            return Err((head.content_type, status.into()));
        };
        let latest = received + RECEIVE_TIMEOUT;
        let latest = head.deadline.map_or(latest, |deadline| deadline.min(latest));
        Ok(Self { calls, headers, path, route, head, received, latest })
    }

    /// Until when it must have arrived.
    pub(super) fn latest(&self) -> Instant {
        self.latest
    }

    /// The largest message.
    pub(super) fn max_message(&self) -> usize {
        self.calls.max_message
    }

    /// What its message is charged to.
    pub(super) fn budget(&self) -> &Budget {
        &self.calls.budget
    }

    /// Whether it need not be asked who sends it.
    pub(super) fn is_admitted(&self) -> bool {
        self.calls.admission.asks_nothing()
    }

    /// Refuses it, which is counted.
    pub(super) fn refuse(self, status: Status) -> Refused {
        self.calls.service.refused(&status);
        self.calls.service.answered(self.path.path(), status.code, self.received);
        (self.head.content_type, status.into())
    }

    /// Asks who sends it, and answers it when its message has `arrived`.
    pub(super) async fn admit(
        self,
        arrived: oneshot::Receiver<Result<Arrived, Status>>,
        peer: Peer,
        reply: Reply,
    ) {
        let identity = match self.authenticate().await {
            Ok(identity) => identity,
            Err(status) => return self.end_refused(status, reply),
        };
        reply.say(Word::Admitted);
        // The connection has gone where it says nothing; it has its own limit for waiting.
        match arrived.await.unwrap_or_else(|_| Err(cut_off())) {
            Ok(arrived) => self.answer(arrived, identity, peer, reply).await,
            Err(status) => self.end_refused(status, reply),
        }
    }

    /// Answers it.
    pub(super) async fn answer(
        self,
        arrived: Arrived,
        identity: Option<Arc<Identity>>,
        peer: Peer,
        reply: Reply,
    ) {
        let opened = open(arrived, self.head.encoding, self.calls.max_message, &self.calls.budget);
        let Message { bytes: message, charge, wire_bytes } = match opened.await {
            Ok(message) => message,
            Err(status) => return self.end_refused(status, reply),
        };
        let Self { calls, headers, path, route, head, received, .. } = self;
        let Head { content_type, deadline, .. } = head;
        let call = Call { route, message, charge, wire_bytes, peer: peer.0, identity, headers, received };
        if let Some(answers) = calls.service.answers(&call) {
            let code = Box::pin(stream(reply, content_type, answers, deadline)).await;
            return calls.service.answered(path.path(), code, received);
        }
        let call = calls.service.call(call);
        let answer = match deadline {
            None => call.await,
            Some(deadline) => timeout_at(deadline.into(), call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        let code = answer.as_ref().err().map_or(Code::Ok, |status| status.code);
        calls.service.answered(path.path(), code, received);
        // What is waited for when the service is replaced ends before its client is told.
        drop(calls);
        reply.end(Word::Answer(content_type, answer.map_err(Refusal::from)));
    }

    async fn authenticate(&self) -> Result<Option<Arc<Identity>>, Status> {
        let Calls { service, admission, .. } = &*self.calls;
        let identity = match timeout_at(self.latest.into(), admission.authenticate(&self.headers)).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(Denied::Unauthenticated(denied))) => {
                return Err(Status::new(Code::Unauthenticated, denied.to_string()));
            }
            Ok(Err(Denied::NotNow(failure))) => return Err(service.status(&failure)),
            Err(_) => return Err(Status::new(Code::DeadlineExceeded, "authentication took too long")),
        };
        admission.pass().map_err(|failure| service.status(&failure))?;
        Ok(identity)
    }

    fn end_refused(self, status: Status, reply: Reply) {
        let (content_type, refusal) = self.refuse(status);
        reply.end(Word::Answer(content_type, Err(refusal)));
    }
}

/// What is said of a request whose client has gone; nobody hears it, but it is counted.
pub(super) fn cut_off() -> Status {
    Status::new(Code::Canceled, "the request was cut off")
}

/// What is said of a request that takes too long.
pub(super) fn too_slow() -> Status {
    Status::new(Code::DeadlineExceeded, "the request took too long to arrive")
}
