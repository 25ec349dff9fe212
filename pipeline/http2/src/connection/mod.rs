//! One connection: its state, and what its owner asks of it. What it does with what is read is in [`receive`] and
//! [`headers`], what it says in [`send`].

mod data;
mod headers;
mod receive;
mod send;

use crate::frame::{Fatal, MAX_31, Reason, go_away, kind, put_number, put_ping};
use crate::hpack::Decoder;
use crate::patience::{IdleFrames, Patience};
use crate::request::Request;
use crate::settings::{self, FRAME_MIN, WINDOW_FIRST};
use crate::streams::Streams;
use receive::Phase;

/// The ping that comes back when the peer has heard that it is to begin nothing new.
const FAREWELL: [u8; 8] = *b"farewell";
/// The ping by which we ask whether anybody is there.
const ARE_YOU_THERE: [u8; 8] = *b"you here";
/// How many streams are remembered that we have reset, so that what was on its way is not an error.
const RESET_REMEMBERED: usize = 8;
/// Streams that we may have to reset for an error before the connection is ended.
const ERRORS_MAX: u32 = 1024;
/// Streams that a peer may reset a second before we have answered them.
const RESETS: u32 = 100;

/// What a connection allows its peer.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Streams that are not over.
    pub max_streams: u32,
    /// What may be sent ahead, on each stream, to begin with; at least that of the protocol, 65,535, for the connection.
    pub window: u32,
    /// The longest frame of data, from 2^14 on.
    pub max_frame: u32,
    /// The fields of a request, in all, as the protocol counts them.
    pub max_header_list: u32,
}

/// What a peer has done. Data lies where it was read.
#[derive(Debug)]
pub enum Event<'i, T> {
    /// It has begun a request.
    Request {
        /// The number of its stream.
        stream: u32,
        /// Its head.
        request: Request,
        /// It has no body.
        ended: bool,
    },
    /// Some of a body.
    Data {
        /// The number of its stream.
        stream: u32,
        /// The bytes.
        bytes: &'i [u8],
    },
    /// A body is whole.
    End {
        /// The number of its stream.
        stream: u32,
    },
    /// The stream is over before it was answered: the peer wants no answer any more, or has broken a rule.
    Reset {
        /// The number of the stream.
        stream: u32,
        /// Why.
        reason: Reason,
        /// What was kept with it.
        state: Option<T>,
    },
    /// It asks whether anybody is there, and has been answered.
    Ping,
}

/// How far a connection has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Not,
    /// The peer has been told to begin nothing new; what it begins before it has heard that is taken.
    Told,
    /// What comes after this stream is not looked at.
    After(u32),
}

/// The server's side of a connection. `T` is kept with each stream.
#[derive(Debug)]
pub struct Connection<T> {
    phase: Phase,
    /// What has been read of a frame that is not whole.
    partial: Vec<u8>,
    /// A header block that is not whole.
    block: Option<Box<headers::Block>>,
    out: Vec<u8>,
    streams: Streams<T>,
    decoder: Decoder,
    max_streams: u32,
    max_frame: u32,
    max_header_list: u32,
    /// The window of new streams, for what we receive.
    stream_room: u32,
    /// What the connection's window is kept at.
    room_target: u32,
    /// What the peer may still send.
    room: i64,
    /// What has been taken since it was last given credit.
    credit: u32,
    /// What we may still send.
    window: i64,
    /// The window of new streams, for what we send.
    stream_window: u32,
    /// The longest frame the peer takes.
    peer_frame: u32,
    /// The peer is to hear that we need no table, before the next block.
    table_is_small: bool,
    /// The last stream that the peer has opened.
    last_stream: u32,
    closing: Closing,
    /// The peer will begin nothing new.
    peer_closing: bool,
    idle_frames: IdleFrames,
    resets: Patience,
    errors: u32,
    reset: [u32; RESET_REMEMBERED],
    /// Streams that the peer has reset while somebody works on them.
    orphans: u32,
}

