//! Answers one after the other, for methods such as `Watch`.

use super::{Code, PREFIX_LEN, Status, prefix};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use h2::SendStream;
use h2::server::SendResponse;
use http::Response;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;
use tokio::time::{Instant as Timer, sleep_until};

/// Encoded messages, until there are no more.
pub type Answers = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Sends all of them, and says how the call ended. One is asked for when the one before has gone into the window, so
/// that a client who does not read makes nothing pile up.
pub(super) async fn stream(
    respond: &mut SendResponse<Bytes>,
    head: Response<()>,
    mut answers: Answers,
    deadline: Option<Instant>,
) -> Code {
    let Ok(mut sending) = respond.send_response(head, false) else { return Code::Canceled };
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
            _ = poll_fn(|cx| sending.poll_reset(cx)) => return Code::Canceled,
            () = &mut too_late => break late(),
        };
        let Some(message) = answer else { break Status::new(Code::Ok, "") };
        tokio::select! {
            sent = send(&mut sending, &message) => if sent.is_none() { return Code::Canceled },
            () = &mut too_late => break late(),
        }
    };
    // An error says that the client has gone.
    let _ = sending.send_trailers(status.to_trailers());
    status.code
}

fn late() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// Sends a message when there is room for it; `None` if the client has gone.
async fn send(sending: &mut SendStream<Bytes>, message: &[u8]) -> Option<()> {
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + message.len());
    framed.put_slice(&prefix(message.len(), false));
    framed.put_slice(message);
    sending.reserve_capacity(framed.len());
    while sending.capacity() < framed.len() {
        poll_fn(|cx| sending.poll_capacity(cx)).await?.ok()?;
    }
    sending.send_data(framed.freeze(), false).ok()
}
