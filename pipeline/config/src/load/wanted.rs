//! Extensions that components refer to: whether they are configured, run, and can do what they are asked for.
//!
//! The Go collector finds this out when it starts. Here it is known when everything has been read, so it is reported
//! with the rest, also by `validate`.

use super::{Config, Loaded};
use crate::catalog::{Kind, Role};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::id::ComponentId;
use crate::source::Span;
use crate::suggest;

/// A component's reference to an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The extension.
    pub id: ComponentId,
    /// What it is to do.
    pub role: Role,
    /// Where it was referred to.
    pub span: Span,
    /// Where, in the configuration's own terms.
    pub path: String,
}

impl Loaded {
    /// Whether a pipeline or the service uses a component. What is not used is never built, and may refer to anything.
    #[must_use]
    pub fn uses(&self, kind: Kind, id: &ComponentId) -> bool {
        let service = &self.config.service;
        let mut pipelines = service.pipelines.values();
        let among = |references: &[super::Reference]| references.iter().any(|one| one.id == *id);
        match kind {
            Kind::Extension => among(&service.extensions),
            Kind::Receiver => pipelines.any(|pipeline| among(&pipeline.receivers)),
            Kind::Processor => pipelines.any(|pipeline| among(&pipeline.processors)),
            Kind::Exporter => pipelines.any(|pipeline| among(&pipeline.exporters)),
            Kind::Connector => {
                pipelines.any(|pipeline| among(&pipeline.receivers) || among(&pipeline.exporters))
            }
        }
    }

    /// Reports a reference to an extension that cannot serve it. `offers` says what a configured extension can do;
    /// `None` if its own section could not be read.
    pub fn check_wanted<'r>(
        &self,
        wanted: &Wanted,
        offers: impl Fn(&ComponentId) -> Option<&'r [Role]>,
        diags: &mut Diagnostics,
    ) {
        let Wanted { id, role, span, path } = wanted;
        let noun = role.noun();
        let missing = || format!("failed to resolve {noun} \"{id}\": {noun} not found");
        let (message, help) = if !self.config.extensions.contains_key(id) {
            (missing(), not_configured(&self.config, id, *role, offers))
        } else if !self.uses(Kind::Extension, id) {
            (missing(), format!("it is configured but does not run: add `{id}` to service::extensions"))
        } else {
            match offers(id) {
                Some(roles) if !roles.contains(role) => {
                    let message = format!("requested {noun} is not {}: \"{id}\"", role.title());
                    (message, able(&self.config, *role, offers))
                }
                _ => return,
            }
        };
        diags.push(Diagnostic::error(*span, path, message).help(help));
    }
}

fn not_configured<'r>(
    config: &Config,
    id: &ComponentId,
    role: Role,
    offers: impl Fn(&ComponentId) -> Option<&'r [Role]>,
) -> String {
    let names: Vec<_> = config.extensions.keys().map(ToString::to_string).collect();
    match suggest::nearest(&id.to_string(), names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "add `{id}` under `extensions` and to service::extensions, or {}",
            able(config, role, offers)
        ),
    }
}

/// What could be named instead.
fn able<'r>(config: &Config, role: Role, offers: impl Fn(&ComponentId) -> Option<&'r [Role]>) -> String {
    let able = config.extensions.keys().filter(|id| offers(id).is_some_and(|roles| roles.contains(&role)));
    let names: Vec<_> = able.map(|id| format!("`{id}`")).collect();
    if names.is_empty() {
        return format!("remove it: none of the configured extensions is {}", role.title());
    }
    format!("use one that is: {}", names.join(", "))
}
