//! The sections of detectors that ask a metadata service and have little to say about it.

use super::config::{Wanted, check_attributes, check_origin};
use super::detectors::{Kind, consul};
use millrace_config::{Checker, Secret, Validate};
use millrace_net::config::NotYet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cloud.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cloud {
    /// Where the metadata service is; at the cloud's own address if empty.
    pub endpoint: String,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Cloud {
    pub(super) fn check(&self, at: &mut Checker<'_>, kind: Kind) {
        check_origin(at, &self.endpoint);
        check_attributes(at, kind, &self.resource_attributes);
    }
}

/// A cloud whose section can ask for an error.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StrictCloud {
    /// Where the metadata service is; at the cloud's own address if empty.
    pub endpoint: String,
    /// The same as the processor's, for this detector.
    pub fail_on_missing_metadata: bool,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl StrictCloud {
    pub(super) fn check(&self, at: &mut Checker<'_>, kind: Kind) {
        check_origin(at, &self.endpoint);
        check_strictness(at, self.fail_on_missing_metadata);
        check_attributes(at, kind, &self.resource_attributes);
    }
}

fn check_strictness(at: &mut Checker<'_>, is_strict: bool) {
    if is_strict {
        at.warning("fail_on_missing_metadata", "is deprecated; set it for the whole processor");
    }
}

/// `nova`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nova {
    /// Where the metadata service is; `http://169.254.169.254` if empty.
    pub endpoint: String,
    /// Not built yet.
    pub labels: NotYet,
    /// The same as the processor's, for this detector.
    pub fail_on_missing_metadata: bool,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Nova {
    fn validate(&self, at: &mut Checker<'_>) {
        check_origin(at, &self.endpoint);
        check_strictness(at, self.fail_on_missing_metadata);
        check_attributes(at, Kind::Nova, &self.resource_attributes);
    }
}

/// `consul`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Consul {
    /// Where the agent listens, over plain HTTP; if empty, as CONSUL_HTTP_ADDR says, or 127.0.0.1:8500.
    pub address: String,
    /// The data centre to ask for; the agent's own if empty.
    pub datacenter: String,
    /// The token; if empty, what is in `token_file`, or as CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE say.
    pub token: Secret<String>,
    /// A file with the token.
    pub token_file: String,
    /// The namespace to ask for.
    pub namespace: String,
    /// The node's own metadata that become attributes, by their names; what stands after a name does not matter.
    pub meta: BTreeMap<String, Option<String>>,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Consul {
    fn validate(&self, at: &mut Checker<'_>) {
        if !self.address.is_empty()
            && let Err(error) = consul::with_scheme(&self.address).parse::<super::http::Origin>()
        {
            at.error("address", error);
        }
        for (key, value) in [("datacenter", &self.datacenter), ("namespace", &self.namespace)] {
            if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                at.error(key, "may have letters, digits, `-`, `_` and `.` only\nremove the other characters");
            }
        }
        if self.token.expose().is_empty() {
            at.reads("token_file", &self.token_file);
        }
        check_attributes(at, Kind::Consul, &self.resource_attributes);
    }
}
