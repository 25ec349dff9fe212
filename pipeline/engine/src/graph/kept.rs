//! What a graph is made of, so that the one that takes its place can keep what has not changed.
//!
//! A component is kept if its section is the same, what it refers to is, and everything behind it has been kept. It
//! does not notice the reload then: its connections, queues, series and caches stay what they are.

use crate::component::{Extension, Receiver};
use crate::entry::Route;
use crate::lasting::Generation;
use crate::status::Instance;
use millrace_config::ComponentId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands for a component's section and all that it refers to; two that differ are of different sections.
pub type Print = u64;

/// What one graph is made of.
#[derive(Default)]
pub(super) struct Parts {
    /// What stands between receivers and destinations. Connectors have a part for each signal.
    pub(super) between: BTreeMap<Instance, Part>,
    /// The receivers, in the order in which they start.
    pub(super) receivers: Vec<Intake>,
    /// The extensions, in the order in which they start.
    pub(super) extensions: Vec<Aid>,
}

/// A processor, connector or exporter.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) print: Option<Print>,
    /// What it was built in front of.
    pub(super) behind: Vec<Arc<Route>>,
    pub(super) route: Arc<Route>,
    pub(super) generation: Generation,
    pub(super) is_kept: bool,
}

/// A receiver.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) id: ComponentId,
    pub(super) print: Option<Print>,
    /// The pipelines that it feeds, by signal.
    pub(super) routes: Vec<Vec<Arc<Route>>>,
    pub(super) receiver: Arc<dyn Receiver>,
    pub(super) generation: Generation,
    pub(super) is_kept: bool,
}

/// An extension.
#[derive(Clone)]
pub(super) struct Aid {
    pub(super) id: ComponentId,
    pub(super) print: Option<Print>,
    pub(super) extension: Arc<dyn Extension>,
    pub(super) generation: Generation,
    pub(super) is_kept: bool,
}

impl Parts {
    /// The part of that component, if it can stand in front of `behind` as well.
    pub(super) fn part(&self, key: &Instance, print: Option<Print>, behind: &[Arc<Route>]) -> Option<&Part> {
        let part = self.between.get(key)?;
        (is_same(part.print, print) && are_same(&part.behind, behind)).then_some(part)
    }

    /// The receiver, if it can feed these pipelines as well.
    pub(super) fn receiver(
        &self,
        id: &ComponentId,
        print: Option<Print>,
        routes: &[Vec<Arc<Route>>],
    ) -> Option<&Intake> {
        let intake = self.receivers.iter().find(|intake| intake.id == *id)?;
        let feeds_same = intake.routes.iter().zip(routes).all(|(old, new)| are_same(old, new));
        (is_same(intake.print, print) && feeds_same).then_some(intake)
    }

    /// The extension.
    pub(super) fn extension(&self, id: &ComponentId, print: Option<Print>) -> Option<&Aid> {
        let aid = self.extensions.iter().find(|aid| aid.id == *id)?;
        is_same(aid.print, print).then_some(aid)
    }
}

/// What nobody has a print of is not known to be the same.
fn is_same(old: Option<Print>, new: Option<Print>) -> bool {
    new.is_some() && old == new
}

fn are_same(old: &[Arc<Route>], new: &[Arc<Route>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.leads_to_same(new))
}
