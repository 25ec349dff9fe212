//! configtls's keys.

use super::Ignored;
use crate::tls;
use crate::tls::choices::{self, Curve, Suite, Version, VersionError};
use millrace_config::{Checker, Duration, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What servers and clients say about TLS alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A file in PEM with the authorities that a server's certificate must be signed by; the system's without it.
    pub ca_file: String,
    /// The same, written here.
    pub ca_pem: Secret,
    /// Whether the system's authorities are trusted beside those of `ca_file` or `ca_pem`.
    pub include_system_ca_certs_pool: bool,
    /// A file in PEM with the certificate to show, followed by its intermediates.
    pub cert_file: String,
    /// The same, written here.
    pub cert_pem: Secret,
    /// A file in PEM with the key of the certificate.
    pub key_file: String,
    /// The same, written here.
    pub key_pem: Secret,
    /// The oldest version to speak: `1.2` (the default) or `1.3`.
    pub min_version: String,
    /// The newest version to speak: `1.2` or `1.3` (the default).
    pub max_version: String,
    /// The cipher suites of TLS 1.2, by their names in Go; all good ones if empty. Those of TLS 1.3 are fixed.
    pub cipher_suites: Vec<String>,
    /// Whether `cipher_suites` may name suites that are insecure; none of them is built in.
    pub include_insecure_cipher_suites: bool,
    /// The groups for the key exchange, the preferred one first.
    pub curve_preferences: Vec<String>,
    /// How often the files are read again, at most once a second; 0 means never.
    pub reload_interval: Duration,
    /// Keys in a trusted platform module: not supported.
    pub tpm: Tpm,
}

/// The section `tpm`; only switched off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tpm {
    /// Must be false.
    pub enabled: bool,
    /// Without meaning while it is off.
    pub path: Ignored,
    /// Without meaning while it is off.
    pub owner_auth: Ignored,
    /// Without meaning while it is off.
    pub auth: Ignored,
}

impl Validate for Tpm {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.enabled {
            at.error(
                "enabled",
                "keys in a trusted platform module are not supported\ngive the key as `key_file`",
            );
        }
    }
}

impl TlsConfig {
    /// Whether authorities are given.
    #[must_use]
    pub fn has_ca(&self) -> bool {
        !self.ca_file.is_empty() || !self.ca_pem.expose().is_empty()
    }

    /// Whether a certificate is given.
    #[must_use]
    pub fn has_cert(&self) -> bool {
        !self.cert_file.is_empty() || !self.cert_pem.expose().is_empty()
    }

    fn has_key(&self) -> bool {
        !self.key_file.is_empty() || !self.key_pem.expose().is_empty()
    }

    fn check_files(&self, at: &mut Checker<'_>) {
        let both = [
            (
                "ca_pem",
                &self.ca_file,
                &self.ca_pem,
                "provide either a CA file or the PEM-encoded string, but not both\nremove one of the two",
            ),
            (
                "cert_pem",
                &self.cert_file,
                &self.cert_pem,
                "provide either certificate file or PEM, but not both\nremove one of the two",
            ),
            (
                "key_pem",
                &self.key_file,
                &self.key_pem,
                "provide either key file or PEM, but not both\nremove one of the two",
            ),
        ];
        for (key, file, pem, message) in both {
            if !file.is_empty() && !pem.expose().is_empty() {
                at.error(key, message);
            }
        }
        if self.has_cert() != self.has_key() {
            let missing = if self.has_cert() { "key_file` or `key_pem" } else { "cert_file` or `cert_pem" };
            at.error_here(format!(
                "TLS configuration must include both certificate and key\nadd `{missing}`"
            ));
        }
        if self.include_system_ca_certs_pool && !self.has_ca() {
            at.warning(
                "include_system_ca_certs_pool",
                "has no effect without `ca_file` or `ca_pem`: the system's authorities are trusted anyway\nremove it",
            );
        }
    }

    fn check_versions(&self, at: &mut Checker<'_>) {
        let mut version = |key, text: &str, default| match Version::parse(text, default) {
            Ok(version) => Some(version),
            Err(VersionError::Broken) if key == "min_version" => {
                at.warning(
                    key,
                    format!("TLS {text} is not built in; the oldest version that is spoken is 1.2\nwrite `min_version: \"1.2\"`"),
                );
                Some(Version::Tls12)
            }
            Err(error) => {
                at.error(key, format!("invalid TLS {key}: {error}"));
                None
            }
        };
        let min = version("min_version", &self.min_version, Version::Tls12);
        let max = version("max_version", &self.max_version, Version::Tls13);
        if min > max && max.is_some() {
            at.error(
                "min_version",
                "invalid TLS configuration: min_version cannot be greater than max_version\nleave one of them out",
            );
        }
    }

