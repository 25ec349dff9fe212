//! Identities that prove loss and duplication.
//!
//! Every generated item carries a run id (one per generator run) and a sequence number (from 1). A span carries them
//! in its trace id (run, then the scrambled number of its trace) and span id (the scrambled sequence); a log record
//! or data point carries them as 32 hexadecimal digits in the string attribute [`ATTRIBUTE`]. Both have a fixed
//! width, so a pre-encoded request is given fresh identities by overwriting bytes in place.
//!
//! # Invariants
//! - [`scramble`] is a bijection that keeps zero at zero, so distinct sequences give distinct, non-zero span ids that
//!   look random to samplers and compressors.

use crate::walk::{Fields, Item};
use std::ops::Range;

/// The attribute that identifies a log record or data point.
pub const ATTRIBUTE: &str = "bench.id";

/// Hexadecimal digits in the value of [`ATTRIBUTE`].
pub const HEX_LEN: usize = 32;

/// Who sent an item and which of the run's items it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId {
    /// The generator run.
    pub run: u64,
    /// From 1.
    pub sequence: u64,
}

/// Where an item keeps its identity, as offsets into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// 16 bytes of trace id, 8 of span id, and 8 of the parent's span id if there is one.
    Span {
        /// Offset of the trace id.
        trace: usize,
        /// Offset of the span id.
        span: usize,
        /// Offset of the parent span id.
        parent: Option<usize>,
    },
    /// Offset of 32 hexadecimal digits.
    Hex(usize),
}

impl Slot {
    /// Finds the identity of an item, or `None` when it has none of ours.
    #[must_use]
    pub fn of(request: &[u8], item: &Item, is_span: bool) -> Option<Self> {
        if is_span { span_slot(request, &item.body) } else { attribute_slot(request, item) }
    }

    /// Overwrites the identity. `leader` is the sequence of the first span of the same trace.
    pub fn write(&self, request: &mut [u8], id: ItemId, leader: u64) {
        match *self {
            Self::Span { trace, span, parent } => {
                request[trace..trace + 8].copy_from_slice(&id.run.to_be_bytes());
                request[trace + 8..trace + 16].copy_from_slice(&scramble(!leader).to_be_bytes());
                request[span..span + 8].copy_from_slice(&scramble(id.sequence).to_be_bytes());
                if let Some(parent) = parent {
                    request[parent..parent + 8].copy_from_slice(&scramble(leader).to_be_bytes());
                }
            }
            Self::Hex(at) => {
                write_hex(&mut request[at..at + 16], id.run);
                write_hex(&mut request[at + 16..at + HEX_LEN], scramble(id.sequence));
            }
        }
    }

    /// Reads the identity back, or `None` when the digits are not hexadecimal.
    #[must_use]
    pub fn read(&self, request: &[u8]) -> Option<ItemId> {
        let (run, scrambled) = match *self {
            Self::Span { trace, span, .. } => (be64(request, trace)?, be64(request, span)?),
            Self::Hex(at) => (read_hex(request, at)?, read_hex(request, at + 16)?),
        };
        Some(ItemId { run, sequence: unscramble(scrambled) })
    }
}

fn span_slot(request: &[u8], body: &Range<usize>) -> Option<Slot> {
    let (mut trace, mut span, mut parent) = (None, None, None);
    for field in Fields::of(request, body) {
        let field = field.ok()?;
        match (field.number, field.body.len()) {
            (1, 16) => trace = Some(field.body.start),
            (2, 8) => span = Some(field.body.start),
            (4, 8) => parent = Some(field.body.start),
            _ => {}
        }
        // The ids come first in every encoder seen; stop before the long tail of attributes.
        if field.number > 4 && trace.is_some() && span.is_some() {
            break;
        }
    }
    Some(Slot::Span { trace: trace?, span: span?, parent })
}

fn attribute_slot(request: &[u8], item: &Item) -> Option<Slot> {
    for field in Fields::of(request, &item.body) {
        let field = field.ok()?;
        if field.number != item.attributes {
            continue;
        }
        let mut is_ours = false;
        for part in Fields::of(request, &field.body) {
            let part = part.ok()?;
            match part.number {
                1 => is_ours = &request[part.body] == ATTRIBUTE.as_bytes(),
                2 if is_ours => {
                    let text = Fields::of(request, &part.body).next()?.ok()?;
                    let fits = text.number == 1 && text.body.len() == HEX_LEN;
                    return fits.then_some(Slot::Hex(text.body.start));
                }
                _ => {}
            }
        }
    }
    None
}

/// Spreads a number over all 64 bits; a bijection with `scramble(0) == 0` (multiply and xor-shift rounds).
#[must_use]
pub const fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(ODD);
    let value = (value ^ (value >> 32)).wrapping_mul(ODD);
    value ^ (value >> 32)
}

/// Undoes [`scramble`].
#[must_use]
pub const fn unscramble(value: u64) -> u64 {
    // A shift of half the width is its own inverse.
    let value = (value ^ (value >> 32)).wrapping_mul(INVERSE);
    let value = (value ^ (value >> 32)).wrapping_mul(INVERSE);
    value ^ (value >> 32)
}

/// Any odd number with well-mixed bits will do.
const ODD: u64 = 0xd6e8_feb8_6659_fd93;
const INVERSE: u64 = inverse(ODD);

/// The multiplicative inverse modulo 2^64, by Newton's iteration (each round doubles the correct bits).
const fn inverse(odd: u64) -> u64 {
    let mut guess = odd;
    let mut round = 0;
    while round < 6 {
        guess = guess.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))
}

fn write_hex(out: &mut [u8], value: u64) {
    for (index, digit) in out.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(value >> (60 - 4 * index)) as usize & 15];
    }
}

fn read_hex(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 16)?.iter().try_fold(0u64, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrambling_is_undone_exactly_and_keeps_zero() {
        assert_eq!(scramble(0), 0);
        for value in (0..10_000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            assert_eq!(unscramble(scramble(value)), value);
        }
    }

    #[test]
    fn hexadecimal_identities_survive_the_round_trip() {
        let mut bytes = [b'.'; HEX_LEN + 6];
        let slot = Slot::Hex(3);
        let id = ItemId { run: 0x0123_4567_89ab_cdef, sequence: 42 };

        slot.write(&mut bytes, id, 1);

        assert_eq!(slot.read(&bytes), Some(id));
        assert_eq!((bytes[2], bytes[HEX_LEN + 3]), (b'.', b'.'), "neighbours are untouched");
        bytes[10] = b'g';
        assert_eq!(slot.read(&bytes), None);
    }
}
