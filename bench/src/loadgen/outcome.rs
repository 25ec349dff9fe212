//! What one attempt came to.

use crate::status::{self, Code};
use crate::walk::Fields;
use std::time::Duration;

/// The end of one attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Success. `rejected` is what `partial_success` says was not accepted.
    Acked {
        rejected: u64,
    },
    Refused(Refusal),
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub(super) struct Refusal {
    /// `grpc UNAVAILABLE`, `http 503`, `transport`, `timeout`.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) is_retryable: bool,
    /// What the server asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// The connection broke, or was never made.
    pub(super) fn transport(error: &dyn std::fmt::Display) -> Self {
        Self { code: "transport".into(), message: error.to_string(), is_retryable: true, retry_after: None }
    }

    /// No answer in time.
    pub(super) fn timeout() -> Self {
        let message = "no answer within --timeout".into();
        Self { code: "timeout".into(), message, is_retryable: true, retry_after: None }
    }

    pub(super) fn grpc(code: Code, message: &str, retry_after: Option<Duration>) -> Self {
        Self {
            code: format!("grpc {}", code.name()),
            message: message.to_owned(),
            is_retryable: code.is_retryable(retry_after.is_some()),
            retry_after,
        }
    }

    pub(super) fn http(status: u16, message: &[u8], retry_after: Option<Duration>) -> Self {
        // A google.rpc.Status, whose field 2 says what happened; or plain text from something before the collector.
        let mut fields = Fields::of(message, &(0..message.len()));
        let message = match fields.find(|field| matches!(field, Ok(field) if field.number == 2)) {
            Some(Ok(text)) => &message[text.body],
            _ => message,
        };
        let printable: Vec<u8> =
            message.iter().copied().filter(|byte| (0x20..0x7f).contains(byte)).take(200).collect();
        Self {
            code: format!("http {status}"),
            message: String::from_utf8_lossy(&printable).into_owned(),
            is_retryable: status::http_is_retryable(status),
            retry_after,
        }
    }
}

/// The rejected count in an export response (`partial_success` is field 1, the count its field 1).
pub(super) fn rejected(response: &[u8]) -> u64 {
    use millrace_wire::cursor::{Cursor, WireType};
    let Some(Ok(partial)) =
        Fields::of(response, &(0..response.len())).find(|f| !matches!(f, Ok(f) if f.number != 1))
    else {
        return 0;
    };
    let mut cursor = Cursor::new(&response[partial.body]);
    while let Ok(tag) = cursor.tag() {
        if (tag.field, tag.wire) == (1, WireType::Varint) {
            return cursor.varint().unwrap_or(0);
        }
        if cursor.skip(tag, 4).is_err() {
            break;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_refusal_is_found_in_its_status() {
        let status = [&[0x08, 14, 0x12, 4][..], b"busy"].concat();
        assert_eq!(Refusal::http(503, &status, None).message, "busy");
        assert_eq!(Refusal::http(502, b"bad gateway", None).message, "bad gateway");
    }

    #[test]
    fn a_partial_success_is_read() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(&[0x0a, 0x00]), 0);
        assert_eq!(rejected(&[0x0a, 0x05, 0x08, 0x96, 0x01, 0x12, 0x00]), 150);
    }
}
