//! From a body to a payload, with a charge that covers it.
//!
//! # Invariant
//! A JSON body and what it becomes are both charged for as long as both are in memory.

use super::intake::Format;
use bytes::Bytes;
use millrace_engine::Charge;
use millrace_net::compression::OFFLOAD_ABOVE;
use millrace_wire::json::{self, Parsed, Problem, from_json};
use millrace_wire::validate::{Policy, validate};
use millrace_wire::{Payload, Signal};

/// JSON bodies larger than this are read off the workers; it takes about as long as inflating.
const JSON_OFFLOAD_ABOVE: usize = OFFLOAD_ABOVE;
/// Protobuf bodies larger than this are; validating is an order of magnitude faster.
const PROTOBUF_OFFLOAD_ABOVE: usize = 8 * OFFLOAD_ABOVE;
/// What a JSON body may become, in multiples of its size: half of it as a rule, at most this (lists of short numbers).
const JSON_GROWTH: [usize; 2] = [1, 5];

/// A body that is OTLP.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) payload: Payload,
    /// Strings that were not UTF-8.
    pub(super) repaired: u32,
    pub(super) charge: Charge,
}

/// Why a body is not taken.
#[derive(Debug)]
pub(super) enum Undecodable {
    /// It is not OTLP.
    Malformed(String),
    /// What it would become has no room now.
    OverBudget,
    /// There is never room for what it would become. Says so.
    NeverFits(String),
}

/// Decodes a body that `charge` covers.
pub(super) async fn decode(
    signal: Signal,
    format: Format,
    body: Bytes,
    charge: Charge,
    policy: Policy,
) -> Result<Decoded, Undecodable> {
    let offload_above = match format {
        Format::Protobuf => PROTOBUF_OFFLOAD_ABOVE,
        Format::Json => JSON_OFFLOAD_ABOVE,
    };
    let large = body.len() > offload_above;
    let decode = move || match format {
        Format::Protobuf => from_protobuf(signal, body, charge, policy),
        Format::Json => from_text(signal, body, charge, policy),
    };
    if !large {
        return decode();
    }
    match tokio::task::spawn_blocking(decode).await {
        Ok(decoded) => decoded,
        // The request's own task reports it.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is ending, and takes nothing more.
        Err(_) => Err(Undecodable::OverBudget),
    }
}

fn from_protobuf(
    signal: Signal,
    body: Bytes,
    mut charge: Charge,
    policy: Policy,
) -> Result<Decoded, Undecodable> {
    let validated =
        validate(signal, body, &policy).map_err(|error| Undecodable::Malformed(error.to_string()))?;
    cover(&mut charge, &validated.payload)?;
    Ok(Decoded { payload: validated.payload, repaired: validated.repaired_strings, charge })
}

fn from_text(
    signal: Signal,
    body: Bytes,
    mut charge: Charge,
    policy: Policy,
) -> Result<Decoded, Undecodable> {
    let mut room = 0;
    for growth in JSON_GROWTH {
        let wanted = body.len() * growth;
        grow(&mut charge, (wanted - room) as u64)?;
        room = wanted;
        match from_json(signal, &body, &json::Options { policy, max_bytes: room }) {
            Ok(Parsed { payload, repaired_strings }) => {
                drop(body);
                charge.shrink_to(payload.bytes().len() as u64);
                return Ok(Decoded { payload, repaired: repaired_strings, charge });
            }
            Err(error) if matches!(error.problem, Problem::TooLarge(_)) => {}
            Err(error) => return Err(Undecodable::Malformed(error.to_string())),
        }
    }
    Err(Undecodable::Malformed("the request is many times larger in protobuf than in JSON".to_owned()))
}

/// Makes a charge cover a payload that repairing has made longer than its body was.
fn cover(charge: &mut Charge, payload: &Payload) -> Result<(), Undecodable> {
    let missing = (payload.bytes().len() as u64).saturating_sub(charge.bytes());
    if missing > 0 {
        grow(charge, missing)?;
    }
    Ok(())
}

/// Makes a charge cover so many bytes more.
fn grow(charge: &mut Charge, bytes: u64) -> Result<(), Undecodable> {
    if charge.try_grow(bytes) {
        return Ok(());
    }
    if charge.can_never_grow(bytes) {
        let message = format!(
            "request too large: decoding it takes {} bytes, more than the collector's memory budget",
            charge.bytes().saturating_add(bytes)
        );
        return Err(Undecodable::NeverFits(message));
    }
    Err(Undecodable::OverBudget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Budget;

    async fn json(text: String, budget: &Budget) -> Result<Decoded, Undecodable> {
        let charge = budget.try_charge(text.len() as u64).expect("room for the body");
        decode(Signal::Metrics, Format::Json, text.into(), charge, Policy::default()).await
    }

    /// A histogram whose bounds take four times as many bytes in protobuf.
    fn dense(bounds: usize) -> String {
        let bounds = vec!["1"; bounds].join(",");
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"explicitBounds":[{bounds}]}}]}}}}]}}]}}]}}"#
        )
    }

    #[tokio::test]
    async fn what_json_becomes_is_charged_exactly_however_large() {
        for bounds in [1, 1000, 200_000] {
            let budget = Budget::new(16 << 20);
            let text = dense(bounds);
            let decoded = json(text, &budget).await.expect("it is OTLP");
            assert_eq!(decoded.payload.items(), 1);
            assert_eq!(budget.used(), decoded.charge.bytes());
            assert!(budget.used() >= decoded.payload.bytes().len() as u64);
            drop(decoded);
            assert_eq!(budget.used(), 0);
        }
    }

    #[tokio::test]
    async fn json_that_grows_beyond_the_budget_is_refused() {
        let text = dense(200_000);
        let budget = Budget::new(16 << 20);
        let other = budget.try_charge((16 << 20) - 3 * text.len() as u64).expect("room");
        assert!(matches!(json(text.clone(), &budget).await, Err(Undecodable::OverBudget)));
        drop(other);
        assert_eq!(budget.used(), 0);
        let budget = Budget::new(3 * text.len() as u64);
        assert!(matches!(json(text, &budget).await, Err(Undecodable::NeverFits(_))));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_repairing_makes_longer_is_charged_too() {
        // One span whose name is not UTF-8: field 5 of field 2 of field 2 of field 1.
        let mut body = vec![0xFF; 100];
        for field in [5u8, 2, 2, 1] {
            let len = body.len();
            body.splice(0..0, [field << 3 | 2, (len & 0x7F) as u8 | 0x80, (len >> 7) as u8]);
        }
        let budget = Budget::new(1000);
        let charge = budget.try_charge(body.len() as u64).expect("room for the body");
        let decoded = decode(Signal::Traces, Format::Protobuf, body.into(), charge, Policy::default())
            .await
            .expect("it is OTLP");
        assert_eq!(decoded.repaired, 1);
        assert!(decoded.payload.bytes().len() > 300);
        assert!(budget.used() >= decoded.payload.bytes().len() as u64);
    }
}
