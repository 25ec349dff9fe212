//! Status: how a call ended, in trailers.

use crate::Confided;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue};
use millrace_wire::response;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Padding is optional in binary headers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The longest message that is sent, in bytes. Some peers refuse trailers above 8 KiB, and may have it twice and escaped.
const MESSAGE_MAX: usize = 1 << 10;

/// A status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// The code of that number; unassigned numbers mean [`Code::Unknown`].
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Canceled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// The name that gRPC's specification gives it, as `rpc.response.status_code` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Canceled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The code that an HTTP status stands for when a proxy answered instead of a gRPC server.
    #[must_use]
    pub const fn from_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// For people.
    pub message: Cow<'static, str>,
    /// How long to wait before trying again (`google.rpc.RetryInfo`).
    pub retry_delay: Option<Duration>,
}

impl Status {
    /// A status without a delay.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_delay: None }
    }

    /// The same in words that may be repeated to anybody: one short line without what was told in confidence.
    #[must_use]
    pub(crate) fn quoted(self, confided: &Confided) -> Self {
        Self { message: confided.quote(&self.message).into(), ..self }
    }

    /// The trailers that say it.
    #[must_use]
    pub fn to_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(3);
        let message = &self.message[..self.message.floor_char_boundary(MESSAGE_MAX)];
        trailers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !message.is_empty()
            && let Ok(message) = HeaderValue::from_bytes(percent_encoded(message).as_bytes())
        {
            trailers.insert("grpc-message", message);
        }
        if self.retry_delay.is_some() {
            let details = response::Status {
                code: self.code as i32,
                message: message.to_owned(),
                retry_delay: self.retry_delay,
            };
            let encoded = BASE64.encode(details.encode(response::Encoding::Protobuf));
            if let Ok(value) = HeaderValue::from_str(&encoded) {
                trailers.insert("grpc-status-details-bin", value);
            }
        }
        trailers
    }

    /// The status that trailers (or the headers of a trailers-only answer) carry, if any.
    #[must_use]
    pub fn from_trailers(trailers: &HeaderMap) -> Option<Self> {
        let number = trailers.get("grpc-status")?.to_str().ok()?.parse().unwrap_or(2);
        let message =
            trailers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        let retry_delay = trailers
            .get("grpc-status-details-bin")
            .and_then(|value| BASE64.decode(value.as_bytes()).ok())
            .and_then(|details| response::Status::decode(response::Encoding::Protobuf, &details).ok())
            .and_then(|details| details.retry_delay);
        Some(Self { code: Code::from_number(number), message: message.into(), retry_delay })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rpc error: code = {:?} desc = {}", self.code, self.message)
    }
}

/// Everything but printable ASCII, and the percent sign itself, as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                encoded.push('%');
                encoded.push(char::from(HEX[usize::from(byte >> 4)]));
                encoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

/// The reverse; what is not a valid escape is left as it is.
fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        match escape {
            Some(escaped) => {
                decoded.push(escaped);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_trailers() {
        let status = Status {
            code: Code::Unavailable,
            message: "voll, später: 100%\n".into(),
            retry_delay: Some(Duration::from_millis(1500)),
        };
        let trailers = status.to_trailers();
        let back = Status::from_trailers(&trailers).expect("a status");
        assert_eq!(back.code, Code::Unavailable);
        assert_eq!(back.message, status.message);
        assert_eq!(back.retry_delay, status.retry_delay);
    }

    #[test]
    fn long_messages_are_cut_so_that_peers_take_the_trailers() {
        let status = Status {
            code: Code::Unavailable,
            message: "ä".repeat(100_000).into(),
            retry_delay: Some(Duration::from_secs(1)),
        };
        let trailers = status.to_trailers();
        let size: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(size < 6 << 10, "{size}");
        assert_eq!(Status::from_trailers(&trailers).expect("a status").message, "ä".repeat(512));
    }

    #[test]
    fn damaged_escapes_are_left_as_they_are() {
        assert_eq!(percent_decoded(b"50% of %41 %+4 %4"), "50% of A %+4 %4");
    }
}
