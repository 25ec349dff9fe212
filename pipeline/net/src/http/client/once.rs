//! One request over a connection of its own, and its whole answer: for whoever asks seldom.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum OnceError {
    /// Nobody answered, or not in HTTP.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// Its body was cut off, or is longer than it may be.
    #[error("the answer was cut off, or is longer than {0} bytes")]
    Incomplete(usize),
}

/// Asks over a connection that has just been made, and reads an answer of up to `max` bytes. The caller sets the time
/// limit, and a `Host`.
///
/// # Errors
/// Why there is no answer.
pub async fn once<S>(stream: S, request: Request<()>, max: usize) -> Result<Response<Bytes>, OnceError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let response = sender.send_request(request.map(|()| Empty::<Bytes>::new())).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, max).collect().await.map_err(|_| OnceError::Incomplete(max))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => return answer,
        // It ends first where the server closes it behind its answer. Should it have broken, the request knows.
        _ = connection => {}
    }
    answered.await
}
