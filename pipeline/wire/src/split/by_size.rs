//! Dividing by size: as few parts as the limits allow, filled in order.

use super::assembly::{Assembly, field_len};
use super::tree::{Container, Headers, LEVELS, Path, REQUEST, count, is_child, leaf_level};
use crate::Payload;
use crate::place::{Place, Places};
use bytes::Bytes;
use std::num::{NonZeroU32, NonZeroUsize};

/// What a part may hold. Without a limit a payload is never divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// At most so many spans, data points or log records.
    pub max_items: Option<NonZeroU32>,
    /// At most so many bytes of encoded request, repeated headers included.
    pub max_bytes: Option<NonZeroUsize>,
}

/// Headers are repeated at the cost of at most this many times the input's length, plus
/// [`MAX_REPEATED_BASE_BYTES`].
pub const MAX_REPEATED_FACTOR: usize = 8;
/// See [`MAX_REPEATED_FACTOR`].
pub const MAX_REPEATED_BASE_BYTES: usize = 1 << 20;

/// Divides a payload into parts that respect `limit`, in order: resource by resource, and inside of what is too large
/// scope by scope, item by item, metric by metric, data point by data point (each part of a metric has its name,
/// unit and so on). Parts are filled up before the next is begun, as the Go collector does.
///
/// A part exceeds the limit in two cases, and the caller decides what becomes of it:
/// - a single item (or a container without items) that is too large with its headers comes alone;
/// - dividing stops where it would blow up the data. Headers are repeated for at most
///   `8 × input + 1 MiB` bytes in all; once that is used up, cuts are made only where they repeat nothing new, so the
///   output is never longer than `9 × input + 1 MiB`. Nobody gets there but a sender whose resource attributes dwarf
///   its items by far more than eight times.
///
/// What is not divided is not copied: a payload that fits comes back as it is, a run of whole resources as a slice.
#[must_use]
pub fn by_size(payload: &Payload, limit: Limit) -> Vec<Payload> {
    let budget = payload.len().saturating_mul(MAX_REPEATED_FACTOR).saturating_add(MAX_REPEATED_BASE_BYTES);
    divide(payload, limit, budget)
}

/// Divides the items of a payload into a first and a second half (the first gets the odd one), whatever their size;
/// `None` if there are fewer than two. Halving again and again ends at single items.
#[must_use]
pub fn halve(payload: &Payload) -> Option<(Payload, Payload)> {
    if payload.items() < 2 {
        return None;
    }
    let max_items = NonZeroU32::new(payload.items().div_ceil(2));
    let mut halves = divide(payload, Limit { max_items, max_bytes: None }, usize::MAX).into_iter();
    Some((halves.next()?, halves.next()?))
}

fn divide(payload: &Payload, limit: Limit, repeat_budget: usize) -> Vec<Payload> {
    let limits = Limits {
        items: limit.max_items.map_or(u32::MAX, NonZeroU32::get),
        bytes: limit.max_bytes.map_or(usize::MAX, NonZeroUsize::get),
    };
    let fits = payload.items() <= limits.items && payload.len() <= limits.bytes;
    let Some(leaf) = leaf_level(payload.signal()).filter(|_| !fits) else {
        return vec![payload.clone()];
    };
    let mut division = Division {
        payload,
        input: payload.bytes(),
        leaf,
        limits,
        repeat_budget,
        headers: Headers::default(),
        path: Path::default(),
        used: [false; LEVELS],
        part: Part::default(),
        done: Vec::new(),
    };
    division.children(REQUEST, 0, payload.len());
    division.cut();
    division.done
}

struct Limits {
    items: u32,
    bytes: usize,
}

struct Division<'a> {
    payload: &'a Payload,
    input: &'a Bytes,
    leaf: usize,
    limits: Limits,
    /// How many more bytes of headers may be repeated.
    repeat_budget: usize,
    headers: Headers,
    path: Path,
    /// Whether the header of the container at that level of the path is in some part already.
    used: [bool; LEVELS],
    part: Part,
    done: Vec<Payload>,
}

