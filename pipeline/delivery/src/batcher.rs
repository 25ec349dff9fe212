//! Joining small requests and cutting large ones: plain code over batches and time passed in.
//!
//! Joining keeps pieces side by side (their bytes are never copied), cutting slices at item borders. Each part keeps
//! the tag of the request it came from, so that the outcome finds its way back.

use crate::Sizer;
use millrace_engine::{Batch, Cost, Piece};
use millrace_wire::Signal;
use millrace_wire::split::{Limit, by_key, by_size};
use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

/// When a batch is full.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The unit of the sizes: items or bytes.
    pub sizer: Sizer,
    /// A batch of at least this size is ready at once; 0 makes every request a batch of its own.
    pub min_size: u64,
    /// No batch is larger, except for a single item that is; 0 means no limit.
    pub max_size: u64,
    /// How long the first request of a batch waits for others.
    pub timeout: Duration,
}

/// Why a batch was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It was large enough.
    Size,
    /// It had waited long enough, or was told to.
    Timeout,
}

/// A batch that is ready, with the tags of the requests it is made of and what each put in.
#[derive(Debug)]
pub struct Ready<T> {
    /// What to send.
    pub batch: Batch,
    /// The requests behind it.
    pub parts: Vec<(T, Cost)>,
    /// Why now.
    pub trigger: Trigger,
}

/// Collects requests of one signal into batches.
#[derive(Debug)]
pub struct Batcher<T> {
    signal: Signal,
    rules: Rules,
    waiting: VecDeque<(Piece, T)>,
    size: u64,
    /// When the oldest waiting piece has waited long enough.
    due: Option<Instant>,
}

impl<T: Clone> Batcher<T> {
    /// An empty batcher.
    #[must_use]
    pub fn new(signal: Signal, rules: Rules) -> Self {
        Self { signal, rules, waiting: VecDeque::new(), size: 0, due: None }
    }

    /// When [`Batcher::flush_due`] wants to be called, if anything waits.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The tag of the request that has waited longest.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.waiting.front().map(|(_, tag)| tag)
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> Cost {
        self.waiting.iter().fold(Cost::default(), |sum, (piece, _)| sum + piece.cost())
    }

    /// Takes a request in, and gives out every batch that is full now.
    pub fn push(&mut self, batch: Batch, tag: &T, now: Instant) -> Vec<Ready<T>> {
        for piece in batch.into_pieces() {
            self.size += self.size_of(&piece);
            self.waiting.push_back((piece, tag.clone()));
        }
        let mut ready = Vec::new();
        while !self.waiting.is_empty() && self.size >= self.rules.min_size {
            ready.push(self.take(Trigger::Size));
        }
        self.due = match self.due {
            _ if self.waiting.is_empty() => None,
            // What is left over after a full batch starts a wait of its own.
            Some(due) if ready.is_empty() => Some(due),
            _ => Some(now + self.rules.timeout),
        };
        ready
    }

    /// Gives out what has waited long enough.
    pub fn flush_due(&mut self, now: Instant) -> Vec<Ready<T>> {
        if self.due.is_some_and(|due| due <= now) { self.flush() } else { Vec::new() }
    }

    /// Gives out everything.
    pub fn flush(&mut self) -> Vec<Ready<T>> {
        let mut ready = Vec::new();
        while !self.waiting.is_empty() {
            ready.push(self.take(Trigger::Timeout));
        }
        self.due = None;
        ready
    }

    fn size_of(&self, piece: &Piece) -> u64 {
        // A piece without items still has to get through; it counts as one.
        self.rules.sizer.of(piece.cost()).max(1)
    }

    /// The next batch: everything up to the limit; without a limit, everything.
    fn take(&mut self, trigger: Trigger) -> Ready<T> {
        let max = if self.rules.max_size == 0 { u64::MAX } else { self.rules.max_size };
        let mut ready = Ready { batch: Batch::empty(self.signal), parts: Vec::new(), trigger };
        let mut room = max;
        while let Some((piece, tag)) = self.waiting.pop_front() {
            let size = self.size_of(&piece);
            self.size -= size;
            if size <= room {
                room -= size;
                ready.add(piece, tag);
                continue;
            }
            // What is cut is cut as seldom as can be, because every part repeats the headers of its items.
            let mut parts = if ready.parts.is_empty() {
                self.cut(&piece, room)
            } else {
                self.fill(&piece, room).unwrap_or_else(|| VecDeque::from([piece]))
            };
            let fits = parts.front().is_some_and(|part| self.size_of(part) <= room);
            // What comes alone goes alone, however large.
            if (fits || ready.parts.is_empty())
                && let Some(first) = parts.pop_front()
            {
                ready.add(first, tag.clone());
            }
            for part in parts.into_iter().rev() {
                self.size += self.size_of(&part);
                self.waiting.push_front((part, tag.clone()));
            }
            break;
        }
        ready
    }

    /// Cuts a piece into parts of at most that size each.
    fn cut(&self, piece: &Piece, size: u64) -> VecDeque<Piece> {
        by_size(&piece.payload, self.limit(size)).into_iter().map(|part| piece.with_payload(part)).collect()
    }

    /// Cuts a piece in two, the first of at most that size; `None` where not even one item fits.
    fn fill(&self, piece: &Piece, room: u64) -> Option<VecDeque<Piece>> {
        let first_items = match self.rules.sizer {
            Sizer::Items | Sizer::Requests => room,
            Sizer::Bytes => {
                let first = self.cut(piece, room).pop_front()?;
                if self.size_of(&first) > room {
                    return None;
                }
                u64::from(first.payload.items())
            }
        };
        if first_items == 0 {
            return None;
        }
        let mut item = 0;
        let parts = by_key(&piece.payload, |_| {
            item += 1;
            item <= first_items
        });
        Some(parts.into_iter().map(|(_, part)| piece.with_payload(part)).collect())
    }

    fn limit(&self, size: u64) -> Limit {
        match self.rules.sizer {
            Sizer::Bytes => Limit {
                max_items: None,
                max_bytes: NonZeroUsize::new(usize::try_from(size).unwrap_or(usize::MAX)),
            },
            Sizer::Items | Sizer::Requests => {
                Limit { max_items: NonZeroU32::new(u32::try_from(size).unwrap_or(u32::MAX)), max_bytes: None }
            }
        }
    }
}

impl<T> Ready<T> {
    fn add(&mut self, piece: Piece, tag: T) {
        self.parts.push((tag, piece.cost()));
        self.batch.push(piece);
    }
}
