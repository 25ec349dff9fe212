//! A small catalogue with typed configurations, as component authors write them, for the tests of this crate.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use millrace_config::{
    Catalog, Checker, Component, Config, Diagnostics, Duration, Gates, GivenOnly, Kind, Known, Loaded,
    Optional, Parsed, Secret, Signals, Validate, load, parse_str, parts,
};
use millrace_wire::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parses, loads and decodes everything, as starting the collector would. `None` if anything is wrong.
pub fn check(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    gates: Gates,
) -> (Option<Config>, Parsed) {
    judge(parse_str(name, text, env), gates)
}

/// The same for what has been read.
pub fn judge(mut parsed: Parsed, gates: Gates) -> (Option<Config>, Parsed) {
    let _ = parsed.modernise(&TestCatalog);
    let loaded = parsed.node.as_ref().map(|node| load(node, &TestCatalog, gates, &mut parsed.diagnostics));
    for component in loaded.iter().flat_map(Loaded::components) {
        decode_component(component, &mut parsed.diagnostics);
    }
    parsed.diagnostics.sort();
    let config = loaded.and_then(Loaded::into_config).filter(|_| !parsed.diagnostics.has_errors());
    (config, parsed)
}

/// The settings that a case asks for in comments of its own: `# env: NAME=value` and `# gates: profiles`.
pub fn settings(text: &str) -> (BTreeMap<String, String>, Gates) {
    let mut env = BTreeMap::new();
    let mut gates = Gates::default();
    for line in text.lines() {
        if let Some((name, value)) = line.strip_prefix("# env: ").and_then(|line| line.split_once('=')) {
            env.insert(name.to_owned(), value.replace("\\n", "\n"));
        }
        if let Some(names) = line.strip_prefix("# gates: ") {
            gates.profiles |= names.contains("service.profilesSupport");
            gates.allow_no_pipelines |= names.contains("service.AllowNoPipelines");
        }
    }
    (env, gates)
}

fn decode_component(component: &Component, diags: &mut Diagnostics) {
    match (component.kind, component.canonical) {
        (Kind::Receiver, "otlp") => drop(component.decode_over::<OtlpReceiver>(OTLP_RECEIVER, diags)),
        (Kind::Processor, "batch") => drop(component.decode::<Batch>(diags)),
        (Kind::Processor, "memory_limiter") => drop(component.decode::<MemoryLimiter>(diags)),
        (Kind::Exporter, "debug") => drop(component.decode::<Debug>(diags)),
        (Kind::Exporter, "otlp_grpc") => drop(component.decode_over::<OtlpGrpc>(OTLP_GRPC, diags)),
        (Kind::Exporter, "otlp_http") => drop(component.decode_over::<OtlpHttp>(OTLP_HTTP, diags)),
        (Kind::Exporter, "file") => drop(component.decode::<File>(diags)),
        (Kind::Extension, "health_check") => drop(component.decode::<HealthCheck>(diags)),
        _ => drop(component.decode::<Nothing>(diags)),
    }
}

pub struct TestCatalog;

impl Catalog for TestCatalog {
    fn canonical(&self, kind: Kind, type_name: &str) -> Option<Known> {
        let old = match (kind, type_name) {
            (Kind::Exporter, "otlp") => Some("otlp_grpc"),
            (Kind::Exporter, "otlphttp") => Some("otlp_http"),
            _ => None,
        };
        if let Some(canonical) = old {
            return Some(Known { canonical, deprecated: true });
        }
        let canonical = self.names(kind).into_iter().find(|name| *name == type_name)?;
        Some(Known { canonical, deprecated: false })
    }

