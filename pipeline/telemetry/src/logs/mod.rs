//! The collector's own logs, in the lines that the Go collector writes.
//!
//! Events of `tracing` become lines of the `console` or the `json` encoding. What a component says about itself once,
//! in the fields of a span (`otelcol.component.id`, `otelcol.component.kind`, `otelcol.signal`,
//! `otelcol.pipeline.id`), stands in every line that is written within that span. Names of fields are used as they
//! are. The time is UTC. There are no stack traces. What a client or a destination said belongs into fields,
//! where it is escaped, and not into the message, which may have several lines; what terminals obey is escaped there,
//! too.
//!
//! Components are heard from the configured level on; libraries from `warn` on or, at level `debug`, from `info` on.
//!
//! # Invariants
//! - Writing a line costs the caller a copy into a bounded buffer, never a write to a file or pipe. What finds no room
//!   is dropped and counted.
//! - Lines with the same level and message are sampled, unless the configuration says otherwise.

mod encode;
mod layer;
mod records;
mod sampler;
mod sink;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use self::layer::{LogLayer, Threshold};
pub use self::records::{Record, mute_records_of_this_thread};
pub use self::sink::OutputError;
use self::sink::Sink;
pub use self::throttle::Throttle;
use crate::buffer::{Buffer, Outlet};
use crate::config::{LogLevel, LogsConfig};
use crate::metrics::{Labels, Registry};

/// How long the lines that are still in the buffer are waited for in the end.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// How long log records wait before they are sent, unless configured.
const RECORDS_DELAY: Duration = Duration::from_secs(1);

/// What went wrong when logging was set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// An output could not be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The process already logs elsewhere.
    #[error("a subscriber for logs is already installed in this process")]
    AlreadyInstalled,
}

/// Keeps logging going; dropping it writes what is still in the buffer.
#[derive(Debug)]
pub struct LogGuard {
    records: Vec<Outlet<Arc<Record>>>,
    sink: Arc<Sink>,
    threshold: Arc<Threshold>,
}

impl LogGuard {
    /// Waits until everything logged so far is written, at most `timeout`. Says whether it is. Blocks.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        self.sink.flush(timeout)
    }

    /// What is to be sent as log records, and where to; once.
    #[must_use]
    pub fn take_records(&mut self) -> Vec<Outlet<Arc<Record>>> {
        std::mem::take(&mut self.records)
    }

    /// Logs from another level on.
    pub fn set_level(&self, level: LogLevel) {
        self.threshold.set(filter(level));
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // Nobody could be told if it fails.
        let _ = self.sink.flush(LAST_FLUSH);
        self.sink.close();
    }
}

/// Makes the process log as configured, until it ends.
///
/// `resource` describes the process (`service.name` and so on) and stands in every line, unless the configuration
/// says otherwise. Dropped lines are counted in `registry`.
pub fn install(config: &LogsConfig, resource: &Labels, registry: &Registry) -> Result<LogGuard, LogsError> {
    let (subscriber, guard) = subscriber(config, resource, registry)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::AlreadyInstalled)?;
    Ok(guard)
}

/// The subscriber that [`install`] installs.
pub fn subscriber(
    config: &LogsConfig,
    resource: &Labels,
    registry: &Registry,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogGuard), LogsError> {
    let sink = Arc::new(Sink::open(&config.output_paths, &config.error_output_paths, registry)?);
    let threshold = Arc::new(Threshold::new(filter(config.level)));
    let records: Vec<_> = config
        .processors
        .iter()
        .filter_map(|processor| {
            let schedule = processor.schedule(RECORDS_DELAY);
            let buffer = Buffer::new(&schedule, "logs", registry);
            Some(Outlet { schedule, exporter: processor.exporter()?.clone(), buffer })
        })
        .collect();
    let buffers = records.iter().map(|outlet| outlet.buffer.clone()).collect();
    let layer = LogLayer::new(config, resource, registry, Arc::clone(&sink), Arc::clone(&threshold), buffers);
    Ok((tracing_subscriber::registry().with(layer), LogGuard { records, sink, threshold }))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        // Nothing is logged at these.
        LogLevel::DevelopmentPanic | LogLevel::Panic | LogLevel::Fatal => LevelFilter::OFF,
    }
}
