//! How a batch lies on disk: what belongs to it in the entry's meta section, its bytes as the payload.
//!
//! ```text
//! version      1 byte, 1
//! span         1 byte, 0 or 1 (bit 0: there is one; bit 1: its trace is recorded); with one, 16 + 8 bytes: trace, span
//! pieces       4 bytes: how many, then for each
//!   length     4 bytes: its part of the payload, in order
//!   received   8 bytes: nanoseconds since 1970
//!   metadata   2 bytes: how many, then for each: 2 bytes length, name, 2 bytes length, value
//! ```
//!
//! Numbers are little-endian. What is read back is not believed: lengths are checked, and the payload goes through the
//! same validating walk as what comes from a socket.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_engine::{Batch, Charge, Metadata, Origin, Piece};
use millrace_log::Entry;
use millrace_telemetry::trace::SpanContext;
use millrace_wire::Signal;
use millrace_wire::validate::{Policy, validate};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;

/// The kind of entry that this is in the log.
pub(super) const BATCH: u8 = 1;
const VERSION: u8 = 1;
const HAS_SPAN: u8 = 1;
const IS_SAMPLED: u8 = 2;
/// A batch without client metadata takes no more than this beside its payload.
pub(super) const META_USUAL: u64 = 64;
/// The most client metadata that is kept of one piece; receivers take no more than that in headers.
const METADATA_MAX: usize = 16 << 10;

/// Header names that never reach the disk, whoever declares them.
const CREDENTIALS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
];

/// What cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("it was written by a newer version")]
    Newer,
    #[error("its parts do not fit together")]
    Torn,
    #[error("it is not OTLP: {0}")]
    Malformed(String),
}

/// The client metadata that goes to disk: what a component behind the queue has declared that it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared(Vec<Box<str>>);

impl Declared {
    /// Names are compared in lower case, as the metadata has them.
    ///
    /// # Errors
    /// The first that is a credential.
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, Box<str>> {
        let mut names: Vec<Box<str>> = names.into_iter().map(|name| name.to_lowercase().into()).collect();
        names.sort();
        names.dedup();
        match names.iter().find(|name| CREDENTIALS.contains(&&***name)) {
            Some(credential) => Err(credential.clone()),
            None => Ok(Self(names)),
        }
    }

    /// What is left of where something came from. It is the same whether it goes by way of the disk or not.
    fn of(&self, origin: &Arc<Origin>) -> Arc<Origin> {
        let is_declared = |(name, _): &(Box<str>, Box<str>)| self.0.contains(name);
        if origin.identity.is_none() && origin.metadata.iter().all(is_declared) {
            return Arc::clone(origin);
        }
        let metadata = origin.metadata.iter().filter(|pair| is_declared(pair)).cloned().collect();
        Arc::new(Origin { metadata, identity: None, ..(**origin).clone() })
    }

    /// The batch as it is after the queue, whichever way it takes.
    pub(super) fn strip(&self, batch: Batch) -> Batch {
        let signal = batch.signal();
        batch.into_pieces().into_iter().fold(Batch::empty(signal), |mut stripped, piece| {
            let origin = self.of(&piece.origin);
            stripped.push(Piece { origin, ..piece });
            stripped
        })
    }
}

/// Between the clock that durations are taken from and the one that outlives the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) unix_ns: u64,
}

