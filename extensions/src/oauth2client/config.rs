//! The section `extensions::oauth2client`.

use super::jwt;
use http::Uri;
use millrace_config::files::read_file;
use millrace_config::{Checker, Duration, Secret, Validate};
use millrace_net::Endpoint;
use millrace_net::config::TlsClientConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The grant with a signed assertion (RFC 7523).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest file of a key that is looked into.
const KEY_FILE_MAX: u64 = 1 << 20;

/// Where tokens come from, and who asks for them.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who we are.
    pub client_id: String,
    /// A file with the same, which wins; read for each token.
    pub client_id_file: String,
    /// What proves it.
    pub client_secret: Secret<String>,
    /// A file with the same, which wins; read for each token.
    pub client_secret_file: String,
    /// The URL that gives tokens.
    pub token_url: String,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
    /// Further parameters of the request, such as `audience`.
    pub endpoint_params: BTreeMap<String, Vec<Secret<String>>>,
    /// The limit for one request; 0 means 30 seconds.
    pub timeout: Duration,
    /// How long before a token expires the next one is fetched.
    pub expiry_buffer: Duration,
    /// TLS of the request, where the URL begins with https.
    pub tls: TlsClientConfig,
    /// `client_credentials`, or `urn:ietf:params:oauth:grant-type:jwt-bearer`, with which we sign who we are.
    pub grant_type: String,
    /// For jwt-bearer: the RSA key that signs, in PEM.
    pub client_certificate_key: Secret<String>,
    /// A file with the same, which wins; read for each token.
    pub client_certificate_key_file: String,
    /// For jwt-bearer: what the key is called.
    pub client_certificate_key_id: String,
    /// For jwt-bearer: RS256, RS384 or RS512; RS256 if empty.
    pub signature_algorithm: String,
    /// For jwt-bearer: who says so; the client id if empty.
    pub iss: String,
    /// For jwt-bearer: to whom; `token_url` if empty.
    pub audience: String,
    /// For jwt-bearer: what else is said.
    pub claims: BTreeMap<String, serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_id_file: String::new(),
            client_secret: Secret::default(),
            client_secret_file: String::new(),
            token_url: String::new(),
            scopes: Vec::new(),
            endpoint_params: BTreeMap::new(),
            timeout: Duration::ZERO,
            expiry_buffer: Duration::from_secs(300),
            tls: TlsClientConfig::default(),
            grant_type: "client_credentials".to_owned(),
            client_certificate_key: Secret::default(),
            client_certificate_key_file: String::new(),
            client_certificate_key_id: String::new(),
            signature_algorithm: String::new(),
            iss: String::new(),
            audience: String::new(),
            claims: BTreeMap::new(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if !["", "client_credentials", JWT_BEARER].contains(&self.grant_type.as_str()) {
            at.error("grant_type", format!("must be client_credentials or {JWT_BEARER}"));
        }
        if self.client_id.is_empty() && self.client_id_file.is_empty() {
            at.error("client_id", "no ClientID provided in the OAuth2 exporter configuration\nset `client_id` or `client_id_file`");
        }
        if self.signs() {
            self.check_key(at);
        } else if self.client_secret.expose().is_empty() && self.client_secret_file.is_empty() {
            at.error("client_secret", "no ClientSecret provided in OAuth Client Credentials configuration\nset `client_secret` or `client_secret_file`");
        }
        at.reads("client_id_file", &self.client_id_file);
        at.reads("client_secret_file", &self.client_secret_file);
        if self.token_url.is_empty() {
            at.error(
                "token_url",
                "no TokenURL provided in OAuth Client Credentials configuration\nset `token_url`",
            );
        } else if let Err(problem) = target(&self.token_url) {
            at.error("token_url", problem);
        }
        for taken in ["client_id", "client_secret", "scope", "assertion"] {
            if self.endpoint_params.contains_key(taken) {
                at.error(
                    "endpoint_params",
                    format!("`{taken}` has a key of its own and cannot stand here\nuse that key"),
                );
            }
        }
        at.nested("tls", &self.tls);
    }
}

impl Config {
    /// Whether we sign who we are, instead of sending a secret.
    pub(super) fn signs(&self) -> bool {
        self.grant_type == JWT_BEARER
    }

    fn check_key(&self, at: &mut Checker<'_>) {
        let inline = self.client_certificate_key.expose();
        if !self.client_certificate_key_file.is_empty() {
            // It is read when a token is needed.
            at.reads("client_certificate_key_file", &self.client_certificate_key_file);
            let file = self.client_certificate_key_file.clone();
            at.looks(&["client_certificate_key_file"], move || look_at_key(&file));
        } else if inline.is_empty() {
            at.error(
                "client_certificate_key",
                "there is no key to sign with\nset `client_certificate_key` or `client_certificate_key_file`",
            );
        } else if let Err(problem) = jwt::key(inline) {
            at.error("client_certificate_key", problem);
        }
        if jwt::Algorithm::from_name(&self.signature_algorithm).is_none() {
            at.error("signature_algorithm", "must be RS256, RS384 or RS512");
        }
    }
}

/// What is wrong with the key in a file. That it cannot be read is told by whoever reads files.
fn look_at_key(file: &str) -> Vec<(&'static str, String)> {
    let text =
        read_file(Path::new(file), KEY_FILE_MAX).ok().map(|text| String::from_utf8_lossy(&text).into_owned());
    let problem = text.and_then(|text| jwt::key(&text).err());
    let told = |problem| {
        let advice = "give the file of a private key as `openssl genrsa` makes it";
        ("client_certificate_key_file", format!("`{file}` cannot be used: {problem}\n{advice}"))
    };
    problem.map(told).into_iter().collect()
}

/// Where to connect to, and what to ask for there.
pub(super) fn target(url: &str) -> Result<(Endpoint, Uri), String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("must begin with https:// or http://".to_owned());
    }
    let uri: Uri = url.parse().map_err(|_| "is not a URL\nwrite it as https://host/path".to_owned())?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must not contain user and password\nuse `client_id` and `client_secret`".to_owned());
    }
    let endpoint = Endpoint::parse(url).map_err(|error| error.to_string())?;
    Ok((endpoint, uri))
}
