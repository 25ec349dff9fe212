//! OTLP/gRPC over bare HTTP/2, on our own core of it: a sink that costs less than half of what one on `h2` does leaves
//! that much more of the machine to what is measured. The exporters that send to it speak HTTP/2 with other code.

use super::Args;
use super::state::{Answer, Sink};
use crate::compression::Compression;
use crate::status::{Code, encode_retry_info};
use crate::tls::ServerStream;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use millrace_http2::{Connection, Event, Options, Request};
use millrace_wire::Signal;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// What one read takes at most.
const READ: usize = 128 << 10;
/// The headers of a request, in all.
const HEADER_LIST_MAX: u32 = 64 << 10;
/// Buffers of bodies that a connection keeps to use again, and the largest of them.
const KEPT: usize = 16;
const KEPT_LEN: usize = 4 << 20;
/// An empty export response with its gRPC prefix.
static EMPTY: [u8; 5] = [0; 5];
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    sink: Arc<Sink>,
    options: Options,
    connection_window: u32,
}

/// A call whose body is arriving.
#[derive(Debug)]
struct Call {
    /// What it carries, or why it is not taken.
    asked: Result<(Signal, String), Fault>,
    body: Vec<u8>,
}

/// Why a call was not handled.
#[derive(Debug)]
struct Fault {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

/// A call that is done, with the buffer of its body.
type Done = (Result<(), Fault>, Vec<u8>);

/// One connection.
struct Serving {
    server: Arc<Server>,
    http2: Connection<Call>,
    /// Calls whose answers wait their turn.
    waiting: JoinSet<(u32, Done)>,
    spare: Vec<Vec<u8>>,
}

impl Server {
    pub(super) fn new(args: &Args, sink: Arc<Sink>) -> Self {
        let options = Options {
            max_streams: args.max_streams,
            window: args.stream_window,
            max_frame: args.frame_size,
            max_header_list: HEADER_LIST_MAX,
        };
        Self { sink, options, connection_window: args.connection_window }
    }
}

/// Serves one connection to its end. What breaks it is the peer's business.
pub(super) async fn connection(server: Arc<Server>, mut stream: ServerStream) {
    let mut http2 = Connection::new(&server.options);
    http2.widen_connection(server.connection_window);
    let mut serving = Serving { server, http2, waiting: JoinSet::new(), spare: Vec::new() };
    if let Ok(Ok(true)) = timeout(HANDSHAKE, serving.greet(&mut stream)).await {
        let _ = serving.serve(&mut stream).await;
    }
}

impl Serving {
    /// Serves until the peer has said that it speaks HTTP/2; whether it has.
    async fn greet(&mut self, stream: &mut ServerStream) -> io::Result<bool> {
        let mut input = Vec::with_capacity(READ);
        while !self.http2.is_greeted() {
            self.send(stream).await?;
            input.clear();
            if stream.read_buf(&mut input).await? == 0 || !self.read(&input).await {
                self.send(stream).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn serve(&mut self, stream: &mut ServerStream) -> io::Result<()> {
        let mut input = Vec::with_capacity(READ);
        loop {
            self.send(stream).await?;
            if self.http2.is_done() {
                return Ok(());
            }
            input.clear();
            tokio::select! {
                read = stream.read_buf(&mut input) => {
                    if read? == 0 || !self.read(&input).await {
                        return self.send(stream).await;
                    }
                }
                Some(done) = self.waiting.join_next() => {
                    let (id, done) = done.map_err(io::Error::other)?;
                    self.answer(id, done);
                }
            }
        }
    }

    async fn send(&mut self, stream: &mut ServerStream) -> io::Result<()> {
        let out = self.http2.take_out();
        if out.is_empty() {
            return Ok(());
        }
        stream.write_all(&out).await?;
        stream.flush().await
    }

    /// Takes what has been read; whether the connection goes on.
    async fn read(&mut self, mut input: &[u8]) -> bool {
        loop {
            match self.http2.receive(&mut input, Instant::now()) {
                Ok(Some(event)) => self.happen(event).await,
                Ok(None) => return true,
                Err(fatal) => {
                    self.http2.fail(fatal);
                    return false;
                }
            }
        }
    }

    async fn happen(&mut self, event: Event<'_, Call>) {
        match event {
            Event::Request { stream, request, ended } => {
                let call = Call { asked: asked(&request), body: self.spare.pop().unwrap_or_default() };
                self.http2.keep(stream, call);
                if ended {
                    self.take(stream).await;
                }
            }
            Event::Data { stream, bytes } => {
                let limit = self.server.sink.max_body;
                let Some(call) = self.http2.kept(stream) else { return };
                if call.body.is_empty() {
                    call.body.reserve(announced(bytes).min(limit));
                }
                call.body.extend_from_slice(bytes);
                if call.body.len() > limit {
                    let fault =
                        Fault::new(Code::RESOURCE_EXHAUSTED, "the body is larger than --max-body-mib");
                    self.answer(stream, (Err(fault), Vec::new()));
                    self.http2.give_up(stream);
                }
            }
            Event::End { stream } => self.take(stream).await,
            Event::Reset { state, .. } => self.keep(state.map(|call| call.body).unwrap_or_default()),
            Event::Ping => {}
        }
    }

    /// Handles a call that is whole. What need not wait is answered at once.
    async fn take(&mut self, id: u32) {
        let Some(call) = self.http2.take(id) else { return };
        let sink = Arc::clone(&self.server.sink);
        let mut handling = Box::pin(async move { (handle(&sink, call.asked, &call.body).await, call.body) });
        let done = poll_fn(|cx| Poll::Ready(Pin::new(&mut handling).poll(cx))).await;
        match done {
            Poll::Ready(done) => self.answer(id, done),
            Poll::Pending => drop(self.waiting.spawn(async move { (id, handling.await) })),
        }
    }

    fn answer(&mut self, id: u32, (outcome, body): Done) {
        self.keep(body);
        match outcome {
            Ok(()) => {
                self.http2.send_head(id, StatusCode::OK, [(&CONTENT_TYPE, &GRPC)], false);
                self.http2.send_data(id, Bytes::from_static(&EMPTY));
                self.http2.send_trailers(id, [(&GRPC_STATUS, &OK)]);
            }
            Err(fault) => self.http2.send_head(id, StatusCode::OK, &fault.headers(), true),
        }
    }

    fn keep(&mut self, mut body: Vec<u8>) {
        if self.spare.len() < KEPT && (1..=KEPT_LEN).contains(&body.capacity()) {
            body.clear();
            self.spare.push(body);
        }
    }
}

/// What a call carries, and how it is compressed.
fn asked(request: &Request) -> Result<(Signal, String), Fault> {
    let signal = match request.path.path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        _ => return Err(Fault::new(Code(12), "no such method")),
    };
    let encoding = request.headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    Ok((signal, encoding.unwrap_or_default().to_owned()))
}

async fn handle(sink: &Sink, asked: Result<(Signal, String), Fault>, framed: &[u8]) -> Result<(), Fault> {
    let (signal, encoding) = asked?;
    let Some((prefix, message)) = framed.split_first_chunk::<5>() else {
        return Err(Fault::new(Code(13), "the gRPC prefix is missing"));
    };
    if u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize != message.len() {
        return Err(Fault::new(Code(13), "the gRPC prefix disagrees with the length of the message"));
    }
    let coding = match (prefix[0], Compression::from_header(&encoding)) {
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

/// The length of the framed message according to its prefix. A hint only: senders of measurements are trusted so far.
fn announced(first: &[u8]) -> usize {
    match first {
        [_, a, b, c, d, ..] => 5 + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

impl Fault {
    fn new(code: Code, message: &str) -> Self {
        Self { code, message: message.to_owned(), retry_after: None }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(self.code.0)));
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
