//! Schemas of sections that are made of others.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// A section that can be off: its own keys, and `enabled`.
pub(crate) fn optional(mut content: Schema, null_is_on: bool) -> Schema {
    let object = content.ensure_object();
    let keys = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(keys) = keys {
        let description = if null_is_on {
            "`false` switches the section off; without this key it is on where it is written, if only as a bare key."
        } else {
            "`false` switches the section off; without this key it is on where anything is written in it."
        };
        keys.insert(
            "enabled".to_owned(),
            json!({ "type": "boolean", "description": description, "default": true }),
        );
    }
    content
}

/// Several structs whose keys stand side by side. A key of several is described as the first of them does it.
#[doc(hidden)]
pub fn side_by_side<const N: usize>(parts: [Schema; N]) -> Schema {
    let mut whole = Map::from_iter([("type".to_owned(), json!("object"))]);
    let mut keys = Map::new();
    let mut required = Vec::new();
    let mut rest = json!(false);
    for part in parts {
        let Value::Object(mut part) = part.to_value() else { continue };
        if let Some(Value::Object(part)) = part.remove("properties") {
            for (key, schema) in part {
                keys.entry(key).or_insert(schema);
            }
        }
        if let Some(Value::Array(part)) = part.remove("required") {
            required.extend(part.into_iter().filter(|key| !required.contains(key)).collect::<Vec<_>>());
        }
        match part.remove("additionalProperties") {
            None | Some(Value::Bool(_)) => {}
            Some(schema) => rest = schema,
        }
    }
    whole.insert("properties".to_owned(), Value::Object(keys));
    whole.insert("additionalProperties".to_owned(), rest);
    if !required.is_empty() {
        whole.insert("required".to_owned(), Value::Array(required));
    }
    whole.into()
}
