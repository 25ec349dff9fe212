//! `service::telemetry::logs`.

use std::collections::BTreeMap;

use millrace_config::{Checker, Duration, Validate};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::processor::Processor;

/// `service::telemetry::logs`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// From which level on lines are written.
    pub level: LogLevel,
    /// Accepted; changes nothing.
    pub development: bool,
    /// How lines are written.
    pub encoding: Encoding,
    /// Leaves out where in the code a line comes from.
    pub disable_caller: bool,
    /// Accepted; there are no stack traces.
    pub disable_stacktrace: bool,
    /// Whether and how lines of the same level and message are sampled.
    pub sampling: Option<Sampling>,
    /// Where lines go: `stderr`, `stdout`, paths of files, or URLs of scheme `file`.
    pub output_paths: Vec<String>,
    /// Where it is said that lines could not be written.
    pub error_output_paths: Vec<String>,
    /// Fields of every line.
    pub initial_fields: BTreeMap<String, serde_json::Value>,
    /// Where they go beside the outputs, by OTLP.
    pub processors: Vec<Processor>,
    /// Leaves out the field `resource`.
    pub disable_zap_resource: bool,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            development: false,
            encoding: Encoding::Console,
            disable_caller: false,
            disable_stacktrace: false,
            sampling: Some(Sampling::default()),
            output_paths: vec!["stderr".to_owned()],
            error_output_paths: vec!["stderr".to_owned()],
            initial_fields: BTreeMap::new(),
            processors: Vec::new(),
            disable_zap_resource: false,
        }
    }
}

impl Validate for LogsConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        at.each("processors", &self.processors);
    }
}

/// `service::telemetry::logs::sampling`: of the lines with the same level and message, the first `initial` of each
/// `tick` are written, and after them every `thereafter`-th.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Without it all lines are written.
    pub enabled: bool,
    /// The interval.
    pub tick: Duration,
    /// How many are written in any case.
    pub initial: u64,
    /// One of how many is written then; 0 for none.
    pub thereafter: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { enabled: true, tick: Duration::from_secs(10), initial: 10, thereafter: 100 }
    }
}

/// The levels of the Go collector's logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// `dpanic`; nothing is logged at this level here.
    #[serde(rename = "dpanic")]
    DevelopmentPanic,
    /// `panic`; nothing is logged at this level here.
    Panic,
    /// `fatal`; nothing is logged at this level here.
    Fatal,
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" | "" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            "dpanic" => Ok(Self::DevelopmentPanic),
            "panic" => Ok(Self::Panic),
            "fatal" => Ok(Self::Fatal),
            _ => Err(D::Error::custom(format!(
                "unknown log level `{name}`\naccepted levels: debug, info, warn, error, dpanic, panic, fatal"
            ))),
        }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `console`: for people.
    Console,
    /// `json`: for programs.
    Json,
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "console" => Ok(Self::Console),
            "json" => Ok(Self::Json),
            _ => {
                Err(D::Error::custom(format!("unknown encoding `{name}`\naccepted encodings: console, json")))
            }
        }
    }
}
