//! Edits of a text: only what an edit covers changes.

use granit_parser::{Event, Parser};

use super::{Change, Edit, Moved};
use crate::node::{Node, Value};
use crate::scalar;
use crate::source::Span;

/// Carries out as many of the edits of one text as do not touch one another. `None` if there is none: otherwise the
/// result is to be read again, for the others.
#[must_use]
pub fn rewrite(text: &str, edits: &[&Edit]) -> Option<String> {
    let writer = Writer { text, flows: flow_ranges(text) };
    let mut patches: Vec<Patch> = Vec::new();
    for edit in edits {
        // All of an edit or nothing of it.
        let Some(new) = writer.patches(edit) else { continue };
        if new.iter().all(|patch| patches.iter().all(|other| !patch.touches(other))) {
            patches.extend(new);
        }
    }
    // From the back; what is inserted in front of a replaced text comes after it.
    patches.sort_by_key(|patch| std::cmp::Reverse((patch.start, patch.end)));
    let mut out = text.to_owned();
    for Patch { start, end, with } in &patches {
        out.replace_range(*start..*end, with);
    }
    (out != text).then_some(out)
}

/// A piece of text for another.
struct Patch {
    start: usize,
    end: usize,
    with: String,
}

impl Patch {
    fn touches(&self, other: &Self) -> bool {
        let both_insert = self.start == self.end && other.start == other.end && self.start == other.start;
        both_insert
            || (self.start < other.end && other.start < self.end)
            || self.splits(other)
            || other.splits(self)
    }

    /// Whether this is inserted into what the other replaces.
    fn splits(&self, other: &Self) -> bool {
        self.start == self.end && other.start < self.start && self.start < other.end
    }
}

struct Writer<'t> {
    text: &'t str,
    /// Where lists and maps are written with brackets.
    flows: Vec<(usize, usize)>,
}

/// How an entry is written.
#[derive(Clone, Copy)]
struct Style {
    /// The column it begins at.
    indent: usize,
    /// Between brackets.
    is_flow: bool,
    /// With keys in double quotes, as in JSON.
    is_json: bool,
}

