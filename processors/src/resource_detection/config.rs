//! The section `processors::resource_detection`.

use super::detectors::{self, Kind};
use super::sections::{Cloud, Consul, Nova, StrictCloud};
use millrace_config::{Checker, Duration, Validate};
use millrace_net::config::NotYet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The resource detection processor's configuration.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which detectors look, in the order of their precedence: `env`, `system`, `docker`, `ec2`, `ecs`,
    /// `elastic_beanstalk`, `lambda`, `gcp`, `azure`, `aks`, `azurecontainerapps`, `akamai`, `alibaba_ecs`,
    /// `digitalocean`, `hetzner`, `nova`, `oraclecloud`, `scaleway`, `tencent_cvm`, `upcloud`, `vultr`, `heroku`,
    /// `consul`, `dynatrace`, `k8snode`, `downward_api`.
    pub detectors: Vec<String>,
    /// Whether attributes that a resource has already are replaced.
    pub r#override: bool,
    /// The limit for one attempt of a detector, and for all of them unless `retry::max_elapsed_time` is set.
    pub timeout: Duration,
    /// How often to look again; 0 is never.
    pub refresh_interval: Duration,
    /// Whether it is an error that a metadata service does not answer, which is how others than its own machines see it.
    pub fail_on_missing_metadata: bool,
    /// What happens when a detector fails.
    pub retry: Retry,
    /// The detector `system`.
    pub system: System,
    /// The detector `docker`.
    pub docker: Docker,
    /// The detector `ec2`.
    pub ec2: Ec2,
    /// The detector `gcp`.
    pub gcp: Gcp,
    /// The detector `azure`.
    pub azure: Azure,
    /// The detector `heroku`.
    pub heroku: Plain,
    /// The detector `lambda`.
    pub lambda: Plain,
    /// The detector `k8snode`.
    pub k8snode: K8sNode,
    /// Not built yet.
    pub k8s_api: NotYet,
    /// The detector `alibaba_ecs`.
    pub alibaba_ecs: StrictCloud,
    /// The detector `ecs`.
    pub ecs: Plain,
    /// Not built yet.
    pub eks: NotYet,
    /// The detector `elastic_beanstalk`.
    pub elasticbeanstalk: Plain,
    /// The detector `aks`.
    pub aks: Plain,
    /// The detector `azurecontainerapps`.
    pub azurecontainerapps: Plain,
    /// The detector `consul`.
    pub consul: Consul,
    /// The detector `digitalocean`.
    pub digitalocean: Cloud,
    /// The detector `hetzner`.
    pub hetzner: Cloud,
    /// Not built yet.
    pub ibmcloud_classic: NotYet,
    /// Not built yet.
    pub ibmcloud_vpc: NotYet,
    /// Not built yet.
    pub openshift: NotYet,
    /// The detector `nova`.
    pub nova: Nova,
    /// The detector `oraclecloud`.
    pub oraclecloud: Cloud,
    /// Not built yet.
    pub kubeadm: NotYet,
    /// The detector `akamai`.
    pub akamai: Cloud,
    /// The detector `scaleway`.
    pub scaleway: Cloud,
    /// The detector `tencent_cvm`.
    pub tencent_cvm: StrictCloud,
    /// The detector `upcloud`.
    pub upcloud: StrictCloud,
    /// The detector `vultr`.
    pub vultr: StrictCloud,
    /// Not built yet: metadata services are asked over plain HTTP at addresses of their own.
    pub endpoint: NotYet,
    /// Not built yet.
    pub proxy_url: NotYet,
    /// Not built yet.
    pub tls: NotYet,
    /// Not built yet.
    pub headers: NotYet,
    /// Not built yet.
    pub auth: NotYet,
    /// Not built yet.
    pub compression: NotYet,
    /// Not built yet.
    pub middlewares: NotYet,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            detectors: vec!["env".to_owned()],
            r#override: true,
            timeout: Duration::from_secs(5),
            refresh_interval: Duration::ZERO,
            fail_on_missing_metadata: false,
            retry: Retry::default(),
            system: System::default(),
            docker: Docker::default(),
            ec2: Ec2::default(),
            gcp: Gcp::default(),
            azure: Azure::default(),
            heroku: Plain::default(),
            lambda: Plain::default(),
            k8snode: K8sNode::default(),
            k8s_api: NotYet,
            alibaba_ecs: StrictCloud::default(),
            ecs: Plain::default(),
            eks: NotYet,
            elasticbeanstalk: Plain::default(),
            aks: Plain::default(),
            azurecontainerapps: Plain::default(),
            consul: Consul::default(),
            digitalocean: Cloud::default(),
            hetzner: Cloud::default(),
            ibmcloud_classic: NotYet,
            ibmcloud_vpc: NotYet,
            openshift: NotYet,
            nova: Nova::default(),
            oraclecloud: Cloud::default(),
            kubeadm: NotYet,
            akamai: Cloud::default(),
            scaleway: Cloud::default(),
            tencent_cvm: StrictCloud::default(),
            upcloud: StrictCloud::default(),
            vultr: StrictCloud::default(),
            endpoint: NotYet,
            proxy_url: NotYet,
            tls: NotYet,
            headers: NotYet,
            auth: NotYet,
            compression: NotYet,
            middlewares: NotYet,
        }
    }
}

