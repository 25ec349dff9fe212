//! Files that components read when they start. Decoding opens none; `validate` does, once everything has been read.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::read_file;
use crate::source::Span;

/// The longest file of credentials that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What is wrong with the files under some keys: each key with a message and, after a line break, advice.
type Look = dyn Fn() -> Vec<(&'static str, String)> + Send + Sync;

/// The files that some keys of a section name.
#[derive(Clone)]
pub struct Files {
    keys: Vec<(&'static str, Span, String)>,
    look: Arc<Look>,
}

impl Files {
    pub(crate) fn new(
        keys: Vec<(&'static str, Span, String)>,
        look: impl Fn() -> Vec<(&'static str, String)> + Send + Sync + 'static,
    ) -> Self {
        Self { keys, look: Arc::new(look) }
    }

    /// Opens them and warns of what is wrong. It is no error: the collector may be run elsewhere, or as somebody else,
    /// and the Go collector's `validate` opens none of them.
    pub fn look(&self, diags: &mut Diagnostics) {
        for (key, text) in (self.look)() {
            let place = self.keys.iter().find(|(known, _, _)| *known == key).or(self.keys.first());
            let Some((_, span, path)) = place else { continue };
            let (message, help) = match text.split_once('\n') {
                Some((message, help)) => (message, Some(help.to_owned())),
                None => (text.as_str(), None),
            };
            diags.push(Diagnostic::warning(*span, path, message).help(help));
        }
    }
}

/// What is wrong with a file that is read whole.
pub(crate) fn unreadable(path: &str) -> Option<String> {
    let error = read_file(Path::new(path), MAX_BYTES).err()?;
    let advice = "correct the path, or let the user that runs the collector read it";
    Some(format!("`{path}` cannot be read: {error}\n{advice}"))
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.keys).finish()
    }
}

impl PartialEq for Files {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Files {}
