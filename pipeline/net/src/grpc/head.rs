//! What the headers of a request ask for, and what is wrong with them, in the order in which grpc-go looks.

use super::{Code, Status};
use crate::Encoding;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::time::{Duration, Instant};

/// What is quoted of what a client sent; the rest would only fill its trailers.
const QUOTED_CHARS: usize = 200;
const GRPC: &str = "application/grpc";

/// The headers of a request that can be answered.
#[derive(Debug)]
pub(super) struct Head {
    /// The content type of the answer: the request's own where it names a format (`application/grpc+proto`).
    pub(super) content_type: HeaderValue,
    /// How the message is compressed, if its flag says that it is.
    pub(super) encoding: Encoding,
    /// When the client will have stopped waiting.
    pub(super) deadline: Option<Instant>,
}

/// A refusal before there is a call: an HTTP status beside the gRPC one, for peers that speak HTTP only.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) http: StatusCode,
    pub(super) status: Status,
}

impl Head {
    /// Reads the headers of a request that arrived at `received`.
    pub(super) fn read(method: &Method, headers: &HeaderMap, received: Instant) -> Result<Self, Refusal> {
        let content_type = content_type(headers)?;
        let timeout = match headers.get("grpc-timeout") {
            None => None,
            Some(value) => Some(parse_timeout(value.as_bytes()).ok_or_else(|| Refusal {
                http: StatusCode::BAD_REQUEST,
                status: Status::new(Code::Internal, format!("malformed grpc-timeout: {:?}", quoted(value))),
            })?),
        };
        if *method != Method::POST {
            return Err(Refusal {
                http: StatusCode::METHOD_NOT_ALLOWED,
                status: Status::new(
                    Code::Internal,
                    format!("the method is {method}, and gRPC uses POST only"),
                ),
            });
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded").into());
        }
        Ok(Self {
            content_type,
            encoding: encoding(headers)?,
            deadline: timeout.and_then(|timeout| received.checked_add(timeout)),
        })
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { http: StatusCode::OK, status }
    }
}

/// The refusal of a path that is no method of ours.
pub(super) fn unknown_method(path: &str) -> Status {
    let shown: String = path.chars().take(QUOTED_CHARS).collect();
    let message = match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        Some(_) => format!("unknown method {shown}"),
        None => format!("malformed method name: {shown:?}"),
    };
    Status::new(Code::Unimplemented, message)
}

/// `application/grpc`, alone or with a format after `+` or parameters after `;`.
fn content_type(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let given = headers.get(CONTENT_TYPE);
    let bytes = given.map_or(&b""[..], HeaderValue::as_bytes);
    let rest = bytes
        .split_at_checked(GRPC.len())
        .filter(|(start, _)| start.eq_ignore_ascii_case(GRPC.as_bytes()))
        .and_then(|(_, rest)| rest.first().map_or(Some(None), |&first| Some(Some(first))));
    match (rest, given) {
        (Some(Some(b'+')), Some(given)) if given.len() > GRPC.len() + 1 => Ok(given.clone()),
        (Some(None | Some(b';' | b'+')), _) => Ok(HeaderValue::from_static(GRPC)),
        _ => Err(Refusal {
            http: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            status: Status::new(
                Code::InvalidArgument,
                format!("invalid gRPC request content-type {:?}", given.map(quoted).unwrap_or_default()),
            ),
        }),
    }
}

/// An encoding that we lack is refused even where the message is not compressed, as grpc-go does: the sender's next
/// message would be.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    let Some(name) = headers.get("grpc-encoding") else { return Ok(Encoding::None) };
    Encoding::from_grpc_encoding(name.as_bytes()).ok_or_else(|| {
        Status::new(
            Code::Unimplemented,
            format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}; use gzip, zstd or snappy",
                quoted(name)
            ),
        )
    })
}

fn quoted(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(QUOTED_CHARS).collect()
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Head, Refusal> {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        Head::read(&Method::POST, &headers.iter().map(pair).collect(), Instant::now())
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(parse_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout(b"7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse_timeout(b"7n"), Some(Duration::from_nanos(7)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in [&b""[..], b"S", b"5", b"5x", b"123456789S", b"-1S", b"+1S"] {
            assert_eq!(parse_timeout(bad), None);
        }
    }

    #[test]
    fn content_types_are_grpc_and_answered_in_kind() {
        let answers = [
            ("application/grpc", "application/grpc"),
            ("Application/GRPC", "application/grpc"),
            ("application/grpc+proto", "application/grpc+proto"),
            ("application/grpc+", "application/grpc"),
            ("application/grpc;charset=utf-8", "application/grpc"),
        ];
        for (asked, answered) in answers {
            let head = read(&[("content-type", asked)]).expect("gRPC");
            assert_eq!(head.content_type, answered);
        }
        for bad in ["application/grpcx", "application/json", "application/grp", ""] {
            let refusal = read(&[("content-type", bad)]).expect_err("not gRPC");
            assert_eq!(
                (refusal.http, refusal.status.code),
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            );
        }
    }

    #[test]
    fn what_a_client_sent_is_quoted_in_part_only() {
        let long = "x".repeat(10_000);
        let refusal = read(&[("content-type", &long)]).expect_err("not gRPC");
        assert!(refusal.status.message.len() < 300);
        assert!(unknown_method(&long).message.len() < 300);
    }
}
