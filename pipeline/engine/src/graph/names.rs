//! Components whose type a new configuration calls by another of its names.

use super::Plans;
use crate::status::Instance;
use millrace_config::ComponentId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every component that is configured, used or not, and the ids that it has under the other names of its type and that
/// nobody else has.
pub(super) struct Names(BTreeMap<(&'static str, ComponentId), Arc<[ComponentId]>>);

impl Names {
    pub(super) fn of(plans: &Plans) -> Self {
        Self(plans.namesakes.clone())
    }

    /// What is called otherwise here than in the configuration `before`: the one component that may have been that one,
    /// and was not there under its present name. Of two it is not known which one it is.
    pub(super) fn renamed(&self, before: &Self, former: &Instance) -> Option<Instance> {
        let kind = former.kind;
        let mut candidates = self.0.iter().filter(|((of, id), namesakes)| {
            *of == kind && namesakes.contains(&former.id) && !before.0.contains_key(&(kind, id.clone()))
        });
        let ((_, id), _) = candidates.next()?;
        let is_only = candidates.next().is_none();
        is_only.then(|| Instance { id: id.clone(), ..former.clone() })
    }
}
