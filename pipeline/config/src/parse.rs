//! YAML text → [`Node`] tree.
//!
//! One document, with anchors, aliases and `<<` merges resolved and duplicate keys refused. Everything is bounded:
//! the text, the nesting, and the weight of the tree once aliases are unfolded, so that a file of a few lines cannot
//! become gigabytes.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Entry, Map, Node, Value};
use crate::scalar;
use crate::source::{Position, SourceId, Sources, Span};

/// The longest text that is read.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// How deep maps and lists may be nested.
pub const MAX_DEPTH: usize = 100;

/// How much the tree may weigh with all aliases unfolded: the bytes of its texts and [`NODE_BYTES`] per value.
pub const MAX_TREE_BYTES: usize = 64 << 20;

/// What a value weighs besides its text.
pub const NODE_BYTES: usize = 128;

/// Reads the first document of a text as it stands, `${…}` untouched. `None` if the text is not YAML; an empty
/// document is null.
pub fn parse_tree(sources: &Sources, id: SourceId, diags: &mut Diagnostics) -> Option<Node> {
    let tree = parse_text(sources.text(id)?, id, diags)?;
    diags.hidden.by_name(&tree, id);
    Some(tree)
}

/// The same for a text that stands in for that of source `id`: as long, with the same places.
pub(crate) fn parse_text(text: &str, id: SourceId, diags: &mut Diagnostics) -> Option<Node> {
    if text.len() > MAX_TEXT_BYTES {
        diags.push(Diagnostic::error(None, "", too_long(text.len())));
        return None;
    }
    TreeBuilder { id, diags, frames: Vec::new(), anchors: HashMap::new(), weight: 0, root: None }.build(text)
}

/// What to say of a text that exceeds [`MAX_TEXT_BYTES`].
pub(crate) fn too_long(bytes: usize) -> String {
    format!("the configuration is {bytes} bytes long; at most {MAX_TEXT_BYTES} are read")
}

/// Builds the tree from the parser's events. Invariant: `frames` are the collections that are still open.
struct TreeBuilder<'a> {
    id: SourceId,
    diags: &'a mut Diagnostics,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    weight: usize,
    root: Option<Node>,
}

struct Anchored {
    node: Node,
    weight: usize,
}

struct Frame {
    kind: Collection,
    span: Span,
    anchor: usize,
    /// The tree's weight before this collection.
    weight_before: usize,
}

enum Collection {
    Seq(Vec<Node>),
    Map(MapBuilder),
}

#[derive(Default)]
struct MapBuilder {
    map: Map,
    seen: HashMap<String, Span>,
    pending: Option<Key>,
    /// The values of `<<`, and where it stands.
    merges: Vec<(Span, Node)>,
}

enum Key {
    Named(String, Span),
    Merge(Span),
    /// Already reported; its value is dropped.
    Unusable,
}

/// Reading cannot go on; why has been reported.
struct Stop;

