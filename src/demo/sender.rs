//! Sends what the services tell, as their SDKs would: over sockets, in OTLP/gRPC or OTLP/HTTP.

use super::places::Places;
use super::shop::{Request, Transport};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Uri};
use millrace_engine::component::Shared;
use millrace_net::Endpoint;
use millrace_net::grpc::{Channel, ChannelOptions};
use millrace_net::http::{Client, ClientOptions};
use millrace_wire::response::{Encoding, ExportResponse, Status};
use millrace_wire::{Payload, Signal};
use std::time::Duration;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept open to the collector.
const IDLE_CONNECTIONS: usize = 4;
/// How long they are kept without use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to the collector: at least one of the two.
pub struct Sender {
    grpc: Option<Channel>,
    http: Option<(Client, Endpoint)>,
}

impl Sender {
    /// A sender to where the configuration listens.
    pub fn new(places: &Places, shared: &Shared) -> Self {
        let channel = |endpoint: &Endpoint| {
            let headers = HeaderMap::from_iter([(USER_AGENT, AGENT)]);
            let options = ChannelOptions { headers, ..ChannelOptions::new(endpoint.clone()) };
            Channel::new(options, shared.tasks.clone())
        };
        let client = |endpoint: &Endpoint| {
            let options = ClientOptions {
                max_idle: IDLE_CONNECTIONS,
                idle_timeout: IDLE_TIMEOUT,
                ..ClientOptions::new(endpoint.clone())
            };
            (Client::new(options, shared.tasks.clone()), endpoint.clone())
        };
        Self { grpc: places.grpc.as_ref().map(channel), http: places.http.as_ref().map(client) }
    }

    /// Sends a request by its service's favourite transport, or by the one that there is.
    ///
    /// # Errors
    /// What the collector said, or that it said nothing.
    pub async fn send(&self, request: &Request) -> Result<(), String> {
        let wants_grpc = request.service.transport() == Transport::Grpc;
        let answer = async {
            match (&self.grpc, &self.http) {
                (Some(channel), http) if wants_grpc || http.is_none() => {
                    over_grpc(channel, &request.payload).await
                }
                (_, Some((client, endpoint))) => over_http(client, endpoint, &request.payload).await,
                (_, None) => Err("there is no way to the collector".to_owned()),
            }
        };
        timeout(ANSWER_TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {ANSWER_TIMEOUT:?}")))
    }
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("millrace-demo/", env!("CARGO_PKG_VERSION")));

async fn over_grpc(channel: &Channel, payload: &Payload) -> Result<(), String> {
    let uri = channel.uri(payload.signal().export_method()).map_err(|error| error.to_string())?;
    let reply = channel.unary(&uri, channel.headers(), std::slice::from_ref(payload.bytes())).await;
    let reply = reply.map_err(|status| format!("OTLP/gRPC: {status}"))?;
    accepted(payload.signal(), &reply.message)
}

async fn over_http(client: &Client, endpoint: &Endpoint, payload: &Payload) -> Result<(), String> {
    let uri = format!("http://{}/v1/{}", endpoint.authority(), payload.signal());
    let uri: Uri = uri.parse().map_err(|error| format!("`{uri}` is not a URL: {error}"))?;
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    let headers = HeaderMap::from_iter([(USER_AGENT, AGENT), (CONTENT_TYPE, protobuf)]);
    let response = client.post(&uri, &headers, std::slice::from_ref(payload.bytes())).await;
    let response = response.map_err(|error| format!("OTLP/HTTP: {error}"))?;
    if response.status.is_success() {
        return accepted(payload.signal(), &response.body);
    }
    let said = Status::decode(Encoding::Protobuf, &response.body).unwrap_or_default();
    Err(format!("OTLP/HTTP: {} {}", response.status, said.message))
}

/// A success can be partial.
fn accepted(signal: Signal, body: &[u8]) -> Result<(), String> {
    match ExportResponse::decode(signal, Encoding::Protobuf, body) {
        Ok(response) if response.rejected > 0 => {
            Err(format!("{} rejected: {}", response.rejected, response.message))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
