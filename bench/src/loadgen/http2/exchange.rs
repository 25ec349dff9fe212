//! What is said on the client's side of one HTTP/2 connection (RFC 9113) to make unary gRPC calls, without I/O: frames to
//! be written, as pieces that copy no body, and what frames that were read come to.
//!
//! Written for one purpose: that a request costs a generator little more than the system calls that carry it. A client of
//! general use takes more of the machine than some of the collectors that it is to measure.

use super::super::outcome::{Outcome, Refusal, rejected};
use super::request::Request;
use crate::status::{Code, decode_retry_info};
use bytes::Bytes;
use millrace_http2::{Decoder, HEAD_LEN, Head, PREFACE};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::Context;
use tokio::sync::oneshot;

/// Answers longer than this are cut; an export response is a few bytes.
const MESSAGE_MAX: usize = 64 * 1024;
/// The longest frame that a server may send: we ask for no longer ones.
const FRAME_MAX: usize = 16_384;
/// The window that every connection begins with.
const WINDOW_FIRST: u32 = 65_535;
/// The longest header block.
const BLOCK_MAX: usize = 64 * 1024;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

mod flag {
    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
    pub(super) const PRIORITY: u8 = 0x20;
}

const CANCEL: u32 = 8;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// The message with its gRPC prefix.
    pub(super) body: Bytes,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// A call that has begun.
#[derive(Debug)]
struct Stream {
    id: u32,
    /// What the windows do not let through yet.
    unsent: Bytes,
    window: i64,
    answer: Answer,
    reply: oneshot::Sender<Outcome>,
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    http: u16,
    code: Option<Code>,
    text: String,
    details: String,
    message: Vec<u8>,
}

/// What is to be written next.
#[derive(Debug)]
enum Piece {
    /// So many bytes of our own.
    Own(usize),
    /// Of a body.
    Body(Bytes),
}

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Exchange {
    request: Request,
    /// The longest frame of data that we send.
    frame: usize,
    peer_frame: usize,
    /// The heads and frames of our own that wait to be written, and how much of them has been.
    own: Vec<u8>,
    own_sent: usize,
    queue: VecDeque<Piece>,
    streams: Vec<Stream>,
    next_id: u32,
    streams_max: usize,
    /// What may be sent, on the connection and on a new stream.
    window: i64,
    stream_window: i64,
    /// What we let the server send, and what it has used of it.
    room: u32,
    used: u32,
    decoder: Decoder,
    /// A header block that is not whole: its stream, whether it is the last, its bytes.
    block: Option<(u32, bool, Vec<u8>)>,
    /// The server takes no more calls.
    going: bool,
}

impl Exchange {
    /// A connection on which nothing has been said; data is cut into frames of `frame` bytes, and the server may send
    /// `window` bytes ahead.
    pub(super) fn new(request: Request, frame: usize, window: u32) -> Self {
        let mut exchange = Self {
            request,
            frame,
            peer_frame: FRAME_MAX,
            own: Vec::new(),
            own_sent: 0,
            queue: VecDeque::new(),
            streams: Vec::new(),
            next_id: 1,
            streams_max: usize::MAX,
            window: WINDOW_FIRST.into(),
            stream_window: WINDOW_FIRST.into(),
            room: window.max(WINDOW_FIRST),
            used: 0,
            decoder: Decoder::new(),
            block: None,
            going: false,
        };
        exchange.say(|out| {
            out.extend_from_slice(PREFACE);
            put_head(out, 12, kind::SETTINGS, 0, 0);
            // ENABLE_PUSH, INITIAL_WINDOW_SIZE.
            out.extend_from_slice(&[0, 2, 0, 0, 0, 0, 0, 4]);
            out.extend_from_slice(&window.to_be_bytes());
        });
        if let Some(wider) = window.checked_sub(WINDOW_FIRST).filter(|wider| *wider > 0) {
            exchange.say_number(kind::WINDOW_UPDATE, 0, wider);
        }
        exchange
    }

