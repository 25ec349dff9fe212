//! The texts that a TLS configuration is made of, and what rustls is given of them.

use super::choices;
use super::pem::{Origin, Problem, Text, TlsError};
use super::validity::Validity;
use super::verify;
use crate::config::{TlsClientConfig, TlsConfig, TlsServerConfig};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Every certificate and key that a section `tls` names, read and not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    ca: Option<Text>,
    pair: Option<(Text, Text)>,
    client_ca: Option<Text>,
}

impl Texts {
    /// Reads all of them.
    pub(super) fn read(config: &TlsConfig, client_ca_file: &str) -> Result<Self, TlsError> {
        let ca = text(("ca_file", &config.ca_file), ("ca_pem", config.ca_pem.expose()))?;
        let cert = text(("cert_file", &config.cert_file), ("cert_pem", config.cert_pem.expose()))?;
        let key = text(("key_file", &config.key_file), ("key_pem", config.key_pem.expose()))?;
        let client_ca = text(("client_ca_file", client_ca_file), ("client_ca_file", ""))?;
        Ok(Self { ca, pair: cert.zip(key), client_ca })
    }

    /// Reads those again that are due, and leaves the others as they are.
    pub(super) fn again(&self, config: &TlsConfig, client_ca_file: &str, due: Due) -> Result<Self, TlsError> {
        let mut texts = self.clone();
        if due.client_ca {
            texts.client_ca = text(("client_ca_file", client_ca_file), ("client_ca_file", ""))?;
        }
        if due.others {
            let others = Self::read(config, "")?;
            (texts.ca, texts.pair) = (others.ca, others.pair);
        }
        Ok(texts)
    }

    /// When the first certificate of each text ends, by the key of the text.
    pub(super) fn ends(&self) -> Vec<(Origin, Validity)> {
        let texts = self.ca.iter().chain(self.pair.iter().map(|(cert, _)| cert)).chain(&self.client_ca);
        texts
            .filter_map(|text| {
                let certificates = text.certificates().ok()?;
                let first = certificates.iter().filter_map(Validity::of).min_by_key(|times| times.until)?;
                Some((text.origin.clone(), first))
            })
            .collect()
    }

    /// Says which certificates are over, as whoever meets them only says that something is wrong.
    pub(super) fn warn_of_what_is_over(&self, component: &str) {
        for (origin, validity) in self.ends() {
            if let Some(over) = validity.over_for(UnixTime::now()) {
                let days = over.as_secs() / 86_400;
                tracing::warn!(
                    component,
                    "{origin}: a certificate expired {days} days ago; peers will refuse it"
                );
            }
        }
    }
}

fn text(
    (file_key, file): (&'static str, &str),
    (pem_key, pem): (&'static str, &str),
) -> Result<Option<Text>, TlsError> {
    if !file.is_empty() {
        return Text::read(file_key, file).map(Some);
    }
    Ok((!pem.is_empty()).then(|| Text::inline(pem_key, pem)))
}

/// Which texts are to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) client_ca: bool,
    pub(super) others: bool,
}

/// What a client of ours connects with.
pub(super) fn client(
    config: &TlsClientConfig,
    texts: &Texts,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(choices::provider(&config.common));
    let verifier = if config.client.insecure_skip_verify {
        verify::anybody(&provider)
    } else {
        server_verifier(&config.common, texts, &provider)?
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&choices::versions(&config.common, &provider))
        .map_err(|error| refused("cipher_suites", &error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut made = match &texts.pair {
        Some(pair) => builder.with_client_cert_resolver(certified(pair, &provider)?),
        None => builder.with_no_client_auth(),
    };
    made.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(made)
}

/// What a server of ours accepts with.
pub(super) fn server(
    config: &TlsServerConfig,
    texts: &Texts,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(choices::provider(&config.common));
    let Some(pair) = &texts.pair else {
        let problem = Problem::Refused("a server needs both certificate and key".to_owned());
        return Err(Origin { key: "cert_file", file: None }.error(problem));
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&choices::versions(&config.common, &provider))
        .map_err(|error| refused("cipher_suites", &error))?;
    let builder = match &texts.client_ca {
        Some(text) => builder.with_client_cert_verifier(client_verifier(&config.common, text, &provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut made = builder.with_cert_resolver(certified(pair, &provider)?);
    made.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(made)
}

fn refused(key: &'static str, error: &Error) -> TlsError {
    Origin { key, file: None }.error(Problem::Refused(error.to_string()))
}

/// The certificate with its key, which must belong to it.
pub(super) fn certified(
    (cert, key): &(Text, Text),
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let chain = cert.certificates()?;
    let key_unusable = |error: Error| key.error(Problem::UnusableKey(error.to_string()));
    let signing = provider.key_provider.load_private_key(key.key()?).map_err(key_unusable)?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Arc::new(SingleCertAndKey::from(certified)))
        }
        Err(Error::InconsistentKeys(_)) => Err(key.error(Problem::Mismatch(cert.origin.to_string()))),
        Err(error) => Err(cert.error(Problem::UnusableCertificate(error.to_string()))),
    }
}

fn server_verifier(
    config: &TlsConfig,
    texts: &Texts,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let given = match &texts.ca {
        Some(text) => trust(&mut roots, text)?,
        None => Vec::new(),
    };
    if texts.ca.is_none() || config.include_system_ca_certs_pool {
        trust_the_systems(&mut roots);
    }
    let origin = Origin { key: "ca_file", file: None };
    if roots.is_empty() {
        return Err(origin.error(Problem::NoAuthorities));
    }
    verify::servers(roots, given, provider).map_err(|error| origin.error(Problem::Refused(error)))
}

fn client_verifier(
    config: &TlsConfig,
    text: &Text,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let given = trust(&mut roots, text)?;
    if config.include_system_ca_certs_pool {
        trust_the_systems(&mut roots);
    }
    verify::clients(roots, given, provider).map_err(|error| text.error(Problem::Refused(error)))
}

/// Trusts what a text holds. As in Go, certificates that cannot be read are passed over, unless all are such.
fn trust(roots: &mut RootCertStore, text: &Text) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let given = text.certificates()?;
    let mut last = None;
    for certificate in &given {
        last = roots.add(certificate.clone()).err().or(last);
    }
    match last {
        Some(error) if roots.is_empty() => Err(text.error(Problem::UnusableCertificate(error.to_string()))),
        _ => Ok(given),
    }
}

fn trust_the_systems(roots: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "reading the system's authorities");
    }
    roots.add_parsable_certificates(found.certs);
}
