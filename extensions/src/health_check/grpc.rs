//! The standard health service, `grpc.health.v1.Health`.
//!
//! Requests are a name, answers a number; so the messages are read and written here. Changes are looked for every
//! second, since some come with time alone.

use super::aggregate::collector;
use super::config::ComponentHealth;
use super::status_page::{is_healthy, scope};
use bytes::Bytes;
use futures_util::stream::unfold;
use millrace_engine::status::Condition;
use millrace_engine::{BoxFuture, Failure, Health};
use millrace_net::grpc::{Answers, Call, Code, Status, Unary};
use millrace_net::measures::RpcServer;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often a watched service is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// When to come back, where authentication or a middleware says that it cannot tell now.
const RETRY_DELAY: Duration = Duration::from_secs(1);

const CHECK: u8 = 0;
const WATCH: u8 = 1;

/// `ServingStatus`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
const SERVICE_UNKNOWN: u8 = 3;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) health: Health,
    pub(super) component_health: Option<ComponentHealth>,
}

impl Judge {
    /// How a service is, a pipeline or everything; `None` if there is none of that name.
    fn serving(&self, service: &str) -> Option<u8> {
        let default = ComponentHealth::default();
        let config = self.component_health.as_ref().unwrap_or(&default);
        let whole = collector(&self.health, config);
        let event = scope(&whole, service)?.event.as_ref();
        let works = matches!(
            event.map(|event| event.condition),
            Some(Condition::Ok | Condition::RecoverableError | Condition::PermanentError)
        );
        Some(if works && is_healthy(event, Some(config), Instant::now()) { SERVING } else { NOT_SERVING })
    }
}

/// The service, as a server is given it.
pub(super) struct HealthService {
    judge: Arc<Judge>,
    measures: RpcServer,
}

impl HealthService {
    pub(super) fn new(judge: Judge, measures: RpcServer) -> Self {
        Self { judge: Arc::new(judge), measures }
    }
}

impl Unary for HealthService {
    fn route(&self, path: &str) -> Option<u8> {
        match path {
            "/grpc.health.v1.Health/Check" => Some(CHECK),
            "/grpc.health.v1.Health/Watch" => Some(WATCH),
            _ => None,
        }
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move {
            let service = service(&call.message)
                .ok_or_else(|| Status::new(Code::InvalidArgument, "not a HealthCheckRequest"))?;
            let serving = self.judge.serving(&service);
            serving.map(message).ok_or_else(|| Status::new(Code::NotFound, "Service not found."))
        })
    }

    /// Tells how the service is, and whenever that changes, for as long as the client listens.
    fn answers(&self, call: &Call) -> Option<Answers> {
        if call.route != WATCH {
            return None;
        }
        let (judge, service) = (Arc::clone(&self.judge), service(&call.message)?);
        let looks = unfold((judge, service, None), async |(judge, service, told)| {
            loop {
                let serving = judge.serving(&service).unwrap_or(SERVICE_UNKNOWN);
                if told != Some(serving) {
                    return Some((message(serving), (judge, service, Some(serving))));
                }
                sleep(LOOK).await;
            }
        });
        Some(Box::pin(looks))
    }

    fn status(&self, failure: &Failure) -> Status {
        let message = failure.to_string().into();
        Status { code: Code::Unavailable, message, retry_delay: Some(RETRY_DELAY) }
    }

    fn refused(&self, _: &Status) {}

    fn answered(&self, path: &str, code: Code, received: Instant) {
        self.measures.answered(path, code, received);
    }
}

/// `HealthCheckResponse { status = 1 }`.
fn message(serving: u8) -> Bytes {
    Bytes::copy_from_slice(&[0x08, serving])
}

/// The one field of a `HealthCheckRequest { service = 1 }`.
fn service(message: &[u8]) -> Option<String> {
    let text = match message {
        [] => &[][..],
        // A length of up to 14 bits; longer names there are none.
        [0x0a, short, text @ ..] if *short < 0x80 && text.len() == usize::from(*short) => text,
        [0x0a, low, high, text @ ..]
            if *low >= 0x80
                && *high < 0x80
                && text.len() == usize::from(*low & 0x7f) | usize::from(*high) << 7 =>
        {
            text
        }
        _ => return None,
    };
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_a_name() {
        assert_eq!(service(b"").as_deref(), Some(""));
        assert_eq!(service(b"\x0a\x06traces").as_deref(), Some("traces"));
        let long = "n".repeat(300);
        let message = [&[0x0a, 0xac, 0x02], long.as_bytes()].concat();
        assert_eq!(service(&message), Some(long));
        for damaged in [&b"\x0a"[..], b"\x0a\x07traces", b"\x10\x01", b"\x0a\x01\xff"] {
            assert_eq!(service(damaged), None, "{damaged:?}");
        }
    }
}
