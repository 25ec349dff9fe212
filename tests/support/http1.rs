//! HTTP/1.1 by hand, so that it can be done wrong.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
pub const JSON: &str = "content-type: application/json\r\n";

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body with what is not text replaced: an error in either format can be searched for its words.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Posts a body on a connection of its own.
pub async fn post(to: SocketAddr, path: &str, headers: &str, body: &[u8]) -> io::Result<Reply> {
    Connection::open(to).await?.post(path, headers, body).await
}

/// Gets a page on a connection of its own.
pub async fn get(from: SocketAddr, path: &str) -> io::Result<Reply> {
    let mut connection = Connection::open(from).await?;
    connection
        .write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    connection.reply().await
}

/// A connection on which anything can be said.
pub struct Connection {
    stream: TcpStream,
    /// What was read beyond the last answer.
    ahead: Vec<u8>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> io::Result<Reply> {
        let sent = self.write(&request(path, headers, body)).await;
        // Who is answered before all is sent need not be heard out, and the answer is there all the same.
        let reply = self.reply().await;
        reply.map_err(|error| sent.err().unwrap_or(error))
    }

    /// Reads one answer; an error if there is none within the patience of tests.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        timeout(super::PATIENCE, self.read_reply())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn read_reply(&mut self) -> io::Result<Reply> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.ahead[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
        let len: usize = match head.split("content-length: ").nth(1) {
            Some(rest) => rest.split("\r\n").next().and_then(|len| len.parse().ok()).ok_or_else(invalid)?,
            None => 0,
        };
        while self.ahead.len() < end + len {
            self.more().await?;
        }
        let body = self.ahead[end..end + len].to_vec();
        self.ahead.drain(..end + len);
        Ok(Reply { status, head, body })
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.ahead).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the other side closes the connection, with or without an answer before; says which.
    pub async fn closed(mut self) -> Option<u16> {
        let answer = self.reply().await.ok().map(|reply| reply.status);
        let mut rest = [0; 1024];
        let closing = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        timeout(super::PATIENCE, closing).await.expect("the connection is closed");
        answer
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// A whole request.
pub fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
