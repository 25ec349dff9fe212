//! What older releases of the Go collector accepted: taken, with a warning that shows the modern form.
//!
//! Every rule changes two things alike: the tree, so that the configuration runs, and the text that the tree was read
//! from, so that `millrace validate --fix` can write the modern form down. The text is edited where the old form
//! stands and nowhere else, so comments, order, anchors and quotes of everything else stay.
//!
//! A rule that cannot be carried out in the text (the value comes out of a variable, or an alias) still changes the
//! tree and warns.

mod names;
mod rename;
mod rewrite;
mod rules;
mod section;

use crate::catalog::{Catalog, Kind, Known};
use crate::diagnostic::Diagnostics;
use crate::node::{Node, Value};
use crate::source::Span;

pub(crate) use names::{advice, gone};
pub(crate) use rename::keeps_on_disk;
pub use rewrite::rewrite;

/// One change to a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Where.
    span: Span,
    /// What.
    change: Change,
}

/// What becomes of the text under an edit's span.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// A key or id gets another name.
    Name(String),
    /// A value becomes another.
    Value(Node),
    /// An entry becomes another one.
    Entry(String, Node),
    /// An entry, or an item of a list, goes.
    Remove,
    /// A new entry stands before this one.
    Before(String, Node),
    /// This key, or `{}`, gets its first entry.
    First(String, Node),
    /// Entries move into a new section, which stands here instead.
    Wrap(String, Vec<Moved>),
    /// Entries move in front of this one.
    Join(Vec<Moved>),
    /// `$NAME` becomes `${env:NAME}`.
    Braces(Vec<String>),
}

/// An entry that moves as it is written, under a new key.
#[derive(Debug, Clone, PartialEq)]
struct Moved {
    key: String,
    key_span: Span,
    /// From the key to the end of the value.
    whole: Span,
    /// The same as a tree, for where it cannot stay as it is written.
    value: Node,
}

impl Edit {
    /// The text of a source says `$NAME` under `span`, for these names.
    pub(crate) fn braces(span: Span, names: Vec<String>) -> Self {
        Self { span, change: Change::Braces(names) }
    }

    /// The text that it changes.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }
}

/// Gives a configuration its modern form, with a warning for each old one. Returns how the texts would say the same.
pub(crate) fn modernise(node: &mut Node, catalog: &dyn Catalog, diags: &mut Diagnostics) -> Vec<Edit> {
    let mut edits = rename::old_names(node, catalog);
    let mut findings = section::Findings { diags, edits: &mut edits };
    rules::apply(node, catalog, &mut findings);
    let mut unique: Vec<Edit> = Vec::new();
    for edit in edits {
        if edit.span.is_written() && !unique.contains(&edit) {
            unique.push(edit);
        }
    }
    unique
}

/// The component that a type name stands for: as the catalogue says, or the successor of one that is gone.
pub(crate) fn known(catalog: &dyn Catalog, kind: Kind, type_name: &str) -> Option<Known> {
    catalog.canonical(kind, type_name).or_else(|| {
        let successor = gone(kind, type_name)?.successor?;
        let canonical = catalog.canonical(kind, successor)?.canonical;
        Some(Known { canonical, deprecated: true })
    })
}

fn text(text: impl Into<String>) -> Node {
    Node::synthetic(Value::String(text.into()))
}
