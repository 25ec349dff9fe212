//! A message as it is sent: its prefix and its parts, as one buffer that copies nothing.
//!
//! One buffer and not one for each part, because HTTP/2 would make frames of the parts: a prefix would be a frame of
//! five bytes, and servers take many small frames for abuse (`ENHANCE_YOUR_CALM`).

use super::super::{PREFIX_LEN, prefix};
use crate::outgoing::{Known, Remembered};
use bytes::{Buf, Bytes};
use std::io::IoSlice;

/// What is left of a message to be sent.
#[derive(Debug)]
pub(super) struct Message {
    prefix: [u8; PREFIX_LEN],
    prefix_sent: usize,
    current: Bytes,
    /// The parts after it, the next one last.
    rest: Vec<Bytes>,
    remaining: usize,
    _remembered: Remembered,
}

impl Message {
    /// A message of `parts`, laid end to end, which are `known` until it has been sent.
    pub(super) fn new(parts: &[Bytes], compressed: bool, known: &Known) -> Self {
        let len = parts.iter().map(Bytes::len).sum();
        let (current, rest) = match parts {
            [] => (Bytes::new(), Vec::new()),
            [one] => (one.clone(), Vec::new()),
            [first, rest @ ..] => (first.clone(), rest.iter().rev().cloned().collect()),
        };
        Self {
            prefix: prefix(len, compressed),
            prefix_sent: 0,
            current,
            rest,
            remaining: PREFIX_LEN + len,
            _remembered: known.remember(parts),
        }
    }

    /// The parts that are left, with what may be left of the prefix in front.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let parts = [&self.prefix[self.prefix_sent..], &self.current[..]].into_iter();
        parts.chain(self.rest.iter().rev().map(|part| &part[..])).filter(|chunk| !chunk.is_empty())
    }
}

impl Buf for Message {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.chunks().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(self.chunks()) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "no more is sent than there is");
        self.remaining -= count;
        let of_prefix = count.min(PREFIX_LEN - self.prefix_sent);
        self.prefix_sent += of_prefix;
        count -= of_prefix;
        loop {
            let of_part = count.min(self.current.len());
            self.current.advance(of_part);
            count -= of_part;
            if !self.current.is_empty() {
                return;
            }
            match self.rest.pop() {
                Some(next) => self.current = next,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn parts() -> [Bytes; 7] {
        ["", "one", "", "", "two", "three", ""].map(|part| Bytes::from_static(part.as_bytes()))
    }

    #[test]
    fn however_it_is_taken_it_is_the_prefix_and_the_parts() {
        let whole = b"\x01\0\0\0\x0bonetwothree";
        for step in 1..=whole.len() {
            let mut message = Message::new(&parts(), true, &Known::default());
            let mut taken = Vec::new();
            while message.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = message.chunks_vectored(&mut slices);
                assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
                assert_eq!(&*slices[0], message.chunk());
                let len = step.min(message.remaining());
                taken.put((&mut message).take(len));
            }
            assert_eq!(taken, whole, "in steps of {step}");
        }
        let mut empty = Message::new(&[], false, &Known::default());
        assert_eq!(empty.copy_to_bytes(PREFIX_LEN), [0; PREFIX_LEN][..]);
        assert!(!empty.has_remaining());
    }
}