    /// Whether another call may begin.
    pub(super) fn takes_calls(&self) -> bool {
        !self.going && self.streams.len() < self.streams_max
    }

    /// Whether the server takes no more calls.
    pub(super) fn is_going(&self) -> bool {
        self.going
    }

    /// Whether no call is open.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Ends calls that nobody waits for any more; whether there were any. Where no other can begin before one has ended,
    /// the task is woken when there are.
    pub(super) fn let_go(&mut self, cx: &mut Context<'_>) -> bool {
        let is_full = !self.takes_calls();
        let mut is_given_up = |stream: &mut Stream| {
            if is_full { stream.reply.poll_closed(cx).is_ready() } else { stream.reply.is_closed() }
        };
        let mut were_any = false;
        while let Some(at) = self.streams.iter_mut().position(&mut is_given_up) {
            let stream = self.streams.remove(at);
            self.say_number(kind::RST_STREAM, stream.id, CANCEL);
            were_any = true;
        }
        were_any
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, call: Call) {
        let id = self.next_id;
        self.next_id += 2;
        self.going |= self.next_id >= 1 << 31;
        let block = self.request.block();
        self.say(|out| {
            put_head(out, block.len(), kind::HEADERS, flag::END_HEADERS, id);
            out.extend_from_slice(&block);
        });
        let Call { body, reply } = call;
        let window = self.stream_window;
        self.streams.push(Stream { id, unsent: body, window, answer: Answer::default(), reply });
        self.fill(self.streams.len() - 1);
    }

    /// Queues what the windows let through of a stream.
    fn fill(&mut self, at: usize) {
        loop {
            let Some(stream) = self.streams.get_mut(at) else { return };
            let room = self.window.min(stream.window).max(0) as usize;
            let len = stream.unsent.len().min(room).min(self.frame).min(self.peer_frame);
            if len == 0 {
                return;
            }
            let chunk = stream.unsent.split_to(len);
            stream.window -= len as i64;
            self.window -= len as i64;
            let (id, is_last) = (stream.id, stream.unsent.is_empty());
            self.say(|out| put_head(out, len, kind::DATA, if is_last { flag::END_STREAM } else { 0 }, id));
            self.queue.push_back(Piece::Body(chunk));
        }
    }

    fn say(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let before = self.own.len();
        put(&mut self.own);
        let more = self.own.len() - before;
        match self.queue.back_mut() {
            Some(Piece::Own(len)) => *len += more,
            _ => self.queue.push_back(Piece::Own(more)),
        }
    }

    fn say_number(&mut self, kind: u8, stream: u32, number: u32) {
        self.say(|out| {
            put_head(out, 4, kind, 0, stream);
            out.extend_from_slice(&number.to_be_bytes());
        });
    }

