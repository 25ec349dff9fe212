//! The section `extensions::health_check`.

use millrace_config::{Checker, Duration, GivenOnly, Optional, Validate};
use millrace_net::config::{GrpcServerConfig, HttpServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What differs from a server's usual defaults.
pub(super) const DEFAULTS: &str = "{
    endpoint: 'localhost:13133',
    keep_alives_enabled: false,
    http?: {
        endpoint: 'localhost:13133',
        status: {enabled: true, path: /status},
        config: {enabled: false, path: /config},
    },
    grpc?: {endpoint: 'localhost:13132'},
}";

millrace_config::parts! {
    /// The health check's configuration: a server's keys and its own.
    pub struct Config {
        /// Where to listen.
        pub server: HttpServerConfig,
        /// What to answer.
        pub answers: Answers,
    }
}

/// What only the first version looks at.
const BESIDE: [&str; 10] = [
    "endpoint",
    "transport",
    "path",
    "response_body",
    "response_headers",
    "keep_alives_enabled",
    "tls",
    "auth",
    "cors",
    "middlewares",
];

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
    /// The second version, which knows how each component is; `http` and `grpc` imply it.
    pub use_v2: bool,
    /// The second version over HTTP.
    ///
    /// Go: behind a feature gate; its defaults are these, too, but are set only while it is read.
    pub http: Optional<V2>,
    /// The second version as the standard gRPC health service.
    ///
    /// Go: behind a feature gate; its defaults are these, too, but are set only while it is read.
    pub grpc: Optional<GrpcServerConfig>,
    /// Whether components that fail make the second version's answer unhealthy.
    pub component_health: GivenOnly<ComponentHealth>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            response_body: Optional::Off,
            check_collector_pipeline: CheckCollectorPipeline::default(),
            use_v2: false,
            http: Optional::Off,
            grpc: Optional::Off,
            component_health: GivenOnly::Off,
        }
    }
}

impl Answers {
    /// Whether the second version is asked for.
    pub(super) fn is_v2(&self) -> bool {
        self.use_v2 || self.http.is_on() || self.grpc.is_on()
    }
}

impl Validate for Answers {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.is_v2() {
            if !self.http.is_on() && !self.grpc.is_on() {
                at.error("use_v2", "must specify at least one protocol\nadd `http:` or `grpc:`");
            }
            for key in BESIDE {
                if at.is_set(key) {
                    at.warning(key, "has no effect beside `http`, `grpc` or `use_v2`\nmove it below `http`");
                }
            }
            at.nested("http", &self.http);
            at.nested("grpc", &self.grpc);
        } else if self.component_health.is_on() {
            at.warning(
                "component_health",
                "has no effect without `http` or `grpc`\nmove the endpoint below `http`",
            );
        }
        if !self.path.starts_with('/') {
            at.error("path", "must start with /");
        }
        if self.check_collector_pipeline.enabled {
            at.warning(
                "check_collector_pipeline",
                "has no effect: health is whether the collector takes requests\nuse `http` and `component_health` for exporters that fail",
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

millrace_config::parts! {
    /// `http`: a server's keys and the second version's.
    pub struct V2 {
        /// Where to listen.
        pub server: HttpServerConfig,
        /// Its pages.
        pub own: Pages,
    }
}

/// The second version's pages.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pages {
    /// How everything is.
    pub status: Page,
    /// Never: it would show secrets to whoever asks.
    pub config: Page,
}

impl Validate for Pages {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.status.enabled && !self.status.path.starts_with('/') {
            at.within("status", |at| at.error("path", "must start with /"));
        }
        if self.config.enabled {
            at.within("config", |at| {
                at.error(
                    "enabled",
                    "this page is not supported: it shows the configuration with its secrets to whoever asks\nuse the command print-config",
                );
            });
        }
    }
}

/// A page of the second version.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Whether it is there.
    pub enabled: bool,
    /// Where.
    pub path: String,
    /// Accepted for compatibility: no component has attributes.
    pub include_attributes: bool,
}

impl Validate for Page {}

/// Which components that fail make the whole unhealthy.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ComponentHealth {
    /// Those that need somebody to do something.
    pub include_permanent_errors: bool,
    /// Those that may recover, when `recovery_duration` is over.
    pub include_recoverable_errors: bool,
    /// How long something may fail before it counts.
    pub recovery_duration: Duration,
}

impl Validate for ComponentHealth {}

impl ComponentHealth {
    /// Whether what may recover is more important to the user than what may not.
    pub(super) fn puts_recoverable_first(&self) -> bool {
        self.include_recoverable_errors && !self.include_permanent_errors
    }
}
