//! `otlp_http`: OTLP over HTTP, in protobuf or JSON.

use super::body::{self, Packing};
use super::{accepted, destination};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use millrace_config::{Checker, Validate, discreet};
use millrace_delivery::{Accepted, Delivery, DeliveryConfig, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Budget, Failure, Fault, Reason, Stage};
use millrace_net::Confided;
use millrace_net::Endpoint;
use millrace_net::config::{HttpClientConfig, check_url, header_map};
use millrace_net::connect::Credentials;
use millrace_net::endpoint::Scheme;
use millrace_net::http::{Client, Response};
use millrace_net::measures::HttpClient;
use millrace_wire::Signal;
use millrace_wire::response::{Encoding as Format, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The `otlp_http` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "otlp_http",
    aliases: &["otlphttp"],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

millrace_config::parts! {
    /// The section `exporters::otlp_http`.
    pub struct Config {
        /// How to connect.
        pub client: HttpClientConfig,
        /// Queue and retry; the timeout is the client's.
        pub delivery: DeliveryConfig,
        /// Where to, and in what format.
        pub own: Own,
    }
}

/// Keys of this exporter alone.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Own {
    /// The base URL; `/v1/<signal>` is appended.
    pub endpoint: String,
    /// The URL for traces, used as it is.
    pub traces_endpoint: String,
    /// The URL for metrics, used as it is.
    pub metrics_endpoint: String,
    /// The URL for logs, used as it is.
    pub logs_endpoint: String,
    /// The URL for profiles, used as it is.
    pub profiles_endpoint: String,
    /// `proto` (the default) or `json`.
    pub encoding: BodyFormat,
}

/// What bodies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// Binary protobuf.
    #[default]
    Proto,
    /// OTLP/JSON.
    Json,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            traces_endpoint: String::new(),
            metrics_endpoint: String::new(),
            logs_endpoint: String::new(),
            profiles_endpoint: String::new(),
            encoding: BodyFormat::Proto,
        }
    }
}

impl Own {
    /// The URL of a signal, if one is configured.
    fn url(&self, signal: Signal) -> Option<String> {
        let (own, path) = match signal {
            Signal::Traces => (&self.traces_endpoint, "v1/traces"),
            Signal::Metrics => (&self.metrics_endpoint, "v1/metrics"),
            Signal::Logs => (&self.logs_endpoint, "v1/logs"),
            Signal::Profiles => (&self.profiles_endpoint, "v1development/profiles"),
        };
        if !own.is_empty() {
            return Some(own.clone());
        }
        (!self.endpoint.is_empty()).then(|| format!("{}/{path}", self.endpoint.trim_end_matches('/')))
    }
}

/// Where OTLP over gRPC is usually taken in.
const OTLP_GRPC_PORT: u16 = 4317;

