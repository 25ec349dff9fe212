//! Names of metrics and labels for Prometheus, out of OpenTelemetry's.
//!
//! The rules are those of the Go library `prometheus/otlptranslator`, which the Go collector's Prometheus exporters
//! use; the expected values of the tests were recorded from it.

mod label;
mod metric;
mod unit;

use std::borrow::Cow;
use std::fmt;

/// `translation_strategy`: what becomes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// What an old Prometheus cannot read becomes `_`; units and types are appended.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// What an old Prometheus cannot read becomes `_`.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are; units and types are appended.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::UnderscoreEscapingWithSuffixes,
        Self::UnderscoreEscapingWithoutSuffixes,
        Self::NoUtf8EscapingWithSuffixes,
        Self::NoTranslation,
    ];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            Self::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            Self::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            Self::NoTranslation => "NoTranslation",
        }
    }

    const fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    const fn has_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

/// What decides about a metric's suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    /// `_total`, of a monotonic sum.
    Total,
    /// `_ratio`, of a gauge without dimension.
    Ratio,
    /// None but the unit.
    None,
}

/// A name of which nothing is left but underscores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing but underscores would be left of the name")
    }
}

impl std::error::Error for NoName {}

/// The rules under one configuration.
#[derive(Debug, Clone, Default)]
pub struct Names {
    strategy: Strategy,
    namespace: String,
}

impl Names {
    /// Names under a strategy, those of metrics after a `namespace`, which may be empty.
    #[must_use]
    pub fn new(strategy: Strategy, namespace: &str) -> Self {
        Self { strategy, namespace: namespace.to_owned() }
    }

    /// The name of a metric.
    ///
    /// # Errors
    /// Nothing would be left of it.
    pub fn metric(&self, name: &str, unit: &str, suffix: Suffix) -> Result<String, NoName> {
        metric::build(self, name, unit, suffix)
    }

    /// The name of a label.
    ///
    /// # Errors
    /// Nothing would be left of it.
    pub fn label<'n>(&self, name: &'n str) -> Result<Cow<'n, str>, NoName> {
        label::build(self.strategy, name)
    }

    /// The name of the metric that carries the attributes of resources.
    #[must_use]
    pub fn target_info(&self) -> String {
        const NAME: &str = "target_info";
        match self.label(&self.namespace) {
            Ok(namespace) => format!("{namespace}_{NAME}"),
            Err(NoName) => NAME.to_owned(),
        }
    }
}

/// Sorts labels by their names, and makes one of those that have the same: their values are joined by `;`, as
/// OpenTelemetry specifies. To be in the order it specifies, labels come in the order of the attributes they were made of.
pub fn join_labels(labels: &mut Vec<(String, String)>) {
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
    labels.dedup_by(|(name, value), (kept, values)| {
        let is_same = name == kept;
        if is_same {
            values.push(';');
            values.push_str(value);
        }
        is_same
    });
}

fn only_underscores(name: &str) -> bool {
    name.bytes().all(|byte| byte == b'_')
}
