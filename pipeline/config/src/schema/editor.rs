//! A schema of what a section means, turned into one of what may be written: `${…}` stands for any value, a null for
//! any default, and a text for a list of its parts.

use serde_json::{Map, Value as Json, json};

/// Something with a reference in it.
const REFERENCE: &str = r"\$\{";

/// Allows what may be written in the place of each value of a section, and of the section itself.
pub fn as_written(schema: &mut Json) {
    let Json::Object(schema) = schema else { return };
    for keyword in ["properties", "patternProperties", "$defs"] {
        if let Some(Json::Object(inner)) = schema.get_mut(keyword) {
            inner.values_mut().for_each(as_written);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(keyword) {
            as_written(inner);
        }
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(Json::Array(variants)) = schema.get_mut(keyword) {
            variants.iter_mut().for_each(sections_within);
        }
    }
    loosen(schema);
}

/// The same for the values within one of several variants, which are not themselves loosened: their list is.
fn sections_within(variant: &mut Json) {
    if variant.get("properties").is_some() || variant.get("items").is_some() {
        as_written(variant);
    }
}

fn loosen(schema: &mut Map<String, Json>) {
    let reference = || json!({ "type": "string", "pattern": REFERENCE });
    if let Some(values) = schema.remove("enum") {
        schema.remove("type");
        schema.insert("anyOf".to_owned(), json!([{ "enum": values }, reference(), { "type": "null" }]));
        return;
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(Json::Array(mut variants)) = schema.remove(keyword) {
            variants.extend([reference(), json!({ "type": "null" })]);
            schema.insert("anyOf".to_owned(), Json::Array(variants));
        }
    }
    let Some(kinds) = schema.get("type") else { return };
    let mut kinds: Vec<Json> = kinds.as_array().cloned().unwrap_or_else(|| vec![kinds.clone()]);
    if kinds == ["null"] {
        return;
    }
    let is = |kind: &str| kinds.iter().any(|k| k == kind);
    let takes_any_text = is("array") && schema.get("items").is_none_or(is_text);
    if !is("string") && !takes_any_text {
        schema.insert("pattern".to_owned(), REFERENCE.into());
    } else if let Some(pattern) = schema.get("pattern").and_then(Json::as_str) {
        let either = format!("({pattern})|{REFERENCE}");
        schema.insert("pattern".to_owned(), either.into());
    }
    for kind in ["string", "null"] {
        if !kinds.iter().any(|k| k == kind) {
            kinds.push(kind.into());
        }
    }
    schema.insert("type".to_owned(), kinds.into());
}

fn is_text(schema: &Json) -> bool {
    let kinds = &schema["type"];
    let text = kinds == "string" || kinds.as_array().is_some_and(|kinds| kinds.contains(&"string".into()));
    text && schema.get("pattern").is_none()
}
