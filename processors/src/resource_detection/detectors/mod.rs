//! The detectors: what each can find, and where it looks.

mod azure;
mod clouds;
pub(super) mod consul;
mod docker;
mod ec2;
mod ecs;
pub mod env;
mod gcp;
mod local;
mod platforms;
pub mod system;
mod texts;

use super::attributes::{Attribute, Attributes};
use super::config::{Config, Wanted};
use super::http::Origin;
use http::Method;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The detectors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    Env,
    /// The operating system and the hardware.
    System,
    /// The Docker daemon.
    Docker,
    /// Amazon's virtual machines.
    Ec2,
    /// Google's virtual machines and Kubernetes.
    Gcp,
    /// Microsoft's virtual machines.
    Azure,
    /// Heroku's dynos.
    Heroku,
    /// Amazon's functions.
    Lambda,
    /// Amazon's container service.
    Ecs,
    /// Amazon's Elastic Beanstalk.
    ElasticBeanstalk,
    /// Microsoft's Kubernetes.
    Aks,
    /// Microsoft's containers.
    AzureContainerApps,
    /// Akamai's (Linode's) virtual machines.
    Akamai,
    /// Alibaba's virtual machines.
    AlibabaEcs,
    /// DigitalOcean's droplets.
    DigitalOcean,
    /// Hetzner's virtual machines.
    Hetzner,
    /// OpenStack's virtual machines.
    Nova,
    /// Oracle's virtual machines.
    OracleCloud,
    /// Scaleway's virtual machines.
    Scaleway,
    /// Tencent's virtual machines.
    TencentCvm,
    /// UpCloud's virtual machines.
    UpCloud,
    /// Vultr's virtual machines.
    Vultr,
    /// Consul's agent.
    Consul,
    /// What Dynatrace's agent leaves.
    Dynatrace,
    /// The Kubernetes node.
    K8sNode,
    /// What Kubernetes' downward API puts into the environment.
    DownwardApi,
}

/// Detectors of the Go collector that are not there.
pub(super) const OTHERS: [&str; 6] =
    ["eks", "ibmcloud_classic", "ibmcloud_vpc", "k8s_api", "kubeadm", "openshift"];

