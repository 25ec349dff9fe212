//! Clouds that describe a machine in one JSON document: `akamai`, `digitalocean`, `nova`, `oraclecloud`, `scaleway`,
//! `upcloud`, `vultr`.

use super::{Found, Kind, json, missing, origin, text};
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const AKAMAI: &[(&str, bool)] = &[
    ("cloud.account.id", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.image.id", true),
    ("host.image.name", true),
    ("host.name", true),
    ("host.type", true),
];
pub(super) const DIGITAL_OCEAN: &[(&str, bool)] =
    &[("cloud.provider", true), ("cloud.region", true), ("host.id", true), ("host.name", true)];
pub(super) const NOVA: &[(&str, bool)] = &[
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("host.id", true),
    ("host.name", true),
    ("host.type", true),
];
pub(super) const ORACLE: &[(&str, bool)] = &[
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("cloud.resource_id", false),
    ("host.id", true),
    ("host.name", true),
    ("host.type", true),
    ("k8s.cluster.name", true),
    ("oracle_cloud.realm", true),
];
pub(super) const SCALEWAY: &[(&str, bool)] = &[
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.image.id", true),
    ("host.image.name", true),
    ("host.name", true),
    ("host.type", true),
];
pub(super) const VULTR: &[(&str, bool)] = &[
    ("cloud.platform", false),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.name", true),
];

/// Where most clouds have their metadata, in every machine's own network.
pub(super) const SERVICE: &str = "http://169.254.169.254";
const SCALEWAY_SERVICE: &str = "http://169.254.42.42";
/// How long Oracle's service may take to say that it is there; as in Go.
const ORACLE_PROBE: Duration = Duration::from_millis(200);
const ORACLE_PATH: &str = "/opc/v2/instance/";
const ORACLE_KEY: (&str, &str) = ("authorization", "Bearer Oracle");

pub(super) async fn detect(kind: Kind, config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    let (endpoint, service) = match kind {
        Kind::Akamai => (&config.akamai.endpoint, SERVICE),
        Kind::DigitalOcean => (&config.digitalocean.endpoint, SERVICE),
        Kind::Nova => (&config.nova.endpoint, SERVICE),
        Kind::OracleCloud => (&config.oraclecloud.endpoint, SERVICE),
        Kind::Scaleway => (&config.scaleway.endpoint, SCALEWAY_SERVICE),
        Kind::UpCloud => (&config.upcloud.endpoint, SERVICE),
        _ => (&config.vultr.endpoint, SERVICE),
    };
    let is_error = config.fail_on_missing_metadata
        || match kind {
            Kind::Nova => config.nova.fail_on_missing_metadata,
            Kind::UpCloud => config.upcloud.fail_on_missing_metadata,
            Kind::Vultr => config.vultr.fail_on_missing_metadata,
            _ => false,
        };
    let service = origin(endpoint, service)?;
    if kind == Kind::OracleCloud && !is_oracle(&service).await {
        return Ok(());
    }
    let document = match document(kind, &service).await {
        Ok(document) => document,
        Err(error) => return missing(is_error, kind, &error),
    };
    let at = |pointer: &str| value(&document, pointer);
    match kind {
        Kind::Akamai => {
            found.set("cloud.account.id", at("/account_euuid"));
            found.set("cloud.provider", "akamai_cloud");
            found.set("cloud.platform", "akamai_cloud.compute");
            found.set("cloud.region", at("/region"));
            found.set("host.id", at("/id"));
            found.set("host.image.id", at("/image/id"));
            found.set("host.image.name", at("/image/label"));
            found.set("host.name", at("/label"));
            found.set("host.type", at("/type"));
        }
        Kind::DigitalOcean => {
            found.set("cloud.provider", "digitalocean");
            found.set("host.id", at("/droplet_id"));
            found.set("host.name", at("/hostname"));
            found.set("cloud.region", at("/region"));
        }
        Kind::Nova => nova(&service, &document, found).await?,
        Kind::OracleCloud => {
            found.set("cloud.provider", "oracle_cloud");
            found.set("cloud.platform", "oracle_cloud_oke");
            found.set("cloud.region", at("/canonicalRegionName"));
            found.set("cloud.resource_id", at("/id"));
            found.set("cloud.availability_zone", at("/availabilityDomain"));
            found.set("host.id", at("/id"));
            found.set("host.name", at("/displayName"));
            found.set("host.type", at("/shape"));
            found.set("k8s.cluster.name", at("/metadata/oke-cluster-display-name"));
            found.set("oracle_cloud.realm", at("/metadata/realm"));
        }
        Kind::Scaleway => {
            let zone = at("/location/zone_id");
            found.set("cloud.account.id", at("/organization"));
            found.set("cloud.provider", "scaleway_cloud");
            found.set("cloud.platform", "scaleway_cloud_compute");
            if let Some((region, _)) = zone.rsplit_once('-').filter(|(region, _)| !region.is_empty()) {
                found.set("cloud.region", region);
            }
            found.set("cloud.availability_zone", zone);
            found.set("host.id", at("/id"));
            found.set("host.image.id", at("/image/id"));
            found.set("host.image.name", at("/image/name"));
            found.set("host.name", at("/name"));
            found.set("host.type", at("/commercial_type"));
        }
        Kind::UpCloud => {
            found.set("cloud.provider", at("/cloud_name"));
            found.set("cloud.region", at("/region"));
            found.set("host.id", at("/instance_id"));
            found.set("host.name", at("/hostname"));
        }
        _ => {
            found.set("cloud.provider", "vultr");
            found.set("cloud.platform", "vultr.cloud_compute");
            let id = Some(at("/instance-v2-id")).filter(|id| !id.is_empty());
            let optional = [
                ("host.id", id.unwrap_or_else(|| at("/instanceid"))),
                ("host.name", at("/hostname")),
                ("cloud.region", at("/region/regioncode").to_lowercase()),
            ];
            for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
                found.set(name, value);
            }
        }
    }
    Ok(())
}

