//! Header blocks: requests, and what follows a body.

use super::receive::WHOLE_MAX;
use super::{Closing, Connection, Event};
use crate::frame::{Fatal, Head, MAX_31, Reason, flag};
use crate::request::{Fields, Flaw};
use crate::streams::Stream;
use bytes::Bytes;
use http::StatusCode;

/// A header block, as far as it has come.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    ends: bool,
    /// The stream is to depend on itself.
    is_twisted: bool,
    bytes: Vec<u8>,
}

impl Block {
    /// Of a frame of headers without its padding and priority.
    pub(super) fn begin(head: Head, mut payload: &[u8]) -> Result<(Self, &[u8]), Fatal> {
        let mut padding = 0;
        if head.has(flag::PADDED) {
            let (&len, rest) =
                payload.split_first().ok_or(Fatal::size("a padded frame without its padding"))?;
            (padding, payload) = (usize::from(len), rest);
        }
        let mut is_twisted = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) =
                payload.split_first_chunk::<5>().ok_or(Fatal::size("a frame without its priority"))?;
            let [a, b, c, d, _] = *priority;
            is_twisted = u32::from_be_bytes([a, b, c, d]) & MAX_31 == head.stream;
            payload = rest;
        }
        let len = payload.len().checked_sub(padding);
        let len = len.ok_or(Fatal::protocol("the padding is longer than its frame"))?;
        let block =
            Self { stream: head.stream, ends: head.has(flag::END_STREAM), is_twisted, bytes: Vec::new() };
        Ok((block, &payload[..len]))
    }
}

impl<T> Connection<T> {
    /// Takes a frame of headers. A block that is whole in one frame is read where it lies.
    pub(super) fn headers<'i>(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event<'i, T>>, Fatal> {
        let (mut block, fragment) = Block::begin(head, payload)?;
        if head.has(flag::END_HEADERS) {
            return self.whole_block(&block, fragment);
        }
        block.bytes.extend_from_slice(fragment);
        self.block = Some(Box::new(block));
        Ok(None)
    }

    /// Takes what continues a block.
    pub(super) fn continuation<'i>(
        &mut self,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event<'i, T>>, Fatal> {
        let mut block =
            self.block.take().ok_or(Fatal::protocol("a header block is continued that has not begun"))?;
        if block.bytes.len() + payload.len() > WHOLE_MAX as usize {
            return Err(Fatal::flood("a header block is too long"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.whole_block(&block, &block.bytes);
        }
        self.block = Some(block);
        Ok(None)
    }

    fn whole_block<'i>(&mut self, block: &Block, bytes: &[u8]) -> Result<Option<Event<'i, T>>, Fatal> {
        let mut fields = Fields::default();
        let most = self.max_header_list as usize;
        // Whatever becomes of it: the table must be what the peer thinks it is.
        self.decoder
            .decode(bytes, |name, value, secret| fields.add(name, value, secret, most))
            .map_err(|_| Fatal { reason: Reason::COMPRESSION_ERROR, words: "a header block is damaged" })?;
        let Block { stream: id, ends, is_twisted, .. } = *block;
        if id.is_multiple_of(2) {
            return Err(Fatal::protocol("a stream with an even number"));
        }
        if self.is_after_end(id) {
            return Ok(None);
        }
        if id > self.last_stream {
            self.last_stream = id;
            return self.begin_stream(id, ends, is_twisted, fields);
        }
        self.after_body(id, ends, is_twisted, &fields)
    }

    fn begin_stream<'i>(
        &mut self,
        id: u32,
        ends: bool,
        is_twisted: bool,
        fields: Fields,
    ) -> Result<Option<Event<'i, T>>, Fatal> {
        if self.under_way() >= self.max_streams as usize {
            self.reset(id, Reason::REFUSED_STREAM);
            return Ok(None);
        }
        if is_twisted {
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        let (request, to_come) = match fields.into_request() {
            Ok(request) => request,
            Err(Flaw::Malformed) => return self.error(id, Reason::PROTOCOL_ERROR),
            Err(Flaw::TooLarge) => {
                self.put_answer(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
                return self.error(id, Reason::PROTOCOL_ERROR);
            }
        };
        if ends && to_come.is_some_and(|to_come| to_come > 0) {
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        self.streams.add(Stream {
            id,
            state: None,
            peer_open: !ends,
            open: true,
            worked_on: false,
            room: self.stream_room.into(),
            credit: 0,
            held: None,
            window: self.stream_window.into(),
            to_come,
            data: Bytes::new(),
            last: None,
        });
        Ok(Some(Event::Request { stream: id, request, ended: ends }))
    }

    /// What follows a body, or something on a stream that is over.
    fn after_body<'i>(
        &mut self,
        id: u32,
        ends: bool,
        is_twisted: bool,
        fields: &Fields,
    ) -> Result<Option<Event<'i, T>>, Fatal> {
        let last = self.last_stream;
        let Some(stream) = self.streams.get(id) else {
            return match self.reset.contains(&id) {
                true => Ok(None),
                false if id == last => {
                    Err(Fatal { reason: Reason::STREAM_CLOSED, words: "headers on a stream that is over" })
                }
                false => Err(Fatal::protocol("streams do not begin in order")),
            };
        };
        if !stream.peer_open {
            return self.error(id, Reason::STREAM_CLOSED);
        }
        if !ends || is_twisted || !fields.are_trailers() {
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        if !stream.open {
            self.ended(id);
            return Ok(None);
        }
        self.end_of(id)
    }

    /// Ends a stream for an error of the peer's. What was kept with it is handed out.
    pub(super) fn error<'i>(&mut self, id: u32, reason: Reason) -> Result<Option<Event<'i, T>>, Fatal> {
        self.errors += 1;
        if self.errors > super::ERRORS_MAX {
            return Err(Fatal::flood("too many streams are in error"));
        }
        let state = self.reset(id, reason);
        Ok(state.map(|state| Event::Reset { stream: id, reason, state }))
    }

    /// A stream leaves; what it held back is given back.
    pub(super) fn remove(&mut self, id: u32) -> Option<Box<Stream<T>>> {
        let stream = self.streams.remove(id)?;
        self.orphans += u32::from(stream.worked_on);
        if let Some(held) = stream.held {
            self.give_connection(held);
        }
        self.end_if_over();
        Some(stream)
    }

    /// Removes a stream on which nobody will say anything more.
    pub(super) fn end_stream_if_over(&mut self, id: u32) {
        if self.streams.get(id).is_some_and(|stream| !stream.peer_open && !stream.open) {
            self.remove(id);
        }
    }

    /// A peer that begins nothing new is told so in turn when everything has ended.
    pub(super) fn end_if_over(&mut self) {
        if self.peer_closing && self.streams.len() == 0 && self.closing != Closing::After(self.last_stream) {
            self.finish();
        }
    }
}
