//! What the dashboard and the alerts ask for.

use super::read;
use millrace_telemetry::catalogue;
use std::collections::BTreeSet;

/// Labels that name a component, each for components of its own kind.
const KINDS: [&str; 5] = ["receiver", "processor", "connector", "exporter", "extension"];

/// Where an expression tells components apart by one of these labels and its metric has others of them, all of them are
/// needed: otherwise components of the other kinds are added up to one without a name. What is wrong, and how many
/// groupings were looked at.
pub fn kinds_left_out() -> (Vec<String>, usize) {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (place, expression) in expressions() {
        for grouped in expression.split("by (").skip(1) {
            let (labels, rest) = grouped.split_once(')').expect("a list of labels ends");
            // Up to the next grouping stands what is grouped.
            let words: BTreeSet<_> = words(rest).collect();
            let named: Vec<_> = labels.split(',').map(str::trim).collect();
            let metrics = catalogue::all().filter(|def| {
                words.iter().any(|word| *word == def.name || word.strip_suffix("_bucket") == Some(def.name))
            });
            for def in metrics {
                let kinds: Vec<_> = KINDS.into_iter().filter(|kind| def.labels.contains(kind)).collect();
                let missing: Vec<_> = kinds.iter().filter(|kind| !named.contains(kind)).collect();
                seen += 1;
                if !missing.is_empty() && missing.len() < kinds.len() {
                    wrong.push(format!("{place}: {} is not grouped by {missing:?}", def.name));
                }
            }
        }
    }
    (wrong, seen)
}

/// Every expression, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let board: serde_json::Value =
        serde_json::from_str(&read("configs/dashboards/millrace.json")).expect("JSON");
    let mut all = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            all.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    for rule in read("configs/alerts/millrace.rules.yaml").split("- alert: ").skip(1) {
        let (name, rule) = rule.split_once('\n').expect("a rule has a name");
        let expression = rule.split("annotations:").next().unwrap_or_default();
        all.push((name.trim().to_owned(), expression.to_owned()));
    }
    all
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}
