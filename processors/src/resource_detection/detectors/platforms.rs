//! Platforms that leave a file or variables: `azurecontainerapps`, `dynatrace`, `elastic_beanstalk`.

use super::{Found, Kind, Surroundings, missing, text};
use crate::resource_detection::attributes::Attributes;
use crate::resource_detection::config::Config;
use serde_json::Value;

pub(super) const CONTAINER_APPS: &[(&str, bool)] = &[
    ("azure.container_app.instance.id", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("service.name", true),
];

pub(super) fn container_apps(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let read = |name| surroundings.variable(name).filter(|value| !value.is_empty());
    let Some(app) = read("CONTAINER_APP_NAME") else {
        let error = "CONTAINER_APP_NAME is not set";
        return missing(config.fail_on_missing_metadata, Kind::AzureContainerApps, error);
    };
    found.set("cloud.provider", "azure");
    found.set("cloud.platform", "azure.container_apps");
    found.set("service.name", app);
    if let Some(replica) = read("CONTAINER_APP_REPLICA_NAME") {
        found.set("azure.container_app.instance.id", replica);
    }
    Ok(())
}

pub(super) const ELASTIC_BEANSTALK: &[(&str, bool)] = &[
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("deployment.environment", true),
    ("deployment.environment.name", true),
    ("deployment.id", true),
    ("service.instance.id", true),
    ("service.version", true),
];

/// Written where X-Ray is on.
const BEANSTALK_FILE: &str = "var/elasticbeanstalk/xray/environment.conf";

/// The older names of attributes; the newer ones are behind a gate of the Go collector's.
pub(super) fn elastic_beanstalk(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    if !surroundings.path(BEANSTALK_FILE).exists() {
        let error = format!("there is no /{BEANSTALK_FILE}");
        return missing(config.fail_on_missing_metadata, Kind::ElasticBeanstalk, &error);
    }
    let environment: Value = serde_json::from_str(&surroundings.read(BEANSTALK_FILE)?)
        .map_err(|error| format!("/{BEANSTALK_FILE} is not JSON: {error}"))?;
    found.set("cloud.provider", "aws");
    found.set("cloud.platform", "aws_elastic_beanstalk");
    found.set("deployment.environment", text(&environment, "environment_name"));
    let id = environment.get("deployment_id").and_then(Value::as_i64).unwrap_or_default();
    found.set("service.instance.id", id.to_string());
    found.set("service.version", text(&environment, "version_label"));
    Ok(())
}

const DYNATRACE_FILE: &str = "var/lib/dynatrace/enrichment/dt_host_metadata.properties";
const DYNATRACE: [&str; 3] = ["dt.entity.host", "host.name", "dt.smartscape.host"];

/// What Dynatrace's agent has written of the machine, a property a line.
pub(super) fn dynatrace(surroundings: &Surroundings) -> Result<Attributes, String> {
    let mut attributes = Attributes::default();
    if !surroundings.path(DYNATRACE_FILE).exists() {
        return Ok(attributes);
    }
    for (name, value) in surroundings.read(DYNATRACE_FILE)?.lines().filter_map(|line| line.split_once('=')) {
        if DYNATRACE.contains(&name) && !value.is_empty() {
            attributes.set(name, value.trim());
        }
    }
    Ok(attributes)
}
