//! The definitions of the collector's own metrics.
//!
//! [`connector`], [`receiver`], [`exporter`], [`processor`], [`process`] and [`rpc`] hold the Go collector's: names, help texts,
//! units, bounds and levels are those of its release 0.159.0, so that dashboards and alert rules made for it work
//! unchanged. Even its oddities are kept (`Number of log record successfully sent`). [`millrace`] holds our own, which
//! all begin with `otelcol_millrace_`.
//!
//! The labels of each metric are said with it; a component fills them in and keeps the handles.
//!
//! To add one: define it here, in the file of its subject, with [`Def`]'s builders (kind, level, labels), put it into
//! that file's `ALL`, get a handle from the [`Registry`](crate::Registry) where the component is built, and run
//! `just docs`, which writes it into `docs/metrics.md`. What can lose, delay or refuse something also gets a rule in
//! `configs/alerts`.

pub mod connector;
pub mod exporter;
pub mod millrace;
pub mod process;
pub mod processor;
pub mod receiver;
pub mod rpc;

use millrace_wire::Signal;

use crate::metrics::Def;

/// One metric per signal, as the Go collector names them: `…_spans`, `…_metric_points`, `…_log_records`,
/// `…_profile_samples`.
#[derive(Debug)]
pub struct PerSignal {
    defs: [Def; Signal::ALL.len()],
}

impl PerSignal {
    /// The same with these labels and no others.
    const fn labelled(self, labels: &'static [&'static str]) -> Self {
        let [traces, metrics, logs, profiles] = self.defs;
        let defs = [
            traces.labelled(labels),
            metrics.labelled(labels),
            logs.labelled(labels),
            profiles.labelled(labels),
        ];
        Self { defs }
    }

    /// The metric of that signal.
    #[must_use]
    pub const fn of(&'static self, signal: Signal) -> &'static Def {
        match signal {
            Signal::Traces => &self.defs[0],
            Signal::Metrics => &self.defs[1],
            Signal::Logs => &self.defs[2],
            Signal::Profiles => &self.defs[3],
        }
    }

    /// The metrics of all signals.
    #[must_use]
    pub const fn all(&'static self) -> &'static [Def] {
        &self.defs
    }
}

/// Four counters that differ by signal: the start of the name, and what stands before and after the noun in the help.
macro_rules! per_signal {
    ($scope:expr, $name:literal, [$before:literal, $after:literal]) => {
        per_signal!($scope, $name, [$before, $after], "log records")
    };
    ($scope:expr, $name:literal, [$before:literal, $after:literal], $records:literal) => {
        $crate::catalogue::PerSignal {
            defs: [
                per_signal!(@one $scope, $name, "spans", $before, "spans", $after, "{span}"),
                per_signal!(@one $scope, $name, "metric_points", $before, "metric points", $after, "{datapoint}"),
                per_signal!(@one $scope, $name, "log_records", $before, $records, $after, "{record}"),
                per_signal!(@one $scope, $name, "profile_samples", $before, "profile samples", $after, "{sample}"),
            ],
        }
    };
    (@one $scope:expr, $name:literal, $items:literal, $before:literal, $noun:literal, $after:literal, $unit:literal) => {
        $crate::metrics::Def::counter(concat!($name, $items), concat!($before, $noun, $after), $unit).of($scope)
    };
}
use per_signal;

/// Buckets for items per batch.
const ITEM_BOUNDS: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0,
    7000.0, 8000.0, 9000.0, 10000.0, 20000.0, 30000.0, 50000.0, 100000.0,
];

/// Buckets for bytes per batch: powers of two from 128 B to 16 MiB.
const BYTE_BOUNDS: &[f64] = &[
    128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0, 262144.0,
    524288.0, 1048576.0, 2097152.0, 4194304.0, 8388608.0, 16777216.0,
];

/// Every definition of the catalogue.
pub fn all() -> impl Iterator<Item = &'static Def> {
    [connector::ALL, receiver::ALL, exporter::ALL, processor::ALL, process::ALL, rpc::ALL, millrace::ALL]
        .into_iter()
        .flatten()
        .copied()
        .chain(
            [receiver::PER_SIGNAL, exporter::PER_SIGNAL, processor::PER_SIGNAL]
                .into_iter()
                .flatten()
                .flat_map(|per_signal| per_signal.all()),
        )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::Kind;

    #[test]
    fn no_two_definitions_share_a_name() {
        let mut seen = BTreeSet::new();
        for def in all() {
            assert!(seen.insert(def.name), "{} is defined twice", def.name);
        }
        assert!(seen.len() > 60);
    }

    #[test]
    fn bounds_belong_to_histograms_and_ascend() {
        for def in all() {
            assert_eq!(def.kind == Kind::Histogram, !def.bounds.is_empty(), "{}", def.name);
            assert!(
                def.bounds.is_sorted_by(|a, b| a < b) && def.bounds.iter().all(|b| b.is_finite()),
                "{}",
                def.name
            );
        }
    }

    #[test]
    fn every_definition_says_what_it_is() {
        for def in all() {
            assert!(!def.help.is_empty(), "{}", def.name);
            assert!(!def.scope.name.is_empty(), "{}", def.name);
        }
    }

    #[test]
    fn per_signal_names_agree_with_the_signals() {
        for signal in Signal::ALL {
            let def = receiver::ACCEPTED.of(signal);
            assert_eq!(def.name, format!("otelcol_receiver_accepted_{}", signal.items_name()));
        }
    }
}