impl Validate for Own {
    fn validate(&self, at: &mut Checker<'_>) {
        let urls = [
            ("endpoint", &self.endpoint),
            ("traces_endpoint", &self.traces_endpoint),
            ("metrics_endpoint", &self.metrics_endpoint),
            ("logs_endpoint", &self.logs_endpoint),
            ("profiles_endpoint", &self.profiles_endpoint),
        ];
        if urls.iter().all(|(_, url)| url.is_empty()) {
            at.error_here(
                "at least one endpoint must be specified\nset `endpoint`, e.g. http://localhost:4318",
            );
        }
        for (key, url) in urls.into_iter().filter(|(_, url)| !url.is_empty()) {
            let endpoint = check_url(at, key, url);
            if endpoint.is_some_and(|endpoint| endpoint.port() == Some(OTLP_GRPC_PORT)) {
                at.warning(
                    key,
                    "port 4317 is where OTLP over gRPC is usually taken in; this exporter speaks HTTP\nuse port 4318, or the exporter `otlp_grpc`",
                );
            }
        }
    }
}

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        if signal == Signal::Profiles && self.own.encoding == BodyFormat::Json {
            return Err(context
                .error("cannot write profiles as JSON, which are passed on unread; set `encoding: proto`"));
        }
        let url = self.own.url(signal).ok_or_else(|| {
            context.error(format!("has no endpoint for {signal}; set `endpoint` or `{signal}_endpoint`"))
        })?;
        let endpoint = Endpoint::parse(&url).map_err(|error| context.error(error))?;
        let uri: Uri = url
            .parse()
            .map_err(|error| context.error(format!("`{}` is not a URL: {error}", discreet(&url))))?;
        let scheme = if endpoint.scheme == Scheme::Https { "https" } else { "http" };
        let measures = HttpClient::new(&context, signal, &destination(&endpoint), scheme);
        let destination = destination(&endpoint).with("url.path", uri.path().to_owned());
        let (client, credentials) = self.client.client(&context, endpoint)?;
        let sender = HttpSender {
            client,
            credentials,
            headers: self.headers(&context)?,
            uri,
            url: discreet(&url).into_owned(),
            signal,
            format: self.own.encoding,
            packing: Packing {
                encoding: self.client.compression,
                level: self.client.compression_params.level(),
            },
            work: context.shared.work.clone(),
            measures,
        };
        let delivery = Delivery {
            queue: self.delivery.sending_queue.clone(),
            retry: self.delivery.retry_on_failure.clone(),
            timeout: self.client.timeout.get(),
            destination,
            metadata: sender.credentials.metadata(),
        };
        Ok(Exporter::start(&context, signal, &delivery, Arc::new(sender))?)
    }
}

impl Config {
    /// What every request carries.
    fn headers(&self, context: &Context) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        let user_agent =
            HeaderValue::from_str(&context.shared.user_agent).map_err(|error| context.error(error))?;
        headers.insert(USER_AGENT, user_agent);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(match self.own.encoding {
                BodyFormat::Proto => "application/x-protobuf",
                BodyFormat::Json => "application/json",
            }),
        );
        if let Some(encoding) = self.client.compression.content_encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        headers.extend(header_map(&self.client.headers));
        Ok(headers)
    }
}

struct HttpSender {
    client: Client,
    credentials: Credentials,
    headers: HeaderMap,
    uri: Uri,
    /// For messages: without what the URL may keep secret.
    url: String,
    signal: Signal,
    format: BodyFormat,
    packing: Packing,
    work: Budget,
    measures: HttpClient,
}

impl Sender for HttpSender {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            let headers = self.credentials.authorize(&self.headers, batch).await?;
            let body = match self.format {
                BodyFormat::Proto => body::protobuf(batch, self.packing, &self.work).await?,
                BodyFormat::Json => body::json(batch, self.packing, &self.work).await?,
            };
            let (started, bytes) = (Instant::now(), body.parts.iter().map(|part| part.len() as u64).sum());
            let sent = self.client.post(&self.uri, &headers, &body.parts).await;
            self.measures.ended(
                &self.uri,
                sent.as_ref().ok().map(|response| response.status),
                bytes,
                started,
            );
            let response = sent.map_err(|error| {
                let message = format!("failed to make an HTTP request to {}: {error}", self.url);
                Failure::transient(Fault::Destination, Reason::Unreachable, message)
            })?;
            let answer = self.answer(&headers, &response);
            match response.status {
                StatusCode::UNAUTHORIZED => answer.map_err(|failure| self.credentials.disbelieved(failure)),
                _ => answer,
            }
        })
    }
}

