//! A mutator that keeps lengths right: most random changes of a nested protobuf message do nothing but break the
//! lengths around them, and get no further than the first check.

use crate::HEADER;
use crate::support::Rng;
use libfuzzer_sys::fuzzer_mutate;
use millrace_wire::cursor::{Cursor, WireType};
use millrace_wire::writer::{put_len_field, put_varint};

/// How deep the mutator goes; beyond that it changes bytes.
const DEPTH: u32 = 120;
/// How much room a leaf has to grow.
const GROWTH: usize = 64;

/// Changes `data[..size]` in place and gives its new size. Leaves the choice bytes to the plain mutator.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = Rng::new(u64::from(seed));
    if size <= HEADER || rng.one_in(4) {
        return fuzzer_mutate(data, size, max_size);
    }
    let mutated = message(&data[HEADER..size], DEPTH, &mut rng);
    if HEADER + mutated.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[HEADER..HEADER + mutated.len()].copy_from_slice(&mutated);
    HEADER + mutated.len()
}

/// A field: where it begins and ends, and where its payload does if it has a length.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    number: u32,
    body: Option<(usize, usize)>,
}

/// The fields of a message; nothing if it is none.
fn fields(bytes: &[u8]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_done() {
        let start = cursor.offset();
        let tag = cursor.tag().ok()?;
        let mut body = None;
        if tag.wire == WireType::Len {
            let len = cursor.len_prefixed().ok()?.len();
            body = Some((cursor.offset() - len, cursor.offset()));
        } else {
            cursor.skip(tag, DEPTH).ok()?;
        }
        places.push(Place { start, end: cursor.offset(), number: tag.field, body });
    }
    Some(places)
}

/// The message with one change at some level.
fn message(bytes: &[u8], depth: u32, rng: &mut Rng) -> Vec<u8> {
    let places = fields(bytes).filter(|places| !places.is_empty() && depth > 0);
    let Some(places) = places else { return plain(bytes, rng) };
    let place = *rng.pick(&places);
    let whole = &bytes[place.start..place.end];
    let replacement = match (rng.below(12), place.body) {
        // Mostly further down, where there is a further down.
        (0..7, Some((start, end))) => {
            let mut field = Vec::new();
            put_len_field(&mut field, place.number, &message(&bytes[start..end], depth - 1, rng));
            field
        }
        (7, _) => Vec::new(),
        (8, _) => whole.repeat(2),
        (9, _) => {
            let other = *rng.pick(&places);
            [whole, &bytes[other.start..other.end]].concat()
        }
        (10, _) => [whole, &new_field(rng)[..]].concat(),
        _ => plain(whole, rng),
    };
    [&bytes[..place.start], &replacement, &bytes[place.end..]].concat()
}

/// What the plain mutator makes of some bytes.
fn plain(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let room = bytes.len() + 1 + rng.below(GROWTH);
    let mut buffer = bytes.to_vec();
    buffer.resize(room, 0);
    let len = fuzzer_mutate(&mut buffer, bytes.len(), room);
    buffer.truncate(len);
    buffer
}

/// A field of a low number, of any wire type.
fn new_field(rng: &mut Rng) -> Vec<u8> {
    let mut field = Vec::new();
    let number = 1 + rng.below(18) as u64;
    let wire = *rng.pick(&[0, 1, 2, 2, 2, 5, 3]);
    put_varint(&mut field, number << 3 | wire);
    match wire {
        0 => put_varint(&mut field, rng.integer()),
        1 => field.extend_from_slice(&rng.bytes(8)),
        5 => field.extend_from_slice(&rng.bytes(4)),
        3 => put_varint(&mut field, number << 3 | 4),
        _ => {
            let len = *rng.pick(&[0, 1, 8, 16]);
            field.push(len as u8);
            field.extend_from_slice(&rng.bytes(len));
        }
    }
    field
}
