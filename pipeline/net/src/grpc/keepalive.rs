//! How long connections live, and how it is found out that nobody is there any more (`keepalive::server_parameters`),
//! as grpc-go does it. Time is passed in.

use std::time::{Duration, Instant};

/// What a server does about the lives of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Connections without requests for that long are ended.
    pub max_idle: Option<Duration>,
    /// Connections of that age, give or take a tenth, take no further requests.
    pub max_age: Option<Duration>,
    /// How long those under way may then take.
    pub max_age_grace: Option<Duration>,
    /// Connections that have been silent for that long are pinged.
    pub time: Duration,
    /// Connections that are then silent for that long are ended.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            max_idle: None,
            max_age: None,
            max_age_grace: None,
            time: Duration::from_secs(2 * 60 * 60),
            timeout: Duration::from_secs(20),
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    Ping,
    /// Take no further requests.
    Drain,
    /// End it, whatever is under way.
    Cut,
    /// End it: nobody is there.
    Unresponsive,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// How many reads have brought something so far.
    pub(super) reads: u64,
    /// Requests under way.
    pub(super) requests: usize,
    /// When the last request came or ended.
    pub(super) last_request: Instant,
}

/// The life of one connection.
#[derive(Debug)]
pub(super) struct Life {
    options: Keepalive,
    drain_at: Option<Instant>,
    cut_at: Option<Instant>,
    idle_at: Option<Instant>,
    look_at: Instant,
    pinged: bool,
    reads: u64,
    draining: bool,
}

/// A century, for what never comes.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Life {
    /// A connection that begins now. `jitter` is between 0 and 1.
    pub(super) fn begin(options: Keepalive, now: Instant, jitter: f64) -> Self {
        let age = options.max_age.map(|age| age.mul_f64(0.9 + 0.2 * jitter));
        Self {
            options,
            drain_at: age.and_then(|age| now.checked_add(age)),
            cut_at: None,
            idle_at: options.max_idle.and_then(|idle| now.checked_add(idle)),
            look_at: now.checked_add(options.time).unwrap_or(now + NEVER),
            pinged: false,
            reads: 0,
            draining: false,
        }
    }

    /// When to come back at the latest.
    pub(super) fn next(&self) -> Instant {
        let others = [self.drain_at, self.cut_at, self.idle_at];
        others.into_iter().flatten().fold(self.look_at, Instant::min)
    }

    /// What is to be done at `now`; asked again until it is nothing.
    pub(super) fn act(&mut self, now: Instant, signs: Signs) -> Act {
        if self.cut_at.is_some_and(|at| at <= now) {
            return Act::Cut;
        }
        if self.drain_at.is_some_and(|at| at <= now) {
            self.drain_at = None;
            self.cut_at = self.options.max_age_grace.and_then(|grace| now.checked_add(grace));
            return self.drain();
        }
        if self.idle_at.is_some_and(|at| at <= now) {
            let idle = self.options.max_idle.unwrap_or(NEVER);
            let over = signs.last_request + idle;
            if signs.requests == 0 && over <= now {
                self.idle_at = None;
                return self.drain();
            }
            self.idle_at = Some(if signs.requests > 0 { now + idle } else { over });
        }
        if self.look_at <= now {
            return self.look(now, signs.reads);
        }
        Act::Nothing
    }

    fn drain(&mut self) -> Act {
        if std::mem::replace(&mut self.draining, true) { Act::Nothing } else { Act::Drain }
    }

    fn look(&mut self, now: Instant, reads: u64) -> Act {
        let heard = std::mem::replace(&mut self.reads, reads) != reads;
        match (heard, self.pinged) {
            (true, _) => {
                self.pinged = false;
                self.look_at = now + self.options.time;
                Act::Nothing
            }
            (false, false) => {
                self.pinged = true;
                self.look_at = now + self.options.timeout;
                Act::Ping
            }
            (false, true) => Act::Unresponsive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What is done over the hours, minute by minute, with the minute.
    fn lived(options: Keepalive, minutes: u32, signs: impl Fn(u32, Instant) -> Signs) -> Vec<(u32, Act)> {
        let start = Instant::now();
        let mut life = Life::begin(options, start, 0.5);
        let mut done = Vec::new();
        for minute in 0..=minutes {
            let now = start + minute * MINUTE;
            while life.next() <= now {
                match life.act(now, signs(minute, start)) {
                    Act::Nothing => {}
                    act => {
                        done.push((minute, act));
                        if matches!(act, Act::Cut | Act::Unresponsive) {
                            return done;
                        }
                    }
                }
            }
        }
        done
    }

    fn busy(minute: u32, start: Instant) -> Signs {
        Signs { reads: u64::from(minute) + 1, requests: 1, last_request: start + minute * MINUTE }
    }

    #[test]
    fn by_default_only_silence_ends_a_connection() {
        assert_eq!(lived(Keepalive::default(), 600, busy), []);
        let silent = |_, start| Signs { reads: 1, requests: 0, last_request: start };
        assert_eq!(
            lived(Keepalive::default(), 600, silent),
            [(240, Act::Ping), (241, Act::Unresponsive)],
            "two hours after the last sign of life"
        );
    }

    #[test]
    fn an_old_connection_is_drained_and_cut_after_its_grace() {
        let options = Keepalive { max_age: Some(10 * MINUTE), ..Keepalive::default() };
        assert_eq!(lived(options, 600, busy), [(10, Act::Drain)]);
        let options = Keepalive { max_age_grace: Some(5 * MINUTE), ..options };
        assert_eq!(lived(options, 600, busy), [(10, Act::Drain), (15, Act::Cut)]);
    }

    #[test]
    fn ages_differ_by_a_tenth() {
        let options = Keepalive { max_age: Some(10 * MINUTE), ..Keepalive::default() };
        let start = Instant::now();
        let at = |jitter| Life::begin(options, start, jitter).next() - start;
        assert_eq!((at(0.0), at(1.0)), (9 * MINUTE, 11 * MINUTE));
    }

    #[test]
    fn an_idle_connection_is_drained_when_it_has_been_idle_for_long_enough() {
        let options = Keepalive { max_idle: Some(10 * MINUTE), ..Keepalive::default() };
        assert_eq!(lived(options, 100, busy), []);
        let until_25 = |minute: u32, start: Instant| Signs {
            reads: u64::from(minute) + 1,
            requests: usize::from(minute < 25),
            last_request: start + minute.min(25) * MINUTE,
        };
        assert_eq!(lived(options, 100, until_25), [(35, Act::Drain)]);
    }

    #[test]
    fn a_pong_is_a_sign_of_life() {
        let options = Keepalive { time: MINUTE, ..Keepalive::default() };
        // Silent until it is pinged.
        let ponging =
            |minute: u32, start| Signs { reads: u64::from(minute / 2), requests: 0, last_request: start };
        let pings = lived(options, 9, ponging);
        assert!(!pings.is_empty() && pings.iter().all(|(_, act)| *act == Act::Ping), "{pings:?}");
    }
}
