//! `--set key.path=value`, and the `a::b` of `yaml:` sources.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Entry, Map, Node, Value};
use crate::parse::parse_text;
use crate::source::{Position, Sources, Span};

/// What a source made of `--set` is called.
const NAME: &str = "--set";

/// Reads `key.path=value` into a tree of one value. Dots nest; the value is YAML. Why it cannot be read is reported.
pub(crate) fn read_set(set: &str, sources: &mut Sources, diags: &mut Diagnostics) -> Option<Node> {
    // A key of one letter gets a space in front, to leave room for what stands in for it below.
    let text = if set.find('=') == Some(1) { format!(" {set}") } else { set.to_owned() };
    let id = sources.add(NAME, &text);
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| names_a_key(key)) else {
        let whole = Span { source: id, start: Position::START, end: at(text.len()) };
        let help = "write --set=processors.batch.timeout=2s".to_owned();
        diags.push(Diagnostic::error(whole, "", "this does not say what to set").help(help));
        return None;
    };
    // The value as it would be read behind a key of the same length, so that places in it are right.
    let tree = parse_text(&format!("{}: {value}", "k".repeat(key.len() - 1)), id, diags)?;
    let value = match tree.value {
        Value::Map(map) => map.into_iter().next().map(|entry| entry.value),
        _ => None,
    };
    let key_span = Span { source: id, start: Position::START, end: at(key.len()) };
    let tree = nested(&key.trim().replace('.', "::"), key_span, value.unwrap_or_default());
    diags.hidden.by_name(&tree, id);
    Some(tree)
}

fn names_a_key(key: &str) -> bool {
    key.replace("::", ".").split('.').all(|part| !part.trim().is_empty())
}

/// Makes nested maps of keys such as `a::b`, at every depth. As in Go, the same key written both ways is joined.
pub(crate) fn nest_keys(node: &mut Node) {
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(nest_keys),
        Value::Map(map) => {
            let mut joined = Node::new(Value::Map(Map::new()), node.span);
            for Entry { key, key_span, mut value } in std::mem::take(map) {
                nest_keys(&mut value);
                let one = nested(&key, key_span, value);
                let mut ignored = crate::merge::History::default();
                crate::merge::merge(&mut joined, one, crate::merge::Lists::Replace, &mut ignored);
            }
            node.value = joined.value;
        }
        _ => {}
    }
}

/// A value under a path of keys.
fn nested(path: &str, key_span: Span, value: Node) -> Node {
    path.rsplit("::").fold(value, |value, key| {
        let mut map = Map::new();
        let span = if value.span.is_written() { key_span.to(value.span) } else { key_span };
        map.push(Entry { key: key.to_owned(), key_span, value });
        Node::new(Value::Map(map), span)
    })
}

fn at(byte: usize) -> Position {
    let byte = u32::try_from(byte).unwrap_or(u32::MAX);
    Position { byte, line: 1, column: byte.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> (Option<Node>, String, Sources) {
        let mut sources = Sources::new();
        let mut diags = Diagnostics::new();
        let node = read_set(text, &mut sources, &mut diags);
        let shown = diags.render(&sources);
        (node, shown, sources)
    }

    #[test]
    fn dots_nest_and_the_value_is_yaml_with_its_place() {
        for (text, path, value) in [
            ("a.b=5", &["a", "b"][..], "5"),
            ("exporters.debug/x.verbosity=normal", &["exporters", "debug/x", "verbosity"], "normal"),
            ("a::b=[c, d]", &["a", "b"], "[c, d]"),
            ("a.b={c: d=e}", &["a", "b"], "{c: d=e}"),
            ("ab= \"x y\"", &["ab"], "\"x y\""),
        ] {
            let (node, shown, sources) = set(text);
            let node = node.unwrap_or_else(|| panic!("{text}: {shown}"));
            let found = node.get(path).unwrap_or_else(|| panic!("{text}: {node:?}"));
            assert_eq!(sources.slice(found.span), Some(value), "{text}");
        }
        assert_eq!(
            set("a.b=").0.and_then(|node| node.get(&["a", "b"]).cloned()).map(|node| node.value),
            Some(Value::Null)
        );
        let one = set("a=7").0.and_then(|node| node.get(&["a"]).cloned()).map(|node| node.value);
        assert_eq!(one, Some(Value::Int(7)));
    }

    #[test]
    fn what_does_not_name_a_key_is_refused_with_an_example() {
        for text in ["", "a", "=x", "a..b=1", ".a=1", "a.=1"] {
            let (node, shown, _) = set(text);
            assert!(
                node.is_none() && shown.contains("write --set=processors.batch.timeout=2s"),
                "{text}: {shown}"
            );
        }
        let (node, shown, _) = set("a.b=[c");
        assert!(node.is_none() && shown.contains("not valid YAML"), "{shown}");
    }
}
