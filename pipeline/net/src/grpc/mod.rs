//! gRPC over HTTP/2: framing, status, a server and a client, of unary calls; the server may answer one many times.
//!
//! Reference: the gRPC over HTTP/2 protocol document (length-prefixed messages, trailers, status codes).

mod client;
mod connection;
mod exchange;
mod head;
mod keepalive;
mod message;
mod outbox;
mod pings;
mod server;
mod status;
mod stream;

pub use client::{Balancing, CallError, Channel, ChannelOptions, KeepAlive, Reply};
pub use keepalive::Keepalive;
pub use pings::PingPolicy;
pub use server::{Call, Server, ServerOptions, Unary};
pub use status::{Code, Status};
pub use stream::Answers;

use bytes::{BufMut, Bytes, BytesMut};

/// A message is preceded by a flag and its length.
const PREFIX_LEN: usize = 5;

/// The prefix of a message of `len` bytes.
fn prefix(len: usize, compressed: bool) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = u32::try_from(len).expect("a message is smaller than 4 GiB").to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

/// A short message with its prefix, which is not compressed.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + message.len());
    framed.put_slice(&prefix(message.len(), false));
    framed.put_slice(message);
    framed.freeze()
}
