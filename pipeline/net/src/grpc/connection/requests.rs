//! The requests of a connection: what arrives is gathered here, and the task that answers one is woken once.

use super::super::exchange::{Asked, RECEIVE_TIMEOUT, cut_off, too_slow};
use super::super::head::Refusal;
use super::super::keepalive::Life;
use super::super::message::{Arrived, Receiving};
use super::super::outbox::{Reply, Word};
use super::super::pings::TOO_MANY;
use super::super::{Status, framed};
use super::{Driver, Unary, now};
use crate::connections::{WINDOW_MAX, WINDOW_MIN};
use crate::read_ahead::IN_MAX;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use millrace_http2::{Event, Fatal, Reason, Request};
use std::time::Instant;
use tokio::sync::oneshot;

/// A message for which a read more is worth not being copied.
const LARGE: usize = 32 << 10;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// How far a request has come.
pub(super) enum Exchange<U> {
    /// Its message is arriving.
    Arriving(Box<Arriving<U>>),
    /// Its task has all that it needs.
    UnderWay,
    /// Its task sends many answers.
    Streaming {
        /// Dropped with the stream, which is how the task is told.
        _wanted: oneshot::Sender<()>,
        /// Told when all that has been said has gone into the window.
        taken: Option<oneshot::Sender<()>>,
    },
    /// It has been answered, and its client has until then to end it.
    Answered(Instant),
}

/// The buffer of a message that is arriving, lent to be read into.
pub(super) struct Lent {
    stream: u32,
    whole: Vec<u8>,
    /// How much of the message was in it.
    have: usize,
}

impl Lent {
    /// The buffer, and how much is to be read into it at once: no more than elsewhere, as it need not be the message.
    pub(super) fn room(&mut self) -> (&mut Vec<u8>, usize) {
        let room = self.whole.capacity() - self.whole.len();
        (&mut self.whole, room.min(IN_MAX))
    }
}

/// A message that is arriving.
pub(super) struct Arriving<U> {
    receiving: Receiving,
    budget: millrace_engine::Budget,
    latest: Instant,
    whose: Whose<U>,
}

/// Who waits for it.
#[allow(clippy::large_enum_variant, reason = "in a box with its owner, and nearly always the large one")]
enum Whose<U> {
    /// Nobody yet: it needs no admission, and has no task before it is whole.
    Nobody(Asked<U>),
    /// The task that asks whether it may come in.
    Task(oneshot::Sender<Result<Arrived, Status>>),
}

impl<U: Unary, S> Driver<U, S> {
    /// Does what has been read asks for.
    pub(super) fn read(&mut self, mut input: &[u8], now: Instant) -> Result<(), Fatal> {
        while let Some(event) = self.http2.receive(&mut input, now)? {
            self.happen(event, now)?;
        }
        self.has_read(now);
        Ok(())
    }

    /// Looks after what depends on anything that may have been read.
    fn has_read(&mut self, now: Instant) {
        if self.life.is_none() && self.http2.is_greeted() {
            self.life = Some(Life::begin(self.server.options.keepalive, now, fastrand::f64()));
        }
        self.tell_taken();
    }

    fn happen(&mut self, event: Event<'_, Exchange<U>>, now: Instant) -> Result<(), Fatal> {
        match event {
            Event::Request { stream, request, ended } => {
                self.begin(stream, request, now);
                if ended {
                    self.finish(stream);
                }
            }
            Event::Data { stream, bytes } => self.gather(stream, bytes),
            Event::End { stream } => self.finish(stream),
            Event::Reset { state, .. } => self.cancel(state),
            Event::Ping => {
                if self.pings.is_too_many(self.http2.under_way() > 0, now) {
                    return Err(Fatal { reason: Reason::ENHANCE_YOUR_CALM, words: TOO_MANY });
                }
            }
        }
        Ok(())
    }

    /// The buffer of the message that is arriving in the middle of a frame, if there is much room in it.
    pub(super) fn lend(&mut self) -> Option<Lent> {
        let stream = self.http2.receiving()?;
        let Some(Exchange::Arriving(arriving)) = self.http2.kept(stream) else { return None };
        arriving.receiving.lend().map(|whole| Lent { stream, have: whole.len(), whole })
    }

