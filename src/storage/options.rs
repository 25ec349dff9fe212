//! The options that the commands `queue` and `dead-letters` share.

use super::folders::{Folder, Kept, Where};
use clap::Args;
use millrace_delivery::dead_letters::Cause;

/// Several components' folders.
#[derive(Debug, Args)]
pub struct Several {
    #[command(flatten)]
    pub place: Where,
    /// Which, as `list` shows them; all of them where none is named.
    folders: Vec<String>,
}

impl Several {
    /// The folders that hold such things.
    ///
    /// # Errors
    /// As [`Where::folders`].
    pub fn find(&self, kept: Kept) -> Result<Vec<Folder>, String> {
        self.place.folders(kept, &self.folders)
    }
}

/// One component's folder.
#[derive(Debug, Args)]
pub struct One {
    #[command(flatten)]
    pub place: Where,
    /// Which one, as `list` shows it.
    pub folder: String,
}

impl One {
    /// The folders of that name that hold such things: one in each directory, at most.
    ///
    /// # Errors
    /// As [`Where::folders`].
    pub fn find(&self, kept: Kept) -> Result<Vec<Folder>, String> {
        self.place.folders(kept, std::slice::from_ref(&self.folder))
    }
}

/// Dead letters of several components.
#[derive(Debug, Args)]
pub struct Filter {
    #[command(flatten)]
    pub of: Several,
    /// Only what was put aside for this reason.
    #[arg(long)]
    pub reason: Option<String>,
}

impl Filter {
    /// The folders to look through.
    ///
    /// # Errors
    /// As [`Where::folders`].
    pub fn find(&self) -> Result<Vec<Folder>, String> {
        self.of.find(Kept::DeadLetters)
    }

    /// Whether one that was put aside for that is among them.
    pub fn takes(&self, cause: &Cause) -> bool {
        self.reason.as_ref().is_none_or(|reason| *reason == cause.reason)
    }

    /// Whether it leaves anything out.
    pub fn is_narrow(&self) -> bool {
        !self.of.folders.is_empty() || self.reason.is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use std::ffi::OsString;

    /// The configurations that the command which was typed looks into.
    fn configurations(line: &str) -> Option<Vec<String>> {
        let cli = Cli::read(line.split_whitespace().map(OsString::from)).ok()?;
        let source = match cli.command {
            Some(Command::Queue(mut queue)) => queue.place().source.given(),
            Some(Command::DeadLetters(mut letters)) => letters.place().source.given(),
            other => panic!("{other:?}"),
        };
        Some(source.expect("in form").configs)
    }

    #[test]
    fn all_of_them_take_names_and_a_configuration_from_either_side() {
        for command in [
            "queue list",
            "queue list x y",
            "queue verify x y",
            "queue repair x y",
            "queue dump x",
            "dead-letters list x y",
            "dead-letters show x 1",
            "dead-letters replay x y",
            "dead-letters drop x y",
        ] {
            for line in [format!("millrace --config=a {command}"), format!("millrace {command} --config=a")] {
                assert_eq!(configurations(&line).as_deref(), Some(&["a".to_owned()][..]), "{line}");
            }
        }
        for one in ["queue dump x y", "queue dump", "dead-letters show 1"] {
            assert_eq!(configurations(&format!("millrace {one}")), None, "{one}");
        }
    }
}
