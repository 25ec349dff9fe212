//! OTLP/gRPC over bare HTTP/2.

use super::Args;
use super::state::{Answer, Sink};
use crate::compression::Compression;
use crate::status::{Code, encode_retry_info};
use crate::tls::ServerStream;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::Duration;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// An empty export response with its gRPC prefix.
static EMPTY: [u8; 5] = [0; 5];

/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    sink: Arc<Sink>,
    builder: h2::server::Builder,
}

/// Why a call was not handled.
struct Fault {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

impl Server {
    pub(super) fn new(args: &Args, sink: Arc<Sink>) -> Self {
        let mut builder = h2::server::Builder::new();
        builder
            .max_frame_size(args.frame_size)
            .initial_window_size(args.stream_window)
            .initial_connection_window_size(args.connection_window)
            .max_concurrent_streams(args.max_streams);
        Self { sink, builder }
    }
}

/// Serves one connection to its end. What breaks it is the peer's business.
pub(super) async fn connection(server: Arc<Server>, stream: ServerStream) {
    let Ok(Ok(mut connection)) = tokio::time::timeout(HANDSHAKE, server.builder.handshake(stream)).await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let sink = server.sink.clone();
        tokio::spawn(async move {
            // The peer reset the stream or the connection: there is nobody to tell.
            let _ = call(&sink, request, respond).await;
        });
    }
}

async fn call(
    sink: &Sink,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let fault = match collect(&mut body, sink.max_body).await? {
        Some(message) => match accept(sink, head.uri.path(), &head.headers, &message).await {
            Ok(()) => {
                let mut stream = respond.send_response(answer(HeaderMap::new()), false)?;
                stream.send_data(Bytes::from_static(&EMPTY), false)?;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                return stream.send_trailers(trailers);
            }
            Err(fault) => fault,
        },
        None => Fault::new(Code::RESOURCE_EXHAUSTED, "the body is larger than --max-body-mib"),
    };
    respond.send_response(answer(fault.headers()), true).map(drop)
}

async fn accept(sink: &Sink, path: &str, headers: &HeaderMap, framed: &[u8]) -> Result<(), Fault> {
    let signal = match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        _ => return Err(Fault::new(Code(12), "no such method")),
    };
    let Some((prefix, message)) = framed.split_first_chunk::<5>() else {
        return Err(Fault::new(Code(13), "the gRPC prefix is missing"));
    };
    if u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize != message.len() {
        return Err(Fault::new(Code(13), "the gRPC prefix disagrees with the length of the message"));
    }
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let coding = match (prefix[0], Compression::from_header(encoding)) {
        (0, _) => Compression::None,
        (1, Some(coding)) => coding,
        _ => return Err(Fault::new(Code(12), "unknown grpc-encoding")),
    };
    match sink.handle(signal, coding, message).await {
        Answer::Success => Ok(()),
        Answer::Malformed(message) => Err(Fault::new(Code(3), &message)),
        Answer::Refuse(failure) => {
            let fault = Fault::new(failure.grpc, "refused on purpose");
            Err(Fault { retry_after: sink.retry_after, ..fault })
        }
    }
}

/// The whole body in one piece, or `None` when it is too large.
async fn collect(body: &mut RecvStream, limit: usize) -> Result<Option<Bytes>, h2::Error> {
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if first.len().max(rest.len()) + chunk.len() > limit {
            return Ok(None);
        }
        if first.is_empty() {
            first = chunk;
        } else if !chunk.is_empty() {
            if rest.is_empty() {
                rest.reserve(announced(&first).min(limit));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&chunk);
        }
    }
    Ok(Some(if rest.is_empty() { first } else { rest.into() }))
}

/// The length of the framed message according to its prefix. A hint only: senders of measurements are trusted so far.
fn announced(first: &[u8]) -> usize {
    match first {
        [_, a, b, c, d, ..] => 5 + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

fn answer(headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

impl Fault {
    fn new(code: Code, message: &str) -> Self {
        Self { code, message: message.to_owned(), retry_after: None }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(u16::from(self.code.0)));
        let message: String = self.message.chars().filter(|c| (' '..='~').contains(c) && *c != '%').collect();
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
        if let Some(delay) = self.retry_after
            && let Ok(details) = HeaderValue::try_from(encode_retry_info(self.code, &self.message, delay))
        {
            headers.insert("grpc-status-details-bin", details);
        }
        headers
    }
}
