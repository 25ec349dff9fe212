//! One component here, and in the Go collector: key by key.

use crate::{go, ours};
use serde_json::Value;

/// How a key compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It does the same and has the same default.
    Same,
    /// It is there, and does something else or has another default.
    Different,
    /// It is accepted and changes nothing here.
    NoEffect,
    /// Only the Go collector has it.
    NotYet,
    /// Only Millrace has it.
    Ours,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Same, Self::Different, Self::NoEffect, Self::NotYet, Self::Ours];

    pub fn words(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::NoEffect => "no effect",
            Self::NotYet => "not yet",
            Self::Ours => "ours",
        }
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands: `sending_queue::batch::min_size`.
    pub path: String,
    pub status: Status,
    /// The default in words; empty where there is none.
    pub default: String,
    /// That of the Go collector, where it differs.
    pub go_default: Option<String>,
    pub meaning: String,
    /// Why it differs.
    pub reason: Option<String>,
    /// The struct in common that it belongs to, and where it stands in it.
    pub shared: Option<(String, String)>,
    /// The struct in common that it is.
    pub leads_to: Option<String>,
}

/// All keys of a component, in order. Without a record of the Go collector's, none is compared.
pub fn rows(component: &ours::Key, go: &go::Key) -> Vec<Row> {
    let mut rows = Vec::new();
    section(component, go, "", &None, &mut rows);
    rows
}

/// The struct in common around a section, and the path to the section in it.
type Within<'a> = Option<(&'a str, String)>;

fn section(ours: &ours::Key, go: &go::Key, path: &str, within: &Within<'_>, rows: &mut Vec<Row>) {
    let only_go = go.keys().keys().filter(|key| !ours.keys.contains_key(*key));
    let mut names: Vec<&String> = ours.keys.keys().chain(only_go).collect();
    names.sort();
    for name in names {
        key(name, ours.keys.get(name), go.keys().get(name), path, within, rows);
    }
}

fn key(
    name: &str,
    ours: Option<&ours::Key>,
    go: Option<&go::Key>,
    above: &str,
    within: &Within<'_>,
    rows: &mut Vec<Row>,
) {
    let below = |above: &str| if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") };
    let path = below(above);
    let shared = match (within, go.and_then(go::Key::shared_from)) {
        (Some((of, above)), _) => Some(((*of).to_owned(), below(above))),
        (None, Some(of)) => Some((of.to_owned(), name.to_owned())),
        (None, None) => None,
    };
    let is_switch = name == "enabled" && go.is_none_or(|go| go.from == "configoptional.Optional");
    if is_switch && ours.is_none_or(|ours| ours.go.is_none()) {
        return;
    }
    let (status, default, go_default) = compared(ours, go);
    // A section of nothing but a switch has no table that one could be led to.
    let has_rows = ours.is_some_and(|ours| ours.keys.keys().any(|key| key != "enabled"));
    let leads_to = go.and_then(go::Key::shared).filter(|_| has_rows);
    rows.push(Row {
        path: path.clone(),
        status,
        default,
        go_default,
        meaning: ours.map(|ours| ours.meaning.clone()).unwrap_or_default(),
        reason: ours.and_then(|ours| ours.go.clone()).or_else(|| inherited(rows, &path, status)),
        shared: shared.clone(),
        leads_to: leads_to.map(str::to_owned),
    });
    if status == Status::NotYet {
        return;
    }
    let (Some(ours), Some(go)) = (ours, go) else {
        let inner = ours.map(|ours| &ours.keys);
        for (inner_name, inner) in inner.into_iter().flatten() {
            let within = shared.as_ref().map(|(of, path)| (of.as_str(), path.clone()));
            key(inner_name, Some(inner), None, &path, &within, rows);
        }
        return;
    };
    if ours.keys.is_empty() || (go.keys().is_empty() && !go.open && !go.custom) {
        return;
    }
    let within: Within<'_> = match (leads_to, &shared) {
        (Some(of), _) => Some((of, String::new())),
        (None, Some((of, path))) => Some((of, path.clone())),
        (None, None) => None,
    };
    section(ours, go, &path, &within, rows);
}

/// The reason that a section gives for all of it.
fn inherited(above: &[Row], path: &str, status: Status) -> Option<String> {
    let is_around = |row: &&Row| path.strip_prefix(&row.path).is_some_and(|rest| rest.starts_with("::"));
    let around = above.iter().rev().filter(is_around).filter(|row| row.status == Status::Different);
    around.filter_map(|row| row.reason.clone()).next().filter(|_| status == Status::Different)
}

fn compared(ours: Option<&ours::Key>, go: Option<&go::Key>) -> (Status, String, Option<String>) {
    let default = ours.map(default_in_words).unwrap_or_default();
    let (ours, go) = match (ours, go) {
        (None, _) => return (Status::NotYet, default, None),
        (Some(ours), _) if ours.not_yet => return (Status::NotYet, String::new(), None),
        (Some(ours), None) if ours.no_effect => return (Status::NoEffect, default, None),
        (Some(_), None) => return (Status::Ours, default, None),
        (Some(ours), Some(go)) => (ours, go),
    };
    let is_section = !ours.keys.is_empty() && !go.keys().is_empty();
    let theirs = if is_section || go.off { switch_in_words(go) } else { in_words(&go.default) };
    let comparable = is_section || !go.custom;
    let differs = comparable && !same_default(ours, go, is_section);
    let status = match () {
        () if ours.no_effect => Status::NoEffect,
        () if ours.go.as_ref().is_some_and(|reason| reason.starts_with("the same")) => Status::Same,
        () if differs || ours.go.is_some() => Status::Different,
        () => Status::Same,
    };
    (status, default, differs.then_some(theirs))
}

fn same_default(ours: &ours::Key, go: &go::Key, is_section: bool) -> bool {
    if is_section {
        // Only what can be switched has a default of its own; and code of its own decides otherwise.
        let is_switched =
            go.off || go.keys().get("enabled").is_some_and(|key| key.from == "configoptional.Optional");
        return !is_switched || is_off(ours) == go.off;
    }
    // Secrets and what has no default to tell.
    let Some(default) = &ours.default else { return true };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        _ => false,
    };
    let theirs = if go.off { &Value::Null } else { &go.default };
    match (default, theirs) {
        (one, other) if empty(one) && empty(other) => true,
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Number(one), theirs) => one.as_f64() == Some(0.0) && empty(theirs),
        (Value::Bool(one), theirs) if empty(theirs) => !one,
        (Value::String(one), Value::String(other)) => one.eq_ignore_ascii_case(other),
        (Value::String(one), theirs) if one == "0s" => empty(theirs),
        (one, other) => one == other,
    }
}

/// Whether a section is off unless it is written.
fn is_off(key: &ours::Key) -> bool {
    key.default.as_ref().is_some_and(|default| default.is_null() || default["enabled"] == false)
}

fn switch_in_words(go: &go::Key) -> String {
    if go.off { "off".to_owned() } else { "on".to_owned() }
}

fn default_in_words(key: &ours::Key) -> String {
    if !key.keys.is_empty() && is_off(key) {
        return "off".to_owned();
    }
    key.default.as_ref().map(in_words).unwrap_or_default()
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(keys) if keys.is_empty() => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}
