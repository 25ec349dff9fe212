//! HTTP: serving a tower service with limits, and a client that keeps connections.

mod body;
mod client;
mod cors;
mod pace;
mod server;

pub use body::{Accepted, BodyError, Encodings, Received, discard, receive};
#[cfg(fuzzing)]
pub use client::fuzzing;
pub use client::{Client, ClientError, ClientOptions, Ping, Response};
pub use cors::Cors;
pub use pace::Timeouts;
pub use server::{Server, ServerOptions};
