//! `service::telemetry::metrics`.

use std::collections::BTreeSet;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::Unsupported;
use crate::expose::{Options, Selection};
use crate::metrics::Level;

/// `service::telemetry::metrics`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// How much is collected.
    pub level: Level,
    /// How it can be read. By default one pull reader for Prometheus on `localhost:8888`.
    pub readers: Vec<Reader>,
    /// Refused: changes to what is collected.
    pub views: Unsupported,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        let exporter = PullExporter { prometheus: Some(Prometheus::default()) };
        let reader = Reader { pull: Some(Pull { exporter }), periodic: Unsupported::default() };
        Self { level: Level::Normal, readers: vec![reader], views: Unsupported::default() }
    }
}

impl MetricsConfig {
    /// The endpoints where Prometheus can read; none if nothing is collected.
    pub fn prometheus(&self) -> impl Iterator<Item = &Prometheus> {
        let readers = if self.level == Level::None { &[] } else { self.readers.as_slice() };
        readers.iter().filter_map(|reader| reader.pull.as_ref()?.exporter.prometheus.as_ref())
    }
}

impl Validate for MetricsConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.level != Level::None && self.readers.is_empty() {
            let level = self.level.name();
            at.error(
                "readers",
                format!("metrics are collected at level {level}, but there are no readers\nset level to none, or add a reader"),
            );
        }
        if self.views.is_given() {
            at.error("views", "views are not supported yet\nleave this key out");
        }
        let mut addresses = BTreeSet::new();
        for address in self.prometheus().map(Prometheus::address).filter(|address| !address.ends_with(":0")) {
            if addresses.contains(&address) {
                at.error(
                    "readers",
                    format!("two readers are to be read on {address}\ngive each a port of its own"),
                );
            }
            addresses.insert(address);
        }
        at.each("readers", &self.readers);
    }
}

/// One of `service::telemetry::metrics::readers`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reader {
    /// Others come and read.
    pub pull: Option<Pull>,
    /// Refused: metrics are pushed.
    pub periodic: Unsupported,
}

impl Validate for Reader {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.periodic.is_given() {
            let advice = "use a pull reader with the exporter prometheus";
            at.error("periodic", format!("readers that push are not supported yet\n{advice}"));
        } else if self.pull.is_none() {
            at.error_here("a reader needs `pull`");
        }
        at.nested("pull", &self.pull);
    }
}

/// `pull` of a reader.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pull {
    /// How others read.
    pub exporter: PullExporter,
}

impl Validate for Pull {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("exporter", &self.exporter);
    }
}

/// `exporter` of a reader's `pull`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullExporter {
    /// By Prometheus' text format over HTTP, at `/metrics`.
    pub prometheus: Option<Prometheus>,
}

impl Validate for PullExporter {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.prometheus.is_none() {
            at.error_here(
                "a pull reader needs the exporter `prometheus`\nwrite `prometheus: {}` for its defaults",
            );
        }
        at.nested("prometheus", &self.prometheus);
    }
}

/// `prometheus` of a reader's `pull::exporter`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// The host name or address to listen on.
    ///
    /// Go: required in a reader that is written out; here it is as in the reader that is there by default.
    pub host: String,
    /// The port to listen on.
    ///
    /// Go: required in a reader that is written out; here it is as in the reader that is there by default.
    pub port: u16,
    /// Leaves out labels that say who defines a metric.
    ///
    /// Go: the same; it is decided where the reader is made.
    pub without_scope_info: bool,
    /// Leaves out units in names.
    ///
    /// Go: the same; it is decided where the reader is made.
    pub without_units: bool,
    /// Leaves out `_total` in names of counters.
    ///
    /// Go: the same; it is decided where the reader is made.
    pub without_type_suffix: bool,
    /// Which attributes of the resource are labels of every series.
    pub with_resource_constant_labels: Option<IncludeExclude>,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 8888,
            without_scope_info: true,
            without_units: true,
            without_type_suffix: true,
            with_resource_constant_labels: None,
        }
    }
}

impl Prometheus {
    /// Host and port as one text, an IPv6 address in brackets.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }

    /// How the metrics are written.
    #[must_use]
    pub fn options(&self) -> Options {
        let selection = self.with_resource_constant_labels.clone();
        Options {
            without_scope_info: self.without_scope_info,
            without_units: self.without_units,
            without_type_suffix: self.without_type_suffix,
            with_resource_constant_labels: selection
                .map(|IncludeExclude { included, excluded }| Selection { included, excluded }),
        }
    }
}

impl Validate for Prometheus {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("with_resource_constant_labels", &self.with_resource_constant_labels);
    }
}

/// Chooses attributes by name. See [`Selection`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IncludeExclude {
    /// Names that are taken; all if empty.
    pub included: Vec<String>,
    /// Names that are not taken.
    pub excluded: Vec<String>,
}

impl Validate for IncludeExclude {
    fn validate(&self, at: &mut Checker<'_>) {
        if let Some(name) = self.excluded.iter().find(|name| self.included.contains(name)) {
            at.error("excluded", format!("`{name}` is both included and excluded"));
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let levels = [Self::None, Self::Basic, Self::Normal, Self::Detailed];
        levels.into_iter().find(|level| level.name().eq_ignore_ascii_case(&name)).ok_or_else(|| {
            D::Error::custom(format!(
                "unknown telemetry level `{name}`\naccepted levels: none, basic, normal, detailed"
            ))
        })
    }
}
