//! What is wrong with the files of a section `tls`, for `millrace validate`, which starts nothing.

use super::choices;
use super::material::certified;
use super::pem::{Problem, Text, TlsError};
use super::validity::Validity;
use crate::config::TlsConfig;
use rustls::pki_types::UnixTime;

/// Keys, each with what is wrong with its file and, after a line break, advice.
type Findings = Vec<(&'static str, String)>;

/// What is wrong with the certificates and the key.
pub(crate) fn look(config: &TlsConfig) -> Findings {
    let mut found = look_at_authorities("ca_file", &config.ca_file);
    let cert = open("cert_file", &config.cert_file, &mut found);
    let key = open("key_file", &config.key_file, &mut found);
    if let Some(cert) = &cert {
        look_at_time(cert, &mut found);
    }
    let problem = match (cert, key) {
        (Some(cert), Some(key)) => certified(&(cert, key), &choices::provider(config)).err(),
        (Some(cert), None) => cert.certificates().err(),
        (None, Some(key)) => key.key().err(),
        (None, None) => None,
    };
    found.extend(problem.map(finding));
    found
}

/// What is wrong with a file of authorities.
pub(crate) fn look_at_authorities(key: &'static str, file: &str) -> Findings {
    let mut found = Vec::new();
    if let Some(text) = open(key, file, &mut found) {
        look_at_time(&text, &mut found);
        found.extend(text.certificates().err().map(finding));
    }
    found
}

/// A file, if one is named and can be read.
fn open(key: &'static str, file: &str, found: &mut Findings) -> Option<Text> {
    if file.is_empty() {
        return None;
    }
    match Text::read(key, file) {
        Ok(text) => Some(text),
        Err(error) => {
            found.push(finding(error));
            None
        }
    }
}

/// Says which of the certificates are over. What is no certificate is found elsewhere.
fn look_at_time(text: &Text, found: &mut Findings) {
    for certificate in text.certificates().unwrap_or_default() {
        let over = Validity::of(&certificate).and_then(|validity| validity.over_for(UnixTime::now()));
        if let (Some(over), Some(file)) = (over, &text.origin.file) {
            let days = over.as_secs() / 86_400;
            let message = format!("`{file}` holds a certificate that expired {days} days ago");
            found.push((text.origin.key, format!("{message}\nrenew it: peers will refuse it")));
        }
    }
}

fn finding(error: TlsError) -> (&'static str, String) {
    let TlsError { origin, problem } = error;
    let advice = match problem {
        Problem::Unreadable(_) => "\ncorrect the path, or let the user that runs the collector read it",
        Problem::KeyInstead | Problem::CertificateInstead => "\nswap `cert_file` and `key_file`",
        Problem::Mismatch(_) => "\ngive the key that the certificate was made with",
        _ => "",
    };
    let file = origin.file.as_deref().unwrap_or_default();
    (origin.key, format!("`{file}` {problem}{advice}"))
}
