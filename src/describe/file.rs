//! The schema of a whole configuration file, for editors.

use crate::components::{Entry, entries};
use millrace_config::catalog::Kind;
use millrace_config::schema::as_written;
use millrace_wire::Signal;
use serde_json::{Map, Value, json};

/// Everything that can be written in a file; nothing is required, since the rest may be in others. Components stand in
/// `$defs`, because a component's type, its old names and its `type/name` ids all lead there.
pub fn schema() -> Map<String, Value> {
    let mut definitions = Map::new();
    let mut keys = Map::new();
    for kind in Kind::ALL {
        keys.insert(kind.section().to_owned(), components(kind, &mut definitions));
    }
    keys.insert("service".to_owned(), service());
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Configuration of Millrace {}", env!("CARGO_PKG_VERSION")),
        "type": "object",
        "properties": keys,
        "additionalProperties": false,
        "$defs": definitions,
    });
    as_written(&mut schema);
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// The section of all components of a kind.
fn components(kind: Kind, definitions: &mut Map<String, Value>) -> Value {
    let mut plain = Map::new();
    let mut named = Map::new();
    for entry in entries(kind) {
        let name = format!("{}.{}", kind.section(), entry.name);
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        definitions.insert(name, entry.schema.schema().to_value());
        for type_name in [&[entry.name], entry.aliases].concat() {
            let mut reference = reference.clone();
            if type_name != entry.name {
                reference["deprecated"] = true.into();
                reference["description"] = format!("The old name of `{}`.", entry.name).into();
            }
            plain.insert(type_name.to_owned(), reference.clone());
            named.insert(format!(r"^{type_name}\s*/\s*\S"), reference);
        }
    }
    json!({
        "description": about(kind),
        "type": "object",
        "properties": plain,
        "patternProperties": named,
        "additionalProperties": false,
    })
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => "What takes telemetry in, by id: `type` or `type/name`.",
        Kind::Processor => "What works on telemetry on its way, by id: `type` or `type/name`.",
        Kind::Exporter => "What sends telemetry out, by id: `type` or `type/name`.",
        Kind::Connector => "What ends one pipeline and begins another, by id: `type` or `type/name`.",
        Kind::Extension => "What serves other components or people, by id: `type` or `type/name`.",
    }
}

fn service() -> Value {
    let signals: Vec<_> = Signal::ALL.into_iter().map(Signal::name).collect();
    let pipeline = json!({
        "type": "object",
        "properties": {
            "receivers": references("Where telemetry comes from: receivers, and connectors that end another pipeline.", &[Kind::Receiver, Kind::Connector]),
            "processors": references("What happens to it, in this order.", &[Kind::Processor]),
            "exporters": references("Where it goes: exporters, and connectors that begin another pipeline.", &[Kind::Exporter, Kind::Connector]),
        },
        "additionalProperties": false,
    });
    json!({
        "description": "What of the above runs, and how it is put together.",
        "type": "object",
        "properties": {
            "extensions": references("The extensions to run.", &[Kind::Extension]),
            "pipelines": {
                "description": "The pipelines, by id: `traces`, `metrics` or `logs`, or one of them and `/name`.",
                "type": "object",
                "properties": signals.iter().map(|signal| ((*signal).to_owned(), pipeline.clone())).collect::<Map<_, _>>(),
                "patternProperties": { format!(r"^({})\s*/\s*\S", signals.join("|")): pipeline },
                "additionalProperties": false,
            },
            "telemetry": super::TELEMETRY.schema().to_value(),
        },
        "additionalProperties": false,
    })
}

/// A list of ids of components of some kinds.
fn references(description: &str, kinds: &[Kind]) -> Value {
    let names = |entry: Entry| [&[entry.name], entry.aliases].concat();
    let types: Vec<_> = kinds.iter().flat_map(|kind| entries(*kind)).flat_map(names).collect();
    json!({
        "description": description,
        "type": "array",
        "items": { "type": "string", "pattern": format!(r"^\s*({})\s*(/.*)?$", types.join("|")) },
    })
}
