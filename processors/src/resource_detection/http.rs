//! Asking metadata services and the Docker daemon: small requests over plain HTTP, TCP or a Unix socket, with small
//! answers.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use millrace_net::http::{OnceError, once};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// The largest answer that is read.
const ANSWER_MAX: usize = 1 << 20;

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `host:port`.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not an address\nwrite it as http://host, http://host:port, or unix:///path")
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(wrong()) };
        }
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("tcp://")).ok_or_else(wrong)?;
        let authority = rest.trim_end_matches('/').parse::<http::uri::Authority>().map_err(|_| wrong())?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self::Tcp(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80))))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, not longer than 1 MiB.
    pub body: Bytes,
}

impl Answer {
    /// The body of a 200, as text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(self) -> Result<String, String> {
        if self.status != StatusCode::OK {
            return Err(format!("answered with {}", self.status.as_u16()));
        }
        String::from_utf8(self.body.into()).map_err(|_| "answered with something else than text".to_owned())
    }
}

impl Origin {
    /// Asks for a path. The caller sets the time limit.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Answer, String> {
        let host = match self {
            Self::Tcp(authority) => authority.as_str(),
            Self::Unix(_) => "localhost",
        };
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).map_err(|error| format!("cannot ask for {path}: {error}"))?;
        let failed = |error: &dyn fmt::Display| format!("{self} does not answer: {error}");
        match self {
            Self::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|error| failed(&error))?;
                exchange(stream, request).await.map_err(|error| failed(&error))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| failed(&error))?;
                exchange(stream, request).await.map_err(|error| failed(&error))
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<()>,
) -> Result<Answer, OnceError> {
    let (head, body) = once(stream, request, ANSWER_MAX).await?.into_parts();
    Ok(Answer { status: head.status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_apart() {
        let tcp = |text: &str| Ok(Origin::Tcp(text.to_owned()));
        assert_eq!("http://169.254.169.254".parse(), tcp("169.254.169.254:80"));
        assert_eq!("http://metadata:8080/".parse(), tcp("metadata:8080"));
        assert_eq!("tcp://[::1]:2375".parse(), tcp("[::1]:2375"));
        assert_eq!("unix:///run/d.sock".parse(), Ok(Origin::Unix("/run/d.sock".into())));
        for wrong in
            ["", "x", "https://a", "http://", "http://a/b", "http://u:p@a", "unix://a", "npipe:////./x"]
        {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
