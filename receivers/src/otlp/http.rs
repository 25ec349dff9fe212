//! OTLP/HTTP: a path for each signal, protobuf and JSON bodies, answers in the request's own format.

use super::config::HttpConfig;
use super::grpc::{RETRY_DELAY, metadata, status};
use super::intake::{Format, Intake, Request, Transport};
use super::media_type::format;
use super::within;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use millrace_engine::component::Context;
use millrace_engine::{Budget, Failure, Identity, Metadata, Reason};
use millrace_net::grpc::{Code, Status};
use millrace_net::http::{Accepted, BodyError, Front, Turned, last_unless_whole, receive, turned_away};
use millrace_net::measures::HttpServer;
use millrace_net::stream::Peer;
use millrace_wire::{Signal, response};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

/// Where profiles are sent, whatever the configuration says; as in Go, which has no key for it.
const PROFILES_PATH: &str = "/v1development/profiles";

struct Shared {
    paths: Vec<(String, Signal)>,
    intake: Arc<Intake>,
    budget: Budget,
    accepted: Accepted,
    front: Arc<Front>,
    include_metadata: bool,
    measures: HttpServer,
}

/// The routes of the signals that a pipeline takes. Paths are compared as they are: they come from the configuration,
/// where nothing in them has a meaning of its own.
pub(super) fn router(
    intake: Arc<Intake>,
    config: &HttpConfig,
    front: Arc<Front>,
    context: &Context,
) -> Router {
    let budget = context.shared.intake.clone();
    let paths = config.paths.by_signal().into_iter().chain([(Signal::Profiles, PROFILES_PATH)]);
    let paths = paths.filter(|(signal, _)| intake.takes(*signal));
    let shared = Shared {
        paths: paths.map(|(signal, path)| (rooted(path), signal)).collect(),
        intake,
        accepted: config.server.accepted(within(&budget, config.server.max_body())),
        front,
        budget,
        include_metadata: config.server.include_metadata,
        measures: HttpServer::new(context),
    };
    Router::new().fallback(serve).with_state(Arc::new(shared))
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

async fn serve(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    if shared.measures.is_active() {
        let route =
            shared.paths.iter().map(|(path, _)| path.as_str()).find(|path| *path == request.uri().path());
        return shared.measures.observe(route, request, |request| fronted(&shared, request)).await;
    }
    fronted(&shared, request).await
}

/// Whether a request may come in is asked before where it wants to go, as in the Go collector.
async fn fronted(shared: &Shared, request: axum::extract::Request) -> Response {
    let refuse = |headers: &HeaderMap, turned| {
        let status = match turned {
            Turned::Unauthenticated(message) => Status::new(Code::Unauthenticated, message),
            Turned::Away(failure) => http_refusal(&failure),
            Turned::TooSlow => Status::new(Code::DeadlineExceeded, "authentication took too long"),
        };
        match status.code {
            Code::Unauthenticated => shared.intake.count_unauthenticated(Transport::Http),
            _ => shared.intake.count_refused(Transport::Http),
        }
        refusal(format(headers).unwrap_or(Format::Json), &status)
    };
    shared.front.answer(request, |request, identity| routed(shared, identity, request), refuse).await
}

async fn routed(
    shared: &Shared,
    identity: Option<Arc<Identity>>,
    request: axum::extract::Request,
) -> Response {
    let path = request.uri().path();
    match shared.paths.iter().find(|(known, _)| known == path) {
        Some((_, signal)) => exchange(shared, *signal, identity, request).await,
        None => {
            let answer = no_such_path(request.uri());
            turned_away(request, answer).await
        }
    }
}

/// A path with empty or dotted segments is redirected to the one it means, as Go's multiplexer does: senders whose
/// endpoint ends in a slash depend on it.
fn no_such_path(uri: &Uri) -> Response {
    let path = uri.path();
    if path == "*" {
        return (StatusCode::BAD_REQUEST, [(CONNECTION, "close")]).into_response();
    }
    let cleaned = cleaned(path);
    if cleaned != path && !path.is_empty() {
        let cleaned = escaped(&cleaned);
        let location = match uri.query() {
            Some(query) => format!("{cleaned}?{query}"),
            None => cleaned,
        };
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response();
    }
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}

/// The path without empty and dotted segments. A slash at the end stays.
fn cleaned(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// The path with escapes for what does not belong into one: browsers take `/\host` for another host.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'%' => escaped.push(byte.into()),
            byte if b"/-._~!$&'()*+,;=:@".contains(&byte) => escaped.push(byte.into()),
            // Writing to a string cannot fail.
            byte => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

async fn exchange(
    shared: &Shared,
    signal: Signal,
    identity: Option<Arc<Identity>>,
    request: axum::extract::Request,
) -> Response {
    let received = Instant::now();
    if request.method() != Method::POST {
        shared.intake.count_refused(Transport::Http);
        let answer = plain(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed, supported: [POST]");
        return turned_away(request, answer).await;
    }
    let Some(format) = format(request.headers()) else {
        shared.intake.count_refused(Transport::Http);
        let answer = plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]",
        );
        return turned_away(request, answer).await;
    };
    let (head, mut body) = request.into_parts();
    let body = match receive(&head.headers, &mut body, &shared.accepted, &shared.budget).await {
        Ok(body) => body,
        Err(error) => {
            match error {
                BodyError::TooLarge(_) | BodyError::NeverFits(_) => {
                    shared.intake.count_too_large(Transport::Http);
                }
                _ => shared.intake.count_refused(Transport::Http),
            }
            let is_over = matches!(error, BodyError::CutOff(_) | BodyError::TooSlow(_));
            let answer = refusal(format, &body_status(&error));
            return last_unless_whole(&head, (!is_over).then_some(body), answer).await;
        }
    };
    let metadata = if shared.include_metadata { metadata(&head.headers) } else { Metadata::new() };
    let request = Request {
        transport: Transport::Http,
        format,
        body: body.bytes,
        charge: body.charge,
        peer: head.extensions.get::<Peer>().and_then(|peer| peer.0),
        identity,
        metadata,
        received,
    };
    match shared.intake.take(signal, request).await {
        Ok(()) => answer(StatusCode::OK, format, success(format)),
        Err(failure) => refusal(format, &http_refusal(&failure)),
    }
}

fn body_status(error: &BodyError) -> Status {
    let code = match error {
        BodyError::OverBudget => Code::Unavailable,
        BodyError::TooSlow(_) => Code::DeadlineExceeded,
        BodyError::Failed(_) => return Status::new(Code::Internal, error.to_string()),
        BodyError::UnknownEncoding { .. }
        | BodyError::TooLarge(_)
        | BodyError::NeverFits(_)
        | BodyError::Damaged(_)
        | BodyError::CutOff(_) => return Status::new(Code::InvalidArgument, error.to_string()),
    };
    Status { code, message: error.to_string().into(), retry_delay: Some(RETRY_DELAY) }
}

/// What gRPC senders are told, but for what is too large: its 429 would make HTTP senders try again for ever.
fn http_refusal(failure: &Failure) -> Status {
    let status = status(failure);
    if failure.reason == Reason::TooLarge && status.retry_delay.is_none() {
        return Status { code: Code::InvalidArgument, ..status };
    }
    status
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

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Fault;
    use std::time::Duration;

    #[test]
    fn what_is_too_large_for_anybody_is_a_400_and_what_may_pass_a_503_with_a_delay() {
        let answer = |failure: &Failure| {
            let response = refusal(Format::Json, &http_refusal(failure));
            (response.status().as_u16(), response.headers().get(RETRY_AFTER).cloned())
        };
        let too_large = Failure::permanent(Fault::Destination, Reason::TooLarge, "too large");
        assert_eq!(answer(&too_large), (400, None));
        let throttled = Failure::transient(Fault::Destination, Reason::Throttled, "later").with_grpc_code(8);
        assert_eq!(answer(&throttled), (503, Some(HeaderValue::from(1))));
        let asked = throttled.after(Duration::from_millis(1500));
        assert_eq!(answer(&asked), (503, Some(HeaderValue::from(2))));
    }

    #[test]
    fn a_damaged_body_is_the_senders_fault_and_one_that_we_fail_to_inflate_is_ours() {
        let status = |error| refusal(Format::Json, &body_status(&error)).status().as_u16();
        assert_eq!(status(BodyError::Damaged("damaged".to_owned())), 400);
        assert_eq!(status(BodyError::Failed("failed".to_owned())), 500);
    }

    #[test]
    fn nobody_is_redirected_to_another_host() {
        for (asked, location) in [
            ("//\\evil.com", "/%5Cevil.com"),
            ("/a/..//\\evil.com/x", "/%5Cevil.com/x"),
            ("//evil.com/", "/evil.com/"),
            ("/./a%5Cb?c=d", "/a%5Cb?c=d"),
            ("//a:b\"", "/a:b%22"),
        ] {
            let response = no_such_path(&asked.parse().expect("hyper takes it"));
            assert_eq!(response.headers().get(LOCATION).expect("a redirect"), location, "{asked}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_in_go() {
        let paths = [
            ("/v1/traces", "/v1/traces"),
            ("//v1/traces", "/v1/traces"),
            ("/v1/./x/../traces/", "/v1/traces/"),
            ("/../..", "/"),
            ("/", "/"),
            ("//", "/"),
        ];
        for (given, expected) in paths {
            assert_eq!(cleaned(given), expected, "{given}");
        }
    }
}
