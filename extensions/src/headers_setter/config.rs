//! The section `extensions::headers_setter`.

use http::{HeaderName, HeaderValue};
use millrace_config::{Checker, ComponentId, Role, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Headers that say of which connection or message something is true. Setting them would let what is sent be taken for
/// something else on the way.
const OF_THE_MESSAGE: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Which headers requests get.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The headers, one after the other.
    pub headers: Vec<HeaderConfig>,
    /// An authenticator that sets its headers before these.
    pub additional_auth: Option<ComponentId>,
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.headers.is_empty() {
            at.error(
                "headers",
                "missing headers configuration\nwrite headers: [{action: upsert, key: …, value: …}]",
            );
        }
        at.each("headers", &self.headers);
        if let Some(id) = &self.additional_auth {
            at.wants_extension("additional_auth", id, Role::ClientAuth);
        }
    }
}

/// One header.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderConfig {
    /// What to do.
    ///
    /// Go: the same, with a warning where it is left out.
    pub action: Action,
    /// Its name.
    pub key: String,
    /// This value.
    pub value: Option<Secret<String>>,
    /// The content of a file, which is read again when it changes.
    pub value_file: Option<String>,
    /// What the client sent under this name; needs `include_metadata` in the receiver.
    pub from_context: Option<String>,
    /// What is known of the client under this name; needs `auth` in the receiver.
    pub from_attribute: Option<String>,
    /// The value where the client sent none.
    pub default_value: Option<Secret<String>>,
}

/// What to do with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Set it if it is not there.
    Insert,
    /// Set it if it is there.
    Update,
    /// Set it.
    #[default]
    Upsert,
    /// Remove it.
    Delete,
}

impl Validate for HeaderConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        let name = self.key.to_ascii_lowercase();
        if self.key.is_empty() {
            at.error("key", "missing header name\nset `key`");
        } else if HeaderName::try_from(&name).is_err() {
            at.error("key", "is not a header name\nuse letters, digits and `-`");
        } else if OF_THE_MESSAGE.contains(&name.as_str()) || name.starts_with("grpc-") {
            at.error("key", "belongs to the connection and cannot be set\nremove it");
        }
        let sources = [
            self.value.is_some(),
            self.value_file.is_some(),
            self.from_context.is_some(),
            self.from_attribute.is_some(),
        ];
        match sources.into_iter().filter(|given| *given).count() {
            _ if self.action == Action::Delete => {}
            0 => at.error_here(
                "missing header source, must be 'from_context', 'from_attribute', 'value', or 'value_file'",
            ),
            1 => {}
            _ => at.error_here(
                "invalid header source, must be only one of 'from_context', 'from_attribute', 'value', or 'value_file'",
            ),
        }
        for (key, value) in [("value", &self.value), ("default_value", &self.default_value)] {
            if value.as_ref().is_some_and(|value| HeaderValue::try_from(value.expose()).is_err()) {
                at.error(
                    key,
                    "has characters that a header cannot have\nremove line breaks and control characters",
                );
            }
        }
        at.reads("value_file", self.value_file.as_deref().unwrap_or_default());
        if self.value_file.as_ref().is_some_and(String::is_empty) {
            at.error("value_file", "is empty\nname a file, or remove this key");
        }
        if self.from_attribute.as_deref() == Some("raw") {
            at.warning("from_attribute", "credentials are not kept with telemetry: `raw` is always empty\nuse from_context: authorization, with include_metadata in the receiver");
        }
        if !at.is_set("action") && !self.key.is_empty() {
            at.warning("action", "no action is given, using upsert\nwrite action: upsert");
        }
    }
}
