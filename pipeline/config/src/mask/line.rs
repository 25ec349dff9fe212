//! Lines of a text that is not YAML, judged as they stand: more is hidden than would have to be.

use std::ops::Range;

use super::nearly_secret;

/// How many lines above are looked at.
const LINES_ABOVE: usize = 500;

/// What is to be hidden in `line`, which begins at byte `start` of `text`.
pub(super) fn ranges(text: &str, start: usize, line: &str) -> Vec<Range<usize>> {
    let indent = indent(line);
    let mut hidden = Vec::new();
    if is_key_material(text.get(..start).unwrap_or_default()) || line.contains("-----BEGIN") {
        hidden.push(indent..line.len());
        return hidden;
    }
    for (at, key) in keys(line) {
        if nearly_secret(key) {
            hidden.push(value(line, at));
        }
    }
    if is_below_secret(text.get(..start).unwrap_or_default(), line) {
        // What stands there is a header with its value, an item of a list, or a line of a longer text.
        let from = match keys(line).next() {
            _ if begins_item(line) => indent + 2,
            Some((at, _)) => value(line, at).start,
            None => indent,
        };
        hidden.push(from..line.len());
    }
    hidden
}

/// The keys in a line, each with where what follows it begins. A key without its `:` counts if it says what it is.
fn keys(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = line.char_indices().filter(|&(at, c)| match c {
        ':' => line[at + 1..].is_empty() || line[at + 1..].starts_with([' ', '\t', '"', '\'']),
        '=' => true,
        ' ' | '\t' => !line[..at].trim().is_empty(),
        _ => false,
    });
    ends.filter_map(|(at, c)| {
        let before = line[..at].trim_end_matches(['"', '\'']);
        let from = before.rfind([' ', '\t', '{', '[', ',', '"', '\'']).map_or(0, |at| at + 1);
        let key = &before[from..];
        (!key.is_empty() && (c == ':' || c == '=' || super::is_secret(key))).then_some((at + 1, key))
    })
}

/// What follows a key: the rest of the line, as nobody knows where a value ends that may not be closed.
fn value(line: &str, at: usize) -> Range<usize> {
    line.len() - line[at..].trim_start().len()..line.len()
}

/// Whether a line stands below a key of secrets, as far as indentation says.
fn is_below_secret(above: &str, line: &str) -> bool {
    let (mut limit, mut is_item) = (indent(line), begins_item(line));
    for line in above.lines().rev().take(LINES_ABOVE).filter(|line| !line.trim().is_empty()) {
        let (own, own_item) = (indent(line), begins_item(line));
        if own > limit || (own == limit && (!is_item || own_item)) {
            continue;
        }
        // The first key of an item is the neighbour of those below it, not what they stand under.
        let is_neighbour = own_item && limit == own + 2;
        if !is_neighbour && keys(line).next().is_some_and(|(_, key)| nearly_secret(key)) {
            return true;
        }
        (limit, is_item) = (own, own_item);
    }
    false
}

fn begins_item(line: &str) -> bool {
    line.trim_start().starts_with("- ")
}

/// Whether a key or certificate was begun and not ended.
fn is_key_material(above: &str) -> bool {
    match (above.rfind("-----BEGIN"), above.rfind("-----END")) {
        (Some(begin), Some(end)) => begin > end,
        (begin, _) => begin.is_some(),
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::super::{Hidden, MASK};
    use crate::source::Sources;

    fn shown(text: &str) -> String {
        let mut sources = Sources::new();
        let id = sources.add("x", text);
        let mut out = String::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n');
            let mut at = 0;
            for range in Hidden::default().in_line(&sources, id, start, bare) {
                out.push_str(&bare[at..range.start]);
                out.push_str(MASK);
                at = range.end;
            }
            out.push_str(&bare[at..]);
            out.push('\n');
            start += line.len();
        }
        out
    }

    #[test]
    fn secrets_are_hidden_in_what_is_not_yaml() {
        for (text, expected) in [
            ("a: [\nheaders: {x: y, z: w}\n", "a: [\nheaders: ***\n"),
            ("headers:\n  x-key: y\n  z: [\nnext: w\n", "headers:\n  x-key: ***\n  z: ***\nnext: w\n"),
            ("tokens:\n- abc\n- def\nnext: x\n", "tokens:\n- ***\n- ***\nnext: x\n"),
            ("key_pem: |\n  AAAA\n  BBBB\nnext: x\n", "key_pem: ***\n  ***\n  ***\nnext: x\n"),
            ("x: |\n -----BEGIN X-----\n AA\n -----END X-----\n", "x: |\n ***\n ***\n ***\n"),
            ("  password hunter2\n  username: x\n", "  password ***\n  username: x\n"),
            ("- action: insert\n  vlaue: hunter2\n", "- action: insert\n  vlaue: ***\n"),
            ("{\"token\": \"a\", \"b\": \"c\"}\n", "{\"token\": ***\n"),
            ("endpoint: foo: bar\n", "endpoint: foo: bar\n"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
