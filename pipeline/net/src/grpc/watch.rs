//! What a peer does with its frames beside sending requests: pings too often, or masses of frames that carry nothing.
//!
//! `h2` answers such frames and bounds what they hold, but does not say that they came. Here their heads are read as
//! they pass by: some instructions per frame, and none per byte.
//!
//! # Invariants
//! - A peer may send any number of frames that carry telemetry, and of others only so many a second.
//! - Pings are judged as grpc-go judges them.

use super::conduct::Conduct;
use crate::coalesce::Watch;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What begins every connection, before the first frame.
const PREFACE_LEN: u32 = 24;
const HEAD_LEN: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// Frames that carry nothing (pings, settings, resets, window updates, empty data, priorities, unknown ones): so many
/// are taken a second.
const IDLE_FRAMES: u32 = 1000;
/// So many more for each request: its window updates, its reset.
const IDLE_FRAMES_PER_REQUEST: u32 = 10;
/// What those add up to at most.
const IDLE_FRAMES_MAX: u32 = 10_000;
const SECOND: Duration = Duration::from_secs(1);

/// Pings that may come too early before the connection is ended, as in grpc-go.
const PING_STRIKES_MAX: u32 = 2;
/// The least time between pings of a connection without requests, where those are not permitted, as in grpc-go.
const PING_WITHOUT_STREAM: Duration = Duration::from_secs(2 * 60 * 60);

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

/// Why a connection is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// Too many frames that carry nothing.
    Flood,
    /// Pings too early, too often.
    TooManyPings,
}

/// Reads the heads of frames as they pass by.
#[derive(Debug)]
pub(crate) struct FrameWatch {
    head: [u8; HEAD_LEN],
    have: usize,
    skip: u32,
    idle_left: u32,
    idle_since: Instant,
    pings: Option<Pings>,
    last_stream: u32,
    misuse: Option<Misuse>,
}

#[derive(Debug)]
struct Pings {
    policy: PingPolicy,
    conduct: Weak<Conduct>,
    last: Option<Instant>,
    strikes: u32,
}

impl FrameWatch {
    /// Watches the frames of a new connection.
    pub(crate) fn new() -> Self {
        Self {
            head: [0; HEAD_LEN],
            have: 0,
            skip: PREFACE_LEN,
            idle_left: IDLE_FRAMES,
            idle_since: Instant::now(),
            pings: None,
            last_stream: 0,
            misuse: None,
        }
    }

    /// Judges its pings as well.
    pub(crate) fn with_pings(mut self, policy: PingPolicy, conduct: &Arc<Conduct>) -> Self {
        self.pings = Some(Pings { policy, conduct: Arc::downgrade(conduct), last: None, strikes: 0 });
        self
    }

    /// The last stream that the peer has opened.
    pub(crate) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS => {
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & 0x7FFF_FFFF);
                self.idle_left = (self.idle_left + IDLE_FRAMES_PER_REQUEST).min(IDLE_FRAMES_MAX);
            }
            DATA if self.skip > 0 || flags & END_STREAM != 0 => {}
            PING if flags & ACK == 0 => {
                self.idle();
                if self.pings.as_mut().is_some_and(|pings| pings.is_too_many(Instant::now())) {
                    self.misuse = Some(Misuse::TooManyPings);
                }
            }
            _ => self.idle(),
        }
    }

    fn idle(&mut self) {
        if self.idle_left == 0 {
            let now = Instant::now();
            if now.duration_since(self.idle_since) < SECOND {
                self.misuse = Some(Misuse::Flood);
                return;
            }
            self.idle_since = now;
            self.idle_left = IDLE_FRAMES;
        }
        self.idle_left -= 1;
    }
}

impl Pings {
    fn is_too_many(&mut self, now: Instant) -> bool {
        let last = self.last.replace(now);
        // Answers make a new beginning: clients ping after they have received, to learn how far away the server is.
        if self.conduct.upgrade().is_none_or(|conduct| conduct.take_answered()) {
            self.strikes = 0;
            return false;
        }
        let least = if Conduct::has_requests(&self.conduct) || self.policy.permit_without_stream {
            self.policy.min_time
        } else {
            PING_WITHOUT_STREAM
        };
        if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
        self.strikes > PING_STRIKES_MAX
    }
}

impl Watch for FrameWatch {
    type Complaint = Misuse;

    fn see(&mut self, mut read: &[u8]) {
        while !read.is_empty() && self.misuse.is_none() {
            if self.skip > 0 {
                let skipped = read.len().min(self.skip as usize);
                self.skip -= skipped as u32;
                read = &read[skipped..];
                continue;
            }
            let taken = read.len().min(HEAD_LEN - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&read[..taken]);
            self.have += taken;
            read = &read[taken..];
            if self.have == HEAD_LEN {
                self.have = 0;
                self.frame();
            }
        }
    }

