//! What the process uses: time, processor and memory, read from `/proc/self` when the metrics are read.
//!
//! Where the Go collector tells of its runtime, the nearest thing that the kernel knows is told, so that dashboards
//! show what they are meant to show:
//!
//! | metric | here |
//! |---|---|
//! | `…_runtime_heap_alloc_bytes` | resident memory that is not backed by a file |
//! | `…_runtime_total_alloc_bytes` | memory that was ever touched for the first time (minor page faults) |
//! | `…_runtime_total_sys_memory_bytes` | the most memory that was ever resident |
//!
//! Elsewhere than on Linux only the uptime is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::catalogue::process as defs;
use crate::metrics::{Def, Labels, Registration, Registry};

/// How long a reading serves; one scrape asks six times.
const READING_SERVES: Duration = Duration::from_millis(250);

/// Clock ticks per second in `/proc/self/stat`; fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// The kernel's name for the entry of the auxiliary vector that tells the page size.
const AT_PAGESZ: u64 = 6;

/// Keeps the metrics of the process registered.
#[derive(Debug)]
pub struct ProcessMetrics {
    _registrations: [Registration; 6],
}

impl ProcessMetrics {
    /// Registers the metrics. The uptime counts from `started`.
    #[must_use]
    pub fn register(registry: &Registry, started: Instant) -> Self {
        let latest = Arc::new(Latest::default());
        let observe = |def: &'static Def, value: fn(&Usage) -> f64| {
            let latest = Arc::clone(&latest);
            registry.observe(def, &Labels::new(), move || latest.read().as_ref().map_or(f64::NAN, value))
        };
        let uptime = registry.observe(&defs::UPTIME, &Labels::new(), move || started.elapsed().as_secs_f64());
        Self {
            _registrations: [
                uptime,
                observe(&defs::CPU_SECONDS, |usage| usage.cpu_seconds),
                observe(&defs::MEMORY_RSS, |usage| usage.resident_bytes),
                observe(&defs::RUNTIME_HEAP_ALLOC_BYTES, |usage| usage.anonymous_bytes),
                observe(&defs::RUNTIME_TOTAL_ALLOC_BYTES, |usage| usage.faulted_bytes),
                observe(&defs::RUNTIME_TOTAL_SYS_MEMORY_BYTES, |usage| usage.peak_bytes),
            ],
        }
    }
}

/// What a process uses. All are floats, because that is what is exposed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: f64,
    anonymous_bytes: f64,
    peak_bytes: f64,
    faulted_bytes: f64,
}

impl Usage {
    fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let auxv = std::fs::read("/proc/self/auxv").unwrap_or_default();
        Self::parse(&stat, &status, page_size(&auxv))
    }

    /// From the texts of `/proc/self/stat` and `/proc/self/status`.
    fn parse(stat: &str, status: &str, page_size: f64) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024.0)
        };
        let resident_bytes = line("VmRSS")?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            resident_bytes,
            anonymous_bytes: line("RssAnon").unwrap_or(resident_bytes),
            peak_bytes: line("VmHWM").unwrap_or(resident_bytes),
            faulted_bytes: field(10)? * page_size,
        })
    }
}

/// From the bytes of `/proc/self/auxv`: pairs of a name and a value, in the machine's words.
fn page_size(auxv: &[u8]) -> f64 {
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes) as u64;
    let mut pairs = auxv.chunks_exact(2 * WORD).map(|pair| (word(&pair[..WORD]), word(&pair[WORD..])));
    let size = pairs.find(|(name, _)| *name == AT_PAGESZ).map_or(0, |(_, value)| value);
    if size == 0 { 4096.0 } else { size as f64 }
}

/// The latest reading.
#[derive(Default)]
struct Latest {
    reading: Mutex<Option<(Instant, Option<Usage>)>>,
}

impl Latest {
    fn read(&self) -> Option<Usage> {
        let mut latest = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        match *latest {
            Some((at, usage)) if at.elapsed() < READING_SERVES => usage,
            _ => {
                let usage = Usage::now();
                *latest = Some((Instant::now(), usage));
                usage
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Level, Value};

    const STATUS: &str = "Name:\tmillrace\nVmPeak:\t    9000 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1632 kB\n\
                          RssAnon:\t     108 kB\nThreads:\t1\n";

    #[test]
    fn usage_is_read_whatever_the_program_is_called() {
        let stat = "17 (a) b (c) R 1 1 1 0 -1 4194304 102 0 0 0 150 50 0 0 20 0 1 0 190713 3133440 413 1 0";
        let usage = Usage::parse(stat, STATUS, 4096.0).expect("both are well-formed");
        assert_eq!(usage.cpu_seconds, 2.0);
        assert_eq!(usage.resident_bytes, 1632.0 * 1024.0);
        assert_eq!(usage.anonymous_bytes, 108.0 * 1024.0);
        assert_eq!(usage.peak_bytes, 2000.0 * 1024.0);
        assert_eq!(usage.faulted_bytes, 102.0 * 4096.0);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(Usage::parse("", STATUS, 4096.0), None);
        assert_eq!(Usage::parse("1 (a) R 1 2 3", STATUS, 4096.0), None);
        let stat = "17 (a) R 1 1 1 0 -1 4194304 102 0 0 0 150 50";
        assert_eq!(Usage::parse(stat, "VmRSS:\tmany kB\n", 4096.0), None);
    }

    #[test]
    fn the_page_size_is_found_in_the_auxiliary_vector() {
        let auxv: Vec<u8> = [3_usize, 77, 6, 16384, 0, 0].into_iter().flat_map(usize::to_ne_bytes).collect();
        assert_eq!(page_size(&auxv), 16384.0);
        assert_eq!(page_size(&auxv[..5]), 4096.0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen_to_use_something() {
        let registry = Registry::new(Level::Basic);
        let kept = ProcessMetrics::register(&registry, Instant::now());

        let families = registry.snapshot();

        assert_eq!(families.len(), 6);
        for family in families {
            let Value::Number(value) = family.series[0].value else {
                panic!("{} is a number", family.def.name)
            };
            // A test may be over before the first clock tick.
            assert!(value > 0.0 || family.def == &defs::CPU_SECONDS, "{} is {value}", family.def.name);
        }
        drop(kept);
        assert!(registry.snapshot().is_empty());
    }
}