impl HttpSender {
    /// What an answer means for the batch: 429, 502, 503 and 504 may pass, everything else will not.
    fn answer(&self, sent: &HeaderMap, response: &Response) -> Result<Accepted, Failure> {
        let format = content_format(&response.headers);
        let confided = || Confided::of(sent, &response.added, &self.uri);
        if response.status.is_success() {
            // As in Go, an answer in words of its own ("ok", a page) says no more than its status.
            return format.map_or_else(
                || Ok(Accepted::default()),
                |format| accepted(self.signal, format, &response.body, confided),
            );
        }
        let details = Status::decode(format.unwrap_or(Format::Protobuf), &response.body).unwrap_or_default();
        let words =
            if details.message.is_empty() { response.words() } else { Some(details.message.as_str().into()) };
        let mut message = format!(
            "error exporting items, request to {} responded with HTTP Status Code {}",
            self.url,
            response.status.as_u16()
        );
        let said = words.map(|words| confided().quote(&words));
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            message.push_str(", Message=");
            message.push_str(&said);
        }
        let failure = match response.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let failure = Failure::transient(Fault::Destination, Reason::Throttled, message);
                match retry_after(&response.headers) {
                    Some(delay) => failure.after(delay),
                    None => failure,
                }
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                Failure::permanent(Fault::Destination, Reason::TooLarge, message)
            }
            StatusCode::BAD_REQUEST if details.message.contains("too large") => {
                Failure::permanent(Fault::Destination, Reason::TooLarge, message)
            }
            _ => Failure::permanent(Fault::Destination, Reason::Rejected, message),
        };
        Err(failure.with_grpc_code(grpc_code(response.status)).with_http_status(response.status.as_u16()))
    }
}

/// The Go collector's mapping of answers to gRPC codes.
fn grpc_code(status: StatusCode) -> u8 {
    const UNKNOWN: u8 = 2;
    match status.as_u16() {
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 12,
        429 => 8,
        502..=504 => 14,
        _ => UNKNOWN,
    }
}

