//! The schemas are held against what the decoders do: of every component, at every depth.

use super::TELEMETRY;
use crate::components::{CONNECTORS, EXPORTERS, EXTENSIONS, PROCESSORS, RECEIVERS};
use millrace_config::{Diagnostics, Entry, Map, Node, Secrets, Shape, Span, Value, decode};
use millrace_engine::component::Factory;
use millrace_telemetry::config::TelemetryConfig;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// A described section, and what its decoder complains of.
struct Described {
    name: String,
    shape: Shape,
    complaints: Box<dyn Fn(&Node) -> Diagnostics>,
}

fn all() -> Vec<Described> {
    fn of<C: ?Sized>(kind: &str, factories: &'static [Factory<C>]) -> Vec<Described> {
        let described = |factory: &'static Factory<C>| Described {
            name: format!("{kind}/{}", factory.name),
            shape: factory.schema,
            complaints: Box::new(move |node| {
                let mut diags = Diagnostics::new();
                (factory.plan)(node, "", &mut diags);
                diags
            }),
        };
        factories.iter().map(described).collect()
    }
    let telemetry = Described {
        name: "service/telemetry".to_owned(),
        shape: TELEMETRY,
        complaints: Box::new(|node| {
            let mut diags = Diagnostics::new();
            decode::<TelemetryConfig>(node, "", &mut diags);
            diags
        }),
    };
    let mut all = of("receivers", RECEIVERS);
    all.extend(of("processors", PROCESSORS));
    all.extend(of("exporters", EXPORTERS));
    all.extend(of("connectors", CONNECTORS));
    all.extend(of("extensions", EXTENSIONS));
    all.push(telemetry);
    all
}

/// The way to a section: keys, and `None` for an item of a list.
type Steps = Vec<Option<String>>;

fn map(key: &str, value: Node) -> Node {
    let entry = Entry { key: key.to_owned(), key_span: Span::NONE, value };
    Node::synthetic(Value::Map(Map::from_iter([entry])))
}

fn empty() -> Node {
    Node::synthetic(Value::Map(Map::new()))
}

/// A section in which nothing is written but `content`, at that place.
fn document(steps: &[Option<String>], content: Node) -> Node {
    steps.iter().rev().fold(content, |content, step| match step {
        Some(key) => map(key, content),
        None => Node::synthetic(Value::Seq(vec![content])),
    })
}

/// The place as the decoder spells it.
fn spelt(steps: &[Option<String>]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Some(key) if path.is_empty() => key.clone(),
        Some(key) => format!("{path}::{key}"),
        None => format!("{path}[0]"),
    })
}

fn node(value: &Json) -> Node {
    Node::synthetic(match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number.into()),
            None => Value::Float(number.as_f64().expect("a number")),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Seq(items.iter().map(node).collect()),
        Json::Object(entries) => {
            let entry = |(key, value): (&String, &Json)| Entry {
                key: key.clone(),
                key_span: Span::NONE,
                value: node(value),
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    })
}

/// Visits every place of a schema where a section can stand.
fn visit(schema: &Json, steps: &Steps, see: &mut dyn FnMut(&Json, &Steps)) {
    see(schema, steps);
    let below =
        |step: Option<&str>| steps.iter().cloned().chain([step.map(str::to_owned)]).collect::<Steps>();
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        visit(inner, &below(Some(key)), see);
    }
    if schema["items"].is_object() {
        visit(&schema["items"], &below(None), see);
    }
    if schema["additionalProperties"].is_object() {
        visit(&schema["additionalProperties"], &below(Some("name")), see);
    }
    for variants in ["oneOf", "anyOf"] {
        for variant in schema[variants].as_array().into_iter().flatten() {
            visit(variant, steps, see);
        }
    }
}

#[test]
fn a_schema_has_the_keys_that_the_decoder_accepts_and_no_others() {
    for Described { name, shape, complaints } in all() {
        let mut sections = 0;
        visit(&shape.schema().to_value(), &Vec::new(), &mut |schema, steps| {
            let path = spelt(steps);
            let accepted = shape.keys(&document(steps, empty())).remove(&path);
            let listed = schema["properties"].as_object();
            let open = schema["additionalProperties"].is_object() || schema["additionalProperties"] == true;
            let Some(accepted) = accepted else {
                let variants = schema["oneOf"].is_array() || schema["anyOf"].is_array();
                let free = listed.is_none_or(|_| open) || variants;
                assert!(free || listed.is_some_and(|keys| keys.len() == 1), "{name} at `{path}`: {schema:#}");
                return;
            };
            sections += 1;
            let accepted: BTreeSet<&str> = accepted.into_iter().collect();
            let listed: BTreeSet<&str> = listed.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            assert_eq!(listed, accepted, "{name} at `{path}`");
            assert!(!open, "{name} at `{path}`");
            let unknown = complaints(&document(steps, map("no_such_key", empty())));
            let complaint = "unknown key `no_such_key`";
            assert!(unknown.iter().any(|problem| problem.message == complaint), "{name} at `{path}`");
        });
        assert!(sections > 0, "{name}");
    }
}

#[test]
fn a_default_is_what_holds_when_the_key_is_left_out() {
    for Described { name, shape, .. } in all() {
        visit(&shape.schema().to_value(), &Vec::new(), &mut |schema, steps| {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                let Some(default) = schema.get("default") else { continue };
                let without = shape.complete(&document(steps, empty()), Secrets::Redacted);
                let with = shape.complete(&document(steps, map(key, node(default))), Secrets::Redacted);
                assert!(without.is_some(), "{name} at `{}`", spelt(steps));
                let [without, with] = [without, with].map(|node| node.map(|node| node.to_json()));
                assert_eq!(with, without, "{name}: `{key}` at `{}`", spelt(steps));
            }
        });
    }
}

#[test]
fn every_key_is_documented() {
    for Described { name, shape, .. } in all() {
        visit(&shape.schema().to_value(), &Vec::new(), &mut |schema, steps| {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                let documented = schema["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(documented, "{name}: `{key}` at `{}`", spelt(steps));
            }
        });
    }
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for Described { name, shape, .. } in all() {
        visit(&shape.schema().to_value(), &Vec::new(), &mut |_, steps| {
            let Some(once) = shape.complete(&document(steps, empty()), Secrets::Shown) else { return };
            let twice = shape.complete(&once, Secrets::Shown).map(|node| node.to_json());
            assert_eq!(twice, Some(once.to_json()), "{name} with `{}`", spelt(steps));
        });
    }
}
