//! What the log costs beside a bare loop of appends and fdatasyncs on the same disk.
//!
//! `log_bench DIRECTORY [seconds]`: 64 threads append entries of 71 KB, each waiting until its own is on disk; then a
//! bare loop writes groups of the size that the log had, and syncs each. Then one thread alone, beside one fdatasync.
//! Then 1 GiB that a process has left behind without closing the log, and that is not in the page cache.
#![allow(clippy::print_stdout, reason = "a program for people")]

use bytes::Bytes;
use millrace_log::{Disk, Entry, Log, Next, Options, SystemClock};
use std::fs::OpenOptions;
use std::io::{IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const APPENDERS: usize = 64;
const ENTRY: usize = 71_000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().map(PathBuf::from).ok_or("log_bench DIRECTORY [seconds]")?;
    let time = Duration::from_secs(args.next().map_or(Ok(5), |seconds| seconds.parse())?);
    std::fs::create_dir_all(&directory)?;
    let payload: Bytes = (0..ENTRY).map(|at| (at * 7 + at / 255) as u8).collect::<Vec<_>>().into();

    println!("{APPENDERS} appenders, entries of {ENTRY} bytes, {} s each, twice", time.as_secs());
    println!("{:<28} {:>9} {:>12} {:>12} {:>10}", "", "MB/s", "entries/s", "group", "CPU ms/MB");
    for _ in 0..2 {
        let log = together(&directory, &payload, time)?;
        log.print("log");
        let bare = bare(&directory, &payload, time, log.group.round().max(1.0) as usize)?;
        bare.print("bare append + fdatasync");
        println!("{:<28} {:>8.0}%", "log / bare", 100.0 * log.rate() / bare.rate());
    }

    println!("\none appender, microseconds: p50, p99");
    let [p50, p99] = alone(&directory, &payload, time)?;
    let [bare50, bare99] = bare_alone(&directory, &payload, time)?;
    println!("{:<28} {p50:>9} {p99:>12}", "log");
    println!("{:<28} {bare50:>9} {bare99:>12}", "bare append + fdatasync");

    backlog(&directory, &payload)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Opening and draining what another process has left.
fn backlog(directory: &Path, payload: &Bytes) -> Result<()> {
    const BACKLOG: u64 = 1 << 30;
    let path = directory.join("log");
    let _ = std::fs::remove_dir_all(&path);
    let options = || Options { max_size: 2 * BACKLOG, ..Options::default() };
    let clock = || Arc::new(SystemClock::default());
    let (log, _, mut steps) = Log::open_stepped(Arc::new(Disk::create(&path)?), clock(), options())?;
    for _ in 0..BACKLOG / ENTRY as u64 / 64 {
        for _ in 0..64 {
            let entry = Entry::new(0, 100, vec![payload.clone()]);
            drop(log.append(log.reserve(entry.framed_len())?, entry));
        }
        while steps.write() {}
    }
    // Neither closed nor completed.
    drop((log, steps));
    for file in std::fs::read_dir(&path)? {
        let file = std::fs::File::open(file?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    let idle = resident_kib()?;
    let begun = Instant::now();
    let (log, recovered) = Log::open(&path, options())?;
    let opened = begun.elapsed();
    let consumer = log.consumer("default").ok_or("there is one")?;
    let (mut entries, mut first, mut most) = (0_u64, Duration::ZERO, 0);
    while let Some(delivery) = consumer.read_next()? {
        if entries == 0 {
            first = begun.elapsed();
        }
        entries += 1;
        if entries % 64 == 0 {
            most = most.max(resident_kib()?.saturating_sub(idle));
        }
        consumer.ack(delivery.lease.sequence);
    }
    let took = begun.elapsed();
    println!("\n1 GiB left behind, page cache dropped: {} entries", recovered.held.entries);
    println!("opened after {} ms, first entry after {} ms", opened.as_millis(), first.as_millis());
    let rate = entries as f64 * ENTRY as f64 / 1e6 / took.as_secs_f64();
    println!("drained {entries} entries at {rate:.0} MB/s, at most {} MiB above idle", most / 1024);
    log.close();
    Ok(())
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

struct Run {
    entries: u64,
    group: f64,
    took: Duration,
    cpu: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.megabytes() / self.took.as_secs_f64()
    }

    fn megabytes(&self) -> f64 {
        self.entries as f64 * ENTRY as f64 / 1e6
    }

    fn print(&self, name: &str) {
        let per_second = self.entries as f64 / self.took.as_secs_f64();
        let cpu = self.cpu.as_secs_f64() * 1e3 / self.megabytes();
        println!("{name:<28} {:>9.0} {per_second:>12.0} {:>12.1} {cpu:>10.3}", self.rate(), self.group);
    }
}

/// All at once; what has been appended is acked, so that segments are removed meanwhile.
fn together(directory: &Path, payload: &Bytes, time: Duration) -> Result<Run> {
    let (log, _) = Log::open(&directory.join("log"), Options::default())?;
    let (stop, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let (begun, cpu) = (Instant::now(), cpu());
    std::thread::scope(|scope| {
        for _ in 0..APPENDERS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let entry = Entry::new(0, 100, vec![payload.clone()]);
                    let freed = log.freed();
                    match log.reserve(entry.framed_len()) {
                        Ok(room) => {
                            log.append(room, entry).wait().expect("appended");
                            appended.fetch_add(1, Relaxed);
                        }
                        Err(_) => drop(freed.wait(Duration::from_millis(10))),
                    }
                }
            });
        }
        scope.spawn(|| {
            let consumer = log.consumer("default").expect("there");
            while !stop.load(Relaxed) {
                let ready = consumer.ready();
                while let Next::Held(lease) = consumer.try_next(|_| true) {
                    consumer.ack(lease.sequence);
                }
                ready.wait(Duration::from_millis(10));
            }
        });
        std::thread::park_timeout(time);
        stop.store(true, Relaxed);
    });
    let (took, cpu) = (begun.elapsed(), self::cpu() - cpu);
    let stats = log.stats();
    log.close();
    std::fs::remove_dir_all(directory.join("log"))?;
    let entries = appended.into_inner();
    Ok(Run { entries, group: entries as f64 / stats.commits as f64, took, cpu })
}

