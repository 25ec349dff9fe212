//! TLS of the instruments: certificates made for one run, and both ends of a connection.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::either::Either;

/// The name that all certificates here are for.
pub const NAME: &str = "localhost";

/// A connection, plain or encrypted, as the side that opened it sees it.
pub type ClientStream = Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;
/// The same as the side that accepted it sees it.
pub type ServerStream = Either<TcpStream, tokio_rustls::server::TlsStream<TcpStream>>;

/// The files of an authority and of one server that it vouches for.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes both (ECDSA over P-256, as most servers have) and writes them into `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(dir: &Path) -> io::Result<Self> {
        let made = || -> Result<_, rcgen::Error> {
            let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
            let mut ca = CertificateParams::new(Vec::new())?;
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca_cert = ca.self_signed(&ca_key)?;
            let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
            let cert = CertificateParams::new(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
            Ok((ca_cert.pem(), cert.pem(), key.serialize_pem()))
        };
        let (ca_pem, cert_pem, key_pem) = made().map_err(io::Error::other)?;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).map(|()| path)
        };
        Ok(Self {
            ca: write("ca.pem", ca_pem)?,
            cert: write("server.pem", cert_pem)?,
            key: write("server.key", key_pem)?,
        })
    }
}

impl Certificates {
    /// What makes a sink show them.
    #[must_use]
    pub fn sink_options(&self) -> [String; 2] {
        [format!("--tls-cert={}", self.cert.display()), format!("--tls-key={}", self.key.display())]
    }

    /// What makes a load generator trust them.
    #[must_use]
    pub fn load_option(&self) -> String {
        format!("--tls-ca={}", self.ca.display())
    }
}

/// Opens connections, encrypted when it was given an authority.
#[derive(Clone)]
pub struct Opener(Option<TlsConnector>);

impl Opener {
    /// One that trusts the authority in the file, if one is given, and offers `protocol` (ALPN).
    ///
    /// # Errors
    /// When the file cannot be read or is not a certificate.
    pub fn new(ca: Option<&Path>, protocol: &str) -> io::Result<Self> {
        let Some(ca) = ca else { return Ok(Self(None)) };
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
            roots.add(cert.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.0.is_some() { "https" } else { "http" }
    }

    /// Connects, and shakes hands where that is asked for.
    ///
    /// # Errors
    /// When nobody listens, or who does is not trusted.
    pub async fn open(&self, addr: std::net::SocketAddr) -> io::Result<ClientStream> {
        let stream = crate::run::connect(addr).await?;
        match &self.0 {
            None => Ok(Either::Left(stream)),
            Some(connector) => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                Ok(Either::Right(connector.connect(name, stream).await?))
            }
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// Takes connections, encrypted when it was given a certificate.
#[derive(Clone)]
pub struct Taker(Option<TlsAcceptor>);

impl Taker {
    /// One that shows the certificate in the files, if they are given, and speaks `protocol` (ALPN).
    ///
    /// # Errors
    /// When a file cannot be read or holds something else.
    pub fn new(files: Option<(&Path, &Path)>, protocol: &str) -> io::Result<Self> {
        let Some((cert, key)) = files else { return Ok(Self(None)) };
        let chain = CertificateDer::pem_file_iter(cert)
            .map_err(io::Error::other)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Self(Some(TlsAcceptor::from(Arc::new(config)))))
    }

    /// Shakes hands with an accepted connection where that is asked for.
    ///
    /// # Errors
    /// When the peer does not.
    pub async fn take(&self, stream: TcpStream) -> io::Result<ServerStream> {
        match &self.0 {
            None => Ok(Either::Left(stream)),
            Some(acceptor) => Ok(Either::Right(acceptor.accept(stream).await?)),
        }
    }
}

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "tls" } else { "plain" })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn both_ends_understand_each_other_plain_and_encrypted() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Certificates::make(dir.path()).expect("certificates");
        for (ca, identity) in [(None, None), (Some(&*files.ca), Some((&*files.cert, &*files.key)))] {
            let listener = crate::run::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
            let addr = listener.local_addr().expect("it is bound");
            let taker = Taker::new(identity, "h2").expect("an identity");
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.expect("a client");
                let mut stream = taker.take(stream).await.expect("a handshake");
                stream.write_all(b"hello").await.expect("it reads");
                stream.shutdown().await.expect("it is open");
            });
            let mut stream =
                Opener::new(ca, "h2").expect("an authority").open(addr).await.expect("it listens");
            let mut said = String::new();
            stream.read_to_string(&mut said).await.expect("text");
            assert_eq!(said, "hello");
            server.await.expect("no panic");
        }
    }
}
