//! Bodies as they arrive: handed out where they lie, and paid for with credit.

use super::receive::{Phase, after};
use super::{Connection, Event};
use crate::frame::{Fatal, Head, Reason, flag, kind, put_number};

/// What is to come of a frame of data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    stream: u32,
    left: u32,
    /// How long the padding is has to be read first.
    pad_to_come: bool,
    padding: u32,
    ends: bool,
    /// Its stream is over, or answered.
    is_unwanted: bool,
}

impl<T> Connection<T> {
    /// Judges the head of data; what is wrong with its stream only is an event.
    pub(super) fn begin_data<'i>(&mut self, head: Head) -> Result<(Data, Option<Event<'i, T>>), Fatal> {
        let Head { len, stream: id, .. } = head;
        if id == 0 || id > self.last_stream && !self.is_after_end(id) {
            return Err(Fatal::protocol("data of a stream that has not begun"));
        }
        let pad_to_come = head.has(flag::PADDED);
        if pad_to_come && len == 0 {
            return Err(Fatal::size("a padded frame without its padding"));
        }
        self.room -= i64::from(len);
        if self.room < 0 {
            return Err(Fatal::flow("more data than the connection's window allows"));
        }
        let mut data = Data {
            stream: id,
            left: len,
            pad_to_come,
            padding: 0,
            ends: head.has(flag::END_STREAM),
            is_unwanted: true,
        };
        let Some(stream) = self.streams.get(id) else {
            let is_expected = self.reset.contains(&id) || self.is_after_end(id);
            let event = if is_expected { None } else { self.error(id, Reason::STREAM_CLOSED)? };
            return Ok((data, event));
        };
        if !stream.peer_open {
            return Ok((data, self.error(id, Reason::STREAM_CLOSED)?));
        }
        stream.room -= i64::from(len);
        if stream.room < 0 {
            return Ok((data, self.error(id, Reason::FLOW_CONTROL_ERROR)?));
        }
        // What comes after the answer is thrown away, until it is enough of that.
        data.is_unwanted = !stream.open;
        if data.is_unwanted && !data.ends && stream.room < i64::from(self.stream_room / 2) {
            self.reset(id, Reason::NO_ERROR);
        }
        Ok((data, None))
    }

    /// Goes on with data; whether the frame is done.
    pub(super) fn more_data<'i>(
        &mut self,
        mut data: Data,
        input: &mut &'i [u8],
    ) -> Result<(Option<Event<'i, T>>, bool), Fatal> {
        if data.pad_to_come
            && let Some((&padding, rest)) = input.split_first()
        {
            *input = rest;
            data.pad_to_come = false;
            data.left -= 1;
            data.padding = padding.into();
            data.left = (data.left.checked_sub(data.padding))
                .ok_or(Fatal::protocol("the padding is longer than its frame"))?;
            // Nobody takes it, so that it is done with.
            self.give(data.stream, data.padding + 1);
        }
        let taken =
            if data.pad_to_come { 0 } else { data.left.min(u32::try_from(input.len()).unwrap_or(u32::MAX)) };
        let (bytes, rest) = input.split_at(taken as usize);
        *input = rest;
        data.left -= taken;
        if taken > 0 {
            let is_wanted = self.handed_out(&mut data, taken)?;
            self.phase = Phase::Data(data);
            if is_wanted {
                return Ok((Some(Event::Data { stream: data.stream, bytes }), false));
            }
        }
        self.phase = if data.left > 0 { Phase::Data(data) } else { after(data.padding) };
        match self.phase {
            Phase::Data(_) => Ok((None, false)),
            _ if data.ends && !data.is_unwanted => self.end_of(data.stream).map(|event| (event, true)),
            _ if data.ends => {
                self.ended(data.stream);
                Ok((None, true))
            }
            _ => Ok((None, true)),
        }
    }

    /// The stream whose data comes next, in the middle of a frame; none where nobody wants it.
    #[must_use]
    pub fn receiving(&self) -> Option<u32> {
        match self.phase {
            Phase::Data(data) if !data.pad_to_come && data.left > 0 && !data.is_unwanted => Some(data.stream),
            _ => None,
        }
    }

    /// Counts what is handed out or thrown away; whether it is handed out.
    fn handed_out(&mut self, data: &mut Data, len: u32) -> Result<bool, Fatal> {
        if !data.is_unwanted
            && let Some(to_come) = self.streams.get(data.stream).and_then(|stream| stream.to_come.as_mut())
        {
            match to_come.checked_sub(len.into()) {
                Some(less) => *to_come = less,
                // Told as its end is.
                None => *to_come = u64::MAX,
            }
        }
        match self.streams.get(data.stream) {
            // It was answered in the meantime.
            Some(stream) if !stream.open => data.is_unwanted = true,
            None => data.is_unwanted = true,
            Some(_) => {}
        }
        if data.is_unwanted {
            self.give_connection(len);
        } else {
            self.give(data.stream, len);
        }
        Ok(!data.is_unwanted)
    }

    /// Gives credit for what has been taken, in pieces of half a window.
    pub(super) fn give(&mut self, id: u32, len: u32) {
        let half = self.stream_room / 2;
        if let Some(stream) = self.streams.get(id) {
            if let Some(held) = &mut stream.held {
                *held += len;
                return;
            }
            stream.credit += len;
            if stream.credit >= half.max(1) && stream.peer_open && stream.open {
                put_number(&mut self.out, kind::WINDOW_UPDATE, id, stream.credit);
                stream.room += i64::from(std::mem::take(&mut stream.credit));
            }
        }
        self.give_connection(len);
    }

    pub(super) fn give_connection(&mut self, len: u32) {
        self.credit += len;
        if self.credit >= self.room_target / 2 {
            put_number(&mut self.out, kind::WINDOW_UPDATE, 0, self.credit);
            self.room += i64::from(std::mem::take(&mut self.credit));
        }
    }

    /// A body is whole; whether it is as long as it said.
    pub(super) fn end_of<'i>(&mut self, id: u32) -> Result<Option<Event<'i, T>>, Fatal> {
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        if stream.to_come.is_some_and(|to_come| to_come > 0) {
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        self.ended(id);
        Ok(self.is_open(id).then_some(Event::End { stream: id }))
    }

    /// The peer sends nothing more on a stream.
    pub(super) fn ended(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id) {
            stream.peer_open = false;
            self.end_stream_if_over(id);
        }
    }
}
