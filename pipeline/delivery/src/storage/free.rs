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

/// Said while there is little room left on the disk.
pub const NEARLY_FULL: &str = "the disk is nearly full, and its last part is left to others; make room on it";

/// Whether so little is left of the file system of a path that it is left to others. What cannot be told is enough.
#[must_use]
pub fn is_nearly_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|found| {
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        leaves_too_little(bytes(found.f_bavail), bytes(found.f_blocks))
    })
}

fn leaves_too_little(available: u64, whole: u64) -> bool {
    available < (whole / SHARE).min(ENOUGH)
}

/// One that is asked at every request.
pub(crate) struct Free {
    path: PathBuf,
    created: Instant,
    /// When to look again, in milliseconds since `created`.
    due_ms: AtomicU64,
    is_low: AtomicBool,
}

impl Free {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            created: Instant::now(),
            due_ms: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
        }
    }

    /// Whether less than that is left. Looks at most twice a second; what cannot be told is enough.
    pub(crate) fn is_low(&self) -> bool {
        let now_ms = self.created.elapsed().as_millis() as u64;
        let due_ms = self.due_ms.load(Relaxed);
        if now_ms >= due_ms {
            let next = now_ms + LOOK.as_millis() as u64;
            if self.due_ms.compare_exchange(due_ms, next, Relaxed, Relaxed).is_ok() {
                self.is_low.store(is_nearly_full(&self.path), Relaxed);
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

    #[test]
    fn a_twentieth_is_left_to_others_and_no_more_than_a_gib() {
        for (available, whole, is_too_little) in [
            (50, 1000, false),
            (49, 1000, true),
            (ENOUGH, 100 * ENOUGH, false),
            (ENOUGH - 1, 100 * ENOUGH, true),
        ] {
            assert_eq!(leaves_too_little(available, whole), is_too_little, "{available} of {whole}");
        }
    }
}
