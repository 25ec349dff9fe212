//! What a reload cannot change.

use millrace_telemetry::config::{LogsConfig, MetricsConfig, TelemetryConfig};

/// Refuses what only a restart can change: everything of `service::telemetry` but the level of the log and where the
/// metrics page is.
///
/// # Errors
/// Which sections have changed.
pub(super) fn restart_only(old: &TelemetryConfig, new: &TelemetryConfig) -> Result<(), String> {
    let changed = [
        ("logs", logs(&old.logs) != logs(&new.logs)),
        ("metrics", metrics(&old.metrics) != metrics(&new.metrics)),
        ("traces", old.traces != new.traces),
        ("resource", old.resource != new.resource),
    ];
    let changed: Vec<_> = changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = changed.iter().map(|key| format!("`service::telemetry::{key}`")).collect();
    Err(format!(
        "{} cannot be changed while the collector runs, except for `logs::level` and the `pull` readers of `metrics`; \
         restart it, or put back what was there",
        keys.join(" and ")
    ))
}

fn logs(config: &LogsConfig) -> LogsConfig {
    LogsConfig { level: LogsConfig::default().level, ..config.clone() }
}

fn metrics(config: &MetricsConfig) -> MetricsConfig {
    let readers = config.readers.iter().filter(|reader| reader.pull.is_none()).cloned().collect();
    MetricsConfig { readers, ..config.clone() }
}