/// The document that a cloud has for the machine that asks.
async fn document(kind: Kind, service: &Origin) -> Result<Value, String> {
    let path = match kind {
        Kind::Akamai => {
            let lifetime = ("metadata-token-expiry-seconds", "3600");
            let accept = ("accept", "application/json");
            let tokens = json(service, Method::PUT, "/v1/token", &[lifetime, accept]).await?;
            let token = value(&tokens, "/0");
            return json(service, Method::GET, "/v1/instance", &[("metadata-token", &token), accept]).await;
        }
        Kind::Nova => "/openstack/latest/meta_data.json",
        Kind::OracleCloud => return json(service, Method::GET, ORACLE_PATH, &[ORACLE_KEY]).await,
        Kind::Scaleway => "/conf?format=json",
        Kind::DigitalOcean | Kind::UpCloud => "/metadata/v1.json",
        _ => "/v1.json",
    };
    let document = json(service, Method::GET, path, &[]).await?;
    if kind == Kind::Nova && text(&document, "uuid").is_empty() {
        return Err(format!("{service} names no uuid"));
    }
    Ok(document)
}

/// Whether Oracle's service answers, and soon: elsewhere this address may swallow what it is asked.
async fn is_oracle(service: &Origin) -> bool {
    let probe = timeout(ORACLE_PROBE, service.ask(Method::HEAD, ORACLE_PATH, &[ORACLE_KEY])).await;
    matches!(probe, Ok(Ok(answer)) if answer.status == StatusCode::OK)
}

async fn nova(service: &Origin, document: &Value, found: &mut Found<'_>) -> Result<(), String> {
    let hostname = text(document, "hostname");
    if hostname.is_empty() {
        return Err("nova names no hostname".to_owned());
    }
    // Not every deployment has the interface of EC2 as well.
    let kind = service.ask(Method::GET, "/latest/meta-data/instance-type", &[]).await;
    if let Ok(kind) = kind.and_then(crate::resource_detection::http::Answer::text)
        && !kind.is_empty()
    {
        found.set("host.type", kind);
    }
    found.set("cloud.provider", "openstack");
    found.set("cloud.platform", "openstack_nova");
    found.set("cloud.account.id", text(document, "project_id"));
    found.set("cloud.availability_zone", text(document, "availability_zone"));
    found.set("host.id", text(document, "uuid"));
    found.set("host.name", hostname);
    Ok(())
}

/// A text or a number; nothing if it is something else, or not there.
fn value(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