/// The same bytes in groups of the same size, without anything else.
fn bare(directory: &Path, payload: &Bytes, time: Duration, group: usize) -> Result<Run> {
    let path = directory.join("bare");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let (begun, cpu) = (Instant::now(), cpu());
    let mut entries = 0;
    while begun.elapsed() < time {
        let mut slices = vec![IoSlice::new(payload); group];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let some = slices.len().min(1024);
            let written = file.write_vectored(&slices[..some])?;
            IoSlice::advance_slices(&mut slices, written);
        }
        file.sync_data()?;
        entries += group as u64;
    }
    let run = Run { entries, group: group as f64, took: begun.elapsed(), cpu: self::cpu() - cpu };
    std::fs::remove_file(path)?;
    Ok(run)
}

fn alone(directory: &Path, payload: &Bytes, time: Duration) -> Result<[u128; 2]> {
    let (log, _) = Log::open(&directory.join("log"), Options::default())?;
    let consumer = log.consumer("default").ok_or("there is one")?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let entry = Entry::new(0, 100, vec![payload.clone()]);
        let begun = Instant::now();
        let room = log.reserve(entry.framed_len())?;
        let appended = log.append(room, entry).wait()?;
        took.push(begun.elapsed().as_micros());
        consumer.try_next(|_| true);
        consumer.ack(appended.sequence);
    }
    log.close();
    Ok(percentiles(took))
}

fn bare_alone(directory: &Path, payload: &Bytes, time: Duration) -> Result<[u128; 2]> {
    let path = directory.join("bare");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let begun = Instant::now();
        file.write_all(payload)?;
        file.sync_data()?;
        took.push(begun.elapsed().as_micros());
    }
    Ok(percentiles(took))
}

fn percentiles(mut took: Vec<u128>) -> [u128; 2] {
    took.sort_unstable();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

/// The processor time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
