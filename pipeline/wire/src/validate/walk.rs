//! The pass over a request: what it has found out, where it starts, and how it reads. The messages themselves are in
//! `messages`.
//!
//! Errors carry no position: a refused request is walked again by `locate`.

use super::scan::{is_ascii, is_plain_key_value};
use super::{MAX_DEPTH, Policy, Problem, Utf8Policy};
use crate::cursor::{Cursor, WireError, varint_len};
use crate::schema::Message;
use crate::{Signal, schema};

/// What a walk has found out so far.
#[derive(Debug)]
pub(super) struct Walk {
    utf8: Utf8Policy,
    max_depth: u32,
    /// Spans, data points or log records.
    pub(super) items: u32,
    /// Something is legal, but not in the form of a payload.
    pub(super) odd: bool,
    /// Some text is not UTF-8 and shall be repaired.
    pub(super) broken_text: bool,
}

impl Walk {
    pub(super) fn new(policy: &Policy) -> Self {
        let max_depth = policy.max_depth.min(MAX_DEPTH);
        Self { utf8: policy.utf8, max_depth, items: 0, odd: false, broken_text: false }
    }

    /// How many messages may be nested below the request.
    pub(super) fn depth(&self) -> u32 {
        self.max_depth
    }

    /// Walks an export request. After an error, what was found out is worthless.
    pub(super) fn request(&mut self, signal: Signal, bytes: &[u8]) -> Result<(), Problem> {
        const RESOURCE: u32 = 0x0a;
        let depth = self.max_depth;
        let mut rest = bytes;
        while !rest.is_empty() {
            let tag = self.tag(&mut rest)?;
            if tag != RESOURCE {
                self.odd = true;
                self.other(tag, &mut rest, depth, 1 << (RESOURCE >> 3), &[])?;
                continue;
            }
            let resource = self.payload(&mut rest)?;
            match signal {
                Signal::Traces => self.resource_spans(resource, depth)?,
                Signal::Metrics => self.resource_metrics(resource, depth)?,
                Signal::Logs => self.resource_logs(resource, depth)?,
                Signal::Profiles => {}
            }
        }
        Ok(())
    }

    /// Walks a request of which only the shape of its top-level fields is known.
    pub(super) fn opaque(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let tag = self.tag(&mut rest)?;
            self.other(tag, &mut rest, self.max_depth, 0, &[])?;
        }
        Ok(())
    }

    /// Nearly all key-values are plain, and nearly all time is spent on key-values.
    #[inline(always)]
    pub(super) fn key_value(&mut self, bytes: &[u8], depth: u32) -> Result<(), Problem> {
        if depth >= 2 && is_plain_key_value(bytes) { Ok(()) } else { self.any_key_value(bytes, depth) }
    }
}

/// Whether a message that has passed the walk is in the form of a payload already, its text included if `text` is
/// set. Answers `false` without looking for messages that are too small to be worth a look.
pub(super) fn is_in_form(message: &'static Message, bytes: &[u8], text: bool) -> bool {
    type Visit = fn(&mut Walk, &[u8], u32) -> Result<(), Problem>;
    const WORTH_A_LOOK: [(&Message, Visit); 13] = [
        (&schema::RESOURCE_SPANS, Walk::resource_spans),
        (&schema::RESOURCE_METRICS, Walk::resource_metrics),
        (&schema::RESOURCE_LOGS, Walk::resource_logs),
        (&schema::SCOPE_SPANS, Walk::scope_spans),
        (&schema::SCOPE_METRICS, Walk::scope_metrics),
        (&schema::SCOPE_LOGS, Walk::scope_logs),
        (&schema::RESOURCE, Walk::resource),
        (&schema::SPAN, Walk::span),
        (&schema::LOG_RECORD, Walk::log_record),
        (&schema::METRIC, Walk::metric),
        (&schema::NUMBER_DATA_POINT, Walk::number_point),
        (&schema::HISTOGRAM_DATA_POINT, Walk::histogram_point),
        (&schema::EXPONENTIAL_HISTOGRAM_DATA_POINT, Walk::exponential_point),
    ];
    if std::ptr::eq(message, &schema::KEY_VALUE) {
        return is_plain_key_value(bytes);
    }
    let Some((_, visit)) = WORTH_A_LOOK.iter().find(|(known, _)| std::ptr::eq(*known, message)) else {
        return false;
    };
    let utf8 = if text { Utf8Policy::Repair } else { Utf8Policy::Pass };
    let mut walk = Walk::new(&Policy { utf8, max_depth: MAX_DEPTH });
    visit(&mut walk, bytes, MAX_DEPTH).is_ok() && !walk.odd && !walk.broken_text
}

