//! OTLP/HTTP: protobuf bodies over HTTP/1.1.

use super::state::{Answer, Sink};
use crate::compression::Compression;
use crate::tls::ServerStream;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_wire::Signal;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Serves one connection to its end. What breaks it is the peer's business.
pub(super) async fn connection(sink: Arc<Sink>, stream: ServerStream) {
    let service = service_fn(|request| {
        let sink = sink.clone();
        async move { Ok::<_, Infallible>(respond(&sink, request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(600))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(sink: &Sink, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let signal = match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/traces") => Signal::Traces,
        (&Method::POST, "/v1/metrics") => Signal::Metrics,
        (&Method::POST, "/v1/logs") => Signal::Logs,
        _ => return plain(StatusCode::NOT_FOUND, "POST to /v1/traces, /v1/metrics or /v1/logs"),
    };
    let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if header(CONTENT_TYPE) != Some("application/x-protobuf") {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only application/x-protobuf is counted here");
    }
    let Some(coding) = Compression::from_header(header(CONTENT_ENCODING).unwrap_or_default()) else {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown content-encoding");
    };
    let Ok(body) = Limited::new(request.into_body(), sink.max_body).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body broke off or is larger than --max-body-mib");
    };
    match sink.handle(signal, coding, &body.to_bytes()).await {
        Answer::Success => {
            let mut response = Response::new(Full::default());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            response
        }
        Answer::Malformed(message) => plain(StatusCode::BAD_REQUEST, &message),
        Answer::Refuse(failure) => {
            let status = StatusCode::from_u16(failure.http).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut response = plain(status, "refused on purpose");
            if let Some(delay) = sink.retry_after {
                // The header has whole seconds only.
                let seconds = HeaderValue::from(delay.as_secs_f64().ceil() as u64);
                response.headers_mut().insert(RETRY_AFTER, seconds);
            }
            response
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
