//! Certificates and keys in PEM, from files or from the configuration itself, with errors that say which one is wrong
//! and in what.

use millrace_config::files::{FileError, read_file};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// The largest file that is read; a bundle of every public authority is a quarter of this.
const FILE_MAX: u64 = 1 << 20;

/// Something about the certificates or keys of a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{origin}: {problem}")]
pub struct TlsError {
    /// What it is about.
    pub(super) origin: Origin,
    /// What is wrong with it.
    pub(super) problem: Problem,
}

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The key in the section `tls`.
    pub(super) key: &'static str,
    /// The file, if it is one.
    pub(super) file: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "tls::{} `{file}`", self.key),
            None => write!(f, "tls::{}", self.key),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is longer than {} bytes", FILE_MAX)]
    TooLong,
    #[error("is binary, and must be PEM; convert it with `openssl {0} -inform der`")]
    Der(&'static str),
    #[error("is not PEM: there must be a line `-----BEGIN {0}-----`")]
    NotPem(&'static str),
    #[error("is damaged PEM: {0}")]
    Damaged(String),
    #[error("holds a key and no certificate; are certificate and key interchanged?")]
    KeyInstead,
    #[error("holds a certificate and no key; are certificate and key interchanged?")]
    CertificateInstead,
    #[error(
        "holds a key that is encrypted, and there is no way to give its passphrase; decrypt it with `openssl pkey`"
    )]
    Encrypted,
    #[error("holds a key that cannot be used: {0}")]
    UnusableKey(String),
    #[error("holds a certificate that cannot be used: {0}")]
    UnusableCertificate(String),
    #[error("holds a key that does not belong to the certificate of {0}")]
    Mismatch(String),
    #[error("no authorities are known, and the system has none either; give the server's as `ca_file`")]
    NoAuthorities,
    #[error("{0}")]
    Refused(String),
}

/// A text in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) origin: Origin,
    bytes: Arc<[u8]>,
}

/// Shows where it is from, never what it says: it may be a key.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.origin).finish()
    }
}

impl Text {
    /// Reads a file.
    pub(super) fn read(key: &'static str, file: &str) -> Result<Self, TlsError> {
        let origin = Origin { key, file: Some(file.to_owned()) };
        let bytes = read_file(Path::new(file), FILE_MAX).map_err(|error| {
            origin.error(match error {
                FileError::TooLong(_) => Problem::TooLong,
                error => Problem::Unreadable(error.to_string()),
            })
        })?;
        Ok(Self { origin, bytes: bytes.into() })
    }

    /// What is written in the configuration.
    pub(super) fn inline(key: &'static str, text: &str) -> Self {
        Self { origin: Origin { key, file: None }, bytes: text.as_bytes().into() }
    }

    /// The certificates in it; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let mut certificates = Vec::new();
        let mut has_key = false;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&self.bytes) {
            match section.map_err(|error| self.damaged(&error))? {
                (SectionKind::Certificate, der) => certificates.push(der.into()),
                (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                    has_key = true;
                }
                _ => {}
            }
        }
        if certificates.is_empty() {
            return Err(self.error(if has_key {
                Problem::KeyInstead
            } else {
                self.not_pem("x509", "CERTIFICATE")
            }));
        }
        Ok(certificates)
    }

    /// The first key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let mut has_certificate = false;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&self.bytes) {
            let (kind, der) = section.map_err(|error| {
                if self.is_encrypted() { self.error(Problem::Encrypted) } else { self.damaged(&error) }
            })?;
            has_certificate |= kind == SectionKind::Certificate;
            if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
                // The older way to encrypt leaves the name of the section as it is.
                return if self.is_encrypted() { Err(self.error(Problem::Encrypted)) } else { Ok(key) };
            }
        }
        Err(self.error(if self.is_encrypted() {
            Problem::Encrypted
        } else if has_certificate {
            Problem::CertificateInstead
        } else {
            self.not_pem("pkey", "PRIVATE KEY")
        }))
    }

    pub(super) fn error(&self, problem: Problem) -> TlsError {
        self.origin.error(problem)
    }

    fn is_encrypted(&self) -> bool {
        let has = |mark: &[u8]| self.bytes.windows(mark.len()).any(|window| window == mark);
        has(b"-----BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
    }

    fn damaged(&self, error: &rustls::pki_types::pem::Error) -> TlsError {
        use rustls::pki_types::pem::Error;
        // What was found is not repeated: it may be a key.
        let what = match error {
            Error::MissingSectionEnd { .. } => "a section has no end",
            Error::IllegalSectionStart { .. } => "a section has no proper beginning",
            Error::Base64Decode(_) => "it is not base64",
            _ => "it cannot be read",
        };
        self.error(Problem::Damaged(what.to_owned()))
    }

    fn not_pem(&self, tool: &'static str, what: &'static str) -> Problem {
        // A DER sequence of more than 127 bytes.
        if self.bytes.starts_with(&[0x30, 0x82]) { Problem::Der(tool) } else { Problem::NotPem(what) }
    }
}

impl Origin {
    pub(super) fn error(&self, problem: Problem) -> TlsError {
        TlsError { origin: self.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (certificate.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn certificates_and_keys_are_found_among_other_things() {
        let (certificate, key) = pair();
        let both = format!("some text\n{key}\n# and\n{certificate}{certificate}");
        let text = Text::inline("cert_pem", &both);
        assert_eq!(text.certificates().expect("two").len(), 2);
        text.key().expect("one");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_and_never_with_what_it_holds() {
        let (certificate, key) = pair();
        let complaint = |text: &str| {
            let text = Text::inline("key_pem", text);
            text.key().expect_err("no key").to_string()
        };
        assert!(complaint(&certificate).contains("interchanged"));
        assert!(complaint("").contains("-----BEGIN PRIVATE KEY-----"));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(complaint(encrypted).contains("passphrase"));
        let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
        assert!(complaint(older).contains("passphrase"));
        let cut = complaint(&key[..key.len() / 2]);
        assert!(cut.contains("damaged") && !cut.contains(&key[40..60]), "{cut}");

        let text = Text::inline("cert_pem", &key);
        assert!(text.certificates().expect_err("no certificate").to_string().contains("interchanged"));
        let missing = Text::read("cert_file", "/nowhere/x.pem").expect_err("no file").to_string();
        assert!(missing.starts_with("tls::cert_file `/nowhere/x.pem`: cannot be read: "), "{missing}");
    }

    #[test]
    fn binary_files_are_recognised() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.der");
        let (certificate, _) = pair();
        let der = Text::inline("cert_pem", &certificate).certificates().expect("one");
        std::fs::write(&path, &der[0]).expect("written");
        let text = Text::read("cert_file", path.to_str().expect("a path")).expect("a file");
        assert!(text.certificates().expect_err("binary").to_string().contains("-inform der"));
    }
}
