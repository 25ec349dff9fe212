//! The section `extensions::bearertokenauth`.

use http::{HeaderName, HeaderValue};
use millrace_config::{Checker, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tokens are good.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What stands before the token; nothing if empty.
    pub scheme: String,
    /// The header that carries it.
    pub header: String,
    /// The token.
    pub token: Secret<String>,
    /// Several tokens: a server takes each of them, a client sends the first.
    pub tokens: Vec<Secret<String>>,
    /// A file of tokens, one a line; what follows a token after a space is a comment. Wins over the other two, and is
    /// read again when it changes.
    pub filename: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheme: "Bearer".to_owned(),
            header: "Authorization".to_owned(),
            token: Secret::default(),
            tokens: Vec::new(),
            filename: String::new(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        let has_token = !self.token.expose().is_empty();
        if !has_token && self.tokens.is_empty() && self.filename.is_empty() {
            at.error_here("no bearer token provided\nset `filename`, `token` or `tokens`");
        }
        if has_token && !self.tokens.is_empty() {
            at.error("tokens", "either tokens or token should be provided, not both\nremove one of them");
        }
        if !self.filename.is_empty() && (has_token || !self.tokens.is_empty()) {
            at.warning(
                "filename",
                "a filename is given: the tokens in the configuration are ignored\nremove them",
            );
        }
        at.reads("filename", &self.filename);
        if HeaderName::try_from(&self.header).is_err() {
            at.error("header", "is not a header name\nuse letters, digits and `-`");
        }
        if HeaderValue::try_from(&self.scheme).is_err() {
            at.error(
                "scheme",
                "has characters that a header cannot have\nremove line breaks and control characters",
            );
        }
        let sendable = |token: &Secret<String>| HeaderValue::try_from(token.expose()).is_ok();
        if !sendable(&self.token) {
            at.error(
                "token",
                "has characters that a header cannot have\nremove line breaks and control characters",
            );
        }
        if self.tokens.iter().any(|token| token.expose().is_empty()) {
            at.error("tokens", "a token is empty\nremove it");
        }
        if !self.tokens.iter().all(sendable) {
            at.error(
                "tokens",
                "a token has characters that a header cannot have\nremove line breaks and control characters",
            );
        }
    }
}
