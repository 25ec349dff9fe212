//! How a dead letter lies on disk: why it is one in the entry's meta section, the request as the payload.
//!
//! ```text
//! version      1 byte, 1
//! received     8 bytes: when its oldest part came in, nanoseconds since 1970
//! then four texts, each 2 bytes length and UTF-8:
//! reason       by which name it is counted, e.g. `rejected`
//! fault        whose: `sender`, `us` or `destination`
//! destination  where it should have gone, as far as that has a name; may be empty
//! message      what the destination said
//! ```
//!
//! Numbers are little-endian. The payload is one OTLP export request without client metadata: who sent it, and what
//! their headers said, does not outlive the delivery. When it was put aside is the entry's own time.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_engine::{Batch, Failure, Fault};
use millrace_log::Entry;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;

/// The kind of entry that this is in the log.
pub const DEAD_LETTER: u8 = 2;
const VERSION: u8 = 1;
/// As much of a message is kept; what backends say can be long.
const MESSAGE_MAX: usize = 1024;
const DESTINATION_MAX: usize = 256;

/// Why a request is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// When its oldest part came in, in nanoseconds since 1970.
    pub received_ns: u64,
    /// By which name it is counted.
    pub reason: String,
    /// Whose fault it is.
    pub fault: String,
    /// Where it should have gone; empty if that has no name.
    pub destination: String,
    /// What the destination said.
    pub message: String,
}

/// What cannot be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// A later program wrote it.
    #[error("it was written by a newer version")]
    Newer,
    /// It is not a dead letter.
    #[error("it is not a dead letter, or its parts do not fit together")]
    Torn,
}

impl Cause {
    pub(super) fn new(batch: &Batch, failure: &Failure, destination: &str, now: Instant) -> Self {
        let received = batch.pieces().iter().map(|piece| piece.origin.received).min().unwrap_or(now);
        let age = now.saturating_duration_since(received);
        let fault = match failure.fault {
            Fault::Sender => "sender",
            Fault::Us => "us",
            Fault::Destination => "destination",
        };
        Self {
            received_ns: nanos(unix_now().saturating_sub(age)),
            reason: failure.reason.name().to_owned(),
            fault: fault.to_owned(),
            destination: cut(destination, DESTINATION_MAX).to_owned(),
            message: cut(&failure.message, MESSAGE_MAX).to_owned(),
        }
    }

    /// With the request, as an entry.
    pub(super) fn entry(&self, batch: &Batch) -> Entry {
        let items = u32::try_from(batch.cost().items).unwrap_or(u32::MAX);
        let payload = batch.pieces().iter().map(|piece| piece.payload.bytes().clone()).collect();
        Entry { kind: DEAD_LETTER, codec: 0, items, meta: self.encode(), payload }
    }

    /// As it lies on disk, for the fuzz target of records.
    #[cfg(fuzzing)]
    #[must_use]
    pub fn written(&self) -> Bytes {
        self.encode()
    }

    fn encode(&self) -> Bytes {
        let mut meta = BytesMut::with_capacity(64 + self.message.len() + self.destination.len());
        meta.put_u8(VERSION);
        meta.put_u64_le(self.received_ns);
        for text in [&self.reason, &self.fault, &self.destination, &self.message] {
            // All have been cut to less than that.
            meta.put_u16_le(text.len() as u16);
            meta.put_slice(text.as_bytes());
        }
        meta.freeze()
    }

    /// Of an entry.
    ///
    /// # Errors
    /// If it is of another kind, of a later version, or not in form.
    pub fn read(kind: u8, meta: &[u8]) -> Result<Self, Unreadable> {
        if kind != DEAD_LETTER {
            return Err(Unreadable::Torn);
        }
        let mut left = meta;
        match take::<1>(&mut left)? {
            [VERSION] => {}
            [version] if version > VERSION => return Err(Unreadable::Newer),
            _ => return Err(Unreadable::Torn),
        }
        let received_ns = u64::from_le_bytes(take(&mut left)?);
        let mut text = || {
            let length = usize::from(u16::from_le_bytes(take(&mut left)?));
            let (text, rest) = left.split_at_checked(length).ok_or(Unreadable::Torn)?;
            left = rest;
            String::from_utf8(text.to_vec()).map_err(|_| Unreadable::Torn)
        };
        let (reason, fault, destination, message) = (text()?, text()?, text()?, text()?);
        if left.is_empty() {
            Ok(Self { received_ns, reason, fault, destination, message })
        } else {
            Err(Unreadable::Torn)
        }
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (taken, rest) = left.split_first_chunk::<N>().ok_or(Unreadable::Torn)?;
    *left = rest;
    Ok(*taken)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Reason;
    use millrace_wire::Signal;
    use proptest::prelude::*;

    fn cause(message: &str) -> Cause {
        let failure = Failure::permanent(Fault::Destination, Reason::Rejected, message.to_owned());
        Cause::new(&Batch::empty(Signal::Logs), &failure, "collector.test", Instant::now())
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let cause = cause(&"ä".repeat(MESSAGE_MAX));
        assert_eq!(cause.message, "ä".repeat(MESSAGE_MAX / 2));
        assert_eq!(Cause::read(DEAD_LETTER, &cause.encode()), Ok(cause));
    }

    #[test]
    fn other_kinds_later_versions_and_what_is_left_over_are_told() {
        let mut meta = cause("no").encode().to_vec();
        assert_eq!(Cause::read(1, &meta), Err(Unreadable::Torn));
        meta.push(0);
        assert_eq!(Cause::read(DEAD_LETTER, &meta), Err(Unreadable::Torn));
        meta[0] = VERSION + 1;
        assert_eq!(Cause::read(DEAD_LETTER, &meta), Err(Unreadable::Newer));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(message in ".{0,300}", destination in "[a-z.:0-9]{0,40}") {
            let written = Cause { destination, ..cause(&message) };
            prop_assert_eq!(Cause::read(DEAD_LETTER, &written.encode()), Ok(written.clone()));
            let meta = written.encode();
            for end in 0..meta.len() {
                prop_assert_eq!(Cause::read(DEAD_LETTER, &meta[..end]), Err(Unreadable::Torn));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(kind: u8, meta: Vec<u8>) {
            let _ = Cause::read(kind, &meta);
        }
    }
}
