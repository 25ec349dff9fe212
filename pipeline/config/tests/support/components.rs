//! The typed configurations of the components in the test catalogue.

use std::collections::BTreeMap;

use millrace_config::{Checker, Duration, GivenOnly, Optional, Secret, Validate, parts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
