//! What the process uses. No labels. [`crate::process`] observes them; what the Go runtime's words mean here is said
//! there.

use crate::metrics::{Def, Scope};

const SCOPE: Scope = Scope::named("go.opentelemetry.io/collector/service");

/// Seconds since the start.
pub static UPTIME: Def = Def::counter_f64("otelcol_process_uptime", "Uptime of the process", "s").of(SCOPE);

/// Processor time used, user and system.
pub static CPU_SECONDS: Def =
    Def::counter_f64("otelcol_process_cpu_seconds", "Total CPU user and system time in seconds", "s")
        .of(SCOPE);

/// Resident memory.
pub static MEMORY_RSS: Def =
    Def::gauge("otelcol_process_memory_rss", "Total physical memory (resident set size)", "By").of(SCOPE);

/// Memory in use on the heap.
pub static RUNTIME_HEAP_ALLOC_BYTES: Def = Def::gauge(
    "otelcol_process_runtime_heap_alloc_bytes",
    "Bytes of allocated heap objects (see 'go doc runtime.MemStats.HeapAlloc')",
    "By",
)
.of(SCOPE);

/// Memory ever allocated on the heap.
pub static RUNTIME_TOTAL_ALLOC_BYTES: Def = Def::counter_f64(
    "otelcol_process_runtime_total_alloc_bytes",
    "Cumulative bytes allocated for heap objects (see 'go doc runtime.MemStats.TotalAlloc')",
    "By",
)
.of(SCOPE);

/// Memory obtained from the system.
pub static RUNTIME_TOTAL_SYS_MEMORY_BYTES: Def = Def::gauge(
    "otelcol_process_runtime_total_sys_memory_bytes",
    "Total bytes of memory obtained from the OS (see 'go doc runtime.MemStats.Sys')",
    "By",
)
.of(SCOPE);

pub(super) const ALL: &[&Def] = &[
    &UPTIME,
    &CPU_SECONDS,
    &MEMORY_RSS,
    &RUNTIME_HEAP_ALLOC_BYTES,
    &RUNTIME_TOTAL_ALLOC_BYTES,
    &RUNTIME_TOTAL_SYS_MEMORY_BYTES,
];
