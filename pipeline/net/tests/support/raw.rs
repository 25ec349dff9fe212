//! A peer that writes HTTP/2 frames by hand.

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `POST http test /test.Service/Gated`, content type gRPC, in HPACK without tables.
pub const GATED_BLOCK: &[u8] = b"\x83\x86\x04\x13/test.Service/Gated\x01\x04test\x0f\x10\x10application/grpc";

/// A peer that writes frames by hand.
pub struct RawPeer {
    pub stream: TcpStream,
}

impl RawPeer {
    pub async fn connect(address: std::net::SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        Self { stream }
    }

    pub async fn headers(&mut self, stream: u32, block: &[u8], flags: u8) {
        self.frame(HEADERS, flags, stream, block).await;
    }

    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(self.try_frame(kind, flags, stream, payload).await, "the server hung up");
    }

    /// Whether the server was still there. What it sends is thrown away, so that it can go on sending.
    pub async fn try_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let (mut reader, mut writer) = self.stream.split();
        let mut thrown_away = [0; 4096];
        let writing = writer.write_all(&frame);
        tokio::pin!(writing);
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written.is_ok(),
                read = reader.read(&mut thrown_away) => if !matches!(read, Ok(1..)) {
                    return false;
                },
            }
        }
    }

    /// The server's GOAWAY: why, and in which words.
    pub async fn goaway(&mut self) -> (Reason, Vec<u8>) {
        let mut told = Vec::new();
        self.until(|kind, _, payload| {
            told = payload.to_vec();
            kind == GOAWAY
        })
        .await;
        (u32::from_be_bytes(told[4..8].try_into().unwrap()).into(), told[8..].to_vec())
    }

    /// Reads the server's frames up to one that is as expected.
    pub async fn until(&mut self, mut is_it: impl FnMut(u8, u8, &[u8]) -> bool) {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            if is_it(head[3], head[4], &payload) {
                return;
            }
        }
    }

    /// The next RST_STREAM of the server: of which stream, and why.
    pub async fn reset(&mut self) -> (u32, Reason) {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            if head[3] == RST_STREAM {
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                return (stream, u32::from_be_bytes(payload.try_into().unwrap()).into());
            }
        }
    }
}
