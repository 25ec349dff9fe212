//! Where text came from: sources, positions in them, and spans.

use std::sync::Arc;

/// Names one text in a [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

impl SourceId {
    /// The source of values that nobody wrote in a file, such as a component's own defaults.
    pub const NONE: Self = Self(u32::MAX);

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Offset in bytes from the start of the text.
    pub byte: u32,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { byte: 0, line: 1, column: 1 };
}

/// A run of text: from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The text it lies in.
    pub source: SourceId,
    /// Its first character.
    pub start: Position,
    /// The character after its last.
    pub end: Position,
}

impl Span {
    /// The span of values that nobody wrote; diagnostics show no excerpt for it.
    pub const NONE: Self = Self { source: SourceId::NONE, start: Position::START, end: Position::START };

    /// Whether it lies in a text that somebody wrote.
    #[must_use]
    pub fn is_written(self) -> bool {
        self.source != SourceId::NONE
    }

    /// The smallest span that covers this one and `other`, which must lie in the same source.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl Span {
    /// Its first character, to point at what may go on over many lines.
    #[must_use]
    pub(crate) fn first_line(self) -> Self {
        if self.start.line == self.end.line { self } else { Self { end: self.start, ..self } }
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::NONE
    }
}

/// The texts of one configuration, kept so that diagnostics can quote them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    texts: Vec<Text>,
}

#[derive(Debug, Clone)]
struct Text {
    name: Arc<str>,
    text: Arc<str>,
    /// Whether the name is a path that the text was read from.
    is_file: bool,
}

impl Sources {
    /// No texts yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text under a name to show (usually the path as it was given) and returns its id. A byte order mark is
    /// taken off.
    pub fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.push(name, text, false)
    }

    /// The same for what was read from a file.
    pub fn add_file(&mut self, path: &str, text: &str) -> SourceId {
        self.push(path, text, true)
    }

    fn push(&mut self, name: &str, text: &str, is_file: bool) -> SourceId {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let id = u32::try_from(self.texts.len()).expect("a configuration has few sources");
        self.texts.push(Text { name: name.into(), text: text.into(), is_file });
        SourceId(id)
    }

    /// The name of a source.
    #[must_use]
    pub fn name(&self, id: SourceId) -> Option<&str> {
        self.texts.get(id.0 as usize).map(|text| &*text.name)
    }

    /// The text of a source.
    #[must_use]
    pub fn text(&self, id: SourceId) -> Option<&str> {
        self.texts.get(id.0 as usize).map(|text| &*text.text)
    }

    /// The path of a source, if it was read from a file.
    #[must_use]
    pub fn path(&self, id: SourceId) -> Option<&str> {
        self.texts.get(id.0 as usize).filter(|text| text.is_file).map(|text| &*text.name)
    }

    /// The ids of all sources, in the order added.
    pub fn ids(&self) -> impl Iterator<Item = SourceId> + use<> {
        (0..u32::try_from(self.texts.len()).unwrap_or(u32::MAX)).map(SourceId)
    }

    /// The text under a span.
    #[must_use]
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.text(span.source)?.get(span.start.byte as usize..span.end.byte as usize)
    }

    /// The line that a byte offset lies on, without its line break, and the offset at which it starts.
    #[must_use]
    pub(crate) fn line_at(&self, id: SourceId, byte: u32) -> Option<(usize, &str)> {
        let text = self.text(id)?;
        let at = (byte as usize).min(text.len());
        let start = text.as_bytes()[..at].iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let length = text.as_bytes()[start..].iter().position(|&b| b == b'\n');
        let end = length.map_or(text.len(), |n| start + n);
        Some((start, text.get(start..end)?.trim_end_matches('\r')))
    }
}
