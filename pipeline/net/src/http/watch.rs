//! Masses of frames that carry nothing, on connections whose HTTP/2 is hyper's: it answers such frames and bounds what
//! they hold, but does not say that they came. Here their heads are read as they pass by: some instructions per frame,
//! and none per byte.

use crate::coalesce::Watch;
use millrace_http2::{HEAD_LEN, Head, IdleFrames, PREFACE, Reason, go_away};
use std::time::Instant;

/// Too many frames that carry nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flood;

/// Reads the heads of frames as they pass by.
#[derive(Debug)]
pub(crate) struct FrameWatch {
    head: [u8; HEAD_LEN],
    have: usize,
    skip: u32,
    idle: IdleFrames,
    last_stream: u32,
    flood: Option<Flood>,
}

impl FrameWatch {
    /// Watches the frames of a new connection.
    pub(crate) fn new() -> Self {
        let idle = IdleFrames::new();
        Self { head: [0; HEAD_LEN], have: 0, skip: PREFACE.len() as u32, idle, last_stream: 0, flood: None }
    }

    /// The last frame of a connection that was misused.
    pub(crate) fn calm_down(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let words = "too many frames that carry nothing";
        go_away(&mut frame, self.last_stream, Reason::ENHANCE_YOUR_CALM, words);
        frame
    }

    fn frame(&mut self) {
        let head = Head::parse(self.head);
        self.skip = head.len;
        if head.is_headers() {
            self.last_stream = self.last_stream.max(head.stream);
        }
        if !self.idle.bear(&head, Instant::now()) {
            self.flood = Some(Flood);
        }
    }
}

impl Watch for FrameWatch {
    type Complaint = Flood;

    fn see(&mut self, mut read: &[u8]) {
        while !read.is_empty() && self.flood.is_none() {
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

    fn complaint(&self) -> Option<Flood> {
        self.flood
    }
}

/// For fuzzing: whether there is something to complain of after these reads, and the last stream that was opened.
#[cfg(fuzzing)]
pub fn watched<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> (bool, u32) {
    let mut watch = FrameWatch::new();
    reads.into_iter().for_each(|read| watch.see(read));
    assert!(watch.calm_down().len() < 100);
    (watch.complaint().is_some(), watch.last_stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;

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
            assert_eq!((watch.last_stream, watch.have, watch.skip), (5, 0, 0), "{size}");
            assert_eq!(watch.complaint(), None);
        }
    }

    #[test]
    fn masses_of_frames_that_carry_nothing_are_complained_of() {
        let mut watch = watch();
        let idle = frame(SETTINGS, 0, 0, &[]);
        (0..1000).for_each(|_| watch.see(&idle));
        assert_eq!(watch.complaint(), None);
        watch.see(&idle);
        assert_eq!(watch.complaint(), Some(Flood));
        assert_eq!(watch.calm_down()[..9], [0, 0, 42, 7, 0, 0, 0, 0, 0]);
    }
}