/// Their names, for messages.
pub(super) fn names() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Env,
        Self::System,
        Self::Docker,
        Self::Ec2,
        Self::Gcp,
        Self::Azure,
        Self::Heroku,
        Self::Lambda,
        Self::Ecs,
        Self::ElasticBeanstalk,
        Self::Aks,
        Self::AzureContainerApps,
        Self::Akamai,
        Self::AlibabaEcs,
        Self::DigitalOcean,
        Self::Hetzner,
        Self::Nova,
        Self::OracleCloud,
        Self::Scaleway,
        Self::TencentCvm,
        Self::UpCloud,
        Self::Vultr,
        Self::Consul,
        Self::Dynatrace,
        Self::K8sNode,
        Self::DownwardApi,
    ];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::System => "system",
            Self::Docker => "docker",
            Self::Ec2 => "ec2",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Heroku => "heroku",
            Self::Lambda => "lambda",
            Self::Ecs => "ecs",
            Self::ElasticBeanstalk => "elastic_beanstalk",
            Self::Aks => "aks",
            Self::AzureContainerApps => "azurecontainerapps",
            Self::Akamai => "akamai",
            Self::AlibabaEcs => "alibaba_ecs",
            Self::DigitalOcean => "digitalocean",
            Self::Hetzner => "hetzner",
            Self::Nova => "nova",
            Self::OracleCloud => "oraclecloud",
            Self::Scaleway => "scaleway",
            Self::TencentCvm => "tencent_cvm",
            Self::UpCloud => "upcloud",
            Self::Vultr => "vultr",
            Self::Consul => "consul",
            Self::Dynatrace => "dynatrace",
            Self::K8sNode => "k8snode",
            Self::DownwardApi => "downward_api",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it can find, and whether it is set unless the configuration says otherwise.
    #[must_use]
    pub const fn attributes(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Env | Self::DownwardApi | Self::Dynatrace => &[],
            Self::System => system::ATTRIBUTES,
            Self::Docker => docker::ATTRIBUTES,
            Self::Ec2 => ec2::ATTRIBUTES,
            Self::Gcp => gcp::ATTRIBUTES,
            Self::Azure => azure::ATTRIBUTES,
            Self::Heroku => local::HEROKU,
            Self::Lambda => local::LAMBDA,
            Self::Ecs => ecs::ATTRIBUTES,
            Self::ElasticBeanstalk => platforms::ELASTIC_BEANSTALK,
            Self::Aks => azure::AKS,
            Self::AzureContainerApps => platforms::CONTAINER_APPS,
            Self::Akamai => clouds::AKAMAI,
            Self::AlibabaEcs | Self::TencentCvm => texts::ALIBABA_AND_TENCENT,
            Self::DigitalOcean | Self::UpCloud => clouds::DIGITAL_OCEAN,
            Self::Hetzner => texts::HETZNER,
            Self::Nova => clouds::NOVA,
            Self::OracleCloud => clouds::ORACLE,
            Self::Scaleway => clouds::SCALEWAY,
            Self::Vultr => clouds::VULTR,
            Self::Consul => consul::ATTRIBUTES,
            Self::K8sNode => local::K8S_NODE,
        }
    }

    pub(super) async fn detect(
        self,
        config: &Config,
        surroundings: &Surroundings,
    ) -> Result<Attributes, String> {
        let mut found = Found::new(self, config);
        match self {
            Self::Env => return env::detect(surroundings),
            Self::DownwardApi => return Ok(local::downward_api(surroundings)),
            Self::Dynatrace => return platforms::dynatrace(surroundings),
            Self::System => system::detect(&config.system, surroundings, &mut found)?,
            Self::Docker => docker::detect(config, surroundings, &mut found).await?,
            Self::Ec2 => ec2::detect(config, &mut found).await?,
            Self::Gcp => gcp::detect(config, surroundings, &mut found).await?,
            Self::Azure => azure::detect(config, &mut found).await?,
            Self::Heroku => local::heroku(config, surroundings, &mut found)?,
            Self::Lambda => local::lambda(config, surroundings, &mut found)?,
            Self::Ecs => ecs::detect(config, surroundings, &mut found).await?,
            Self::ElasticBeanstalk => platforms::elastic_beanstalk(config, surroundings, &mut found)?,
            Self::Aks => azure::aks(config, surroundings, &mut found).await?,
            Self::AzureContainerApps => platforms::container_apps(config, surroundings, &mut found)?,
            Self::AlibabaEcs => texts::alibaba(config, &mut found).await?,
            Self::Hetzner => texts::hetzner(config, &mut found).await?,
            Self::TencentCvm => texts::tencent(config, &mut found).await?,
            Self::Akamai
            | Self::DigitalOcean
            | Self::Nova
            | Self::OracleCloud
            | Self::Scaleway
            | Self::UpCloud
            | Self::Vultr => clouds::detect(self, config, &mut found).await?,
            Self::Consul => consul::detect(config, surroundings, &mut found).await?,
            Self::K8sNode => local::k8s_node(config, surroundings, &mut found)?,
        }
        Ok(found.attributes)
    }
}

/// Looks a variable of the environment up.
type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where detectors look, apart from the network.
#[derive(Clone)]
pub struct Surroundings {
    /// What is in front of `/proc`, `/etc` and `/sys`.
    root: PathBuf,
    variables: Variables,
}

impl Surroundings {
    /// This machine, and the environment of this process.
    #[must_use]
    pub fn real() -> Self {
        Self { root: PathBuf::from("/"), variables: Arc::new(|name| std::env::var(name).ok()) }
    }

