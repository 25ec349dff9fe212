//! OTLP/gRPC: the four export services.

use super::intake::{Format, Intake, Request, Transport};
use bytes::Bytes;
use http::HeaderMap;
use millrace_engine::{BoxFuture, Failure, Fault, Metadata, Reason, Retry};
use millrace_net::grpc::{Call, Code, Status, Unary};
use millrace_net::measures::RpcServer;
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a sender is told to wait when nobody knows better.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Service {
    intake: Arc<Intake>,
    include_metadata: bool,
    measures: RpcServer,
}

impl Service {
    pub(super) fn new(intake: Arc<Intake>, include_metadata: bool, measures: RpcServer) -> Self {
        Self { intake, include_metadata, measures }
    }
}

impl Unary for Service {
    fn route(&self, path: &str) -> Option<u8> {
        let signal = Signal::ALL.into_iter().find(|signal| signal.export_method() == path)?;
        self.intake.takes(signal).then_some(signal as u8)
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>> {
        let signal = Signal::ALL[usize::from(call.route)];
        let metadata = if self.include_metadata { metadata(&call.headers) } else { Metadata::new() };
        let (path, received) = (signal.export_method(), call.received);
        let headers = call.headers;
        let request = Request {
            transport: Transport::Grpc,
            format: Format::Protobuf,
            body: call.message,
            charge: call.charge,
            peer: call.peer,
            identity: call.identity,
            metadata,
            received: call.received,
        };
        let answer = async move {
            match self.intake.take(signal, request).await {
                // An empty export response.
                Ok(()) => Ok(Bytes::new()),
                Err(failure) => Err(status(&failure)),
            }
        };
        match self.measures.is_traced() {
            true => Box::pin(self.measures.traced(path, headers, received, answer)),
            false => Box::pin(answer),
        }
    }

    fn status(&self, failure: &Failure) -> Status {
        status(failure)
    }

    fn refused(&self, status: &Status) {
        match status.code {
            Code::Unauthenticated => self.intake.count_unauthenticated(Transport::Grpc),
            Code::ResourceExhausted => self.intake.count_too_large(Transport::Grpc),
            _ => self.intake.count_refused(Transport::Grpc),
        }
    }

    fn answered(&self, path: &str, code: Code, received: Instant) {
        self.measures.answered(path, code, received);
    }
}

/// Headers as client metadata: names in lower case, in order.
pub(super) fn metadata(headers: &HeaderMap) -> Metadata {
    headers.iter().map(|(name, value)| (name.as_str().into(), text(value.as_bytes()))).collect()
}

/// A value as text: UTF-8, or what such bytes were in HTTP before (ISO 8859-1). Never nothing, and never the same for
/// different values, as tenants are told apart by it.
fn text(value: &[u8]) -> Box<str> {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    }
}

/// What a sender is told. Transient failures are `Unavailable`, which every sender retries, with a delay; a code that
/// the destination answered with is passed on where it says the same.
pub(super) fn status(failure: &Failure) -> Status {
    let passed_on = failure.grpc_code.map(Code::from_number);
    match failure.retry {
        Retry::After(delay) => Status {
            code: match passed_on {
                Some(
                    code @ (Code::Canceled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::DataLoss),
                ) => code,
                _ => Code::Unavailable,
            },
            message: failure.message.clone(),
            retry_delay: Some(delay.unwrap_or(RETRY_DELAY)),
        },
        Retry::Never => {
            let code = match (passed_on, failure.fault, failure.reason) {
                // First, because servers have said it in codes that senders take for transient.
                (_, _, Reason::TooLarge) => Code::ResourceExhausted,
                (Some(code), ..) if code != Code::Ok => code,
                (_, Fault::Sender, _) => Code::InvalidArgument,
                _ => Code::Internal,
            };
            Status::new(code, failure.message.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn permanent(reason: Reason, code: Option<Code>) -> Failure {
        let failure = Failure::permanent(Fault::Destination, reason, "no");
        code.into_iter().fold(failure, |failure, code| failure.with_grpc_code(code as u8))
    }

    #[test]
    fn metadata_beyond_ascii_is_kept_and_stays_apart() {
        let values: [&[u8]; 4] = [b"acme", "zürich".as_bytes(), b"z\xfcrich", b"z\xfbrich"];
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("tenant", HeaderValue::from_bytes(value).expect("a value"));
        }
        let kept = metadata(&headers).into_iter().map(|(_, value)| value.into_string());
        assert_eq!(kept.collect::<Vec<_>>(), ["acme", "zürich", "zürich", "zûrich"]);
    }

    #[test]
    fn what_may_pass_is_said_in_a_code_that_every_sender_repeats_and_with_a_delay() {
        let throttled = Failure::transient(Fault::Destination, Reason::Throttled, "later");
        for (code, expected) in [
            (Code::ResourceExhausted, Code::Unavailable),
            (Code::Unavailable, Code::Unavailable),
            (Code::Aborted, Code::Aborted),
            (Code::DataLoss, Code::DataLoss),
        ] {
            let status = status(&throttled.clone().with_grpc_code(code as u8));
            assert_eq!((status.code, status.retry_delay), (expected, Some(RETRY_DELAY)));
        }
        let asked = status(&throttled.after(Duration::from_secs(7)));
        assert_eq!(asked.retry_delay, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_will_never_pass_has_no_delay_and_the_destinations_own_code() {
        for (failure, expected) in [
            (permanent(Reason::Rejected, Some(Code::PermissionDenied)), Code::PermissionDenied),
            (permanent(Reason::Rejected, None), Code::Internal),
            (permanent(Reason::TooLarge, Some(Code::OutOfRange)), Code::ResourceExhausted),
            (permanent(Reason::TooLarge, None), Code::ResourceExhausted),
            (Failure::permanent(Fault::Sender, Reason::Malformed, "no"), Code::InvalidArgument),
        ] {
            let status = status(&failure);
            assert_eq!((status.code, status.retry_delay), (expected, None), "{failure:?}");
        }
    }
}
