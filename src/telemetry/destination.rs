//! Where own telemetry is sent to: an OTLP endpoint, or standard output.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use millrace_config::{Secret, discreet};
use millrace_engine::component::{Context, Shared};
use millrace_net::config::{GrpcClientConfig, HttpClientConfig, TlsClientConfig, header_map};
use millrace_net::grpc::{Channel, Code};
use millrace_net::http::Client;
use millrace_net::{Encoding, Endpoint};
use millrace_telemetry::config::otlp::{Compression, Protocol, Target};
use millrace_wire::{Payload, Signal};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// Takes what is sent, or does not.
pub(super) struct Destination {
    way: Way,
    encoding: Encoding,
    timeout: Duration,
}

enum Way {
    /// Standard output, as OTLP/JSON, a request a line.
    Console,
    Grpc {
        channel: Channel,
        uri: Uri,
    },
    Http {
        client: Client,
        uri: Uri,
        headers: HeaderMap,
    },
}

/// Why something was not taken.
pub(super) struct Refusal {
    pub(super) message: String,
    /// Whether it may be taken later.
    pub(super) may_pass: bool,
    /// When to come back, if that was said.
    pub(super) delay: Option<Duration>,
}

impl Refusal {
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), may_pass: true, delay: None }
    }
}

impl Destination {
    /// The way to `target`, or to standard output. Must be called within the runtime that sends.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) fn new(target: Option<Target>, signal: Signal, shared: &Shared) -> Result<Self, String> {
        let Some(target) = target else {
            return Ok(Self { way: Way::Console, encoding: Encoding::None, timeout: Duration::MAX });
        };
        let problem = |error: &dyn std::fmt::Display| {
            format!(
                "service::telemetry: cannot send own {} to {}: {error}",
                signal.name(),
                discreet(&target.url)
            )
        };
        let encoding = match target.compression {
            Compression::None => Encoding::None,
            Compression::Gzip => Encoding::Gzip,
        };
        let context = Context {
            shared: shared.clone(),
            kind: "service",
            id: "telemetry".parse().map_err(|error| problem(&error))?,
            pipeline: None,
        };
        let endpoint = Endpoint::parse(&target.url).map_err(|error| problem(&error))?;
        let headers: BTreeMap<_, _> = target.headers.iter().cloned().collect();
        let way = match target.protocol {
            Protocol::Grpc => {
                let config = GrpcClientConfig {
                    endpoint: target.url.clone(),
                    compression: encoding,
                    tls: tls(&target),
                    headers,
                    ..GrpcClientConfig::default()
                };
                let (channel, _) = config.channel(&context, endpoint).map_err(|error| problem(&error))?;
                let uri = channel.uri(signal.export_method()).map_err(|error| problem(&error))?;
                Way::Grpc { channel, uri }
            }
            Protocol::HttpProtobuf => {
                let uri = url(&target.url, signal).parse().map_err(|error| problem(&error))?;
                let config = HttpClientConfig {
                    endpoint: target.url.clone(),
                    tls: tls(&target),
                    ..HttpClientConfig::default()
                };
                let (client, _) = config.client(&context, endpoint).map_err(|error| problem(&error))?;
                let headers = http_headers(shared, encoding, &headers).map_err(|error| problem(&error))?;
                Way::Http { client, uri, headers }
            }
        };
        Ok(Self { way, encoding, timeout: target.timeout })
    }

    /// One attempt, within its limit.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(super) async fn send(&self, payload: &Payload) -> Result<(), Refusal> {
        let attempt = timeout(self.timeout, self.attempt(payload));
        attempt
            .await
            .unwrap_or_else(|_| Err(Refusal::passing(format!("no answer within {:?}", self.timeout))))
    }

    async fn attempt(&self, payload: &Payload) -> Result<(), Refusal> {
        match &self.way {
            Way::Console => print(payload),
            Way::Grpc { channel, uri } => {
                let body = self.body(payload)?;
                match channel.unary(uri, channel.headers(), &[body]).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let status = error.status();
                        let may_pass = match status.code {
                            Code::Canceled
                            | Code::DeadlineExceeded
                            | Code::Aborted
                            | Code::OutOfRange
                            | Code::Unavailable
                            | Code::DataLoss => true,
                            Code::ResourceExhausted => status.retry_delay.is_some(),
                            _ => false,
                        };
                        Err(Refusal { message: status.to_string(), may_pass, delay: status.retry_delay })
                    }
                }
            }
            Way::Http { client, uri, headers } => {
                let body = self.body(payload)?;
                let response = client.post(uri, headers, &[body]).await;
                let response = response.map_err(|error| Refusal::passing(error.to_string()))?;
                if response.status.is_success() {
                    return Ok(());
                }
                let delay =
                    response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let may_pass = matches!(
                    response.status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                );
                let message = format!("{} answered {}", without_query(uri), response.status);
                Err(Refusal { message, may_pass, delay: delay.map(Duration::from_secs) })
            }
        }
    }

    fn body(&self, payload: &Payload) -> Result<bytes::Bytes, Refusal> {
        let bytes = payload.bytes().clone();
        if self.encoding == Encoding::None {
            return Ok(bytes);
        }
        let compressed = self.encoding.compress(std::iter::once(&bytes[..]), bytes.len());
        compressed.map(Into::into).map_err(|error| Refusal::passing(format!("cannot compress: {error}")))
    }
}

fn print(payload: &Payload) -> Result<(), Refusal> {
    let mut line = Vec::new();
    millrace_wire::json::to_json(payload, &mut line).map_err(|error| Refusal {
        message: error.to_string(),
        may_pass: false,
        delay: None,
    })?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&line).and_then(|()| stdout.flush());
    written.map_err(|error| Refusal { message: error.to_string(), may_pass: false, delay: None })
}

fn tls(target: &Target) -> TlsClientConfig {
    let mut tls = TlsClientConfig::default();
    tls.client.insecure = target.url.starts_with("http://");
    let file = |path: &Option<String>| path.clone().unwrap_or_default();
    tls.common.ca_file = file(&target.certificate);
    tls.common.cert_file = file(&target.client_certificate);
    tls.common.key_file = file(&target.client_key);
    tls
}

/// A URL with the path of the signal, unless it has one of its own.
fn url(endpoint: &str, signal: Signal) -> Cow<'_, str> {
    let after_scheme = endpoint.find("://").map_or(0, |at| at + 3);
    match endpoint[after_scheme..].contains('/') {
        true => endpoint.into(),
        false => format!("{endpoint}/v1/{}", signal.name()).into(),
    }
}

fn without_query(uri: &Uri) -> String {
    format!("{}{}", uri.authority().map_or("", |authority| authority.as_str()), uri.path())
}

fn http_headers(
    shared: &Shared,
    encoding: Encoding,
    configured: &BTreeMap<String, Secret<String>>,
) -> Result<HeaderMap, http::header::InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_str(&shared.user_agent)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if let Some(encoding) = encoding.content_encoding() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    headers.extend(header_map(configured));
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_signals() {
        assert_eq!(url("https://x:4318", Signal::Logs), "https://x:4318/v1/logs");
        assert_eq!(url("https://x/own", Signal::Logs), "https://x/own");
        assert_eq!(url("https://x/", Signal::Logs), "https://x/");
    }
}