impl Config {
    /// The detectors, in order; those that are not known were refused when the configuration was checked.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.detectors.iter().filter_map(|name| Kind::from_name(name.trim()))
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        for name in &self.detectors {
            let name = name.trim();
            if Kind::from_name(name).is_some() {
                continue;
            }
            let known = detectors::names();
            at.error(
                "detectors",
                if detectors::OTHERS.contains(&name) {
                    format!("the detector `{name}` is not supported yet\nremove it; there are: {known}")
                } else {
                    format!("`{name}` is not a detector\nthere are: {known}")
                },
            );
        }
        let is_bounded = !self.timeout.get().is_zero() || !self.retry.max_elapsed_time.get().is_zero();
        if self.retry.enabled && !is_bounded {
            at.error(
                "retry",
                "needs a `max_elapsed_time` unless there is a `timeout`, or it could go on for ever",
            );
        }
        let multiplier = self.retry.multiplier;
        if !multiplier.is_finite()
            || multiplier < 1.0
            || !(0.0..=1.0).contains(&self.retry.randomization_factor)
        {
            at.error("retry", "needs a `multiplier` of at least 1 and a `randomization_factor` from 0 to 1");
        }
        at.nested("system", &self.system);
        at.nested("docker", &self.docker);
        at.nested("ec2", &self.ec2);
        at.nested("gcp", &self.gcp);
        at.nested("azure", &self.azure);
        at.within("heroku", |at| check_attributes(at, Kind::Heroku, &self.heroku.resource_attributes));
        at.within("lambda", |at| check_attributes(at, Kind::Lambda, &self.lambda.resource_attributes));
        at.nested("k8snode", &self.k8snode);
        at.within("ecs", |at| check_attributes(at, Kind::Ecs, &self.ecs.resource_attributes));
        at.within("elasticbeanstalk", |at| {
            check_attributes(at, Kind::ElasticBeanstalk, &self.elasticbeanstalk.resource_attributes);
        });
        at.within("aks", |at| check_attributes(at, Kind::Aks, &self.aks.resource_attributes));
        at.within("azurecontainerapps", |at| {
            check_attributes(at, Kind::AzureContainerApps, &self.azurecontainerapps.resource_attributes);
        });
        at.within("digitalocean", |at| self.digitalocean.check(at, Kind::DigitalOcean));
        at.within("hetzner", |at| self.hetzner.check(at, Kind::Hetzner));
        at.within("oraclecloud", |at| self.oraclecloud.check(at, Kind::OracleCloud));
        at.within("akamai", |at| self.akamai.check(at, Kind::Akamai));
        at.within("scaleway", |at| self.scaleway.check(at, Kind::Scaleway));
        at.within("alibaba_ecs", |at| self.alibaba_ecs.check(at, Kind::AlibabaEcs));
        at.within("tencent_cvm", |at| self.tencent_cvm.check(at, Kind::TencentCvm));
        at.within("upcloud", |at| self.upcloud.check(at, Kind::UpCloud));
        at.within("vultr", |at| self.vultr.check(at, Kind::Vultr));
        at.nested("consul", &self.consul);
        at.nested("nova", &self.nova);
    }
}

/// `retry`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Whether a detector that fails is asked again.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// By how much of itself a wait is longer or shorter at random.
    pub randomization_factor: f64,
    /// Each wait is that much longer than the last.
    pub multiplier: f64,
    /// The longest wait.
    pub max_interval: Duration,
    /// The limit for all attempts together; 0 means `timeout`.
    pub max_elapsed_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::ZERO,
        }
    }
}

/// Which attributes are wanted.
pub type Wanted = BTreeMap<String, Want>;

