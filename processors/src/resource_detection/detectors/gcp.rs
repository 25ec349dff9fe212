//! `gcp`: Google's metadata server, on virtual machines and in Kubernetes.

use super::{Found, Kind, Surroundings, missing};
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::Method;

pub(super) const ATTRIBUTES: &[(&str, bool)] = &[
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("gcp.gce.instance.hostname", false),
    ("gcp.gce.instance.name", false),
    ("gcp.gce.instance_group_manager.name", true),
    ("gcp.gce.instance_group_manager.region", true),
    ("gcp.gce.instance_group_manager.zone", true),
    ("host.id", true),
    ("host.name", true),
    ("host.type", true),
    ("k8s.cluster.name", true),
];

const SERVICE: &str = "http://169.254.169.254";
/// What the environment of Google's other platforms has, which are not told apart yet.
const ELSEWHERE: [&str; 4] = ["K_SERVICE", "CLOUD_RUN_JOB", "FUNCTION_TARGET", "GAE_SERVICE"];

pub(super) async fn detect(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let said = surroundings.variable("GCE_METADATA_HOST").filter(|host| !host.is_empty());
    let default = said.map_or(SERVICE.to_owned(), |host| format!("http://{host}"));
    let server = Server(super::origin(&config.gcp.endpoint, &default)?);
    let project = match server.get("project/project-id").await {
        Ok(project) => project,
        Err(error) => return missing(config.fail_on_missing_metadata, Kind::Gcp, &error),
    };
    if let Some(variable) = ELSEWHERE.iter().find(|name| surroundings.variable(name).is_some()) {
        return Err(format!(
            "{variable} is set, but Cloud Run, Cloud Functions and App Engine are not supported yet"
        ));
    }
    found.set("cloud.provider", "gcp");
    found.set("cloud.account.id", project);
    let is_kubernetes = surroundings.variable("KUBERNETES_SERVICE_HOST").is_some();
    let asked = if is_kubernetes { kubernetes(&server, found).await } else { machine(&server, found).await };
    asked.or_else(|error| missing(config.fail_on_missing_metadata, Kind::Gcp, &error))
}

async fn kubernetes(server: &Server, found: &mut Found<'_>) -> Result<(), String> {
    found.set("cloud.platform", "gcp_kubernetes_engine");
    let location = server.get("instance/attributes/cluster-location").await?;
    // A zone is called as its region, and one letter more.
    let place = if location.matches('-').count() == 1 { "cloud.region" } else { "cloud.availability_zone" };
    found.set(place, location);
    found.set("k8s.cluster.name", server.get("instance/attributes/cluster-name").await?);
    found.set("host.id", server.get("instance/id").await?);
    // Not to be had with workload identity.
    if let Ok(name) = server.get("instance/name").await {
        found.set("host.name", name);
    }
    Ok(())
}

async fn machine(server: &Server, found: &mut Found<'_>) -> Result<(), String> {
    found.set("cloud.platform", "gcp_compute_engine");
    let zone = server.get("instance/zone").await?;
    let zone = last(&zone);
    if let Some((region, _)) = zone.rsplit_once('-') {
        found.set("cloud.region", region);
    }
    found.set("cloud.availability_zone", zone);
    found.set("host.type", last(&server.get("instance/machine-type").await?));
    found.set("host.id", server.get("instance/id").await?);
    let name = server.get("instance/name").await?;
    found.set("host.name", name.as_str());
    found.set("gcp.gce.instance.name", name);
    if found.wants("gcp.gce.instance.hostname") {
        found.set("gcp.gce.instance.hostname", server.get("instance/hostname").await?);
    }
    // Machines that nobody manages have none.
    if let Ok(manager) = server.get("instance/attributes/created-by").await {
        managed(&manager, found);
    }
    Ok(())
}

/// `projects/1/zones/us-central1-c/instanceGroupManagers/group`, or with `regions`.
fn managed(by: &str, found: &mut Found<'_>) {
    let parts: Vec<_> = by.split('/').collect();
    if let ["projects", _, places, place, "instanceGroupManagers", name] = parts[..] {
        let attribute = match places {
            "zones" => "gcp.gce.instance_group_manager.zone",
            "regions" => "gcp.gce.instance_group_manager.region",
            _ => return,
        };
        found.set("gcp.gce.instance_group_manager.name", name);
        found.set(attribute, place);
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

struct Server(Origin);

impl Server {
    async fn get(&self, path: &str) -> Result<String, String> {
        let path = format!("/computeMetadata/v1/{path}");
        let answer = self.0.ask(Method::GET, &path, &[("metadata-flavor", "Google")]).await?.text();
        answer.map(|text| text.trim().to_owned()).map_err(|error| format!("{}{path} {error}", self.0))
    }
}
