//! Senders that do as they are told.

use super::ids;
use millrace_delivery::{Accepted, Sender};
use millrace_engine::{Batch, BoxFuture, Failure, Fault, Reason};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How one attempt goes.
#[derive(Debug, Clone)]
pub enum Go {
    /// Delivered.
    Take,
    /// Delivered, but so many items were refused.
    Partly(u64),
    /// Refused.
    Fail(Failure),
    /// First this long, then like that.
    After(Duration, Box<Go>),
    /// A bug.
    Panic,
    /// No answer ever.
    Hang,
}

/// One attempt as the destination saw it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub at: Instant,
    pub ids: Vec<u64>,
    pub taken: bool,
    /// Of what was taken, how many items were refused all the same.
    pub rejected: u64,
}

/// Does what the script says, attempt by attempt, and takes everything when it has ended.
#[derive(Default)]
pub struct Scripted {
    script: Mutex<VecDeque<Go>>,
    pub attempts: Mutex<Vec<Attempt>>,
    under_way: AtomicUsize,
    pub most_at_once: AtomicUsize,
    pub closed: AtomicUsize,
    /// The most items of one request, if there is a limit.
    pub max_items: Option<usize>,
    /// Ids that are refused for good whatever they come with.
    pub poison: Vec<u64>,
    /// If there are gates, each attempt waits for one to open.
    pub gates: Option<Semaphore>,
}

impl Scripted {
    pub fn new(script: impl IntoIterator<Item = Go>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    /// Waits at each attempt until [`Scripted::open`].
    pub fn gated() -> Arc<Self> {
        Arc::new(Self { gates: Some(Semaphore::new(0)), ..Self::default() })
    }

    pub fn open(&self, gates: usize) {
        self.gates.as_ref().expect("it is gated").add_permits(gates);
    }

    pub fn limited(max_items: usize) -> Arc<Self> {
        Arc::new(Self { max_items: Some(max_items), ..Self::default() })
    }

    pub fn poisoned(ids: impl IntoIterator<Item = u64>) -> Arc<Self> {
        Arc::new(Self { poison: ids.into_iter().collect(), ..Self::default() })
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("no test panics here").clone()
    }

    /// What was delivered, in the order in which it was.
    pub fn delivered(&self) -> Vec<u64> {
        self.attempts().into_iter().filter(|attempt| attempt.taken).flat_map(|attempt| attempt.ids).collect()
    }

    async fn attempt(&self, batch: &Batch) -> Result<Accepted, Failure> {
        let _under_way = UnderWay::enter(self);
        let ids = ids(batch);
        let at = Instant::now();
        if let Some(gates) = &self.gates {
            gates.acquire().await.expect("never closed").forget();
        }
        let mut go = self.script.lock().expect("no test panics here").pop_front().unwrap_or(Go::Take);
        while let Go::After(delay, next) = go {
            tokio::time::sleep(delay).await;
            go = *next;
        }
        if let Go::Take = go {
            if self.max_items.is_some_and(|max| ids.len() > max) {
                go = Go::Fail(too_large());
            } else if ids.iter().any(|id| self.poison.contains(id)) {
                go = Go::Fail(if ids.len() > 1 { too_large() } else { never() });
            }
        }
        let taken = matches!(go, Go::Take | Go::Partly(_));
        let rejected = if let Go::Partly(rejected) = go { rejected.min(ids.len() as u64) } else { 0 };
        self.attempts.lock().expect("no test panics here").push(Attempt { at, ids, taken, rejected });
        match go {
            Go::Take => Ok(Accepted::default()),
            Go::Partly(rejected_items) => Ok(Accepted { rejected_items }),
            Go::Fail(failure) => Err(failure),
            Go::Panic => panic!("on purpose"),
            Go::Hang => std::future::pending().await,
            Go::After(..) => unreachable!("taken apart above"),
        }
    }
}

impl Sender for Scripted {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(self.attempt(batch))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closed.fetch_add(1, SeqCst);
        })
    }
}

struct UnderWay<'a>(&'a Scripted);

impl<'a> UnderWay<'a> {
    fn enter(sender: &'a Scripted) -> Self {
        let now = sender.under_way.fetch_add(1, SeqCst) + 1;
        sender.most_at_once.fetch_max(now, SeqCst);
        Self(sender)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// A destination that is down.
pub fn dead() -> Arc<Scripted> {
    Scripted::new(std::iter::repeat_n(Go::Fail(later()), 1_000_000))
}

pub fn later() -> Failure {
    Failure::transient(Fault::Destination, Reason::Unreachable, "nobody there")
}

pub fn never() -> Failure {
    Failure::permanent(Fault::Destination, Reason::Rejected, "not that")
}

pub fn too_large() -> Failure {
    Failure::permanent(Fault::Destination, Reason::TooLarge, "too much at once")
}
