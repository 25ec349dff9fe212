//! `service::telemetry::metrics`.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_config::{Checker, Thing, Validate};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::Unsupported;
use super::otlp::OtlpMetrics;
use super::processor::{Console, one_of_both};
use super::views::View;
use crate::expose::{Options, Selection};
use crate::metrics::Level;

/// `service::telemetry::metrics`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// How much is collected.
    pub level: Level,
    /// How it can be read, and where it is pushed. By default one pull reader for Prometheus on `localhost:8888`.
    pub readers: Vec<Reader>,
    /// Changes to what is collected; with level `detailed` only.
    pub views: Vec<View>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        let exporter = PullExporter { prometheus: Some(Prometheus::default()) };
        let reader = Reader { pull: Some(Pull { exporter }), ..Reader::default() };
        Self { level: Level::Normal, readers: vec![reader], views: Vec::new() }
    }
}

impl MetricsConfig {
    /// The endpoints where Prometheus can read; none if nothing is collected.
    pub fn prometheus(&self) -> impl Iterator<Item = &Prometheus> {
        self.used().iter().filter_map(|reader| reader.pull.as_ref()?.exporter.prometheus.as_ref())
    }

    /// The readers that push; none if nothing is collected.
    pub fn periodic(&self) -> impl Iterator<Item = &Periodic> {
        self.used().iter().filter_map(|reader| reader.periodic.as_ref())
    }

    fn used(&self) -> &[Reader] {
        if self.level == Level::None { &[] } else { &self.readers }
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
        if !self.views.is_empty() && self.level != Level::Detailed {
            at.error(
                "views",
                "views are possible only with level detailed\nset `level: detailed`, or leave them out",
            );
        }
        at.each("views", &self.views);
        let mut addresses = BTreeSet::new();
        for reader in self.prometheus().filter(|reader| reader.port != 0) {
            let address = reader.address();
            if addresses.contains(&address) {
                at.error(
                    "readers",
                    format!("two readers are to be read on {address}\ngive each a port of its own"),
                );
            } else {
                let host = reader.host.trim_matches(['[', ']']).to_owned();
                at.claims("readers", Thing::Address { host, port: reader.port });
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
    /// They are pushed.
    pub periodic: Option<Periodic>,
    /// Refused: metrics of other libraries.
    pub producers: Unsupported,
}

impl Validate for Reader {
    fn validate(&self, at: &mut Checker<'_>) {
        match (&self.pull, &self.periodic) {
            (Some(_), Some(_)) => at.error_here("a reader is either `pull` or `periodic`\nmake two of it"),
            (None, None) => at.error_here(
                "a reader needs `pull` or `periodic`\nwrite `pull: {exporter: {prometheus: {}}}`",
            ),
            _ => {}
        }
        if self.producers.is_given() {
            at.error("producers", "there are no other producers of metrics\nleave this key out");
        }
        at.nested("pull", &self.pull);
        at.nested("periodic", &self.periodic);
    }
}

/// `periodic` of a reader.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Periodic {
    /// How often, in milliseconds; 60000 by default.
    pub interval: Option<u64>,
    /// How long pushing may take, in milliseconds; 30000 by default.
    pub timeout: Option<u64>,
    /// Where to.
    pub exporter: PushExporter,
}

impl Periodic {
    /// How often metrics are pushed.
    #[must_use]
    pub fn interval(&self) -> Duration {
        millis(self.interval, 60_000)
    }

    /// How long that may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        millis(self.timeout, 30_000)
    }
}

/// As in the SDKs, 0 stands for the default.
fn millis(given: Option<u64>, default: u64) -> Duration {
    Duration::from_millis(given.filter(|ms| *ms > 0).unwrap_or(default))
}

impl Validate for Periodic {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("exporter", &self.exporter);
    }
}

/// `exporter` of a reader's `periodic`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PushExporter {
    /// To standard output, as OTLP/JSON.
    pub console: Option<Console>,
    /// By OTLP.
    pub otlp: Option<OtlpMetrics>,
}

impl Validate for PushExporter {
    fn validate(&self, at: &mut Checker<'_>) {
        one_of_both(at, self.console.is_some(), self.otlp.is_some());
        at.nested("otlp", &self.otlp);
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
        Options {
            without_scope_info: self.without_scope_info,
            without_units: self.without_units,
            without_type_suffix: self.without_type_suffix,
            with_resource_constant_labels: self
                .with_resource_constant_labels
                .as_ref()
                .map(IncludeExclude::selection),
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

impl IncludeExclude {
    /// What it chooses.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { included: self.included.clone(), excluded: self.excluded.clone() }
    }
}

impl Validate for IncludeExclude {
    fn validate(&self, at: &mut Checker<'_>) {
        if let Some(name) = self.excluded.iter().find(|name| self.included.contains(name)) {
            at.error(
                "excluded",
                format!("`{name}` is both included and excluded\nremove it from one of them"),
            );
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
