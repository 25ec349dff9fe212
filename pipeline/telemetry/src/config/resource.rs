//! `service::telemetry::resource`, in its two forms: a map of texts, or a list of attributes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::SystemTime;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Unsupported;
use crate::metrics::Labels;

/// `service::telemetry::resource`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(default)]
pub struct ResourceConfig {
    /// The schema that the attributes follow.
    ///
    /// Go: that of the conventions it was built with; what is said of the process here is the same in all of them.
    pub schema_url: Option<String>,
    /// The list of attributes.
    pub attributes: Vec<Attribute>,
    /// The map, which cannot stand beside the list. Null removes an attribute that is there by default.
    #[serde(flatten)]
    pub inline: BTreeMap<String, serde_json::Value>,
    /// Refused.
    pub attributes_list: Unsupported,
    /// Refused: attributes that are found out.
    #[serde(rename = "detection/development")]
    pub detection: Unsupported,
}

/// An attribute of the resource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its key.
    pub name: String,
    /// Its value; what is not text is written as JSON. Null removes an attribute that is there by default.
    #[serde(default)]
    pub value: serde_json::Value,
    /// Accepted; the type follows from the value.
    #[serde(default, rename = "type")]
    pub kind: Unsupported,
}

impl ResourceConfig {
    /// What describes the process: `service.name`, `service.version`, a random `service.instance.id`, and what is
    /// configured, which takes precedence.
    #[must_use]
    pub fn labels(&self, service_name: &str, service_version: &str) -> Labels {
        let mut attributes: BTreeMap<String, String> = BTreeMap::from([
            ("service.name".to_owned(), service_name.to_owned()),
            ("service.version".to_owned(), service_version.to_owned()),
            ("service.instance.id".to_owned(), random_id()),
        ]);
        let listed = self.attributes.iter().map(|attribute| (&attribute.name, &attribute.value));
        for (name, value) in self.inline.iter().chain(listed) {
            match value {
                serde_json::Value::Null => attributes.remove(name),
                serde_json::Value::String(text) => attributes.insert(name.clone(), text.clone()),
                other => attributes.insert(name.clone(), other.to_string()),
            };
        }
        attributes.into_iter().collect()
    }
}

impl Validate for ResourceConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        for (name, value) in &self.inline {
            if !value.is_string() && !value.is_null() {
                at.error(name, format!("the resource attribute `{name}` must be text or null"));
            }
        }
        if !self.attributes.is_empty()
            && let Some(name) = self.inline.keys().next()
        {
            at.error(name, format!("`{name}` cannot stand beside `attributes`\nadd it to the list"));
        }
        if self.attributes_list.is_given() {
            at.error("attributes_list", "`attributes_list` is not supported\nuse `attributes`");
        }
        if self.detection.is_given() {
            at.error(
                "detection/development",
                "detecting resource attributes is not supported\nuse `attributes`",
            );
        }
    }
}

impl<'de> Deserialize<'de> for ResourceConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ResourceVisitor)
    }
}

struct ResourceVisitor;

impl<'de> Visitor<'de> for ResourceVisitor {
    type Value = ResourceConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a section (keys and values)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ResourceConfig, A::Error> {
        let mut config = ResourceConfig::default();
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "schema_url" => config.schema_url = entries.next_value()?,
                "attributes" => config.attributes = entries.next_value::<Option<_>>()?.unwrap_or_default(),
                "attributes_list" => config.attributes_list = entries.next_value()?,
                "detection/development" => config.detection = entries.next_value()?,
                _ => {
                    let value = entries.next_value()?;
                    config.inline.insert(key, value);
                }
            }
        }
        Ok(config)
    }
}

/// A random UUID (version 4). The standard library's hasher has a key that the system chose at random.
fn random_id() -> String {
    let state = RandomState::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = (now, std::process::id());
    let bits = u128::from(state.hash_one((seed, 1))) << 64 | u128::from(state.hash_one((seed, 2)));
    let versioned = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{versioned:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
