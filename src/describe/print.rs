//! The `print-config` command: a configuration as it is understood, with every default.

use super::TELEMETRY;
use crate::cli::{Source, print};
use crate::components::{BuiltIn, entries};
use crate::plan::{plan, read, section as section_of};
use crate::run;
use clap::{ArgAction, Args, ValueEnum};
use millrace_config::catalog::Kind;
use millrace_config::load::{Component, Gates, Loaded, load};
use millrace_config::write::{to_json, to_yaml};
use millrace_config::{Diagnostics, Duration, Entry, Map, Node, Secrets, Span, Value};
use millrace_delivery::MAX_ELAPSED_TIME;
use std::process::ExitCode;

/// The options of `millrace print-config`.
#[derive(Debug, Args)]
pub struct PrintConfig {
    /// What to print.
    #[command(flatten)]
    pub source: Source,

    /// Whether secrets are shown.
    #[arg(long, value_name = "MODE", default_value = "redacted")]
    mode: Mode,

    /// How it is written; durations are texts in both, unlike the Go collector's JSON.
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    format: Format,

    /// Whether it must be free of mistakes; what cannot be read at all is refused in any case.
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    validate: bool,
}

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// They are replaced by a word that says so.
    Redacted,
    /// They are printed as they are.
    Unredacted,
}

/// How a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As in a configuration file.
    Yaml,
    /// For programs.
    Json,
}

/// Runs `millrace print-config`.
///
/// # Errors
/// What is wrong with the configuration.
pub fn print_config(options: &PrintConfig) -> Result<ExitCode, String> {
    let input = options.source.required("millrace print-config --config=my.yaml")?;
    let mut parsed = read(&input);
    // What older collectors accepted is printed in its modern form.
    let _ = parsed.modernise(&BuiltIn);
    let secrets = match options.mode {
        Mode::Redacted => Secrets::Redacted,
        Mode::Unredacted => Secrets::Shown,
    };
    let tree = parsed.node.clone();
    let problems = plan(parsed, input.gates).err();
    let problems = match problems {
        Some(problems) if options.validate => return Err(run::invalid(&problems)),
        problems => problems.unwrap_or_default(),
    };
    let complete =
        tree.and_then(|tree| complete(&tree, input.gates, secrets)).ok_or_else(|| run::invalid(&problems))?;
    print(&match options.format {
        Format::Yaml => to_yaml(&complete),
        Format::Json => to_json(&complete),
    });
    Ok(ExitCode::SUCCESS)
}

/// The whole configuration with its defaults, keys sorted; `None` if a part of it cannot be read.
fn complete(tree: &Node, gates: Gates, secrets: Secrets) -> Option<Node> {
    // What there is to say about it has been said.
    let loaded = load(tree, &BuiltIn, gates, &mut Diagnostics::new());
    let mut top: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| Some((kind.section(), components(&loaded, kind, gates, secrets)?)))
        .collect::<Option<_>>()?;
    top.push(("service", service(tree, secrets)?));
    Some(section(top).sorted())
}

fn components(loaded: &Loaded, kind: Kind, gates: Gates, secrets: Secrets) -> Option<Node> {
    let of_kind = loaded.components().filter(|component| component.kind == kind);
    let complete = |component: &Component| {
        let entry = entries(kind).into_iter().find(|entry| entry.name == component.canonical)?;
        let mut section = entry.schema.complete(&section_of(component, gates), secrets)?;
        complete_retrying(&mut section);
        Some((component.id.to_string(), section))
    };
    of_kind.map(complete).collect::<Option<Vec<_>>>().map(section)
}

/// How long an exporter tries where nothing is said depends on where its queue is.
fn complete_retrying(exporter: &mut Node) {
    if exporter.get(&["retry_on_failure", "initial_interval"]).is_none() {
        return;
    }
    let storage = exporter.get(&["sending_queue", "storage"]);
    let is_on_disk = storage.is_some_and(|storage| !matches!(storage.value, Value::Null));
    let limit = if is_on_disk { Duration::ZERO } else { MAX_ELAPSED_TIME };
    let limit = Node::synthetic(Value::String(limit.to_string()));
    exporter.set_default(&["retry_on_failure", "max_elapsed_time"], limit);
}

/// Extensions and pipelines as they were written, and the telemetry with its defaults.
fn service(tree: &Node, secrets: Secrets) -> Option<Node> {
    let nothing = Map::new();
    let written = tree.get(&["service"]).and_then(Node::as_map).unwrap_or(&nothing);
    let mut keys: Vec<_> = written
        .iter()
        .filter(|entry| entry.key != "telemetry")
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect();
    let telemetry = written.get("telemetry").cloned().unwrap_or_default();
    keys.push(("telemetry".to_owned(), TELEMETRY.complete(&telemetry, secrets)?));
    Some(section(keys))
}

fn section(keys: impl IntoIterator<Item = (impl Into<String>, Node)>) -> Node {
    let entry = |(key, value): (_, Node)| Entry { key: Into::into(key), key_span: Span::NONE, value };
    Node::synthetic(Value::Map(keys.into_iter().map(entry).collect()))
}
