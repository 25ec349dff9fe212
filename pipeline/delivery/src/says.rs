//! What delivery says in the log: with the Go collector's texts and fields where it says the same.

use millrace_engine::ledger::Holder;
use millrace_engine::{Account, Failure};
use millrace_telemetry::logs::Throttle;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A full queue refuses thousands of requests a second: what it says is for people.
const REJECTING: Duration = Duration::from_secs(10);

/// One line, with the fields that say whose it is.
macro_rules! say {
    ($level:ident, $holder:expr, $($rest:tt)+) => {{
        let holder: &::millrace_engine::ledger::Holder = $holder;
        ::tracing::$level!(
            otelcol.component.id = holder.component,
            otelcol.component.kind = holder.kind,
            otelcol.signal = holder.signal.name(),
            otelcol.pipeline.id = holder.pipeline.as_deref(),
            $($rest)+
        )
    }};
}
pub(crate) use say;

/// What will not be delivered although it has been acknowledged. Each of these is an error, as in Go; where there are
/// many, the log samples them. In the middle of a pipeline Go says less of it.
pub(crate) fn dropping(account: &Account, failure: &Failure, items: u64) {
    let holder = account.holder();
    match (items, holder.kind) {
        (0, _) => {}
        (_, "exporter") => {
            say!(error, holder, error = %failure, dropped_items = items, "Exporting failed. Dropping data.");
        }
        _ => say!(warn, holder, error = %failure, dropped_items = items, "Sender failed"),
    }
}

/// The oldest requests, dropped to make room. Said the first time, and then once in a while of everything since.
pub(crate) struct Evictions {
    throttle: Throttle,
    /// How many items have been dropped and not been spoken of.
    items: AtomicU64,
}

impl Evictions {
    pub(crate) fn new() -> Self {
        Self { throttle: Throttle::per(REJECTING), items: 0.into() }
    }

    pub(crate) fn tell(&self, holder: &Holder, items: u64) {
        self.items.fetch_add(items, Relaxed);
        let Some(before) = self.throttle.admit() else { return };
        say!(
            warn,
            holder,
            dropped_items = self.items.swap(0, Relaxed),
            dropped_requests = before + 1,
            "the queue is full; dropping the oldest requests to make room, as `millrace_on_full` says"
        );
    }
}

/// What is handed back: whoever sent it has been told. Said the first time, and then once in a while of everything
/// since.
pub(crate) struct Rejections {
    throttle: Throttle,
    /// How many items have been handed back and not been spoken of.
    items: AtomicU64,
    /// What may help, as in Go.
    advice: &'static str,
}

impl Rejections {
    pub(crate) fn new(advice: &'static str) -> Self {
        Self { throttle: Throttle::per(REJECTING), items: 0.into(), advice }
    }

    pub(crate) fn tell(&self, account: &Account, failure: &Failure, items: u64) {
        self.items.fetch_add(items, Relaxed);
        let Some(before) = self.throttle.admit() else { return };
        say!(
            error,
            account.holder(),
            error = %failure,
            rejected_items = self.items.swap(0, Relaxed),
            rejected_requests = before + 1,
            "Exporting failed. Rejecting data.{}",
            self.advice
        );
    }
}
