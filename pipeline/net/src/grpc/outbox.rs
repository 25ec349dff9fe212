//! What the tasks of requests say to the task of their connection, which alone writes.
//!
//! # Invariants
//! - What waits here is bounded by the requests under way: each says a few words, and waits after a message that is one
//!   of many.
//! - Every task says something that ends its request, even if it panics.

use super::head::Refusal;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use tokio::sync::oneshot;

/// Something said about a stream.
#[derive(Debug)]
pub(super) enum Word {
    /// Its request may come in.
    Admitted,
    /// All of the answer.
    Answer(HeaderValue, Result<Bytes, Refusal>),
    /// The first of many messages is to come. The sender is dropped when nobody wants them any more.
    Begin(HeaderValue, oneshot::Sender<()>),
    /// One of many messages, encoded with its prefix. It is told when it has gone into the window.
    Message(Bytes, oneshot::Sender<()>),
    /// There are no more.
    End(HeaderMap),
    /// Its task is gone, and there is no answer.
    Nothing,
}

/// What waits for a connection.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    words: Vec<(u32, Word)>,
    waker: Option<Waker>,
    closed: bool,
}

impl Outbox {
    /// All that has been said since the last time. Whoever asks is woken by the next word.
    pub(super) fn take(&self, cx: &Context<'_>) -> Vec<(u32, Word)> {
        let mut inner = self.lock();
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        std::mem::take(&mut inner.words)
    }

    /// Nobody asks any more.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let words = std::mem::take(&mut inner.words);
        inner.waker = None;
        drop(inner);
        drop(words);
    }

    fn say(&self, stream: u32, word: Word) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        inner.words.push((stream, word));
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Held for a moment at a time, by the connection and whichever of its requests has something to say.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the task of a request answers it.
#[derive(Debug)]
pub(super) struct Reply {
    outbox: Arc<Outbox>,
    stream: u32,
    ended: bool,
}

impl Reply {
    pub(super) fn new(outbox: &Arc<Outbox>, stream: u32) -> Self {
        Self { outbox: Arc::clone(outbox), stream, ended: false }
    }

    /// Says something after which more will follow.
    pub(super) fn say(&self, word: Word) {
        self.outbox.say(self.stream, word);
    }

    /// Says the last word.
    pub(super) fn end(mut self, word: Word) {
        self.ended = true;
        self.outbox.say(self.stream, word);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.ended {
            self.outbox.say(self.stream, Word::Nothing);
        }
    }
}
