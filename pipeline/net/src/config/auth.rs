//! configauth's and configmiddleware's keys: extensions that decide about requests, or add to them.
//!
//! That an extension of that id is there, runs, and can do what it is named for is checked together with the rest of
//! the configuration. Servers and clients look it up in [`Offers`](millrace_engine::Offers) when they are built.

use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_config::{Checker, ComponentId, Role, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// `auth` of a gRPC server.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerAuthConfig {
    /// The extension that decides who may send.
    pub authenticator: Option<ComponentId>,
}

impl Validate for ServerAuthConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_authenticator(at, self.authenticator.as_ref(), Role::ServerAuth);
    }
}

/// `auth` of an HTTP server.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerAuthConfig {
    /// The extension that decides who may send.
    pub authenticator: Option<ComponentId>,
    /// Parameters of the URL that the extension sees as if they were headers.
    pub request_params: Vec<String>,
}

impl Validate for HttpServerAuthConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_authenticator(at, self.authenticator.as_ref(), Role::ServerAuth);
        for name in &self.request_params {
            if HeaderName::try_from(name).is_err() {
                at.error(
                    "request_params",
                    format!(
                        "`{name}` cannot be the name of a header, which is how authenticators see parameters"
                    ),
                );
            }
        }
    }
}

impl HttpServerAuthConfig {
    /// What the authenticator is to see: the headers, and the parameters of the URL that are named in `request_params`.
    #[must_use]
    pub fn sources<'h>(&self, headers: &'h HeaderMap, query: Option<&str>) -> Cow<'h, HeaderMap> {
        let (false, Some(query)) = (self.request_params.is_empty(), query) else {
            return Cow::Borrowed(headers);
        };
        let mut sources = Cow::Borrowed(headers);
        for name in &self.request_params {
            let mut values = query.split('&').filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key)? == name.as_bytes()).then(|| decoded(value))?
            });
            // The first counts, and authenticators look at one only.
            let Some(value) = values.next() else { continue };
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) else {
                continue;
            };
            sources.to_mut().insert(name, value);
        }
        sources
    }
}

/// `auth` of a client.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuthConfig {
    /// The extension that says who sends.
    pub authenticator: Option<ComponentId>,
}

impl Validate for ClientAuthConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_authenticator(at, self.authenticator.as_ref(), Role::ClientAuth);
    }
}

fn check_authenticator(at: &mut Checker<'_>, id: Option<&ComponentId>, role: Role) {
    match id {
        Some(id) => at.wants_extension("authenticator", id, role),
        None => {
            at.error_here(
                "no authenticator is named\nset `authenticator` to the id of an extension, or remove `auth`",
            );
        }
    }
}

/// One of a server's `middlewares`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerMiddlewareConfig {
    /// The extension.
    pub id: Option<ComponentId>,
}

impl Validate for ServerMiddlewareConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_middleware(at, self.id.as_ref(), Role::ServerMiddleware);
    }
}

/// One of a client's `middlewares`. No extension that is here can be one, in the Go collector neither, so each is
/// refused by name.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientMiddlewareConfig {
    /// The extension.
    pub id: Option<ComponentId>,
}

impl Validate for ClientMiddlewareConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_middleware(at, self.id.as_ref(), Role::ClientMiddleware);
    }
}

fn check_middleware(at: &mut Checker<'_>, id: Option<&ComponentId>, role: Role) {
    match id {
        Some(id) => at.wants_extension("id", id, role),
        None => at.error_here("no middleware is named\nset `id` to the id of an extension"),
    }
}

/// A part of a query without its escapes; `None` where they are damaged.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_config::{Diagnostics, decode, parse_str};

    #[test]
    fn named_parameters_are_seen_as_headers() {
        let auth = HttpServerAuthConfig {
            authenticator: None,
            request_params: vec!["token".to_owned(), "key".to_owned()],
        };
        let headers = HeaderMap::from_iter([(HeaderName::from_static("key"), HeaderValue::from_static("h"))]);
        let seen = |query| {
            let sources = auth.sources(&headers, query);
            let text = |name: &str| sources.get(name).map(|value| value.as_bytes().to_vec());
            (text("token"), text("key"))
        };
        let h = || Some(b"h".to_vec());
        assert_eq!(seen(None), (None, h()));
        assert_eq!(seen(Some("a=b&token=Bearer+x%3d1&token=second")), (Some(b"Bearer x=1".to_vec()), h()));
        assert_eq!(seen(Some("key=p&tok%65n")), (Some(Vec::new()), Some(b"p".to_vec())));
        for damaged in ["token=%", "token=%4", "token=%zz", "token=a%0d%0ab", "%=1"] {
            assert_eq!(seen(Some(damaged)), (None, h()), "{damaged}");
        }
    }

    #[test]
    fn references_are_noted_with_their_places() {
        let parsed = parse_str("a.yaml", "{authenticator: basicauth/x}", &|_| None);
        let mut diags = Diagnostics::new();
        let node = parsed.node.expect("in form");
        let auth: ClientAuthConfig = decode(&node, "exporters::otlp::auth", &mut diags).expect("sound");
        assert_eq!(auth.authenticator.map(|id| id.to_string()).as_deref(), Some("basicauth/x"));
        let wanted = diags.take_wanted();
        let [wanted] = wanted.as_slice() else { panic!("{wanted:?}") };
        assert_eq!(
            (wanted.path.as_str(), wanted.role),
            ("exporters::otlp::auth::authenticator", Role::ClientAuth)
        );
        assert_eq!(wanted.span.start.column, 17);
        assert!(diags.take_wanted().is_empty(), "each is taken once");
    }

    #[test]
    fn sections_that_name_nothing_are_refused() {
        for yaml in ["{}", "{authenticator: ''}", "{authenticator: 'a b'}", "{id: x}"] {
            let parsed = parse_str("a.yaml", yaml, &|_| None);
            let mut diags = Diagnostics::new();
            let node = parsed.node.expect("in form");
            assert!(decode::<ServerAuthConfig>(&node, "auth", &mut diags).is_none(), "{yaml}");
        }
    }
}
