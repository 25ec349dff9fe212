//! Finding what is kept on disk: the directories, and the folders in them.

use crate::cli::{self, Source};
use crate::plan;
use crate::run::invalid;
use clap::Args;
use millrace_config::{Diagnostics, Node, Parsed, decode};
use millrace_delivery::storage::{DEAD_LETTERS, QUEUE};
use millrace_extensions::file_storage::{Config, FACTORY, is_folder, signal_of};
use millrace_wire::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Debug, Args)]
pub struct Where {
    /// The configuration whose `file_storage` extensions say which directories.
    #[command(flatten)]
    pub source: Source,

    /// A directory, instead of those of a configuration.
    #[arg(long, value_name = "DIR")]
    directory: Vec<PathBuf>,
}

/// One component's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder {
    /// The directory that it is in.
    pub directory: PathBuf,
    /// Its name, e.g. `exporter-otlp_grpc-traces.queue`.
    pub name: String,
}

/// What is kept in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What waits for a destination.
    Queue,
    /// What could not be delivered.
    DeadLetters,
}

impl Kept {
    fn what(self) -> &'static str {
        match self {
            Self::Queue => QUEUE,
            Self::DeadLetters => DEAD_LETTERS,
        }
    }
}

impl Where {
    /// The folders that hold such things and have one of these names, or all of them where there is none.
    ///
    /// # Errors
    /// If a directory cannot be read, or a name fits nothing.
    pub fn folders(&self, kept: Kept, names: &[String]) -> Result<Vec<Folder>, String> {
        let directories = self.directories()?;
        let mut folders = BTreeSet::new();
        for directory in &directories {
            let found = list(directory, kept);
            folders.extend(found.map_err(|error| unreadable(directory, &error, self.is_configured()))?);
        }
        let all: Vec<Folder> = folders.into_iter().collect();
        if let Some(name) = names.iter().find(|name| !all.iter().any(|folder| folder.is(name))) {
            let known: Vec<_> = all.iter().map(|folder| folder.name.as_str()).collect();
            return Err(if known.is_empty() {
                format!("there is no {name}, nor anything else of the kind, in {}", shown(&directories))
            } else {
                format!("there is no {name}; there is {}", known.join(", "))
            });
        }
        let wanted = |folder: &Folder| names.is_empty() || names.iter().any(|name| folder.is(name));
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// Where to look, for people.
    pub fn shown(&self) -> String {
        self.directories().map(|directories| shown(&directories)).unwrap_or_default()
    }

    /// Whether a configuration says which directories.
    fn is_configured(&self) -> bool {
        self.directory.is_empty() && self.source.given().is_ok_and(|input| !input.configs.is_empty())
    }

    /// The configuration, if one is named.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn configuration(&self) -> Result<Option<Node>, String> {
        let Some(parsed) = self.parsed()? else { return Ok(None) };
        let Parsed { node, diagnostics, sources, .. } = parsed;
        node.map(Some).ok_or_else(|| invalid(&diagnostics.render(&sources)))
    }

    fn parsed(&self) -> Result<Option<Parsed>, String> {
        let input = self.source.given()?;
        Ok((!input.configs.is_empty()).then(|| plan::read(&input)))
    }

    fn directories(&self) -> Result<Vec<PathBuf>, String> {
        if !self.directory.is_empty() {
            return Ok(self.directory.clone());
        }
        let Some(parsed) = self.parsed()? else {
            return Ok(vec![Config::default().directory.into()]);
        };
        let Some(node) = &parsed.node else {
            return Err(invalid(&parsed.diagnostics.render(&parsed.sources)));
        };
        let extensions = node.as_map().and_then(|map| map.get("extensions")).and_then(|node| node.as_map());
        let mut directories = Vec::new();
        for entry in extensions.into_iter().flat_map(|extensions| extensions.entries()) {
            if entry.key.split('/').next() == Some(FACTORY.name) {
                let mut diags = Diagnostics::new();
                let config =
                    decode::<Config>(&entry.value, &format!("extensions::{}", entry.key), &mut diags);
                let config = config.ok_or_else(|| invalid(&diags.render(&parsed.sources)))?;
                directories.push(config.directory.into());
            }
        }
        if directories.is_empty() {
            return Err(
                "the configuration has no `file_storage` extension\nname a directory with --directory".into(),
            );
        }
        Ok(directories)
    }
}

fn shown(directories: &[PathBuf]) -> String {
    directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn unreadable(directory: &Path, error: &io::Error, is_configured: bool) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as the collector's user, or as root",
        io::ErrorKind::NotFound if is_configured && directory.is_relative() => {
            "the configuration names it from where the collector is started; run this there, or name it with --directory"
        }
        io::ErrorKind::NotFound if is_configured => {
            "the configuration names it; a collector makes it where `create_directory` is true"
        }
        _ => "name the directory with --directory, or the configuration that has it with --config",
    };
    format!("{}: {error}\n{hint}", directory.display())
}

fn list(directory: &Path, kept: Kept) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && is_folder(&name)
            && name.rsplit_once('.').is_some_and(|(_, what)| what == kept.what())
        {
            // A link to a folder is used as the folder.
            match fs::metadata(entry.path()) {
                Ok(there) if there.is_dir() => {
                    folders.push(Folder { directory: directory.to_owned(), name });
                }
                Err(error) if entry.file_type()?.is_symlink() => cli::remark(&format!(
                    "{} is a link that cannot be followed ({error}), and no collector can use it",
                    entry.path().display()
                )),
                _ => {}
            }
        }
    }
    Ok(folders)
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Whether that is what it is called, with or without what it is.
    fn is(&self, name: &str) -> bool {
        self.name == name || self.stem() == name
    }

    /// The folder of what else is kept for the same component and signal.
    pub fn beside(&self, kept: Kept) -> Self {
        Self { directory: self.directory.clone(), name: format!("{}.{}", self.stem(), kept.what()) }
    }

    /// The kind of telemetry in it.
    pub fn signal(&self) -> Option<Signal> {
        signal_of(&self.name)
    }

    fn stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(stem, _)| stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> Folder {
        Folder { directory: "/d".into(), name: name.to_owned() }
    }

    #[test]
    fn a_directory_that_is_not_there_comes_with_what_to_do() {
        let told = |directory: &str, is_configured| {
            unreadable(Path::new(directory), &io::ErrorKind::NotFound.into(), is_configured)
        };
        assert!(told("/nowhere", false).contains("with --config"));
        assert!(told("queue", true).starts_with("queue: ") && told("queue", true).contains("run this there"));
        assert!(told("/nowhere", true).contains("`create_directory`"));
    }

    #[test]
    fn a_folder_says_what_is_in_it() {
        let queue = folder("exporter-otlp_grpc-eu-traces.queue");
        assert_eq!(queue.signal(), Some(Signal::Traces));
        assert_eq!(queue.beside(Kept::DeadLetters).name, "exporter-otlp_grpc-eu-traces.dead-letters");
        assert!(queue.is("exporter-otlp_grpc-eu-traces") && queue.is(&queue.name) && !queue.is("exporter"));
    }
}