    /// What is to be written, as far as there is room for in `slices`; how many are used.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut own = &self.own[self.own_sent..];
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(match piece {
                Piece::Own(len) => own.split_off(..*len).unwrap_or_default(),
                Piece::Body(bytes) => bytes,
            });
            used += 1;
        }
        used
    }

    /// So much of it has been written.
    pub(super) fn written(&mut self, mut len: usize) {
        while let Some(piece) = self.queue.front_mut() {
            let (whole, taken) = match piece {
                Piece::Own(own) => {
                    let taken = len.min(*own);
                    self.own_sent += taken;
                    *own -= taken;
                    (*own == 0, taken)
                }
                Piece::Body(bytes) => {
                    let taken = len.min(bytes.len());
                    drop(bytes.split_to(taken));
                    (bytes.is_empty(), taken)
                }
            };
            len -= taken;
            if !whole {
                return;
            }
            self.queue.pop_front();
        }
        self.own.clear();
        self.own_sent = 0;
    }

    /// Takes the frames that are whole; how many bytes they were.
    ///
    /// # Errors
    /// Why the connection cannot go on.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, String> {
        let mut rest = input;
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_LEN>() {
            let head = Head::parse(*head);
            if head.len as usize > FRAME_MAX {
                return Err("the server sends a frame that is longer than it may be".to_owned());
            }
            let Some((payload, after)) = after.split_at_checked(head.len as usize) else { break };
            self.frame_read(head, payload)?;
            rest = after;
        }
        Ok(input.len() - rest.len())
    }

    fn frame_read(&mut self, head: Head, payload: &[u8]) -> Result<(), String> {
        if self.block.is_some() && head.kind != kind::CONTINUATION {
            return Err("a header block is interrupted".to_owned());
        }
        match (head.kind, payload) {
            (kind::HEADERS, _) => {
                let block = unpadded(head, payload, flag::PADDED | flag::PRIORITY)?;
                let is_last = head.has(flag::END_STREAM);
                if head.has(flag::END_HEADERS) {
                    return self.block_read(head.stream, is_last, block);
                }
                self.block = Some((head.stream, is_last, block.to_vec()));
                Ok(())
            }
            (kind::CONTINUATION, _) => {
                let Some((stream, _, block)) = &mut self.block else {
                    return Err("a header block goes on that has not begun".to_owned());
                };
                if *stream != head.stream || block.len() + payload.len() > BLOCK_MAX {
                    return Err("a header block is interrupted, or too long".to_owned());
                }
                block.extend_from_slice(payload);
                match self.block.take_if(|_| head.has(flag::END_HEADERS)) {
                    Some((stream, is_last, block)) => self.block_read(stream, is_last, &block),
                    None => Ok(()),
                }
            }
            (kind::DATA, _) => self.data_read(head, payload),
            (kind::RST_STREAM, &[a, b, c, d]) => {
                let reason = u32::from_be_bytes([a, b, c, d]);
                if let Some(stream) = self.take(head.stream) {
                    let refusal = Refusal::transport(&format!("the stream was reset, reason {reason}"));
                    let _ = stream.reply.send(Outcome::Refused(refusal));
                }
                Ok(())
            }
            (kind::SETTINGS, _) if head.has(flag::ACK) => Ok(()),
            (kind::SETTINGS, _) => self.settings_read(payload),
            (kind::PING, _) if !head.has(flag::ACK) && payload.len() == 8 => {
                self.say(|out| {
                    put_head(out, 8, kind::PING, flag::ACK, 0);
                    out.extend_from_slice(payload);
                });
                Ok(())
            }
            (kind::WINDOW_UPDATE, &[a, b, c, d]) => {
                self.wider(head.stream, i64::from(u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1)));
                Ok(())
            }
            (kind::GOAWAY, &[a, b, c, d, ..]) => {
                self.going = true;
                let last = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
                let unseen = self.streams.extract_if(.., |stream| stream.id > last);
                let refusal = || Refusal::transport(&"the server goes away and has not seen the call");
                unseen.for_each(|stream| drop(stream.reply.send(Outcome::Refused(refusal()))));
                Ok(())
            }
            (kind::PUSH_PROMISE, _) => Err("the server pushes, which it was told not to".to_owned()),
            _ => Ok(()),
        }
    }

    fn block_read(&mut self, id: u32, is_last: bool, block: &[u8]) -> Result<(), String> {
        let mut nobody = Answer::default();
        let at = self.streams.iter().position(|stream| stream.id == id);
        let answer = match at {
            Some(at) => &mut self.streams[at].answer,
            None => &mut nobody,
        };
        self.decoder
            .decode(block, |name, value, _| answer.field(name, value))
            .map_err(|_| "the server's headers cannot be read".to_owned())?;
        if is_last {
            self.end(id);
        }
        Ok(())
    }

    fn data_read(&mut self, head: Head, payload: &[u8]) -> Result<(), String> {
        let data = unpadded(head, payload, flag::PADDED)?;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == head.stream) {
            let message = &mut stream.answer.message;
            let kept = data.len().min(MESSAGE_MAX.saturating_sub(message.len()));
            message.extend_from_slice(&data[..kept]);
        }
        if head.has(flag::END_STREAM) {
            self.end(head.stream);
        } else if head.len > 0 {
            self.say_number(kind::WINDOW_UPDATE, head.stream, head.len);
        }
        self.used += head.len;
        if self.used >= self.room / 2 {
            let used = std::mem::take(&mut self.used);
            self.say_number(kind::WINDOW_UPDATE, 0, used);
        }
        Ok(())
    }

    fn settings_read(&mut self, payload: &[u8]) -> Result<(), String> {
        for &[a, b, c, d, e, f] in payload.as_chunks::<6>().0 {
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                1 => self.request.table_is(value),
                3 => self.streams_max = value as usize,
                4 => {
                    let change = i64::from(value) - self.stream_window;
                    self.stream_window = i64::from(value);
                    self.streams.iter_mut().for_each(|stream| stream.window += change);
                }
                5 => self.peer_frame = value as usize,
                _ => {}
            }
        }
        self.say(|out| put_head(out, 0, kind::SETTINGS, flag::ACK, 0));
        (0..self.streams.len()).for_each(|at| self.fill(at));
        Ok(())
    }

    fn wider(&mut self, id: u32, by: i64) {
        if id == 0 {
            self.window += by;
            (0..self.streams.len()).for_each(|at| self.fill(at));
        } else if let Some(at) = self.streams.iter().position(|stream| stream.id == id) {
            self.streams[at].window += by;
            self.fill(at);
        }
    }

    /// The answer of a stream is whole.
    fn end(&mut self, id: u32) {
        let Some(stream) = self.take(id) else { return };
        if !stream.unsent.is_empty() {
            // The server has heard enough.
            self.say_number(kind::RST_STREAM, id, CANCEL);
        }
        // Whoever waited may have given up.
        let _ = stream.reply.send(stream.answer.outcome());
    }

    fn take(&mut self, id: u32) -> Option<Stream> {
        let at = self.streams.iter().position(|stream| stream.id == id)?;
        Some(self.streams.remove(at))
    }

    /// The connection is over: so are all calls.
    pub(super) fn fail(&mut self, why: &str) {
        for stream in self.streams.drain(..) {
            let _ = stream.reply.send(Outcome::Refused(Refusal::transport(&why)));
        }
    }
}

