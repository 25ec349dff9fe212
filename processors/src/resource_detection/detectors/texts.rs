//! Clouds that answer for each thing by itself: `alibaba_ecs`, `hetzner`, `tencent_cvm`.

use super::clouds::SERVICE;
use super::{Found, Kind, missing, origin};
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::Method;

pub(super) const HETZNER: &[(&str, bool)] = &[
    ("cloud.availability_zone", true),
    ("cloud.platform", false),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.name", true),
];
pub(super) const ALIBABA_AND_TENCENT: &[(&str, bool)] = &[
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.image.id", true),
    ("host.name", true),
    ("host.type", true),
];

const ALIBABA_SERVICE: &str = "http://100.100.100.200";
const TENCENT_SERVICE: &str = "http://metadata.tencentyun.com";
const ALIBABA_PATHS: [(&str, &str); 7] = [
    ("host.name", "hostname"),
    ("host.image.id", "image-id"),
    ("host.id", "instance-id"),
    ("host.type", "instance/instance-type"),
    ("cloud.account.id", "owner-account-id"),
    ("cloud.region", "region-id"),
    ("cloud.availability_zone", "zone-id"),
];
const TENCENT_PATHS: [(&str, &str); 7] = [
    ("host.name", "instance-name"),
    ("host.image.id", "instance/image-id"),
    ("host.id", "instance-id"),
    ("host.type", "instance/instance-type"),
    ("cloud.account.id", "app-id"),
    ("cloud.region", "placement/region"),
    ("cloud.availability_zone", "placement/zone"),
];
const HETZNER_PATHS: [(&str, &str); 4] = [
    ("host.name", "hostname"),
    ("host.id", "instance-id"),
    ("cloud.region", "region"),
    ("cloud.availability_zone", "availability-zone"),
];

/// Machines of Hetzner's have a name; whoever has none is somewhere else.
pub(super) async fn hetzner(config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    let service = origin(&config.hetzner.endpoint, SERVICE)?;
    let mut values = Vec::new();
    for (name, path) in HETZNER_PATHS {
        let value = get(&service, &format!("/hetzner/v1/metadata/{path}"), &[]).await;
        let value = value.map(|value| value.trim().to_owned());
        match value {
            Ok(value) if name != "host.name" || !value.is_empty() => values.push((name, value)),
            Ok(_) => return Ok(()),
            Err(_) if name == "host.name" => return Ok(()),
            Err(error) => missing(config.fail_on_missing_metadata, Kind::Hetzner, &error)?,
        }
    }
    found.set("cloud.provider", "hetzner");
    found.set("cloud.platform", "hetzner.cloud_server");
    for (name, value) in values {
        found.set(name, value);
    }
    Ok(())
}

pub(super) async fn alibaba(config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    let is_error = config.fail_on_missing_metadata || config.alibaba_ecs.fail_on_missing_metadata;
    let service = origin(&config.alibaba_ecs.endpoint, ALIBABA_SERVICE)?;
    let asked = async {
        let lifetime = ("x-aliyun-ecs-metadata-token-ttl-seconds", "60");
        let token = service.ask(Method::PUT, "/latest/api/token", &[lifetime]).await?.text()?;
        all(&service, &ALIBABA_PATHS, &[("x-aliyun-ecs-metadata-token", &token)]).await
    };
    match asked.await {
        Ok(values) => {
            found.set("cloud.provider", "alibaba_cloud");
            found.set("cloud.platform", "alibaba_cloud_ecs");
            values.into_iter().for_each(|(name, value)| found.set(name, value));
            Ok(())
        }
        Err(error) => missing(is_error, Kind::AlibabaEcs, &error),
    }
}

pub(super) async fn tencent(config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    let is_error = config.fail_on_missing_metadata || config.tencent_cvm.fail_on_missing_metadata;
    let service = origin(&config.tencent_cvm.endpoint, TENCENT_SERVICE)?;
    match all(&service, &TENCENT_PATHS, &[]).await {
        Ok(values) => {
            found.set("cloud.provider", "tencent_cloud");
            found.set("cloud.platform", "tencent_cloud_cvm");
            values.into_iter().for_each(|(name, value)| found.set(name, value));
            Ok(())
        }
        Err(error) => missing(is_error, Kind::TencentCvm, &error),
    }
}

/// All or nothing.
async fn all(
    service: &Origin,
    paths: &[(&'static str, &'static str)],
    headers: &[(&'static str, &str)],
) -> Result<Vec<(&'static str, String)>, String> {
    let mut values = Vec::with_capacity(paths.len());
    for (name, path) in paths {
        values.push((*name, get(service, &format!("/latest/meta-data/{path}"), headers).await?));
    }
    Ok(values)
}

async fn get(service: &Origin, path: &str, headers: &[(&'static str, &str)]) -> Result<String, String> {
    let answer = service.ask(Method::GET, path, headers).await?.text();
    answer.map_err(|error| format!("{service}{path} {error}"))
}
