//! What an OTLP server answers: `Export*ServiceResponse` with its partial success, and `google.rpc.Status` with its
//! retry delay, in protobuf and in JSON.
//!
//! Written as the Go collector v0.159 writes them: the partial success is always there, if empty. Its JSON `Status`
//! comes from protojson, which puts blanks in at random; ours has none.
//!
//! The callers bound the length of what is decoded. Text that is not UTF-8 is repaired; unknown fields and details
//! are stepped over.

mod json;
mod protobuf;

use crate::Signal;
use crate::cursor::WireError;
use crate::json::JsonError;
use std::time::Duration;
use thiserror::Error;

/// How a body is written: `application/x-protobuf` or `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// Why a response could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Damaged protobuf.
    #[error("the response is not protobuf: {0}")]
    Protobuf(#[from] WireError),
    /// Damaged JSON.
    #[error("the response is not JSON: {0}")]
    Json(#[from] JsonError),
}

/// The body of a successful export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportResponse {
    /// How many spans, data points or log records the server has refused.
    pub rejected: i64,
    /// Why, or a warning where nothing was refused; empty for a full success.
    pub message: String,
}

impl ExportResponse {
    /// The body as bytes.
    #[must_use]
    pub fn encode(&self, signal: Signal, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.message.len());
        match encoding {
            Encoding::Protobuf => protobuf::put_response(self, &mut out),
            Encoding::Json => json::put_response(self, signal, &mut out),
        }
        out
    }

    /// Reads a body. An empty protobuf body is a full success.
    ///
    /// # Errors
    /// [`ResponseError`] when the body is damaged.
    pub fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Self, ResponseError> {
        Ok(match encoding {
            Encoding::Protobuf => protobuf::response(body)?,
            Encoding::Json => json::response(signal, body)?,
        })
    }
}

/// Why an export failed: `google.rpc.Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The gRPC status code.
    pub code: i32,
    /// What went wrong, for people.
    pub message: String,
    /// How long to wait before the next attempt (`google.rpc.RetryInfo`). A negative delay is read as none to wait.
    pub retry_delay: Option<Duration>,
}

impl Status {
    /// The status as bytes; in protobuf also what `grpc-status-details-bin` carries.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.message.len());
        match encoding {
            Encoding::Protobuf => protobuf::put_status(self, &mut out),
            Encoding::Json => json::put_status(self, &mut out),
        }
        out
    }

    /// Reads a status.
    ///
    /// # Errors
    /// [`ResponseError`] when the bytes are damaged.
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Result<Self, ResponseError> {
        Ok(match encoding {
            Encoding::Protobuf => protobuf::status(bytes)?,
            Encoding::Json => json::status(bytes)?,
        })
    }
}

/// The type of the detail that holds the delay, as we write it.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The longest delay that `google.protobuf.Duration` can say: ten thousand years. Whatever asks for more is read, and
/// written, as this.
const DELAY_MAX: Duration = Duration::new(315_576_000_000, 999_999_999);

