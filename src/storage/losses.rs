//! Saying what is lost of what is on disk, and what else is wrong with it, while a command has it open.

use super::folders::Folder;
use super::text::one_line;
use crate::cli;
use millrace_log::{Loss, Notice, Observer, Recovered};

/// Says it at once: the disk forgets what is lost only after it has been told, so that a command that is killed in
/// between leaves it to be told by whoever comes next.
pub struct Aloud {
    folder: String,
}

impl Aloud {
    /// Of what is in this folder.
    pub fn of(folder: &Folder) -> Self {
        Self { folder: folder.name.clone() }
    }
}

impl Observer for Aloud {
    fn opened(&self, recovered: &Recovered) {
        recovered.losses.iter().for_each(|loss| self.lost(loss));
        recovered.notices.iter().for_each(|notice| self.noticed(notice));
    }

    fn lost(&self, loss: &Loss) {
        let Loss { reason, lost } = loss;
        cli::print(&format!(
            "{}: lost, {reason}: {} requests, {} items\n",
            self.folder, lost.entries, lost.items
        ));
    }

    fn noticed(&self, notice: &Notice) {
        cli::print(&format!("{}: {}\n", self.folder, one_line(&notice.to_string())));
    }
}