impl Answer {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let Ok(value) = std::str::from_utf8(value) else { return };
        match name {
            b":status" => self.http = value.parse().unwrap_or_default(),
            b"grpc-status" => self.code = Code::parse(value),
            b"grpc-message" => value.clone_into(&mut self.text),
            b"grpc-status-details-bin" => value.clone_into(&mut self.details),
            _ => {}
        }
    }

    fn outcome(self) -> Outcome {
        if self.http != 200 {
            return Outcome::Refused(Refusal::http(self.http, b"not a gRPC answer", None));
        }
        match self.code.unwrap_or(Code(2)) {
            Code(0) => Outcome::Acked { rejected: rejected(self.message.get(5..).unwrap_or_default()) },
            code => {
                let hint = decode_retry_info(&self.details);
                Outcome::Refused(Refusal::grpc(code, &self.text, hint))
            }
        }
    }
}

/// What a frame carries, without padding and priority where it may have them.
fn unpadded(head: Head, mut payload: &[u8], may_have: u8) -> Result<&[u8], String> {
    let wrong = || "a frame is shorter than its padding".to_owned();
    let mut padding = 0;
    if head.has(flag::PADDED & may_have) {
        padding = usize::from(*payload.split_off_first().ok_or_else(wrong)?);
    }
    if head.has(flag::PRIORITY & may_have) {
        payload = payload.get(5..).ok_or_else(wrong)?;
    }
    payload.get(..payload.len().saturating_sub(padding)).ok_or_else(wrong)
}

fn put_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}