/// The bit of a field number; none for numbers that no message defines.
#[inline(always)]
pub(super) fn bit_of(tag: u32) -> u32 {
    // One-byte tags hold numbers up to 15.
    if tag < 0x80 { 1 << (tag >> 3) } else { 1u32.checked_shl(tag >> 3).unwrap_or(0) }
}

/// Reads.
impl Walk {
    /// A tag; whether its number and wire type are possible is for [`Walk::other`] to say.
    #[inline(always)]
    pub(super) fn tag(&mut self, rest: &mut &[u8]) -> Result<u32, Problem> {
        match rest.split_first() {
            Some((&byte, tail)) if byte < 0x80 => {
                *rest = tail;
                Ok(u32::from(byte))
            }
            _ => self.long_tag(rest),
        }
    }

    #[inline(never)]
    fn long_tag(&mut self, rest: &mut &[u8]) -> Result<u32, Problem> {
        let tag = self.long_varint(rest)?;
        Ok(u32::try_from(tag).map_err(|_| WireError::BadFieldNumber)?)
    }

    #[inline(always)]
    pub(super) fn varint(&mut self, rest: &mut &[u8]) -> Result<u64, Problem> {
        match rest.split_first() {
            Some((&byte, tail)) if byte < 0x80 => {
                *rest = tail;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(rest),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self, rest: &mut &[u8]) -> Result<u64, Problem> {
        let mut cursor = Cursor::new(rest);
        let value = cursor.varint()?;
        self.odd |= cursor.offset() != varint_len(value);
        *rest = &rest[cursor.offset()..];
        Ok(value)
    }

    /// A length and that many bytes.
    #[inline(always)]
    pub(super) fn payload<'a>(&mut self, rest: &mut &'a [u8]) -> Result<&'a [u8], Problem> {
        // A length that does not fit usize is longer than any message.
        let len = usize::try_from(self.varint(rest)?).unwrap_or(usize::MAX);
        let (payload, tail) = rest.split_at_checked(len).ok_or(WireError::LengthOverrun)?;
        *rest = tail;
        Ok(payload)
    }

    #[inline(always)]
    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Problem> {
        if is_ascii(text) { Ok(()) } else { self.text_beyond_ascii(text) }
    }

    #[inline(never)]
    fn text_beyond_ascii(&mut self, text: &[u8]) -> Result<(), Problem> {
        if self.utf8 == Utf8Policy::Pass || simdutf8::basic::from_utf8(text).is_ok() {
            return Ok(());
        }
        match self.utf8 {
            Utf8Policy::Reject => Err(Problem::InvalidUtf8),
            _ => {
                self.broken_text = true;
                Ok(())
            }
        }
    }

    /// A field that the message does not list: unknown, an element outside of a packed run, or damage.
    ///
    /// `known` has a bit for each number that the message lists, `unpacked` the tags that its packed fields also
    /// have. `depth` is what is left of it inside the message.
    #[inline(never)]
    pub(super) fn other(
        &mut self,
        tag: u32,
        rest: &mut &[u8],
        depth: u32,
        known: u32,
        unpacked: &[u32],
    ) -> Result<(), Problem> {
        possible(tag)?;
        if known & bit_of(tag) != 0 {
            if !unpacked.contains(&tag) {
                return Err(Problem::WrongWireType);
            }
            self.odd = true;
            return self.skip(tag, rest, MAX_DEPTH);
        }
        self.skip(tag, rest, depth)
    }

    /// Steps over a field that is not known. As in prost, one at the deepest level is refused.
    fn skip(&mut self, tag: u32, rest: &mut &[u8], depth: u32) -> Result<(), Problem> {
        const END_GROUP: u32 = 4;
        if tag & 7 == END_GROUP {
            return Err(WireError::UnbalancedGroup.into());
        }
        let inside = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
        match tag & 7 {
            0 => self.varint(rest).map(drop),
            1 => {
                (_, *rest) = rest.split_first_chunk::<8>().ok_or(WireError::Truncated)?;
                Ok(())
            }
            2 => self.payload(rest).map(drop),
            3 => self.skip_group(tag, rest, inside),
            _ => {
                (_, *rest) = rest.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
                Ok(())
            }
        }
    }

    /// Fields up to the end of the group, which has the same number as its start.
    fn skip_group(&mut self, start: u32, rest: &mut &[u8], depth: u32) -> Result<(), Problem> {
        self.odd = true;
        let end = start + 1;
        loop {
            let tag = self.tag(rest)?;
            if tag == end {
                return Ok(());
            }
            possible(tag)?;
            self.skip(tag, rest, depth)?;
        }
    }
}

/// Whether there can be such a tag.
fn possible(tag: u32) -> Result<(), WireError> {
    match (tag >> 3, tag & 7) {
        (_, 6 | 7) => Err(WireError::BadWireType),
        (0, _) => Err(WireError::BadFieldNumber),
        _ => Ok(()),
    }
}
