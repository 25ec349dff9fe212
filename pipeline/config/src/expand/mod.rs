//! `${…}` and `$$` in the values of a tree, after parsing, so that what a variable holds can never change the
//! structure around it.
//!
//! - `${env:X}` or `${X}` is the variable's content; `${env:X:-text}` is `text` if the variable is not set.
//! - `${file:path}` is the content of a file, `${https://…}` that of a page, and `${yaml:text}` the text itself.
//! - When it is the whole value, the content is read as YAML: a number, a list or a map are possible, and a field for
//!   text still receives the content as it stands. Inside a longer text it is pasted in.
//! - Content is expanded in turn, up to [`MAX_CHAIN`] levels.
//! - `$$` is a literal `$`. A `$` before anything but `{` or `$` is just a `$`. Keys are never expanded.
//! - A variable that is not set and has no default is null (empty inside a longer text), with a warning.
//!
//! What a variable holds may be a secret: no diagnostic shows it. The same goes for a file that is just a text; a map
//! or a list from a file is configuration, and keeps its places in that file.

mod pieces;
mod retrieve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use self::pieces::{Piece, TooDeep, is_bare_name_char, split};
use self::retrieve::{Content, TOO_MANY};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::legacy::Edit;
use crate::node::{Entry, Map, Node, Origin, Value};
use crate::parse::{MAX_DEPTH, MAX_TREE_BYTES, NODE_BYTES, parse_tree};
use crate::provider::Providers;
use crate::source::{SourceId, Sources, Span};

/// How many levels of `${…}` may lead from one to the next, or stand in one another.
pub const MAX_CHAIN: usize = 50;

/// How many `${…}` are replaced in one configuration.
pub const MAX_EXPANSIONS: usize = 10_000;

/// Looks up an environment variable: `None` if it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What expanding works with.
pub(crate) struct Expansion<'a> {
    pub(crate) providers: &'a Providers<'a>,
    /// Files that are read are added to these.
    pub(crate) sources: &'a mut Sources,
    pub(crate) diags: &'a mut Diagnostics,
    /// How the texts would say in the modern form what was found.
    pub(crate) edits: &'a mut Vec<Edit>,
}

/// Replaces every `${…}` in the values of `node`. Mistakes are reported and leave a null behind.
pub(crate) fn expand(node: Node, with: &mut Expansion<'_>) -> Node {
    let mut expander = Expander {
        providers: with.providers,
        sources: with.sources,
        diags: with.diags,
        edits: with.edits,
        documents: HashMap::new(),
        fetches: 0,
        left: MAX_EXPANSIONS,
        room: MAX_TREE_BYTES,
        depth: 0,
        exhausted: false,
    };
    expander.node(node, "", Level::default())
}

struct Expander<'a> {
    providers: &'a Providers<'a>,
    sources: &'a mut Sources,
    diags: &'a mut Diagnostics,
    edits: &'a mut Vec<Edit>,
    /// Files and pages that have been read, by URI.
    documents: HashMap<String, SourceId>,
    /// How many pages have been asked for.
    fetches: usize,
    /// How many expansions are left.
    left: usize,
    /// How many bytes may still be added to the tree.
    room: usize,
    /// How many lists and maps are open around the current value.
    depth: usize,
    exhausted: bool,
}

/// How a text came to be expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// How many `${…}` have led to it.
    chain: usize,
    /// Whether it is what a variable holds, and must not be shown.
    is_hidden: bool,
}

impl Level {
    /// What a variable holds.
    fn hidden(self) -> Self {
        Self { chain: self.chain + 1, is_hidden: true }
    }

    /// What somebody has written.
    fn written(self) -> Self {
        Self { chain: self.chain + 1, ..self }
    }
}

/// A value could not be expanded; why has been reported.
struct Refused;

