//! `otlp` of an exporter of own telemetry: where to, and how. OpenTelemetry's declarative configuration 0.3, and what
//! 0.2 writes differently.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use millrace_config::{Checker, Secret, Validate};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The limit for one attempt unless `timeout` is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Protocol {
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP, in protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// Whether bodies are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// By gzip.
    Gzip,
}

/// Whether pushed values count from the start or from the push before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemporalityPreference {
    /// Everything since the start.
    #[default]
    Cumulative,
    /// Counters and histograms since the last push.
    Delta,
    /// Those since the last push that are counted when something happens; what is observed, such as processor time,
    /// since the start.
    LowMemory,
}

/// What histograms without a view are pushed as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistogramAggregation {
    /// With the bounds of their definitions.
    #[default]
    ExplicitBucketHistogram,
    /// Accepted; as in the Go collector it changes nothing. A view does.
    Base2ExponentialBucketHistogram,
}

/// Structs with the keys that all OTLP exporters have, and further ones.
macro_rules! otlp {
    ($(#[$doc:meta])* $name:ident { $($(#[$own_doc:meta])* $own:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// What is spoken; needed.
            pub protocol: Option<Protocol>,
            /// Where to: a URL, or `host:port`, which means `https` unless `insecure` is set. A URL's path is used as
            /// it is; without one it is that of the signal. By default the usual port of this host.
            pub endpoint: Option<String>,
            /// Headers of every request.
            pub headers: Headers,
            /// Headers as one text, `name=value,name=value`; those in `headers` take precedence.
            pub headers_list: Option<Secret<String>>,
            /// `gzip` or `none`.
            pub compression: Compression,
            /// The limit for one attempt, in milliseconds; 10000 by default.
            pub timeout: Option<u64>,
            /// A file with the certificates that the destination's may be signed by; the system's by default.
            pub certificate: Option<String>,
            /// A file with the certificate that we show.
            pub client_certificate: Option<String>,
            /// A file with the key of that certificate.
            pub client_key: Option<String>,
            /// Plain text where the endpoint has no scheme.
            pub insecure: Option<bool>,
            $($(#[$own_doc])* pub $own: $type,)*
        }

        impl $name {
            /// Where to and how, worked out; `None` if it says too little, which is an error.
            #[must_use]
            pub fn target(&self) -> Option<Target> {
                Some(Target {
                    protocol: self.protocol?,
                    url: url(self.protocol?, self.endpoint.as_deref(), self.insecure == Some(true)),
                    headers: self.all_headers().ok()?,
                    compression: self.compression,
                    timeout: self.timeout.filter(|ms| *ms > 0).map_or(DEFAULT_TIMEOUT, Duration::from_millis),
                    certificate: self.certificate.clone(),
                    client_certificate: self.client_certificate.clone(),
                    client_key: self.client_key.clone(),
                })
            }

            fn all_headers(&self) -> Result<Vec<(String, Secret<String>)>, String> {
                let listed = self.headers_list.as_ref().map_or(Ok(Vec::new()), |list| listed(list.expose()))?;
                let mut all: Vec<(String, Secret<String>)> = listed;
                for Header { name, value } in &self.headers.list {
                    let Some(value) = value else { continue };
                    all.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    all.push((name.clone(), value.clone()));
                }
                Ok(all)
            }
        }

        impl Validate for $name {
            fn validate(&self, at: &mut Checker<'_>) {
                if self.protocol.is_none() {
                    at.error("protocol", "a protocol is needed\nset `protocol: grpc` or `protocol: http/protobuf`");
                }
                if let Err(problem) = self.all_headers() {
                    at.error("headers_list", problem);
                }
                if self.client_certificate.is_some() != self.client_key.is_some() {
                    at.error_here("a client's certificate and its key belong together\nset both `client_certificate` and `client_key`");
                }
                for (key, file) in [
                    ("certificate", &self.certificate),
                    ("client_certificate", &self.client_certificate),
                    ("client_key", &self.client_key),
                ] {
                    at.reads(key, file.as_deref().unwrap_or_default());
                }
                if self.headers.is_old {
                    at.warning("headers", "headers are a list in the present format\nwrite `headers: [{name: …, value: …}]`");
                }
            }
        }
    };
}

otlp! {
    /// Where own logs and spans are sent by OTLP.
    Otlp {}
}
otlp! {
    /// Where own metrics are pushed by OTLP.
    OtlpMetrics {
        /// Whether values count from the start, as by default, or from the push before.
        temporality_preference: Option<TemporalityPreference>,
        /// Accepted; a view decides.
        default_histogram_aggregation: Option<HistogramAggregation>,
    }
}

/// Where to and how, worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What is spoken.
    pub protocol: Protocol,
    /// With scheme, and with a path if one is configured.
    pub url: String,
    /// Sent with every request.
    pub headers: Vec<(String, Secret<String>)>,
    /// Of bodies.
    pub compression: Compression,
    /// The limit for one attempt.
    pub timeout: Duration,
    /// A file with the authorities' certificates.
    pub certificate: Option<String>,
    /// A file with our certificate.
    pub client_certificate: Option<String>,
    /// A file with our key.
    pub client_key: Option<String>,
}

fn url(protocol: Protocol, endpoint: Option<&str>, insecure: bool) -> String {
    let endpoint = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.unwrap_or(match protocol {
        Protocol::Grpc => "localhost:4317",
        Protocol::HttpProtobuf => "localhost:4318",
    });
    if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
        return endpoint.to_owned();
    }
    format!("{}{endpoint}", if insecure { "http://" } else { "https://" })
}

