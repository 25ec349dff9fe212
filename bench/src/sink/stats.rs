//! The port that serves totals and takes instructions.

use super::state::Sink;
use crate::acked;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;

const MAX_ACKED_FILE: usize = 64 << 20;

/// Serves one connection to its end.
pub(super) async fn connection(sink: Arc<Sink>, stream: TcpStream) {
    let service = service_fn(|request| {
        let sink = sink.clone();
        async move { Ok::<_, Infallible>(respond(&sink, request).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(sink: &Sink, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let text = match Limited::new(body, MAX_ACKED_FILE).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match (head.method, head.uri.path()) {
        (Method::GET, "/stats") => json(&sink.totals()),
        (Method::POST, "/acked") => match acked::parse(&text) {
            Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
            Ok(ranges) => match sink.verify(&ranges) {
                Some(verdict) => json(&verdict),
                None => refuse(StatusCode::CONFLICT, "start the sink with --check-ids"),
            },
        },
        (Method::POST, "/rate") => match text.trim().parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate >= 0.0 => {
                sink.set_rate(rate);
                json(&rate)
            }
            _ => refuse(StatusCode::BAD_REQUEST, "the body must be items per second, 0 for no limit"),
        },
        _ => refuse(StatusCode::NOT_FOUND, "GET /stats, POST /acked or POST /rate"),
    }
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).expect("totals are plain numbers and strings");
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}
