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

use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::legacy::Edit;
use crate::node::{Entry, Map, Node, Origin, Value};
use crate::parse::{MAX_DEPTH, MAX_TREE_BYTES, NODE_BYTES, parse_tree};
use crate::provider::{MAX_FETCHES, Providers, SCHEMES, public_url, split_scheme};
use crate::source::{SourceId, Sources, Span};
use crate::suggest;

/// How many levels of `${…}` may lead from one to the next.
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

/// One piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Dollar,
    /// What stands between `${` and its `}`.
    Reference(&'a str),
}

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
        let mut pieces = split(text);
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
        self.join(&split(text), span, path, level)
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

    /// What a `${uri}` stands for.
    fn retrieve(&mut self, uri: &str, span: Span, path: &str, level: Level) -> Result<Content, Refused> {
        self.left = self.left.saturating_sub(1);
        if level.chain >= MAX_CHAIN || self.left == 0 {
            let message = "too many recursive expansions: the content of a `${…}` leads to itself or to too many others";
            return self.refuse_once(span, path, message);
        }
        match split_scheme(uri) {
            Some(("env", selector)) => self.variable(selector, span, path, level),
            Some(("yaml", text)) => Ok(Content::Text(text.to_owned())),
            Some((scheme @ ("file" | "http" | "https"), rest)) => {
                self.document(uri, scheme, rest, span, path, level)
            }
            None if !uri.contains(':') => self.variable(uri, span, path, level),
            _ => {
                let scheme = uri.split(':').next().unwrap_or_default();
                self.diags.push(unsupported(uri, scheme, span, path, level));
                Err(Refused)
            }
        }
    }

    fn variable(&mut self, selector: &str, span: Span, path: &str, level: Level) -> Result<Content, Refused> {
        let (name, default) = match selector.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (selector, None),
        };
        if !is_variable_name(name) {
            let shown = if level.is_hidden { String::new() } else { format!(" \"{name}\"") };
            self.diags.push(
                Diagnostic::error(span, path, format!("environment variable{shown} has an invalid name"))
                    .help("a name has letters, digits and `_`, and does not start with a digit; write `$$` for a literal `$`".to_owned()),
            );
            return Err(Refused);
        }
        Ok(match ((self.providers.env)(name), default) {
            (Some(content), _) => Content::Text(content),
            (None, Some("")) => Content::EmptyDefault,
            (None, Some(default)) => Content::Text(default.to_owned()),
            (None, None) => {
                self.diags.push(
                    Diagnostic::warning(span, path, format!("environment variable {name} is not set"))
                        .help(format!("set it, or give a default: ${{env:{name}:-…}}")),
                );
                Content::Unset
            }
        })
    }

    /// A file or a page, read once.
    fn document(
        &mut self,
        uri: &str,
        scheme: &str,
        rest: &str,
        span: Span,
        path: &str,
        level: Level,
    ) -> Result<Content, Refused> {
        if let Some(&id) = self.documents.get(uri) {
            return Ok(self.kept(id));
        }
        let is_file = scheme == "file";
        let name = if is_file { rest.to_owned() } else { public_url(uri) };
        let read = if rest.contains('$') {
            Err("a `$` is not possible there".to_owned())
        } else if is_file {
            self.providers.outside.file(rest)
        } else if self.fetches == MAX_FETCHES {
            Err(format!("at most {MAX_FETCHES} URLs are fetched"))
        } else {
            self.fetches += 1;
            self.providers.outside.fetch(uri)
        };
        match read {
            Ok(text) => {
                let id =
                    if is_file { self.sources.add_file(rest, &text) } else { self.sources.add(&name, &text) };
                self.documents.insert(uri.to_owned(), id);
                Ok(self.kept(id))
            }
            Err(problem) => {
                // Where it is what a variable holds, the name may be anything.
                let name = if level.is_hidden { "what a `${…}` refers to".to_owned() } else { name };
                let mut error = Diagnostic::error(span, path, format!("cannot read {name}: {problem}"));
                if rest.contains(":-") {
                    error = error.help("only `env` takes a default: ${env:NAME:-…}".to_owned());
                }
                self.diags.push(error);
                Err(Refused)
            }
        }
    }

    fn kept(&self, id: SourceId) -> Content {
        Content::Document(self.sources.text(id).unwrap_or_default().to_owned(), id)
    }

    fn spend(&mut self, bytes: usize, span: Span, path: &str) -> Result<(), Refused> {
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => {
                self.room = 0;
                self.refuse_once(span, path, "the content of `${…}` makes the configuration too large")
            }
        }
    }

    /// Reports a limit that, once reached, every further value would reach again.
    fn refuse_once<T>(&mut self, span: Span, path: &str, message: &str) -> Result<T, Refused> {
        if !self.exhausted {
            self.diags.push(Diagnostic::error(span, path, message));
        }
        self.exhausted |= self.left == 0 || self.room == 0;
        Err(Refused)
    }
}

