//! The OTLP exporters: `otlp_grpc` (formerly `otlp`) and `otlp_http` (formerly `otlphttp`).
//!
//! A batch is sent as it lies: its pieces end to end are one export request, so an uncompressed send copies nothing.

mod grpc;
mod http;

pub use grpc::{Config as GrpcConfig, FACTORY as GRPC_FACTORY};
pub use http::{Config as HttpConfig, FACTORY as HTTP_FACTORY};

use bytes::Bytes;
use millrace_delivery::Accepted;
use millrace_engine::{Batch, Budget, Charge, Failure, Fault, Reason};
use millrace_net::Encoding;
use millrace_net::compression::OFFLOAD_ABOVE;
use millrace_wire::Signal;
use millrace_wire::response::{Encoding as Format, ExportResponse};

/// The most that is sent in one request unless it is a single item: what gRPC servers accept by default.
const SEND_MAX: u64 = 4 << 20;
/// How much smaller a compressed body is, at least; what compressing is charged beforehand.
const COMPRESSION: u64 = 4;

/// A request body in parts, and what building it holds of the budget.
struct Body {
    parts: Vec<Bytes>,
    _charge: Charge,
}

/// The body of a batch.
///
/// # Errors
/// [`Reason::TooLarge`] for what no destination is likely to take, so that it is sent in halves.
async fn body(batch: &Batch, encoding: Encoding, work: &Budget) -> Result<Body, Failure> {
    let cost = batch.cost();
    if cost.bytes > SEND_MAX && cost.items > 1 {
        return Err(Failure::permanent(Fault::Us, Reason::TooLarge, "the request is larger than 4 MiB"));
    }
    let parts: Vec<Bytes> = batch.pieces().iter().map(|piece| piece.payload.bytes().clone()).collect();
    compressed(parts, cost.bytes, encoding, work).await
}

/// `parts` compressed into one, off the workers where that takes long.
async fn compressed(
    parts: Vec<Bytes>,
    size: u64,
    encoding: Encoding,
    work: &Budget,
) -> Result<Body, Failure> {
    if encoding == Encoding::None {
        return Ok(Body { parts, _charge: Charge::none() });
    }
    let charge = work.charge(size / COMPRESSION).await;
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let compress = move || encoding.compress(parts.iter().map(|part| &part[..]), len);
    let compressed = if len > OFFLOAD_ABOVE {
        tokio::task::spawn_blocking(compress)
            .await
            .map_err(|_| internal("compressing the request panicked"))?
    } else {
        compress()
    };
    let compressed = compressed.map_err(|error| internal(format!("cannot compress the request: {error}")))?;
    Ok(Body { parts: vec![compressed.into()], _charge: charge })
}

fn internal(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::permanent(Fault::Us, Reason::Internal, message)
}

/// What a successful answer says.
///
/// # Errors
/// A body that cannot be read does not show that the destination took anything; as in Go, it is not sent again.
fn accepted(signal: Signal, format: Format, body: &[u8]) -> Result<Accepted, Failure> {
    if body.is_empty() {
        return Ok(Accepted::default());
    }
    let response = ExportResponse::decode(signal, format, body).map_err(|error| {
        Failure::permanent(
            Fault::Destination,
            Reason::Rejected,
            format!("the destination's answer is unreadable: {error}"),
        )
    })?;
    if !response.message.is_empty() {
        tracing::warn!(
            message = response.message,
            dropped_items = response.rejected,
            "Partial success response"
        );
    }
    Ok(Accepted { rejected_items: u64::try_from(response.rejected).unwrap_or(0) })
}