    /// Others, for tests.
    #[must_use]
    pub fn at(root: &Path, variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { root: root.to_owned(), variables: Arc::new(variables) }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file's text, without white space at its ends.
    fn read(&self, path: &str) -> Result<String, String> {
        let path = self.path(path);
        let text =
            std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }
}

/// What a detector has found of what is wanted.
struct Found<'c> {
    kind: Kind,
    wanted: Option<&'c Wanted>,
    attributes: Attributes,
}

impl<'c> Found<'c> {
    fn new(kind: Kind, config: &'c Config) -> Self {
        let wanted = match kind {
            Kind::Env | Kind::DownwardApi | Kind::Dynatrace => None,
            Kind::System => Some(&config.system.resource_attributes),
            Kind::Docker => Some(&config.docker.resource_attributes),
            Kind::Ec2 => Some(&config.ec2.resource_attributes),
            Kind::Gcp => Some(&config.gcp.resource_attributes),
            Kind::Azure => Some(&config.azure.resource_attributes),
            Kind::Heroku => Some(&config.heroku.resource_attributes),
            Kind::Lambda => Some(&config.lambda.resource_attributes),
            Kind::Ecs => Some(&config.ecs.resource_attributes),
            Kind::ElasticBeanstalk => Some(&config.elasticbeanstalk.resource_attributes),
            Kind::Aks => Some(&config.aks.resource_attributes),
            Kind::AzureContainerApps => Some(&config.azurecontainerapps.resource_attributes),
            Kind::Akamai => Some(&config.akamai.resource_attributes),
            Kind::AlibabaEcs => Some(&config.alibaba_ecs.resource_attributes),
            Kind::DigitalOcean => Some(&config.digitalocean.resource_attributes),
            Kind::Hetzner => Some(&config.hetzner.resource_attributes),
            Kind::Nova => Some(&config.nova.resource_attributes),
            Kind::OracleCloud => Some(&config.oraclecloud.resource_attributes),
            Kind::Scaleway => Some(&config.scaleway.resource_attributes),
            Kind::TencentCvm => Some(&config.tencent_cvm.resource_attributes),
            Kind::UpCloud => Some(&config.upcloud.resource_attributes),
            Kind::Vultr => Some(&config.vultr.resource_attributes),
            Kind::Consul => Some(&config.consul.resource_attributes),
            Kind::K8sNode => Some(&config.k8snode.resource_attributes),
        };
        Self { kind, wanted, attributes: Attributes::default() }
    }

    /// Whether an attribute is wanted.
    fn wants(&self, name: &str) -> bool {
        let known = self.kind.attributes().iter().find(|(known, _)| *known == name);
        let chosen = self.wanted.and_then(|wanted| wanted.get(name)).map(|want| want.enabled);
        chosen.unwrap_or_else(|| known.is_some_and(|(_, by_default)| *by_default))
    }

    fn set(&mut self, name: &str, value: impl Into<Attribute>) {
        if self.wants(name) {
            self.attributes.set(name, value);
        }
    }
}

/// Where to ask: as configured, or at the default place. What is configured has been checked.
fn origin(configured: &str, default: &str) -> Result<Origin, String> {
    if configured.is_empty() { default.parse() } else { configured.parse() }
}

/// What is missing is an error only if the configuration says so: most of the time it means that this is somewhere
/// else.
fn missing(is_error: bool, detector: Kind, error: &str) -> Result<(), String> {
    if is_error {
        return Err(format!("its metadata is unavailable: {error}"));
    }
    tracing::debug!(detector = detector.name(), error, "metadata unavailable");
    Ok(())
}

/// A JSON document of a service.
async fn json(
    service: &Origin,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<serde_json::Value, String> {
    let answer = service.ask(method, path, headers).await?.text();
    let answer = answer.map_err(|error| format!("{service} {error}"))?;
    serde_json::from_str(&answer).map_err(|error| format!("{service} answered with no JSON: {error}"))
}

/// A text in a JSON object.
fn text<'j>(json: &'j serde_json::Value, key: &str) -> &'j str {
    json.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}