impl Expander<'_> {
    fn node(&mut self, node: Node, path: &str, level: Level) -> Node {
        match node.value {
            Value::String(text) if text.contains('$') => {
                // As if nothing had been written there, so that no error follows from this one.
                let refused = Node::new(Value::Null, node.span);
                self.leaf(&text, node.span, path, level).unwrap_or(refused)
            }
            Value::Seq(_) | Value::Map(_) if self.depth >= MAX_DEPTH => {
                let message = format!("this is nested more than {MAX_DEPTH} levels deep");
                self.diags.push(Diagnostic::error(node.span, path, message));
                Node { value: Value::Null, ..node }
            }
            Value::Seq(items) => {
                self.depth += 1;
                let expand = |(index, item)| self.node(item, &format!("{path}[{index}]"), level);
                let items = items.into_iter().enumerate().map(expand).collect();
                self.depth -= 1;
                Node { value: Value::Seq(items), ..node }
            }
            Value::Map(map) => {
                self.depth += 1;
                let mut expanded = Map::new();
                for Entry { key, key_span, value } in map {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}::{key}") };
                    expanded.push(Entry { key, key_span, value: self.node(value, &below, level) });
                }
                self.depth -= 1;
                Node { value: Value::Map(expanded), ..node }
            }
            _ => node,
        }
    }

    /// Expands one text value.
    fn leaf(&mut self, text: &str, span: Span, path: &str, level: Level) -> Result<Node, Refused> {
        let mut pieces = self.pieces(text, span, path)?;
        if !level.is_hidden {
            pieces = self.bare_variables(pieces, span, path);
        }
        if let [Piece::Reference(inner)] = pieces[..] {
            return self.whole(inner, span, path, level);
        }
        let changed = pieces.iter().any(|piece| matches!(piece, Piece::Reference(_)));
        let value = Value::String(self.join(&pieces, span, path, level)?);
        // A mere `$$` keeps the value as written: its text is no secret.
        let origin = if changed { Origin::Expanded { original: None } } else { Origin::Written };
        Ok(Node { value, span, origin })
    }

    /// `$NAME` stood for a variable in older collectors, and is just text in those of today. Where there is such a
    /// variable, that is what was meant. (A `$1` or `$name` of a pattern is left alone.)
    fn bare_variables<'t>(&mut self, pieces: Vec<Piece<'t>>, span: Span, path: &str) -> Vec<Piece<'t>> {
        let mut names: Vec<&str> = Vec::new();
        let mut out = Vec::new();
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            let next = match (&piece, pieces.peek()) {
                (Piece::Text("$"), Some(Piece::Text(text))) => *text,
                _ => "",
            };
            let length = next.find(|c: char| !is_bare_name_char(c)).unwrap_or(next.len());
            let (name, rest) = next.split_at(length);
            let is_name = length > 1 && !name.starts_with(|c: char| c.is_ascii_digit());
            let ends = !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !is_name || !ends || (self.providers.env)(name).is_none() {
                out.push(piece);
                continue;
            }
            pieces.next();
            out.push(Piece::Reference(name));
            if !rest.is_empty() {
                out.push(Piece::Text(rest));
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in &names {
            let message =
                format!("`${name}` is no longer replaced by the Go collector; here it is, as it used to be");
            let help = format!("write `${{env:{name}}}`, or `$${name}` if it is meant to be text");
            self.diags.push(Diagnostic::warning(span, path, message).help(help));
        }
        if !names.is_empty() {
            self.edits.push(Edit::braces(span, names.into_iter().map(str::to_owned).collect()));
        }
        out
    }

    /// A value that is one `${…}`: its content is YAML.
    fn whole(&mut self, inner: &str, span: Span, path: &str, level: Level) -> Result<Node, Refused> {
        let uri = self.text(inner, span, path, level)?;
        let content = self.retrieve(&uri, span, path, level)?;
        let (parsed, within) = match &content {
            // An empty default is an empty text, not null.
            Content::EmptyDefault => (Value::String(String::new()), level.hidden()),
            Content::Unset => (Value::Null, level.hidden()),
            Content::Text(content) => (self.read_yaml(content, span, path)?, level.hidden()),
            Content::Document(content, id) => self.read_document(content, *id, span, path, level)?,
        };
        let content = content.into_text();
        if let Value::String(text) = parsed {
            let node = self.leaf(&text, span, path, within)?;
            let origin = if node.is_expanded() { node.origin } else { Origin::Expanded { original: None } };
            return Ok(Node { value: node.value, span, origin });
        }
        let node = self.node(Node::new(parsed, span), path, within);
        let original = if matches!(node.value, Value::Seq(_) | Value::Map(_)) {
            // The text of a list or map with a reference that cannot stand inside text is of no use to anybody.
            let mut silent = Diagnostics::new();
            std::mem::swap(self.diags, &mut silent);
            let text = self.text(&content, span, path, within);
            std::mem::swap(self.diags, &mut silent);
            text.ok()
        } else {
            Some(content)
        };
        Ok(Node { origin: Origin::Expanded { original: original.map(Arc::from) }, ..node })
    }

    /// The content of a variable as YAML, or as plain text where it is not YAML.
    fn read_yaml(&mut self, content: &str, span: Span, path: &str) -> Result<Value, Refused> {
        self.spend(content.len(), span, path)?;
        let mut sources = Sources::new();
        let mut problems = Diagnostics::new();
        let id = sources.add("", content);
        let node = parse_tree(&sources, id, &mut problems);
        match node {
            Some(node) if !problems.has_errors() && !matches!(node.value, Value::String(_)) => {
                self.spend(weight(&node), span, path)?;
                Ok(adopt(node, span).value)
            }
            // Quotes around a text are part of it, as in Go.
            _ => Ok(Value::String(content.to_owned())),
        }
    }

    /// The content of a file or page: configuration with places of its own, or a value that may be secret.
    fn read_document(
        &mut self,
        content: &str,
        id: SourceId,
        span: Span,
        path: &str,
        level: Level,
    ) -> Result<(Value, Level), Refused> {
        self.spend(content.len(), span, path)?;
        let mut problems = Diagnostics::new();
        match parse_tree(self.sources, id, &mut problems) {
            Some(node) if matches!(node.value, Value::Map(_) | Value::Seq(_)) => {
                self.spend(weight(&node), span, path)?;
                self.diags.append(problems);
                Ok((node.value, level.written()))
            }
            Some(node) if !problems.has_errors() && !matches!(node.value, Value::String(_)) => {
                Ok((node.value, level.hidden()))
            }
            _ => Ok((Value::String(content.to_owned()), level.hidden())),
        }
    }

    /// Expands every reference in a text.
    fn text(&mut self, text: &str, span: Span, path: &str, level: Level) -> Result<String, Refused> {
        let pieces = self.pieces(text, span, path)?;
        self.join(&pieces, span, path, level)
    }

    fn pieces<'t>(&mut self, text: &'t str, span: Span, path: &str) -> Result<Vec<Piece<'t>>, Refused> {
        split(text).or_else(|TooDeep| self.refuse_once(span, path, TOO_MANY))
    }

    fn join(
        &mut self,
        pieces: &[Piece<'_>],
        span: Span,
        path: &str,
        level: Level,
    ) -> Result<String, Refused> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Dollar => out.push('$'),
                Piece::Reference(inner) => {
                    let uri = self.text(inner, span, path, level)?;
                    let content = self.retrieve(&uri, span, path, level)?.into_text();
                    let content = self.text(&content, span, path, level.hidden())?;
                    self.spend(content.len(), span, path)?;
                    out.push_str(&content);
                }
            }
        }
        Ok(out)
    }
}

/// Gives a tree that was read from a variable the place of the `${…}`.
fn adopt(node: Node, span: Span) -> Node {
    let value = match node.value {
        Value::Seq(items) => Value::Seq(items.into_iter().map(|item| adopt(item, span)).collect()),
        Value::Map(map) => {
            let mut adopted = Map::new();
            for entry in map {
                adopted.push(Entry { key: entry.key, key_span: span, value: adopt(entry.value, span) });
            }
            Value::Map(adopted)
        }
        value => value,
    };
    Node { value, span, origin: Origin::Expanded { original: None } }
}

/// What a tree takes in memory, roughly.
fn weight(node: &Node) -> usize {
    NODE_BYTES
        + match &node.value {
            Value::Seq(items) => items.iter().map(weight).sum(),
            Value::Map(map) => map.iter().map(|entry| entry.key.len() + weight(&entry.value)).sum(),
            Value::String(text) => text.len(),
            _ => 0,
        }
}
