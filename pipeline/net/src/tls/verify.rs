//! Deciding whether a peer's certificate is to be believed.
//!
//! As in Go, a certificate that is itself among the configured authorities is believed, whether or not it may sign
//! others: `openssl req -x509` makes such certificates, and webpki alone refuses them.

use super::validity::Validity;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// Certificates that are believed by themselves.
#[derive(Debug)]
struct Pinned(Vec<CertificateDer<'static>>);

impl Pinned {
    /// `None` if it is not one of them; an error if it is, and not valid at that time.
    fn verify(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Result<(), Error>> {
        self.0.iter().any(|pinned| pinned == certificate).then(|| match Validity::of(certificate) {
            Some(validity) if validity.covers(now) => Ok(()),
            Some(validity) if validity.over_for(now).is_some() => Err(CertificateError::Expired.into()),
            Some(_) => Err(CertificateError::NotValidYet.into()),
            None => Err(CertificateError::BadEncoding.into()),
        })
    }
}

/// The signatures of a handshake, verified with `self.algorithms`: the same for whomever they are of, and the methods are
/// those of two traits.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Believes servers whose certificates lead to an authority and name the host.
#[derive(Debug)]
struct Servers {
    pinned: Pinned,
    chains: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The verifier of servers; `given` are the authorities out of `roots` that the configuration names.
pub(super) fn servers(
    roots: RootCertStore,
    given: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    let algorithms = provider.signature_verification_algorithms;
    Ok(Arc::new(Servers { pinned: Pinned(given), chains, algorithms }))
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.pinned.verify(end_entity, now) {
            Some(verified) => {
                verified?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            None => {
                self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    signatures!();
}

/// Believes any server that has the key of the certificate it shows (`insecure_skip_verify`).
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

/// The verifier that believes any server.
pub(super) fn anybody(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anybody { algorithms: provider.signature_verification_algorithms })
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Asks every client for a certificate, and believes those that lead to an authority.
#[derive(Debug)]
struct Clients {
    pinned: Pinned,
    chains: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The verifier of clients.
pub(super) fn clients(
    roots: RootCertStore,
    given: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    let algorithms = provider.signature_verification_algorithms;
    Ok(Arc::new(Clients { pinned: Pinned(given), chains, algorithms }))
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.pinned.verify(end_entity, now) {
            Some(verified) => verified.map(|()| ClientCertVerified::assertion()),
            None => self.chains.verify_client_cert(end_entity, intermediates, now),
        }
    }

    signatures!();
}
