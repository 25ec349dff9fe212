//! Turns, their medians and ranges, and the tables made of them.

use super::Args;
use super::case::{Case, Kind, Relay};
use crate::loadgen::FailedCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// What one turn measured, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Turn {
    measured: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Turn {
    pub(super) fn set(&mut self, name: &'static str, value: f64) {
        self.measured.insert(name, value);
    }

    /// Keeps what was said in refusals.
    pub(super) fn note(&mut self, codes: &BTreeMap<String, FailedCode>, what: &str) {
        self.notes.extend(
            codes.iter().map(|(code, seen)| format!("{what} {} × {code}: {}", seen.count, seen.example)),
        );
    }
}

/// The turns of one contender at one case.
#[derive(Debug, Clone, Serialize)]
pub struct ContenderResult {
    name: &'static str,
    turns: Vec<Turn>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    median: BTreeMap<&'static str, f64>,
}

/// All contenders at one case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    name: &'static str,
    about: &'static str,
    #[serde(skip)]
    columns: &'static [Column],
    contenders: Vec<ContenderResult>,
}

/// Everything, with what is needed to read it.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    machine: String,
    cores: usize,
    rounds: usize,
    warmup_s: f64,
    measure_s: f64,
    /// Whether a bar of queues on disk was missed.
    #[serde(skip)]
    pub missed: bool,
    pub(super) cases: Vec<CaseResult>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    name: &'static str,
    heading: &'static str,
    decimals: usize,
    /// Multiplies the value before it is shown.
    scale: f64,
    /// Whether the range is shown beside the median, and the ratio to the first contender.
    is_main: bool,
}

const fn column(name: &'static str, heading: &'static str, decimals: usize) -> Column {
    Column { name, heading, decimals, scale: 1.0, is_main: false }
}

const RELAY: &[Column] = &[
    Column { is_main: true, ..column("cpu_us_per_item", "CPU µs/item", 3) },
    Column { scale: 100.0, ..column("kernel_share", "kernel %", 0) },
    column("cores", "cores", 2),
    Column { scale: 1e-3, ..column("items_per_second", "k items/s", 0) },
    column("p50_ms", "p50 ms", 1),
    column("p99_ms", "p99 ms", 1),
    column("rss_mib", "RSS MiB", 0),
    column("peak_rss_mib", "peak MiB", 0),
    column("in_bytes_per_item", "B/item in", 0),
    column("out_bytes_per_item", "B/item out", 0),
    column("not_acked_requests", "not acked", 0),
    column("acked_not_arrived", "lost", 0),
];
const DURABLE: &[Column] = &[
    Column { is_main: true, ..column("cpu_us_per_item", "CPU µs/item", 3) },
    Column { scale: 100.0, ..column("kernel_share", "kernel %", 0) },
    column("cores", "cores", 2),
    Column { scale: 1e-3, ..column("items_per_second", "k items/s sent", 0) },
    column("p50_ms", "p50 ms", 1),
    column("p99_ms", "p99 ms", 1),
    column("rss_mib", "RSS MiB", 0),
    column("peak_rss_mib", "peak MiB", 0),
    Column { scale: 1e-3, ..column("behind_items", "k behind", 1) },
    column("drain_ms", "drained ms", 0),
    column("not_acked_requests", "not acked", 0),
    column("acked_not_arrived", "lost", 0),
];
const IDLE: &[Column] = &[
    Column { is_main: true, ..column("rss_mib", "RSS MiB", 1) },
    column("peak_rss_mib", "peak MiB", 1),
    column("ready_ms", "ready ms", 0),
    column("start_cpu_ms", "start CPU ms", 0),
    column("rest_cpu_ms_per_s", "CPU ms/s at rest", 1),
];
const OVERLOAD: &[Column] = &[
    Column { is_main: true, ..column("peak_rss_mib", "peak RSS MiB", 0) },
    column("idle_rss_mib", "idle MiB", 0),
    column("rss_after_mib", "after MiB", 0),
    Column { scale: 1e-3, ..column("offered_items", "k offered", 0) },
    Column { scale: 1e-3, ..column("acked_items", "k acked", 0) },
    column("missing_items", "acked, lost", 0),
    column("duplicate_items", "duplicates", 0),
    column("retried_requests", "retries", 0),
    column("failed_requests", "failed", 0),
    Column { scale: 100.0, ..column("destination_use", "destination %", 0) },
    column("drain_s", "drain s", 1),
    column("p99_ms", "p99 ms", 0),
];
const CROWD: &[Column] = &[
    Column { is_main: true, ..column("peak_rss_mib", "peak RSS MiB", 0) },
    column("idle_rss_mib", "alone MiB", 0),
    column("rss_mib", "with crowd MiB", 0),
    column("open", "still open", 0),
    column("opened_s", "opened in s", 1),
    column("p99_alone_ms", "p99 alone ms", 1),
    column("p99_ms", "p99 beside ms", 1),
    Column { scale: 1e-3, ..column("items_per_second", "k items/s", 1) },
    column("not_acked_requests", "not acked", 0),
];

