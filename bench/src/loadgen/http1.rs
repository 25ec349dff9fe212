//! One HTTP/1.1 connection, used by one worker, opened when first needed and again when it breaks.

use super::outcome::{Outcome, Refusal, rejected};
use super::{Args, SignalArg};
use crate::compression::Compression;
use crate::tls::Opener;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Answers longer than this are an error; an export response is a few bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// A connection of one worker.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: SocketAddr,
    opener: Opener,
    uri: Uri,
    headers: HeaderMap,
    sender: Option<SendRequest<Full<Bytes>>>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Connection {
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        let path = match args.signal {
            SignalArg::Traces => "/v1/traces",
            SignalArg::Metrics => "/v1/metrics",
            SignalArg::Logs => "/v1/logs",
        };
        let mut headers = HeaderMap::new();
        let host = HeaderValue::try_from(args.endpoint().to_string()).map_err(io::Error::other)?;
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if args.compression != Compression::None {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(args.compression.name()));
        }
        let opener = Opener::new(args.tls_ca.as_deref(), "http/1.1")?;
        Ok(Self { endpoint: args.endpoint(), opener, uri: Uri::from_static(path), headers, sender: None })
    }

    /// Sends one body and waits for the answer.
    pub(super) async fn attempt(&mut self, body: Bytes) -> Outcome {
        match self.call(body).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.sender = None;
                Outcome::Refused(Refusal::transport(&error))
            }
        }
    }

    /// Forgets the connection, whose answer is no longer waited for.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    async fn call(&mut self, body: Bytes) -> Result<Outcome, Failure> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = self.uri.clone();
        head.headers = self.headers.clone();
        let sender = self.ready().await?;
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
        if head.status == StatusCode::OK {
            return Ok(Outcome::Acked { rejected: rejected(&body) });
        }
        let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Outcome::Refused(Refusal::http(head.status.as_u16(), &body, seconds.map(Duration::from_secs))))
    }

    /// The sender, on a new connection if the server has closed the old one.
    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        if self.sender.is_none() {
            let stream = self.opener.open(self.endpoint).await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            // Its end shows as the failure of the request on it.
            tokio::spawn(async move { drop(connection.await) });
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("set just above"))
    }
}