/// Whether an attribute is wanted.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Want {
    /// Whether it is.
    pub enabled: bool,
}

pub(super) fn check_attributes(at: &mut Checker<'_>, kind: Kind, wanted: &Wanted) {
    for name in wanted.keys() {
        if kind.attributes().iter().all(|(known, _)| known != name) {
            let known: Vec<_> = kind.attributes().iter().map(|(known, _)| *known).collect();
            at.error(
                "resource_attributes",
                format!("`{name}` is not an attribute of this detector\nthere are: {}", known.join(", ")),
            );
        }
    }
}

/// A detector without settings of its own.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plain {
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

/// `system`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct System {
    /// Where to look for the host's name, in this order: `dns` (the full name in /etc/hosts), `os`. Both if empty.
    pub hostname_sources: Vec<String>,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for System {
    fn validate(&self, at: &mut Checker<'_>) {
        for source in &self.hostname_sources {
            match source.as_str() {
                "dns" | "os" => {}
                "cname" | "lookup" => at.error(
                    "hostname_sources",
                    format!("`{source}` is not supported yet\nuse `dns` or `os`, or set host.name in OTEL_RESOURCE_ATTRIBUTES"),
                ),
                _ => at.error("hostname_sources", format!("`{source}` is not a source\naccepted values: dns, os")),
            }
        }
        check_attributes(at, Kind::System, &self.resource_attributes);
    }
}

/// `docker`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// Where the Docker daemon listens: `unix:///var/run/docker.sock` or `tcp://host:port`. If empty, as DOCKER_HOST
    /// says, or the first of these.
    pub endpoint: String,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Docker {
    fn validate(&self, at: &mut Checker<'_>) {
        check_origin(at, &self.endpoint);
        check_attributes(at, Kind::Docker, &self.resource_attributes);
    }
}

/// `ec2`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ec2 {
    /// Where the metadata service is; `http://169.254.169.254` if empty.
    pub endpoint: String,
    /// Not built yet.
    pub tags: NotYet,
    /// Not built yet.
    pub tags_from_imds: NotYet,
    /// Not built yet: `retry` holds for all detectors.
    pub max_attempts: NotYet,
    /// Not built yet: `retry` holds for all detectors.
    pub max_backoff: NotYet,
    /// The same as the processor's, for this detector.
    pub fail_on_missing_metadata: bool,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Ec2 {
    fn validate(&self, at: &mut Checker<'_>) {
        check_origin(at, &self.endpoint);
        if self.fail_on_missing_metadata {
            at.warning("fail_on_missing_metadata", "is deprecated; set it for the whole processor");
        }
        check_attributes(at, Kind::Ec2, &self.resource_attributes);
    }
}

/// `gcp`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gcp {
    /// Where the metadata service is; if empty, at GCE_METADATA_HOST or `http://169.254.169.254`.
    pub endpoint: String,
    /// Not built yet.
    pub labels: NotYet,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Gcp {
    fn validate(&self, at: &mut Checker<'_>) {
        check_origin(at, &self.endpoint);
        check_attributes(at, Kind::Gcp, &self.resource_attributes);
    }
}

/// `azure`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Azure {
    /// Where the metadata service is; `http://169.254.169.254` if empty.
    pub endpoint: String,
    /// Not built yet.
    pub tags: NotYet,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Validate for Azure {
    fn validate(&self, at: &mut Checker<'_>) {
        check_origin(at, &self.endpoint);
        check_attributes(at, Kind::Azure, &self.resource_attributes);
    }
}

/// `k8snode`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct K8sNode {
    /// The environment variable that has the node's name, by the downward API.
    pub node_from_env_var: String,
    /// Accepted for compatibility: the Kubernetes API is not asked.
    pub auth_type: String,
    /// Not built yet.
    pub context: NotYet,
    /// Which attributes it sets.
    pub resource_attributes: Wanted,
}

impl Default for K8sNode {
    fn default() -> Self {
        Self {
            node_from_env_var: String::new(),
            auth_type: "serviceAccount".to_owned(),
            context: NotYet,
            resource_attributes: Wanted::new(),
        }
    }
}

impl Validate for K8sNode {
    fn validate(&self, at: &mut Checker<'_>) {
        check_attributes(at, Kind::K8sNode, &self.resource_attributes);
    }
}

pub(super) fn check_origin(at: &mut Checker<'_>, endpoint: &str) {
    if !endpoint.is_empty()
        && let Err(error) = endpoint.parse::<super::http::Origin>()
    {
        at.error("endpoint", error);
    }
}