    fn check_suites(&self, at: &mut Checker<'_>) {
        let mut usable = self.cipher_suites.is_empty();
        for name in &self.cipher_suites {
            match choices::suite(name, self.include_insecure_cipher_suites) {
                Suite::Tls12(_) => usable = true,
                Suite::Tls13 => {}
                Suite::NotBuiltIn => at.warning(
                    "cipher_suites",
                    format!("`{name}` is not built in, as it is weak, and is never used\nremove it"),
                ),
                Suite::Unknown => at.error("cipher_suites", format!("invalid TLS cipher suite: {name:?}\nuse names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
            }
        }
        if !usable && self.max_version == "1.2" {
            at.error(
                "cipher_suites",
                "none of them is built in, and TLS 1.3 is ruled out\nadd one such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            );
        }
    }

    fn check_curves(&self, at: &mut Checker<'_>) {
        let mut usable = self.curve_preferences.is_empty();
        for name in &self.curve_preferences {
            match choices::curve(name) {
                Curve::Group(_) => usable = true,
                Curve::NotBuiltIn => {
                    at.warning(
                        "curve_preferences",
                        format!("`{name}` is not built in and is never used\nremove it"),
                    );
                }
                Curve::Unknown => at.error(
                    "curve_preferences",
                    format!("invalid curve type: {name}\nuse X25519MLKEM768, X25519, P256 or P384"),
                ),
            }
        }
        if !usable {
            at.error("curve_preferences", "none of them is built in\nadd X25519, P256 or P384");
        }
    }
}

impl Validate for TlsConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        self.check_files(at);
        if !(self.ca_file.is_empty() && self.cert_file.is_empty() && self.key_file.is_empty()) {
            let config = self.clone();
            at.looks(&["ca_file", "cert_file", "key_file"], move || tls::look(&config));
        }
        self.check_versions(at);
        self.check_suites(at);
        self.check_curves(at);
        at.nested("tpm", &self.tpm);
    }
}

millrace_config::parts! {
    /// TLS of a client (`tls`).
    pub struct TlsClientConfig {
        /// What servers have, too.
        pub common: TlsConfig,
        /// What only clients have.
        pub client: TlsClientKeys,
    }
}

/// What only clients say about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsClientKeys {
    /// Plain text, unless authorities are given (as in the Go collector). For HTTP the scheme decides.
    pub insecure: bool,
    /// TLS without a look at the server's certificate.
    pub insecure_skip_verify: bool,
    /// The name to ask for and to find in the certificate, instead of the host's.
    pub server_name_override: String,
}

impl Validate for TlsClientKeys {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.insecure_skip_verify && !self.insecure {
            at.warning(
                "insecure_skip_verify",
                "anybody on the way can read and change what is sent\ngive the server's authority as `ca_file` instead",
            );
        }
        if let Err(error) = tls::check_server_name(&self.server_name_override) {
            at.error("server_name_override", error);
        }
    }
}

impl TlsClientConfig {
    /// Whether the section asks for plain text: `insecure`, and no authorities that would contradict it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.client.insecure && !self.common.has_ca()
    }
}

millrace_config::parts! {
    /// TLS of a server (`tls`).
    pub struct TlsServerConfig {
        /// What clients have, too.
        pub common: TlsConfig,
        /// What only servers have.
        pub server: TlsServerKeys,
    }
}

/// What only servers say about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsServerKeys {
    /// A file in PEM with the authorities that clients' certificates must be signed by. With it, clients must have one.
    pub client_ca_file: String,
    /// Whether `client_ca_file` is read again within a second of being changed.
    pub client_ca_file_reload: bool,
}

