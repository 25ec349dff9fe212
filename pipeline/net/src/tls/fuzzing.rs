//! What the fuzz targets reach of this folder.

use super::pem::Text;
use super::validity::Validity;
use rustls::pki_types::CertificateDer;

/// The certificates of a text in PEM, or what is wrong with it.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let certificates = Text::inline("cert_pem", text).certificates();
    certificates.map(|all| all.iter().map(|der| der.to_vec()).collect()).map_err(|error| error.to_string())
}

/// The first key of a text in PEM, or what is wrong with it.
pub fn key(text: &str) -> Result<Vec<u8>, String> {
    let key = Text::inline("key_pem", text).key();
    key.map(|key| key.secret_der().to_vec()).map_err(|error| error.to_string())
}

/// From when to when a certificate is valid, in seconds since 1970.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    Validity::of(&CertificateDer::from(certificate)).map(|validity| (validity.from, validity.until))
}
