//! What types cannot say: checks between values, reported at the key they are about.

use std::collections::HashSet;

use crate::catalog::Role;
use crate::decode::address;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::id::ComponentId;
use crate::load::{Claim, Files, Thing, Wanted, unreadable};
use crate::node::{Entry, Node, Value};
use crate::source::Span;

/// Checks a decoded section. [`decode`](crate::decode()) calls it on the value it returns; that value calls it on the
/// sections inside, by [`Checker::nested`].
pub trait Validate {
    /// Reports what is wrong to `at`. The default finds nothing.
    fn validate(&self, at: &mut Checker<'_>) {
        let _ = at;
    }
}

impl Validate for Node {}
impl Validate for () {}

impl<T: Validate> Validate for Option<T> {
    fn validate(&self, at: &mut Checker<'_>) {
        if let Some(value) = self {
            value.validate(at);
        }
    }
}

/// Attaches findings to the keys of one section.
pub struct Checker<'a> {
    node: Option<&'a Node>,
    /// What to point at if the section was not written.
    span: Span,
    path: String,
    diags: &'a mut Diagnostics,
    failed: &'a HashSet<usize>,
    misspelt: &'a HashSet<(usize, String)>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(
        node: &'a Node,
        path: &str,
        diags: &'a mut Diagnostics,
        failed: &'a HashSet<usize>,
        misspelt: &'a HashSet<(usize, String)>,
    ) -> Self {
        Self { node: Some(node), span: node.span, path: path.to_owned(), diags, failed, misspelt }
    }

    /// Reports that the value of `key` is wrong. Points at the value, or at the section if the key is not given.
    /// Says nothing if that key has already been reported for another reason. A message that begins with a verb
    /// (`must be at least 1`) gets the key in front of it. A line break in `message` starts the advice.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        self.report(Some(key), &message.into(), Diagnostic::error);
    }

    /// The same for what can be used but is probably not meant.
    pub fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.report(Some(key), &message.into(), Diagnostic::warning);
    }

    /// Reports that the section as a whole is wrong.
    pub fn error_here(&mut self, message: impl Into<String>) {
        self.report(None, &message.into(), Diagnostic::error);
    }

    /// Says that `key` names an extension which is to serve this component. Whether it is configured, runs and can do
    /// that is checked when the whole configuration has been read.
    pub fn wants_extension(&mut self, key: &str, id: &ComponentId, role: Role) {
        let (span, path) = self.place(key);
        self.diags.want(Wanted { id: id.clone(), role, span, path });
    }

    /// Says that `key` takes something for this component alone. Whether another one does, too, is checked when the
    /// whole configuration has been read.
    pub fn claims(&mut self, key: &str, thing: Thing) {
        let (span, path) = self.place(key);
        self.diags.claim(Claim { thing, span, path });
    }

    /// Says that the file under `key` will be read whole, unless none is named.
    pub fn reads(&mut self, key: &'static str, file: &str) {
        if !file.is_empty() {
            let file = file.to_owned();
            self.looks(&[key], move || unreadable(&file).map(|problem| (key, problem)).into_iter().collect());
        }
    }

    /// Says how the files under `keys` are looked at before the collector is started: `look` returns the key of each
    /// that something is wrong with, and what it is. `validate` calls it, decoding does not.
    pub fn looks(
        &mut self,
        keys: &[&'static str],
        look: impl Fn() -> Vec<(&'static str, String)> + Send + Sync + 'static,
    ) {
        let place = |&key: &&'static str| {
            let (span, path) = self.place(key);
            (key, span, path)
        };
        let keys = keys.iter().map(place).collect();
        self.diags.name_files(Files::new(keys, look));
    }

    /// Where the value of a key is, or where it could be.
    fn place(&self, key: &str) -> (Span, String) {
        let entry = self.node.and_then(Node::as_map).and_then(|map| map.entry(key));
        let span = entry.map(|entry| entry.value.span).filter(|span| span.is_written());
        (span.unwrap_or(self.span), self.key_path(key))
    }

    /// Whether the user wrote `key` in this section, with whatever value.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        let entry = self.node.and_then(Node::as_map).and_then(|map| map.entry(key));
        entry.is_some_and(|entry| entry.key_span.is_written())
    }

    /// Checks the section under `key`.
    pub fn nested(&mut self, key: &str, value: &impl Validate) {
        self.within(key, |at| value.validate(at));
    }

    /// Checks the sections in the list under `key`.
    pub fn each<'v, T: Validate + 'v>(&mut self, key: &str, values: impl IntoIterator<Item = &'v T>) {
        self.within(key, |at| {
            let items = match at.node.map(|node| &node.value) {
                Some(Value::Seq(items)) => items.as_slice(),
                _ => &[],
            };
            // A list with an item left out no longer lines up with its values, and has been reported.
            if items.iter().any(|item| at.failed.contains(&address(item))) {
                return;
            }
            for (index, value) in values.into_iter().enumerate() {
                let path = format!("{}[{index}]", at.path);
                at.go(items.get(index), path, |at| value.validate(at));
            }
        });
    }

    /// Runs checks on the section under `key`.
    pub fn within(&mut self, key: &str, check: impl FnOnce(&mut Checker<'_>)) {
        let node = self.node.and_then(Node::as_map).and_then(|map| map.get(key));
        if node.is_some_and(|node| self.failed.contains(&address(node))) {
            return;
        }
        let path = self.key_path(key);
        self.go(node, path, check);
    }

    fn go(&mut self, node: Option<&Node>, path: String, check: impl FnOnce(&mut Checker<'_>)) {
        let span = node.map(|node| node.span).filter(|span| span.is_written()).unwrap_or(self.span);
        let Self { failed, misspelt, .. } = *self;
        check(&mut Checker { node, span, path, diags: self.diags, failed, misspelt });
    }

    fn report(&mut self, key: Option<&str>, text: &str, new: impl Fn(Span, &str, String) -> Diagnostic) {
        let entry = key.and_then(|key| self.node?.as_map()?.entry(key));
        if entry.is_some_and(|entry| self.failed.contains(&address(&entry.value))) {
            return;
        }
        let node = self.node.map(address);
        let failed = |entry: &Entry| self.failed.contains(&address(&entry.value));
        // What a section lacks as a whole may be what could not be read.
        if key.is_none() && self.node.and_then(Node::as_map).is_some_and(|map| map.iter().any(failed)) {
            return;
        }
        if key.is_none() && node.is_some_and(|node| self.misspelt.iter().any(|(map, _)| *map == node)) {
            return;
        }
        let misspelt = |(node, key): (&Node, &str)| self.misspelt.contains(&(address(node), key.to_owned()));
        if entry.is_none() && self.node.zip(key).is_some_and(misspelt) {
            return;
        }
        let written =
            entry.map(|entry| if entry.value.is_null() { entry.key_span } else { entry.value.span });
        let span = written.filter(|span| span.is_written()).unwrap_or(self.span);
        let path = key.map_or_else(|| self.path.clone(), |key| self.key_path(key));
        let (message, help) = match text.split_once('\n') {
            Some((message, help)) => (message, Some(help.to_owned())),
            None => (text, None),
        };
        let is_unnamed = |key: &&str| begins_with_a_verb(message) && !message.contains(&format!("\"{key}\""));
        let message = match key.filter(is_unnamed) {
            Some(key) => format!("`{key}` {message}"),
            None => message.to_owned(),
        };
        self.diags.push(new(span, &path, message).help(help));
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }
}

/// Whether a message says something of the key that it is about without naming it.
fn begins_with_a_verb(message: &str) -> bool {
    let verbs =
        ["contain", "may", "must", "has", "is", "needs", "requires", "cannot", "belongs", "does", "stands"];
    verbs.contains(&message.split(' ').next().unwrap_or_default())
}