    /// Does what has been read into a message's buffer asks for. Much of that is the message; what is between its frames
    /// is taken out, so that it lies in one piece again. Moving what was written a moment ago costs less than half of
    /// copying it from one buffer to another.
    pub(super) fn read_lent(&mut self, lent: Lent, now: Instant) -> Result<(), Fatal> {
        let Lent { stream: own, mut have, mut whole } = lent;
        let mut at = have;
        loop {
            let mut input = &whole[at..];
            let Some(event) = self.http2.receive(&mut input, now)? else { break };
            at = whole.len() - input.len();
            match event {
                Event::Data { stream, bytes } if stream == own => {
                    let len = bytes.len();
                    if have != at - len {
                        whole.copy_within(at - len..at, have);
                    }
                    have += len;
                }
                Event::End { stream } if stream == own => {
                    let rest = whole.split_off(at);
                    whole.truncate(have);
                    self.take_back(own, whole);
                    self.finish(own);
                    return self.read(&rest, now);
                }
                other => self.happen(other, now)?,
            }
        }
        whole.truncate(have);
        self.take_back(own, whole);
        self.has_read(now);
        Ok(())
    }

    /// Takes a buffer back into which nothing has been read.
    pub(super) fn not_read(&mut self, lent: Lent) {
        self.take_back(lent.stream, lent.whole);
    }

    fn take_back(&mut self, stream: u32, whole: Vec<u8>) {
        // Its request may be over, and its charge with it: then the buffer ends here, a moment later.
        let Some(Exchange::Arriving(arriving)) = self.http2.kept(stream) else { return };
        if let Err(status) = arriving.receiving.take_back(whole) {
            self.refuse(stream, status);
        }
    }

    fn begin(&mut self, stream: u32, request: Request, now: Instant) {
        self.grow();
        let asked = match Asked::judge(self.server.calls(), request, now) {
            Ok(asked) => asked,
            Err((content_type, refusal)) => return self.answer(stream, &content_type, Err(refusal)),
        };
        let latest = asked.latest();
        let (receiving, budget) = (Receiving::new(asked.max_message()), asked.budget().clone());
        let whose = if asked.is_admitted() {
            Whose::Nobody(asked)
        } else {
            let (sender, arrived) = oneshot::channel();
            // What comes before it is admitted is one window at most, and charged as well.
            self.http2.hold(stream);
            self.http2.work(stream);
            let reply = Reply::new(&self.outbox, stream);
            self.server.tasks.spawn("request", asked.admit(arrived, self.peer, reply));
            Whose::Task(sender)
        };
        let arriving = Arriving { receiving, budget, latest, whose };
        self.http2.keep(stream, Exchange::Arriving(Box::new(arriving)));
        self.wake_by(latest);
    }

    fn gather(&mut self, stream: u32, bytes: &[u8]) {
        let Some(Exchange::Arriving(arriving)) = self.http2.kept(stream) else { return };
        if let Err(status) = arriving.receiving.add(bytes, &arriving.budget) {
            self.refuse(stream, status);
        }
    }

    /// Takes away a message that is arriving: it is whole, or not wanted.
    fn arrived(&mut self, stream: u32) -> Option<Box<Arriving<U>>> {
        let exchange =
            self.http2.kept(stream).filter(|exchange| matches!(exchange, Exchange::Arriving(_)))?;
        match std::mem::replace(exchange, Exchange::UnderWay) {
            Exchange::Arriving(arriving) => Some(arriving),
            _ => None,
        }
    }

    /// Its message is whole.
    fn finish(&mut self, stream: u32) {
        let Some(arriving) = self.arrived(stream) else { return };
        let Arriving { receiving, whose, .. } = *arriving;
        let arrived = receiving.finish();
        let is_longer = |len| arrived.as_ref().is_ok_and(|arrived| arrived.wire_bytes() > len);
        self.wants_window |= is_longer(WINDOW_MIN as usize / 2);
        self.are_large = is_longer(LARGE);
        match (whose, arrived) {
            (Whose::Task(task), arrived) => drop(task.send(arrived)),
            (Whose::Nobody(asked), Ok(arrived)) => {
                self.http2.work(stream);
                let reply = Reply::new(&self.outbox, stream);
                self.server.tasks.spawn("request", asked.answer(arrived, None, self.peer, reply));
            }
            (Whose::Nobody(asked), Err(status)) => {
                let (content_type, refusal) = asked.refuse(status);
                self.answer(stream, &content_type, Err(refusal));
            }
        }
    }

    /// A message that is arriving is not wanted.
    fn refuse(&mut self, stream: u32, status: Status) {
        let Some(arriving) = self.arrived(stream) else { return };
        self.are_large = false;
        match arriving.whose {
            Whose::Task(task) => drop(task.send(Err(status))),
            Whose::Nobody(asked) => {
                let (content_type, refusal) = asked.refuse(status);
                self.answer(stream, &content_type, Err(refusal));
            }
        }
    }

    fn cancel(&self, state: Option<Exchange<U>>) {
        let Some(Exchange::Arriving(arriving)) = state else { return };
        match arriving.whose {
            Whose::Task(task) => drop(task.send(Err(cut_off()))),
            Whose::Nobody(asked) => drop(asked.refuse(cut_off())),
        }
    }

