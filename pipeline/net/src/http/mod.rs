//! HTTP: serving a tower service with limits, and a client that keeps connections.

mod body;
mod client;
mod server;

pub use body::{BodyError, Received, receive};
pub use client::{Client, ClientError, ClientOptions, Ping, Response};
pub use server::{Server, ServerOptions};