/// Any prefix will do, as `Any` asks.
fn name_is_retry_info(name: &[u8]) -> bool {
    name.rsplit(|&byte| byte == b'/').next() == Some(b"google.rpc.RetryInfo")
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// How deep groups and unknown values may be.
const DEPTH: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_success_is_what_go_writes() {
        let success = ExportResponse::default();
        assert_eq!(success.encode(Signal::Traces, Encoding::Protobuf), [0x0a, 0]);
        assert_eq!(success.encode(Signal::Logs, Encoding::Json), b"{\"partialSuccess\":{}}");
        for body in
            [&b"{}"[..], b"null", b" {\"partialSuccess\":null,\"x\":[{}]} ", b"{\"partialSuccess\":{}}"]
        {
            assert_eq!(ExportResponse::decode(Signal::Traces, Encoding::Json, body), Ok(success.clone()));
        }
        assert_eq!(ExportResponse::decode(Signal::Traces, Encoding::Protobuf, b""), Ok(success));
    }

    #[test]
    fn partial_success_survives_both_encodings() {
        for signal in Signal::ALL {
            for (rejected, message) in
                [(0, "careful"), (3, ""), (i64::MAX, "a \"quoted\"\nline"), (-1, "odd")]
            {
                let response = ExportResponse { rejected, message: message.into() };
                for encoding in [Encoding::Protobuf, Encoding::Json] {
                    let body = response.encode(signal, encoding);
                    assert_eq!(ExportResponse::decode(signal, encoding, &body).as_ref(), Ok(&response));
                }
            }
        }
    }

    #[test]
    fn statuses_survive_both_encodings() {
        let delays = [
            None,
            Some(Duration::ZERO),
            Some(Duration::from_millis(1500)),
            Some(Duration::new(7, 1)),
            Some(DELAY_MAX),
        ];
        for retry_delay in delays {
            for (code, message) in [(0, ""), (14, "try again"), (-3, "\u{1}é")] {
                let status = Status { code, message: message.into(), retry_delay };
                for encoding in [Encoding::Protobuf, Encoding::Json] {
                    assert_eq!(Status::decode(encoding, &status.encode(encoding)).as_ref(), Ok(&status));
                }
            }
        }
    }

    #[test]
    fn delays_beyond_what_the_protocol_can_say_are_the_longest_that_it_can() {
        let json = b"{\"details\":[{\"@type\":\"x/google.rpc.RetryInfo\",\"retryDelay\":\"18446744073709551615.9s\"}]}";
        let longest = Some(DELAY_MAX);
        assert_eq!(Status::decode(Encoding::Json, json).expect("a status").retry_delay, longest);
        let forever = Status { retry_delay: Some(Duration::MAX), ..Status::default() };
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let read = Status::decode(encoding, &forever.encode(encoding)).expect("a status");
            assert_eq!(read.retry_delay, longest, "{encoding:?}");
        }
    }

    #[test]
    fn json_status_is_written_as_protojson_writes_it() {
        let status =
            Status { code: 14, message: "busy".into(), retry_delay: Some(Duration::from_micros(2_000_250)) };
        let expected = "{\"code\":14,\"message\":\"busy\",\"details\":[{\
            \"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"2.000250s\"}]}";
        assert_eq!(String::from_utf8(status.encode(Encoding::Json)).unwrap(), expected);
        assert_eq!(Status::default().encode(Encoding::Json), b"{}");
    }

    #[test]
    fn refusals_of_the_go_collector_are_read() {
        let protobuf = b"\x08\x03\x12\x0eunexpected EOF";
        let json = b"{\"code\":3, \"message\":\"unexpected EOF\"}";
        let expected = Status { code: 3, message: "unexpected EOF".into(), retry_delay: None };
        assert_eq!(Status::decode(Encoding::Protobuf, protobuf).as_ref(), Ok(&expected));
        assert_eq!(Status::decode(Encoding::Json, json).as_ref(), Ok(&expected));
        assert_eq!(expected.encode(Encoding::Protobuf), protobuf);
    }

    #[test]
    fn partial_success_is_what_prost_reads_and_writes() {
        use opentelemetry_proto::tonic::collector::trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceResponse,
        };
        use prost::Message;
        let partial = ExportTracePartialSuccess { rejected_spans: 300, error_message: "too old".into() };
        let theirs = ExportTraceServiceResponse { partial_success: Some(partial) };
        let ours = ExportResponse { rejected: 300, message: "too old".into() };
        assert_eq!(ours.encode(Signal::Traces, Encoding::Protobuf), theirs.encode_to_vec());
    }

    #[test]
    fn other_details_are_stepped_over() {
        let text = b"{\"details\":[{\"@type\":\"t/google.rpc.ErrorInfo\",\"reason\":\"R\",\"retryDelay\":\"9s\"},null,\
            {\"retryDelay\":\"0.5s\",\"@type\":\"x/google.rpc.RetryInfo\"}],\"code\":8, \"message\":\"m\"}";
        let expected = Status { code: 8, message: "m".into(), retry_delay: Some(Duration::from_millis(500)) };
        assert_eq!(Status::decode(Encoding::Json, text), Ok(expected));
    }

    #[test]
    fn damage_is_an_error() {
        for bad in
            [&b""[..], b"{", b"[]", b"{\"code\":\"x\"}", b"{\"message\":5}", b"{} x", b"{\"code\":1e3}"]
        {
            assert!(Status::decode(Encoding::Json, bad).is_err(), "{}", lossy(bad));
        }
        assert_eq!(
            Status::decode(Encoding::Protobuf, &[0x12, 9, b'x']),
            Err(WireError::LengthOverrun.into())
        );
    }
}
