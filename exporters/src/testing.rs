//! What the tests of the exporters need: a process to live in, configurations, and telemetry.

use millrace_config::{Diagnostics, parse_str};
use millrace_engine::component::{Context, ExporterConfig, Factory, Shared};
use millrace_engine::ledger::Term;
use millrace_engine::{Batch, Charge, Failure, Health, Origin, Piece, Stage, Until};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::json::{Options, from_json};
use millrace_wire::{Payload, Signal};

pub(crate) fn context(id: &str) -> Context {
    let shared = Shared::new(Registry::new(Level::Detailed), &Health::starting(), 64 << 20, 64 << 20, "test");
    Context { shared, kind: "exporter", id: id.parse().expect("an id"), pipeline: None }
}

/// Reads a section; the second text is what was found wrong with it.
pub(crate) fn plan(
    factory: &Factory<dyn ExporterConfig>,
    yaml: &str,
) -> (Option<Box<dyn ExporterConfig>>, String) {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let config = (factory.plan)(&node, &format!("exporters::{}", factory.name), &mut diags);
    (config, diags.render(&parsed.sources))
}

/// Reads a section that is right.
pub(crate) fn config(factory: &Factory<dyn ExporterConfig>, yaml: &str) -> Box<dyn ExporterConfig> {
    let (config, problems) = plan(factory, yaml);
    config.unwrap_or_else(|| panic!("{problems}"))
}

/// A request, from OTLP/JSON.
pub(crate) fn payload(signal: Signal, json: &str) -> Payload {
    from_json(signal, json.as_bytes(), &Options::default()).expect("the test's request is in form").payload
}

/// A request with one log record.
pub(crate) fn log(body: &str) -> Payload {
    let json = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{body}"}}}}]}}]}}]}}"#
    );
    payload(Signal::Logs, &json)
}

pub(crate) fn batch(payloads: impl IntoIterator<Item = Payload>) -> Batch {
    let mut pieces = payloads.into_iter().map(|payload| Piece {
        payload,
        origin: Origin::local(),
        charge: Charge::none(),
    });
    let first = Batch::of(pieces.next().expect("a batch has pieces"));
    pieces.fold(first, |mut batch, piece| {
        batch.push(piece);
        batch
    })
}

/// Hands a batch to an exporter, as the graph does.
pub(crate) async fn commit(stage: &dyn Stage, batch: Batch) -> Result<(), Failure> {
    let permit = stage.reserve(batch.cost()).decided().await?;
    stage.commit(permit, batch, Until::Stored).await
}

/// Items that the one exporter of the context has delivered and handed back, over all its signals.
pub(crate) fn outcome(context: &Context) -> (u64, u64) {
    let accounts = context.shared.ledger.accounts();
    let total = |term| accounts.iter().map(|account| account.total(term).items).sum();
    assert!(accounts.iter().all(|account| account.imbalance() == 0), "{accounts:?}");
    (total(Term::Out), total(Term::Refused))
}
