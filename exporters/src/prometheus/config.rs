//! The section `exporters::prometheus`.

use millrace_config::{Checker, Duration, Optional, Validate};
use millrace_delivery::QueueConfig;
use millrace_formats::prometheus::names::{Names, Strategy};
use millrace_net::config::HttpServerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What differs from a server's usual defaults.
pub(super) const DEFAULTS: &str =
    "{endpoint: '', read_header_timeout: 60s, write_timeout: 30s, idle_timeout: 60s}";

millrace_config::parts! {
    /// The Prometheus exporter's configuration: a server's keys and its own.
    pub struct Config {
        /// Where to listen.
        pub server: HttpServerConfig,
        /// What to serve.
        pub serving: Serving,
    }
}

/// What is served, and how it is called.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Serving {
    /// The queue in front; off unless it is given.
    ///
    /// Go: it has no defaults there, so that all of it must be given.
    pub sending_queue: Optional<QueueConfig>,
    /// Comes before the name of every metric, with a `_`.
    pub namespace: String,
    /// Labels of every series but `target_info`.
    pub const_labels: BTreeMap<String, String>,
    /// Whether samples say when they were measured.
    pub send_timestamps: bool,
    /// How long a series is served after its last data point.
    pub metric_expiration: Duration,
    /// Whether attributes of the resource become labels.
    pub resource_to_telemetry_conversion: ResourceToTelemetry,
    /// Whether scrapers that prefer OpenMetrics get it, and exemplars with it.
    pub enable_open_metrics: bool,
    /// Whether labels that say which library measured are left out.
    pub without_scope_info: bool,
    /// Accepted for compatibility: as in the Go collector, it has no effect any more.
    pub add_metric_suffixes: bool,
    /// How names are translated: `UnderscoreEscapingWithSuffixes`, `UnderscoreEscapingWithoutSuffixes`,
    /// `NoUTF8EscapingWithSuffixes` or `NoTranslation`.
    pub translation_strategy: String,
    /// How many series are served at most, `target_info` included; data points of further ones are refused.
    pub max_series: u64,
    /// How much memory series take at most, in MiB.
    pub max_series_mib: u64,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            sending_queue: Optional::Off,
            namespace: String::new(),
            const_labels: BTreeMap::new(),
            send_timestamps: false,
            metric_expiration: Duration::from_secs(300),
            resource_to_telemetry_conversion: ResourceToTelemetry::default(),
            enable_open_metrics: false,
            without_scope_info: false,
            add_metric_suffixes: true,
            translation_strategy: String::new(),
            max_series: 200_000,
            max_series_mib: 128,
        }
    }
}

/// `resource_to_telemetry_conversion`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceToTelemetry {
    /// Whether attributes of the resource become labels of every series.
    pub enabled: bool,
    /// Whether `service.name`, `service.namespace` and `service.instance.id`, which `job` and `instance` are made of, do
    /// not.
    pub exclude_service_attributes: bool,
}

impl Serving {
    /// How things are called.
    #[must_use]
    pub fn names(&self) -> Names {
        let strategy = self.strategy().unwrap_or_default();
        Names::new(strategy, &self.namespace)
    }

    fn strategy(&self) -> Option<Strategy> {
        if self.translation_strategy.is_empty() {
            return Some(Strategy::default());
        }
        Strategy::ALL.into_iter().find(|strategy| strategy.name() == self.translation_strategy)
    }
}

impl Validate for Serving {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("sending_queue", &self.sending_queue);
        if self.strategy().is_none() {
            let names: Vec<_> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
            let message = format!(
                "`{}` is not a strategy\naccepted values: {}",
                self.translation_strategy,
                names.join(", ")
            );
            at.error("translation_strategy", message);
        }
        if !self.add_metric_suffixes {
            at.warning(
                "add_metric_suffixes",
                "has no effect any more, as in the Go collector\nuse `translation_strategy: UnderscoreEscapingWithoutSuffixes`",
            );
        }
        for name in self.const_labels.keys() {
            if name.is_empty() || name.starts_with("__") {
                at.error(
                    "const_labels",
                    format!(
                        "`{name}` cannot be the name of a label; names that start with __ are Prometheus' own"
                    ),
                );
            }
        }
        if self.metric_expiration.get().is_zero() {
            at.warning(
                "metric_expiration",
                "every series expires as soon as it is there, so nothing will be served\nset it to 5m, for example",
            );
        }
        if self.max_series == 0 {
            at.error("max_series", "must be at least 1");
        }
        if self.max_series_mib == 0 {
            at.error("max_series_mib", "must be at least 1");
        }
    }
}
