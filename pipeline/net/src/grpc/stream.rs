//! Answers one after the other, for methods such as `Watch`.

use super::outbox::{Reply, Word};
use super::{Code, Status, framed};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderValue;
use std::pin::Pin;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::time::{Instant as Timer, sleep_until};

/// Encoded messages, until there are no more.
pub type Answers = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Sends all of them, and says how the call ended. One is asked for when the one before has gone into the window, so
/// that a client who does not read makes nothing pile up.
pub(super) async fn stream(
    reply: Reply,
    content_type: HeaderValue,
    mut answers: Answers,
    deadline: Option<Instant>,
) -> Code {
    let (wanted, mut gone) = oneshot::channel();
    reply.say(Word::Begin(content_type, wanted));
    let too_late = async {
        match deadline {
            Some(deadline) => sleep_until(Timer::from_std(deadline)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(too_late);
    let status = loop {
        let answer = tokio::select! {
            answer = answers.next() => answer,
            // The client has gone, or wants no more.
            _ = &mut gone => return Code::Canceled,
            () = &mut too_late => break late(),
        };
        let Some(message) = answer else { break Status::new(Code::Ok, "") };
        let (sent, taken) = oneshot::channel();
        reply.say(Word::Message(framed(&message), sent));
        tokio::select! {
            taken = taken => if taken.is_err() { return Code::Canceled },
            () = &mut too_late => break late(),
        }
    };
    reply.end(Word::End(status.to_trailers()));
    status.code
}

fn late() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}
