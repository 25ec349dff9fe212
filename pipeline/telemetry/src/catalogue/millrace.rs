//! What only this collector counts.
//!
//! The ledger: every item that enters a component leaves it by name, or is still held. Per component and signal,
//! whenever nothing is moving,
//!
//! ```text
//! opening_items + ledger_items{term=in} + ledger_items{term=created}
//!     = ledger_items{term=out|merged|filtered|sampled_out|dead_lettered|refused|lost} (all reasons) + held_items
//! ```
//!
//! and the same in bytes. Labels of the ledger: `component` (its id as configured), `kind` (`receiver`, `processor`,
//! `connector`, `exporter`, `dead_letters`), `signal`; of the counters also `term` and, for terms that need one, `reason`.

use crate::metrics::{Def, Level};

/// Items by what became of them. Also labelled `term` and `reason`.
pub static LEDGER_ITEMS: Def = Def::counter(
    "otelcol_millrace_ledger_items",
    "Number of items that entered or left the component, by term of its account.",
    "{item}",
)
.labelled(&["component", "kind", "pipeline", "signal", "term", "reason"]);

/// Bytes by what became of them. Also labelled `term` and `reason`.
pub static LEDGER_BYTES: Def = Def::counter(
    "otelcol_millrace_ledger_bytes",
    "Encoded bytes of the items that entered or left the component, by term of its account.",
    "By",
)
.labelled(&["component", "kind", "pipeline", "signal", "term", "reason"]);

/// Items that a component found when it started, e.g. on disk.
pub static LEDGER_OPENING_ITEMS: Def = Def::gauge(
    "otelcol_millrace_ledger_opening_items",
    "Number of items the component held when it started.",
    "{item}",
)
.labelled(&["component", "kind", "pipeline", "signal"]);

/// Bytes that a component found when it started, e.g. on disk.
pub static LEDGER_OPENING_BYTES: Def = Def::gauge(
    "otelcol_millrace_ledger_opening_bytes",
    "Encoded bytes of the items the component held when it started.",
    "By",
)
.labelled(&["component", "kind", "pipeline", "signal"]);

/// Items that a component holds now.
pub static LEDGER_HELD_ITEMS: Def =
    Def::updown("otelcol_millrace_ledger_held_items", "Number of items the component holds.", "{item}")
        .labelled(&["component", "kind", "pipeline", "signal"]);

/// Bytes that a component holds now.
pub static LEDGER_HELD_BYTES: Def = Def::updown(
    "otelcol_millrace_ledger_held_bytes",
    "Encoded bytes of the items the component holds.",
    "By",
)
.labelled(&["component", "kind", "pipeline", "signal"]);

/// Requests that an authenticator has decided about. Labels: `extension`, `outcome` (`accepted`, `missing`, `wrong`,
/// `put_off`).
pub static AUTHENTICATIONS: Def = Def::counter(
    "otelcol_millrace_authentications",
    "Number of requests the authenticator has decided about, by outcome.",
    "{request}",
)
.labelled(&["extension", "outcome"]);

/// Requests that a server's middleware has turned away. Label: `extension`.
pub static GATE_REFUSED: Def = Def::counter(
    "otelcol_millrace_gate_refused",
    "Number of requests turned away before they were read.",
    "{request}",
);

/// How long the oldest request in a sending queue has waited; 0 when empty. Labels: `exporter`, `data_type`; observed.
pub static QUEUE_OLDEST_AGE: Def = Def::gauge(
    "otelcol_millrace_queue_oldest_age",
    "How long the oldest request of the sending queue has been waiting.",
    "s",
)
.labelled(&["exporter", "data_type"]);

/// Seconds from receiving an item to its delivery. Labels: `exporter`, `data_type`.
pub static END_TO_END_DELAY: Def = Def::histogram(
    "otelcol_millrace_end_to_end_delay",
    "Time from receiving items to their delivery, counted per request sent.",
    "s",
)
.with_bounds(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0, 21600.0, 86400.0,
])
.at(Level::Normal)
.labelled(&["exporter", "data_type"]);

/// Attempts beyond the first of a request. Labels: `exporter`, `data_type`.
pub static RETRY_ATTEMPTS: Def = Def::counter(
    "otelcol_millrace_retry_attempts",
    "Number of attempts to send a request again.",
    "{attempt}",
)
.labelled(&["exporter", "data_type"]);

/// Retries that had not been earned and had to wait for their turn. Labels: `exporter`, `data_type`.
pub static RETRY_HELD_BACK: Def = Def::counter(
    "otelcol_millrace_retry_held_back",
    "Number of retries that were held back because the retry budget was spent.",
    "{attempt}",
)
.labelled(&["exporter", "data_type"]);