impl Writer<'_> {
    fn patches(&self, edit: &Edit) -> Option<Vec<Patch>> {
        let mut patches = vec![self.patch(edit)?];
        let moved_away = match &edit.change {
            Change::Join(moved) => moved.as_slice(),
            Change::Wrap(_, moved) => moved.get(1..).unwrap_or_default(),
            _ => &[],
        };
        let removals: Option<Vec<_>> = moved_away
            .iter()
            .map(|one| {
                let (start, end) = range(one.whole);
                self.removal(start, end)
            })
            .collect();
        patches.extend(self.joined(removals?));
        Some(patches)
    }

    /// Removals of neighbours as one: each would take the comma between them.
    fn joined(&self, mut removals: Vec<Patch>) -> Vec<Patch> {
        removals.sort_by_key(|patch| patch.start);
        let mut joined: Vec<Patch> = Vec::new();
        for patch in removals {
            let Some(last) = joined.last_mut().filter(|last| patch.start <= last.end) else {
                joined.push(patch);
                continue;
            };
            last.end = patch.end.max(last.end);
            if self.text[last.end..].trim_start().starts_with(['}', ']']) {
                let before = self.text[..last.start].trim_end();
                last.start = before.strip_suffix(',').map_or(last.start, str::len);
            }
        }
        joined
    }

    fn patch(&self, edit: &Edit) -> Option<Patch> {
        let (start, end) = range(edit.span);
        let old = self.text.get(start..end)?;
        let replace = |with: String| Some(Patch { start, end, with });
        let insert = |at: usize, with: String| Some(Patch { start: at, end: at, with });
        match &edit.change {
            Change::Name(name) => replace(like(old, name)),
            Change::Value(node) => replace(match &node.value {
                Value::String(text) if old.starts_with(['"', '\'']) => like(old, text),
                _ => flow(node),
            }),
            Change::Entry(key, node) => replace(self.style(start).entry(key, node)),
            Change::Remove => self.removal(start, end),
            Change::Before(key, node) => {
                let style = self.style(start);
                insert(start, style.entry(key, node) + &style.gap(self.line_break()))
            }
            Change::First(key, node) => {
                let style = Style { is_flow: true, ..self.style(start) };
                let section = format!("{{{}}}", style.entry(key, node));
                if old.starts_with('{') {
                    return replace(section);
                }
                let colon = end + self.text.get(end..)?.find(':')? + 1;
                insert(colon, format!(" {section}"))
            }
            Change::Wrap(outer, moved) => {
                let style = self.style(start);
                let inner = Style { indent: style.indent + 2, ..style };
                let entries = self.moved(moved, inner)?;
                let outer = style.key(outer);
                replace(if style.is_flow {
                    format!("{outer}: {{{}}}", entries.join(", "))
                } else {
                    let gap = inner.gap(self.line_break());
                    format!("{outer}:{gap}{}", entries.join(&gap))
                })
            }
            Change::Join(moved) => {
                let style = self.style(start);
                let gap = style.gap(self.line_break());
                insert(start, self.moved(moved, style)?.join(&gap) + &gap)
            }
            Change::Braces(names) => replace(self.braces(old, names, start)),
        }
    }

    /// Entries under their new keys, written as they are, for another place.
    fn moved(&self, moved: &[Moved], style: Style) -> Option<Vec<String>> {
        let entry = |one: &Moved| {
            let (_, key_end) = range(one.key_span);
            let (start, end) = range(one.whole);
            let rest = self.text.get(key_end..end)?;
            let rest = if style.is_flow {
                flow_safe(rest).or_else(|| on_one_line(rest, &one.value))?
            } else {
                indented(rest, style.indent.checked_sub(self.style(start).indent)?)
            };
            let rest = if rest.contains(':') { rest } else { format!("{rest}:") };
            Some(style.key(&one.key) + &rest)
        };
        moved.iter().map(entry).collect()
    }

    /// Takes out an entry or item: its lines, or what stands between two commas.
    fn removal(&self, start: usize, end: usize) -> Option<Patch> {
        let patch = |start, end| Some(Patch { start, end, with: String::new() });
        if self.is_in_flow(start) {
            let after = &self.text[end..];
            let rest = after.trim_start();
            if let Some(next) = rest.strip_prefix(',') {
                return patch(start, self.text.len() - next.trim_start().len());
            }
            let before = self.text[..start].trim_end();
            return patch(before.strip_suffix(',').map_or(start, str::len), end);
        }
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        if !matches!(self.text[line..start].trim(), "" | "-") {
            return None;
        }
        // An absent value ends with the `:` of its key, and what follows on the line can only be a comment.
        let until = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at + 1);
        patch(line, until)
    }

    /// A text with `${env:NAME}` for `$NAME`.
    fn braces(&self, old: &str, names: &[String], start: usize) -> String {
        let mut out = String::new();
        let mut rest = old;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let length =
                after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
            let name = &after[..length];
            if let Some(after) = after.strip_prefix('$') {
                out.push_str("$$");
                rest = after;
            } else if names.iter().any(|one| one == name) {
                out.push_str(&format!("${{env:{name}}}"));
                rest = &after[length..];
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        let is_plain = !old.starts_with(['"', '\'', '|', '>']);
        if is_plain && self.is_in_flow(start) { quoted(&out) } else { out }
    }

    fn style(&self, start: usize) -> Style {
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        Style {
            indent: self.text[line..start].chars().count(),
            is_flow: self.is_in_flow(start),
            is_json: self.text[start..].starts_with('"'),
        }
    }

    fn is_in_flow(&self, at: usize) -> bool {
        self.flows.iter().any(|&(start, end)| start < at && at < end)
    }

    fn line_break(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

impl Style {
    fn key(self, key: &str) -> String {
        if self.is_json { quoted(key) } else { scalar_text(key) }
    }

    fn entry(self, key: &str, node: &Node) -> String {
        let name = self.key(key);
        match &node.value {
            Value::Map(map) if !self.is_flow && !map.is_empty() => {
                let inner = Self { indent: self.indent + 2, ..self };
                let entries: Vec<_> = map.iter().map(|one| inner.entry(&one.key, &one.value)).collect();
                let gap = inner.gap("\n");
                format!("{name}:{gap}{}", entries.join(&gap))
            }
            Value::Seq(items) if !self.is_flow && !items.is_empty() => {
                let gap = Self { indent: self.indent + 2, ..self }.gap("\n");
                let items: Vec<_> = items.iter().map(|item| format!("{gap}- {}", self.item(item))).collect();
                format!("{name}:{}", items.concat())
            }
            _ => format!("{name}: {}", flow_in(node, self.is_json)),
        }
    }

    fn item(self, node: &Node) -> String {
        match &node.value {
            Value::Map(map) if !map.is_empty() => {
                let inner = Self { indent: self.indent + 4, ..self };
                let entries: Vec<_> = map.iter().map(|one| inner.entry(&one.key, &one.value)).collect();
                entries.join(&inner.gap("\n"))
            }
            _ => flow(node),
        }
    }

    /// What stands between two entries.
    fn gap(self, line_break: &str) -> String {
        if self.is_flow { ", ".to_owned() } else { format!("{line_break}{:1$}", "", self.indent) }
    }
}

/// A value on one line.
pub(super) fn flow(node: &Node) -> String {
    flow_in(node, false)
}

fn flow_in(node: &Node, is_json: bool) -> String {
    let text = |text: &str| if is_json { quoted(text) } else { scalar_text(text) };
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::String(value) => text(value),
        Value::Seq(items) => {
            let items: Vec<_> = items.iter().map(|item| flow_in(item, is_json)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry =
                |one: &crate::node::Entry| format!("{}: {}", text(&one.key), flow_in(&one.value, is_json));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text as it can stand anywhere, with quotes where it needs them.
fn scalar_text(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@+".contains(&byte))
        && !text.ends_with(':')
        && matches!(scalar::resolve(text), Value::String(_));
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// A text in double quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text with the quotes that the old one has.
fn like(old: &str, text: &str) -> String {
    match old.chars().next() {
        Some('"') => quoted(text),
        Some('\'') => format!("'{}'", text.replace('\'', "''")),
        _ => scalar_text(text),
    }
}

/// What follows a key, as it can stand between brackets; `None` if it cannot.
fn flow_safe(rest: &str) -> Option<String> {
    let value = rest.trim_start().strip_prefix(':')?.trim();
    if value.contains('\n') {
        return None;
    }
    let is_plain = !value.starts_with(['"', '\'', '[', '{', '*', '&', '!']);
    let value =
        if is_plain && value.contains([',', '[', ']', '{', '}']) { quoted(value) } else { value.to_owned() };
    Some(format!(": {value}"))
}

/// The same for what is written on several lines, if nothing is lost by that: no comment, and no `${…}`.
fn on_one_line(rest: &str, value: &Node) -> Option<String> {
    fn is_written(node: &Node) -> bool {
        !node.is_expanded()
            && match &node.value {
                Value::Seq(items) => items.iter().all(is_written),
                Value::Map(map) => map.iter().all(|entry| is_written(&entry.value)),
                _ => true,
            }
    }
    (!rest.contains('#') && is_written(value)).then(|| format!(": {}", flow(value)))
}

/// A text with its further lines moved to the right.
fn indented(text: &str, by: usize) -> String {
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        if !line.trim().is_empty() {
            out.push_str(&" ".repeat(by));
        }
        out.push_str(line);
    }
    out
}

fn range(span: Span) -> (usize, usize) {
    (span.start.byte as usize, span.end.byte as usize)
}

/// Where lists and maps begin and end that are written with brackets.
fn flow_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut open = Vec::new();
    let mut ranges = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let offset = |marker: granit_parser::Marker| marker.byte_offset().unwrap_or(0);
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => open.push(offset(span.start)),
            Event::SequenceEnd | Event::MappingEnd => {
                let (Some(start), end) = (open.pop(), offset(span.end)) else { continue };
                let has_brackets = text[start..].starts_with(['[', '{']);
                if has_brackets && text[..end].ends_with([']', '}']) {
                    ranges.push((start, end));
                }
            }
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_quotes_where_they_need_them() {
        for (text, written) in [
            ("localhost:4317", "localhost:4317"),
            ("http://x/y", "http://x/y"),
            ("true", "\"true\""),
            ("10", "\"10\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("${env:X}", "\"${env:X}\""),
            ("a\n\"b\"", "\"a\\n\\\"b\\\"\""),
        ] {
            assert_eq!(scalar_text(text), written);
        }
    }

    #[test]
    fn brackets_are_told_from_indentation() {
        let text = "a: {b: [c]}\nd:\n  - e\nf: '{'\n";
        let writer = Writer { text, flows: flow_ranges(text) };
        let is_flow = |what: &str| writer.is_in_flow(text.find(what).expect("there"));
        assert!(is_flow("b") && is_flow("c"));
        assert!(!is_flow("a") && !is_flow("e") && !is_flow("f"));
    }
}
