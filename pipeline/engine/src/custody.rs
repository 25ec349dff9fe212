//! What can be asked of whoever keeps something on disk, while the process runs.
//!
//! The files are the process's own: nobody else may change them meanwhile. So a command that wants something done with
//! what is kept asks the process, by the name of the folder.

use crate::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is to be done with what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Give it back to the component that had put it aside.
    Replay,
    /// Remove it.
    Drop,
}

/// Which of what is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Those with these numbers; all of them where there are none.
    pub numbers: Vec<u64>,
    /// Those that were put aside for this reason.
    pub reason: Option<String>,
    /// At most so many, the oldest first.
    pub limit: Option<u64>,
}

impl Selection {
    /// Whether one with that number and reason is meant.
    #[must_use]
    pub fn takes(&self, number: u64, reason: &str) -> bool {
        (self.numbers.is_empty() || self.numbers.contains(&number))
            && self.reason.as_deref().is_none_or(|wanted| wanted == reason)
    }
}

/// What has been done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// With so many requests.
    pub requests: u64,
    /// With so many spans, data points or log records in them.
    pub items: u64,
    /// Why not with more, if something was in the way.
    pub stopped: Option<String>,
    /// Whether that goes by by itself: whoever asks again later gets further.
    #[serde(default)]
    pub is_for_now: bool,
}

/// Whoever keeps something on disk, and lets others decide what becomes of it.
pub trait Custodian: Send + Sync {
    /// Goes through what is kept, oldest first, and does it with those that are meant.
    fn go_through(self: Arc<Self>, task: Task, which: Selection) -> BoxFuture<'static, Outcome>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_takes_what_agrees_with_all_that_it_says() {
        assert!(Selection::default().takes(7, "rejected"));
        let which = Selection { numbers: vec![7, 8], reason: Some("rejected".to_owned()), limit: None };
        assert!(which.takes(8, "rejected"));
        assert!(!which.takes(9, "rejected") && !which.takes(8, "timeout"));
    }
}