fn content_format(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Some(Format::Json)
    } else {
        essence.eq_ignore_ascii_case(b"application/x-protobuf").then_some(Format::Protobuf)
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millrace_engine::{Health, Tasks};
    use millrace_net::Encoding;
    use millrace_net::http::ClientOptions;

    #[test]
    fn urls_are_made_as_in_go() {
        let own = Own {
            endpoint: "http://x:4318/otlp/".into(),
            logs_endpoint: "http://y/logs".into(),
            ..Own::default()
        };
        assert_eq!(own.url(Signal::Traces).as_deref(), Some("http://x:4318/otlp/v1/traces"));
        assert_eq!(own.url(Signal::Logs).as_deref(), Some("http://y/logs"));
        assert_eq!(Own { endpoint: String::new(), ..own }.url(Signal::Metrics), None);
    }

    /// What an exporter makes of an answer in JSON.
    fn outcome(status: u16, body: &str) -> Result<Accepted, Failure> {
        outcome_of(status, Some("application/json"), body)
    }

    fn outcome_of(status: u16, content_type: Option<&'static str>, body: &str) -> Result<Accepted, Failure> {
        let endpoint = Endpoint::parse("http://x/").expect("an endpoint");
        let sender = HttpSender {
            client: Client::new(ClientOptions::new(endpoint), Tasks::new(Health::starting())),
            credentials: Credentials::default(),
            headers: HeaderMap::new(),
            uri: Uri::from_static("http://x/"),
            url: "http://x/".to_owned(),
            signal: Signal::Logs,
            format: BodyFormat::Json,
            packing: Encoding::None.into(),
            work: Budget::new(1),
            measures: HttpClient::new(
                &crate::testing::context("otlp_http"),
                Signal::Logs,
                &millrace_telemetry::Labels::new(),
                "http",
            ),
        };
        let headers = content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Bytes::copy_from_slice(body.as_bytes());
        sender.answer(&sender.headers, &Response { status, headers, body, added: Vec::new() })
    }

    #[test]
    fn only_four_statuses_are_worth_another_attempt() {
        for status in [429, 502, 503, 504] {
            assert!(outcome(status, "").is_err_and(|failure| failure.is_transient()), "{status}");
        }
        for status in [301, 307, 308, 400, 401, 403, 404, 408, 413, 500, 501] {
            assert!(outcome(status, "").is_err_and(|failure| !failure.is_transient()), "{status}");
        }
    }

    #[test]
    fn both_ways_of_saying_too_large_are_understood() {
        let ours = r#"{"code":3,"message":"request body too large: the limit is 20971520 bytes"}"#;
        for (status, body) in [(413, ""), (400, ours)] {
            let failure = outcome(status, body).expect_err("too large");
            assert_eq!((failure.reason, failure.is_transient()), (Reason::TooLarge, false));
        }
    }

    #[test]
    fn what_a_destination_says_of_its_refusal_is_told() {
        let told = |content_type, body: &str| {
            let failure = outcome_of(400, content_type, body).expect_err("refused");
            let message = failure.message.into_owned();
            let said = message.strip_prefix(
                "error exporting items, request to http://x/ responded with HTTP Status Code 400",
            );
            said.expect("the Go collector's words").to_owned()
        };
        let (protobuf, json) = (Some("application/x-protobuf"), Some("application/json"));
        let text = Some("text/plain; charset=utf-8");
        for (content_type, body, said) in [
            (protobuf, "\u{8}\u{3}\u{12}\u{4}oops", ", Message=oops"),
            // As in Go, a status is one whatever it is called.
            (None, "\u{8}\u{3}\u{12}\u{4}oops", ", Message=oops"),
            (text, "\u{8}\u{3}\u{12}\u{4}oops", ", Message=oops"),
            (json, r#"{"code":3,"message":"oops\n"}"#, ", Message=oops"),
            (json, r#"{"error": "oops"}"#, r#", Message={"error": "oops"}"#),
            (json, r#"{"code":"E1","message":"oops"}"#, r#", Message={"code":"E1","message":"oops"}"#),
            (text, "invalid timestamp\nin line 3\n", ", Message=invalid timestamp in line 3"),
            (Some("text/html"), "<head><title>400 Bad\nRequest</title>", ", Message=400 Bad Request"),
            (Some("text/html"), "<h1>Bad</h1>", ""),
            (None, "oops", ""),
            (text, "", ""),
            (protobuf, "oops", ""),
        ] {
            assert_eq!(told(content_type, body), said, "{content_type:?} {body}");
        }
        let long = told(text, &"x".repeat(2000));
        assert_eq!(long.len(), ", Message=".len() + millrace_net::QUOTE_MAX);
    }

    #[test]
    fn what_was_refused_of_an_accepted_request_is_counted() {
        let partial = r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#;
        assert!(outcome(200, partial).is_ok_and(|accepted| accepted.rejected_items == 3));
        assert!(outcome(202, "{}").is_ok_and(|accepted| accepted.rejected_items == 0));
        assert!(outcome(200, "rubbish").is_err_and(|failure| !failure.is_transient()));
    }

    #[test]
    fn an_answer_in_words_of_its_own_is_what_its_status_says() {
        for content_type in [None, Some("text/plain; charset=utf-8"), Some("text/html"), Some("")] {
            for body in ["ok", "<html>", "\u{8}\u{1}"] {
                let accepted = outcome_of(202, content_type, body);
                assert!(
                    accepted.is_ok_and(|accepted| accepted.rejected_items == 0),
                    "{content_type:?} {body}"
                );
            }
        }
        for content_type in ["application/x-protobuf", "APPLICATION/JSON ; charset=utf-8"] {
            let accepted = outcome_of(200, Some(content_type), "ok");
            assert!(accepted.is_err_and(|failure| !failure.is_transient()), "{content_type}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let with = |value: &str| {
            HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).expect("a header"))])
        };
        assert_eq!(retry_after(&with("7")), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(retry_after(&with(&date)).is_some_and(|delay| delay > Duration::from_secs(50)));
        assert_eq!(retry_after(&with("soon")), None);
    }
}
