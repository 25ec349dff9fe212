//! What can be wrong with OTLP/JSON, and where.

use crate::cursor::WireError;
use std::fmt::Write;
use thiserror::Error;

/// Why some text is not an OTLP/JSON request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}{}: {problem}", at_path(path))]
pub struct JsonError {
    /// The offset of the offending byte or value, from 0.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in bytes, from 1.
    pub column: usize,
    /// The field, such as `resourceSpans[0].scopeSpans[1].spans[7].traceId`; empty for the request itself.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with some OTLP/JSON, without saying where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The text ends too early.
    #[error("the text ends inside a value")]
    Truncated,
    /// Something else than what must stand here.
    #[error("expected {expected}, found {}", printable(*found))]
    Unexpected {
        /// What must stand here.
        expected: &'static str,
        /// The byte that stands here.
        found: u8,
    },
    /// More text after the request's object.
    #[error("the request is followed by more text, send one object")]
    TrailingText,
    /// A control character inside a string, which must be escaped.
    #[error("a string contains the raw control character {0:#04x}, escape it")]
    ControlCharacter(u8),
    /// A backslash that starts no escape.
    #[error("a string contains an escape that JSON does not have")]
    BadEscape,
    /// Text that is not UTF-8, where the policy is to refuse it.
    #[error("a string is not valid UTF-8")]
    InvalidUtf8,
    /// Not a number as JSON or a decimal string writes it.
    #[error("this is not a number")]
    BadNumber,
    /// A fraction or an exponent in an integer field.
    #[error("expected an integer without fraction or exponent")]
    NotAnInteger,
    /// A number that its field cannot hold.
    #[error("the number does not fit {0}")]
    OutOfRange(&'static str),
    /// An enum value by a name that it does not have.
    #[error("the enum has no value of this name")]
    UnknownEnumName,
    /// An id with other characters than hexadecimal digits.
    #[error("an id must be written in hexadecimal digits")]
    BadHex,
    /// An id of the wrong length.
    #[error("an id must have {expected} hexadecimal digits or none, not {found}")]
    IdLength {
        /// The digits it must have.
        expected: usize,
        /// The bytes it has.
        found: usize,
    },
    /// Not base64.
    #[error("bytes must be written in base64")]
    BadBase64,
    /// Messages, or unknown values, nested deeper than the limit.
    #[error("values are nested too deeply")]
    TooDeep,
    /// More protobuf than the limit.
    #[error("the request is larger than {0} bytes in protobuf")]
    TooLarge(usize),
    /// A profiles request, for which there is no table.
    #[error("profiles are not read from JSON, send protobuf")]
    Profiles,
}

/// Why a request could not be written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ToJsonError {
    /// A profiles request, for which there is no table.
    #[error("profiles are not written as JSON, use protobuf")]
    Profiles,
    /// Payloads of several signals were to be written as one request.
    #[error("payloads of several signals cannot be one request")]
    MixedSignals,
    /// The payload is not what a payload must be: a bug of whoever made it.
    #[error("the payload is damaged: {0}")]
    Damaged(#[from] WireError),
}

/// A step of a path, outermost last while an error travels up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(&'static str),
    Unknown(String),
    Index(usize),
}

/// Renders the steps, which are innermost first.
pub(super) fn path(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps.iter().rev() {
        let name = match step {
            Step::Field(name) => name,
            Step::Unknown(name) => name.as_str(),
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "[{index}]");
                continue;
            }
        };
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(name);
    }
    out
}

/// Line and column of an offset, from 1.
pub(super) fn place(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
    (line, column)
}

fn at_path(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" (in {path})") }
}

fn printable(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("byte {byte:#04x}") }
}
