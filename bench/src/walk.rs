//! Finding the items of an encoded request by hopping over lengths.
//!
//! This is the harness's own small walk. It shares the varint reader with Millrace and nothing else, so that the
//! sink's count does not depend on the code whose work it checks. Nothing is decoded and nothing is validated beyond
//! the lengths that are hopped over.

use millrace_wire::Signal;
use millrace_wire::cursor::{Cursor, Tag, WireError, WireType};
use std::ops::Range;

/// Unknown groups are stepped over to this depth.
const GROUP_DEPTH: u32 = 16;

/// One length-delimited field of a message, as a range of the whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The field number.
    pub number: u32,
    /// Where its payload lies in the whole request.
    pub body: Range<usize>,
}

/// The length-delimited fields of one message, in order; other fields are stepped over.
#[derive(Debug)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
    base: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the message at `message` within `request`.
    #[must_use]
    pub fn of(request: &'a [u8], message: &Range<usize>) -> Self {
        Self { cursor: Cursor::new(&request[message.clone()]), base: message.start }
    }

    fn step(&mut self) -> Result<Option<Field>, WireError> {
        while !self.cursor.is_done() {
            let tag: Tag = self.cursor.tag()?;
            if tag.wire != WireType::Len {
                self.cursor.skip(tag, GROUP_DEPTH)?;
                continue;
            }
            let len = self.cursor.len_prefixed()?.len();
            let end = self.base + self.cursor.offset();
            return Ok(Some(Field { number: tag.field, body: end - len..end }));
        }
        Ok(None)
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// One span, log record or data point.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where its message lies in the request.
    pub body: Range<usize>,
    /// The field number of its attributes.
    pub attributes: u32,
}

/// Calls `visit` for every item of `request`, in order.
///
/// # Errors
/// The first broken length, with what lies before it already visited.
pub fn each_item(signal: Signal, request: &[u8], mut visit: impl FnMut(Item)) -> Result<(), WireError> {
    for resource in Fields::of(request, &(0..request.len())) {
        let resource = resource?;
        if resource.number != 1 {
            continue;
        }
        for scope in Fields::of(request, &resource.body) {
            let scope = scope?;
            if scope.number != 2 {
                continue;
            }
            for entry in Fields::of(request, &scope.body) {
                let entry = entry?;
                if entry.number != 2 {
                    continue;
                }
                match signal {
                    Signal::Traces => visit(Item { body: entry.body, attributes: 9 }),
                    Signal::Logs | Signal::Profiles => visit(Item { body: entry.body, attributes: 6 }),
                    Signal::Metrics => each_point(request, &entry.body, &mut visit)?,
                }
            }
        }
    }
    Ok(())
}

fn each_point(request: &[u8], metric: &Range<usize>, visit: &mut impl FnMut(Item)) -> Result<(), WireError> {
    for data in Fields::of(request, metric) {
        let data = data?;
        // Gauge, sum and summary points keep their attributes in 7, histograms in 9, exponential ones in 1.
        let attributes = match data.number {
            5 | 7 | 11 => 7,
            9 => 9,
            10 => 1,
            _ => continue,
        };
        for point in Fields::of(request, &data.body) {
            let point = point?;
            if point.number == 1 {
                visit(Item { body: point.body, attributes });
            }
        }
    }
    Ok(())
}

/// How many items a request carries.
///
/// # Errors
/// The first broken length.
pub fn count(signal: Signal, request: &[u8]) -> Result<u64, WireError> {
    let mut items = 0;
    each_item(signal, request, |_| items += 1)?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_past_the_end_is_an_error_not_a_short_count() {
        // given: resource_spans whose length says five bytes, with two present
        let broken = [0x0a, 0x05, 0x12, 0x00];
        assert_eq!(count(Signal::Traces, &broken), Err(WireError::LengthOverrun));
    }

    #[test]
    fn an_empty_request_has_no_items() {
        assert_eq!(count(Signal::Metrics, &[]), Ok(0));
    }
}