/// Reads `name=value,name=value` with percent-encoded values. Properties after a semicolon are left out.
fn listed(list: &str) -> Result<Vec<(String, Secret<String>)>, String> {
    let advice = "write it as `name=value,name=value`";
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (pair, _) = member.split_once(';').unwrap_or((member, ""));
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("a header has no value\n{advice}"))?;
            let value = percent_decoded(value.trim()).ok_or_else(|| {
                format!("the value of the header `{}` is not well-formed\n{advice}", name.trim())
            })?;
            Ok((name.trim().to_owned(), Secret::new(value)))
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Headers of every request: a list of names and values or, in the older format, a map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers {
    /// In the order of the file.
    pub list: Vec<Header>,
    is_old: bool,
}

/// A header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value; without one it is left out.
    pub value: Option<Secret<String>>,
}

impl Serialize for Headers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let header = generator.subschema_for::<Header>();
        json_schema!({ "anyOf": [
            { "type": "array", "items": header },
            { "type": "object", "additionalProperties": { "type": "string" } },
        ]})
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of headers (`name`, `value`)")
    }

    fn visit_unit<E>(self) -> Result<Headers, E> {
        Ok(Headers::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some(header) = items.next_element()? {
            headers.list.push(header);
        }
        Ok(headers)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Headers, A::Error> {
        let mut headers = Headers { is_old: true, ..Headers::default() };
        while let Some((name, value)) = entries.next_entry::<String, Option<Secret<String>>>()? {
            headers.list.push(Header { name, value });
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_completed_as_in_go() {
        let cases = [
            (Protocol::Grpc, Some("backend:4317"), false, "https://backend:4317"),
            (Protocol::Grpc, Some("backend:4317"), true, "http://backend:4317"),
            (Protocol::HttpProtobuf, Some("http://x:1/own/path"), false, "http://x:1/own/path"),
            (Protocol::HttpProtobuf, None, false, "https://localhost:4318"),
            (Protocol::Grpc, Some(""), true, "http://localhost:4317"),
        ];
        for (protocol, endpoint, insecure, expected) in cases {
            assert_eq!(url(protocol, endpoint, insecure), expected);
        }
    }

    #[test]
    fn header_lists_are_read_like_baggage() {
        let read =
            |list| listed(list).map(|all| all.into_iter().map(|(n, v)| (n, v.expose().clone())).collect());
        let expected = [("a", "1"), ("b", "x y=z")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(read("a=1, b=x%20y=z;property=1,"), Ok(Vec::from(expected)));
        assert!(read("a").is_err_and(|problem: String| problem.contains("has no value")));
        assert!(read("a=%g0").is_err_and(|problem: String| problem.contains("not well-formed")));
    }
}
