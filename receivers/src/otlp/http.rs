//! OTLP/HTTP: three paths, protobuf and JSON bodies, answers in the request's own format.

use super::config::HttpConfig;
use super::grpc::{RETRY_DELAY, metadata, status};
use super::intake::{Format, Intake, Request, Transport};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use millrace_engine::{Budget, Metadata};
use millrace_net::grpc::{Code, Status};
use millrace_net::http::{BodyError, receive};
use millrace_wire::{Signal, response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone)]
struct Shared {
    signal: Signal,
    intake: Arc<Intake>,
    budget: Budget,
    max_body: usize,
    include_metadata: bool,
    response_headers: Arc<HeaderMap>,
}

/// The routes of the signals that a pipeline takes.
pub(super) fn router(intake: Arc<Intake>, config: &HttpConfig, budget: Budget) -> Router {
    let response_headers = Arc::new(millrace_net::config::header_map(&config.server.response_headers));
    let paths = [
        (Signal::Traces, &config.paths.traces_url_path),
        (Signal::Metrics, &config.paths.metrics_url_path),
        (Signal::Logs, &config.paths.logs_url_path),
    ];
    let mut router = Router::new();
    for (signal, path) in paths.into_iter().filter(|(signal, _)| intake.takes(*signal)) {
        let shared = Shared {
            signal,
            intake: Arc::clone(&intake),
            budget: budget.clone(),
            max_body: config.server.max_body(),
            include_metadata: config.server.include_metadata,
            response_headers: Arc::clone(&response_headers),
        };
        let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        router = router.route(&path, any(export).with_state(shared));
    }
    router.fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
}

async fn export(State(shared): State<Shared>, request: axum::extract::Request) -> Response {
    let mut response = exchange(&shared, request).await;
    for (name, value) in shared.response_headers.iter() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

async fn exchange(shared: &Shared, request: axum::extract::Request) -> Response {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        shared.intake.count_refused(Transport::Http);
        return plain(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed, supported: [POST]");
    }
    let Some(format) = format(&head.headers) else {
        shared.intake.count_refused(Transport::Http);
        return plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]",
        );
    };
    let body = match receive(&head.headers, body, shared.max_body, &shared.budget).await {
        Ok(body) => body,
        Err(error) => {
            shared.intake.count_refused(Transport::Http);
            return refusal(format, &body_status(&error));
        }
    };
    let metadata = if shared.include_metadata { metadata(&head.headers) } else { Metadata::new() };
    let request = Request {
        transport: Transport::Http,
        format,
        body: body.bytes,
        charge: body.charge,
        peer: head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
        metadata,
        received,
    };
    match shared.intake.take(shared.signal, request).await {
        Ok(()) => answer(StatusCode::OK, format, success(format)),
        Err(failure) => refusal(format, &status(&failure)),
    }
}

/// What the body is written in, by its content type; parameters do not matter.
fn format(headers: &HeaderMap) -> Option<Format> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-protobuf") {
        Some(Format::Protobuf)
    } else if essence.eq_ignore_ascii_case("application/json") {
        Some(Format::Json)
    } else {
        None
    }
}

fn body_status(error: &BodyError) -> Status {
    match error {
        BodyError::OverBudget => Status {
            code: Code::Unavailable,
            message: error.to_string().into(),
            retry_delay: Some(RETRY_DELAY),
        },
        _ => Status::new(Code::InvalidArgument, error.to_string()),
    }
}

/// An export response that says that everything was taken.
fn success(format: Format) -> Vec<u8> {
    match format {
        Format::Protobuf => Vec::new(),
        Format::Json => br#"{"partialSuccess":{}}"#.to_vec(),
    }
}

fn encoding(format: Format) -> response::Encoding {
    match format {
        Format::Protobuf => response::Encoding::Protobuf,
        Format::Json => response::Encoding::Json,
    }
}

/// A `google.rpc.Status` in the request's own format, with the HTTP status that its code stands for.
fn refusal(format: Format, status: &Status) -> Response {
    let details =
        response::Status { code: status.code as i32, message: status.message.to_string(), retry_delay: None };
    let body = details.encode(encoding(format));
    let http = http_status(status.code);
    let mut response = answer(http, format, body);
    if let Some(delay) = status.retry_delay
        && (http == StatusCode::SERVICE_UNAVAILABLE || http == StatusCode::TOO_MANY_REQUESTS)
    {
        // Whole seconds, at least one: zero would mean at once.
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(delay.as_secs_f64().ceil().max(1.0) as u64));
    }
    response
}

/// The Go collector's mapping.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn answer(status: StatusCode, format: Format, body: Vec<u8>) -> Response {
    let content_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    (status, [(CONTENT_TYPE, content_type)], Body::from(body)).into_response()
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain")], text).into_response()
}
