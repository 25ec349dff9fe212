//! Accepting with TLS.

use super::bare::Bare;
use super::live::{Live, Recipe};
use super::material;
use super::pem::TlsError;
use super::{HANDSHAKE_TIMEOUT, ServerStream, Site, TlsStream};
use crate::config::TlsServerConfig;
use crate::read_ahead::ReadAhead;
use rustls::{Error, ServerConfig};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// The first byte of everything that begins to speak TLS: the content type `handshake`.
pub(crate) const HELLO: u8 = 0x16;

/// Accepts with TLS as a section `tls` says; clones share what they have read. Follows the files if it is told to.
#[derive(Clone)]
pub struct Acceptor {
    live: Arc<Mutex<Arc<Live<ServerConfig>>>>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl TlsServerConfig {
    /// Reads the certificates and makes what accepts. `alpn` are the protocols to choose from, the preferred one first
    /// ([`super::ALPN_H2`], [`super::ALPN_HTTP1`]). Reads files, and must be called within the runtime.
    ///
    /// # Errors
    /// Which of the files cannot be used, and why.
    pub fn acceptor(&self, site: &Site, alpn: &'static [&'static [u8]]) -> Result<Acceptor, TlsError> {
        let config = self.clone();
        let recipe = Recipe {
            config: self.common.clone(),
            client_ca_file: self.server.client_ca_file.clone(),
            client_ca_reload: self.server.client_ca_file_reload,
            make: Box::new(move |texts| material::server(&config, texts, alpn)),
        };
        Ok(Acceptor { live: Arc::new(Mutex::new(Arc::new(Live::start(recipe, site)?))) })
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsecured {
    /// What came was not TLS.
    NotTls,
    /// The client took too long.
    TooSlow,
    /// The client showed no certificate, or one that is not believed.
    ClientCertificate,
    /// The client said that it does not like our certificate, or something else.
    RefusedByClient,
    /// No version, cipher suite or protocol in common.
    NothingInCommon,
    /// The client went away, or sent nonsense.
    Broken,
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Rejected<S> {
    /// Why.
    pub why: Unsecured,
    /// The same in words, for the log.
    pub message: String,
    /// The connection, where nothing has been written to it, and an answer in plain text may help.
    pub stream: Option<ReadAhead<S>>,
}

impl Acceptor {
    /// From now on accepts with what another has read, and follows its files.
    pub(crate) fn follow(&self, other: &Self) {
        let theirs = other.live();
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = theirs;
    }

    fn live(&self) -> Arc<Live<ServerConfig>> {
        Arc::clone(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Speaks TLS over a connection that has just been accepted, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// Why the client cannot be spoken with.
    pub async fn accept<S>(&self, stream: S) -> Result<ServerStream<S>, Rejected<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let mut stream = ReadAhead::new(stream);
        match timeout_at(deadline, stream.first()).await {
            Ok(Ok(Some(HELLO))) => {}
            Ok(Ok(Some(_))) => {
                let message = "the client does not speak TLS".to_owned();
                return Err(Rejected { why: Unsecured::NotTls, message, stream: Some(stream) });
            }
            Ok(Ok(None)) => return Err(rejected(Unsecured::Broken, "the client said nothing".to_owned())),
            Ok(Err(error)) => return Err(rejected(Unsecured::Broken, error.to_string())),
            Err(_) => return Err(too_slow()),
        }
        let config = self.live().current();
        let (mut socket, mut ahead) = stream.into_parts();
        match timeout_at(deadline, Bare::shake_hands(config, &mut socket, &mut ahead)).await {
            Ok(Ok(session)) => Ok(TlsStream::new(socket, session, ahead)),
            Ok(Err(error)) => Err(rejected(why(&error), error.to_string())),
            Err(_) => Err(too_slow()),
        }
    }
}

fn rejected<S>(why: Unsecured, message: String) -> Rejected<S> {
    Rejected { why, message, stream: None }
}

fn too_slow<S>() -> Rejected<S> {
    rejected(Unsecured::TooSlow, "the client took too long".to_owned())
}

fn why(error: &io::Error) -> Unsecured {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Unsecured::ClientCertificate,
        Some(Error::AlertReceived(_)) => Unsecured::RefusedByClient,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Unsecured::NothingInCommon,
        _ => Unsecured::Broken,
    }
}
