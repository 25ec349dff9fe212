//! The second version's page: how the collector, or one pipeline, is, in JSON.

use super::aggregate::{Aggregate, collector};
use super::answer::{Answer, Path, Rfc3339};
use super::config::{ComponentHealth, V2};
use millrace_engine::Health;
use millrace_engine::status::{Condition, Event};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Instant, UNIX_EPOCH};

/// The fields and their order are those of the Go collector's answer.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    healthy: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    status_time: String,
    /// Nobody has any yet.
    attributes: BTreeMap<(), ()>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    components: BTreeMap<&'a str, Status<'a>>,
}

/// The answer to a request for `path?query`, whatever its method.
pub(super) fn answer(
    v2: &V2,
    component_health: Option<&ComponentHealth>,
    path: &str,
    query: &str,
    health: &Health,
) -> Answer {
    let at = Path(&v2.own.status.path);
    if !v2.own.status.enabled || !at.covers(path) {
        return at.elsewhere(path, v2.own.status.enabled);
    }
    let (pipeline, is_verbose) = asked(query);
    let default = ComponentHealth::default();
    let whole = collector(health, component_health.unwrap_or(&default));
    let Some(aggregate) = scope(&whole, &pipeline) else { return Answer::empty(404) };
    let page = Page { component_health, is_verbose, now: Instant::now() };
    let mut status = page.status(aggregate);
    status.start_time = Some(Rfc3339(health.started_at()).to_string());
    let code = match aggregate.event.as_ref().map(|event| event.condition) {
        Some(Condition::Ok | Condition::RecoverableError | Condition::PermanentError) => 200,
        Some(Condition::FatalError) => 500,
        _ => 503,
    };
    let code = if status.healthy { code } else { 500 };
    Answer::json(code, serde_json::to_string(&status).expect("texts can be written as JSON"))
}

/// What a name stands for: nothing for everything, a pipeline, or the extensions.
pub(super) fn scope<'a>(whole: &'a Aggregate, name: &str) -> Option<&'a Aggregate> {
    match name {
        "" => Some(whole),
        "extensions" => whole.parts.get(name),
        name => whole.parts.get(&format!("pipeline:{name}")),
    }
}

/// Whether something in that condition counts as healthy.
pub(super) fn is_healthy(event: Option<&Event>, config: Option<&ComponentHealth>, now: Instant) -> bool {
    let (Some(event), Some(config)) = (event, config) else { return true };
    match event.condition {
        Condition::PermanentError => !config.include_permanent_errors,
        Condition::RecoverableError if config.include_recoverable_errors => {
            now.duration_since(event.since) < config.recovery_duration.get()
        }
        condition => condition != Condition::FatalError,
    }
}

struct Page<'a> {
    component_health: Option<&'a ComponentHealth>,
    is_verbose: bool,
    now: Instant,
}

impl Page<'_> {
    fn status<'a>(&self, aggregate: &'a Aggregate) -> Status<'a> {
        let event = aggregate.event.as_ref();
        let parts = aggregate.parts.iter().filter(|_| self.is_verbose);
        Status {
            start_time: None,
            healthy: is_healthy(event, self.component_health, self.now),
            status: name(event.map(|event| event.condition)),
            error: event.and_then(|event| event.error.as_deref()),
            status_time: Rfc3339(event.map_or(UNIX_EPOCH, |event| event.since_at)).to_string(),
            attributes: BTreeMap::new(),
            components: parts.map(|(name, part)| (name.as_str(), self.status(part))).collect(),
        }
    }
}

fn name(condition: Option<Condition>) -> &'static str {
    match condition {
        None => "StatusNone",
        Some(Condition::Starting) => "StatusStarting",
        Some(Condition::Ok) => "StatusOK",
        Some(Condition::RecoverableError) => "StatusRecoverableError",
        Some(Condition::PermanentError) => "StatusPermanentError",
        Some(Condition::FatalError) => "StatusFatalError",
        Some(Condition::Stopping) => "StatusStopping",
        Some(Condition::Stopped) => "StatusStopped",
    }
}

/// `pipeline` and `verbose` of a query. The ids of pipelines have no characters that need escapes but `/`.
fn asked(query: &str) -> (String, bool) {
    let (mut pipeline, mut is_verbose) = (None, None);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "pipeline" if pipeline.is_none() => {
                pipeline = Some(value.replace("%2F", "/").replace("%2f", "/"));
            }
            "verbose" if is_verbose.is_none() => is_verbose = Some(value != "false"),
            _ => {}
        }
    }
    (pipeline.unwrap_or_default(), is_verbose.unwrap_or_default())
}