impl TreeBuilder<'_> {
    fn build(mut self, text: &str) -> Option<Node> {
        let mut options = granit_parser::Options::default();
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok((event, span)) => (event, self.span(span.start, span.end)),
                Err(error) => {
                    self.syntax_error(text, &error);
                    return None;
                }
            };
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    self.diags.push(
                        Diagnostic::warning(span, "", "only the first YAML document of a file is read").help(
                            "remove the `---` that starts this one, or give it as a file of its own"
                                .to_owned(),
                        ),
                    );
                    break;
                }
            }
            if self.event(event, span).is_err() {
                return None;
            }
        }
        let end = self.span(Marker::new(0, 1, 0), Marker::new(0, 1, 0));
        Some(self.root.unwrap_or_else(|| Node::new(Value::Null, end)))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let before = self.weight;
                self.add_weight(NODE_BYTES + text.len(), span)?;
                if self.at_key() {
                    return self.key(&text, style, span, anchor);
                }
                // The parser spells an absent value as `~` that covers nothing.
                let absent = style == ScalarStyle::Plain && span.start == span.end;
                let text = if absent { "" } else { &*text };
                let value = self.scalar(text, style, tag.as_deref(), span);
                self.value(Node::new(value, span), anchor, before)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(Collection::Seq(Vec::new()), span, anchor, tag.as_deref(), "seq")
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(Collection::Map(MapBuilder::default()), span, anchor, tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.alias(id, span),
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        let literal = || Value::String(text.to_owned());
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { scalar::resolve(text) } else { literal() };
        };
        let Some(suffix) = tag.core_suffix() else {
            // `!` alone is YAML's own way to say that something is text.
            if tag.to_string() != "!" {
                self.ignored_tag(tag, span);
            }
            return literal();
        };
        match (suffix, scalar::resolve(text)) {
            ("str", _) => literal(),
            ("int", value @ Value::Int(_))
            | ("float", value @ Value::Float(_))
            | ("bool", value @ Value::Bool(_))
            | ("null", value @ Value::Null) => value,
            #[expect(clippy::cast_precision_loss, reason = "what a float tag asks for")]
            ("float", Value::Int(value)) => Value::Float(value as f64),
            _ => {
                let message = format!("this cannot be read as `!!{suffix}`, which its tag asks for");
                self.diags.push(Diagnostic::error(span, "", message).help("remove the tag".to_owned()));
                Value::Null
            }
        }
    }

    /// As in Go, a tag that means nothing here leaves the value as it is written.
    fn ignored_tag(&mut self, tag: &Tag, span: Span) {
        let message = format!("the tag `{tag}` has no meaning here");
        self.diags.push(Diagnostic::warning(span, "", message).help("remove the tag".to_owned()));
    }

    fn open(
        &mut self,
        kind: Collection,
        span: Span,
        anchor: usize,
        tag: Option<&Tag>,
        own_tag: &str,
    ) -> Result<(), Stop> {
        let weight_before = self.weight;
        self.add_weight(NODE_BYTES, span)?;
        if self.frames.len() >= MAX_DEPTH {
            let message = format!("this is nested more than {MAX_DEPTH} levels deep");
            self.diags.push(Diagnostic::error(span, "", message));
            return Err(Stop);
        }
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(own_tag)) {
            self.ignored_tag(tag, span);
        }
        if self.at_key() {
            let message = "a list or map cannot be a key";
            self.diags.push(Diagnostic::error(span, "", message).help(flow_reference_advice()));
        }
        self.frames.push(Frame { kind, span, anchor, weight_before });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        // The end of a block collection is only noticed on a later line.
        let flow = end.start != end.end;
        let (value, last) = match frame.kind {
            Collection::Seq(items) => {
                let last = items.last().map(|item| item.span);
                (Value::Seq(items), last)
            }
            Collection::Map(builder) => {
                let map = self.finish_map(builder);
                let last = map.iter().last().map(|entry| entry.key_span.to(entry.value.span));
                (Value::Map(map), last)
            }
        };
        let span =
            if flow { frame.span.to(end) } else { last.map_or(frame.span, |last| frame.span.to(last)) };
        self.value(Node::new(value, span), frame.anchor, frame.weight_before)
    }

    /// Copies what an anchor names, after making sure that there is room for it.
    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let before = self.weight;
        let Some(weight) = self.anchors.get(&id).map(|anchored| anchored.weight) else {
            let message = "this alias lies inside the value that it stands for";
            self.diags.push(Diagnostic::error(span, "", message));
            return Err(Stop);
        };
        self.add_weight(weight, span)?;
        let node = self.anchors[&id].node.clone();
        match (&node.value, self.at_key()) {
            (Value::String(text), true) => {
                let text = text.clone();
                self.key(&text, ScalarStyle::DoubleQuoted, span, 0)
            }
            _ => self.value(node, 0, before),
        }
    }

    /// Whether the next value is the key of a map.
    fn at_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Collection::Map(map), .. }) if map.pending.is_none())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchor(
                anchor,
                Node::new(Value::String(text.to_owned()), span),
                NODE_BYTES + text.len(),
                span,
            )?;
        }
        let Some(Frame { kind: Collection::Map(builder), .. }) = self.frames.last_mut() else {
            return Ok(());
        };
        let plain = style == ScalarStyle::Plain;
        builder.pending = Some(if plain && span.start == span.end {
            self.diags.push(Diagnostic::error(span, "", "a key is missing before this `:`"));
            Key::Unusable
        } else if plain && text == "<<" {
            Key::Merge(span)
        } else if let Some(first) = builder.seen.get(text) {
            self.diags.push(
                Diagnostic::error(span, "", format!("the key `{text}` is given twice"))
                    .related(*first, "first given here")
                    .help("keep one of the two; to join maps, write them as one".to_owned()),
            );
            Key::Unusable
        } else {
            builder.seen.insert(text.to_owned(), span);
            Key::Named(text.to_owned(), span)
        });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node, anchor: usize, weight_before: usize) -> Result<(), Stop> {
        if anchor != 0 {
            let weight = self.weight - weight_before;
            self.anchor(anchor, node.clone(), weight, node.span)?;
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame { kind: Collection::Seq(items), .. }) => items.push(node),
            Some(Frame { kind: Collection::Map(builder), .. }) => match builder.pending.take() {
                Some(Key::Named(key, key_span)) => builder.map.push(Entry { key, key_span, value: node }),
                Some(Key::Merge(span)) => builder.merges.push((span, node)),
                Some(Key::Unusable) => self.diags.hidden.unknown(&node),
                // A list or map in the place of a key, reported when it was opened.
                None => builder.pending = Some(Key::Unusable),
            },
        }
        Ok(())
    }

    fn anchor(&mut self, id: usize, node: Node, weight: usize, span: Span) -> Result<(), Stop> {
        // The kept copy is memory too.
        self.add_weight(weight, span)?;
        self.anchors.insert(id, Anchored { node, weight });
        Ok(())
    }

    /// Adds what `<<` brings: keys that the map does not give itself; the first of several merges wins.
    fn finish_map(&mut self, builder: MapBuilder) -> Map {
        let MapBuilder { mut map, mut seen, merges, .. } = builder;
        for (span, merge) in merges {
            let maps = match merge.value {
                Value::Seq(items) => items,
                _ => vec![merge],
            };
            for node in maps {
                let Value::Map(base) = node.value else {
                    let message = format!("`<<` takes a map or a list of maps, not {}", node.value.kind());
                    self.diags.push(Diagnostic::error(span, "", message));
                    continue;
                };
                for entry in base {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.key_span);
                        map.push(entry);
                    }
                }
            }
        }
        map
    }

    fn add_weight(&mut self, weight: usize, span: Span) -> Result<(), Stop> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight <= MAX_TREE_BYTES {
            return Ok(());
        }
        let message = format!("the configuration becomes larger than {} MiB here", MAX_TREE_BYTES >> 20);
        let help = if self.anchors.is_empty() {
            format!(
                "each of its values takes {NODE_BYTES} bytes and its text in memory; remove what is not used"
            )
        } else {
            "aliases that repeat aliases multiply; write the values out".to_owned()
        };
        self.diags.push(Diagnostic::error(span, "", message).help(help));
        Err(Stop)
    }

    fn syntax_error(&mut self, text: &str, error: &ScanError) {
        let at = *error.marker();
        let span = self.span(at, at);
        let line = text.lines().nth(at.line().saturating_sub(1)).unwrap_or("");
        let help =
            syntax_advice(error, line).or_else(|| unclosed(error, text, at.byte_offset().unwrap_or(0)));
        let message = match error.kind() {
            ErrorKind::RecursionLimitExceeded => format!("this is nested more than {MAX_DEPTH} levels deep"),
            _ => format!("this is not valid YAML: {}", error.info()),
        };
        self.diags.push(Diagnostic::error(span, "", message).help(help));
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let position = |marker: Marker| Position {
            byte: clamp(marker.byte_offset().unwrap_or(0)),
            line: clamp(marker.line()),
            column: clamp(marker.col() + 1),
        };
        Span { source: self.id, start: position(start), end: position(end) }
    }
}

