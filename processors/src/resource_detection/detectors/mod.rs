//! The detectors: what each can find, and where it looks.

mod azure;
mod docker;
mod ec2;
pub mod env;
mod gcp;
mod local;
pub mod system;

use super::attributes::{Attribute, Attributes};
use super::config::{Config, Wanted};
use super::http::Origin;
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
    /// The Kubernetes node.
    K8sNode,
    /// What Kubernetes' downward API puts into the environment.
    DownwardApi,
}

/// Detectors of the Go collector that are not there.
pub(super) const OTHERS: [&str; 24] = [
    "akamai",
    "aks",
    "alibaba_ecs",
    "azurecontainerapps",
    "consul",
    "digitalocean",
    "dynatrace",
    "ecs",
    "eks",
    "elastic_beanstalk",
    "hetzner",
    "ibmcloud_classic",
    "ibmcloud_vpc",
    "k8s_api",
    "kubeadm",
    "nova",
    "openshift",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
    "elasticbeanstalk",
    "openstack",
];

/// Their names, for messages.
pub(super) fn names() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Env,
        Self::System,
        Self::Docker,
        Self::Ec2,
        Self::Gcp,
        Self::Azure,
        Self::Heroku,
        Self::Lambda,
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
            Self::Env | Self::DownwardApi => &[],
            Self::System => system::ATTRIBUTES,
            Self::Docker => docker::ATTRIBUTES,
            Self::Ec2 => ec2::ATTRIBUTES,
            Self::Gcp => gcp::ATTRIBUTES,
            Self::Azure => azure::ATTRIBUTES,
            Self::Heroku => local::HEROKU,
            Self::Lambda => local::LAMBDA,
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
            Self::System => system::detect(&config.system, surroundings, &mut found)?,
            Self::Docker => docker::detect(config, surroundings, &mut found).await?,
            Self::Ec2 => ec2::detect(config, &mut found).await?,
            Self::Gcp => gcp::detect(config, surroundings, &mut found).await?,
            Self::Azure => azure::detect(config, &mut found).await?,
            Self::Heroku => local::heroku(config, surroundings, &mut found)?,
            Self::Lambda => local::lambda(config, surroundings, &mut found)?,
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
            Kind::Env | Kind::DownwardApi => None,
            Kind::System => Some(&config.system.resource_attributes),
            Kind::Docker => Some(&config.docker.resource_attributes),
            Kind::Ec2 => Some(&config.ec2.resource_attributes),
            Kind::Gcp => Some(&config.gcp.resource_attributes),
            Kind::Azure => Some(&config.azure.resource_attributes),
            Kind::Heroku => Some(&config.heroku.resource_attributes),
            Kind::Lambda => Some(&config.lambda.resource_attributes),
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

/// A text in a JSON object.
fn text<'j>(json: &'j serde_json::Value, key: &str) -> &'j str {
    json.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}
