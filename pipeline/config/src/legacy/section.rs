//! A section that rules change: its tree and, as edits, its text.

use super::{Change, Edit, Moved};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;

/// Where warnings and edits go.
pub(super) struct Findings<'a> {
    pub(super) diags: &'a mut Diagnostics,
    pub(super) edits: &'a mut Vec<Edit>,
}

impl Findings<'_> {
    pub(super) fn warn(
        &mut self,
        span: Span,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diags.push(Diagnostic::warning(span, path, message).help(help.into()));
    }

    pub(super) fn edit(&mut self, span: Option<Span>, change: Change) {
        self.edits.extend(span.map(|span| Edit { span, change }));
    }
}

/// A section: a map, or nothing.
pub(super) struct Section<'a, 'f> {
    pub(super) node: &'a mut Node,
    /// Where it stands in the configuration.
    pub(super) path: String,
    /// Where its key was written.
    pub(super) key_span: Span,
    pub(super) findings: &'a mut Findings<'f>,
}

impl<'f> Section<'_, 'f> {
    fn map(&self) -> Option<&Map> {
        self.node.as_map()
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.map()?.entry(key)
    }

    /// Whether a key is written, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text under a key.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match &self.get(key)?.value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether a key is `true`.
    pub(super) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| node.value == Value::Bool(true))
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}::{key}", self.path)
    }

    /// Goes into the section under `key`, if it is a map or nothing is in it.
    pub(super) fn within(&mut self, key: &str, rules: impl FnOnce(&mut Section<'_, 'f>)) {
        let path = self.path_of(key);
        let Value::Map(map) = &mut self.node.value else { return };
        let Some(entry) = map.entry_mut(key) else { return };
        if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
            return;
        }
        let key_span = entry.key_span;
        rules(&mut Section { node: &mut entry.value, path, key_span, findings: self.findings });
    }

    fn warn(&mut self, key: &str, message: &str, help: &str) {
        let span = self.entry(key).map_or(self.key_span, |entry| entry.key_span);
        let path = self.path_of(key);
        self.findings.warn(span, &path, message, help);
    }

    /// Gives a key another name. If that is taken, what stands under it counts.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let Some(entry) = self.entry(old) else { return };
        let key_span = entry.key_span;
        if self.has(new) {
            return self.remove(old, &format!("`{old}` has become `{new}`, which is given too and counts"));
        }
        self.warn(old, &format!("`{old}` has become `{new}`"), &format!("rename it to `{new}`"));
        self.findings.edit(Some(key_span), Change::Name(new.to_owned()));
        if let Some(entry) = self.map_mut().and_then(|map| map.entry_mut(old)) {
            entry.key = new.to_owned();
        }
    }

    /// Replaces an entry by another one that says the same.
    pub(super) fn replace(&mut self, old: &str, new: &str, value: Node, message: &str) {
        let Some(entry) = self.entry(old) else { return };
        if old != new && self.has(new) {
            return self.remove(old, &format!("{message}, which is given too and counts"));
        }
        let shown = if entry.value.is_expanded() { "…".to_owned() } else { super::rewrite::flow(&value) };
        let whole = whole(entry).filter(|_| !entry.value.is_expanded());
        let (span, key_span) = (entry.value.span, entry.key_span);
        self.warn(old, message, &format!("write `{new}: {shown}`"));
        if old == new {
            // What comes behind the key stays where it is.
            self.findings.edit(whole.map(|_| span), Change::Value(value.clone()));
        } else {
            self.findings.edit(whole, Change::Entry(new.to_owned(), value.clone()));
        }
        if let Some(entry) = self.map_mut().and_then(|map| map.entry_mut(old)) {
            let origin = entry.value.origin.clone();
            *entry = Entry { key: new.to_owned(), key_span, value: placed(value, span) };
            entry.value.origin = origin;
        }
    }

    /// Adds an entry that has to be there.
    pub(super) fn insert(&mut self, key: &str, value: Node, message: &str) {
        let shown = super::rewrite::flow(&value);
        let span = self.key_span;
        let path = self.path.clone();
        self.findings.warn(span, &path, message, format!("add `{key}: {shown}`"));
        self.insert_quietly(key, value);
    }

    /// The same where another rule's warning says so.
    pub(super) fn insert_quietly(&mut self, key: &str, value: Node) {
        let first = self.map().and_then(|map| map.iter().next()).map(|entry| entry.key_span);
        let empty = if self.node.is_null() { self.key_span } else { self.node.span };
        let (span, change) = match first {
            Some(first) => (first, Change::Before(key.to_owned(), value.clone())),
            None => (empty, Change::First(key.to_owned(), value.clone())),
        };
        self.findings.edit((!self.node.is_expanded()).then_some(span), change);
        let span = self.key_span;
        if self.node.is_null() {
            self.node.value = Value::Map(Map::new());
        }
        if let Some(map) = self.map_mut() {
            map.push(Entry { key: key.to_owned(), key_span: span, value: placed(value, span) });
        }
    }

    /// Takes an entry away that does nothing.
    pub(super) fn remove(&mut self, key: &str, message: &str) {
        self.warn(key, message, "remove it");
        self.remove_quietly(key);
    }

    /// The same where another rule's warning says so.
    pub(super) fn remove_quietly(&mut self, key: &str) {
        let span = self.entry(key).and_then(whole);
        self.findings.edit(span, Change::Remove);
        if let Some(map) = self.map_mut() {
            map.remove(key);
        }
    }

    /// Moves entries into a section, each under a key of its own there: `(old, new)`. What that section says itself
    /// counts.
    pub(super) fn move_into(&mut self, outer: &str, keys: &[(&str, &str)]) {
        let present: Vec<_> = keys.iter().copied().filter(|(old, _)| self.has(old)).collect();
        let target = self.get(outer).map(|node| &node.value);
        if present.is_empty() || !matches!(target, None | Some(Value::Map(_) | Value::Null)) {
            return;
        }
        let mut moving = Vec::new();
        for (old, new) in present {
            if self.get(outer).is_some_and(|node| node.get(&[new]).is_some()) {
                self.remove(
                    old,
                    &format!("`{old}` has become `{outer}::{new}`, which is given too and counts"),
                );
                continue;
            }
            let message = format!("`{old}` has moved into `{outer}`");
            self.warn(old, &message, &format!("write `{outer}: {{{new}: …}}`"));
            moving.extend(self.entry(old).cloned().map(|entry| (new, entry)));
        }
        self.move_text(outer, &moving);
        for (_, Entry { key, .. }) in &moving {
            if let Some(map) = self.map_mut() {
                map.remove(key);
            }
        }
        let Some(map) = self.map_mut() else { return };
        if map.get(outer).is_none() {
            let key_span = moving.first().map_or(Span::NONE, |(_, entry)| entry.key_span);
            map.push(Entry { key: outer.to_owned(), key_span, value: Node::new(Value::Null, key_span) });
        }
        let Some(target) = map.get_mut(outer) else { return };
        if target.is_null() {
            target.value = Value::Map(Map::new());
        }
        if let Value::Map(target) = &mut target.value {
            for (new, entry) in moving {
                target.push(Entry { key: new.to_owned(), ..entry });
            }
        }
    }

    /// The edits of a move; none if one of the entries cannot be moved as text.
    fn move_text(&mut self, outer: &str, moving: &[(&str, Entry)]) {
        let moved: Option<Vec<Moved>> = moving
            .iter()
            .map(|(new, entry)| {
                let (key, key_span, value) = ((*new).to_owned(), entry.key_span, entry.value.clone());
                whole(entry).map(|whole| Moved { key, key_span, whole, value })
            })
            .collect();
        let Some(moved) = moved.filter(|moved| !moved.is_empty()) else { return };
        let first = moved[0].whole;
        match self.get(outer) {
            None => self.findings.edit(Some(first), Change::Wrap(outer.to_owned(), moved)),
            Some(target) => {
                let place = target.as_map().and_then(|map| map.iter().next()).map(|one| one.key_span);
                self.findings.edit(place, Change::Join(moved));
            }
        }
    }

    fn map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.node.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }
}

/// From an entry's key to the end of its value, if that is where the value was written: an alias stands for what was
/// written elsewhere.
pub(super) fn whole(entry: &Entry) -> Option<Span> {
    let Entry { key_span, value, .. } = entry;
    if value.is_null() && !value.is_expanded() {
        let is_here = value.span.source == key_span.source && value.span.start >= key_span.end;
        return Some(if is_here { key_span.to(value.span) } else { *key_span });
    }
    let is_here = value.span.source == key_span.source && value.span.start.byte >= key_span.end.byte;
    // What a variable holds has the place of the reference, key and value alike.
    is_here.then(|| key_span.to(value.span))
}

/// A value that nobody wrote, with a place for errors to point at.
fn placed(node: Node, span: Span) -> Node {
    let value = match node.value {
        Value::Seq(items) => Value::Seq(items.into_iter().map(|item| placed(item, span)).collect()),
        Value::Map(map) => {
            let mut placed_map = Map::new();
            for entry in map {
                placed_map.push(Entry { key_span: span, value: placed(entry.value, span), ..entry });
            }
            Value::Map(placed_map)
        }
        value => value,
    };
    Node { value, span, origin: node.origin }
}
