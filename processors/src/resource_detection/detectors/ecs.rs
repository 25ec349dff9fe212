//! `ecs`: the task that Amazon's container service runs this container in, by the endpoint that it names to each.

use super::{Found, Kind, Surroundings, json, missing, text};
use crate::resource_detection::attributes::Attribute;
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::{Method, Uri};
use serde_json::Value;

pub(super) const ATTRIBUTES: &[(&str, bool)] = &[
    ("aws.ecs.cluster.arn", true),
    ("aws.ecs.launchtype", true),
    ("aws.ecs.task.arn", true),
    ("aws.ecs.task.family", true),
    ("aws.ecs.task.id", true),
    ("aws.ecs.task.revision", true),
    ("aws.log.group.arns", true),
    ("aws.log.group.names", true),
    ("aws.log.stream.arns", true),
    ("aws.log.stream.names", true),
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.platform", true),
    ("cloud.provider", true),
    ("cloud.region", true),
];

/// The newest first.
const ENDPOINTS: [&str; 2] = ["ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI"];

pub(super) async fn detect(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let named =
        ENDPOINTS.iter().find_map(|name| surroundings.variable(name).and_then(|uri| split(uri.trim())));
    let Some((service, path)) = named else {
        let error = "ECS_CONTAINER_METADATA_URI_V4 names no endpoint";
        return missing(config.fail_on_missing_metadata, Kind::Ecs, error);
    };
    let task = json(&service, Method::GET, &format!("{path}/task"), &[]).await?;
    let arn = text(&task, "TaskARN");
    let (region, account, id) = parts(arn);
    found.set("cloud.provider", "aws");
    found.set("cloud.platform", "aws_ecs");
    found.set("aws.ecs.task.arn", arn);
    found.set("aws.ecs.task.family", text(&task, "Family"));
    found.set("aws.ecs.task.revision", text(&task, "Revision"));
    let cluster = match text(&task, "Cluster") {
        cluster if cluster.contains(':') => cluster.to_owned(),
        cluster => format!("arn:aws:ecs:{region}:{account}:cluster/{cluster}"),
    };
    found.set("aws.ecs.cluster.arn", cluster);
    let launch = text(&task, "LaunchType").to_lowercase();
    let optional = [
        ("cloud.account.id", account),
        ("cloud.region", region),
        ("aws.ecs.task.id", id),
        ("cloud.availability_zone", text(&task, "AvailabilityZone")),
        ("aws.ecs.launchtype", if ["ec2", "fargate"].contains(&launch.as_str()) { &launch } else { "" }),
    ];
    for (name, value) in optional {
        if !value.is_empty() {
            found.set(name, value);
        }
    }
    match json(&service, Method::GET, if path.is_empty() { "/" } else { &path }, &[]).await {
        Ok(container) => logs(&task, text(&container, "DockerId"), account, found),
        Err(error) => missing(config.fail_on_missing_metadata, Kind::Ecs, &error)?,
    }
    Ok(())
}

/// Where to ask, and below which path.
fn split(uri: &str) -> Option<(Origin, String)> {
    let parsed: Uri = uri.parse().ok()?;
    let service = format!("{}://{}", parsed.scheme_str()?, parsed.authority()?).parse().ok()?;
    Some((service, parsed.path().trim_end_matches('/').to_owned()))
}

/// The region, the account and the task's id of a task's ARN, which ends in `task/ID` or `task/CLUSTER/ID`.
fn parts(arn: &str) -> (&str, &str, &str) {
    let mut parts = arn.split(':').skip(3);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(region), Some(account), Some(task)) => {
            (region, account, task.rsplit('/').next().unwrap_or_default())
        }
        _ => ("", "", ""),
    }
}

/// Where the other containers of the task write their logs, if they do with `awslogs`.
fn logs(task: &Value, own_id: &str, account: &str, found: &mut Found<'_>) {
    let containers = task.get("Containers").and_then(Value::as_array).into_iter().flatten();
    let mut lists = [const { Vec::new() }; 4];
    for container in containers {
        let is_running = text(container, "Type") == "NORMAL" && text(container, "KnownStatus") == "RUNNING";
        let is_other = text(container, "DockerId") != own_id;
        let Some(options) = container.get("LogOptions") else { continue };
        let option = |name| text(options, name);
        let (group, region, stream) =
            (option("awslogs-group"), option("awslogs-region"), option("awslogs-stream"));
        if !is_running || !is_other || text(container, "LogDriver") != "awslogs" {
            continue;
        }
        if group.is_empty() && region.is_empty() && stream.is_empty() {
            continue;
        }
        let arn = format!("arn:aws:logs:{region}:{account}:log-group:{group}");
        let stream_arn = format!("{arn}:log-stream:{stream}");
        for (list, value) in lists.iter_mut().zip([group.to_owned(), arn, stream.to_owned(), stream_arn]) {
            list.push(value);
        }
    }
    let names = ["aws.log.group.names", "aws.log.group.arns", "aws.log.stream.names", "aws.log.stream.arns"];
    for (name, list) in names.into_iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
        found.set(name, Attribute::List(list));
    }
}
