//! The section `extensions::health_check`.

use millrace_config::{Checker, Optional, Validate};
use millrace_net::config::{HttpServerConfig, NotYet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What differs from a server's usual defaults.
pub(super) const DEFAULTS: &str = "{endpoint: 'localhost:13133', keep_alives_enabled: false}";

millrace_config::parts! {
    /// The health check's configuration: a server's keys and its own.
    pub struct Config {
        /// Where to listen.
        pub server: HttpServerConfig,
        /// What to answer.
        pub answers: Answers,
    }
}

/// What to answer, and to which path.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// The path; one that ends in `/` stands for everything below it.
    pub path: String,
    /// Bodies to send instead of the JSON.
    pub response_body: Optional<ResponseBody>,
    /// Accepted for compatibility; it never worked in the Go collector either.
    pub check_collector_pipeline: CheckCollectorPipeline,
    /// Not built yet.
    pub http: NotYet,
    /// Not built yet.
    pub grpc: NotYet,
    /// Not built yet.
    pub component_health: NotYet,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            response_body: Optional::Off,
            check_collector_pipeline: CheckCollectorPipeline::default(),
            http: NotYet,
            grpc: NotYet,
            component_health: NotYet,
        }
    }
}

impl Validate for Answers {
    fn validate(&self, at: &mut Checker<'_>) {
        if !self.path.starts_with('/') {
            at.error("path", "must start with /");
        }
        if self.check_collector_pipeline.enabled {
            at.warning(
                "check_collector_pipeline",
                "has no effect: health is whether the collector takes requests\nwatch `otelcol_exporter_send_failed_*` for exporters that fail",
            );
        }
    }
}

/// `response_body`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseBody {
    /// When ready.
    pub healthy: String,
    /// When not.
    pub unhealthy: String,
}

impl Validate for ResponseBody {}

/// `check_collector_pipeline`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckCollectorPipeline {
    /// Whether the user expects something of it.
    pub enabled: bool,
    /// Ignored.
    pub interval: String,
    /// Ignored.
    pub exporter_failure_threshold: i64,
}

impl Default for CheckCollectorPipeline {
    fn default() -> Self {
        Self { enabled: false, interval: "5m".to_owned(), exporter_failure_threshold: 5 }
    }
}
