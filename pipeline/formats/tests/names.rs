//! Names and escaping against what the Go libraries make of the same input. `names.jsonl` was recorded by
//! `tests/peers/recorders/prometheus_names`.

use millrace_formats::prometheus::names::{Names, Strategy, Suffix};
use millrace_formats::prometheus::{Escaping, escape};
use serde_json::Value;

const ESCAPINGS: [Escaping; 4] =
    [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];

#[test]
fn everything_is_called_as_the_go_libraries_call_it() {
    let mut rows = 0;
    for line in include_str!("names.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("a line is an object");
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let becomes = row["becomes"].as_array().expect("what becomes of it");
        assert_eq!(becomes.len(), 4, "{line}");
        for (rule, expected) in becomes.iter().enumerate() {
            let ours = match text("what") {
                "metric" => {
                    let names = Names::new(Strategy::ALL[rule], text("namespace"));
                    names.metric(text("name"), text("unit"), suffix(text("type"))).ok()
                }
                "label" => {
                    let names = Names::new(Strategy::ALL[rule], "");
                    names.label(text("name")).ok().map(String::from)
                }
                "escape" => Some(escape(text("name"), ESCAPINGS[rule]).into_owned()),
                other => panic!("{other}"),
            };
            assert_eq!(ours.as_deref(), expected.as_str(), "rule {rule} of {line}");
        }
        rows += 1;
    }
    assert!(rows > 700, "only {rows} rows");
}

fn suffix(kind: &str) -> Suffix {
    match kind {
        "total" => Suffix::Total,
        "ratio" => Suffix::Ratio,
        "none" => Suffix::None,
        other => panic!("{other}"),
    }
}
