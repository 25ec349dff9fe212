//! `retry_on_failure::millrace_status_codes`: which answers are worth another attempt, where that is to be other than
//! what OTLP says. A key of ours: the Go collector has none for it.

use millrace_config::{Checker, Validate};
use millrace_engine::{Failure, Reason, Retry};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The codes of gRPC, by their numbers.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELED",
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

/// What a destination answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusCode {
    /// An HTTP status, from 300 on.
    Http(u16),
    /// A gRPC code other than `OK`.
    Grpc(u8),
}

impl StatusCode {
    fn named(name: &str) -> Option<Self> {
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let code = GRPC.iter().skip(1).position(|known| plain(known) == plain(name))?;
        u8::try_from(code + 1).ok().map(Self::Grpc)
    }

    /// Whether `failure` is that answer. What came over HTTP has a status, and only that counts.
    fn is_of(self, failure: &Failure) -> bool {
        match self {
            Self::Http(status) => failure.http_status == Some(status),
            Self::Grpc(code) => failure.http_status.is_none() && failure.grpc_code == Some(code),
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => status.fmt(f),
            Self::Grpc(code) => f.write_str(GRPC.get(usize::from(*code)).unwrap_or(&"?")),
        }
    }
}

impl<'de> Deserialize<'de> for StatusCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Code)
    }
}

impl Serialize for StatusCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Http(status) => serializer.serialize_u16(*status),
            Self::Grpc(_) => serializer.collect_str(self),
        }
    }
}

impl JsonSchema for StatusCode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatusCode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 300, "maximum": 599 }, { "type": "string" }]
        })
    }
}

struct Code;

impl Visitor<'_> for Code {
    type Value = StatusCode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP status from 300 to 599, or the name of a gRPC code such as UNAVAILABLE")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<StatusCode, E> {
        match u16::try_from(status) {
            Ok(status @ 300..=599) => Ok(StatusCode::Http(status)),
            _ => Err(E::custom(format!(
                "`{status}` is no status of a refusal\nuse an HTTP status from 300 to 599, or the name of a gRPC code \
                 such as UNAVAILABLE"
            ))),
        }
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<StatusCode, E> {
        self.visit_u64(u64::try_from(status).unwrap_or(0))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<StatusCode, E> {
        if let Ok(status) = name.parse() {
            return self.visit_u64(status);
        }
        StatusCode::named(name).ok_or_else(|| {
            E::custom(format!("`{name}` is not a gRPC code\naccepted names: {}", GRPC[1..].join(", ")))
        })
    }
}

/// Exceptions from what OTLP says.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusCodes {
    /// Try again after these, too.
    pub retry: Vec<StatusCode>,
    /// Give up after these at once.
    pub give_up: Vec<StatusCode>,
}

impl StatusCodes {
    /// The failure as it is to be dealt with. What is too large is sent in halves, whatever the code.
    pub(crate) fn judge(&self, failure: Failure) -> Failure {
        let is_listed = |codes: &[StatusCode]| codes.iter().any(|code| code.is_of(&failure));
        if failure.reason == Reason::TooLarge {
            failure
        } else if !failure.is_transient() && is_listed(&self.retry) {
            Failure { retry: Retry::After(None), ..failure }
        } else if failure.is_transient() && is_listed(&self.give_up) {
            Failure { retry: Retry::Never, reason: Reason::Rejected, ..failure }
        } else {
            failure
        }
    }
}

impl Validate for StatusCodes {
    fn validate(&self, at: &mut Checker<'_>) {
        for code in self.retry.iter().filter(|code| self.give_up.contains(code)) {
            at.error("retry", format!("`{code}` is under `give_up`, too\nremove it from one of them"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Fault;

    fn rejected() -> Failure {
        Failure::permanent(Fault::Destination, Reason::Rejected, "no")
    }

    fn throttled() -> Failure {
        Failure::transient(Fault::Destination, Reason::Throttled, "later")
    }

    #[test]
    fn names_are_understood_as_grpc_and_as_go_write_them() {
        for name in ["RESOURCE_EXHAUSTED", "ResourceExhausted", "resource_exhausted"] {
            assert_eq!(StatusCode::named(name), Some(StatusCode::Grpc(8)), "{name}");
        }
        assert_eq!(StatusCode::named("UNAUTHENTICATED"), Some(StatusCode::Grpc(16)));
        assert_eq!((StatusCode::named("OK"), StatusCode::named("TEAPOT")), (None, None));
    }

    #[test]
    fn what_is_listed_is_an_exception_and_everything_else_stays_as_it_is() {
        let codes = StatusCodes {
            retry: vec![StatusCode::Http(500), StatusCode::Grpc(8)],
            give_up: vec![StatusCode::Http(503), StatusCode::Grpc(14)],
        };
        let judged = |failure| codes.judge(failure).is_transient();
        assert!(judged(rejected().with_http_status(500)));
        assert!(!judged(rejected().with_http_status(501)));
        assert!(judged(rejected().with_grpc_code(8)));
        assert!(!judged(throttled().with_http_status(503)));
        assert!(judged(throttled().with_http_status(502)));
        assert!(!judged(throttled().with_grpc_code(14)));
        assert!(judged(throttled()), "without an answer there is no status");
        assert!(
            judged(throttled().with_http_status(504).with_grpc_code(14)),
            "the gRPC code that an HTTP status is passed on as is not what the destination said"
        );
        let given_up = codes.judge(throttled().with_http_status(503));
        assert_eq!(given_up.reason, Reason::Rejected);
    }

    #[test]
    fn what_is_too_large_is_not_sent_again_unchanged() {
        let codes = StatusCodes { retry: vec![StatusCode::Http(413)], give_up: vec![] };
        let too_large = Failure::permanent(Fault::Destination, Reason::TooLarge, "no").with_http_status(413);
        assert!(!codes.judge(too_large).is_transient());
    }
}
