//! What both transports do with a body: validate it, and hand it to the pipelines of its signal.

use super::decode::{Decoded, Undecodable, decode};
use super::spans::Spans;
use bytes::Bytes;
use millrace_engine::budget::REQUEST_BYTES;
use millrace_engine::component::{Context, Outputs};
use millrace_engine::ledger::{Held, Term};
use millrace_engine::{
    Account, Batch, Charge, Cost, Entry, Failure, Fault, Identity, Metadata, Origin, Piece, Reason, Until,
};
use millrace_telemetry::catalogue::{millrace as ours, receiver as go};
use millrace_telemetry::{Counter, Labels};
use millrace_wire::Signal;
use millrace_wire::validate::Policy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    Http,
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

/// One request, received whole.
pub(super) struct Request {
    pub(super) transport: Transport,
    pub(super) format: Format,
    pub(super) body: Bytes,
    pub(super) charge: Charge,
    pub(super) peer: Option<SocketAddr>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) metadata: Metadata,
    pub(super) received: Instant,
}

/// The way from a body to the pipelines.
pub(super) struct Intake {
    policy: Policy,
    signals: [Option<SignalIntake>; 4],
    malformed: [[Counter; 2]; 2],
    refused_before_decoding: [Counter; 2],
    too_large: [Counter; 2],
    unauthenticated: [Counter; 2],
    spans: Spans,
}

struct SignalIntake {
    entry: Arc<Entry>,
    account: Arc<Account>,
    counts: [Counts; 2],
}

struct Counts {
    accepted: Counter,
    refused: Counter,
    failed: Counter,
    repaired: Counter,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

impl Intake {
    pub(super) fn new(context: &Context, outputs: &Outputs) -> Self {
        let registry = &context.shared.registry;
        let receiver = Labels::new().with("receiver", context.id.to_string());
        let of = |transport: Transport| receiver.clone().with("transport", transport.name());
        let signals = Signal::ALL.map(|signal| {
            let entry = Arc::clone(outputs.get(signal)?);
            let counts = Transport::ALL.map(|transport| Counts {
                accepted: registry.counter(go::ACCEPTED.of(signal), &of(transport)),
                refused: registry.counter(go::REFUSED.of(signal), &of(transport)),
                failed: registry.counter(go::FAILED.of(signal), &of(transport)),
                repaired: registry
                    .counter(&ours::UTF8_REPAIRED, &receiver.clone().with("signal", signal.name())),
            });
            Some(SignalIntake { entry, account: context.account(signal), counts })
        });
        let refusals = |reason: &'static str| {
            Transport::ALL.map(|transport| {
                registry.counter(&ours::MALFORMED_REQUESTS, &of(transport).with("reason", reason))
            })
        };
        Self {
            policy: Policy::default(),
            signals,
            malformed: [refusals("protobuf"), refusals("json")],
            refused_before_decoding: refusals("transport"),
            too_large: refusals("too_large"),
            unauthenticated: refusals("unauthenticated"),
            spans: Spans::new(context),
        }
    }

    /// Whether a pipeline takes this signal.
    pub(super) fn takes(&self, signal: Signal) -> bool {
        self.signals[signal as usize].is_some()
    }

    /// A request was refused before its body could be looked at.
    pub(super) fn count_refused(&self, transport: Transport) {
        self.refused_before_decoding[transport as usize].add(1);
    }

    /// A request was refused because it is larger than what is configured, or than there is ever memory for.
    pub(super) fn count_too_large(&self, transport: Transport) {
        self.too_large[transport as usize].add(1);
    }

    /// A request was refused because it does not prove who sent it.
    pub(super) fn count_unauthenticated(&self, transport: Transport) {
        self.unauthenticated[transport as usize].add(1);
    }

    /// Validates a request and hands it to the pipelines; returns when responsibility has passed on.
    pub(super) async fn take(&self, signal: Signal, request: Request) -> Result<(), Failure> {
        let Some(intake) = &self.signals[signal as usize] else {
            return Err(Failure::permanent(
                Fault::Sender,
                Reason::Rejected,
                format!("no pipeline takes {signal}"),
            ));
        };
        let Request { transport, format, body, charge, peer, identity, metadata, received } = request;
        let counts = &intake.counts[transport as usize];
        let Decoded { payload, repaired, mut charge } =
            match decode(signal, format, body, charge, self.policy).await {
                Ok(decoded) => decoded,
                Err(Undecodable::Malformed(message)) => {
                    self.malformed[format as usize][transport as usize].add(1);
                    return Err(Failure::permanent(Fault::Sender, Reason::Malformed, message));
                }
                Err(Undecodable::NeverFits(problem)) => {
                    self.count_too_large(transport);
                    return Err(Failure::permanent(Fault::Us, Reason::TooLarge, problem));
                }
                Err(Undecodable::OverBudget) => {
                    self.count_refused(transport);
                    return Err(over_budget());
                }
            };
        if repaired > 0 {
            counts.repaired.add(u64::from(repaired));
        }
        let items = u64::from(payload.items());
        if items == 0 {
            return Ok(());
        }
        if !charge.try_grow(REQUEST_BYTES) {
            counts.refused.add(items);
            return Err(over_budget());
        }
        let origin = Arc::new(Origin { received, peer, metadata, identity });
        let batch = Batch::of(Piece { payload, origin, charge });
        let cost = batch.cost();
        let handing = Handing::new(&intake.account, cost);
        let submitted = intake.entry.submit(batch, Until::Stored);
        let result = if self.spans.are_made() {
            // Apart, so that requests without a span take no room for one.
            Box::pin(self.spans.around(signal, transport, format, items, submitted)).await
        } else {
            submitted.await
        };
        handing.done(result.is_ok());
        counts.accepted.add(if result.is_ok() { items } else { 0 });
        counts.refused.add(if result.is_ok() { 0 } else { items });
        counts.failed.add(0);
        result
    }
}

fn over_budget() -> Failure {
    let message = "the collector is out of memory budget; try again later";
    Failure::transient(Fault::Us, Reason::OverBudget, message)
}

/// A request between the receiver's taking it in and the pipelines' answer. A handler that is cut off in between has
/// handed the request back: its sender has no answer, and sends again.
struct Handing<'a> {
    account: &'a Arc<Account>,
    cost: Cost,
    accepted: bool,
    _held: Held<&'a Account>,
}

impl<'a> Handing<'a> {
    fn new(account: &'a Arc<Account>, cost: Cost) -> Self {
        account.record(Term::In, cost);
        Self { account, cost, accepted: false, _held: account.hold(cost) }
    }

    fn done(mut self, accepted: bool) {
        self.accepted = accepted;
    }
}

impl Drop for Handing<'_> {
    fn drop(&mut self) {
        self.account.record(if self.accepted { Term::Out } else { Term::Refused }, self.cost);
    }
}
