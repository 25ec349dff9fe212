//! `ec2`: Amazon's instance metadata, with its session token where it has one.

use super::{Found, Kind, missing, text};
use crate::resource_detection::config::Config;
use crate::resource_detection::http::Origin;
use http::{Method, StatusCode};
use serde_json::Value;

pub(super) const ATTRIBUTES: &[(&str, bool)] = &[
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

const SERVICE: &str = "http://169.254.169.254";

pub(super) async fn detect(config: &Config, found: &mut Found<'_>) -> Result<(), String> {
    let service = super::origin(&config.ec2.endpoint, SERVICE)?;
    let is_error = config.fail_on_missing_metadata || config.ec2.fail_on_missing_metadata;
    let session = match Session::begin(&service).await {
        Ok(session) => session,
        Err(error) => return missing(is_error, Kind::Ec2, &error),
    };
    if let Err(error) = session.get("/latest/meta-data/instance-id").await {
        return missing(is_error, Kind::Ec2, &error);
    }
    let identity = session.get("/latest/dynamic/instance-identity/document").await?;
    let identity: Value = serde_json::from_str(&identity)
        .map_err(|error| format!("the identity document is not JSON: {error}"))?;
    let hostname = session.get("/latest/meta-data/hostname").await?;
    found.set("cloud.provider", "aws");
    found.set("cloud.platform", "aws_ec2");
    found.set("cloud.region", text(&identity, "region"));
    found.set("cloud.account.id", text(&identity, "accountId"));
    found.set("cloud.availability_zone", text(&identity, "availabilityZone"));
    found.set("host.id", text(&identity, "instanceId"));
    found.set("host.image.id", text(&identity, "imageId"));
    found.set("host.type", text(&identity, "instanceType"));
    found.set("host.name", hostname);
    Ok(())
}

struct Session<'s> {
    service: &'s Origin,
    token: Option<String>,
}

impl<'s> Session<'s> {
    /// Older services have no tokens and say so.
    async fn begin(service: &'s Origin) -> Result<Self, String> {
        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
        let answer = service.ask(Method::PUT, "/latest/api/token", &[ttl]).await?;
        let token = (answer.status == StatusCode::OK).then(|| answer.text()).transpose()?;
        Ok(Self { service, token })
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let token = self.token.as_deref().map(|token| ("x-aws-ec2-metadata-token", token));
        let headers: Vec<_> = token.into_iter().collect();
        let answer = self.service.ask(Method::GET, path, &headers).await?.text();
        answer.map_err(|error| format!("{}{path} {error}", self.service))
    }
}
