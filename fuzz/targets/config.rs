//! Configurations: any text is read, expanded, loaded and decoded, or explained; every place that is shown lies in the
//! text; nothing that a variable holds is shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_config::{Gates, Node, Value};
use millrace_fuzz::configuration::check;

/// What separates the configuration from the content of its variables.
const SEPARATOR: &str = "\u{1}";

fuzz_target!(|text: &str| {
    let (text, content) = text.split_once(SEPARATOR).unwrap_or((text, "5s"));
    let env = |name: &str| (name != "UNSET").then(|| content.to_owned());
    let (config, parsed) = check("c.yaml", text, &env, Gates::default());

    assert_eq!(config.is_none(), parsed.diagnostics.has_errors(), "{}", parsed.render());
    if let Some(node) = &parsed.node {
        assert!(every_place_is_inside(node, text.len()));
    }
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.message.is_empty());
        if let Some(span) = diagnostic.span {
            assert!(parsed.sources.slice(span).is_some(), "{diagnostic:?}");
        }
    }
    let coloured = parsed.diagnostics.render_coloured(&parsed.sources);
    assert_eq!(coloured.is_empty(), parsed.diagnostics.is_empty());
});

fn every_place_is_inside(node: &Node, length: usize) -> bool {
    let span = node.span;
    let inside = span.start.byte <= span.end.byte && span.end.byte as usize <= length;
    inside
        && match &node.value {
            Value::Seq(items) => items.iter().all(|item| every_place_is_inside(item, length)),
            Value::Map(map) => map.iter().all(|entry| every_place_is_inside(&entry.value, length)),
            _ => true,
        }
}