/// Positions fit because [`MAX_TEXT_BYTES`] does.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn flow_reference_advice() -> String {
    "inside `[…]` and `{…}` a `${…}` must be quoted: [\"${env:X}\"]".to_owned()
}

/// Advice for the mistakes that people make most.
fn syntax_advice(error: &ScanError, line: &str) -> Option<String> {
    let advice = match error.kind() {
        _ if line.contains("${") && line.contains(['[', ',']) && !line.contains(['"', '\'']) => {
            return Some(flow_reference_advice());
        }
        ErrorKind::TabInBlockIndentation => "indent with spaces; YAML does not allow tabs there",
        ErrorKind::MappingValueNotAllowed => "check the indentation, and quote the value if it contains `: `",
        _ if error.info().contains("':' may not precede") => "write a space behind the colon",
        ErrorKind::UnexpectedCharacter { .. } => "quote the value",
        _ if error.info().contains("quoted scalar") => "a quote that was opened further up may not be closed",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Where the innermost `{` or `[` is that is open at `end`, if that is what the parser misses.
fn unclosed(error: &ScanError, text: &str, end: usize) -> Option<String> {
    if !error.info().contains("flow") {
        return None;
    }
    let mut open = Vec::new();
    let mut quote = None;
    for (number, line) in (1..).zip(text.get(..end).unwrap_or(text).lines()) {
        let mut before = ' ';
        for (column, c) in (1..).zip(line.chars()) {
            match (quote, c) {
                (Some(begun), _) if c == begun => quote = None,
                (Some(_), _) => {}
                (None, '#') if before.is_whitespace() => break,
                // Within a word they are just letters.
                (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
                (None, '{' | '[') => open.push((c, number, column)),
                (None, '}' | ']') => drop(open.pop()),
                (None, _) => {}
            }
            before = c;
        }
    }
    let (bracket, line, column) = open.pop()?;
    Some(format!(
        "the `{bracket}` at {line}:{column} is not closed, or something in it is not separated by commas"
    ))
}
