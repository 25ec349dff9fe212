//! Versions, cipher suites and groups: the Go collector's names for them, and which of them are built in.

use crate::config::TlsConfig;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};
use thiserror::Error;

/// A version of TLS that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// Why a version cannot be had.
#[derive(Debug, Error)]
pub(crate) enum VersionError {
    #[error("unsupported TLS version: {0:?}\nuse \"1.2\" or \"1.3\"")]
    Unknown(String),
    #[error(
        "TLS 1.0 and 1.1 are not built in: they are broken, and nobody should speak them (RFC 8996)\nuse \"1.2\""
    )]
    Broken,
}

impl Version {
    /// Reads a version as it is configured; `default` where nothing is.
    pub(crate) fn parse(text: &str, default: Self) -> Result<Self, VersionError> {
        match text {
            "" => Ok(default),
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            "1.0" | "1.1" => Err(VersionError::Broken),
            _ => Err(VersionError::Unknown(text.to_owned())),
        }
    }
}

/// What a name of Go's stands for.
pub(crate) enum Suite {
    Tls12(SupportedCipherSuite),
    /// Those of TLS 1.3 cannot be chosen, in Go neither.
    Tls13,
    /// Known to Go, and too weak to be built in here.
    NotBuiltIn,
    Unknown,
}

/// Suites that Go has in its list of good ones and that are not built in here.
const NOT_BUILT_IN: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Suites that Go knows, and takes only from those who insist.
const INSECURE: [&str; 13] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
];

/// The suite that Go calls so.
pub(crate) fn suite(name: &str, insecure_too: bool) -> Suite {
    match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Suite::Tls12(cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256" => Suite::Tls13,
        name if NOT_BUILT_IN.contains(&name) => Suite::NotBuiltIn,
        name if insecure_too && INSECURE.contains(&name) => Suite::NotBuiltIn,
        _ => Suite::Unknown,
    }
}

/// What a name of a group stands for.
pub(crate) enum Curve {
    Group(&'static dyn SupportedKxGroup),
    NotBuiltIn,
    Unknown,
}

/// The group that the Go collector calls so.
pub(crate) fn curve(name: &str) -> Curve {
    match name {
        "X25519MLKEM768" => Curve::Group(kx_group::X25519MLKEM768),
        "X25519" => Curve::Group(kx_group::X25519),
        "P256" => Curve::Group(kx_group::SECP256R1),
        "P384" => Curve::Group(kx_group::SECP384R1),
        "P521" => Curve::NotBuiltIn,
        _ => Curve::Unknown,
    }
}

/// What suites encrypt with, the preferred one first.
const PREFERENCE: [Cipher; 3] = [Cipher::Aes128, Cipher::Aes256, Cipher::ChaCha20];

#[derive(PartialEq, Eq)]
enum Cipher {
    Aes128,
    Aes256,
    ChaCha20,
}

fn cipher_of(suite: SupportedCipherSuite) -> Cipher {
    use CipherSuite as Is;
    match suite.suite() {
        Is::TLS13_AES_128_GCM_SHA256
        | Is::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Is::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128,
        Is::TLS13_AES_256_GCM_SHA384
        | Is::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | Is::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256,
        _ => Cipher::ChaCha20,
    }
}

/// The cryptography for a configuration that has been checked.
pub(crate) fn provider(config: &TlsConfig) -> CryptoProvider {
    let mut provider = default_provider();
    // AES-128 first, as in Go: as strong as anybody needs, and a quarter less work than AES-256.
    provider
        .cipher_suites
        .sort_by_key(|suite| PREFERENCE.iter().position(|cipher| *cipher == cipher_of(*suite)));
    if !config.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        let chosen = config.cipher_suites.iter().filter_map(|name| {
            match suite(name, config.include_insecure_cipher_suites) {
                Suite::Tls12(suite) => Some(suite),
                Suite::Tls13 | Suite::NotBuiltIn | Suite::Unknown => None,
            }
        });
        provider.cipher_suites.extend(chosen);
    }
    if !config.curve_preferences.is_empty() {
        let chosen = config.curve_preferences.iter().filter_map(|name| match curve(name) {
            Curve::Group(group) => Some(group),
            Curve::NotBuiltIn | Curve::Unknown => None,
        });
        provider.kx_groups = chosen.collect();
    }
    provider
}

/// The versions for a configuration that has been checked, as far as `provider` has suites for them.
pub(crate) fn versions(
    config: &TlsConfig,
    provider: &CryptoProvider,
) -> Vec<&'static SupportedProtocolVersion> {
    let min = Version::parse(&config.min_version, Version::Tls12).unwrap_or(Version::Tls12);
    let max = Version::parse(&config.max_version, Version::Tls13).unwrap_or(Version::Tls13);
    let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .filter(|(version, _)| *version != Version::Tls12 || has_tls12)
        .map(|(_, version)| version)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(config: &TlsConfig) -> (Vec<String>, usize, usize) {
        let provider = provider(config);
        let versions = versions(config, &provider);
        let tls12 = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
        let names = tls12.map(|suite| format!("{:?}", suite.suite())).collect();
        (names, provider.kx_groups.len(), versions.len())
    }

    #[test]
    fn nothing_said_means_everything_good() {
        let (suites, groups, versions) = chosen(&TlsConfig::default());
        assert_eq!((groups, versions), (4, 2));
        // As Go prefers them.
        assert_eq!(
            suites,
            [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ]
        );
        let provider = provider(&TlsConfig::default());
        assert_eq!(provider.cipher_suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    }

    #[test]
    fn what_is_said_holds_for_tls_1_2_in_that_order() {
        let config = TlsConfig {
            cipher_suites: [
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ]
            .map(str::to_owned)
            .to_vec(),
            curve_preferences: ["P384", "P521"].map(str::to_owned).to_vec(),
            ..TlsConfig::default()
        };
        let (suites, groups, versions) = chosen(&config);
        assert_eq!(
            suites,
            ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!((groups, versions), (1, 2));
    }

    #[test]
    fn without_a_suite_of_its_own_tls_1_2_is_not_spoken() {
        let config =
            TlsConfig { cipher_suites: vec!["TLS_AES_128_GCM_SHA256".to_owned()], ..TlsConfig::default() };
        assert_eq!(chosen(&config).2, 1);
        let config = TlsConfig { max_version: "1.2".to_owned(), ..TlsConfig::default() };
        assert_eq!(chosen(&config).2, 1);
    }
}
