//! Detectors that look into the environment only: `heroku`, `lambda`, `k8snode`, `downward_api`.

use super::{Found, Kind, Surroundings, missing};
use crate::resource_detection::attributes::{Attribute, Attributes};
use crate::resource_detection::config::Config;

pub(super) const HEROKU: &[(&str, bool)] = &[
    ("cloud.provider", true),
    ("heroku.app.id", true),
    ("heroku.dyno.id", true),
    ("heroku.release.commit", true),
    ("heroku.release.creation_timestamp", true),
    ("service.instance.id", true),
    ("service.name", true),
    ("service.version", true),
];

pub(super) fn heroku(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let read = |name| surroundings.variable(name);
    let (dyno, app) = (read("HEROKU_DYNO_ID"), read("HEROKU_APP_ID"));
    if dyno.is_none() && app.is_none() {
        let error = "HEROKU_DYNO_ID and HEROKU_APP_ID are not set";
        missing(config.fail_on_missing_metadata, Kind::Heroku, error)?;
    }
    if app.is_some() {
        found.set("cloud.provider", "heroku");
    }
    let variables = [
        ("service.instance.id", dyno),
        ("heroku.app.id", app),
        ("service.name", read("HEROKU_APP_NAME")),
        ("heroku.release.creation_timestamp", read("HEROKU_RELEASE_CREATED_AT")),
        ("service.version", read("HEROKU_RELEASE_VERSION")),
        ("heroku.release.commit", read("HEROKU_SLUG_COMMIT")),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            found.set(name, value);
        }
    }
    Ok(())
}

pub(super) const LAMBDA: &[(&str, bool)] = &[
    ("aws.log.group.names", true),
    ("aws.log.stream.names", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
    ("faas.instance", true),
    ("faas.max_memory", true),
    ("faas.name", true),
    ("faas.version", true),
];

pub(super) fn lambda(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let read = |name| surroundings.variable(name);
    let Some(function) = read("AWS_LAMBDA_FUNCTION_NAME").filter(|name| !name.is_empty()) else {
        let error = "AWS_LAMBDA_FUNCTION_NAME is not set";
        return missing(config.fail_on_missing_metadata, Kind::Lambda, error);
    };
    found.set("cloud.provider", "aws");
    found.set("cloud.platform", "aws_lambda");
    found.set("faas.name", function);
    let list = |value: Option<String>| value.map(|value| Attribute::List(vec![value]));
    let text = |value: Option<String>| value.map(Attribute::Text);
    let stream = read("AWS_LAMBDA_LOG_STREAM_NAME");
    let variables = [
        ("cloud.region", text(read("AWS_REGION"))),
        ("faas.version", text(read("AWS_LAMBDA_FUNCTION_VERSION"))),
        ("faas.instance", text(stream.clone())),
        ("faas.max_memory", text(read("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))),
        ("aws.log.group.names", list(read("AWS_LAMBDA_LOG_GROUP_NAME"))),
        ("aws.log.stream.names", list(stream)),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            found.set(name, value);
        }
    }
    Ok(())
}

pub(super) const K8S_NODE: &[(&str, bool)] = &[("k8s.node.name", true)];

pub(super) fn k8s_node(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let configured = config.k8snode.node_from_env_var.as_str();
    let variable = if configured.is_empty() { "K8S_NODE_NAME" } else { configured };
    let node = surroundings
        .variable(variable)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| format!("{variable} is not set; let the downward API set it to spec.nodeName"))?;
    found.set("k8s.node.name", node);
    Ok(())
}

/// What is set of these is an attribute.
const DOWNWARD_API: [(&str, &str); 6] = [
    ("K8S_NODE_NAME", "k8s.node.name"),
    ("K8S_NAMESPACE_NAME", "k8s.namespace.name"),
    ("K8S_POD_NAME", "k8s.pod.name"),
    ("K8S_POD_UID", "k8s.pod.uid"),
    ("K8S_POD_IP", "k8s.pod.ip"),
    ("K8S_CONTAINER_NAME", "k8s.container.name"),
];

pub(super) fn downward_api(surroundings: &Surroundings) -> Attributes {
    let mut attributes = Attributes::default();
    for (variable, name) in DOWNWARD_API {
        if let Some(value) = surroundings.variable(variable).filter(|value| !value.is_empty()) {
            attributes.set(name, value);
        }
    }
    attributes
}
