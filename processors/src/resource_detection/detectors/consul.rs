//! `consul`: what the machine's own agent of Consul says of itself.

use super::{Found, Kind, Surroundings, json, missing, text};
use crate::resource_detection::config::Config;
use http::Method;
use serde_json::Value;

pub(super) const ATTRIBUTES: &[(&str, bool)] =
    &[("cloud.region", true), ("host.id", true), ("host.name", true)];

const AGENT: &str = "http://127.0.0.1:8500";

pub(super) async fn detect(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    match agent(config, surroundings).await {
        Ok(agent) => {
            let of = |name| agent.get("Config").map_or("", |about| text(about, name));
            found.set("host.name", of("NodeName"));
            found.set("cloud.region", of("Datacenter"));
            found.set("host.id", of("NodeID"));
            for name in config.consul.meta.keys() {
                if let Some(value) = agent.pointer("/Meta").and_then(|meta| meta.get(name)?.as_str()) {
                    found.attributes.set(name, value);
                }
            }
            Ok(())
        }
        Err(error) => missing(config.fail_on_missing_metadata, Kind::Consul, &error),
    }
}

async fn agent(config: &Config, surroundings: &Surroundings) -> Result<Value, String> {
    let consul = &config.consul;
    let named =
        [Some(consul.address.clone()), surroundings.variable("CONSUL_HTTP_ADDR"), Some(AGENT.to_owned())];
    let address = named.into_iter().flatten().find(|address| !address.is_empty()).unwrap_or_default();
    let service = with_scheme(&address).parse()?;
    let file = [Some(consul.token_file.clone()), surroundings.variable("CONSUL_HTTP_TOKEN_FILE")];
    let file = file.into_iter().flatten().find(|file| !file.is_empty());
    let own = Some(consul.token.expose().to_owned()).filter(|token| !token.is_empty());
    let token = match (own, file) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(&file);
            Some(text.map_err(|error| format!("cannot read {file}: {error}"))?.trim().to_owned())
        }
        (None, None) => surroundings.variable("CONSUL_HTTP_TOKEN"),
    };
    let headers: Vec<_> = token.iter().map(|token| ("x-consul-token", token.as_str())).collect();
    let parameters = [("dc", &consul.datacenter), ("ns", &consul.namespace)];
    let parameters = parameters.iter().filter(|(_, value)| !value.is_empty());
    let query: Vec<_> = parameters.map(|(name, value)| format!("{name}={value}")).collect();
    let path = match query.is_empty() {
        true => "/v1/agent/self".to_owned(),
        false => format!("/v1/agent/self?{}", query.join("&")),
    };
    let agent = json(&service, Method::GET, &path, &headers).await?;
    let of = |name| agent.get("Config").is_some_and(|about| about.get(name).is_some_and(Value::is_string));
    if ["NodeName", "Datacenter", "NodeID"].into_iter().all(of) {
        Ok(agent)
    } else {
        Err(format!("{service} names no NodeName, Datacenter and NodeID"))
    }
}

/// Addresses of Consul have no scheme for the most part.
pub(in crate::resource_detection) fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}
