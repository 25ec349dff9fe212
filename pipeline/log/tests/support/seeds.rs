//! Which schedules a test of random ones runs.

use std::ops::Range;
use std::panic::catch_unwind;

/// Those to be run instead of the usual ones: `MILLRACE_SEEDS=131` or `MILLRACE_SEEDS=0..10000`.
const SEEDS: &str = "MILLRACE_SEEDS";

/// Runs a test with each seed, and names all with which it fails.
pub fn each_seed(usual: Range<u64>, test: fn(u64)) {
    let seeds = match std::env::var(SEEDS) {
        Ok(seeds) => {
            parse(&seeds).unwrap_or_else(|| panic!("{SEEDS} is to be a number or FROM..TO: {seeds}"))
        }
        Err(_) => usual,
    };
    let failed: Vec<u64> = seeds.filter(|seed| catch_unwind(|| test(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "failed with the seeds {failed:?}");
}

fn parse(seeds: &str) -> Option<Range<u64>> {
    match seeds.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => seeds.parse().ok().map(|seed| seed..seed + 1),
    }
}
