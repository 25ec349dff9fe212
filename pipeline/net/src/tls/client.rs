//! Connecting with TLS.

use super::live::{Live, Recipe};
use super::material;
use super::pem::TlsError;
use super::session::Buffered;
use super::{ClientStream, HANDSHAKE_TIMEOUT, Site, TlsStream};
use crate::config::TlsClientConfig;
use crate::read_ahead::Ahead;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Connects with TLS as a section `tls` says; clones share what they have read. Follows the files if
/// `reload_interval` says so.
#[derive(Clone)]
pub struct Connector {
    live: Arc<Live<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl TlsClientConfig {
    /// Reads the certificates and makes what connects. `alpn` are the protocols to offer, the preferred one first
    /// ([`super::ALPN_H2`], [`super::ALPN_HTTP1`]). Reads files, and must be called within the runtime.
    ///
    /// # Errors
    /// Which of the files cannot be used, and why.
    pub fn connector(&self, site: &Site, alpn: &'static [&'static [u8]]) -> Result<Connector, TlsError> {
        let config = self.clone();
        let recipe = Recipe {
            config: self.common.clone(),
            client_ca_file: String::new(),
            client_ca_reload: false,
            make: Box::new(move |texts| material::client(&config, texts, alpn)),
        };
        let server_name = ServerName::try_from(self.client.server_name_override.clone()).ok();
        Ok(Connector { live: Arc::new(Live::start(recipe, site)?), server_name })
    }
}

impl Connector {
    /// What rustls is given for the next connection.
    #[must_use]
    pub fn current(&self) -> Arc<ClientConfig> {
        self.live.current()
    }

    /// The name to ask for and to find in the certificate: `server_name_override`, or else `host`, a name or an
    /// address without brackets.
    ///
    /// # Errors
    /// When it can be no name of a certificate.
    pub fn server_name(&self, host: &str) -> io::Result<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no host name"))
            }),
        }
    }

    /// Speaks TLS over `stream` to `host`, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// Why there is no connection, in words for whoever runs the collector.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.server_name(host)?;
        let connecting = tokio_rustls::TlsConnector::from(self.current()).connect(name, stream);
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(secured)) => {
                let (stream, session) = secured.into_inner();
                Ok(TlsStream::new(stream, Buffered::new(session), Ahead::default()))
            }
            Ok(Err(error)) => Err(io::Error::new(error.kind(), explain(&error))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
        }
    }
}

/// What a failed handshake with a server means, and what to do about it.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the server closed the connection during the TLS handshake".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match tls {
        Error::InvalidCertificate(problem) => certificate_problem(problem),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS; if it is meant not to, say `tls: {insecure: true}` or use http://"
                .to_owned()
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied,
        ) => format!(
            "the server refuses our certificate, or misses one ({tls}); see `cert_file` and `key_file`"
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            format!("the server and we have no TLS version or cipher suite in common ({tls})")
        }
        _ => tls.to_string(),
    }
}

fn certificate_problem(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "the server's certificate is signed by an authority that is not trusted here; give it as `ca_file`".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate is for another name ({problem}); see `server_name_override`")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the server's certificate has expired ({problem})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the server's certificate is not valid yet ({problem}); are the clocks right?")
        }
        _ => format!("the server's certificate cannot be believed: {problem}"),
    }
}
