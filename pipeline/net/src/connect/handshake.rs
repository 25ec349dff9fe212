//! TLS with a server, and what a broken connection says of it.

use super::Stream;
use crate::tls;
use std::io;

/// How a client makes sure of a server, and by which name it knows it.
#[derive(Debug, Clone)]
pub struct Handshake {
    connector: tls::Connector,
    host: String,
}

impl Handshake {
    /// A handshake with a host, whose certificate must be for that name unless the connector has another.
    ///
    /// # Errors
    /// When the name cannot be in a certificate.
    pub fn new(connector: tls::Connector, host: &str) -> Result<Self, String> {
        let host = host.trim_end_matches('.').to_owned();
        match connector.server_name(&host) {
            Ok(_) => Ok(Self { connector, host }),
            Err(_) => Err(format!("`{host}` cannot be in a certificate; set `tls::server_name_override`")),
        }
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// What was wrong, and what to do.
    pub(crate) async fn shake(&self, stream: Stream) -> io::Result<Stream> {
        match self.connector.connect(&self.host, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => {
                let hung_up = matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut
                );
                let advice = if hung_up { PLAIN } else { "" };
                Err(io::Error::new(error.kind(), format!("no TLS with `{}`: {error}{advice}", self.host)))
            }
        }
    }
}

/// Servers of plain text do not answer what they do not understand.
const PLAIN: &str =
    "; does it speak TLS on this port? if it is meant not to, say `tls: {insecure: true}` or use http://";

/// Alerts that come after the handshake, and what they mean.
const ALERTS: [(&str, &str); 6] = [
    ("CertificateRequired", "it wants a certificate; give one as `tls::cert_file` and `tls::key_file`"),
    ("BadCertificate", REFUSED),
    ("UnknownCA", REFUSED),
    ("CertificateExpired", REFUSED),
    ("CertificateUnknown", REFUSED),
    ("DecryptError", REFUSED),
];
const REFUSED: &str = "it does not accept our certificate; is `tls::cert_file` the right one, and valid?";

/// What a broken connection says, with advice where TLS is the cause: in TLS 1.3 a server refuses a client's
/// certificate only after the handshake.
pub(crate) fn advised(text: &str) -> String {
    match ALERTS.iter().find(|(alert, _)| text.contains(&format!("fatal alert: {alert}"))) {
        Some((_, meaning)) => format!("{text} ({meaning})"),
        None => text.to_owned(),
    }
}
