//! Attributes: from labels and JSON to typed values.

use millrace_wire::write::{Attributes, Value};

use crate::config::Resource;

/// A value of an attribute of a log record or a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
}

impl Attribute {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Bool(yes) => Value::Bool(*yes),
        }
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// The type that the semantic conventions give an attribute: labels are text, whatever they say.
pub(super) fn typed<'v>(name: &str, value: &'v str) -> Value<'v> {
    match name {
        "http.response.status_code" | "server.port" => value.parse().map_or(Value::Str(value), Value::Int),
        "error.permanent" => value.parse().map_or(Value::Str(value), Value::Bool),
        _ => Value::Str(value),
    }
}

pub(super) fn schema_url(resource: &Resource) -> &str {
    if resource.schema_url.is_empty() { super::SCHEMA_URL } else { &resource.schema_url }
}

pub(super) fn resource(resource: &Resource, out: &mut Attributes<'_>) {
    for (name, value) in &resource.attributes {
        json(value, &mut |value| {
            out.attr(name, value);
        });
    }
}

/// Hands out a JSON value as one of OTLP's; maps, which attributes of a resource cannot have, as text.
fn json(value: &serde_json::Value, put: &mut dyn FnMut(Value<'_>)) {
    match value {
        serde_json::Value::Null => put(Value::Empty),
        serde_json::Value::Bool(yes) => put(Value::Bool(*yes)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => put(Value::Int(number)),
            None => put(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
        },
        serde_json::Value::String(text) => put(Value::Str(text)),
        serde_json::Value::Array(items) => {
            let scalars: Vec<Value<'_>> = items.iter().map(scalar).collect();
            put(Value::List(&scalars));
        }
        serde_json::Value::Object(_) => put(Value::Str(&value.to_string())),
    }
}

fn scalar(value: &serde_json::Value) -> Value<'_> {
    match value {
        serde_json::Value::Bool(yes) => Value::Bool(*yes),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or(Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => Value::Str(text),
        _ => Value::Empty,
    }
}
