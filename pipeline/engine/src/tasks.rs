//! Supervision: a panic in any task is contained, counted, makes the process unready, and ends it after a drain.

use crate::health::{Health, State};
use crate::lanes::Lanes;
use futures_util::FutureExt;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Labels, Registry};
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Starts tasks and watches over them; clones share the watch.
#[derive(Debug, Clone)]
pub struct Tasks(Lanes<Watch>);

#[derive(Debug)]
struct Watch {
    health: Health,
    panics: AtomicU64,
    failed: Notify,
    registry: OnceLock<Registry>,
}

impl Tasks {
    /// A supervisor that reports to `health`.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self(Lanes::new(Watch {
            health,
            panics: AtomicU64::new(0),
            failed: Notify::new(),
            registry: OnceLock::new(),
        }))
    }

    /// Counts panics in `registry` from now on, by the name of the task.
    pub fn count_in(&self, registry: &Registry) {
        // A second registry would be a second process.
        let _ = self.0.registry.set(registry.clone());
    }

    /// Runs `future` as a task of its own. `name` says in the log what broke, should it panic.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(self.watched(name, future))
    }

    /// `future` with the same supervision, for a task that somebody else starts; `None` when it panicked.
    pub fn watched<F: Future>(
        &self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        let watch = self.0.near();
        // Combinators, because an async block around it would keep the future twice.
        AssertUnwindSafe(future).catch_unwind().map(move |ended| watch.outcome(name, ended))
    }

    /// Runs `future` here, with the same supervision; `None` when it panicked.
    pub fn watch<F: Future>(
        &self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<'_, F> {
        AssertUnwindSafe(future).catch_unwind().map(move |ended| self.0.outcome(name, ended))
    }

    /// Resolves when a task has panicked.
    pub async fn failed(&self) {
        self.0.failed.notified().await;
    }

    /// How many tasks have panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Relaxed)
    }
}

impl Watch {
    fn outcome<T>(&self, name: &'static str, ended: Result<T, Box<dyn Any + Send>>) -> Option<T> {
        match ended {
            Ok(output) => Some(output),
            Err(panic) => {
                self.report(name, panic.as_ref());
                None
            }
        }
    }

    fn report(&self, name: &'static str, panic: &(dyn Any + Send)) {
        let what = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        tracing::error!(task = name, panic = %what, "a task panicked; this is a bug: draining and ending the process");
        self.panics.fetch_add(1, Relaxed);
        if let Some(registry) = self.registry.get() {
            registry.counter(&catalogue::PANICS, &Labels::new().with("component", name)).add(1);
        }
        self.health.advance(State::Failed);
        self.failed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_contained_counted_and_fails_readiness() {
        let health = Health::starting();
        health.advance(State::Ready);
        let tasks = Tasks::new(health.clone());
        let outcome =
            tasks.spawn("doomed", async { panic!("on purpose") }).await.expect("the task itself ends well");
        assert!(outcome.is_none());
        tasks.failed().await;
        assert_eq!(tasks.panics(), 1);
        assert_eq!(health.state(), State::Failed);
    }
}
