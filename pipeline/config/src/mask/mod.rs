//! What must not be shown of a configuration: passwords, tokens, keys, and whatever may be one.
//!
//! A message quotes the line that it is about, and other things stand on that line. Three things say what of it is
//! hidden: the types (a [`Secret`](crate::Secret), and whatever stands under a key that nobody knows), the names of
//! keys ([`names`]), and the look of the text itself ([`text`]: user and query of a URL, `Bearer …`). A text that is
//! not YAML has no tree to go by; of it the line is judged as it stands ([`line`]).

mod line;
mod names;
mod text;

use std::collections::BTreeSet;
use std::ops::Range;

use names::{is_secret, nearly_secret};
pub use text::discreet;

use crate::node::{Entry, Node, Value};
use crate::source::{SourceId, Sources};
use crate::values::Duration;

/// What is shown in the place of what is hidden.
pub(crate) const MASK: &str = "***";

/// A secret that is shorter is not looked for in messages: it would be found in ordinary words.
const SHORTEST_TEXT: usize = 6;

/// The longest number, in digits, that can stand under an unknown key and is shown.
const NUMBER_DIGITS: usize = 5;

/// What is hidden in the sources of one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// Pieces of sources, by their bytes.
    pieces: BTreeSet<(SourceId, u32, u32)>,
    /// What the secrets say, to be taken out of messages.
    texts: BTreeSet<String>,
    /// The sources that were YAML, of which the names of keys are known.
    parsed: BTreeSet<SourceId>,
}

impl Hidden {
    /// Hides what stands under keys whose names say that it is secret.
    pub(crate) fn by_name(&mut self, tree: &Node, source: SourceId) {
        self.parsed.insert(source);
        self.walk(tree);
    }

    fn walk(&mut self, node: &Node) {
        match &node.value {
            Value::Seq(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Map(map) => {
                for entry in map {
                    if is_secret(&entry.key) {
                        self.secret(&entry.value);
                    } else if names::is_headers(&entry.key) {
                        self.headers(&entry.value);
                    } else {
                        self.walk(&entry.value);
                    }
                }
            }
            _ => {}
        }
    }

    /// Headers are a map of secrets, or a list of maps with a secret `value`.
    fn headers(&mut self, node: &Node) {
        let Value::Seq(items) = &node.value else { return self.secret(node) };
        for item in items {
            let Some(map) = item.as_map() else {
                self.secret(item);
                continue;
            };
            for entry in map.iter().filter(|entry| names::is_header_value(&entry.key)) {
                self.secret(&entry.value);
            }
        }
    }

    /// Hides every value in `node`.
    pub(crate) fn secret(&mut self, node: &Node) {
        self.values(node, &|_| true, true);
    }

    /// Hides what may be a secret under a key that its section does not have; `meant` is the key it probably was
    /// meant to be.
    pub(crate) fn unknown_key(&mut self, entry: &Entry, meant: Option<&str>) {
        if meant.is_none_or(nearly_secret) || nearly_secret(&entry.key) {
            self.unknown(&entry.value);
        }
    }

    /// Hides what may be a secret in `node`, which stands where nobody knows what it means.
    pub(crate) fn unknown(&mut self, node: &Node) {
        self.walk(node);
        self.values(node, &may_be_secret, false);
    }

    /// `told`: whether messages could say what is hidden. What is not understood is in none.
    fn values(&mut self, node: &Node, hide: &dyn Fn(&Node) -> bool, told: bool) {
        match &node.value {
            Value::Seq(items) => items.iter().for_each(|item| self.values(item, hide, told)),
            Value::Map(map) => map.iter().for_each(|entry| self.values(&entry.value, hide, told)),
            Value::Null => {}
            _ if hide(node) => {
                if node.span.is_written() {
                    self.pieces.insert((node.span.source, node.span.start.byte, node.span.end.byte));
                }
                let text = node.as_text().filter(|text| told && text.len() >= SHORTEST_TEXT);
                if let Some(text) = text.filter(|text| !is_plain_reference(text) && !is_word(text)) {
                    self.texts.insert(text.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Hides what another one hides.
    pub(crate) fn append(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
        self.texts.extend(other.texts);
        self.parsed.extend(other.parsed);
    }

    /// What is hidden of a line that begins at byte `start` of a source: ranges in the line, in order and apart.
    pub(crate) fn in_line(
        &self,
        sources: &Sources,
        id: SourceId,
        start: usize,
        line: &str,
    ) -> Vec<Range<usize>> {
        let mut ranges = text::ranges(line);
        if !self.parsed.contains(&id) {
            ranges.extend(line::ranges(sources.text(id).unwrap_or_default(), start, line));
        }
        let of_source = (id, 0, 0)..=(id, u32::MAX, u32::MAX);
        for &(_, from, to) in self.pieces.range(of_source) {
            let (from, to) = (from as usize, to as usize);
            if from >= start + line.len() {
                break;
            }
            let piece = sources.text(id).and_then(|text| text.get(from..to)).unwrap_or_default();
            if to > start && !is_plain_reference(piece) {
                ranges.push(from.saturating_sub(start)..(to - start).min(line.len()));
            }
        }
        joined(ranges, line)
    }

    /// A message without what is hidden.
    pub(crate) fn without_secrets(&self, message: &str) -> String {
        let mut message = discreet(message).into_owned();
        // The longest first: one may be part of another.
        let mut texts: Vec<_> = self.texts.iter().filter(|text| message.contains(text.as_str())).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        for text in texts {
            message = message.replace(text.as_str(), MASK);
        }
        message
    }
}

/// Whether a value can be more than a switch, a small number or a length of time.
fn may_be_secret(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(_) => false,
        Value::Int(number) => number.to_string().len() > NUMBER_DIGITS,
        Value::Float(number) => number.to_string().len() > NUMBER_DIGITS + 1,
        Value::String(text) => text.parse::<Duration>().is_err(),
        Value::Seq(_) | Value::Map(_) => true,
    }
}

/// `${env:NAME}` and `$NAME`, maybe behind `Bearer`, which say where a secret is and not what it is.
fn is_plain_reference(piece: &str) -> bool {
    let piece = piece.trim_matches(['"', '\'']);
    let piece = piece.strip_prefix("Bearer ").or_else(|| piece.strip_prefix("Basic ")).unwrap_or(piece);
    let Some(rest) = piece.strip_prefix('$') else { return false };
    let inner = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(rest);
    let inner = inner.strip_prefix("env:").or_else(|| inner.strip_prefix("file:")).unwrap_or(inner);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    !inner.is_empty() && inner.chars().all(is_name)
}

/// A word such as `localhost`, or a URL with nothing to hide, which stand in messages for other reasons. No message is
/// made of a secret in the first place; that they are searched is a second line of defence.
fn is_word(text: &str) -> bool {
    let is_harmless_url = text.contains("://") && text::ranges(text).is_empty();
    is_harmless_url || text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Ranges in order and apart, none that begins or ends within a character.
fn joined(mut ranges: Vec<Range<usize>>, line: &str) -> Vec<Range<usize>> {
    ranges.retain(|range| range.start < range.end && line.get(range.clone()).is_some());
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
