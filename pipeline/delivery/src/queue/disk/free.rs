//! How full the file system is: the last of it is left to others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The share of the file system that is left free, but no more than [`ENOUGH`].
const SHARE: u64 = 20;
/// What is enough for others, in bytes.
const ENOUGH: u64 = 1 << 30;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct Free {
    path: PathBuf,
    created: Instant,
    /// When to look again, in milliseconds since `created`.
    due_ms: AtomicU64,
    is_low: AtomicBool,
}

impl Free {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            created: Instant::now(),
            due_ms: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
        }
    }

    /// Whether less than that is left. Looks at most twice a second; what cannot be told is enough.
    pub(super) fn is_low(&self) -> bool {
        let now_ms = self.created.elapsed().as_millis() as u64;
        let due_ms = self.due_ms.load(Relaxed);
        if now_ms >= due_ms {
            let next = now_ms + LOOK.as_millis() as u64;
            if self.due_ms.compare_exchange(due_ms, next, Relaxed, Relaxed).is_ok() {
                let low = rustix::fs::statvfs(&self.path).is_ok_and(|found| {
                    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                    bytes(found.f_bavail) < (bytes(found.f_blocks) / SHARE).min(ENOUGH)
                });
                self.is_low.store(low, Relaxed);
            }
        }
        self.is_low.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_enough() {
        assert!(!Free::of(Path::new("/nowhere/at/all")).is_low());
    }
}
