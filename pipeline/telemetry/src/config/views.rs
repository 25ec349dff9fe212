//! `service::telemetry::metrics::views`: what becomes of metrics before anybody reads them.

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metrics::IncludeExclude;
use super::processor::Console;

/// One of `views`. A metric that several select is shown once for each.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// Which metrics it is about; needed.
    pub selector: Option<Selector>,
    /// What becomes of them.
    pub stream: Option<Stream>,
}

impl Validate for View {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.selector.as_ref().is_none_or(|selector| *selector == Selector::default()) {
            at.error_here(
                "a view needs a selector that selects something\nset `selector: {instrument_name: …}`",
            );
        }
        let renames = self.stream.as_ref().is_some_and(|stream| stream.name.is_some());
        let name = self.selector.as_ref().and_then(|selector| selector.instrument_name.as_deref());
        if renames && name.is_none_or(|name| name.contains(['*', '?'])) {
            at.error_here("metrics that a pattern selects cannot all have the same name\nleave out `stream::name`, or select one metric");
        }
        at.nested("stream", &self.stream);
    }
}

/// Which metrics a view is about: those that have all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// The name; `*` stands for any text, `?` for any character.
    pub instrument_name: Option<String>,
    /// The kind.
    pub instrument_type: Option<InstrumentType>,
    /// The unit.
    pub unit: Option<String>,
    /// The name of the scope.
    pub meter_name: Option<String>,
    /// The version of the scope.
    pub meter_version: Option<String>,
    /// The schema of the scope.
    pub meter_schema_url: Option<String>,
}

/// The kinds of instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstrumentType {
    /// Counted when something happens.
    Counter,
    /// By bucket.
    Histogram,
    /// A counter that is read when somebody asks.
    ObservableCounter,
    /// A number that is read when somebody asks.
    ObservableGauge,
    /// As `up_down_counter`, read when somebody asks. There are none.
    ObservableUpDownCounter,
    /// Counted up and down when something happens.
    UpDownCounter,
}

/// What becomes of the metrics of a view.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Which labels stay; series that no longer differ are added up.
    pub attribute_keys: Option<IncludeExclude>,
    /// What is kept of the values.
    pub aggregation: Option<Aggregation>,
}

impl Validate for Stream {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("attribute_keys", &self.attribute_keys);
        at.nested("aggregation", &self.aggregation);
    }
}

/// What is kept of the values. If several are given, the first in this order counts, as in the Go collector.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aggregation {
    /// Buckets whose bounds follow the values.
    pub base2_exponential_bucket_histogram: Option<Exponential>,
    /// What there is without a view.
    pub default: Option<Console>,
    /// Nothing: the metric is not collected.
    pub drop: Option<Console>,
    /// Buckets with bounds.
    pub explicit_bucket_histogram: Option<Explicit>,
    /// The latest value.
    pub last_value: Option<Console>,
    /// The sum.
    pub sum: Option<Console>,
}

impl Validate for Aggregation {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("base2_exponential_bucket_histogram", &self.base2_exponential_bucket_histogram);
        at.nested("explicit_bucket_histogram", &self.explicit_bucket_histogram);
    }
}

/// `explicit_bucket_histogram`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Explicit {
    /// Upper bounds, ascending; without any there is one bucket.
    pub boundaries: Vec<f64>,
    /// Whether the least and the greatest value are pushed too.
    pub record_min_max: bool,
}

impl Validate for Explicit {
    fn validate(&self, at: &mut Checker<'_>) {
        let ascend = self.boundaries.is_sorted_by(|a, b| a < b);
        if !ascend || self.boundaries.iter().any(|bound| !bound.is_finite()) {
            at.error("boundaries", "bounds must be finite numbers that ascend");
        }
        if self.boundaries.len() > MAX_BOUNDS {
            at.error("boundaries", format!("at most {MAX_BOUNDS} bounds are possible"));
        }
    }
}

/// Every series has a cell for each, on every worker.
const MAX_BOUNDS: usize = 1000;

/// `base2_exponential_bucket_histogram`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exponential {
    /// How fine the buckets are at most: there are 2 to this power between a number and its double. 20 at most.
    pub max_scale: Option<i32>,
    /// How many buckets there are at most on either side of zero; 160 by default.
    pub max_size: Option<u32>,
    /// Whether the least and the greatest value are pushed too.
    pub record_min_max: bool,
}

impl Validate for Exponential {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.max_scale.is_some_and(|scale| !(-10..=20).contains(&scale)) {
            at.error("max_scale", "must be from -10 to 20");
        }
        if self.max_size.is_some_and(|size| size > MAX_SIZE) {
            at.error("max_size", format!("at most {MAX_SIZE} buckets are possible"));
        }
    }
}

const MAX_SIZE: u32 = 1000;
