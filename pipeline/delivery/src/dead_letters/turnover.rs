//! Room for what has been given back and fails again.
//!
//! The room of dead letters that are given back is free only when nothing is left in their segment, and what fails again
//! wants it before. So what is new leaves some of the store free ([`Log::turnover`]), and what comes back may use that.
//! Nobody can tell one from the other when it is put aside: as long as something may come back, what does not go by way
//! of a full queue is taken for it.
//!
//! Giving back the oldest of them, one after the other, needs no more than that. Giving back some here and some there
//! leaves gaps in many segments: then no more is given back than what was free has room for.
//!
//! [`Log::turnover`]: millrace_log::Log::turnover

use super::DeadLetters;
use millrace_log::{Refusal, Room};
use std::sync::PoisonError;

/// What has left the store for the queue, and is not known to have been settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenBack {
    /// It has numbers below this one in the queue.
    below: u64,
    /// So many bytes at most.
    bytes: u64,
}

impl DeadLetters {
    /// Room for something that a destination has not taken.
    pub(super) fn reserve(&self, framed_len: u64) -> Result<Room, Refusal> {
        let leave = if self.may_come_back().is_some() { 0 } else { self.log.turnover() };
        self.log.reserve_leaving(framed_len, leave)
    }

    /// Room for something that has not been here before.
    pub(super) fn reserve_for_new(&self, framed_len: u64) -> Result<Room, Refusal> {
        let coming = self.may_come_back().unwrap_or(0);
        self.log.reserve_leaving(framed_len, self.log.turnover().saturating_add(coming))
    }

    /// How many bytes may come back at most; none if all has been settled.
    fn may_come_back(&self) -> Option<u64> {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let GivenBack { below, bytes } = (*given_back)?;
        // While one takes another's place it is not to be seen.
        let exporter = self.exporter();
        let Some(line) = exporter.as_ref().and_then(|exporter| exporter.line()) else { return Some(bytes) };
        let held = line.held_before(below);
        if held.entries == 0 {
            *given_back = None;
            return None;
        }
        Some(bytes.min(held.bytes))
    }

    /// So much is about to be put in line.
    pub(super) fn gives_back(&self, more: u64) {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let before = given_back.map_or(0, |given_back| given_back.bytes);
        // Which number it will have is not known yet.
        *given_back = Some(GivenBack { below: u64::MAX, bytes: before.saturating_add(more) });
    }

    /// Nothing more is, for now.
    pub(super) fn has_given_back(&self) {
        let exporter = self.exporter();
        let Some(line) = exporter.as_ref().and_then(|exporter| exporter.line()) else { return };
        let next = line.next_sequence();
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given_back) = given_back.as_mut() {
            given_back.below = given_back.below.min(next);
        }
    }
}

/// How much may be given back whose room is not.
pub(super) struct Allowance {
    /// The bytes whose room was not given back before.
    before: u64,
    more: u64,
}

impl Allowance {
    pub(super) fn of(letters: &DeadLetters) -> Self {
        let coming = letters.may_come_back().unwrap_or(0);
        // Frames take more than their length while they are written; of the smallest segments, a fifth.
        let more = letters.log.stats().free_bytes.saturating_sub(coming) / 8 * 5;
        Self { before: letters.consumer.spent_with(None), more }
    }

    /// Whether that one may be given back.
    pub(super) fn takes(&mut self, letters: &DeadLetters, sequence: u64) -> bool {
        let is_within = |allowed: &Self| {
            let spent = letters.consumer.spent_with(Some(sequence));
            spent.saturating_sub(allowed.before) <= allowed.more
        };
        if !is_within(self) && letters.may_come_back().is_none() {
            *self = Self::of(letters);
        }
        is_within(self)
    }
}
