//! `docker`: the daemon on this host.

use super::{Found, Kind, Surroundings, missing, text};
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::Method;
use serde_json::Value;

pub(super) const ATTRIBUTES: &[(&str, bool)] =
    &[("container.image.name", false), ("container.name", false), ("host.name", true), ("os.type", true)];

const SOCKET: &str = "unix:///var/run/docker.sock";

pub(super) async fn detect(
    config: &Config,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let said = surroundings.variable("DOCKER_HOST").filter(|host| !host.is_empty());
    let origin = super::origin(&config.docker.endpoint, said.as_deref().unwrap_or(SOCKET))?;
    if let Err(error) = ask(&origin, surroundings, found).await {
        found.attributes = super::Attributes::default();
        missing(config.fail_on_missing_metadata, Kind::Docker, &error)?;
    }
    Ok(())
}

async fn ask(origin: &Origin, surroundings: &Surroundings, found: &mut Found<'_>) -> Result<(), String> {
    let info = get(origin, "/info").await?;
    found.set("os.type", text(&info, "OSType"));
    found.set("host.name", text(&info, "Name"));
    if found.wants("container.name") || found.wants("container.image.name") {
        // A container is called like its id, unless somebody gave it another name.
        let hostname = surroundings.read("proc/sys/kernel/hostname")?;
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !hostname.chars().all(is_safe) {
            return Err(format!("`{hostname}` is not the name of a container"));
        }
        let container = get(origin, &format!("/containers/{hostname}/json")).await?;
        found.set("container.name", text(&container, "Name"));
        found.set("container.image.name", text(&container, "Image"));
    }
    Ok(())
}

async fn get(origin: &Origin, path: &str) -> Result<Value, String> {
    let answer = origin.ask(Method::GET, path, &[]).await?.text();
    let answer = answer.map_err(|error| format!("{origin}{path} {error}"))?;
    serde_json::from_str(&answer).map_err(|error| format!("{origin}{path} answered with no JSON: {error}"))
}
