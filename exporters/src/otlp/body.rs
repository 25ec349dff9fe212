//! From a batch to the body of a request.

use bytes::Bytes;
use millrace_engine::{Batch, Budget, Charge, Cost, Failure, Fault, Reason};
use millrace_net::Encoding;
use millrace_net::compression::{Level, OFFLOAD_ABOVE};
use millrace_wire::Payload;
use millrace_wire::json::to_json_all;
use std::borrow::Cow;

/// The most that is sent in one request unless it is a single item: what gRPC servers accept by default.
const SEND_MAX: u64 = 4 << 20;
/// What JSON takes, in multiples of the protobuf; seldom more than three.
const JSON_GROWTH: u64 = 5;

/// How bodies are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    pub(super) encoding: Encoding,
    pub(super) level: Level,
}

impl From<Encoding> for Packing {
    fn from(encoding: Encoding) -> Self {
        Self { encoding, level: Level::default() }
    }
}

/// A request body in parts, and what building it holds of the budget.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) parts: Vec<Bytes>,
    _charge: Charge,
}

/// The body of a batch in protobuf: its pieces as they lie, or compressed into one part.
///
/// # Errors
/// [`Reason::TooLarge`] for what no destination is likely to take, so that it is sent in halves.
pub(super) async fn protobuf(batch: &Batch, packing: Packing, work: &Budget) -> Result<Body, Failure> {
    let cost = sendable(batch.cost())?;
    let parts: Vec<Bytes> = batch.pieces().iter().map(|piece| piece.payload.bytes().clone()).collect();
    if packing.encoding == Encoding::None {
        return Ok(Body { parts, _charge: Charge::none() });
    }
    let charge = work.charge(compressing(packing.encoding, cost.bytes)).await;
    off_the_workers(cost.bytes, move || compressed(&parts, cost.bytes, packing, charge)).await
}

/// The body of a batch in OTLP/JSON.
///
/// # Errors
/// As [`protobuf`].
pub(super) async fn json(batch: &Batch, packing: Packing, work: &Budget) -> Result<Body, Failure> {
    let cost = sendable(batch.cost())?;
    let payloads: Vec<Payload> = batch.pieces().iter().map(|piece| piece.payload.clone()).collect();
    let most = cost.bytes * JSON_GROWTH;
    // Charged once: whoever waits for a second charge may wait for himself.
    let mut charge = work.charge(most + compressing(packing.encoding, most)).await;
    let build = move || {
        let mut json = Vec::new();
        to_json_all(&payloads, &mut json)
            .map_err(|error| internal(format!("cannot write the request as JSON: {error}")))?;
        json.shrink_to_fit();
        let bytes = sendable(Cost { bytes: json.len() as u64, ..cost })?.bytes;
        let parts = vec![Bytes::from(json)];
        if packing.encoding == Encoding::None {
            charge.shrink_to(bytes);
            return Ok(Body { parts, _charge: charge });
        }
        compressed(&parts, bytes, packing, charge)
    };
    off_the_workers(most, build).await
}

/// What is sent in one piece.
fn sendable(cost: Cost) -> Result<Cost, Failure> {
    if cost.bytes > SEND_MAX && cost.items > 1 {
        return Err(Failure::permanent(Fault::Us, Reason::TooLarge, "the request is larger than 4 MiB"));
    }
    Ok(cost)
}

/// What compressing is charged beforehand: what telemetry shrinks to at least, and the copy that a snappy block needs.
const fn compressing(encoding: Encoding, bytes: u64) -> u64 {
    match encoding {
        Encoding::None => 0,
        Encoding::Gzip | Encoding::Zstd | Encoding::Zlib => bytes / 4,
        Encoding::SnappyFramed | Encoding::Lz4 => bytes / 2,
        Encoding::Snappy => 2 * bytes,
    }
}

fn compressed(parts: &[Bytes], bytes: u64, packing: Packing, mut charge: Charge) -> Result<Body, Failure> {
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    let compressed = packing
        .encoding
        .compress_at(packing.level, parts.iter().map(|part| &part[..]), len)
        .map_err(|error| internal(format!("cannot compress the request: {error}")))?;
    charge.shrink_to(compressed.len() as u64);
    Ok(Body { parts: vec![compressed.into()], _charge: charge })
}

/// Builds a body of about so many bytes where it is in nobody's way.
async fn off_the_workers(
    bytes: u64,
    build: impl FnOnce() -> Result<Body, Failure> + Send + 'static,
) -> Result<Body, Failure> {
    if bytes <= OFFLOAD_ABOVE as u64 {
        return build();
    }
    match tokio::task::spawn_blocking(build).await {
        Ok(body) => body,
        // The sending task reports it.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::transient(Fault::Us, Reason::ShuttingDown, "the process is ending")),
    }
}

fn internal(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::permanent(Fault::Us, Reason::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, log};
    use millrace_engine::Reason;

    #[tokio::test]
    async fn more_than_4_mib_is_to_be_halved_unless_it_is_one_item() {
        let work = Budget::new(64 << 20);
        let half = || log(&"x".repeat(SEND_MAX as usize / 2));
        let halves = protobuf(&batch([half(), half()]), Encoding::None.into(), &work).await;
        assert!(halves.is_err_and(|failure| failure.reason == Reason::TooLarge));
        let single = log(&"x".repeat(SEND_MAX as usize + 1));
        assert!(protobuf(&batch([single]), Encoding::None.into(), &work).await.is_ok());
    }

    #[tokio::test]
    async fn pieces_lie_end_to_end_compressed_or_not() {
        let work = Budget::new(64 << 20);
        let batch = batch([log("one"), log("two")]);
        let plain = protobuf(&batch, Encoding::None.into(), &work).await.expect("a body");
        assert_eq!(plain.parts.len(), 2);
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Lz4] {
            let compressed = protobuf(&batch, encoding.into(), &work).await.expect("a body");
            let (inflated, _charge) = encoding
                .inflate(&compressed.parts[0], 1 << 20, &Budget::new(16 << 20))
                .expect("what we compress inflates");
            assert_eq!(inflated, plain.parts.concat());
        }
        assert_eq!(work.used(), 0);
    }

    #[tokio::test]
    async fn json_is_one_object_and_its_charge_covers_it() {
        let work = Budget::new(64 << 20);
        let batch = batch([log("one"), log(&"x".repeat(1 << 20))]);
        let plain = json(&batch, Encoding::None.into(), &work).await.expect("a body");
        let text = plain.parts.concat();
        assert!(text.starts_with(br#"{"resourceLogs":["#) && text.ends_with(b"]}"));
        assert_eq!(work.used(), text.len() as u64);
        drop(plain);
        let compressed = json(&batch, Encoding::Gzip.into(), &work).await.expect("a body");
        assert!(compressed.parts[0].len() < text.len() / 10);
        assert_eq!(work.used(), compressed.parts[0].len() as u64);
        drop(compressed);
        assert_eq!(work.used(), 0);
    }

    #[tokio::test]
    async fn more_than_4_mib_of_json_is_to_be_halved_too() {
        let work = Budget::new(64 << 20);
        // A control character takes six bytes in JSON.
        let record = || log(&"\\u0001".repeat(SEND_MAX as usize / 8));
        let batch = batch([record(), record()]);
        assert!(batch.cost().bytes < SEND_MAX);
        let refused = json(&batch, Encoding::None.into(), &work).await;
        assert!(refused.is_err_and(|failure| failure.reason == Reason::TooLarge));
        assert_eq!(work.used(), 0);
    }
}
