//! OTLP/HTTP to OTLP/HTTP over HTTP/1.1 with axum, prost, and hyper's pooled client.

use super::{Args, MAX_MESSAGE};
use crate::compression::Compression;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: u32 = 3;
const MAX_RESPONSE: usize = 64 * 1024;

/// Serves on `listener` until a signal.
///
/// # Errors
/// What the server library reports.
pub async fn run(listener: TcpListener, args: &Args) -> io::Result<()> {
    let stop = CancellationToken::new();
    crate::run::cancel_on_signal(stop.clone())?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let relay = Relay {
        client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector),
        forward: args.forward,
        compression: args.compression,
    };
    let routes = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .with_state(relay);
    let listener = listener.tap_io(|stream| {
        // A connection that is already gone fails here and again, visibly, at its first read.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[derive(Debug, Clone)]
struct Relay {
    client: Client<HttpConnector, Full<Bytes>>,
    forward: SocketAddr,
    compression: Compression,
}

async fn traces(relay: State<Relay>, headers: HeaderMap, body: Bytes) -> Response {
    relay.pass::<ExportTraceServiceRequest>("/v1/traces", &headers, &body).await
}

async fn metrics(relay: State<Relay>, headers: HeaderMap, body: Bytes) -> Response {
    relay.pass::<ExportMetricsServiceRequest>("/v1/metrics", &headers, &body).await
}

async fn logs(relay: State<Relay>, headers: HeaderMap, body: Bytes) -> Response {
    relay.pass::<ExportLogsServiceRequest>("/v1/logs", &headers, &body).await
}

impl Relay {
    async fn pass<M: Message + Default>(
        &self,
        path: &'static str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Response {
        match decode::<M>(headers, body) {
            Ok(message) => self.send(path, &message).await.unwrap_or_else(|error| {
                (StatusCode::SERVICE_UNAVAILABLE, format!("could not reach the destination: {error}"))
                    .into_response()
            }),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    }

    async fn send(
        &self,
        path: &str,
        message: &impl Message,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let encoded = message.encode_to_vec();
        let body = match self.compression {
            Compression::None => encoded,
            coding => {
                let mut packed = Vec::with_capacity(encoded.len() / 4);
                coding.encode(
                    if coding == Compression::Gzip { GZIP_LEVEL } else { ZSTD_LEVEL },
                    &encoded,
                    &mut packed,
                )?;
                packed
            }
        };
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://{}{path}", self.forward).parse()?;
        request.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
        if self.compression != Compression::None {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(self.compression.name()));
        }
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
        let mut response = (head.status, body).into_response();
        for name in [CONTENT_TYPE, RETRY_AFTER] {
            if let Some(value) = head.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok(response)
    }
}

fn decode<M: Message + Default>(headers: &HeaderMap, body: &Bytes) -> io::Result<M> {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decoded = match Compression::from_header(encoding) {
        Some(Compression::None) => M::decode(&body[..]),
        Some(coding) => M::decode(&coding.decode(body, MAX_MESSAGE)?[..]),
        None => return Err(io::Error::other("unknown content-encoding")),
    };
    decoded.map_err(io::Error::other)
}
