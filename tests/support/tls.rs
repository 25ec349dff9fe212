//! Certificates for the occasion, and clients that speak TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority and what it has signed, in a folder.
pub struct Certificates {
    folder: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// Writes `ca.pem`, and a server's and a client's certificate with their keys: `server.pem`, `server.key`,
    /// `client.pem`, `client.key`.
    pub fn in_folder(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let certificates = Self { folder: folder.to_owned(), authority };
        certificates.write("ca.pem", &certificates.authority.pem());
        certificates.certify("server");
        certificates.certify("client");
        certificates
    }

    /// Signs a new certificate for `localhost` and writes it.
    pub fn certify(&self, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        certificate.der().clone()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    /// Connects, offering `alpn`, with the client's certificate or without.
    pub async fn connect(
        &self,
        to: SocketAddr,
        alpn: &[&str],
        with_certificate: bool,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("an authority");
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots);
        let mut config = if with_certificate {
            let read = |name| fs::read(self.folder.join(name)).expect("a file");
            let certificate = CertificateDer::from_pem_slice(&read("client.pem")).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(&read("client.key")).expect("PEM");
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        timeout(super::PATIENCE, connecting).await.expect("a handshake ends")
    }

    /// Posts over HTTP/1.1 and TLS; the head of the answer.
    pub async fn post(
        &self,
        to: SocketAddr,
        request: &[u8],
        with_certificate: bool,
    ) -> std::io::Result<String> {
        let mut stream = self.connect(to, &["http/1.1"], with_certificate).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            let read =
                timeout(super::PATIENCE, stream.read_buf(&mut answer)).await.expect("an answer in time");
            if read? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
