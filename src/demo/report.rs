//! What the demo says: what is going on, where to look, and how it ended.

use super::places::Places;
use super::shop::{Service, Transport};
use crate::cli;
use millrace_engine::Ledger;
use millrace_engine::ledger::Closing;
use millrace_wire::{Payload, Signal};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the shop has sent.
#[derive(Debug, Default)]
pub struct Tally {
    /// Items that were accepted.
    pub accepted: BTreeMap<Signal, u64>,
    /// Items that were not.
    pub refused: u64,
    /// Why, the last time.
    pub complaint: Option<String>,
}

impl Tally {
    /// Counts a request by its answer.
    pub fn count(&mut self, payload: &Payload, answer: Result<(), String>) {
        let items = u64::from(payload.items());
        match answer {
            Ok(()) => *self.accepted.entry(payload.signal()).or_default() += items,
            Err(complaint) => {
                self.refused += items;
                self.complaint = Some(complaint);
            }
        }
    }

    /// All that was accepted.
    pub fn total(&self) -> u64 {
        self.accepted.values().sum()
    }
}

/// What is said when everything runs.
pub fn welcome(config: &str, places: &Places, options: &cli::Demo) -> String {
    let mut out = format!(
        "\nThis is a collector at work. A little web shop, {}, sends it\nits traces, metrics and logs: about {} spans a second, {}.\n\n",
        listed(&Service::ALL.map(Service::name)),
        grouped(options.rate.into()),
        transports(places),
    );
    row(&mut out, "pipeline", config);
    for (n, file) in places.files.iter().enumerate() {
        row(&mut out, if n == 0 { "files" } else { "" }, file);
    }
    if let Some(file) = places.files.first() {
        row(&mut out, "", &format!("watch one grow: tail -f {file}"));
    }
    if let Some(metrics) = &places.metrics {
        row(&mut out, "metrics", &format!("http://{}/metrics; to begin with, look for", metrics.authority()));
        row(&mut out, "", "  otelcol_receiver_accepted_spans     what came in, by receiver");
        row(&mut out, "", "  otelcol_exporter_sent_log_records   what went out, by exporter");
        row(&mut out, "", "  otelcol_millrace_ledger_items       where every single item went");
    }
    if let Some(health) = &places.health {
        row(&mut out, "health", &format!("http://{}/", health.authority()));
    }
    if let Some(grpc) = &places.grpc {
        let advice = format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://{} OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            grpc.authority()
        );
        row(&mut out, "your app", &advice);
    }
    if let Some(http) = &places.http {
        let label = if places.grpc.is_some() { "    or" } else { "your app" };
        let advice = format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://{} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            http.authority()
        );
        row(&mut out, label, &advice);
    }
    let end = match options.duration {
        Some(duration) => format!("It stops by itself after {} s, or on Ctrl-C", duration.as_secs_f64()),
        None => "Ctrl-C stops it".to_owned(),
    };
    out.push_str(&format!(
        "\n{end}, passes on what is held, and closes the account. In the account, an item\nthat goes to two exporters is delivered twice.\n\n"
    ));
    out
}

/// A line about how it is going.
pub fn status(elapsed: Duration, ledger: &Ledger) -> String {
    let accounts = ledger.accounts();
    let held: u64 = accounts.iter().map(|account| account.held().items).sum();
    let lost: u64 = accounts.iter().map(|account| account.lost().items).sum();
    let closing = ledger.closing();
    format!(
        "demo {:>5} s   received {:>9}   delivered {:>9}   held {:>6}   lost {}\n",
        elapsed.as_secs(),
        grouped(closing.received),
        grouped(closing.delivered),
        grouped(held),
        grouped(lost),
    )
}

/// What is said when everything is over.
pub fn farewell(tally: &Tally, closing: &Closing, places: &Places) -> String {
    let accepted = |signal| grouped(tally.accepted.get(&signal).copied().unwrap_or_default());
    let mut out = format!(
        "\nThe shop sent {} spans, {} data points and {} log records: {} items that the collector accepted",
        accepted(Signal::Traces),
        accepted(Signal::Metrics),
        accepted(Signal::Logs),
        grouped(tally.total()),
    );
    match &tally.complaint {
        None => out.push_str(".\n"),
        Some(complaint) => {
            out.push_str(&format!(
                ",\nand {} that it did not. The last time it said: {complaint}\n",
                grouped(tally.refused)
            ));
        }
    }
    out.push_str(&format!("The account of the collector: {closing}\n"));
    if !places.files.is_empty() {
        out.push_str(&format!("The files are still there: {}\n", places.files.join("  ")));
    }
    out
}

fn row(out: &mut String, label: &str, text: &str) {
    out.push_str(&format!("  {label:<10} {text}\n"));
}

fn transports(places: &Places) -> String {
    match (&places.grpc, &places.http) {
        (Some(_), Some(_)) => {
            let by = |transport| {
                let services = Service::ALL.into_iter().filter(|service| service.transport() == transport);
                listed(&services.map(Service::name).collect::<Vec<_>>())
            };
            format!("{} in OTLP/gRPC,\n{} in OTLP/HTTP", by(Transport::Grpc), by(Transport::Http))
        }
        (Some(_), None) => "all in OTLP/gRPC".to_owned(),
        (None, _) => "all in OTLP/HTTP".to_owned(),
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.join(""),
    }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn names_are_listed_as_people_do() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&[]), "");
    }

    #[test]
    fn what_was_refused_is_told_with_the_reason() {
        let mut tally = Tally::default();
        let payload = millrace_wire::write::Logs::build(|logs| {
            logs.record(millrace_wire::write::LogRecord::default(), |_| {});
        });
        tally.count(&payload, Ok(()));
        let places = Places::default();
        assert!(
            farewell(&tally, &Closing::default(), &places)
                .contains("1 log records: 1 items that the collector accepted.\n")
        );
        tally.count(&payload, Err("OTLP/gRPC: busy".to_owned()));
        let text = farewell(&tally, &Closing::default(), &places);
        assert!(text.contains("and 1 that it did not. The last time it said: OTLP/gRPC: busy\n"), "{text}");
        assert_eq!((tally.total(), tally.refused), (1, 1));
    }
}
