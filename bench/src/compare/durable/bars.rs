//! What is asked of queues on disk, beside what was measured.

use crate::compare::results::{CaseResult, Results};
use std::fmt::Write as _;

const OURS: &str = "millrace";
const GO: &str = "otelcol (Go)";
const BARE: &str = "bare loop";

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Bar {
    /// Ours over theirs, at most.
    RatioAtMost { other: &'static str, most: f64 },
    /// Ours over theirs, at least.
    RatioAtLeast { other: &'static str, least: f64 },
    /// Ours less theirs, at most.
    OverAtMost { other: &'static str, most: f64 },
    /// Ours, at most.
    AtMost { most: f64 },
}

/// A bar of one case.
#[derive(Debug)]
struct Asked {
    /// The beginning of the case's name.
    case: &'static str,
    measure: &'static str,
    what: &'static str,
    unit: &'static str,
    bar: Bar,
}

use Bar::{AtMost, OverAtMost, RatioAtLeast, RatioAtMost};

const BARS: &[Asked] = &[
    Asked {
        case: "durable-",
        measure: "cpu_us_per_item",
        what: "CPU per span on disk, over Go's in memory",
        unit: "×",
        bar: RatioAtMost { other: GO, most: 0.25 },
    },
    Asked {
        case: "stored-64-",
        measure: "acked_per_second",
        what: "acked per second, over a bare loop",
        unit: "×",
        bar: RatioAtLeast { other: BARE, least: 0.6 },
    },
    Asked {
        case: "stored-64-synced",
        measure: "acked_per_second",
        what: "acked per second, over Go's with fsync",
        unit: "×",
        bar: RatioAtLeast { other: GO, least: 20.0 },
    },
    Asked {
        case: "stored-64-unsynced",
        measure: "acked_per_second",
        what: "acked per second, over Go's without fsync",
        unit: "×",
        bar: RatioAtLeast { other: GO, least: 4.0 },
    },
    Asked {
        case: "stored-1",
        measure: "p50_ms",
        what: "p50 of one at a time, beyond a bare fdatasync's",
        unit: " ms",
        bar: OverAtMost { other: BARE, most: 1.0 },
    },
    Asked {
        case: "stored-1",
        measure: "p99_ms",
        what: "p99 of one at a time, beyond a bare fdatasync's",
        unit: " ms",
        bar: OverAtMost { other: BARE, most: 1.0 },
    },
    Asked {
        case: "backlog",
        measure: "serving_ms",
        what: "from start to a first request acked",
        unit: " ms",
        bar: AtMost { most: 1000.0 },
    },
    Asked {
        case: "backlog",
        measure: "draining_over_idle_mib",
        what: "most memory over idle while draining",
        unit: " MiB",
        bar: AtMost { most: 64.0 },
    },
    Asked {
        case: "backlog",
        measure: "missing_items",
        what: "acked and lost",
        unit: "",
        bar: AtMost { most: 0.0 },
    },
];

/// The table of all bars for which there is something measured, and whether all of them hold; none without such bars.
pub(in crate::compare) fn table(results: &Results) -> Option<(String, bool)> {
    let (mut text, mut all_hold) = (String::from("\nqueues on disk: asked and measured\n"), true);
    let mut rows = 0;
    for case in &results.cases {
        for asked in BARS.iter().filter(|asked| case.name().starts_with(asked.case)) {
            let Some((measured, holds)) = asked.measured(case) else { continue };
            let (sign, bound) = asked.bound();
            let verdict = if holds { "holds" } else { "missed" };
            let (unit, what) = (asked.unit, asked.what);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {:<26}{what:<50}{:>12}{:>14}  {verdict}",
                case.name(),
                format!("{sign} {bound}{unit}"),
                format!("{measured:.2}{unit}"),
            );
            all_hold &= holds;
            rows += 1;
        }
    }
    (rows > 0).then(|| (text.trim_end().to_owned(), all_hold))
}

impl Asked {
    /// What was measured, and whether that is good enough; none where somebody whom it takes did not play.
    fn measured(&self, case: &CaseResult) -> Option<(f64, bool)> {
        let of = |contender| case.median(contender, self.measure);
        let ours = of(OURS)?;
        let measured = match self.bar {
            RatioAtMost { other, .. } | RatioAtLeast { other, .. } => {
                ours / of(other).filter(|theirs| *theirs > 0.0)?
            }
            OverAtMost { other, .. } => ours - of(other)?,
            AtMost { .. } => ours,
        };
        let (sign, bound) = self.bound();
        Some((measured, if sign == "≤" { measured <= bound } else { measured >= bound }))
    }

    fn bound(&self) -> (&'static str, f64) {
        match self.bar {
            RatioAtMost { most, .. } | OverAtMost { most, .. } | AtMost { most } => ("≤", most),
            RatioAtLeast { least, .. } => ("≥", least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::Turn;
    use crate::compare::{Args, case};
    use clap::Parser as _;

    /// A case with one measure of each contender.
    fn result(name: &str, measure: &'static str, values: &[(&'static str, f64)]) -> CaseResult {
        let case = case::all().into_iter().find(|case| case.name == name).expect("there is such a case");
        let mut result = CaseResult::new(&case, values.iter().map(|(contender, _)| *contender));
        for (player, (_, value)) in values.iter().enumerate() {
            let mut turn = Turn::default();
            turn.set(measure, *value);
            result.add(player, turn);
        }
        result
    }

    fn table_of(cases: Vec<CaseResult>) -> Option<(String, bool)> {
        let mut results = Results::new(&Args::parse_from(["millrace-compare"]));
        results.cases = cases;
        table(&results)
    }

    #[test]
    fn a_bar_holds_or_is_missed() {
        let case = |ours| result("stored-64-synced", "acked_per_second", &[(OURS, ours), (GO, 10.0)]);

        let (text, holds) = table_of(vec![case(200.0)]).expect("a bar");
        assert!(holds && text.contains("≥ 20×") && text.contains("20.00×  holds"), "{text}");

        let (text, holds) = table_of(vec![case(200.0), case(199.0)]).expect("bars");
        assert!(!holds && text.contains("19.90×  missed"), "{text}");
    }

    #[test]
    fn a_delay_is_beyond_that_of_the_bare_loop() {
        let case = |ours| result("stored-1", "p50_ms", &[(OURS, ours), (BARE, 3.0)]);
        assert!(table_of(vec![case(3.5)]).expect("a bar").1);
        assert!(!table_of(vec![case(4.5)]).expect("a bar").1);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(table_of(vec![result("stored-64-synced", "acked_per_second", &[(OURS, 1.0)])]), None);
        assert_eq!(table_of(vec![result("idle", "rss_mib", &[(OURS, 1.0)])]), None);
    }
}