/// Requests between two attempts. Labels: `exporter`, `data_type`.
pub static RETRY_WAITING: Def = Def::updown(
    "otelcol_millrace_retry_waiting",
    "Number of requests that wait for their next attempt.",
    "{request}",
)
.labelled(&["exporter", "data_type"]);

/// Configurations that were to be put in the place of the one at work. Label: `outcome`.
pub static RELOADS: Def = Def::counter(
    "otelcol_millrace_reloads",
    "Number of times that the configuration was read again, by whether it was put in the place of the one before.",
    "{reload}",
)
.labelled(&["outcome"]);

/// When the configuration at work began to be, in seconds since 1970.
pub static RELOAD_LAST_SUCCESS: Def = Def::gauge(
    "otelcol_millrace_reload_last_success",
    "When the configuration at work was loaded, in seconds since 1970.",
    "s",
);

/// Which configuration is at work. Label: `hash`.
pub static CONFIG_INFO: Def = Def::gauge(
    "otelcol_millrace_config_info",
    "1, with a label that tells the configuration at work from others.",
    "{configuration}",
)
.labelled(&["hash"]);

/// What is left of the retries that the whole process shares; below zero, retries that are booked ahead. Observed.
pub static RETRY_BALANCE: Def = Def::gauge(
    "otelcol_millrace_retry_balance",
    "Number of retries left in the budget that all exporters share; negative when retries are held back.",
    "{attempt}",
);

/// How many attempts may be under way at once. Labels: `exporter`, `data_type`; observed.
pub static EXPORTER_CONCURRENCY: Def = Def::gauge(
    "otelcol_millrace_exporter_concurrency",
    "Number of attempts that may be under way at once; less than num_consumers while the destination is in trouble.",
    "{attempt}",
).labelled(&["exporter", "data_type"]);

/// What a queue on disk takes there. Labels: `component`, `kind`, `pipeline`, `signal`; observed.
pub static STORAGE_BYTES: Def = Def::gauge(
    "otelcol_millrace_storage_bytes",
    "Bytes on disk that the component's files take, those prepared for what is to come included.",
    "By",
)
.labelled(STORAGE_LABELS);

/// What it may take, where that is limited. Labels as above; observed.
pub static STORAGE_LIMIT: Def = Def::gauge(
    "otelcol_millrace_storage_limit",
    "Bytes on disk that the component's files may take; max_size of the storage.",
    "By",
)
.labelled(STORAGE_LABELS);

/// Its files. Labels as above; observed.
pub static STORAGE_SEGMENTS: Def = Def::gauge(
    "otelcol_millrace_storage_segments",
    "Number of files that the component keeps on disk.",
    "{file}",
)
.labelled(STORAGE_LABELS);

/// Whether its directory is somewhere else than it was opened, or nowhere. Labels as above; observed.
pub static STORAGE_DISPLACED: Def = Def::gauge(
    "otelcol_millrace_storage_displaced",
    "1 while the component's directory is not in its place: moved, removed, or hidden by another one.",
    "1",
)
.labelled(STORAGE_LABELS);

/// What of it is in memory at the same time. Labels as above; observed.
pub static STORAGE_MEMORY: Def = Def::gauge(
    "otelcol_millrace_storage_memory",
    "Bytes in memory of what is on disk: just put there, or on the way to the destination.",
    "By",
)
.labelled(STORAGE_LABELS);

/// How long writing a group of requests through to the disk took. Labels as above.
pub static STORAGE_SYNC_DURATION: Def = Def::histogram(
    "otelcol_millrace_storage_sync_duration",
    "Time that writing a group of requests through to the disk took.",
    "s",
)
.with_bounds(&[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0])
.at(Level::Normal)
.labelled(STORAGE_LABELS);

/// What the disk failed at. Labels as above, and `operation` (`write`, `read`, `remove`, `cursor`,
/// `space`; `place`: what is in use has been moved or removed).
pub static STORAGE_FAILURES: Def = Def::counter(
    "otelcol_millrace_storage_failures",
    "Number of operations on files that failed, by operation.",
    "{operation}",
)
.labelled(&["component", "kind", "pipeline", "signal", "operation"]);

/// Requests that were on disk and are lost. Labels as above, and `reason` (`evicted`, `expired`, `damaged`, `missing`,
/// `unreadable`).
pub static STORAGE_LOST: Def = Def::counter(
    "otelcol_millrace_storage_lost_requests",
    "Number of requests that were on disk and are lost, by reason.",
    "{request}",
)
.labelled(&["component", "kind", "pipeline", "signal", "reason"]);

