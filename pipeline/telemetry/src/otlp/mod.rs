//! Own telemetry as OTLP: metrics, log records and spans, written straight into bytes.
//!
//! Nothing here sends anything; who does is above this crate.

mod attributes;
mod logs;
mod metrics;
mod spans;

use std::time::{SystemTime, UNIX_EPOCH};

pub use self::attributes::Attribute;
pub use self::logs::logs;
pub use self::metrics::{Collected, Metrics};
pub use self::spans::spans;

/// The schema of the attributes of the resource, where the configuration names none.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.40.0";

/// Nanoseconds since the Unix epoch.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