impl Division<'_> {
    fn children(&mut self, level: usize, start: usize, end: usize) {
        let input: &[u8] = self.input;
        for child in Places::within(input, start, end).filter(|place| is_child(level, place)) {
            self.place(level, &child);
        }
    }

    /// Puts a child of the container at `level` of the path into this part or the next ones.
    fn place(&mut self, level: usize, child: &Place) {
        let items = match level == self.leaf {
            true => 1,
            false => count(self.input, level + 1, child.body, child.end, self.leaf),
        };
        if self.fits(level, child.end - child.start, items) {
            self.append(level, child, items);
        } else if level == self.leaf || items == 0 {
            self.cut_if_affordable(level);
            self.append(level, child, items);
        } else {
            self.descend(level, child, items);
        }
    }

    fn descend(&mut self, level: usize, child: &Place, items: u32) {
        let container = self.headers.enter(self.input, level + 1, child);
        self.path[level + 1] = container;
        self.used[level + 1] = false;
        // Where not even its header would fit, it starts the next part, and may fit into that as a whole.
        if !self.fits(level + 1, 0, 1) && !self.part.is_empty() && self.cut_if_affordable(level) {
            return self.place_fresh(level, child, container, items);
        }
        self.children(level + 1, child.body, child.end);
    }

    fn place_fresh(&mut self, level: usize, child: &Place, container: Container, items: u32) {
        if self.fits(level, child.end - child.start, items) {
            self.append(level, child, items);
        } else {
            self.path[level + 1] = container;
            self.children(level + 1, child.body, child.end);
        }
    }

    fn fits(&self, level: usize, len: usize, items: u32) -> bool {
        u64::from(self.part.items()) + u64::from(items) <= u64::from(self.limits.items)
            && self.part.len_with(&self.path, level, len) <= self.limits.bytes
    }

    fn append(&mut self, level: usize, child: &Place, items: u32) {
        self.part.append(&self.path, level, child, items);
        self.used[1..=level].fill(true);
    }

    /// Ends the part unless repeating the headers down to `level` in the next one is more than the budget has left.
    fn cut_if_affordable(&mut self, level: usize) -> bool {
        if self.part.is_empty() {
            return true;
        }
        // With tag and length, a header takes at most eleven bytes more.
        let repeated =
            (1..=level).filter(|&at| self.used[at]).map(|at| self.path[at].header_len() + 11).sum();
        let Some(left) = self.repeat_budget.checked_sub(repeated) else {
            return false;
        };
        self.repeat_budget = left;
        self.cut();
        true
    }

    fn cut(&mut self) {
        if !self.part.is_empty() {
            let part = std::mem::take(&mut self.part);
            self.done.push(part.assembly.finish(self.payload.signal(), self.input, &self.headers));
        }
    }
}

/// An [`Assembly`] that knows its length at any time.
#[derive(Default)]
struct Part {
    assembly: Assembly,
    /// By level: what the open container holds so far, without the container that is open inside of it.
    inside: [usize; LEVELS],
    /// By level: the field numbers of the open containers; 0 where none is open.
    numbers: [u32; LEVELS],
}

impl Part {
    fn items(&self) -> u32 {
        self.assembly.items()
    }

    fn is_empty(&self) -> bool {
        self.assembly.is_empty()
    }

    /// How long the part would be with another `len` bytes of children of the container at `level` of `path`.
    fn len_with(&self, path: &Path, level: usize, len: usize) -> usize {
        let unlike = self.assembly.first_unlike(path, level);
        let mut added = len;
        for container in path[unlike..=level].iter().rev() {
            added = field_len(container.number, container.header_len() + added);
        }
        added += self.closed_len(unlike);
        for at in (1..unlike).rev() {
            added = field_len(self.numbers[at], self.inside[at] + added);
        }
        self.inside[0] + added
    }

    /// How long the container that is open at `level` is as a field; zero if none is.
    fn closed_len(&self, level: usize) -> usize {
        let open = (level..LEVELS).rev().filter(|&at| self.numbers[at] != 0);
        open.fold(0, |inner, at| field_len(self.numbers[at], self.inside[at] + inner))
    }

    fn append(&mut self, path: &Path, level: usize, child: &Place, items: u32) {
        let unlike = self.assembly.first_unlike(path, level);
        let closed = self.closed_len(unlike);
        self.inside[unlike - 1] += closed;
        self.numbers[unlike..].fill(0);
        for (at, container) in path.iter().enumerate().take(level + 1).skip(unlike) {
            self.numbers[at] = container.number;
            self.inside[at] = container.header_len();
        }
        self.inside[level] += child.end - child.start;
        self.assembly.copy(path, level, child.start, child.end, items);
    }
}
