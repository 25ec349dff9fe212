//! The section `extensions::oauth2client`.

use http::Uri;
use millrace_config::{Checker, Duration, Secret, Validate};
use millrace_net::Endpoint;
use millrace_net::config::{NotYet, TlsClientConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Only `client_credentials`.
    pub grant_type: String,
    /// Not built yet: only for the grant type jwt-bearer.
    pub client_certificate_key: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub client_certificate_key_file: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub client_certificate_key_id: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub signature_algorithm: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub iss: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub audience: NotYet,
    /// Not built yet: only for the grant type jwt-bearer.
    pub claims: NotYet,
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
            client_certificate_key: NotYet,
            client_certificate_key_file: NotYet,
            client_certificate_key_id: NotYet,
            signature_algorithm: NotYet,
            iss: NotYet,
            audience: NotYet,
            claims: NotYet,
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        match self.grant_type.as_str() {
            "" | "client_credentials" => {}
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                at.error("grant_type", "this grant type is not supported yet; use client_credentials");
            }
            _ => at.error("grant_type", "must be client_credentials"),
        }
        if self.client_id.is_empty() && self.client_id_file.is_empty() {
            at.error("client_id", "no ClientID provided in the OAuth2 exporter configuration\nset `client_id` or `client_id_file`");
        }
        if self.client_secret.expose().is_empty() && self.client_secret_file.is_empty() {
            at.error("client_secret", "no ClientSecret provided in OAuth Client Credentials configuration\nset `client_secret` or `client_secret_file`");
        }
        if self.token_url.is_empty() {
            at.error("token_url", "no TokenURL provided in OAuth Client Credentials configuration");
        } else if let Err(problem) = target(&self.token_url) {
            at.error("token_url", problem);
        }
        for taken in ["client_id", "client_secret", "scope"] {
            if self.endpoint_params.contains_key(taken) {
                at.error("endpoint_params", format!("`{taken}` has a key of its own and cannot stand here"));
            }
        }
        at.nested("tls", &self.tls);
    }
}

/// Where to connect to, and what to ask for there.
pub(super) fn target(url: &str) -> Result<(Endpoint, Uri), String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("must begin with https:// or http://".to_owned());
    }
    let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must not contain user and password\nuse `client_id` and `client_secret`".to_owned());
    }
    let endpoint = Endpoint::parse(url).map_err(|error| error.to_string())?;
    Ok((endpoint, uri))
}
