//! What is said: answers, as far as the peer's windows let them.

use super::{Connection, RESET_REMEMBERED};
use crate::frame::{Reason, flag, kind, put_head, put_number};
use crate::hpack;
use crate::settings::FRAME_MIN;
use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, StatusCode};

/// More than most answers take.
const ANSWER: usize = 256;

impl<T> Connection<T> {
    /// Begins an answer. With `ends` that is all of it.
    pub fn send_head<'h>(
        &mut self,
        id: u32,
        status: StatusCode,
        headers: impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
        ends: bool,
    ) {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.open) else { return };
        stream.open = !ends;
        // For a usual answer at once, instead of by doubling.
        self.out.reserve(ANSWER);
        let block = block(Some(status), headers);
        self.put_block(id, &block, ends);
        if ends {
            self.end_stream_if_over(id);
        }
    }

    /// Goes on with an answer. What does not fit into the peer's window waits here for it, so that whoever sends more
    /// than one answer asks ([`Connection::waiting`]) before the next.
    pub fn send_data(&mut self, id: u32, bytes: Bytes) {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.open) else { return };
        if stream.data.is_empty() {
            stream.data = bytes;
        } else {
            stream.data = [&stream.data[..], &bytes].concat().into();
        }
        self.send(id);
    }

    /// How much waits for the peer's window.
    pub fn waiting(&mut self, id: u32) -> usize {
        self.streams.get(id).map_or(0, |stream| stream.data.len())
    }

    /// Ends an answer with its trailers.
    pub fn send_trailers<'h>(
        &mut self,
        id: u32,
        trailers: impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    ) {
        if self.streams.get(id).is_none_or(|stream| !stream.open) {
            return;
        }
        if let Some(stream) = self.streams.get(id) {
            stream.last = Some(block(None, trailers));
        }
        self.send(id);
    }

    /// Ends a stream on which the peer takes too long: to end its request after the answer, or to take the answer.
    pub fn give_up(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        let reason = if stream.open { Reason::CANCEL } else { Reason::NO_ERROR };
        self.reset(id, reason);
    }

    /// Ends a stream at once; what was kept with it, if it was not over.
    pub fn reset(&mut self, id: u32, reason: Reason) -> Option<Option<T>> {
        put_number(&mut self.out, kind::RST_STREAM, id, reason.0);
        self.reset.copy_within(..RESET_REMEMBERED - 1, 1);
        self.reset[0] = id;
        self.remove(id).map(|stream| stream.state)
    }

    /// The status alone, on a stream that is not kept.
    pub(super) fn put_answer(&mut self, id: u32, status: StatusCode) {
        let block = block(Some(status), []);
        self.put_block(id, &block, true);
    }

    /// Sends of everything that waits what now fits.
    pub(super) fn send_all(&mut self) {
        let waiting: Vec<u32> =
            self.streams.iter().filter(|stream| !stream.data.is_empty()).map(|stream| stream.id).collect();
        waiting.into_iter().for_each(|id| self.send(id));
    }

    /// Sends of what waits on a stream what now fits.
    pub(super) fn send(&mut self, id: u32) {
        let Self { streams, out, window, peer_frame, .. } = self;
        let Some(stream) = streams.get(id) else { return };
        while !stream.data.is_empty() {
            let room = (*window).min(stream.window).clamp(0, i64::from(*peer_frame));
            let len = stream.data.len().min(room as usize);
            if len == 0 {
                return;
            }
            put_head(out, len, kind::DATA, 0, id);
            out.extend_from_slice(&stream.data[..len]);
            stream.data.advance(len);
            *window -= len as i64;
            stream.window -= len as i64;
        }
        stream.data = Bytes::new();
        if let Some(block) = stream.last.take() {
            stream.open = false;
            self.put_block(id, &block, true);
            self.end_stream_if_over(id);
        }
    }

    /// Writes a header block, in as many frames as it takes.
    fn put_block(&mut self, id: u32, block: &[u8], ends: bool) {
        let out = &mut self.out;
        let size_update: &[u8] =
            if std::mem::take(&mut self.table_is_small) { &[hpack::TABLE_SIZE_ZERO] } else { &[] };
        let len = size_update.len() + block.len();
        let end = if ends { flag::END_STREAM } else { 0 };
        if len <= FRAME_MIN as usize {
            put_head(out, len, kind::HEADERS, end | flag::END_HEADERS, id);
            out.extend_from_slice(size_update);
            out.extend_from_slice(block);
            return;
        }
        let whole = [size_update, block].concat();
        let pieces = whole.chunks(FRAME_MIN as usize);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.enumerate() {
            let (kind, flags) = if at == 0 { (kind::HEADERS, end) } else { (kind::CONTINUATION, 0) };
            let flags = if at == last { flags | flag::END_HEADERS } else { flags };
            put_head(out, piece.len(), kind, flags, id);
            out.extend_from_slice(piece);
        }
    }
}

fn block<'h>(
    status: Option<StatusCode>,
    headers: impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    if let Some(status) = status {
        hpack::put_status(&mut block, status);
    }
    headers.into_iter().for_each(|(name, value)| hpack::put_field(&mut block, name, value));
    block
}
