//! What the authenticators share: credentials that may change while requests are served.

mod file;
mod verdict;

pub(crate) use file::{WatchedFile, read_credentials};
pub(crate) use millrace_engine::current::Current;
pub(crate) use verdict::{Refused, Verdicts};

use millrace_config::Secret;
use std::path::Path;

/// A value from the configuration, or the content of a file that is watched, which wins as in the Go collector.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// As configured.
    Inline(Secret<String>),
    /// The content of this file, without white space around it.
    File(Box<Path>),
}

impl Source {
    /// `None` if neither is given.
    pub(crate) fn of(inline: &Secret<String>, file: &str) -> Option<Self> {
        match (file, inline.expose().as_str()) {
            ("", "") => None,
            ("", _) => Some(Self::Inline(inline.clone())),
            (file, _) => Some(Self::File(Path::new(file).into())),
        }
    }

    /// What it holds now. Reads the file.
    ///
    /// # Errors
    /// Why the file cannot be read, without anything that stands in it.
    pub(crate) fn read(&self) -> Result<Secret<String>, String> {
        match self {
            Self::Inline(value) => Ok(value.clone()),
            Self::File(path) => {
                let bytes = read_credentials(path)?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| format!("{} is not text in UTF-8", path.display()))?;
                Ok(Secret::new(text.trim().to_owned()))
            }
        }
    }
}
