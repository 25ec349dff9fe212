//! Saying what is lost of what is on disk, and what else is wrong with it, while a command has it open.

use super::folders::Folder;
use super::text::one_line;
use crate::cli;
use millrace_log::{Loss, Notice, Observer, Recovered, Totals};

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
        let Loss { reason, lost, unknown } = loss;
        let not_known = match unknown {
            0 => String::new(),
            _ => format!("; of {unknown} requests the items are not known"),
        };
        let Totals { entries, items, .. } = lost;
        cli::print(&format!(
            "{}: lost, {reason}: {entries} requests, {items} items{not_known}\n",
            self.folder
        ));
    }

    fn noticed(&self, notice: &Notice) {
        cli::print(&format!("{}: {}\n", self.folder, one_line(&notice.to_string())));
    }
}