impl Validate for TlsServerKeys {
    fn validate(&self, at: &mut Checker<'_>) {
        if !["cert_file", "cert_pem", "key_file", "key_pem"].iter().any(|key| at.is_set(key)) {
            at.error_here(
                "TLS configuration must include both certificate and key for server connections\nadd `cert_file` and `key_file`",
            );
        }
        if !self.client_ca_file.is_empty() {
            let file = self.client_ca_file.clone();
            at.looks(&["client_ca_file"], move || tls::look_at_authorities("client_ca_file", &file));
        }
        let meaningless = ["ca_file", "ca_pem"].into_iter().find(|key| at.is_set(key));
        if let Some(key) = meaningless.filter(|_| self.client_ca_file.is_empty()) {
            at.warning(
                key,
                "has no meaning for a server, as in the Go collector\nto ask clients for certificates, use `client_ca_file`",
            );
        }
        if self.client_ca_file_reload && self.client_ca_file.is_empty() {
            at.warning(
                "client_ca_file_reload",
                "has no meaning without `client_ca_file`\nremove it, or add `client_ca_file`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_config::{Diagnostics, parse_str};
    use serde::de::DeserializeOwned;

    fn complaints<T: DeserializeOwned + Validate + Clone + Default>(yaml: &str) -> String {
        let parsed = parse_str("test.yaml", yaml, &|_| None);
        let mut diags = Diagnostics::new();
        let node = parsed.node.expect("the test's YAML is in form");
        let config = millrace_config::decode::<T>(&node, "tls", &mut diags);
        assert_eq!(config.is_none(), diags.has_errors());
        diags.render(&parsed.sources)
    }

    fn client(yaml: &str) -> String {
        complaints::<TlsClientConfig>(yaml)
    }

    fn server(yaml: &str) -> String {
        complaints::<TlsServerConfig>(yaml)
    }

    #[test]
    fn what_is_in_order_is_not_complained_of() {
        assert_eq!(client("{}"), "");
        assert_eq!(client("{insecure: true, insecure_skip_verify: true}"), "");
        assert_eq!(
            client(
                "{ca_file: a, cert_file: b, key_pem: c, min_version: '1.2', max_version: '1.3', reload_interval: 1h,
                  server_name_override: example.com, curve_preferences: [X25519, P256],
                  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], tpm: {enabled: false, path: /dev/tpm0}}"
            ),
            ""
        );
        assert_eq!(server("{cert_file: a, key_file: b, client_ca_file: c, client_ca_file_reload: true}"), "");
    }

    #[test]
    fn contradictions_are_named_as_in_go() {
        for (yaml, expected) in [
            ("{ca_file: a, ca_pem: b}", "provide either a CA file or the PEM-encoded string, but not both"),
            ("{cert_file: a}", "must include both certificate and key"),
            ("{key_pem: a}", "add `cert_file` or `cert_pem`"),
            ("{min_version: '1.3', max_version: '1.2'}", "min_version cannot be greater than max_version"),
            ("{min_version: '1.4'}", "invalid TLS min_version: unsupported TLS version: \"1.4\""),
            ("{max_version: '1.1'}", "TLS 1.0 and 1.1 are not built in"),
            ("{cipher_suites: [TLS_FOO]}", "invalid TLS cipher suite: \"TLS_FOO\""),
            ("{cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}", "invalid TLS cipher suite"),
            ("{curve_preferences: [P224]}", "invalid curve type: P224"),
            ("{curve_preferences: [P521]}", "none of them is built in"),
            ("{tpm: {enabled: true}}", "trusted platform module"),
            ("{server_name_override: 'a b'}", "is not a host name"),
        ] {
            let complaint = client(yaml);
            assert!(complaint.contains("error:") && complaint.contains(expected), "{yaml}: {complaint}");
        }
    }

    #[test]
    fn an_older_minimum_is_taken_for_the_oldest_version_there_is() {
        for version in ["1.0", "1.1"] {
            let told = client(&format!("{{min_version: '{version}', max_version: '1.2'}}"));
            assert!(told.starts_with("warning:") && told.contains("is 1.2"), "{told}");
        }
    }

    #[test]
    fn weak_suites_are_left_out_with_a_warning_and_never_alone_without_tls_1_3() {
        let weak = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
        assert!(client(&format!("{{cipher_suites: [{weak}]}}")).starts_with("warning:"));
        let alone = client(&format!("{{cipher_suites: [{weak}], max_version: '1.2'}}"));
        assert!(alone.contains("none of them is built in"), "{alone}");
        let insecure =
            "{cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true}";
        assert!(client(insecure).starts_with("warning:"));
    }

    #[test]
    fn a_server_needs_a_certificate_and_is_told_which_authorities_matter() {
        assert!(server("{}").contains("both certificate and key for server connections"));
        assert!(server("{client_ca_file: a}").contains("both certificate and key"));
        let confused = server("{cert_file: a, key_file: b, ca_file: c}");
        assert!(confused.starts_with("warning:") && confused.contains("client_ca_file"), "{confused}");
    }
}
