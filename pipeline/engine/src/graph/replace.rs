//! Putting one graph in the place of another while both work.
//!
//! The new graph is built and prepared beside the old one, which notices nothing if that fails. When the new receivers
//! start, new requests take the new way; those under way finish on the old one. What the old graph holds is handed to
//! the stages of the new one that were built in place of its own, or passed on by the old ones.

use super::{EXTENSION, Graph, Plans, Retirement};
use crate::component::{BuildError, Shared};
use crate::entry::address;
use crate::status::Instance;
use millrace_config::Config;
use millrace_telemetry::Labels;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Graph {
    /// Builds what is to take the place of this graph, keeping of it what has not changed.
    ///
    /// # Errors
    /// The first component that cannot be built. This graph is as it was.
    pub fn successor(&self, config: &Config, plans: &Plans) -> Result<Self, BuildError> {
        Self::assemble(config, plans, self.shared.next(), Some(&self.parts))
    }

    /// Begins to work in the place of `before`, after [`Graph::prepare`]. From here on there is no way back; `before`
    /// is to be retired ([`Graph::retirement`]).
    ///
    /// # Errors
    /// The first component that could not start although it was prepared. The others work.
    pub async fn take_over(&self, before: &Self, config: &Config) -> Result<(), BuildError> {
        let components = self.shared.health.components();
        components.replace(config, &self.shared.drafts, &self.kept());
        // Also where one cannot start: nobody else has what the others are there for.
        let aided = self.start_extensions().await;
        self.begin();
        let started = aided.and(self.start_receivers().await);
        let mine: BTreeMap<_, _> = self.nodes.iter().map(|node| (&node.key, node)).collect();
        for old in before.nodes.iter().filter(|old| !self.has(old)) {
            let renamed = || mine.get(&self.names.renamed(&before.names, &old.key)?);
            if let Some(new) = mine.get(&old.key).or_else(renamed) {
                old.stage.hand_over(&new.stage);
            }
        }
        started
    }

    /// What of this graph is not part of `successor`, which works in its place; it is to be ended.
    #[must_use]
    pub fn retirement(self: &Arc<Self>, successor: &Self) -> Retirement {
        Retirement::of(self, successor)
    }

    /// What every component of this graph shares.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// How many components were built for it, and how many it has kept.
    #[must_use]
    pub fn built_and_kept(&self) -> (usize, usize) {
        let parts = &self.parts;
        let between = parts.between.values().map(|part| part.is_kept);
        let receivers = parts.receivers.iter().map(|intake| intake.is_kept);
        let extensions = parts.extensions.iter().map(|aid| aid.is_kept);
        let (kept, built): (Vec<_>, Vec<_>) =
            between.chain(receivers).chain(extensions).partition(|is_kept| *is_kept);
        (built.len(), kept.len())
    }

    /// Whether labels name a component that this graph does not have.
    #[must_use]
    pub fn lacks(&self, labels: &Labels) -> bool {
        const KINDS: [&str; 5] = ["receiver", "processor", "connector", "exporter", EXTENSION];
        let named = KINDS.into_iter().find_map(|kind| Some((kind, labels.get(kind)?)));
        let named = named.or_else(|| Some((labels.get("kind")?, labels.get("component")?)));
        named.is_some_and(|(kind, id)| !self.has_component(kind, id))
    }

    fn has_component(&self, kind: &str, id: &str) -> bool {
        let is = |own: &millrace_config::ComponentId| own.to_string() == id;
        match kind {
            super::RECEIVER => self.parts.receivers.iter().any(|intake| is(&intake.id)),
            EXTENSION => self.parts.extensions.iter().any(|aid| is(&aid.id)),
            // A queue in front of a connector counts as a processor's would.
            _ => self.parts.between.keys().any(|key| is(&key.id)),
        }
    }

    pub(super) fn has(&self, node: &super::Node) -> bool {
        self.nodes.iter().any(|own| address(&own.stage) == address(&node.stage))
    }

    /// What has been kept, as health checks know it.
    fn kept(&self) -> BTreeSet<Instance> {
        let between = self.parts.between.iter().filter(|(_, part)| part.is_kept).map(|(key, _)| {
            // A connector is known by its id alone.
            let signal = key.signal.filter(|_| key.kind != "connector");
            Instance { signal, ..key.clone() }
        });
        let alone = |kind, id: &millrace_config::ComponentId| Instance {
            kind,
            id: id.clone(),
            signal: None,
            pipeline: None,
        };
        let receivers = self.parts.receivers.iter().filter(|intake| intake.is_kept);
        let extensions = self.parts.extensions.iter().filter(|aid| aid.is_kept);
        between
            .chain(receivers.map(|intake| alone(super::RECEIVER, &intake.id)))
            .chain(extensions.map(|aid| alone(EXTENSION, &aid.id)))
            .collect()
    }
}