const STORED: &[Column] = &[
    Column { is_main: true, scale: 1e-3, ..column("acked_per_second", "k items/s acked", 1) },
    column("mb_per_second", "MB/s", 1),
    column("p50_ms", "p50 ms", 2),
    column("p99_ms", "p99 ms", 2),
    column("per_sync", "per sync", 1),
    column("cores", "cores", 2),
    column("load_cores", "load", 2),
    column("sink_cores", "sink", 2),
    Column { scale: 1e-3, ..column("behind_items", "k behind", 0) },
    column("not_acked_requests", "not acked", 0),
    column("peak_rss_mib", "peak MiB", 0),
];
const BACKLOG: &[Column] = &[
    Column { is_main: true, ..column("serving_ms", "serving ms", 0) },
    column("ready_ms", "ready ms", 0),
    column("first_ack_ms", "first ack ms", 0),
    column("idle_rss_mib", "idle MiB", 1),
    column("filling_over_idle_mib", "filling +MiB", 1),
    column("draining_over_idle_mib", "draining +MiB", 1),
    column("backlog_mib", "backlog MiB", 0),
    column("fill_mib_per_second", "filled MiB/s", 0),
    column("drain_mib_per_second", "drained MiB/s", 0),
    column("missing_items", "acked, lost", 0),
    column("duplicate_items", "duplicates", 0),
];

impl Results {
    pub(super) fn new(args: &Args) -> Self {
        let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map(|(_, name)| name);
        Self {
            machine: model.unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            rounds: args.rounds,
            warmup_s: args.warmup,
            measure_s: args.measure,
            missed: false,
            cases: Vec::new(),
        }
    }

    pub(super) fn heading(&self) -> String {
        format!(
            "{} cores of {}; {} rounds by turns, {} s warm-up, {} s measured; median [range] (ratio to the first)",
            self.cores, self.machine, self.rounds, self.warmup_s, self.measure_s
        )
    }
}

impl CaseResult {
    pub(super) fn new(case: &Case, players: impl Iterator<Item = &'static str>) -> Self {
        let columns = match case.kind {
            Kind::Relay(Relay { durable: true, .. }) => DURABLE,
            Kind::Relay(_) => RELAY,
            Kind::Idle => IDLE,
            Kind::Overload(_) => OVERLOAD,
            Kind::Crowd(_) => CROWD,
            Kind::Stored(_) => STORED,
            Kind::Backlog => BACKLOG,
        };
        let contender =
            |name| ContenderResult { name, turns: Vec::new(), errors: Vec::new(), median: BTreeMap::new() };
        Self { name: case.name, about: case.about, columns, contenders: players.map(contender).collect() }
    }

    pub(super) fn add(&mut self, player: usize, turn: Turn) {
        let contender = &mut self.contenders[player];
        contender.turns.push(turn);
        let names: Vec<_> = contender.turns[0].measured.keys().copied().collect();
        contender.median = names.into_iter().map(|name| (name, median(&contender.values(name)))).collect();
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The median of what was measured of that contender.
    pub(super) fn median(&self, contender: &str, measure: &str) -> Option<f64> {
        let contender = self.contenders.iter().find(|result| result.name == contender)?;
        contender.median.get(measure).copied()
    }

    /// What was measured with the first contender that had it measured.
    pub(super) fn of_any(&self, measure: &str) -> Option<f64> {
        self.contenders.iter().find_map(|contender| contender.median.get(measure).copied())
    }

    pub(super) fn fail(&mut self, player: usize, error: &dyn std::fmt::Display) {
        self.contenders[player].errors.push(error.to_string());
    }

    /// The table that is printed: a row per contender, the main column with its range and ratio.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![self.columns.iter().map(|column| column.heading.to_owned()).collect::<Vec<_>>()];
        let main = self.columns.iter().find(|column| column.is_main).map_or("", |column| column.name);
        let base = self.contenders.first().and_then(|first| first.median.get(main)).copied();
        for contender in &self.contenders {
            rows.push(self.columns.iter().map(|column| contender.cell(column, base)).collect());
        }
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("\n{}: {}\n", self.name, self.about);
        let names = std::iter::once("").chain(self.contenders.iter().map(|contender| contender.name));
        for (name, row) in names.zip(&rows) {
            // Writing to a String cannot fail.
            let _ = write!(text, "  {name:<18}");
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        for contender in &self.contenders {
            let notes = contender.turns.iter().flat_map(|turn| &turn.notes);
            for note in notes.chain(&contender.errors) {
                let _ = writeln!(text, "  {}: {note}", contender.name);
            }
        }
        text.trim_end().to_owned()
    }
}

impl ContenderResult {
    fn values(&self, name: &str) -> Vec<f64> {
        self.turns.iter().filter_map(|turn| turn.measured.get(name)).copied().collect()
    }

    fn cell(&self, column: &Column, base: Option<f64>) -> String {
        let Some(&median) = self.median.get(column.name) else { return "-".into() };
        let (shown, decimals) = (median * column.scale, column.decimals);
        if !column.is_main {
            return format!("{shown:.decimals$}");
        }
        let values = self.values(column.name);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min) * column.scale;
        let high = values.iter().copied().fold(0.0, f64::max) * column.scale;
        let ratio = base.filter(|base| *base > 0.0).map_or(1.0, |base| median / base);
        if values.len() == 1 {
            return format!("{shown:.decimals$} ({ratio:.2}×)");
        }
        format!("{shown:.decimals$} [{low:.decimals$}–{high:.decimals$}] ({ratio:.2}×)")
    }
}

/// The middle value, or the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_table_shows_range_ratio_and_failures() {
        // given: two turns of one contender, and another that could not start
        let case = super::super::case::all().remove(0);
        let mut result = CaseResult::new(&case, ["ours", "theirs", "broken"].into_iter());
        for (player, cost) in [(0, 0.5), (1, 2.0), (0, 0.7), (1, 2.2)] {
            let mut turn = Turn::default();
            turn.set("cpu_us_per_item", cost);
            result.add(player, turn);
        }
        result.fail(2, &"could not start");

        let table = result.table();

        assert!(table.contains("0.600 [0.500–0.700] (1.00×)"), "{table}");
        assert!(table.contains("2.100 [2.000–2.200] (3.50×)"), "{table}");
        assert!(table.contains("broken: could not start"), "{table}");
    }
}
