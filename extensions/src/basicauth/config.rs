//! The section `extensions::basicauth`.

use millrace_config::{Checker, GivenOnly, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Either who may send, or who we are.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For servers: who may send.
    pub htpasswd: GivenOnly<Htpasswd>,
    /// For clients: who we are.
    pub client_auth: GivenOnly<ClientCredentials>,
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        match (self.htpasswd.is_on(), self.client_auth.is_on()) {
            (true, true) => {
                at.error("client_auth", "only one of `htpasswd` or `client_auth` can be specified\nmake two extensions of it: basicauth/server and basicauth/client");
            }
            (false, false) => at.error_here(
                "no credential source provided\nset `htpasswd` for a server, or `client_auth` for a client",
            ),
            _ => {}
        }
        at.nested("htpasswd", &self.htpasswd);
        at.nested("client_auth", &self.client_auth);
    }
}

/// Who may send.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// A file as `htpasswd` makes it; read again when it changes.
    pub file: String,
    /// Lines of the same form, which win over the file's.
    pub inline: Secret<String>,
}

impl Validate for Htpasswd {
    fn validate(&self, at: &mut Checker<'_>) {
        at.reads("file", &self.file);
        if self.file.is_empty() && self.inline.expose().is_empty() {
            at.error_here("no credential source provided\nset `file` or `inline`");
        }
    }
}

/// Who we are.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCredentials {
    /// The user name.
    pub username: String,
    /// A file with the user name, which wins; read again when it changes.
    pub username_file: String,
    /// The password.
    pub password: Secret<String>,
    /// A file with the password, which wins; read again when it changes.
    pub password_file: String,
}

impl Validate for ClientCredentials {
    fn validate(&self, at: &mut Checker<'_>) {
        at.reads("username_file", &self.username_file);
        at.reads("password_file", &self.password_file);
        if self.username.contains(':') && self.username_file.is_empty() {
            at.error(
                "username",
                "must not contain a colon: what follows it would become part of the password",
            );
        }
    }
}
