//! The defaults of a schema, found out by decoding.
//!
//! Every section is decoded once with nothing in it; what comes out is what holds when a key is left out there. For a
//! section that is off unless it is written, it is written as `{}`.

use schemars::Schema;
use serde_json::{Map, Value as Json};

use super::{SECRET, Shape};
use crate::encode::Secrets;
use crate::node::{Entry, Map as NodeMap, Node, Value};
use crate::source::Span;

/// Writes the defaults into the schema of a section.
pub(super) fn fill_in(schema: &mut Schema, shape: &Shape) {
    if let Some(schema) = schema.as_object_mut() {
        section(schema, &Place { shape, steps: Vec::new() });
    }
}

/// A step from a section to one within it.
#[derive(Clone)]
enum Step {
    Key(String),
    Item,
}

/// Where a section stands.
struct Place<'a> {
    shape: &'a Shape,
    steps: Vec<Step>,
}

impl Place<'_> {
    fn below(&self, step: Step) -> Self {
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Self { shape: self.shape, steps }
    }

    /// What the section at this place contains when it is written without anything in it.
    fn content(&self) -> Option<Node> {
        let empty = Node::synthetic(Value::Map(NodeMap::new()));
        let written = self.steps.iter().rev().fold(empty, |content, step| {
            Node::synthetic(match step {
                Step::Key(key) => {
                    let entry = Entry { key: key.clone(), key_span: Span::NONE, value: content };
                    Value::Map(NodeMap::from_iter([entry]))
                }
                Step::Item => Value::Seq(vec![content]),
            })
        });
        let complete = self.shape.complete(&written, Secrets::Redacted)?;
        self.steps.iter().try_fold(complete, |node, step| match (step, node.value) {
            (Step::Key(key), Value::Map(map)) => {
                map.into_iter().find(|entry| entry.key == *key).map(|entry| entry.value)
            }
            (Step::Item, Value::Seq(items)) => items.into_iter().next(),
            _ => None,
        })
    }
}

fn section(schema: &mut Map<String, Json>, place: &Place<'_>) {
    schema.remove("default");
    if let Some(Json::Object(keys)) = schema.get_mut("properties") {
        // A section with keys that it must have cannot be empty, and so tells nothing of the others.
        let content = match place.content() {
            Some(Node { value: Value::Map(content), .. }) => content,
            _ => NodeMap::new(),
        };
        for (key, schema) in keys.iter_mut() {
            let Json::Object(schema) = schema else { continue };
            let is_switch = key == "enabled" && schema.contains_key("default") && content.get(key).is_none();
            section(schema, &place.below(Step::Key(key.clone())));
            let default = content.get(key).filter(|_| !schema.contains_key(SECRET));
            if is_switch {
                schema.insert("default".to_owned(), true.into());
            } else if let Some(default) = default.filter(|default| !says_it_within(schema, default)) {
                schema.insert("default".to_owned(), default.to_json());
            }
        }
    }
    for (keyword, step) in [("items", Step::Item), ("additionalProperties", Step::Key("name".to_owned()))] {
        if let Some(Json::Object(inner)) = schema.get_mut(keyword) {
            section(inner, &place.below(step));
        }
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(Json::Array(variants)) = schema.get_mut(keyword) {
            for variant in variants.iter_mut().filter_map(Json::as_object_mut) {
                section(variant, place);
            }
        }
    }
}

/// Whether the defaults stand at the keys of the section, so that it needs none as a whole.
fn says_it_within(schema: &Map<String, Json>, default: &Node) -> bool {
    let is_section = schema.get("properties").is_some();
    match &default.value {
        Value::Map(map) => {
            let is_off = matches!(map.entries(), [Entry { key, value: Node { value: Value::Bool(false), .. }, .. }] if key == "enabled");
            is_section && !is_off
        }
        _ => false,
    }
}
