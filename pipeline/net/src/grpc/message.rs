//! Receiving one length-prefixed message, charged to the budget before it is kept.

use super::{Code, PREFIX_LEN, Status};
use crate::Encoding;
use crate::compression::{InflateError, OFFLOAD_ABOVE};
use crate::gathering::{Gathering, NotKept};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use millrace_engine::{Budget, Charge};
use std::time::Duration;

/// What a refused sender is told to wait: long enough for a queue to move, short enough not to be felt.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A message, inflated, with what it holds of the budget.
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) charge: Charge,
    /// Its size on the wire, compressed and with its prefix.
    pub(super) wire_bytes: usize,
}

/// Reads the one message of a unary request, and the end of the stream.
pub(super) async fn receive(
    body: &mut RecvStream,
    encoding: Encoding,
    limit: usize,
    budget: &Budget,
) -> Result<Message, Status> {
    let mut head = BytesMut::new();
    let first = loop {
        let chunk = next(body)
            .await?
            .ok_or_else(|| Status::new(Code::Unknown, "the request ends before its message"))?;
        if head.is_empty() && chunk.len() >= PREFIX_LEN {
            break chunk;
        }
        head.extend_from_slice(&chunk);
        if head.len() >= PREFIX_LEN {
            break head.freeze();
        }
    };
    let compressed = match first[0] {
        0 => false,
        1 => true,
        flag => {
            return Err(Status::new(
                Code::Internal,
                format!("grpc: received unexpected payload format {flag}"),
            ));
        }
    };
    let len = u32::from_be_bytes([first[1], first[2], first[3], first[4]]) as usize;
    if len > limit {
        return Err(too_large(len, limit));
    }
    let (bytes, charge) = contiguous(body, first.slice(PREFIX_LEN..), len, budget).await?;
    let wire_bytes = bytes.len() + PREFIX_LEN;
    match (compressed, encoding) {
        (false, _) => Ok(Message { bytes, charge, wire_bytes }),
        (true, Encoding::None) => {
            Err(Status::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding"))
        }
        (true, encoding) => {
            let (bytes, charge) = inflate(encoding, bytes, charge, limit, budget).await?;
            Ok(Message { bytes, charge, wire_bytes })
        }
    }
}

/// The next chunk of the body; its window is given back at once, because what we keep is charged elsewhere.
async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Status> {
    match body.data().await {
        None => Ok(None),
        Some(Ok(chunk)) => {
            let _ = body.flow_control().release_capacity(chunk.len());
            Ok(Some(chunk))
        }
        Some(Err(error)) => Err(Status::new(Code::Canceled, format!("the request was cut off: {error}"))),
    }
}

/// The message in one buffer: the first chunk itself where it is whole.
async fn contiguous(
    body: &mut RecvStream,
    first: Bytes,
    len: usize,
    budget: &Budget,
) -> Result<(Bytes, Charge), Status> {
    if first.len() == len {
        let charge = budget.try_charge(len as u64).ok_or_else(over_budget)?;
        return match next_non_empty(body).await? {
            None => Ok((first, charge)),
            Some(_) => Err(more_than_one()),
        };
    }
    let not_kept = |problem| match problem {
        NotKept::TooMuch => more_than_one(),
        NotKept::OverBudget => over_budget(),
    };
    let mut gathering = Gathering::announced(len, budget).ok_or_else(over_budget)?;
    gathering.add(&first).map_err(not_kept)?;
    drop(first);
    while let Some(chunk) = next_non_empty(body).await? {
        gathering.add(&chunk).map_err(not_kept)?;
    }
    if gathering.len() < len {
        return Err(Status::new(Code::Unknown, "the request ends within its message"));
    }
    Ok(gathering.finish())
}

async fn next_non_empty(body: &mut RecvStream) -> Result<Option<Bytes>, Status> {
    while let Some(chunk) = next(body).await? {
        if !chunk.is_empty() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

async fn inflate(
    encoding: Encoding,
    body: Bytes,
    charge: Charge,
    limit: usize,
    budget: &Budget,
) -> Result<(Bytes, Charge), Status> {
    let inflated = if body.len() > OFFLOAD_ABOVE / 4 {
        let budget = budget.clone();
        let task = tokio::task::spawn_blocking(move || {
            let inflated = encoding.inflate(&body, limit, &budget);
            drop((body, charge));
            inflated
        });
        task.await.map_err(|_| Status::new(Code::Internal, "inflating the message failed"))?
    } else {
        encoding.inflate(&body, limit, budget)
    };
    inflated.map_err(|error| match error {
        InflateError::OverBudget => over_budget(),
        InflateError::TooLarge(limit) => Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message after decompression larger than max {limit}"),
        ),
        InflateError::Damaged(..) => {
            Status::new(Code::Internal, format!("grpc: failed to decompress the received message: {error}"))
        }
    })
}

fn too_large(len: usize, limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("grpc: received message larger than max ({len} vs. {limit})"),
    )
}

fn more_than_one() -> Status {
    Status::new(Code::InvalidArgument, "the request has more than its one message")
}

/// The refusal that every sender of telemetry retries.
fn over_budget() -> Status {
    Status {
        code: Code::Unavailable,
        message: "the collector is out of memory budget; try again later".into(),
        retry_delay: Some(RETRY_DELAY),
    }
}
