//! `service::telemetry::traces`: spans of the collector's own work.

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unsupported;
use super::processor::{Console, Processor};
use crate::metrics::Level;

/// `service::telemetry::traces`. Off unless there are processors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// `none` makes no spans; all others make them.
    ///
    /// Go: the same; its default is told as `basic`.
    pub level: Level,
    /// How a sender's trace is told: the headers that are read. None by default: every request begins a trace.
    pub propagators: Vec<Propagator>,
    /// When spans are sent, and where to.
    pub processors: Vec<Processor>,
    /// Which traces are recorded. By default all that do not belong to a trace that is not.
    pub sampler: Option<Sampler>,
    /// Refused: there are no limits to set, a span has few attributes.
    pub limits: Unsupported,
}

impl TracesConfig {
    /// Whether spans are made.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.level != Level::None && !self.processors.is_empty()
    }
}

impl Validate for TracesConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        at.each("processors", &self.processors);
        at.nested("sampler", &self.sampler);
        if self.limits.is_given() {
            at.error("limits", "limits of spans cannot be set\nleave this key out");
        }
    }
}

/// Headers that tell of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Propagator {
    /// `traceparent`, by W3C.
    TraceContext,
    /// `b3`, or `x-b3-traceid` and so on, by Zipkin.
    B3,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// By what the parent span was.
    pub parent_based: Option<ParentBased>,
    /// None.
    pub always_off: Option<Console>,
    /// All.
    pub always_on: Option<Console>,
    /// A share, chosen by the trace's id.
    pub trace_id_ratio_based: Option<Ratio>,
    /// Refused.
    pub jaeger_remote: Unsupported,
}

impl Validate for Sampler {
    fn validate(&self, at: &mut Checker<'_>) {
        let Self { parent_based, always_off, always_on, trace_id_ratio_based, jaeger_remote } = self;
        let given = parent_based.is_some()
            || always_off.is_some()
            || always_on.is_some()
            || trace_id_ratio_based.is_some();
        check(at, given, jaeger_remote);
        at.nested("parent_based", parent_based);
        at.nested("trace_id_ratio_based", trace_id_ratio_based);
    }
}

/// `parent_based`: one sampler for traces that begin here, others by what the parent was.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParentBased {
    /// For traces that begin here; all by default.
    pub root: Option<PlainSampler>,
    /// For traces that a sender records; all by default.
    pub remote_parent_sampled: Option<PlainSampler>,
    /// For traces that a sender does not record; none by default.
    pub remote_parent_not_sampled: Option<PlainSampler>,
    /// For spans within one that is recorded; all by default.
    pub local_parent_sampled: Option<PlainSampler>,
    /// For spans within one that is not; none by default.
    pub local_parent_not_sampled: Option<PlainSampler>,
}

impl Validate for ParentBased {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("root", &self.root);
        at.nested("remote_parent_sampled", &self.remote_parent_sampled);
        at.nested("remote_parent_not_sampled", &self.remote_parent_not_sampled);
        at.nested("local_parent_sampled", &self.local_parent_sampled);
        at.nested("local_parent_not_sampled", &self.local_parent_not_sampled);
    }
}

/// A sampler that does not ask for the parent, which has been asked for already.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlainSampler {
    /// None.
    pub always_off: Option<Console>,
    /// All.
    pub always_on: Option<Console>,
    /// A share, chosen by the trace's id.
    pub trace_id_ratio_based: Option<Ratio>,
    /// Refused.
    pub jaeger_remote: Unsupported,
}

impl Validate for PlainSampler {
    fn validate(&self, at: &mut Checker<'_>) {
        let Self { always_off, always_on, trace_id_ratio_based, jaeger_remote } = self;
        let given = always_off.is_some() || always_on.is_some() || trace_id_ratio_based.is_some();
        check(at, given, jaeger_remote);
        at.nested("trace_id_ratio_based", trace_id_ratio_based);
    }
}

fn check(at: &mut Checker<'_>, given: bool, jaeger_remote: &Unsupported) {
    if jaeger_remote.is_given() {
        let advice = "use `trace_id_ratio_based`";
        at.error("jaeger_remote", format!("sampling as a Jaeger server says is not supported\n{advice}"));
    } else if !given {
        at.error_here(
            "a sampler is one of always_on, always_off, trace_id_ratio_based or, not within itself, parent_based\n\
             write `always_on: {}`",
        );
    }
}

/// `trace_id_ratio_based`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ratio {
    /// The share, from 0 to 1; 1 by default.
    pub ratio: Option<f64>,
}

impl Validate for Ratio {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.ratio.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            at.error("ratio", "the share must be from 0 to 1");
        }
    }
}