/// What a variable holds.
enum Content {
    Text(String),
    /// The text of a file or page, and where it is kept.
    Document(String, SourceId),
    EmptyDefault,
    Unset,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Document(text, _) => text,
            Self::EmptyDefault | Self::Unset => String::new(),
        }
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

/// Cuts a text into literal pieces and references. A `${` without its `}` is literal.
fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (literal, from) = rest.split_at(at);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        if let Some(after) = from.strip_prefix("$$") {
            pieces.push(Piece::Dollar);
            rest = after;
        } else if let Some(close) = from.strip_prefix("${").and_then(closing_brace) {
            pieces.push(Piece::Reference(&from[2..2 + close]));
            rest = &from[close + 3..];
        } else {
            pieces.push(Piece::Text(&from[..1]));
            rest = &from[1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Where the `}` is that closes a `${` opened before `text`; references nest.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|&(_, next)| next == b'{') => {
                open += 1;
                bytes.next();
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// What to say of a scheme that there is not.
fn unsupported(uri: &str, scheme: &str, span: Span, path: &str, level: Level) -> Diagnostic {
    if level.is_hidden {
        // The scheme may be part of a secret.
        let message = "the content of a `${…}` refers to a scheme that is not supported";
        return Diagnostic::error(span, path, message);
    }
    let message = format!("scheme \"{scheme}\" is not supported in ${{…}}");
    let help = match uri.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(":-")) {
        Some(_) => Some(format!("a default needs the scheme: ${{env:{scheme}:-…}}")),
        None => suggest::advice(scheme, "schemes", &SCHEMES),
    };
    Diagnostic::error(span, path, message).help(help)
}

/// What the names of variables are made of that are not just patterns.
fn is_bare_name_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, env: &[(&str, &str)]) -> (Node, Diagnostics) {
        let lookup =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut diags = Diagnostics::new();
        let providers = Providers::sealed(&lookup);
        let node = Node::synthetic(Value::String(text.to_owned()));
        let (mut sources, mut edits) = (Sources::new(), Vec::new());
        let mut with =
            Expansion { providers: &providers, sources: &mut sources, diags: &mut diags, edits: &mut edits };
        let node = expand(node, &mut with);
        (node, diags)
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn values_expand_as_in_the_go_collector() {
        let env = [
            ("N", "8080"),
            ("B", "bval"),
            ("EMPTY", ""),
            ("QUOTED", "\"q\""),
            ("CHAIN", "${env:N}"),
            ("NAME", "B"),
            ("DOLLAR", "a$$b"),
            ("BROKEN", "[a"),
            ("HEX", "0x10"),
        ];
        for (input, expected) in [
            ("${env:N}", Value::Int(8080)),
            ("${N}", Value::Int(8080)),
            (":${env:N}", text(":8080")),
            ("${env:CHAIN}", Value::Int(8080)),
            ("${env:EMPTY}", Value::Null),
            ("${env:NONE}", Value::Null),
            ("x${env:NONE}y", text("xy")),
            ("${env:NONE:-5}", Value::Int(5)),
            ("${env:NONE:-}", text("")),
            ("${env:EMPTY:-5}", Value::Null),
            ("${env:NONE:-${env:B}}", text("bval")),
            ("${env:${env:NAME}}", text("bval")),
            ("${env:QUOTED}", text("\"q\"")),
            ("${env:BROKEN}", text("[a")),
            ("$$${env:B}", text("$bval")),
            ("$${env:B}", text("${env:B}")),
            ("x$$$${env:B}", text("x$${env:B}")),
            ("$B $$ ${B", text("$B $ ${B")),
            ("${env:DOLLAR}", text("a$b")),
        ] {
            let (node, diags) = run(input, &env);
            assert_eq!(node.value, expected, "{input}");
            assert!(!diags.has_errors(), "{input}");
        }
    }

    #[test]
    fn a_text_field_receives_the_variable_as_it_stands() {
        let (node, _) = run("${env:HEX}", &[("HEX", "0x10")]);
        assert_eq!(node.value, Value::Int(16));
        assert_eq!(node.as_text(), Some("0x10"));
    }

    #[test]
    fn a_list_from_a_variable_is_expanded_in_turn() {
        let (node, _) = run("${env:L}", &[("L", "- ${env:N}\n- b\n"), ("N", "7")]);
        let Value::Seq(items) = &node.value else { panic!("not a list: {node:?}") };
        assert_eq!(items[0].value, Value::Int(7));
        assert_eq!(items[0].as_text(), Some("7"));
        assert_eq!(items[1].value, text("b"));
    }

    #[test]
    fn endless_recursion_and_explosions_are_refused() {
        for env in [
            vec![("A", "${env:A}")],
            vec![("A", "x${env:A}")],
            vec![("A", "- ${env:A}")],
            vec![("A", "${env:B}${env:B}"), ("B", "${env:A}${env:A}")],
            vec![("A", "- ${env:B}\n- ${env:B}"), ("B", "- ${env:A}\n- ${env:A}")],
        ] {
            let (_, diags) = run("${env:A}", &env);
            assert!(diags.has_errors(), "{env:?}");
        }
    }
}
