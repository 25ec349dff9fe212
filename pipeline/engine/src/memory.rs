//! The section `memory_limiter`, as the processor and the extension of that name have it.

use crate::host;
use millrace_config::{Checker, Duration, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The memory limiter's configuration.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Must be set, as in Go; the budget here is exact at every moment and is not checked at intervals.
    pub check_interval: Duration,
    /// The limit, in MiB; wins over the percentage.
    pub limit_mib: u32,
    /// What is kept free below the limit, in MiB; a fifth of it unless set.
    pub spike_limit_mib: u32,
    /// The limit, as a share of the memory that the cgroup or the machine has.
    pub limit_percentage: u32,
    /// What is kept free, as a share of the same.
    pub spike_limit_percentage: u32,
    /// Accepted for compatibility: there is no garbage collector to wait for.
    pub min_gc_interval_when_soft_limited: Duration,
    /// Accepted for compatibility.
    pub min_gc_interval_when_hard_limited: Duration,
    /// Accepted for compatibility.
    pub max_gc_interval_when_soft_limited: Duration,
    /// Accepted for compatibility.
    pub max_gc_interval_when_hard_limited: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::ZERO,
            limit_mib: 0,
            spike_limit_mib: 0,
            limit_percentage: 0,
            spike_limit_percentage: 0,
            min_gc_interval_when_soft_limited: Duration::from_secs(10),
            min_gc_interval_when_hard_limited: Duration::ZERO,
            max_gc_interval_when_soft_limited: Duration::from_secs(30),
            max_gc_interval_when_hard_limited: Duration::from_secs(30),
        }
    }
}

/// How much memory telemetry may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What arriving requests may hold, in bytes: the limit less the spike.
    pub intake_bytes: u64,
    /// What passing on may hold, in bytes: the spike.
    pub work_bytes: u64,
}

impl Limits {
    /// A fifth is kept free.
    #[must_use]
    pub fn of(limit_bytes: u64) -> Self {
        Self { intake_bytes: limit_bytes - limit_bytes / 5, work_bytes: limit_bytes / 5 }
    }
}

impl Config {
    /// The limits in bytes, given what the cgroup or the machine has. `None` when a percentage is given of an amount
    /// that cannot be told.
    #[must_use]
    pub fn limits(&self, memory_bytes: Option<u64>) -> Option<Limits> {
        let (limit, spike) = if self.limit_mib > 0 {
            (mib(self.limit_mib), mib(self.spike_limit_mib))
        } else {
            let memory = memory_bytes?;
            let share = |percentage: u32| (u128::from(memory) * u128::from(percentage) / 100) as u64;
            (share(self.limit_percentage), share(self.spike_limit_percentage))
        };
        if spike == 0 {
            return Some(Limits::of(limit));
        }
        Some(Limits { intake_bytes: limit.saturating_sub(spike), work_bytes: spike })
    }
}

const fn mib(count: u32) -> u64 {
    (count as u64) << 20
}

impl Config {
    /// The garbage collector's intervals mean nothing here, but what the Go collector refuses is refused.
    fn validate_intervals(&self, at: &mut Checker<'_>) {
        let (min_soft, min_hard) =
            (self.min_gc_interval_when_soft_limited, self.min_gc_interval_when_hard_limited);
        let (max_soft, max_hard) =
            (self.max_gc_interval_when_soft_limited, self.max_gc_interval_when_hard_limited);
        if min_soft < min_hard {
            at.error(
                "min_gc_interval_when_soft_limited",
                "must not be less than `min_gc_interval_when_hard_limited`",
            );
        }
        if !max_soft.is_zero() && max_soft < min_soft {
            at.error(
                "max_gc_interval_when_soft_limited",
                "must be 0 or not less than `min_gc_interval_when_soft_limited`",
            );
        }
        if !max_hard.is_zero() && max_hard < min_hard {
            at.error(
                "max_gc_interval_when_hard_limited",
                "must be 0 or not less than `min_gc_interval_when_hard_limited`",
            );
        }
        if !max_soft.is_zero() && !max_hard.is_zero() && max_soft < max_hard {
            at.error(
                "max_gc_interval_when_soft_limited",
                "must be 0 or not less than `max_gc_interval_when_hard_limited`",
            );
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        self.validate_intervals(at);
        if self.check_interval.is_zero() {
            at.error(
                "check_interval",
                "'check_interval' must be greater than zero\nset `check_interval: 1s`",
            );
        }
        if self.limit_mib == 0 && self.limit_percentage == 0 {
            at.error_here("'limit_mib' or 'limit_percentage' must be greater than zero\nset `limit_mib: 512`, for example");
        }
        if self.limit_percentage > 100 {
            at.error("limit_percentage", "'limit_percentage' and 'spike_limit_percentage' must be greater than zero and less than or equal to hundred");
        }
        if self.spike_limit_percentage > 100 {
            at.error("spike_limit_percentage", "'limit_percentage' and 'spike_limit_percentage' must be greater than zero and less than or equal to hundred");
        }
        if self.limit_mib > 0 && self.limit_mib <= self.spike_limit_mib {
            at.error("spike_limit_mib", "'spike_limit_mib' must be smaller than 'limit_mib'");
        }
        if self.limit_percentage > 0 && self.limit_percentage <= self.spike_limit_percentage {
            at.error(
                "spike_limit_percentage",
                "'spike_limit_percentage' must be smaller than 'limit_percentage'",
            );
        }
        if self.limit_mib == 0 && self.limit_percentage > 0 && host::memory_bytes().is_none() {
            at.error(
                "limit_percentage",
                "the memory of this machine cannot be told; set `limit_mib` instead",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_kept_free_unless_a_spike_is_given() {
        let config = Config { limit_mib: 100, ..Config::default() };
        assert_eq!(config.limits(None), Some(Limits { intake_bytes: 80 << 20, work_bytes: 20 << 20 }));
        let config = Config { limit_mib: 100, spike_limit_mib: 30, ..Config::default() };
        assert_eq!(config.limits(None), Some(Limits { intake_bytes: 70 << 20, work_bytes: 30 << 20 }));
    }

    #[test]
    fn percentages_are_of_the_memory_there_is() {
        let config = Config { limit_percentage: 50, spike_limit_percentage: 10, ..Config::default() };
        assert_eq!(config.limits(Some(1000)), Some(Limits { intake_bytes: 400, work_bytes: 100 }));
        assert_eq!(config.limits(None), None);
    }
}
