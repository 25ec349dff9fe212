//! `azure` and `aks`: Microsoft's instance metadata.

use super::{Found, Kind, Surroundings, missing, text};
use crate::resource_detection::config::Config;
use http::Method;
use serde_json::Value;

pub(super) const ATTRIBUTES: &[(&str, bool)] = &[
    ("azure.resourcegroup.name", true),
    ("azure.vm.name", true),
    ("azure.vm.scaleset.name", true),
    ("azure.vm.size", true),
    ("cloud.account.id", true),
    ("cloud.availability_zone", false),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.name", true),
];

pub(super) const AKS: &[(&str, bool)] =
    &[("cloud.platform", true), ("cloud.provider", true), ("k8s.cluster.name", false)];

const SERVICE: &str = "http://169.254.169.254";
const PATH: &str = "/metadata/instance/compute?api-version=2020-09-01&format=json";

pub(super) async fn detect(config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    match compute(&config.azure.endpoint).await {
        Ok(compute) => set(&compute, found),
        Err(error) => missing(config.fail_on_missing_metadata, Kind::Azure, &error)?,
    }
    Ok(())
}

async fn compute(endpoint: &str) -> Result<Value, String> {
    super::json(&super::origin(endpoint, SERVICE)?, Method::GET, PATH, &[("metadata", "true")]).await
}

fn set(compute: &Value, found: &mut Found<'_>) {
    let name = text(compute, "name");
    let computer = compute.get("osProfile").map_or("", |profile| text(profile, "computerName"));
    found.set("cloud.provider", "azure");
    found.set("cloud.platform", "azure.vm");
    let host = if computer.is_empty() { name } else { computer };
    let optional = [
        ("host.name", host),
        ("cloud.availability_zone", text(compute, "zone")),
        ("azure.vm.scaleset.name", text(compute, "vmScaleSetName")),
    ];
    for (attribute, value) in optional {
        if !value.is_empty() {
            found.set(attribute, value);
        }
    }
    found.set("cloud.region", text(compute, "location"));
    found.set("host.id", text(compute, "vmId"));
    found.set("cloud.account.id", text(compute, "subscriptionId"));
    found.set("azure.vm.name", name);
    found.set("azure.vm.size", text(compute, "vmSize"));
    found.set("azure.resourcegroup.name", text(compute, "resourceGroupName"));
}

/// A machine of Microsoft's that runs Kubernetes. The service is that of `azure`, at its `endpoint`.
pub(super) async fn aks(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    if surroundings.variable("KUBERNETES_SERVICE_HOST").is_none_or(|host| host.is_empty()) {
        return Ok(());
    }
    match compute(&config.azure.endpoint).await {
        Ok(compute) => {
            found.set("cloud.provider", "azure");
            found.set("cloud.platform", "azure.aks");
            found.set("k8s.cluster.name", cluster(text(&compute, "resourceGroupName")));
        }
        Err(error) => missing(config.fail_on_missing_metadata, Kind::Aks, &error)?,
    }
    Ok(())
}

/// The cluster in `MC_group_CLUSTER_region`, the name that its machines' own group has unless it was chosen.
fn cluster(group: &str) -> &str {
    let parts: Vec<_> = group.split('_').collect();
    match parts[..] {
        [managed, _, cluster, _] if managed.eq_ignore_ascii_case("mc") => cluster,
        _ => group,
    }
}
