//! The section `exporters::debug`.

use millrace_config::{Checker, Optional, Validate};
use millrace_delivery::QueueConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The debug exporter's configuration.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much is said.
    pub verbosity: Verbosity,
    /// How many of the same messages are said each second.
    pub sampling_initial: u64,
    /// Of those beyond, every how many-eth is said; 0 for none.
    pub sampling_thereafter: u64,
    /// Say it in the collector's own logs.
    pub use_internal_logger: bool,
    /// Where else: `stdout`, `stderr` or files; `stdout` if not given.
    pub output_paths: Option<Vec<String>>,
    /// Requests wait here; off unless the key is present.
    pub sending_queue: Optional<QueueConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Basic,
            sampling_initial: 2,
            sampling_thereafter: 1,
            use_internal_logger: true,
            output_paths: None,
            sending_queue: Optional::Off,
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        match &self.output_paths {
            Some(_) if self.use_internal_logger => at.error(
                "output_paths",
                "is not supported when `use_internal_logger` is true\nset `use_internal_logger: false`, or remove this key",
            ),
            Some(paths) if paths.is_empty() => {
                at.error("output_paths", "must not be empty when `use_internal_logger` is false");
            }
            _ => {}
        }
        at.nested("sending_queue", &self.sending_queue);
    }
}

/// `verbosity`, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
#[schemars(extend("enum" = ["basic", "normal", "detailed"]))]
pub enum Verbosity {
    /// A line per request, with counts.
    Basic,
    /// And a line per resource, scope and item.
    Normal,
    /// And every field.
    Detailed,
}

impl TryFrom<String> for Verbosity {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "basic" => Ok(Self::Basic),
            "normal" => Ok(Self::Normal),
            "detailed" => Ok(Self::Detailed),
            _ => Err(format!(
                "verbosity level `{name}` is not supported\naccepted values: basic, normal, detailed"
            )),
        }
    }
}
