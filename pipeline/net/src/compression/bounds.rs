//! How large a body may become: what is configured, and what the budget ever has room for.

use super::inflate::{InflateError, charged};
use crate::gathering::largest;
use millrace_engine::{Budget, Charge};

/// What may become of a body.
pub(super) struct Bounds<'a> {
    /// The largest.
    pub(super) limit: usize,
    /// The most that the budget ever has room for, beside the body as it is.
    pub(super) largest: usize,
    pub(super) budget: &'a Budget,
}

impl<'a> Bounds<'a> {
    /// Of a body that is in memory, and charged, until it has been inflated.
    pub(super) fn of(body: &[u8], limit: usize, budget: &'a Budget) -> Self {
        let largest = largest(budget).saturating_sub(body.len());
        Self { limit: limit.min(largest), largest, budget }
    }

    /// Holds what it is expected to become, or else half of that where nearly all that there ever is is not to be had
    /// beside what others hold: it may yet become less.
    pub(super) fn first(&self, expected: usize) -> Result<(Charge, usize), InflateError> {
        let bytes = expected.min(self.limit);
        match charged(self.budget, bytes) {
            Err(_) if bytes > self.largest - self.largest / 8 => {
                Ok((charged(self.budget, bytes / 2)?, bytes / 2))
            }
            charge => Ok((charge?, bytes)),
        }
    }

    /// Holds what a decoder needs besides, and leaves so much less.
    pub(super) fn work(&self, bytes: u64) -> Result<(Charge, Self), InflateError> {
        let largest = usize::try_from(bytes).ok().and_then(|bytes| self.largest.checked_sub(bytes));
        let largest = largest.ok_or(InflateError::NeverFits(self.largest))?;
        let working = self.budget.try_charge(bytes).ok_or(InflateError::OverBudget)?;
        Ok((working, Self { limit: self.limit.min(largest), largest, budget: self.budget }))
    }
}
