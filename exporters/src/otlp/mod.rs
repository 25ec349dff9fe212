//! The OTLP exporters: `otlp_grpc` (formerly `otlp`) and `otlp_http` (formerly `otlphttp`).
//!
//! A batch is sent as it lies: its pieces end to end are one export request, so an uncompressed send copies nothing.

mod body;
mod grpc;
mod http;
#[cfg(test)]
mod tests;

pub use grpc::{Config as GrpcConfig, FACTORY as GRPC_FACTORY};
pub use http::{Config as HttpConfig, FACTORY as HTTP_FACTORY};

use millrace_delivery::Accepted;
use millrace_engine::{Failure, Fault, Reason};
use millrace_net::{Confided, Endpoint};
use millrace_telemetry::Labels;
use millrace_wire::Signal;
use millrace_wire::response::{Encoding as Format, ExportResponse};

/// The labels that say where to.
fn destination(endpoint: &Endpoint) -> Labels {
    let labels = Labels::new().with("server.address", endpoint.address());
    match endpoint.port() {
        Some(port) => labels.with("server.port", port.to_string()),
        None => labels,
    }
}

/// What a successful answer says. `confided` is what was sent in confidence, and is not repeated.
///
/// # Errors
/// A body that cannot be read does not show that the destination took anything; as in Go, it is not sent again.
fn accepted(
    signal: Signal,
    format: Format,
    body: &[u8],
    confided: impl FnOnce() -> Confided,
) -> Result<Accepted, Failure> {
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
            response = confided().quote(&response.message),
            dropped_items = response.rejected,
            "Partial success response"
        );
    }
    Ok(Accepted { rejected_items: u64::try_from(response.rejected).unwrap_or(0) })
}
