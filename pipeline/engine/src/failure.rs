//! The one error type at component borders: who is at fault, whether to try again and when, and what it concerns.

use crate::Cost;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The longest delay that anybody can ask for. Destinations answer "in thirty years" by mistake, and what is retried
/// without end, or held until it is taken, would wait for it after the mistake is over.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// Who has to change something for the same request to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client: malformed, too large, not allowed.
    Sender,
    /// This process: out of room, stopping, a bug.
    Us,
    /// The backend or the way to it.
    Destination,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: sending it again unchanged is pointless.
    Never,
    /// Later; not before the given delay where one is known.
    After(Option<Duration>),
}

/// Why, as a metric label. A closed set, so that its cardinality is bounded and each has a row in the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes are not OTLP.
    Malformed,
    /// Larger than a limit of ours or of the destination.
    TooLarge,
    /// The memory budget is used up.
    OverBudget,
    /// A sending queue is full.
    QueueFull,
    /// The process is stopping.
    ShuttingDown,
    /// The destination refused for good.
    Rejected,
    /// The destination asked to try again later.
    Throttled,
    /// The destination could not be reached, or the connection broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Retrying went on for `max_elapsed_time` and was given up.
    RetriesExhausted,
    /// More combinations of client metadata than the configuration allows.
    TooManyCombinations,
    /// A file could not be written.
    Storage,
    /// On disk for longer than `max_age` allows.
    Expired,
    /// The oldest on disk, dropped to make room because the configuration says so.
    Evicted,
    /// What was on disk cannot be read any more.
    Damaged,
    /// Dead letters that somebody has dropped by command.
    Discarded,
    /// A bug: a task panicked or a result was lost.
    Internal,
}

impl Reason {
    /// Every reason, for tables and for accounts that pre-make a counter for each.
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::TooLarge,
        Self::OverBudget,
        Self::QueueFull,
        Self::ShuttingDown,
        Self::Rejected,
        Self::Throttled,
        Self::Unreachable,
        Self::Timeout,
        Self::RetriesExhausted,
        Self::TooManyCombinations,
        Self::Storage,
        Self::Expired,
        Self::Evicted,
        Self::Damaged,
        Self::Discarded,
        Self::Internal,
    ];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::OverBudget => "over_budget",
            Self::QueueFull => "queue_full",
            Self::ShuttingDown => "shutting_down",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::RetriesExhausted => "retries_exhausted",
            Self::TooManyCombinations => "too_many_combinations",
            Self::Storage => "storage",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Damaged => "damaged",
            Self::Discarded => "discarded",
            Self::Internal => "internal",
        }
    }
}

/// A refusal or a loss, on its way back to whoever asked.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Who has to change something.
    pub fault: Fault,
    /// Whether and when to try again.
    pub retry: Retry,
    /// Why, as a label.
    pub reason: Reason,
    /// What happened, to what, and what to do; lower case, no full stop.
    pub message: Cow<'static, str>,
    /// The gRPC status code a destination answered with, passed on to the sender as Go does.
    pub grpc_code: Option<u8>,
    /// The HTTP status a destination answered with.
    pub http_status: Option<u16>,
    /// What it concerns, where that is less than the whole request.
    pub lost: Option<Cost>,
}

impl Failure {
    /// A failure of ours or of the destination that may pass.
    #[must_use]
    pub fn transient(fault: Fault, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            fault,
            retry: Retry::After(None),
            reason,
            message: message.into(),
            grpc_code: None,
            http_status: None,
            lost: None,
        }
    }

    /// A failure that will not pass.
    #[must_use]
    pub fn permanent(fault: Fault, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { retry: Retry::Never, ..Self::transient(fault, reason, message) }
    }

    /// The same, not to be retried before `delay`, of which [`LONGEST_DELAY`] is believed.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.retry = Retry::After(Some(delay.min(LONGEST_DELAY)));
        self
    }

    /// The same, with the destination's gRPC status code.
    #[must_use]
    pub fn with_grpc_code(mut self, code: u8) -> Self {
        self.grpc_code = Some(code);
        self
    }

    /// The same, with the destination's HTTP status.
    #[must_use]
    pub fn with_http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.retry, Retry::After(_))
    }

    /// Of two failures of one request, the one its sender should hear: a transient one, so that it sends again;
    /// with the longer delay, so that it does not come back too early.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        match (self.retry, other.retry) {
            (Retry::Never, Retry::After(_)) => other,
            (Retry::After(mine), Retry::After(theirs)) if theirs > mine => other,
            _ => self,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_ask_for_years() {
        let asked =
            |delay| Failure::transient(Fault::Destination, Reason::Throttled, "later").after(delay).retry;
        assert_eq!(asked(Duration::from_secs(90)), Retry::After(Some(Duration::from_secs(90))));
        assert_eq!(asked(Duration::MAX), Retry::After(Some(LONGEST_DELAY)));
    }
}
