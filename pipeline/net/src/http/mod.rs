//! HTTP: serving a tower service with limits, and a client that keeps connections.

mod ambiguity;
mod body;
mod client;
mod cors;
mod front;
mod head;
mod http1;
mod pace;
mod server;
mod watch;

pub use body::{Accepted, BodyError, Encodings, Received, last_unless_whole, receive, turned_away};
#[cfg(fuzzing)]
pub use client::fuzzing;
pub use client::{Client, ClientError, ClientOptions, OnceError, Ping, Response, once};
pub use cors::Cors;
pub use front::{Front, Turned};
pub use pace::Timeouts;
pub use server::{Server, ServerOptions};
#[cfg(fuzzing)]
pub use watch::watched;
