//! What is told of reloads: metrics, and what the page `servicez` shows.

use millrace_engine::health::Health;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Counter, Gauge, Labels, Registry};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts of reloads, and which configuration runs.
pub struct Reloads {
    registry: Registry,
    health: Health,
    succeeded: Counter,
    failed: Counter,
    last_success: Gauge,
    shown: Mutex<Labels>,
}

impl Reloads {
    /// The process has started with a configuration.
    pub fn new(registry: &Registry, health: &Health, print: u64) -> Self {
        let count = |outcome| registry.counter(&catalogue::RELOADS, &Labels::new().with("outcome", outcome));
        let reloads = Self {
            registry: registry.clone(),
            health: health.clone(),
            succeeded: count("success"),
            failed: count("failure"),
            last_success: registry.gauge(&catalogue::RELOAD_LAST_SUCCESS, &Labels::new()),
            shown: Mutex::default(),
        };
        reloads.succeeded.add(0);
        reloads.failed.add(0);
        reloads.loaded(print);
        reloads
    }

    /// A configuration is at work.
    pub(super) fn loaded(&self, print: u64) {
        let hash = format!("{print:016x}");
        let labels = Labels::new().with("hash", hash.clone());
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != labels {
            self.registry.remove(&catalogue::CONFIG_INFO, &shown);
            self.registry.gauge(&catalogue::CONFIG_INFO, &labels).set(1.0);
            *shown = labels;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
        self.health.loaded(hash);
    }

    pub(super) fn succeeded(&self) {
        self.succeeded.add(1);
    }

    pub(super) fn failed(&self, problem: &str) {
        self.failed.add(1);
        // The rest may quote the configuration, and pages are for everybody.
        self.health.not_loaded(problem.lines().next().unwrap_or_default());
    }
}