impl Now {
    pub(super) fn get() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant: super::super::now(), unix_ns: since.as_nanos().try_into().unwrap_or(u64::MAX) }
    }

    fn unix_ns_of(self, instant: Instant) -> u64 {
        let age = self.instant.saturating_duration_since(instant);
        self.unix_ns.saturating_sub(age.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// What lies in the future, because the clock was set back, is now.
    pub(super) fn instant_of(self, unix_ns: u64) -> Instant {
        let age = Duration::from_nanos(self.unix_ns.saturating_sub(unix_ns));
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }
}

/// A batch that has been stripped, as an entry. Pieces that were sent by the same are one from here on, as old as the
/// oldest of them.
pub(super) fn entry(batch: &Batch, span: Option<SpanContext>, now: Now) -> Entry {
    let mut meta = BytesMut::with_capacity(META_USUAL as usize);
    meta.put_u8(VERSION);
    match span {
        None => meta.put_u8(0),
        Some(span) => {
            meta.put_u8(HAS_SPAN | if span.is_sampled { IS_SAMPLED } else { 0 });
            meta.put_slice(&span.trace_id);
            meta.put_slice(&span.span_id);
        }
    }
    let count_at = meta.len();
    meta.put_u32_le(0);
    let pieces = batch.pieces();
    let mut runs = 0;
    // What a profile refers to lies elsewhere in its own request.
    let may_join = batch.signal() != Signal::Profiles;
    for run in pieces.chunk_by(|one, next| may_join && one.origin.metadata == next.origin.metadata) {
        runs += 1;
        let length: usize = run.iter().map(|piece| piece.payload.len()).sum();
        // Batches are far smaller: a request is at most some MiB, and so is what is made of several.
        meta.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        let oldest = run.iter().map(|piece| piece.origin.received).min().unwrap_or(now.instant);
        meta.put_u64_le(now.unix_ns_of(oldest));
        put_metadata(&mut meta, &run[0].origin.metadata);
    }
    meta[count_at..count_at + 4].copy_from_slice(&u32::to_le_bytes(runs));
    let items = u32::try_from(batch.cost().items).unwrap_or(u32::MAX);
    let payload = pieces.iter().map(|piece| piece.payload.bytes().clone()).collect();
    Entry { kind: BATCH, codec: 0, items, meta: meta.freeze(), payload }
}

/// What is longer than headers can be is left out as a whole, rather than cut.
fn put_metadata(meta: &mut BytesMut, metadata: &Metadata) {
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if bytes > METADATA_MAX {
        return meta.put_u16_le(0);
    }
    // Both fit, as all of it is no longer than that.
    meta.put_u16_le(metadata.len() as u16);
    for text in metadata.iter().flat_map(|(name, value)| [name, value]) {
        meta.put_u16_le(text.len() as u16);
        meta.put_slice(text.as_bytes());
    }
}

/// A batch, and the span that it was handed in within.
pub(super) fn batch(
    signal: Signal,
    mut meta: Bytes,
    mut payload: Bytes,
    now: Now,
) -> Result<(Batch, Option<SpanContext>), Unreadable> {
    match u8_of(&mut meta)? {
        VERSION => {}
        version if version > VERSION => return Err(Unreadable::Newer),
        _ => return Err(Unreadable::Torn),
    }
    let span = span(&mut meta)?;
    let pieces = u32::from_le_bytes(array(&mut meta)?);
    let mut batch = Batch::empty(signal);
    for _ in 0..pieces {
        let length = u32::from_le_bytes(array(&mut meta)?) as usize;
        let received = now.instant_of(u64::from_le_bytes(array(&mut meta)?));
        let metadata = metadata(&mut meta)?;
        let bytes = take(&mut payload, length)?;
        let validated = validate(signal, bytes, &Policy::default());
        let validated = validated.map_err(|problem| Unreadable::Malformed(problem.to_string()))?;
        let origin = Arc::new(Origin { received, peer: None, metadata, identity: None });
        batch.push(Piece { payload: validated.payload, origin, charge: Charge::none() });
    }
    if payload.is_empty() && meta.is_empty() { Ok((batch, span)) } else { Err(Unreadable::Torn) }
}

fn span(meta: &mut Bytes) -> Result<Option<SpanContext>, Unreadable> {
    let flags = u8_of(meta)?;
    if flags & HAS_SPAN == 0 {
        return Ok(None);
    }
    let (trace_id, span_id) = (array(meta)?, array(meta)?);
    Ok(Some(SpanContext { trace_id, span_id, is_sampled: flags & IS_SAMPLED != 0, is_remote: false }))
}

fn metadata(meta: &mut Bytes) -> Result<Metadata, Unreadable> {
    let count = u16::from_le_bytes(array(meta)?);
    let mut text = || {
        let length = u16::from_le_bytes(array(meta)?);
        let bytes = take(meta, length.into())?;
        String::from_utf8(bytes.into()).map(String::into_boxed_str).map_err(|_| Unreadable::Torn)
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect()
}

fn u8_of(bytes: &mut Bytes) -> Result<u8, Unreadable> {
    array(bytes).map(|[byte]| byte)
}

fn array<const N: usize>(bytes: &mut Bytes) -> Result<[u8; N], Unreadable> {
    let taken = take(bytes, N)?;
    taken.as_ref().try_into().map_err(|_| Unreadable::Torn)
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, Unreadable> {
    if bytes.len() < length { Err(Unreadable::Torn) } else { Ok(bytes.split_to(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_wire::write::{LogRecord, Logs};
    use proptest::prelude::*;

    fn piece(records: usize, received: Instant, metadata: &[(String, String)]) -> Piece {
        let payload = Logs::build(|logs| {
            for _ in 0..records {
                logs.record(LogRecord::default(), |_| {});
            }
        });
        let metadata =
            metadata.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        let origin = Arc::new(Origin { received, peer: None, metadata, identity: None });
        Piece { payload, origin, charge: Charge::none() }
    }

    fn through_the_disk(batch: &Batch, span: Option<SpanContext>) -> (Batch, Option<SpanContext>) {
        let now = Now::get();
        let Entry { meta, payload, items, .. } = entry(batch, span, now);
        assert_eq!(u64::from(items), batch.cost().items);
        super::batch(batch.signal(), meta, payload.concat().into(), now).expect("as it was written")
    }

    #[test]
    fn only_declared_metadata_goes_through_the_queue_and_credentials_cannot_be_declared() {
        let sent =
            ["x-tenant", "authorization", "x-other"].map(|name| (name.to_owned(), "canary".to_owned()));
        let mut piece = piece(1, Instant::now(), &sent);
        Arc::make_mut(&mut piece.origin).identity = Some(Arc::new(vec![("subject".into(), "canary".into())]));
        let refused = Declared::new(["X-Tenant", "Authorization"]).expect_err("a credential");
        assert_eq!(&*refused, "authorization");
        let declared = Declared::new(["X-Tenant"]).expect("no credential");

        let stripped = declared.strip(Batch::of(piece));

        let origin = &stripped.pieces()[0].origin;
        assert_eq!(origin.metadata, [("x-tenant".into(), "canary".into())]);
        assert_eq!(origin.identity, None);
        let (read, _) = through_the_disk(&stripped, None);
        assert_eq!(read.pieces()[0].origin.metadata, origin.metadata);
    }

    #[test]
    fn when_it_was_received_and_within_which_span_outlives_the_process() {
        let received = Instant::now() - Duration::from_secs(5);
        let span = SpanContext { trace_id: [7; 16], span_id: [9; 8], is_sampled: true, is_remote: false };
        let (read, read_span) = through_the_disk(&Batch::of(piece(3, received, &[])), Some(span));
        let off = read.pieces()[0].origin.received.duration_since(received);
        assert!(off < Duration::from_millis(1), "{off:?}");
        assert_eq!(read_span, Some(span));
        let (_, none) = through_the_disk(&read, None);
        assert_eq!(none, None);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_older_than_it_is() {
        let now = Now::get();
        assert_eq!(now.instant_of(now.unix_ns + 1_000_000_000), now.instant);
    }

    #[test]
    fn what_is_no_otlp_is_not_passed_on() {
        let now = Now::get();
        let Entry { meta, payload, .. } = entry(&Batch::of(piece(2, now.instant, &[])), None, now);
        let mut bytes = payload.concat();
        assert!(batch(Signal::Logs, meta.clone(), bytes.clone().into(), now).is_ok());
        // The length of its first resource says more than there is.
        bytes[1] += 1;
        let read = batch(Signal::Logs, meta, bytes.into(), now);
        assert!(matches!(read, Err(Unreadable::Malformed(_))), "{read:?}");
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_written(
            pieces in prop::collection::vec((0..4usize, prop::collection::vec(("[a-z]{0,9}", ".{0,9}"), 0..3)), 1..6)
        ) {
            let now = Instant::now();
            let batch = pieces.iter().fold(Batch::empty(Signal::Logs), |mut batch, (records, metadata)| {
                batch.push(piece(*records, now, metadata));
                batch
            });
            let (read, _) = through_the_disk(&batch, None);
            let told = |batch: &Batch| -> Vec<(Metadata, Vec<u8>)> {
                let runs = batch.pieces().chunk_by(|one, next| one.origin.metadata == next.origin.metadata);
                let bytes = |run: &[Piece]| run.iter().flat_map(|piece| piece.payload.bytes().to_vec()).collect();
                runs.map(|run| (run[0].origin.metadata.clone(), bytes(run))).collect()
            };
            prop_assert_eq!(told(&read), told(&batch));
            prop_assert_eq!(read.cost().items, batch.cost().items);
        }

        #[test]
        fn no_bytes_are_believed(meta in prop::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            // Whatever it is, it is refused or read, without a panic.
            let _ = batch(Signal::Logs, meta.clone().into(), Bytes::from(meta), Now::get());
            let written = Batch::of(piece(2, Instant::now(), &[("name".to_owned(), "value".to_owned())]));
            let Entry { meta, payload, .. } = entry(&written, None, Now::get());
            let mut damaged = meta.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            if let Ok((read, _)) = batch(Signal::Logs, damaged.into(), payload.concat().into(), Now::get()) {
                prop_assert_eq!(read.cost().items, 2);
            }
        }
    }
}