    /// Takes what a request's task says.
    pub(super) fn hear(&mut self, stream: u32, word: Word) {
        match word {
            Word::Admitted => return self.http2.release(stream),
            Word::Begin(content_type, wanted) => {
                self.http2.send_head(stream, StatusCode::OK, [(&CONTENT_TYPE, &content_type)], false);
                return self.http2.keep(stream, Exchange::Streaming { _wanted: wanted, taken: None });
            }
            Word::Message(message, sent) => {
                self.http2.send_data(stream, message);
                if let Some(Exchange::Streaming { taken, .. }) = self.http2.kept(stream) {
                    *taken = Some(sent);
                    self.untaken += 1;
                }
                return self.tell_taken();
            }
            Word::Answer(content_type, answer) => self.answer(stream, &content_type, answer),
            Word::End(trailers) => {
                self.http2.send_trailers(stream, &trailers);
                self.answered(stream);
            }
            Word::Nothing => {
                if self.http2.is_open(stream) {
                    self.http2.reset(stream, Reason::INTERNAL_ERROR);
                }
            }
        }
        self.http2.worked(stream);
    }

    fn answer(&mut self, stream: u32, content_type: &HeaderValue, answer: Result<Bytes, Refusal>) {
        match answer {
            // Headers, one message, trailers.
            Ok(message) => {
                self.http2.send_head(stream, StatusCode::OK, [(&CONTENT_TYPE, content_type)], false);
                self.http2.send_data(stream, framed(&message));
                self.http2.send_trailers(stream, [(&GRPC_STATUS, &OK)]);
            }
            // Trailers only.
            Err(refusal) => {
                let trailers = refusal.status.to_trailers();
                let all = [(&CONTENT_TYPE, content_type)].into_iter().chain(&trailers);
                self.http2.send_head(stream, refusal.http, all, true);
            }
        }
        self.answered(stream);
    }

    fn answered(&mut self, stream: u32) {
        let now = now();
        self.last_answer = now;
        self.pings.answered();
        if self.http2.is_open(stream) {
            self.http2.release(stream);
            let until = now + RECEIVE_TIMEOUT;
            self.http2.keep(stream, Exchange::Answered(until));
            self.wake_by(until);
        }
    }

    /// Tells those that wait for the window that what they said has gone into it.
    fn tell_taken(&mut self) {
        if self.untaken == 0 {
            return;
        }
        let waits = |(stream, exchange): (u32, &mut Option<Exchange<U>>)| {
            matches!(exchange, Some(Exchange::Streaming { taken: Some(_), .. })).then_some(stream)
        };
        let waiting: Vec<u32> = self.http2.all_kept().filter_map(waits).collect();
        self.untaken = waiting.len();
        for stream in waiting {
            if self.http2.waiting(stream) == 0
                && let Some(Exchange::Streaming { taken, .. }) = self.http2.kept(stream)
                && let Some(taken) = taken.take()
            {
                self.untaken -= 1;
                // It may have stopped waiting.
                let _ = taken.send(());
            }
        }
    }

    /// Ends the requests that are late.
    pub(super) fn end_late(&mut self, now: Instant) {
        let (mut late, mut next) = (Vec::new(), None);
        for (stream, exchange) in self.http2.all_kept() {
            let (until, is_answered) = match exchange {
                Some(Exchange::Arriving(arriving)) => (arriving.latest, false),
                Some(Exchange::Answered(until)) => (*until, true),
                _ => continue,
            };
            if until <= now {
                late.push((stream, is_answered));
            } else {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            }
        }
        self.late = next;
        for (stream, is_answered) in late {
            if is_answered {
                self.http2.give_up(stream);
            } else {
                self.refuse(stream, too_slow());
            }
        }
    }

    fn wake_by(&mut self, at: Instant) {
        self.late = Some(self.late.map_or(at, |late| late.min(at)));
    }

    /// Nobody hears anything any more.
    pub(super) fn cut_off(&mut self) {
        self.outbox.close();
        let all: Vec<_> = self.http2.all_kept().map(|(_, exchange)| exchange.take()).collect();
        all.into_iter().for_each(|exchange| self.cancel(exchange));
    }

    /// Grows the windows of a connection once, if its requests ask for it and there is a lease.
    fn grow(&mut self) {
        if self.lease.is_some() || !std::mem::take(&mut self.wants_window) {
            return;
        }
        if let Some(granted) = self.server.options.windows.lease_window(WINDOW_MAX) {
            self.http2.widen(granted.size());
            self.lease = Some(granted);
        }
    }
}
