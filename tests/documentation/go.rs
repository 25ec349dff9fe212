//! What the Go collector's components take, as `tests/peers/record-keys` wrote it down.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A key, or a whole section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What its values are: `bool`, `duration`, …, or the name of a struct.
    #[serde(rename = "type")]
    pub kind: String,
    /// What holds when it is left out.
    #[serde(default)]
    pub default: Value,
    /// A section that is off unless it is written.
    #[serde(default)]
    pub off: bool,
    /// The struct that it was embedded with.
    #[serde(default)]
    pub from: String,
    #[serde(default)]
    keys: BTreeMap<String, Key>,
    #[serde(default)]
    items: Option<Box<Key>>,
    #[serde(default)]
    values: Option<Box<Key>>,
    /// It takes further keys.
    #[serde(default)]
    pub open: bool,
    /// It is read by code of its own.
    #[serde(default)]
    pub custom: bool,
}

impl Key {
    /// The keys of a section, of the items of a list of sections, or of the values of a map of them.
    pub fn keys(&self) -> &BTreeMap<String, Self> {
        let inner = self.items.as_ref().or(self.values.as_ref());
        match inner {
            Some(inner) if self.keys.is_empty() => inner.keys(),
            _ => &self.keys,
        }
    }

    /// The struct that several components have in common, if this is one.
    pub fn shared(&self) -> Option<&str> {
        shared(&self.kind)
    }

    /// The struct in common that it was embedded with.
    pub fn shared_from(&self) -> Option<&str> {
        shared(&self.from)
    }
}

fn shared(name: &str) -> Option<&str> {
    let is_shared = [
        "confighttp.",
        "configgrpc.",
        "configtls.",
        "configretry.",
        "configauth.",
        "queuebatch.",
        "exporterhelper.",
    ]
    .iter()
    .any(|package| name.starts_with(package));
    is_shared.then_some(name)
}

/// The recorded components, by `receivers/otlp` and the like.
pub fn components() -> BTreeMap<String, Key> {
    let mut all: BTreeMap<String, Key> = parse("tests/documentation/otelcol-keys.json");
    all.extend(parse("tests/documentation/otelcol-keys-read.json"));
    all
}

fn parse(path: &str) -> BTreeMap<String, Key> {
    serde_json::from_str(&crate::read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
