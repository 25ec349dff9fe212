//! HTTP/1.1: serving a tower service with limits, and a pooled client.

mod client;
mod server;

pub use client::{Client, ClientError, Response};
pub use server::{BodyError, Received, Server, ServerOptions, receive};