    fn complaint(&self) -> Option<Misuse> {
        self.misuse
    }
}

/// The last frame of a connection that was misused: GOAWAY with `ENHANCE_YOUR_CALM`, and with the words by which gRPC's
/// clients know that they ping too often.
pub(crate) fn calm_down(last_stream: u32, misuse: Misuse) -> Vec<u8> {
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let words: &[u8] = match misuse {
        Misuse::TooManyPings => b"too_many_pings",
        Misuse::Flood => b"too many frames that carry nothing",
    };
    let len = 8 + words.len() as u32;
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([GOAWAY, 0, 0, 0, 0, 0]);
    frame.extend(last_stream.to_be_bytes());
    frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend(words);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn watch() -> FrameWatch {
        let mut watch = FrameWatch::new();
        watch.see(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        watch
    }

    #[test]
    fn frames_are_found_wherever_reads_end() {
        let mut stream = frame(SETTINGS, 0, 0, &[]);
        for id in [1, 3, 5] {
            stream.extend(frame(HEADERS, 4, id, &[7; 100]));
            stream.extend(frame(DATA, 1, id, &[HEADERS; 300]));
        }
        for size in [1, 2, 7, 9, 10, 1000, 10_000] {
            let mut watch = watch();
            stream.chunks(size).for_each(|read| watch.see(read));
            assert_eq!((watch.last_stream(), watch.have, watch.skip), (5, 0, 0), "{size}");
            assert_eq!(watch.idle_left, IDLE_FRAMES - 1 + 30);
            assert_eq!(watch.complaint(), None);
        }
    }

    #[test]
    fn frames_that_carry_nothing_are_taken_up_to_a_number_and_telemetry_without_end() {
        for idle in [
            frame(SETTINGS, 0, 0, &[]),
            frame(PING, ACK, 0, &[0; 8]),
            frame(DATA, 0, 1, &[]),
            frame(8, 0, 0, &[0, 0, 0, 1]),
            frame(3, 0, 1, &[0; 4]),
            frame(9, 0, 1, &[0; 4]),
            frame(0xEE, 0, 0, &[0; 10]),
        ] {
            let mut watch = watch();
            (0..IDLE_FRAMES).for_each(|_| watch.see(&idle));
            assert_eq!(watch.complaint(), None);
            watch.see(&idle);
            assert_eq!(watch.complaint(), Some(Misuse::Flood), "{idle:?}");
        }
        let mut watch = watch();
        for _ in 0..100_000 {
            watch.see(&frame(HEADERS, 4, 1, &[7; 10]));
            watch.see(&frame(DATA, 0, 1, &[7; 10]));
            watch.see(&frame(DATA, 1, 1, &[]));
            watch.see(&frame(8, 0, 0, &[0, 0, 0, 1]));
        }
        assert_eq!(watch.complaint(), None);
    }

    #[test]
    fn a_new_second_brings_new_patience() {
        let mut watch = watch();
        let idle = frame(SETTINGS, 0, 0, &[]);
        (0..IDLE_FRAMES).for_each(|_| watch.see(&idle));
        watch.idle_since -= SECOND;
        (0..IDLE_FRAMES).for_each(|_| watch.see(&idle));
        assert_eq!(watch.complaint(), None);
    }

    #[test]
    fn pings_are_judged_as_in_grpc_go() {
        let minute = Duration::from_secs(60);
        let policy = PingPolicy { min_time: minute, permit_without_stream: false };
        let pings = |policy: PingPolicy, requests: usize, every: Duration, answered: bool| {
            let driver = Conduct::begin(false);
            let _under_way = vec![Arc::clone(&driver); requests];
            let mut pings = Pings { policy, conduct: Arc::downgrade(&driver), last: None, strikes: 0 };
            let start = Instant::now();
            (0..10u32).position(|nth| {
                if answered {
                    driver.answered();
                }
                pings.is_too_many(start + nth * every)
            })
        };
        // The first is free, three more are forgiven.
        assert_eq!(pings(policy, 1, Duration::from_secs(1), false), Some(3));
        assert_eq!(pings(policy, 1, minute, false), None);
        assert_eq!(pings(policy, 0, minute, false), Some(3), "without a request, two hours");
        assert_eq!(pings(policy, 0, PING_WITHOUT_STREAM, false), None);
        assert_eq!(pings(PingPolicy { permit_without_stream: true, ..policy }, 0, minute, false), None);
        assert_eq!(pings(policy, 1, Duration::from_millis(1), true), None, "answers are between them");
    }
}
