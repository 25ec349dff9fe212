//! What Millrace says of its components.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// A key, or a whole section.
#[derive(Debug, Clone, Default)]
pub struct Key {
    /// What holds when it is left out; `None` where that is not a value.
    pub default: Option<Value>,
    /// What it means, without what follows.
    pub meaning: String,
    /// In what way it differs from the Go collector's key, and why.
    pub go: Option<String>,
    /// It is refused until it is built.
    pub not_yet: bool,
    /// It changes nothing.
    pub no_effect: bool,
    /// The keys in it.
    pub keys: BTreeMap<String, Key>,
}

impl Key {
    fn of(schema: &Value) -> Self {
        let description = schema["description"].as_str().unwrap_or_default();
        let (mut meaning, mut go) = (Vec::new(), None);
        for paragraph in description.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")) {
            match paragraph.strip_prefix("Go:") {
                Some(reason) => go = Some(reason.trim().to_owned()),
                None => meaning.push(paragraph),
            }
        }
        let meaning = meaning.join(" ");
        let no_effect = meaning.starts_with("Accepted");
        Self {
            default: schema.get("default").cloned(),
            no_effect,
            not_yet: (schema["x-status"] == "not yet" && !no_effect) || meaning.starts_with("Not built yet"),
            meaning,
            go,
            keys: keys(schema),
        }
    }
}

/// The keys of a section, of the items of a list of sections, or of the values of a map of them.
fn keys(schema: &Value) -> BTreeMap<String, Key> {
    let mut all = BTreeMap::new();
    let inner = [&schema["items"], &schema["additionalProperties"]];
    let variants =
        ["oneOf", "anyOf"].into_iter().filter_map(|variants| schema[variants].as_array()).flatten();
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        all.insert(key.clone(), Key::of(schema));
    }
    for schema in inner.into_iter().chain(variants).filter(|schema| schema.is_object()) {
        for (key, inner) in keys(schema) {
            all.entry(key).or_insert(inner);
        }
    }
    all
}

/// A component.
pub struct Component {
    /// `receivers`, `exporters`, …, or `service`.
    pub section: String,
    /// Its type.
    pub name: String,
    /// Its section.
    pub root: Key,
}

/// What the binary prints.
pub fn schema(arguments: &[&str]) -> Value {
    let command = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("schema").args(arguments).output();
    let output = command.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// All components, and `service/telemetry`.
pub fn components() -> Vec<Component> {
    let file = schema(&[]);
    let names = file["$defs"].as_object().expect("components").keys();
    let names = names.map(|name| name.replacen('.', "/", 1)).chain(["service/telemetry".to_owned()]);
    let component = |name: String| {
        let root = Key::of(&schema(&["--component", &name]));
        let (section, name) = name.split_once('/').expect("kind and type");
        Component { section: section.to_owned(), name: name.to_owned(), root }
    };
    names.map(component).collect()
}
