//! Packed runs of scalars.

use crate::cursor::Cursor;

/// A packed run of `fixed64`, in order. The length is known in advance.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackedFixed64<'a> {
    words: &'a [[u8; 8]],
}

impl<'a> PackedFixed64<'a> {
    pub(super) fn over(run: &'a [u8]) -> Self {
        let (words, rest) = run.as_chunks();
        debug_assert!(rest.is_empty(), "a packed run of 64-bit words ends inside one");
        Self { words }
    }
}

impl Iterator for PackedFixed64<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.words.len(), Some(self.words.len()))
    }
}

impl ExactSizeIterator for PackedFixed64<'_> {}

/// A packed run of `double`, in order. The length is known in advance.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackedDoubles<'a> {
    words: PackedFixed64<'a>,
}

impl<'a> PackedDoubles<'a> {
    pub(super) fn over(run: &'a [u8]) -> Self {
        Self { words: PackedFixed64::over(run) }
    }
}

impl Iterator for PackedDoubles<'_> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        self.words.next().map(f64::from_bits)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.words.size_hint()
    }
}

impl ExactSizeIterator for PackedDoubles<'_> {}

/// A packed run of `uint64`, in order.
#[derive(Debug, Clone, Copy)]
pub struct PackedVarints<'a> {
    cursor: Cursor<'a>,
}

impl<'a> PackedVarints<'a> {
    pub(super) fn over(run: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(run) }
    }
}

impl Iterator for PackedVarints<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.cursor.is_done() {
            return None;
        }
        let value = self.cursor.varint();
        debug_assert!(value.is_ok(), "a packed run of varints ends inside one");
        if value.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        value.ok()
    }
}

impl DoubleEndedIterator for PackedVarints<'_> {
    fn next_back(&mut self) -> Option<u64> {
        let left = &self.cursor.bytes()[self.cursor.offset()..];
        let (_, before) = left.split_last()?;
        // The last byte of each is the only one of its bytes below 0x80.
        let start = before.iter().rposition(|byte| *byte < 0x80).map_or(0, |end| end + 1);
        let value = Cursor::new(&left[start..]).varint();
        debug_assert!(value.is_ok(), "a packed run of varints ends inside one");
        self.cursor = Cursor::new(if value.is_ok() { &left[..start] } else { &[] });
        value.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::put_varint;

    #[test]
    fn varints_are_the_same_from_either_end_and_from_both() {
        let values: Vec<u64> =
            (0..64).flat_map(|bit| [0, 1 << bit, (1 << bit) - 1]).chain([u64::MAX]).collect();
        let mut run = Vec::new();
        for value in &values {
            put_varint(&mut run, *value);
        }
        // As long as it may be, and longer than it need be.
        run.extend([0x81, 0x80, 0x00]);
        let forwards: Vec<_> = PackedVarints::over(&run).collect();
        assert_eq!(forwards[..values.len()], values);
        let mut backwards: Vec<_> = PackedVarints::over(&run).rev().collect();
        backwards.reverse();
        assert_eq!(backwards, forwards);
        for taken in 0..=forwards.len() {
            let mut both = PackedVarints::over(&run);
            let front: Vec<_> = both.by_ref().take(taken).collect();
            let mut back: Vec<_> = both.rev().collect();
            back.reverse();
            assert_eq!([front, back].concat(), forwards);
        }
    }
}