    fn names(&self, kind: Kind) -> Vec<&'static str> {
        match kind {
            Kind::Receiver => vec!["otlp"],
            Kind::Processor => vec!["batch", "memory_limiter"],
            Kind::Exporter => vec!["debug", "nop", "otlp_grpc", "otlp_http", "file"],
            Kind::Connector => vec!["forward", "nop"],
            Kind::Extension => vec!["health_check"],
        }
    }

    fn signals(&self, kind: Kind, canonical: &str) -> Signals {
        match (kind, canonical) {
            (Kind::Processor, _) => Signals::TELEMETRY,
            _ => Signals::ALL,
        }
    }

    fn connects(&self, _: &str, from: Signal, to: Signal) -> bool {
        from == to
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Nothing {}

impl Validate for Nothing {}

/// What the OTLP receiver's servers default to, where they are given.
pub const OTLP_RECEIVER: &str = "
protocols:
  grpc?: {endpoint: localhost:4317, read_buffer_size: 524288}
  http?: {endpoint: localhost:4318}
";

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct OtlpReceiver {
    pub protocols: Protocols,
}

impl Validate for OtlpReceiver {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("protocols", &self.protocols);
        if !self.protocols.grpc.is_on() && !self.protocols.http.is_on() {
            at.error("protocols", "must specify at least one protocol when using the OTLP receiver");
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Protocols {
    pub grpc: Optional<GrpcServer>,
    pub http: Optional<HttpServer>,
}

impl Validate for Protocols {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("grpc", &self.grpc);
        at.nested("http", &self.http);
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct GrpcServer {
    pub endpoint: String,
    pub transport: String,
    pub tls: GivenOnly<ServerTls>,
    pub max_recv_msg_size_mib: u32,
    pub max_concurrent_streams: u32,
    pub read_buffer_size: u64,
    pub include_metadata: bool,
    pub keepalive: GivenOnly<Nothing>,
}

impl Validate for GrpcServer {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("tls", &self.tls);
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct HttpServer {
    pub endpoint: String,
    pub tls: GivenOnly<ServerTls>,
    pub cors: GivenOnly<Cors>,
    pub max_request_body_size: u64,
    pub include_metadata: bool,
    pub read_timeout: Duration,
    pub traces_url_path: String,
    pub metrics_url_path: String,
    pub logs_url_path: String,
}

impl Validate for HttpServer {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("tls", &self.tls);
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Cors {
    pub allowed_origins: Vec<String>,
    pub allowed_headers: Vec<String>,
    pub max_age: i64,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ServerTls {
    pub cert_file: String,
    pub key_file: String,
    pub client_ca_file: String,
    pub min_version: String,
}

impl Validate for ServerTls {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.cert_file.is_empty() != self.key_file.is_empty() {
            at.error_here("a server needs both a certificate and a key");
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Batch {
    pub timeout: Duration,
    pub send_batch_size: u32,
    pub send_batch_max_size: u32,
    pub metadata_keys: Vec<String>,
    pub metadata_cardinality_limit: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(200),
            send_batch_size: 8192,
            send_batch_max_size: 0,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
        }
    }
}

impl Validate for Batch {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.send_batch_max_size > 0 && self.send_batch_max_size < self.send_batch_size {
            at.error(
                "send_batch_max_size",
                "send_batch_max_size must be greater or equal to send_batch_size",
            );
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct MemoryLimiter {
    pub check_interval: Duration,
    pub limit_mib: u32,
    pub spike_limit_mib: u32,
    pub limit_percentage: u32,
    pub spike_limit_percentage: u32,
}

impl Validate for MemoryLimiter {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.check_interval.is_zero() {
            at.error("check_interval", "'check_interval' must be greater than zero\ntry 1s");
        }
        if self.limit_mib == 0 && self.limit_percentage == 0 {
            at.error_here("'limit_mib' or 'limit_percentage' must be greater than zero");
        }
        if self.limit_percentage > 100 {
            at.error("limit_percentage", "must be between 0 and 100");
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    #[default]
    Basic,
    Normal,
    Detailed,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Debug {
    pub verbosity: Verbosity,
    pub sampling_initial: i64,
    pub sampling_thereafter: i64,
    pub use_internal_logger: bool,
    pub output_paths: Vec<String>,
}

impl Default for Debug {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Basic,
            sampling_initial: 2,
            sampling_thereafter: 1,
            use_internal_logger: true,
            output_paths: vec!["stdout".to_owned()],
        }
    }
}

impl Validate for Debug {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.use_internal_logger && at.is_set("output_paths") {
            at.error("output_paths", "output_paths is not supported when use_internal_logger is true");
        }
    }
}

/// What the gRPC exporter's client defaults to.
pub const OTLP_GRPC: &str = "
compression: gzip
write_buffer_size: 524288
";

parts! {
    /// The OTLP exporter over gRPC.
    pub struct OtlpGrpc {
        /// How it connects.
        pub client: Client,
        /// How it delivers.
        pub delivery: Delivery,
    }
}

/// What the HTTP exporter's client defaults to.
pub const OTLP_HTTP: &str = "
compression: gzip
timeout: 30s
";

parts! {
    /// The OTLP exporter over HTTP.
    pub struct OtlpHttp {
        /// How it connects.
        pub client: Client,
        /// How it delivers.
        pub delivery: Delivery,
        /// What only it has.
        pub own: OtlpHttpOwn,
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct OtlpHttpOwn {
    pub traces_endpoint: String,
    pub metrics_endpoint: String,
    pub logs_endpoint: String,
    pub encoding: Encoding,
}

impl Validate for OtlpHttpOwn {}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Proto,
    Json,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Client {
    pub endpoint: String,
    pub compression: String,
    pub tls: ClientTls,
    pub headers: BTreeMap<String, Secret>,
    pub write_buffer_size: u64,
    pub balancer_name: String,
    pub wait_for_ready: bool,
}

impl Validate for Client {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.endpoint.is_empty() {
            at.error("endpoint", "requires a non-empty \"endpoint\"");
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ClientTls {
    pub insecure: bool,
    pub insecure_skip_verify: bool,
    pub server_name_override: String,
    pub ca_file: String,
    pub cert_file: String,
    pub key_file: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Delivery {
    pub timeout: Duration,
    pub sending_queue: Optional<Queue>,
    pub retry_on_failure: Retry,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            sending_queue: Optional::On(Queue::default()),
            retry_on_failure: Retry::default(),
        }
    }
}

impl Validate for Delivery {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("sending_queue", &self.sending_queue);
        at.nested("retry_on_failure", &self.retry_on_failure);
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Queue {
    pub num_consumers: i64,
    pub queue_size: i64,
    pub sizer: Sizer,
    pub block_on_overflow: bool,
    pub storage: Option<String>,
    pub batch: Optional<QueueBatch>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            storage: None,
            batch: Optional::Off,
        }
    }
}

impl Validate for Queue {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.num_consumers <= 0 {
            at.error("num_consumers", "`num_consumers` must be positive");
        }
        if self.queue_size <= 0 {
            at.error("queue_size", "`queue_size` must be positive");
        }
        at.nested("batch", &self.batch);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sizer {
    #[default]
    Requests,
    Items,
    Bytes,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct QueueBatch {
    pub flush_timeout: Duration,
    pub min_size: i64,
    pub max_size: i64,
}

impl Default for QueueBatch {
    fn default() -> Self {
        Self { flush_timeout: Duration::from_millis(200), min_size: 8192, max_size: 0 }
    }
}

impl Validate for QueueBatch {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.flush_timeout.is_zero() {
            at.error("flush_timeout", "`flush_timeout` must be positive");
        }
        if self.max_size > 0 && self.max_size < self.min_size {
            at.error("max_size", "`max_size` must be greater or equal to `min_size`");
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    pub enabled: bool,
    pub initial_interval: Duration,
    pub randomization_factor: f64,
    pub multiplier: f64,
    pub max_interval: Duration,
    pub max_elapsed_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

impl Validate for Retry {
    fn validate(&self, at: &mut Checker<'_>) {
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            at.error("randomization_factor", "'randomization_factor' must be within [0, 1]");
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct File {
    pub path: String,
    pub format: String,
    pub append: bool,
    pub rotation: GivenOnly<Rotation>,
    pub flush_interval: Duration,
}

impl Validate for File {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.path.is_empty() {
            at.error("path", "path must be non-empty");
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Rotation {
    pub max_megabytes: i64,
    pub max_days: i64,
    pub max_backups: i64,
    pub localtime: bool,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct HealthCheck {
    pub endpoint: String,
    pub path: String,
    pub response_body: Option<ResponseBody>,
}

impl Validate for HealthCheck {}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ResponseBody {
    pub healthy: String,
    pub unhealthy: String,
}
