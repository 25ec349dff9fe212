//! What is read: frames, one after the other, whole or in pieces.

use super::data::Data;
use super::{Closing, Connection, Event, FAREWELL};
use crate::frame::{Fatal, HEAD_LEN, Head, MAX_31, PREFACE, Reason, flag, kind, put_head, put_ping};
use crate::settings::{self, Asked, TABLE_FIRST};
use std::time::Instant;

/// The longest frame that has to be whole before it is looked at, and the longest header block.
pub(super) const WHOLE_MAX: u32 = 32 << 10;

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// One of those that every connection begins with.
    Preface { seen: u8 },
    /// Of a frame's head.
    Head { is_first: bool },
    /// Of a frame that must be whole.
    Whole(Head),
    /// Of data.
    Data(Data),
    /// Of something that is not looked at.
    Skip { left: u32 },
    /// Nothing is looked at any more.
    Failed,
}

impl<T> Connection<T> {
    /// Reads on in `input` up to the next thing that its owner must know; `None` at the end of what there is.
    ///
    /// # Errors
    /// Why the connection must be ended ([`Connection::fail`]).
    pub fn receive<'i>(&mut self, input: &mut &'i [u8], now: Instant) -> Result<Option<Event<'i, T>>, Fatal> {
        loop {
            let event = match self.phase {
                Phase::Data(data) => {
                    // Data may be empty, or end with nothing more to be read.
                    let (event, is_done) = self.more_data(data, input)?;
                    if !is_done && event.is_none() {
                        return Ok(None);
                    }
                    event
                }
                Phase::Failed => return Ok(None),
                _ if input.is_empty() => return Ok(None),
                Phase::Preface { seen } => {
                    self.preface(seen, input)?;
                    None
                }
                Phase::Head { is_first } => match self.whole_head(input) {
                    None => return Ok(None),
                    Some(head) => self.head(head, is_first, input, now)?,
                },
                Phase::Whole(head) => match self.collect(head.len as usize, input) {
                    false => return Ok(None),
                    true => {
                        let payload = std::mem::take(&mut self.partial);
                        self.phase = Phase::Head { is_first: false };
                        self.whole(head, &payload, now)?
                    }
                },
                Phase::Skip { left } => {
                    let skipped = left.min(u32::try_from(input.len()).unwrap_or(u32::MAX));
                    *input = &input[skipped as usize..];
                    self.phase = after(left - skipped);
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn preface(&mut self, seen: u8, input: &mut &[u8]) -> Result<(), Fatal> {
        let expected = &PREFACE[usize::from(seen)..];
        let len = expected.len().min(input.len());
        if input[..len] != expected[..len] {
            self.phase = Phase::Failed;
            return Err(Fatal::protocol("this is not HTTP/2"));
        }
        *input = &input[len..];
        let seen = seen + len as u8;
        let is_whole = usize::from(seen) == PREFACE.len();
        self.phase = if is_whole { Phase::Head { is_first: true } } else { Phase::Preface { seen } };
        Ok(())
    }

    /// The head of a frame, which nearly always is in one piece.
    fn whole_head(&mut self, input: &mut &[u8]) -> Option<Head> {
        if self.partial.is_empty()
            && let Some((head, rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Some(Head::parse(*head));
        }
        if !self.collect(HEAD_LEN, input) {
            return None;
        }
        let head = self.partial.first_chunk().map(|head| Head::parse(*head));
        self.partial.clear();
        head
    }

    /// Whether `len` bytes are there.
    fn collect(&mut self, len: usize, input: &mut &[u8]) -> bool {
        let taken = (len - self.partial.len()).min(input.len());
        let (these, rest) = input.split_at(taken);
        self.partial.extend_from_slice(these);
        *input = rest;
        self.partial.len() == len
    }

    /// Begins a frame. What must be whole and is at hand is looked at where it lies.
    fn head<'i>(
        &mut self,
        head: Head,
        is_first: bool,
        input: &mut &'i [u8],
        now: Instant,
    ) -> Result<Option<Event<'i, T>>, Fatal> {
        if is_first && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Fatal::protocol("the first frame must be settings"));
        }
        if head.len > self.max_frame {
            return Err(Fatal::size("a frame is longer than allowed"));
        }
        if self
            .block
            .as_ref()
            .is_some_and(|block| head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(Fatal::protocol("a header block is interrupted"));
        }
        if !self.idle_frames.bear(&head, now) {
            return Err(Fatal::flood("too many frames that carry nothing"));
        }
        match head.kind {
            kind::DATA => {
                let (data, event) = self.begin_data(head)?;
                self.phase = Phase::Data(data);
                return Ok(event);
            }
            kind::PRIORITY if head.len != 5 => {
                self.phase = after(head.len);
                return self.error_of_any(head.stream, Reason::FRAME_SIZE_ERROR);
            }
            kind::PUSH_PROMISE => return Err(Fatal::protocol("clients do not push")),
            kind::HEADERS | kind::CONTINUATION | kind::SETTINGS if head.len > WHOLE_MAX => {
                return Err(Fatal::flood("a frame of headers or settings is too long"));
            }
            kind::HEADERS
            | kind::CONTINUATION
            | kind::PRIORITY
            | kind::RST_STREAM
            | kind::SETTINGS
            | kind::PING
            | kind::WINDOW_UPDATE => check_size(head)?,
            kind::GOAWAY if head.stream != 0 || head.len < 8 => {
                return Err(Fatal::protocol("a farewell is out of form"));
            }
            other => {
                self.phase = after(head.len);
                if other == kind::GOAWAY {
                    self.peer_closing = true;
                    self.end_if_over();
                }
                return Ok(None);
            }
        }
        match input.split_at_checked(head.len as usize) {
            Some((payload, rest)) => {
                *input = rest;
                self.phase = Phase::Head { is_first: false };
                self.whole(head, payload, now)
            }
            None => {
                self.phase = Phase::Whole(head);
                Ok(None)
            }
        }
    }

    fn whole<'i>(&mut self, head: Head, payload: &[u8], now: Instant) -> Result<Option<Event<'i, T>>, Fatal> {
        match (head.kind, payload) {
            (kind::HEADERS, _) => self.headers(head, payload),
            (kind::CONTINUATION, _) => self.continuation(head, payload),
            (kind::PRIORITY, _) => self.priority(head, payload),
            (kind::RST_STREAM, &[a, b, c, d]) => {
                self.peer_reset(head.stream, u32::from_be_bytes([a, b, c, d]), now)
            }
            (kind::SETTINGS, _) if head.has(flag::ACK) => Ok(None),
            (kind::SETTINGS, _) => self.settings(payload).map(|()| None),
            (kind::PING, &[a, b, c, d, e, f, g, h]) => Ok(self.pinged(head, [a, b, c, d, e, f, g, h])),
            (kind::WINDOW_UPDATE, &[a, b, c, d]) => {
                self.window_update(head.stream, u32::from_be_bytes([a, b, c, d]) & MAX_31)
            }
            // Sizes have been looked at.
            _ => Ok(None),
        }
    }

    /// Whether a stream is one of those that we have said that we do not look at.
    pub(super) fn is_after_end(&self, id: u32) -> bool {
        matches!(self.closing, Closing::After(last) if id > last)
    }

    fn priority<'i>(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event<'i, T>>, Fatal> {
        // Deprecated, and all there is to it: none may depend on itself.
        match payload.first_chunk() {
            Some(on) if u32::from_be_bytes(*on) & MAX_31 == head.stream => {
                self.error_of_any(head.stream, Reason::PROTOCOL_ERROR)
            }
            _ => Ok(None),
        }
    }

    fn peer_reset<'i>(&mut self, id: u32, reason: u32, now: Instant) -> Result<Option<Event<'i, T>>, Fatal> {
        if id > self.last_stream && !self.is_after_end(id) {
            return Err(Fatal::protocol("a stream is reset that has not begun"));
        }
        let was_reset = self.reset.contains(&id);
        let stream = self.remove(id);
        // Only of those that are answered and not ended a peer has to reset many.
        let is_early = stream.as_ref().map_or(!was_reset, |stream| stream.open);
        if is_early && !self.resets.take(now) {
            return Err(Fatal::flood("too many requests are reset before they are answered"));
        }
        let Some(stream) = stream else { return Ok(None) };
        Ok(Some(Event::Reset { stream: id, reason: Reason(reason), state: stream.state }))
    }

    fn pinged<'i>(&mut self, head: Head, payload: [u8; 8]) -> Option<Event<'i, T>> {
        if !head.has(flag::ACK) {
            put_ping(&mut self.out, flag::ACK, payload);
            return Some(Event::Ping);
        }
        if payload == FAREWELL && self.closing == Closing::Told {
            self.finish();
        }
        None
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Fatal> {
        for setting in payload.as_chunks::<6>().0 {
            match settings::read(*setting)? {
                Asked::TableSize(size) => self.table_is_small |= size < TABLE_FIRST,
                Asked::FrameSize(size) => self.peer_frame = size,
                Asked::Window(size) => {
                    let change =
                        i64::from(size) - i64::from(std::mem::replace(&mut self.stream_window, size));
                    for stream in self.streams.iter() {
                        stream.window += change;
                        if stream.window > MAX_31.into() {
                            return Err(Fatal::flow("a window becomes too large"));
                        }
                    }
                }
                Asked::Other => {}
            }
        }
        put_head(&mut self.out, 0, kind::SETTINGS, flag::ACK, 0);
        self.send_all();
        Ok(())
    }

    fn window_update<'i>(&mut self, id: u32, wider: u32) -> Result<Option<Event<'i, T>>, Fatal> {
        if id == 0 {
            self.window += i64::from(wider);
            if wider == 0 {
                return Err(Fatal::protocol("a window grows by nothing"));
            }
            if self.window > MAX_31.into() {
                return Err(Fatal::flow("the connection's window becomes too large"));
            }
            self.send_all();
            return Ok(None);
        }
        if id > self.last_stream && !self.is_after_end(id) {
            return Err(Fatal::protocol("a window of a stream that has not begun"));
        }
        if wider == 0 {
            return self.error_of_any(id, Reason::PROTOCOL_ERROR);
        }
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        stream.window += i64::from(wider);
        if stream.window > MAX_31.into() {
            return self.error(id, Reason::FLOW_CONTROL_ERROR);
        }
        self.send(id);
        Ok(None)
    }

    /// An error of a stream, which may be over or not have begun.
    fn error_of_any<'i>(&mut self, id: u32, reason: Reason) -> Result<Option<Event<'i, T>>, Fatal> {
        match id {
            0 => Err(Fatal { reason, words: "a frame of no stream" }),
            _ => self.error(id, reason),
        }
    }
}

/// After what is skipped.
pub(super) fn after(left: u32) -> Phase {
    if left == 0 { Phase::Head { is_first: false } } else { Phase::Skip { left } }
}

/// What must have a size, or belong to a stream or to none.
fn check_size(head: Head) -> Result<(), Fatal> {
    let Head { kind, len, stream, .. } = head;
    let is_right = match kind {
        kind::SETTINGS if head.has(flag::ACK) => len == 0,
        kind::SETTINGS => len.is_multiple_of(6),
        kind::PING => len == 8,
        kind::RST_STREAM | kind::WINDOW_UPDATE => len == 4,
        _ => true,
    };
    if !is_right {
        return Err(Fatal::size("a frame has the wrong size"));
    }
    let is_at_home = match kind {
        kind::SETTINGS | kind::PING => stream == 0,
        kind::WINDOW_UPDATE => true,
        _ => stream != 0,
    };
    if is_at_home { Ok(()) } else { Err(Fatal::protocol("a frame is on the wrong stream")) }
}
