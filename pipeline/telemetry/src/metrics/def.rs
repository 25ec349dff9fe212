//! What a metric is: its name, help, unit, kind, and from which level it is collected.

use schemars::JsonSchema;
use serde::Serialize;

/// How much the collector tells about itself; `service::telemetry::metrics::level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is collected and nothing is served.
    None,
    /// What is needed to see whether the collector works.
    Basic,
    /// Also what is useful for tuning.
    #[default]
    Normal,
    /// Also what costs something to collect or has many series.
    Detailed,
}

impl Level {
    /// The spelling used in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Normal => "normal",
            Self::Detailed => "detailed",
        }
    }
}

/// What is promised about a metric; the help text ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// May vanish at any time.
    Development,
    /// May change between releases.
    Alpha,
    /// Changes only with notice.
    Beta,
    /// Does not change within a major version.
    Stable,
    /// Defined by the semantic conventions of an instrumentation library; the help text is left as it is.
    Unmarked,
}

impl Stability {
    /// What the help text ends with, e.g. ` [Alpha]`.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Development => " [Development]",
            Self::Alpha => " [Alpha]",
            Self::Beta => " [Beta]",
            Self::Stable => " [Stable]",
            Self::Unmarked => "",
        }
    }
}

/// What is counted and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number that only grows.
    Counter,
    /// A number that only grows.
    CounterF64,
    /// A whole number that grows and shrinks by what is added; a gauge on the wire.
    UpDown,
    /// A number that is set.
    Gauge,
    /// Numbers by bucket.
    Histogram,
}

impl Kind {
    /// Whether the metric is a counter on the wire.
    #[must_use]
    pub const fn is_monotonic(self) -> bool {
        matches!(self, Self::Counter | Self::CounterF64)
    }
}

/// Who defines a metric; labels of every series when `without_scope_info` is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// `otel_scope_name`.
    pub name: &'static str,
    /// `otel_scope_version`.
    pub version: &'static str,
    /// `otel_scope_schema_url`.
    pub schema_url: &'static str,
}

impl Scope {
    /// A scope with a name only, as those of the Go collector's components are.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self { name, version: "", schema_url: "" }
    }
}

/// The bounds of a histogram that names none, as in the OpenTelemetry SDKs.
pub const DEFAULT_BOUNDS: &[f64] =
    &[0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

/// The definition of a metric. Kept in a `static`; two definitions never share a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Def {
    /// The whole name as an OpenTelemetry instrument, e.g. `otelcol_receiver_accepted_spans` or
    /// `http.server.request.duration`; what is exposed follows from it and the reader's options.
    pub name: &'static str,
    /// The description, without the stability.
    pub help: &'static str,
    /// The UCUM unit, e.g. `By`, `s`, `{span}`.
    pub unit: &'static str,
    /// What is promised about it.
    pub stability: Stability,
    /// The level from which it is collected.
    pub level: Level,
    /// What is counted and how.
    pub kind: Kind,
    /// Upper bounds of a histogram's buckets, ascending, finite, inclusive; empty for other kinds.
    pub bounds: &'static [f64],
    /// Who defines it.
    pub scope: Scope,
    /// The labels that its series may have.
    pub labels: &'static [&'static str],
}

impl Def {
    /// A counter of whole numbers: alpha, level basic, of our own scope.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            help,
            unit,
            stability: Stability::Alpha,
            level: Level::Basic,
            kind: Kind::Counter,
            bounds: &[],
            scope: Scope::named("millrace"),
            labels: &[],
        }
    }

    /// A counter of fractions, otherwise as [`counter`](Self::counter).
    #[must_use]
    pub const fn counter_f64(name: &'static str, help: &'static str, unit: &'static str) -> Self {
        Self { kind: Kind::CounterF64, ..Self::counter(name, help, unit) }
    }

    /// A number that goes up and down, otherwise as [`counter`](Self::counter).
    #[must_use]
    pub const fn updown(name: &'static str, help: &'static str, unit: &'static str) -> Self {
        Self { kind: Kind::UpDown, ..Self::counter(name, help, unit) }
    }

    /// A number that is set, otherwise as [`counter`](Self::counter).
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, unit: &'static str) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, help, unit) }
    }

    /// A histogram with [`DEFAULT_BOUNDS`], otherwise as [`counter`](Self::counter).
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str, unit: &'static str) -> Self {
        Self { kind: Kind::Histogram, bounds: DEFAULT_BOUNDS, ..Self::counter(name, help, unit) }
    }

    /// The same with other bounds.
    #[must_use]
    pub const fn with_bounds(self, bounds: &'static [f64]) -> Self {
        Self { bounds, ..self }
    }

    /// The same from another level.
    #[must_use]
    pub const fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The same with another promise.
    #[must_use]
    pub const fn stability(self, stability: Stability) -> Self {
        Self { stability, ..self }
    }

    /// The same with these labels and no others.
    #[must_use]
    pub const fn labelled(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// The same of another scope.
    #[must_use]
    pub const fn of(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}
