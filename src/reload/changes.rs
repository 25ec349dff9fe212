//! What a reload cannot change.

use millrace_telemetry::config::{LogsConfig, MetricsConfig, TelemetryConfig};
use serde_json::{Map, Value, to_value};

/// Refuses what only a restart can change: everything of `service::telemetry` but the level of the log and where the
/// metrics page is.
///
/// # Errors
/// Which keys have changed.
pub(super) fn restart_only(old: &TelemetryConfig, new: &TelemetryConfig) -> Result<(), String> {
    let mut changed = Vec::new();
    note("logs", (&logs(&old.logs), &logs(&new.logs)), |logs| to_value(logs), &mut changed);
    note(
        "metrics",
        (&metrics(&old.metrics), &metrics(&new.metrics)),
        |metrics| to_value(metrics),
        &mut changed,
    );
    note("traces", (&old.traces, &new.traces), |traces| to_value(traces), &mut changed);
    note("resource", (&old.resource, &new.resource), |resource| to_value(resource), &mut changed);
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} cannot be changed while the collector runs, except for `logs::level` and the `pull` readers of `metrics`; \
         restart it, or put back what was there",
        changed.join(" and ")
    ))
}

/// Names the keys of a section that have changed.
fn note<T: PartialEq>(
    section: &str,
    (old, new): (&T, &T),
    write: fn(&T) -> serde_json::Result<Value>,
    changed: &mut Vec<String>,
) {
    if old == new {
        return;
    }
    let path = format!("service::telemetry::{section}");
    let written = |config: &T| match write(config) {
        Ok(Value::Object(keys)) => keys,
        _ => Map::new(),
    };
    let (old, new) = (written(old), written(new));
    let differs = |key: &&String| old.get(*key) != new.get(*key);
    let mut keys: Vec<_> = old.keys().chain(new.keys()).filter(differs).collect();
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        // Secrets look alike.
        changed.push(format!("`{path}`"));
    }
    changed.extend(keys.into_iter().map(|key| format!("`{path}::{key}`")));
}

fn logs(config: &LogsConfig) -> LogsConfig {
    LogsConfig { level: LogsConfig::default().level, ..config.clone() }
}

fn metrics(config: &MetricsConfig) -> MetricsConfig {
    let readers = config.readers.iter().filter(|reader| reader.pull.is_none()).cloned().collect();
    MetricsConfig { readers, ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_telemetry::config::LogLevel;

    #[test]
    fn what_has_changed_is_named_by_its_key() {
        let old = TelemetryConfig::default();
        let mut new = old.clone();
        new.logs.level = LogLevel::Debug;
        assert_eq!(restart_only(&old, &new), Ok(()));
        new.logs.disable_caller = true;
        new.logs.initial_fields.insert("a".to_owned(), "b".into());
        let problem = restart_only(&old, &new).expect_err("a restart");
        let keys = "`service::telemetry::logs::disable_caller` and `service::telemetry::logs::initial_fields` cannot be";
        assert!(problem.starts_with(keys), "{problem}");
    }
}