impl<T> Connection<T> {
    /// A connection on which nothing has been said. Our settings are its first words.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let Options { max_streams, window, max_frame, max_header_list } = *options;
        let mut connection = Self {
            phase: Phase::Preface { seen: 0 },
            partial: Vec::new(),
            block: None,
            out: Vec::new(),
            streams: Streams::new(),
            decoder: Decoder::new(),
            max_streams,
            max_frame: max_frame.max(FRAME_MIN),
            max_header_list,
            stream_room: window,
            room_target: WINDOW_FIRST,
            room: WINDOW_FIRST.into(),
            credit: 0,
            window: WINDOW_FIRST.into(),
            stream_window: WINDOW_FIRST,
            peer_frame: FRAME_MIN,
            table_is_small: false,
            last_stream: 0,
            closing: Closing::Not,
            peer_closing: false,
            idle_frames: IdleFrames::new(),
            resets: Patience::new(RESETS),
            errors: 0,
            reset: [0; RESET_REMEMBERED],
            orphans: 0,
        };
        settings::put_first(&mut connection.out, max_streams, window, connection.max_frame, max_header_list);
        connection.widen_connection(window);
        connection
    }

    /// Whether the peer has said that it speaks HTTP/2.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        !matches!(self.phase, Phase::Preface { .. } | Phase::Failed)
    }

    /// The last stream that the peer has opened.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Requests under way, those included that the peer has given up and somebody still works on.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.streams.len() + self.orphans as usize
    }

    /// Whether nothing more will happen: everything begun has ended, and nothing new will begin.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.streams.len() == 0 && matches!(self.closing, Closing::After(_))
    }

    /// What waits to be sent.
    #[must_use]
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    /// Takes what waits to be sent, all of it, and its buffer.
    #[must_use]
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Keeps something with a stream, if that is not over.
    pub fn keep(&mut self, stream: u32, state: T) {
        if let Some(stream) = self.streams.get(stream) {
            stream.state = Some(state);
        }
    }

    /// What is kept with a stream.
    pub fn kept(&mut self, stream: u32) -> Option<&mut T> {
        self.streams.get(stream)?.state.as_mut()
    }

    /// Takes away what is kept with a stream.
    pub fn take(&mut self, stream: u32) -> Option<T> {
        self.streams.get(stream)?.state.take()
    }

    /// All that is kept with streams, and their numbers.
    pub fn all_kept(&mut self) -> impl Iterator<Item = (u32, &mut Option<T>)> {
        self.streams.iter().map(|stream| (stream.id, &mut stream.state))
    }

    /// Whether a stream is not over.
    pub fn is_open(&mut self, stream: u32) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Somebody begins to work on a stream, and will say when that is done ([`Connection::worked`]). Until then it
    /// counts as one of those that there may be, even if the peer resets it.
    pub fn work(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get(stream) {
            stream.worked_on = true;
        }
    }

    /// Nobody works on a stream any more.
    pub fn worked(&mut self, stream: u32) {
        match self.streams.get(stream) {
            Some(stream) => stream.worked_on = false,
            None => self.orphans = self.orphans.saturating_sub(1),
        }
    }

    /// Gives no credit for what comes on a stream, so that it is not more than one window.
    pub fn hold(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get(stream) {
            stream.held.get_or_insert(0);
        }
    }

    /// Gives the credit that was held back, and goes on giving it.
    pub fn release(&mut self, stream: u32) {
        if let Some(held) = self.streams.get(stream).and_then(|stream| stream.held.take()) {
            self.give(stream, held);
        }
    }

    /// Lets the peer send that much ahead, on each stream and on all of them. Windows only grow.
    pub fn widen(&mut self, window: u32) {
        let window = window.min(MAX_31);
        let Some(wider) = window.checked_sub(self.stream_room).filter(|wider| *wider > 0) else { return };
        settings::put_window(&mut self.out, window);
        self.stream_room = window;
        // It may use that as soon as it has heard of it, which is before we know.
        self.streams.iter().for_each(|stream| stream.room += i64::from(wider));
        self.widen_connection(window);
    }

    /// Lets the peer send that much ahead on all streams together.
    pub fn widen_connection(&mut self, window: u32) {
        if let Some(wider) = window.min(MAX_31).checked_sub(self.room_target).filter(|wider| *wider > 0) {
            put_number(&mut self.out, kind::WINDOW_UPDATE, 0, wider);
            self.room += i64::from(wider);
            self.room_target += wider;
        }
    }

    /// Asks the peer whether it is there. Its answer is a read like any other.
    pub fn ping(&mut self) {
        put_ping(&mut self.out, 0, ARE_YOU_THERE);
    }

    /// Tells the peer to begin nothing new. What it has begun, or begins before it has heard of it, is done.
    pub fn shut_down(&mut self) {
        if self.closing == Closing::Not {
            self.closing = Closing::Told;
            go_away(&mut self.out, MAX_31, Reason::NO_ERROR, "");
            put_ping(&mut self.out, 0, FAREWELL);
        }
    }

    /// The peer has heard of it, or has said of itself that it begins nothing new.
    fn finish(&mut self) {
        if !matches!(self.closing, Closing::After(_)) {
            self.closing = Closing::After(self.last_stream);
            go_away(&mut self.out, self.last_stream, Reason::NO_ERROR, "");
        }
    }

    /// Tells the peer why the connection is ended. Nothing it sends is looked at from now on.
    pub fn fail(&mut self, fatal: Fatal) {
        self.phase = Phase::Failed;
        self.closing = Closing::After(self.last_stream);
        go_away(&mut self.out, self.last_stream, fatal.reason, fatal.words);
    }

    /// Gives back all room that is not used.
    pub fn settle(&mut self) {
        self.out.shrink_to_fit();
        self.partial.shrink_to_fit();
        self.streams.settle();
        self.decoder.settle();
    }
}

#[cfg(test)]
mod tests;
