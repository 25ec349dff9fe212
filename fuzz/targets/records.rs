//! What lies in the entries of queues and dead letters. A reader of its own says of which parts a record is made; what
//! ours takes has just these, is OTLP, and survives being written and read again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_delivery::dead_letters::{Cause, DEAD_LETTER};
use millrace_delivery::fuzzing::{Moment, read, written};
use millrace_wire::Signal;
use millrace_wire::validate::{Policy, validate};
use std::time::{Duration, Instant};

fuzz_target!(|data: &[u8]| {
    let [what, high, low, rest @ ..] = data else { return };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (meta, payload) = rest.split_at(length);
    match what % 4 {
        3 => dead_letter(meta),
        signal => queued([Signal::Traces, Signal::Metrics, Signal::Logs][usize::from(signal)], meta, payload),
    }
});

fn queued(signal: Signal, meta: &[u8], payload: &[u8]) {
    let at =
        Moment { instant: Instant::now() + Duration::from_secs(3600), unix_ns: 1_790_000_000_000_000_000 };
    let ours = read(signal, Bytes::copy_from_slice(meta), Bytes::copy_from_slice(payload), at);
    let theirs = parts(meta).filter(|parts| {
        let mut left = payload;
        let is_otlp = |length: &usize| {
            let Some((part, rest)) = left.split_at_checked(*length) else { return false };
            left = rest;
            validate(signal, Bytes::copy_from_slice(part), &Policy::default()).is_ok()
        };
        parts.iter().map(|(length, _)| length).all(is_otlp) && left.is_empty()
    });
    assert_eq!(ours.is_some(), theirs.is_some());
    let (Some((batch, span)), Some(parts)) = (ours, theirs) else { return };
    let metadata = |batch: &millrace_engine::Batch| -> Vec<Vec<(String, String)>> {
        let texts = |piece: &millrace_engine::Piece| {
            piece.origin.metadata.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        batch.pieces().iter().map(texts).collect()
    };
    let bytes = |batch: &millrace_engine::Batch| -> Vec<u8> {
        batch.pieces().iter().flat_map(|piece| piece.payload.bytes().to_vec()).collect()
    };
    assert!(batch.pieces().len() <= parts.len());
    if batch.pieces().len() == parts.len() {
        assert_eq!(metadata(&batch), parts.into_iter().map(|(_, metadata)| metadata).collect::<Vec<_>>());
    }

    let entry = written(&batch, span, at);
    assert_eq!(u64::from(entry.items), batch.cost().items);
    let (again, same) =
        read(signal, entry.meta, entry.payload.concat().into(), at).expect("as it was written");
    assert_eq!((same, again.cost().items), (span, batch.cost().items));
    assert_eq!(bytes(&again), bytes(&batch));
    let mut before = metadata(&batch);
    before.dedup();
    // What is longer than headers can be is left out.
    before.iter_mut().filter(|texts| size(texts) > 16 << 10).for_each(Vec::clear);
    before.dedup();
    let mut after = metadata(&again);
    after.dedup();
    assert_eq!(after, before);
}

fn size(texts: &[(String, String)]) -> usize {
    texts.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

type Part = (usize, Vec<(String, String)>);

/// The lengths and the client metadata of the pieces, read from the end of what the format's description says.
fn parts(meta: &[u8]) -> Option<Vec<Part>> {
    let mut at = 0;
    let mut number = |width: usize| {
        let bytes = meta.get(at..at + width)?;
        at += width;
        Some((at, bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))))
    };
    if number(1)?.1 != 1 {
        return None;
    }
    if number(1)?.1 & 1 == 1 {
        for _ in 0..24 {
            number(1)?;
        }
    }
    let count = number(4)?.1;
    let mut parts = Vec::new();
    for _ in 0..count {
        let length = number(4)?.1;
        number(8)?;
        let mut texts = Vec::new();
        for _ in 0..2 * number(2)?.1 {
            let mut bytes = Vec::new();
            for _ in 0..number(2)?.1 {
                bytes.push(number(1)?.1 as u8);
            }
            texts.push(String::from_utf8(bytes).ok()?);
        }
        let pairs = texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        parts.push((length as usize, pairs.collect()));
    }
    number(0).filter(|(end, _)| *end == meta.len()).map(|_| parts)
}

fn dead_letter(meta: &[u8]) {
    let Ok(cause) = Cause::read(DEAD_LETTER, meta) else { return };
    assert!(Cause::read(DEAD_LETTER - 1, meta).is_err(), "of another kind");
    let texts = [&cause.reason, &cause.fault, &cause.destination, &cause.message];
    let length: usize = texts.iter().map(|text| text.len() + 2).sum();
    assert_eq!(meta.len(), 1 + 8 + length);
    assert_eq!(cause.written(), meta);
}
