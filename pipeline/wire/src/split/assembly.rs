//! The plan of a payload that is made of ranges of another one, and its writing.
//!
//! The plan is a flat list in the order of the output: open a container, copy a range, copy a range, open the next.
//! Lengths are summed over the finished plan from its end, so every byte is written once, into an allocation of
//! exactly the right size. Headers are written in front of the children, wherever they were in the input.

use super::tree::{Container, Headers, LEVELS, Path};
use crate::cursor::{WireType, varint_len};
use crate::writer::{put_tag, put_varint};
use crate::{Payload, Signal};
use bytes::Bytes;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begin a container at `level`; `body` is its length, known when the plan is finished.
    Open { level: u8, number: u32, header: (usize, usize), body: usize },
    /// Copy a range of the input that consists of whole children of the container at `level`.
    Copy { level: u8, start: usize, end: usize },
}

/// A payload to be.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    steps: Vec<Step>,
    /// The ids of the containers that are open, by level; 0 where none is.
    open: [u32; LEVELS],
    items: u32,
}

/// A state of an [`Assembly`] to which it can be taken back.
pub(super) struct Mark {
    steps: usize,
    open: [u32; LEVELS],
    items: u32,
}

impl Assembly {
    pub fn items(&self) -> u32 {
        self.items
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The first level, up to `level`, at which another container than that of `path` is open; `level + 1` if none.
    #[inline]
    pub fn first_unlike(&self, path: &Path, level: usize) -> usize {
        (1..=level).find(|&at| self.open[at] != path[at].id).unwrap_or(level + 1)
    }

    /// Appends a range of whole children of the container at `level` of `path`, which holds `items`.
    #[inline]
    pub fn copy(&mut self, path: &Path, level: usize, start: usize, end: usize, items: u32) {
        self.items += items;
        if self.open[level] == path[level].id {
            self.open[level + 1..].fill(0);
            if let Some(Step::Copy { level: last, end: last_end, .. }) = self.steps.last_mut()
                && usize::from(*last) == level
                && *last_end == start
            {
                *last_end = end;
                return;
            }
        } else {
            self.open(path, level);
        }
        self.steps.push(Step::Copy { level: level as u8, start, end });
    }

    #[inline(never)]
    fn open(&mut self, path: &Path, level: usize) {
        let unlike = self.first_unlike(path, level);
        for (at, container) in path.iter().enumerate().take(level + 1).skip(unlike) {
            let Container { id, number, header, .. } = *container;
            self.open[at] = id;
            self.steps.push(Step::Open { level: at as u8, number, header, body: 0 });
        }
        self.open[level + 1..].fill(0);
    }

    pub fn mark(&self) -> Mark {
        Mark { steps: self.steps.len(), open: self.open, items: self.items }
    }

    pub fn items_since(&self, mark: &Mark) -> u32 {
        self.items - mark.items
    }

    /// Forgets what was appended since. Only valid if the first thing appended was a container.
    pub fn back_to(&mut self, mark: &Mark) {
        self.steps.truncate(mark.steps);
        self.open = mark.open;
        self.items = mark.items;
    }

    /// Writes the plan, or slices the input if the plan is one range of it.
    pub fn finish(mut self, signal: Signal, input: &Bytes, headers: &Headers) -> Payload {
        if let [Step::Copy { level: 0, start, end }] = self.steps[..] {
            return Payload::vouched(signal, self.items, input.slice(start..end));
        }
        let total = self.measure();
        let mut out = Vec::with_capacity(total);
        for step in &self.steps {
            match *step {
                Step::Open { number, header, body, .. } => {
                    put_tag(&mut out, number, WireType::Len);
                    put_varint(&mut out, body as u64);
                    out.extend_from_slice(headers.get(header));
                }
                Step::Copy { start, end, .. } => out.extend_from_slice(&input[start..end]),
            }
        }
        debug_assert_eq!(out.len(), total);
        Payload::vouched(signal, self.items, Bytes::from(out))
    }

    /// Fills in the lengths of the containers; returns the length of the whole.
    fn measure(&mut self) -> usize {
        let mut inside = [0; LEVELS];
        for step in self.steps.iter_mut().rev() {
            match step {
                Step::Copy { level, start, end } => inside[usize::from(*level)] += *end - *start,
                Step::Open { level, number, header, body } => {
                    let level = usize::from(*level);
                    *body = header.1 - header.0 + std::mem::take(&mut inside[level]);
                    inside[level - 1] += field_len(*number, *body);
                }
            }
        }
        inside[0]
    }
}

/// How long a length-delimited field is, with tag and length.
#[inline]
pub(super) fn field_len(number: u32, body: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(body as u64) + body
}
