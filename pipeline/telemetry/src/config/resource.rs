//! `service::telemetry::resource`, in its two forms: a map of texts, or a list of attributes.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::time::SystemTime;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Unsupported;
use super::metrics::IncludeExclude;
use super::processor::Console;
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
    pub inline: BTreeMap<String, Value>,
    /// Refused.
    pub attributes_list: Unsupported,
    /// Attributes that are found out; what is configured takes precedence.
    #[serde(rename = "detection/development")]
    pub detection: Option<Detection>,
    /// Accepted; as in the Go collector it does nothing. See `detection/development`.
    pub detectors: Unsupported,
}

/// What describes the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource {
    /// The attributes as labels; what is not text is written as JSON.
    pub labels: Labels,
    /// The attributes as they are.
    pub attributes: BTreeMap<String, Value>,
    /// The schema that they follow; empty if none is configured.
    pub schema_url: String,
}

impl Resource {
    /// Of attributes.
    #[must_use]
    pub fn new(attributes: BTreeMap<String, Value>, schema_url: String) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let labels = attributes.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Self { labels, attributes, schema_url }
    }
}

/// Labels are attributes that are text.
impl From<Labels> for Resource {
    fn from(labels: Labels) -> Self {
        let attributes = labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        Self::new(attributes, String::new())
    }
}

/// `detection/development`: attributes that are found out when the process starts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Detection {
    /// Which of them are kept.
    pub attributes: Option<IncludeExclude>,
    /// By whom.
    pub detectors: Vec<Detector>,
}

/// One of `detectors`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Detector {
    /// `host.name` and `os.type`.
    pub host: Option<Console>,
    /// `process.pid`, `process.executable.name` and `process.executable.path`. Not the arguments, which may hold what
    /// is nobody's business.
    pub process: Option<Console>,
    /// `container.id`.
    pub container: Option<Console>,
    /// `service.name` of `OTEL_SERVICE_NAME`.
    pub service: Option<Console>,
    /// Refused.
    pub gcp: Unsupported,
    /// Refused.
    #[serde(rename = "aws.ecs")]
    pub aws_ecs: Unsupported,
    /// Refused.
    #[serde(rename = "aws.eks")]
    pub aws_eks: Unsupported,
    /// Refused.
    #[serde(rename = "azure.vm")]
    pub azure_vm: Unsupported,
}

impl Validate for Detection {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("attributes", &self.attributes);
        at.each("detectors", &self.detectors);
    }
}

impl Validate for Detector {
    fn validate(&self, at: &mut Checker<'_>) {
        let node = at.is_set("gcp") || at.is_set("aws.ecs") || at.is_set("aws.eks") || at.is_set("azure.vm");
        if node {
            let advice = "use the resourcedetection processor, or write the attributes down";
            at.error_here(format!("clouds are not asked about the collector itself\n{advice}"));
        }
    }
}

impl Detector {
    fn detect(&self, into: &mut BTreeMap<String, Value>) {
        let mut found = |name: &str, value: Option<String>| {
            if let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
            {
                into.insert(name.to_owned(), Value::String(value));
            }
        };
        if self.host.is_some() {
            found("host.name", fs::read_to_string("/proc/sys/kernel/hostname").ok());
            found("os.type", Some(std::env::consts::OS.replace("macos", "darwin")));
        }
        if self.container.is_some() {
            let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            found("container.id", container_id(&cgroup).or_else(|| container_id(&mounts)));
        }
        if self.service.is_some() {
            found("service.name", std::env::var("OTEL_SERVICE_NAME").ok());
        }
        if self.process.is_some() {
            let program = std::env::current_exe().ok();
            let name = program.as_deref().and_then(|path| path.file_name());
            found("process.executable.name", name.map(|name| name.to_string_lossy().into_owned()));
            found("process.executable.path", program.map(|path| path.to_string_lossy().into_owned()));
            into.insert("process.pid".to_owned(), std::process::id().into());
        }
    }
}

/// The id of a container in a text that names its cgroup or mounts: the first run of 64 hexadecimal digits that is a
/// part of a path.
fn container_id(text: &str) -> Option<String> {
    const DIGITS: usize = 64;
    let parts = text.split(['/', '\n', ' ', '-', ':']).map(|part| part.trim_end_matches(".scope"));
    let mut ids = parts.filter(|part| part.len() == DIGITS && part.bytes().all(|b| b.is_ascii_hexdigit()));
    ids.next().map(str::to_owned)
}

/// An attribute of the resource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its key.
    pub name: String,
    /// Its value; what is not text is written as JSON. Null removes an attribute that is there by default.
    #[serde(default)]
    pub value: Value,
    /// Accepted; the type follows from the value.
    #[serde(default, rename = "type")]
    pub kind: Unsupported,
}

impl ResourceConfig {
    /// What describes the process: `service.name`, `service.version`, a random `service.instance.id`, and what is
    /// configured, which takes precedence.
    #[must_use]
    pub fn resource(&self, service_name: &str, service_version: &str) -> Resource {
        let mut attributes: BTreeMap<String, Value> = BTreeMap::new();
        let Detection { attributes: kept, detectors } = self.detection.clone().unwrap_or_default();
        detectors.iter().for_each(|detector| detector.detect(&mut attributes));
        if let Some(kept) = kept {
            attributes.retain(|name, _| kept.selection().takes(name));
        }
        attributes.extend([
            ("service.name".to_owned(), service_name.into()),
            ("service.version".to_owned(), service_version.into()),
            ("service.instance.id".to_owned(), random_id().into()),
        ]);
        let listed = self.attributes.iter().map(|attribute| (&attribute.name, &attribute.value));
        for (name, value) in self.inline.iter().chain(listed) {
            match value {
                Value::Null => attributes.remove(name),
                value => attributes.insert(name.clone(), value.clone()),
            };
        }
        Resource::new(attributes, self.schema_url.clone().unwrap_or_default())
    }
}

impl Validate for ResourceConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        for (name, value) in &self.inline {
            if !value.is_string() && !value.is_null() {
                at.error(
                    name,
                    format!("the resource attribute `{name}` must be text or null\nput it in quotes"),
                );
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
        if let Some(name) = self.inline.keys().next() {
            let advice = "write `attributes: [{name: …, value: …}]`";
            at.warning(
                name,
                format!("attributes of the resource are a list in the present format\n{advice}"),
            );
        }
        if self.detectors.is_given() {
            at.warning("detectors", "this does nothing, as in the Go collector\nuse `detection/development`");
        }
        at.nested("detection/development", &self.detection);
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
                "detectors" => config.detectors = entries.next_value()?,
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
