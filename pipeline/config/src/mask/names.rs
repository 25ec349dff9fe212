//! Which keys hold secrets, as far as their names tell.

use crate::suggest::{nearest, same};

/// Words that make the name of a key one of a secret, however they are joined.
const WORDS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "token",
    "secret",
    "credential",
    "authorization",
    "bearer",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "connectionstring",
    "htpasswd",
    "licensekey",
    "pem",
];

/// Names of keys whose values are secrets although the name does not say so, and names that are worth recognising when
/// they are spelt wrongly.
const NAMES: [&str; 29] = [
    "client_certificate_key",
    "password",
    "passwd",
    "passphrase",
    "token",
    "tokens",
    "secret",
    "client_secret",
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "credentials",
    "key_pem",
    "cert_pem",
    "ca_pem",
    "private_key",
    "access_key",
    "access_token",
    "bearer_token",
    "auth_token",
    "proxy_url",
    "endpoint_params",
    "inline",
    "htpasswd",
    "headers_list",
    "cookie",
    "pwd",
    "pass",
];

/// Names of keys under which headers stand.
const HEADERS: [&str; 2] = ["headers", "response_headers"];

/// Endings that make a name one of something about a secret: where it lies, how long it lasts.
const ABOUT: [&str; 14] = [
    "file", "filename", "path", "url", "uri", "endpoint", "interval", "timeout", "buffer", "enabled", "type",
    "size", "limit", "dir",
];

/// Keys that look like one of the names above and are known to hold no secret.
const INNOCENT: [&str; 3] = ["readers", "headers_setter", "bearertokenauth"];

/// Whether the name of a key, or the last part of a path of keys, says that its value is secret.
pub(super) fn is_secret(name: &str) -> bool {
    let Some(name) = own_name(name) else { return false };
    if NAMES.iter().any(|known| same(name, known)) || nearest(name, ["proxy_url"]).is_some() {
        return true;
    }
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    if ABOUT.iter().any(|ending| folded.ends_with(ending)) {
        return false;
    }
    WORDS.iter().any(|word| folded.contains(word))
        || nearest(name, NAMES).is_some()
        || words(name).any(|word| word.len() >= 5 && nearest(&word, WORDS).is_some())
}

/// Whether headers stand under a key, whose values may be credentials.
pub(super) fn is_headers(name: &str) -> bool {
    own_name(name).is_some_and(|name| nearest(name, HEADERS).is_some())
}

/// Whether a key of a header that is written as a map is, or was meant to be, its value.
pub(super) fn is_header_value(name: &str) -> bool {
    nearest(name, ["value", "default_value"]).is_some() || is_secret(name)
}

/// Whether a text that could not be read may have a secret under a key.
pub(super) fn nearly_secret(name: &str) -> bool {
    is_secret(name) || is_headers(name) || own_name(name).is_some_and(is_header_value)
}

/// The last key of a path (`a::b`, `a.b`), unless it is known to be harmless. The id of a component is no key.
fn own_name(name: &str) -> Option<&str> {
    let name = name.rsplit("::").next().unwrap_or(name);
    let name = name.rsplit('.').next().unwrap_or(name).trim().trim_matches(['"', '\'']);
    let harmless = name.is_empty() || name.contains('/') || INNOCENT.contains(&name);
    (!harmless).then_some(name)
}

/// The parts of a name: between `_` and `-`, and where a capital follows a small letter.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names_and_by_what_people_make_of_them() {
        for name in [
            "password",
            "Password",
            "pasword",
            "passwrod",
            "PASSWORD",
            "client_secret",
            "clientSecret",
            "client_secert",
            "api_key",
            "x-api-key",
            "apiKey",
            "token",
            "tokns",
            "bearer_tokn",
            "key_pem",
            "kye_pem",
            "keypem",
            "authorization",
            "Authorisation",
            "credentials",
            "my_secret_value",
            "proxy_url",
            "prxy_url",
            "db_passwort",
            "exporters::x::password",
            "processors.x.token",
            "inline",
            "inlnie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "endpoint",
            "timeout",
            "token_url",
            "client_secret_file",
            "filename",
            "readers",
            "insecure",
            "verbosity",
            "queue_size",
            "token_file",
            "path",
            "service",
            "server",
            "pipelines",
            "compression",
            "key_file",
            "processors",
            "bearertokenauth/token",
            "cert_file",
            "expiry_buffer",
            "headers_setter",
            "level",
            "scheme",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(
            is_headers("headers") && is_headers("header") && is_headers("haeders") && !is_headers("readers")
        );
    }
}
