//! Receiving one length-prefixed message, charged to the budget before it is kept.

use super::{Code, PREFIX_LEN, Status};
use crate::Encoding;
use crate::compression::{InflateError, inflate};
use crate::gathering::{Gathering, NotKept};
use bytes::Bytes;
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

/// A message as it arrived.
pub(super) struct Arrived {
    bytes: Bytes,
    charge: Charge,
    is_compressed: bool,
}

impl Arrived {
    /// Its size on the wire, with its prefix.
    pub(super) fn wire_bytes(&self) -> usize {
        PREFIX_LEN + self.bytes.len()
    }
}

/// The body of a unary request, which is one message, as it arrives.
pub(super) struct Receiving {
    prefix: [u8; PREFIX_LEN],
    have: u8,
    limit: usize,
    /// Since its prefix is there.
    message: Option<Gathering>,
}

impl Receiving {
    /// A message of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { prefix: [0; PREFIX_LEN], have: 0, limit, message: None }
    }

    /// Takes what has arrived.
    pub(super) fn add(&mut self, mut chunk: &[u8], budget: &Budget) -> Result<(), Status> {
        let message = match &mut self.message {
            Some(message) => message,
            None => {
                let have = usize::from(self.have);
                let (prefix, rest) = chunk.split_at(chunk.len().min(PREFIX_LEN - have));
                self.prefix[have..have + prefix.len()].copy_from_slice(prefix);
                self.have += prefix.len() as u8;
                if usize::from(self.have) < PREFIX_LEN {
                    return Ok(());
                }
                chunk = rest;
                let len = self.announced()?;
                self.message.insert(Gathering::announced(len, budget).map_err(not_kept)?.in_frames())
            }
        };
        if chunk.is_empty() {
            return Ok(());
        }
        message.add(chunk).map_err(not_kept)
    }

    /// Lends the buffer that the message is gathered in, if there is much room in it: [`Gathering::lend`].
    pub(super) fn lend(&mut self) -> Option<Vec<u8>> {
        self.message.as_mut()?.lend()
    }

    /// Has it back, with more in it.
    pub(super) fn take_back(&mut self, whole: Vec<u8>) -> Result<(), Status> {
        self.message.as_mut().map_or(Ok(()), |message| message.take_back(whole).map_err(not_kept))
    }

    /// What the prefix says of the message.
    fn announced(&self) -> Result<usize, Status> {
        let [flag, len @ ..] = self.prefix;
        if flag > 1 {
            let message = format!("grpc: received unexpected payload format {flag}");
            return Err(Status::new(Code::Internal, message));
        }
        let len = u32::from_be_bytes(len) as usize;
        if len > self.limit { Err(too_large(len, self.limit)) } else { Ok(len) }
    }

    /// The message, at the end of the body.
    pub(super) fn finish(self) -> Result<Arrived, Status> {
        let message =
            self.message.ok_or_else(|| Status::new(Code::Unknown, "the request ends before its message"))?;
        if message.is_whole() {
            let (bytes, charge) = message.finish();
            Ok(Arrived { bytes, charge, is_compressed: self.prefix[0] == 1 })
        } else {
            Err(Status::new(Code::Unknown, "the request ends within its message"))
        }
    }
}

/// Inflates a message that says that it is compressed.
pub(super) async fn open(
    arrived: Arrived,
    encoding: Encoding,
    limit: usize,
    budget: &Budget,
) -> Result<Message, Status> {
    let wire_bytes = arrived.wire_bytes();
    let Arrived { bytes, charge, is_compressed } = arrived;
    let (bytes, charge) = match (is_compressed, encoding) {
        (false, _) => (bytes, charge),
        (true, Encoding::None) => {
            let message = "grpc: compressed flag set with identity or empty encoding";
            return Err(Status::new(Code::Internal, message));
        }
        (true, encoding) => {
            inflate(encoding, bytes, charge, limit, budget).await.map_err(|error| not_inflated(&error))?
        }
    };
    Ok(Message { bytes, charge, wire_bytes })
}

/// What a sender hears whose message, of an announced length, is not kept.
fn not_kept(problem: NotKept) -> Status {
    match problem {
        NotKept::TooMuch => more_than_one(),
        NotKept::OverBudget => over_budget(),
        NotKept::NeverFits(most) => Status::new(
            Code::ResourceExhausted,
            format!(
                "the message is larger than the {most} bytes that the collector's memory budget has room for"
            ),
        ),
    }
}

/// What a sender hears whose message cannot be inflated.
fn not_inflated(error: &InflateError) -> Status {
    match *error {
        InflateError::OverBudget => over_budget(),
        InflateError::TooLarge(limit) => Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message after decompression larger than max {limit}"),
        ),
        InflateError::NeverFits(_) => Status::new(Code::ResourceExhausted, error.to_string()),
        InflateError::Damaged(..) => {
            Status::new(Code::Internal, format!("grpc: failed to decompress the received message: {error}"))
        }
        InflateError::Failed => Status::new(Code::Internal, "inflating the message failed"),
    }
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
