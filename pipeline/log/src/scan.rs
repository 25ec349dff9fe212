//! Walking through the frames of a segment, past damage, with bounded memory.

use crate::files::{File, read_full};
use crate::format::frame::{HEADER, Header};
use crate::format::{ALIGN, Salt};
use std::io;

/// What is read at once.
const WINDOW: usize = 64 * 1024;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Headers. Bodies are skipped and taken to be whole.
    Headers,
    /// Bodies as well.
    Bodies,
}

/// A frame whose header is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) offset: u64,
    /// As far as it has been looked at.
    pub(crate) body_whole: bool,
}

/// What a walk came across.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Walked {
    /// Where the last frame ends, or where the walk began.
    pub(crate) end: u64,
    /// Stretches before that in which no frame was found.
    pub(crate) gaps: u64,
    /// Where the last byte is that is not zero, behind the last frame; or `end`.
    pub(crate) dirty_end: u64,
}

/// Where to walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Numbers of frames are from here on, and grow.
    pub(crate) sequence: u64,
    /// And are below this.
    pub(crate) sequence_end: u64,
}

/// Visits every frame in the range, in order.
pub(crate) fn walk(
    file: &dyn File,
    salt: Salt,
    range: Range,
    depth: Depth,
    mut visit: impl FnMut(Found),
) -> io::Result<Walked> {
    let mut window = Window::new(file, range.to);
    let mut at = range.from;
    let mut sequence = range.sequence;
    let mut walked = Walked { end: at, gaps: 0, dirty_end: at };
    let mut lost = false;
    while let Some(bytes) = window.get(at, HEADER)? {
        let header = Header::decode(bytes, salt).filter(|header| {
            let fits = at.checked_add(header.frame_len()).is_some_and(|end| end <= range.to);
            fits && header.sequence >= sequence && header.sequence < range.sequence_end
        });
        let Some(header) = header else {
            lost = true;
            let (next, dirty_end) = window.next_candidate(at, salt)?;
            walked.dirty_end = walked.dirty_end.max(dirty_end);
            at = next;
            continue;
        };
        walked.gaps += u64::from(std::mem::take(&mut lost));
        let body_whole = depth == Depth::Headers || window.body_is_whole(at, &header)?;
        visit(Found { header, offset: at, body_whole });
        sequence = header.sequence + 1;
        at += header.frame_len();
        walked.end = at;
        walked.dirty_end = at;
    }
    Ok(walked)
}

/// A part of a file, read ahead.
struct Window<'f> {
    file: &'f dyn File,
    buffer: Vec<u8>,
    start: u64,
    to: u64,
}

impl<'f> Window<'f> {
    fn new(file: &'f dyn File, to: u64) -> Self {
        Self { file, buffer: Vec::new(), start: 0, to }
    }

    /// `len` bytes at `at`, at most [`WINDOW`]; none where the range or the file ends before that.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.to) {
            return Ok(None);
        }
        let within = at >= self.start && at + len as u64 <= self.start + self.buffer.len() as u64;
        if !within {
            let want = (self.to - at).min(WINDOW as u64) as usize;
            self.buffer.resize(want, 0);
            let read = read_full(self.file, &mut self.buffer, at)?;
            self.buffer.truncate(read);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.buffer.get(from..from + len))
    }

    /// The next place after `at` where a frame may begin, or one where there is none any more; and where the last byte
    /// before it ends that is not zero.
    fn next_candidate(&mut self, mut at: u64, salt: Salt) -> io::Result<(u64, u64)> {
        const WORD: usize = ALIGN as usize;
        let mut dirty_end = 0;
        let mut first = true;
        loop {
            // As much as there is, but at least a word.
            let Some(_) = self.get(at, WORD)? else { return Ok((self.to, dirty_end)) };
            let buffered = &self.buffer[(at - self.start) as usize..];
            for word in buffered.chunks_exact(WORD) {
                if word.starts_with(&salt.marker.to_le_bytes()) && !first {
                    return Ok((at, dirty_end));
                }
                first = false;
                at += ALIGN;
                if word.iter().any(|byte| *byte != 0) {
                    dirty_end = at;
                }
            }
        }
    }

    fn body_is_whole(&mut self, at: u64, header: &Header) -> io::Result<bool> {
        let mut from = at + u64::from(header.header_len);
        let end = from + header.body_len();
        let mut crc = 0;
        while from < end {
            let some = (end - from).min(WINDOW as u64 / 2) as usize;
            let Some(bytes) = self.get(from, some)? else { return Ok(false) };
            crc = crc32c::crc32c_append(crc, bytes);
            from += some as u64;
        }
        Ok(crc == header.body_crc)
    }
}