/// What was put aside because it could not be delivered, in requests. Labels as above; observed.
pub static DEAD_LETTERS: Def = Def::gauge(
    "otelcol_millrace_dead_letters",
    "Number of requests that were put aside because they could not be delivered.",
    "{request}",
)
.labelled(STORAGE_LABELS);

/// The same, in items. Labels as above; observed.
pub static DEAD_LETTER_ITEMS: Def = Def::gauge(
    "otelcol_millrace_dead_letter_items",
    "Number of items that were put aside because they could not be delivered.",
    "{item}",
)
.labelled(STORAGE_LABELS);

/// The disk space that these take. Labels as above; observed.
pub static DEAD_LETTER_BYTES: Def = Def::gauge(
    "otelcol_millrace_dead_letter_bytes",
    "Bytes on disk that dead letters take, files prepared for what is to come included.",
    "By",
)
.labelled(STORAGE_LABELS);

const STORAGE_LABELS: &[&str] = &["component", "kind", "pipeline", "signal"];

/// Bytes of the memory budget that are taken. Label: `pool`; observed.
pub static BUDGET_USED: Def =
    Def::gauge("otelcol_millrace_budget_used", "Bytes of the memory budget that are in use.", "By")
        .labelled(&["pool"]);

/// Bytes that the memory budget grants. Label: `pool`; observed.
pub static BUDGET_LIMIT: Def =
    Def::gauge("otelcol_millrace_budget_limit", "Bytes that the memory budget grants.", "By")
        .labelled(&["pool"]);

/// Requests refused because the memory budget was spent. Label: `pool`.
pub static BUDGET_REFUSED: Def = Def::counter(
    "otelcol_millrace_budget_refused",
    "Number of reservations refused because the memory budget was spent.",
    "{reservation}",
)
.labelled(&["pool"]);

/// Strings that were not UTF-8 and were repaired. Labels: `receiver`, `signal`.
pub static UTF8_REPAIRED: Def = Def::counter(
    "otelcol_millrace_utf8_repaired",
    "Number of strings that were not UTF-8 and were repaired with replacement characters.",
    "{string}",
)
.labelled(&["receiver", "signal"]);

/// Requests that were not what their protocol demands, or too large. Labels: `receiver`, `transport`, `reason`.
pub static MALFORMED_REQUESTS: Def = Def::counter(
    "otelcol_millrace_malformed_requests",
    "Number of requests refused because they were malformed or too large, by reason.",
    "{request}",
)
.labelled(&["receiver", "transport", "reason"]);

/// Connections that are open. Labels: `receiver` or `extension` or `exporter`, `transport`.
pub static CONNECTIONS: Def = Def::updown(
    "otelcol_millrace_connections",
    "Number of open connections to the component.",
    "{connection}",
)
.labelled(&["receiver", "extension", "exporter", "transport"]);

/// Connections ever accepted. Labels: `receiver` or `extension` or `exporter`, `transport`.
pub static CONNECTIONS_ACCEPTED: Def = Def::counter(
    "otelcol_millrace_connections_accepted",
    "Number of connections the component has accepted.",
    "{connection}",
)
.labelled(&["receiver", "extension", "exporter", "transport"]);

/// Connections turned away or cut off. Labels: `receiver` or `extension` or `exporter`, `transport`, `reason`.
pub static CONNECTIONS_REFUSED: Def = Def::counter(
    "otelcol_millrace_connections_refused",
    "Number of connections turned away or cut off by the component, by reason.",
    "{connection}",
)
.labelled(&["receiver", "extension", "exporter", "transport", "reason"]);

/// Certificate and key files that could not be read again. Labels: `kind`, `component`, of servers also `transport`.
pub static TLS_RELOAD_FAILURES: Def = Def::counter(
    "otelcol_millrace_tls_reload_failures",
    "Number of times that TLS certificates could not be read again; those from before stayed in use.",
    "{reload}",
)
.labelled(&["kind", "component", "transport"]);

/// When the first certificate of a file ends, in seconds since 1970. Labels as above, and `file`, the key that names it.
pub static TLS_CERTIFICATE_EXPIRY: Def = Def::gauge(
    "otelcol_millrace_tls_certificate_expiry",
    "When the first of the TLS certificates in the file expires, in seconds since 1970.",
    "s",
)
.labelled(&["kind", "component", "transport", "file"]);

