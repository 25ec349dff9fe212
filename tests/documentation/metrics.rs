//! `docs/metrics.md`: every metric of the collector itself, from the catalogue of their definitions.

use super::read;
use millrace_telemetry::catalogue;
use millrace_telemetry::{Def, Kind};
use std::fmt::Write as _;

const HEAD: &str = "# Metrics

Every metric that the collector shows about itself, at `localhost:8888/metrics` unless configured otherwise, and pushes
where `service::telemetry::metrics::readers` says so. This page is made from their definitions (`just docs`).

Names are as they are with the default reader; with `without_units: false` or `without_type_suffix: false` they get
suffixes, and dots become underscores unless the reader asks otherwise. A metric is collected from its level on
(`service::telemetry::metrics::level`, by default `normal`). The alerts are those of
[configs/alerts](../configs/alerts/README.md).

A scrape has two more, which are of the library that serves the Go collector's: `target_info`, with the attributes of
`service::telemetry::resource`, and `promhttp_metric_handler_errors_total`.

";

/// The page.
pub fn page() -> String {
    let rules = read("configs/alerts/millrace.rules.yaml");
    let mut page = HEAD.to_owned();
    section(
        &mut page,
        "The Go collector's",
        "Names, help texts, units and labels are those of its release 0.159.0, so that dashboards and alerts made for \
         it work unchanged.",
        |def| !is_ours(def),
        &rules,
    );
    section(
        &mut page,
        "Ours",
        "What the Go collector has no metric for. The ledger balances whenever nothing is moving: opening + in + created \
         = out + merged + filtered + sampled_out + dead_lettered + refused + lost + held.",
        is_ours,
        &rules,
    );
    page
}

fn is_ours(def: &Def) -> bool {
    def.name.starts_with("otelcol_millrace_")
}

fn section(page: &mut String, title: &str, about: &str, belongs: impl Fn(&Def) -> bool, rules: &str) {
    let mut defs: Vec<_> = catalogue::all().filter(|def| belongs(def)).collect();
    defs.sort_by_key(|def| def.name);
    // Writing to a string cannot fail.
    let _ = write!(page, "## {title}\n\n{about}\n\n");
    page.push_str(
        "| metric | type | unit | labels | level | meaning | alerts |\n|---|---|---|---|---|---|---|\n",
    );
    for def in defs {
        let kind = match def.kind {
            Kind::Counter | Kind::CounterF64 => "counter",
            Kind::UpDown | Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = def.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {} | {} | {} | {} | {} |",
            def.name,
            code(def.unit),
            labels.join(", "),
            def.level.name(),
            def.help.replace('|', "\\|"),
            alerts(def.name, rules).join(", "),
        );
    }
    page.push('\n');
}

fn code(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!("`{unit}`") }
}

/// The alerts whose rule names the metric, or a histogram's buckets.
fn alerts(metric: &str, rules: &str) -> Vec<String> {
    let mut alerts = Vec::new();
    for rule in rules.split("- alert: ").skip(1) {
        let (name, rule) = rule.split_once('\n').expect("a rule has a name");
        let expression = rule.split("annotations:").next().unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut words = expression.split(|c: char| !is_part(c));
        if words.any(|word| word == metric || word.strip_suffix("_bucket") == Some(metric)) {
            alerts.push(name.trim().to_owned());
        }
    }
    alerts
}
