//! The client: one connection per channel, made on first use and made anew when it breaks.

use super::{Code, PREFIX_LEN, Status, prefix};
use crate::coalesce::coalesce;
use crate::{Endpoint, tcp};
use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use millrace_engine::Tasks;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// The limit for HTTP/2's preface and settings.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read; an export response is a few bytes.
const REPLY_MAX: usize = 64 << 10;
/// The headers of an answer, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;

/// What a channel is given.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Where to.
    pub endpoint: Endpoint,
    /// `:authority`, where it differs from the endpoint.
    pub authority: Option<String>,
    /// Headers sent with every call, `user-agent` among them.
    pub headers: HeaderMap,
    /// `grpc-encoding` of what is sent, if any.
    pub encoding: Option<&'static str>,
}

/// A connection to one server, kept open.
pub struct Channel {
    options: ChannelOptions,
    headers: HeaderMap,
    tasks: Tasks,
    connection: Mutex<Option<SendRequest<Bytes>>>,
    /// Held while connecting, so that many callers make one connection.
    connecting: tokio::sync::Mutex<()>,
}

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    /// The response message.
    pub message: Bytes,
}

impl Channel {
    /// A channel that connects on first use.
    #[must_use]
    pub fn new(options: ChannelOptions, tasks: Tasks) -> Self {
        let mut headers = options.headers.clone();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
        if let Some(encoding) = options.encoding {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        Self {
            options,
            headers,
            tasks,
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// The URI of a method, made once per method.
    ///
    /// # Errors
    /// When the authority is not one.
    pub fn uri(&self, path: &'static str) -> Result<Uri, http::Error> {
        let authority = self.options.authority.clone().unwrap_or_else(|| self.options.endpoint.authority());
        Uri::builder().scheme("http").authority(authority).path_and_query(path).build()
    }

    /// Calls a method with one message, given in parts that are laid end to end.
    ///
    /// # Errors
    /// The server's status, or [`Code::Unavailable`] when there is no connection to be had.
    pub async fn unary(&self, uri: Uri, parts: &[Bytes]) -> Result<Reply, Status> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let connection = self.ready().await?;
        let answer = send(connection, request, parts, self.options.encoding.is_some())
            .map_err(|error| self.broken(&error))?;
        self.reply(answer).await
    }

    /// A connection that can take one more request.
    async fn ready(&self) -> Result<SendRequest<Bytes>, Status> {
        if let Some(connection) = self.current() {
            match connection.ready().await {
                Ok(connection) => return Ok(connection),
                Err(error) => drop(self.broken(&error)),
            }
        }
        let _connecting = self.connecting.lock().await;
        if let Some(connection) = self.current()
            && let Ok(connection) = connection.ready().await
        {
            return Ok(connection);
        }
        let connection = self.connect().await.map_err(|error| {
            Status::new(Code::Unavailable, format!("cannot connect to {}: {error}", self.options.endpoint))
        })?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        connection.ready().await.map_err(|error| self.broken(&error))
    }

    fn current(&self) -> Option<SendRequest<Bytes>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let stream = tcp::connect(&self.options.endpoint).await?;
        let mut builder = h2::client::Builder::new();
        builder.max_header_list_size(HEADER_LIST_MAX).enable_push(false);
        let (stream, flusher) = coalesce(stream);
        let (connection, driver) = timeout(HANDSHAKE_TIMEOUT, flusher.drive(builder.handshake(stream)))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the HTTP/2 handshake took too long"))?
            .map_err(io::Error::other)?;
        let endpoint = self.options.endpoint.clone();
        self.tasks.spawn("grpc connection", async move {
            if let Err(error) = flusher.drive(driver).await {
                tracing::debug!(%endpoint, %error, "the connection broke");
            }
        });
        Ok(connection)
    }

    /// Forgets the connection, so that the next call makes a new one.
    fn broken(&self, error: &h2::Error) -> Status {
        if error.is_io() || error.is_go_away() || error.get_io().is_some() {
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Status::new(Code::Unavailable, format!("the connection to {} broke: {error}", self.options.endpoint))
    }

    async fn reply(&self, answer: ResponseFuture) -> Result<Reply, Status> {
        let (head, mut body) = answer.await.map_err(|error| self.broken(&error))?.into_parts();
        if head.status != http::StatusCode::OK {
            let code = Code::from_http(head.status.as_u16());
            return Err(Status::new(
                code,
                format!("unexpected HTTP status code received from server: {}", head.status),
            ));
        }
        if let Some(status) = Status::from_trailers(&head.headers) {
            return finished(status, &Bytes::new());
        }
        let mut message = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|error| self.broken(&error))?;
            // The window is the connection's; a failure means that it has gone, and the next read says so.
            let _ = body.flow_control().release_capacity(chunk.len());
            if message.len() + chunk.len() > REPLY_MAX {
                return Err(Status::new(Code::Internal, "the answer is too large"));
            }
            message.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.map_err(|error| self.broken(&error))?.unwrap_or_default();
        let status = Status::from_trailers(&trailers).unwrap_or_else(|| {
            Status::new(Code::Internal, "server closed the stream without sending trailers")
        });
        finished(status, &message.freeze())
    }
}

/// Queues the request and its message; frames are cut and sent as the peer's windows allow.
fn send(
    mut connection: SendRequest<Bytes>,
    request: Request<()>,
    parts: &[Bytes],
    compressed: bool,
) -> Result<ResponseFuture, h2::Error> {
    let (answer, mut stream) = connection.send_request(request, false)?;
    let len = parts.iter().map(Bytes::len).sum();
    stream.send_data(Bytes::copy_from_slice(&prefix(len, compressed)), len == 0)?;
    let mut rest = parts.iter().filter(|part| !part.is_empty()).peekable();
    while let Some(part) = rest.next() {
        stream.send_data(part.clone(), rest.peek().is_none())?;
    }
    Ok(answer)
}

fn finished(status: Status, framed: &Bytes) -> Result<Reply, Status> {
    if status.code != Code::Ok {
        return Err(status);
    }
    let message = if framed.len() > PREFIX_LEN { framed.slice(PREFIX_LEN..) } else { Bytes::new() };
    Ok(Reply { message })
}