/// Series that a Prometheus exporter serves. Label: `exporter`; observed.
pub static PROMETHEUS_SERIES: Def = Def::gauge(
    "otelcol_millrace_prometheus_series",
    "Number of series the Prometheus exporter serves, target_info included.",
    "{series}",
);

/// What they take. Label: `exporter`; observed.
pub static PROMETHEUS_SERIES_BYTES: Def = Def::gauge(
    "otelcol_millrace_prometheus_series_bytes",
    "Memory that the series of the Prometheus exporter take.",
    "By",
);

/// Data points that a Prometheus exporter does not serve. Labels: `exporter`, `reason`.
pub static PROMETHEUS_REFUSED: Def = Def::counter(
    "otelcol_millrace_prometheus_refused_points",
    "Number of data points that the Prometheus exporter does not serve, by reason.",
    "{datapoint}",
);

/// Log lines that were not written. Label: `reason` (`sampled`, `buffer_full`, `write_error`).
pub static LOG_LINES_DROPPED: Def = Def::counter(
    "otelcol_millrace_log_lines_dropped",
    "Number of the collector's own log lines that were not written, by reason.",
    "{line}",
)
.labelled(&["reason"]);

/// Own metrics (data points), log records and spans that their destination took. Label: `signal`.
pub static OWN_TELEMETRY_SENT: Def = Def::counter(
    "otelcol_millrace_own_telemetry_sent",
    "Number of the collector's own data points, log records and spans that were sent to where they are configured to go.",
    "{item}",
).labelled(&["signal"]);

/// Own log records and spans that were not sent. Labels: `signal`, `reason` (`queue_full`, `send_failed`,
/// `shutting_down`).
pub static OWN_TELEMETRY_DROPPED: Def = Def::counter(
    "otelcol_millrace_own_telemetry_dropped",
    "Number of the collector's own log records and spans that were not sent, by reason.",
    "{item}",
)
.labelled(&["signal", "reason"]);

/// Attempts to send own telemetry that failed. Label: `signal`.
pub static OWN_TELEMETRY_FAILURES: Def = Def::counter(
    "otelcol_millrace_own_telemetry_failures",
    "Number of failed attempts to send the collector's own metrics, log records or spans.",
    "{attempt}",
)
.labelled(&["signal"]);

/// Panics that were contained. Label: `component`.
pub static PANICS: Def = Def::counter(
    "otelcol_millrace_panics",
    "Number of panics that were contained; the process drains and ends after one.",
    "{panic}",
)
.labelled(&["component"]);

pub(super) const ALL: &[&Def] = &[
    &LEDGER_ITEMS,
    &LEDGER_BYTES,
    &LEDGER_OPENING_ITEMS,
    &LEDGER_OPENING_BYTES,
    &LEDGER_HELD_ITEMS,
    &LEDGER_HELD_BYTES,
    &QUEUE_OLDEST_AGE,
    &END_TO_END_DELAY,
    &RETRY_ATTEMPTS,
    &RETRY_HELD_BACK,
    &RETRY_WAITING,
    &RETRY_BALANCE,
    &RELOADS,
    &RELOAD_LAST_SUCCESS,
    &CONFIG_INFO,
    &EXPORTER_CONCURRENCY,
    &STORAGE_BYTES,
    &STORAGE_LIMIT,
    &STORAGE_SEGMENTS,
    &STORAGE_DISPLACED,
    &STORAGE_MEMORY,
    &STORAGE_SYNC_DURATION,
    &STORAGE_FAILURES,
    &STORAGE_LOST,
    &DEAD_LETTERS,
    &DEAD_LETTER_ITEMS,
    &DEAD_LETTER_BYTES,
    &AUTHENTICATIONS,
    &GATE_REFUSED,
    &BUDGET_USED,
    &BUDGET_LIMIT,
    &BUDGET_REFUSED,
    &UTF8_REPAIRED,
    &MALFORMED_REQUESTS,
    &CONNECTIONS,
    &CONNECTIONS_ACCEPTED,
    &CONNECTIONS_REFUSED,
    &TLS_RELOAD_FAILURES,
    &TLS_CERTIFICATE_EXPIRY,
    &PROMETHEUS_SERIES,
    &PROMETHEUS_SERIES_BYTES,
    &PROMETHEUS_REFUSED,
    &LOG_LINES_DROPPED,
    &OWN_TELEMETRY_SENT,
    &OWN_TELEMETRY_DROPPED,
    &OWN_TELEMETRY_FAILURES,
    &PANICS,
];
