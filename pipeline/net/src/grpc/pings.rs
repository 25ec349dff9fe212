//! How often clients may ask whether anybody is there, as grpc-go judges it. Time is passed in.

use std::time::{Duration, Instant};

/// Pings that may come too early before the connection is ended, as in grpc-go.
const STRIKES_MAX: u32 = 2;
/// The least time between pings of a connection without requests, where those are not permitted, as in grpc-go.
const WITHOUT_STREAM: Duration = Duration::from_secs(2 * 60 * 60);
/// The words by which gRPC's clients know that they ping too often.
pub(super) const TOO_MANY: &str = "too_many_pings";

/// What pings are allowed (`keepalive::enforcement_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingPolicy {
    /// The least time between two pings.
    pub min_time: Duration,
    /// Whether pings may come while there is no request.
    pub permit_without_stream: bool,
}

impl Default for PingPolicy {
    fn default() -> Self {
        Self { min_time: Duration::from_secs(5 * 60), permit_without_stream: false }
    }
}

/// The pings of one connection.
#[derive(Debug)]
pub(super) struct Pings {
    policy: PingPolicy,
    last: Option<Instant>,
    strikes: u32,
    answered: bool,
}

impl Pings {
    pub(super) fn new(policy: PingPolicy) -> Self {
        Self { policy, last: None, strikes: 0, answered: false }
    }

    /// An answer was sent. It makes a new beginning: clients ping after they have received, to learn how far away the
    /// server is.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// Whether the ping that has just come is one too many.
    pub(super) fn is_too_many(&mut self, has_requests: bool, now: Instant) -> bool {
        let last = self.last.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return false;
        }
        let least = if has_requests || self.policy.permit_without_stream {
            self.policy.min_time
        } else {
            WITHOUT_STREAM
        };
        if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_judged_as_in_grpc_go() {
        let minute = Duration::from_secs(60);
        let policy = PingPolicy { min_time: minute, permit_without_stream: false };
        let pings = |policy: PingPolicy, has_requests, every: Duration, answered: bool| {
            let mut pings = Pings::new(policy);
            let start = Instant::now();
            (0..10u32).position(|nth| {
                if answered {
                    pings.answered();
                }
                pings.is_too_many(has_requests, start + nth * every)
            })
        };
        // The first is free, three more are forgiven.
        assert_eq!(pings(policy, true, Duration::from_secs(1), false), Some(3));
        assert_eq!(pings(policy, true, minute, false), None);
        assert_eq!(pings(policy, false, minute, false), Some(3), "without a request, two hours");
        assert_eq!(pings(policy, false, WITHOUT_STREAM, false), None);
        assert_eq!(pings(PingPolicy { permit_without_stream: true, ..policy }, false, minute, false), None);
        assert_eq!(pings(policy, true, Duration::from_millis(1), true), None, "answers are between them");
    }
}
