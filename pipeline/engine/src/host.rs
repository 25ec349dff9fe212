//! What the machine, or the cgroup, grants the process.

use std::fs;
use std::path::Path;

/// The memory that the process may use, in bytes: the smallest limit of its cgroup (v1 or v2), or else what the machine
/// has. `None` where neither can be told.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let machine = machine_memory();
    let cgroup = cgroup_memory();
    match (machine, cgroup) {
        (Some(machine), Some(cgroup)) => Some(machine.min(cgroup)),
        (machine, cgroup) => machine.or(cgroup),
    }
}

fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn cgroup_memory() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = membership.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if controllers.is_empty() {
            limits_upwards("/sys/fs/cgroup", path, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            limits_upwards("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
        } else {
            Vec::new()
        }
    });
    limits.min()
}

/// The limits of a cgroup and of those around it. Within a container the path may not exist below the mount, but the
/// mount's root is then the container's own group.
fn limits_upwards(mount: &str, path: &str, file: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    let mut group = Some(Path::new(path.trim_start_matches('/')));
    while let Some(path) = group {
        let limit = fs::read_to_string(Path::new(mount).join(path).join(file)).ok();
        limits.extend(limit.and_then(|text| text.trim().parse::<u64>().ok()));
        group = path.parent();
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_this_machine_is_told() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
