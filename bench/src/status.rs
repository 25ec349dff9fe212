//! gRPC status codes, their HTTP counterparts in OTLP, and the retry hint (`RetryInfo`).
//!
//! Follows the OTLP specification, "OTLP/gRPC throttling" and "OTLP/HTTP response".

use crate::walk::Fields;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use millrace_wire::cursor::{Cursor, WireType};
use millrace_wire::writer::{begin_message, end_message, put_len_field, put_varint_field};
use std::time::Duration;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const RETRY_INFO: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

/// gRPC peers send base64 with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    /// 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// 14.
    pub const UNAVAILABLE: Self = Self(14);

    /// The name in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN_CODE")
    }

    /// Reads a number or a name in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.parse().ok().filter(|number| usize::from(*number) < NAMES.len());
        let named = || NAMES.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|index| index as u8);
        number.or_else(named).map(Self)
    }

    /// Whether an OTLP client sends again. RESOURCE_EXHAUSTED only counts with a retry hint.
    #[must_use]
    pub fn is_retryable(self, has_hint: bool) -> bool {
        match self.0 {
            1 | 4 | 10 | 11 | 14 | 15 => true,
            8 => has_hint,
            _ => false,
        }
    }

    /// The HTTP status with which an OTLP server says the same.
    #[must_use]
    pub fn http(self) -> u16 {
        match self.0 {
            0 => 200,
            3 | 9 | 11 => 400,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            4 => 504,
            16 => 401,
            _ => 500,
        }
    }

    /// The gRPC code with which an OTLP server says the same as an HTTP status.
    #[must_use]
    pub fn from_http(status: u16) -> Self {
        Self(match status {
            200..=299 => 0,
            400 => 3,
            401 => 16,
            403 => 7,
            404 | 501 => 12,
            429 | 502 | 503 => 14,
            504 => 4,
            _ => 13,
        })
    }
}

/// Whether an OTLP/HTTP client sends again after this status.
#[must_use]
pub fn http_is_retryable(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// The value of `grpc-status-details-bin` that carries a retry delay.
#[must_use]
pub fn encode_retry_info(code: Code, message: &str, delay: Duration) -> String {
    let mut status = Vec::new();
    put_varint_field(&mut status, 1, u64::from(code.0));
    put_len_field(&mut status, 2, message.as_bytes());
    let any = begin_message(&mut status, 3);
    put_len_field(&mut status, 1, RETRY_INFO);
    let info = begin_message(&mut status, 2);
    let duration = begin_message(&mut status, 1);
    put_varint_field(&mut status, 1, delay.as_secs());
    put_varint_field(&mut status, 2, u64::from(delay.subsec_nanos()));
    end_message(&mut status, duration);
    end_message(&mut status, info);
    end_message(&mut status, any);
    BASE64.encode(status)
}

/// The retry delay in the value of `grpc-status-details-bin`, if there is one.
#[must_use]
pub fn decode_retry_info(header: &str) -> Option<Duration> {
    let status = BASE64.decode(header).ok()?;
    for detail in Fields::of(&status, &(0..status.len())) {
        let detail = detail.ok()?;
        if detail.number != 3 {
            continue;
        }
        let mut is_retry_info = false;
        for part in Fields::of(&status, &detail.body) {
            let part = part.ok()?;
            match part.number {
                1 => is_retry_info = &status[part.body] == RETRY_INFO,
                2 if is_retry_info => {
                    let Some(delay) = Fields::of(&status, &part.body).next() else {
                        return Some(Duration::ZERO);
                    };
                    return duration(&status[delay.ok()?.body]);
                }
                _ => {}
            }
        }
    }
    None
}

/// A `google.protobuf.Duration`.
fn duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut cursor = Cursor::new(message);
    while !cursor.is_done() {
        let tag = cursor.tag().ok()?;
        match (tag.field, tag.wire) {
            (1, WireType::Varint) => seconds = cursor.varint().ok()?,
            (2, WireType::Varint) => nanos = cursor.varint().ok()?,
            _ => cursor.skip(tag, 4).ok()?,
        }
    }
    // Negative values are sign-extended and land far above these bounds.
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    (seconds < 1 << 32).then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_delay_survives_the_header_with_and_without_padding() {
        let delay = Duration::from_millis(1250);
        let header = encode_retry_info(Code::UNAVAILABLE, "busy", delay);
        assert_eq!(decode_retry_info(&header), Some(delay));
        let padded = format!("{header}{}", "=".repeat((4 - header.len() % 4) % 4));
        assert_eq!(decode_retry_info(&padded), Some(delay));
    }

    #[test]
    fn damage_and_other_details_are_no_retry_delay() {
        assert_eq!(decode_retry_info("!!!"), None);
        assert_eq!(decode_retry_info("CA4"), None);
        assert_eq!(duration(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), None);
    }

    #[test]
    fn codes_are_read_by_number_and_name() {
        assert_eq!(Code::parse("14"), Some(Code::UNAVAILABLE));
        assert_eq!(Code::parse("resource_exhausted"), Some(Code::RESOURCE_EXHAUSTED));
        assert_eq!(Code::parse("17"), None);
        assert!(!Code::RESOURCE_EXHAUSTED.is_retryable(false) && Code::RESOURCE_EXHAUSTED.is_retryable(true));
    }
}
