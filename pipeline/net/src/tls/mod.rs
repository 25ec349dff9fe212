//! TLS of servers and clients: rustls with aws-lc-rs, as the section `tls` says.
//!
//! The Go collector's keys (configtls) are read in [`crate::config`]; here they become what rustls is given. The
//! provider of the cryptography is passed explicitly: there is no process-wide default.
//!
//! # Invariants
//! - Certificates and keys are checked when the process starts, and errors say which one is wrong and in what.
//! - A reload that fails leaves in use what was.
//! - A handshake has a limit of time, and never holds up others.

mod bare;
pub(crate) mod choices;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod live;
mod look;
mod material;
mod pem;
pub(crate) mod server;
mod session;
mod site;
mod stream;
mod validity;
mod verify;

pub use client::{Connector, explain};
pub(crate) use look::{look, look_at_authorities};
pub use pem::TlsError;
pub use server::{Acceptor, Rejected, Unsecured};
pub use site::Site;
pub use stream::{ClientStream, ServerStream, TlsStream};

use rustls::pki_types::ServerName;
use std::time::Duration;

/// The limit for a handshake, in either direction.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The protocol that gRPC needs, as ALPN calls it.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1, as ALPN calls it.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Checks a name to ask for; an empty one is none.
pub(crate) fn check_server_name(name: &str) -> Result<(), String> {
    if name.is_empty() || ServerName::try_from(name).is_ok() {
        return Ok(());
    }
    Err(format!("`{name}` is not a host name or address"))
}
