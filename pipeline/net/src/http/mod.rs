//! HTTP/1.1: serving a tower service with limits, and a pooled client.

mod body;
mod client;
mod server;

pub use body::{BodyError, Received, receive};
pub use client::{Client, ClientError, Response};
pub use server::{Server, ServerOptions};
