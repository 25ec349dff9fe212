//! `otlp_grpc`: OTLP over gRPC.

use super::{accepted, body, destination};
use http::Uri;
use millrace_delivery::{Accepted, Delivery, DeliveryConfig, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Budget, Failure, Fault, Reason, Stage};
use millrace_net::config::GrpcClientConfig;
use millrace_net::connect::Credentials;
use millrace_net::grpc::{CallError, Channel, Code, Status};
use millrace_net::measures::RpcClient;
use millrace_net::{Confided, Encoding, Endpoint};
use millrace_wire::Signal;
use millrace_wire::response::Encoding as Format;
use std::sync::Arc;
use std::time::Instant;

/// The `otlp_grpc` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "otlp_grpc",
    aliases: &["otlp"],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

millrace_config::parts! {
    /// The section `exporters::otlp_grpc`.
    pub struct Config {
        /// Where to, and how.
        pub client: GrpcClientConfig,
        /// Queue, retry, timeout.
        pub delivery: DeliveryConfig,
    }
}

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        let endpoint = Endpoint::parse(&self.client.endpoint).map_err(|error| context.error(error))?;
        let to = destination(&endpoint);
        let sender = self.sender(&context, signal, endpoint)?;
        let delivery = Delivery {
            queue: self.delivery.sending_queue.clone(),
            retry: self.delivery.retry_on_failure.clone(),
            timeout: self.delivery.timeout.get(),
            destination: to,
            metadata: sender.credentials.metadata(),
        };
        Ok(Exporter::start(&context, signal, &delivery, Arc::new(sender))?)
    }
}

impl Config {
    fn sender(
        &self,
        context: &Context,
        signal: Signal,
        endpoint: Endpoint,
    ) -> Result<GrpcSender, BuildError> {
        let measures = RpcClient::new(context, signal, destination(&endpoint));
        let (channel, credentials) = self.client.channel(context, endpoint)?;
        let uri = channel.uri(signal.export_method()).map_err(|error| context.error(error))?;
        let encoding = self.client.compression.over_grpc();
        Ok(GrpcSender {
            channel,
            credentials,
            uri,
            signal,
            encoding: encoding.map_or(Encoding::None, |(encoding, _)| encoding),
            work: context.shared.work.clone(),
            measures,
        })
    }
}

struct GrpcSender {
    channel: Channel,
    credentials: Credentials,
    uri: Uri,
    signal: Signal,
    encoding: Encoding,
    work: Budget,
    measures: RpcClient,
}

impl Sender for GrpcSender {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            let headers = self.credentials.authorize(self.channel.headers(), batch).await?;
            let body = body::protobuf(batch, self.encoding.into(), &self.work).await?;
            let started = Instant::now();
            let called = self.channel.unary(&self.uri, &headers, &body.parts).await;
            let code = called.as_ref().err().map_or(Code::Ok, |error| error.status().code);
            let reached = !matches!(called, Err(CallError::Unreachable(_)));
            self.measures.ended(self.uri.path(), code, reached, started);
            match called {
                Ok(reply) => accepted(self.signal, Format::Protobuf, &reply.message, || {
                    Confided::of(&headers, &[], &self.uri)
                }),
                Err(error) if code == Code::Unauthenticated => {
                    Err(self.credentials.disbelieved(failure(&error)))
                }
                Err(error) => Err(failure(&error)),
            }
        })
    }
}

/// What the end of a call means for the batch, by the OTLP specification's table of retryable codes.
fn failure(error: &CallError) -> Failure {
    let status = error.status();
    let text = status.to_string();
    let reason = match (error, status.code) {
        (CallError::Unreachable(_) | CallError::Broken(_), _) => Reason::Unreachable,
        (CallError::Answered(_), Code::DeadlineExceeded) => Reason::Timeout,
        (CallError::Answered(_), _) => Reason::Throttled,
    };
    let failure = match status.code {
        _ if says_too_large(status) => Failure::permanent(Fault::Destination, Reason::TooLarge, text),
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::transient(Fault::Destination, reason, text),
        Code::ResourceExhausted if status.retry_delay.is_some() => {
            Failure::transient(Fault::Destination, reason, text)
        }
        _ => Failure::permanent(Fault::Destination, Reason::Rejected, text),
    };
    let failure = failure.with_grpc_code(status.code as u8);
    match status.retry_delay {
        Some(delay) if failure.is_transient() => failure.after(delay),
        _ => failure,
    }
}

/// Servers say "too large" in words only: grpc-go as `ResourceExhausted`, tonic as `OutOfRange`.
fn says_too_large(status: &Status) -> bool {
    match status.code {
        Code::ResourceExhausted => status.retry_delay.is_none() && status.message.contains("larger than max"),
        Code::OutOfRange => status.message.contains("message length too large"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn status(code: Code, message: &'static str, retry_delay: Option<Duration>) -> Failure {
        failure(&CallError::Answered(Status { code, message: message.into(), retry_delay }))
    }

    #[test]
    fn codes_are_retried_as_the_specification_says() {
        for code in [
            Code::Canceled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert!(status(code, "", None).is_transient(), "{code:?}");
        }
        for code in [
            Code::InvalidArgument,
            Code::Internal,
            Code::Unimplemented,
            Code::Unauthenticated,
            Code::ResourceExhausted,
        ] {
            assert!(!status(code, "", None).is_transient(), "{code:?}");
        }
        let asked = status(Code::ResourceExhausted, "", Some(Duration::from_secs(3)));
        assert_eq!(asked.retry, millrace_engine::Retry::After(Some(Duration::from_secs(3))));
    }

    #[test]
    fn both_ways_of_saying_too_large_are_understood() {
        let go = status(
            Code::ResourceExhausted,
            "grpc: received message larger than max (5000000 vs. 4194304)",
            None,
        );
        let tonic =
            status(Code::OutOfRange, "Error, decoded message length too large: found 5000000 bytes", None);
        assert_eq!((go.reason, tonic.reason), (Reason::TooLarge, Reason::TooLarge));
    }

    #[test]
    fn no_connection_is_no_refusal() {
        let status = || Status::new(Code::Unavailable, "cannot connect");
        let reasons =
            [CallError::Unreachable(status()), CallError::Broken(status()), CallError::Answered(status())]
                .map(|error| failure(&error).reason);
        assert_eq!(reasons, [Reason::Unreachable, Reason::Unreachable, Reason::Throttled]);
    }
}
