//! The sections that servers and clients share: the Go collector's confighttp, configgrpc and configtls keys that are
//! built so far. A key of theirs that is not built yet is refused by name, never ignored.

mod auth;
mod client;
mod server;
mod tls;

pub use auth::{
    ClientAuthConfig, ClientMiddlewareConfig, HttpServerAuthConfig, ServerAuthConfig, ServerMiddlewareConfig,
};
pub use client::{
    CompressionParams, CookiesConfig, GrpcClientConfig, HttpClientConfig, KeepAliveConfig, check_endpoint,
    check_url,
};
pub use server::{
    CorsConfig, EnforcementPolicyConfig, GrpcServerConfig, HttpServerConfig, KeepaliveServerConfig,
    MAX_RECEIVE_MIB, ServerParametersConfig, check_listen, listen_address,
};
pub use tls::{TlsClientConfig, TlsClientKeys, TlsConfig, TlsServerConfig, TlsServerKeys};

use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_config::encode::ABSENT;
use millrace_config::schema::{NOT_YET, STATUS};
use millrace_config::{Checker, Secret, Validate};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A key of the Go collector that is not built yet: anything in it is an error that says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotYet;

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taking the value makes the error point at it; a null section is as good as none.
        match Option::<IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(D::Error::custom("this key of the Go collector is not supported yet; remove it")),
        }
    }
}

impl Serialize for NotYet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_struct(ABSENT)
    }
}

impl JsonSchema for NotYet {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NotYet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "null", STATUS: NOT_YET })
    }
}

impl Validate for NotYet {}

/// A value that nobody reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for Ignored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_struct(ABSENT)
    }
}

impl JsonSchema for Ignored {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ignored".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

impl Validate for Ignored {}

pub(crate) fn check_headers(at: &mut Checker<'_>, key: &str, headers: &BTreeMap<String, Secret<String>>) {
    for (name, value) in headers {
        if let Err(error) = header(name, value) {
            at.error(key, error);
        }
    }
}

fn header(name: &str, value: &Secret<String>) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::try_from(name)
        .map_err(|_| format!("`{name}` is not a header name\nuse letters, digits and `-`"))?;
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| format!("the value of header `{name}` has characters that a header cannot have\nremove line breaks and control characters"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// The configured headers; those that cannot be sent were refused when the configuration was checked.
#[must_use]
pub fn header_map(headers: &BTreeMap<String, Secret<String>>) -> HeaderMap {
    headers.iter().filter_map(|(name, value)| header(name, value).ok()).collect()
}
