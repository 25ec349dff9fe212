//! What the kernel knows of a process.

use std::io;
use std::time::Duration;

/// `/proc` counts in USER_HZ, which is 100 on every Linux there is.
const TICK: Duration = Duration::from_millis(10);

/// Processor time used by a process, ended threads included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) kernel: Duration,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) resident: u64,
    /// The most that was ever resident.
    pub(super) peak: u64,
}

impl Cpu {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        parse_stat(&stat)
            .ok_or_else(|| io::Error::other(format!("could not read the times of process {pid}")))
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            kernel: self.kernel.saturating_sub(earlier.kernel),
        }
    }

    pub(super) fn total(self) -> Duration {
        self.user + self.kernel
    }

    /// The kernel's share, 0 to 1.
    pub(super) fn kernel_share(self) -> f64 {
        let total = self.total().as_secs_f64();
        if total > 0.0 { self.kernel.as_secs_f64() / total } else { 0.0 }
    }
}

/// How often the threads of that name have asked the kernel to write something.
pub(super) fn writes(pid: u32, thread: &str) -> io::Result<u64> {
    let mut writes = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // Threads may end meanwhile.
        let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").trim_end() == thread {
            writes += parse_writes(&read("io")).unwrap_or_default();
        }
    }
    Ok(writes)
}

fn parse_writes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("syscw: "))?.parse().ok()
}

impl Memory {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
        };
        match (value("VmRSS:"), value("VmHWM:")) {
            (Some(resident), Some(peak)) => Ok(Self { resident, peak }),
            _ => Err(io::Error::other(format!("process {pid} has ended"))),
        }
    }
}

fn parse_stat(stat: &str) -> Option<Cpu> {
    // The name, in parentheses, may hold spaces and parentheses: count fields after the last one.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = |index: usize| Some(TICK * fields.get(index)?.parse().ok()?);
    Some(Cpu { user: ticks(11)?, kernel: ticks(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_an_awkward_name() {
        let stat = "77 (a) b (c)) S 1 77 77 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 8 0 100 1 2 3";
        let cpu = parse_stat(stat).unwrap();
        assert_eq!((cpu.user.as_millis(), cpu.kernel.as_millis()), (2500, 500));
        assert!((cpu.kernel_share() - 1.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn our_own_memory_can_be_read() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
    }

    #[test]
    fn writes_are_counted_by_thread() {
        let writer = std::thread::Builder::new().name("some-writer".into());
        let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let (told, tell) = std::sync::mpsc::sync_channel(0);
        let thread = writer
            .spawn(move || {
                let mut file = tempfile::tempfile().unwrap();
                for _ in 0..7 {
                    io::Write::write_all(&mut file, b"x").unwrap();
                }
                told.send(()).unwrap();
                let _ = wait.recv();
            })
            .unwrap();
        tell.recv().unwrap();
        let pid = std::process::id();
        assert_eq!((writes(pid, "some-writer").unwrap(), writes(pid, "nobody").unwrap()), (7, 0));
        drop(go);
        thread.join().unwrap();
    }
}
