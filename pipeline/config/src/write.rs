//! [`Node`] → text: YAML as the Go collector lays it out, or JSON.
//!
//! What is written can be read again and is the same tree: texts that would be read as something else are quoted, and a
//! `$` is doubled, so that nothing is expanded that was a plain text. A property in `tests/properties.rs` holds it to
//! that.

use crate::node::{Map, Node, Value};
use crate::scalar::resolve;

/// How far each level is set in.
const INDENT: usize = 4;

/// The tree in YAML.
#[must_use]
pub fn to_yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(map) if !map.is_empty() => entries(map, 0, &mut out),
        Value::Seq(items) if !items.is_empty() => list(items, 0, &mut out),
        _ => {
            scalar(node, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The tree in JSON, which is YAML too. Infinities and the like become null.
#[must_use]
pub fn to_json(node: &Node) -> String {
    let mut json = String::new();
    for c in format!("{:#}\n", escaped(node).to_json()).chars() {
        // JSON takes these as they are, YAML does not; they stand in texts only.
        if c != '\n' && c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            json.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            json.push(c);
        }
    }
    json
}

/// The same tree with every `$` doubled.
fn escaped(node: &Node) -> Node {
    let value = match &node.value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Seq(items) => Value::Seq(items.iter().map(escaped).collect()),
        Value::Map(map) => Value::Map(
            map.iter().map(|entry| crate::Entry { value: escaped(&entry.value), ..entry.clone() }).collect(),
        ),
        value => value.clone(),
    };
    Node::synthetic(value)
}

fn entries(map: &Map, indent: usize, out: &mut String) {
    for (index, entry) in map.iter().enumerate() {
        // The first key of an item stands on the line of its dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        text(&entry.key, out);
        out.push(':');
        below(&entry.value, indent + INDENT, out);
    }
}

fn list(items: &[Node], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push('-');
        match &item.value {
            Value::Map(map) if !map.is_empty() => {
                out.push(' ');
                entries(map, indent + 2, out);
            }
            Value::Seq(items) if !items.is_empty() => {
                out.push(' ');
                list(items, indent + 2, out);
            }
            _ => {
                out.push(' ');
                scalar(item, out);
                out.push('\n');
            }
        }
    }
}

/// The value of a key: on the same line, or set in below it.
fn below(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            out.push('\n');
            entries(map, indent, out);
        }
        Value::Seq(items) if !items.is_empty() => {
            out.push('\n');
            list(items, indent, out);
        }
        _ => {
            out.push(' ');
            scalar(node, out);
            out.push('\n');
        }
    }
}

fn scalar(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) if value.is_nan() => out.push_str(".nan"),
        Value::Float(value) if value.is_infinite() => {
            out.push_str(if *value > 0.0 { ".inf" } else { "-.inf" });
        }
        Value::Float(value) => out.push_str(&format!("{value:?}")),
        Value::String(value) => text(&value.replace('$', "$$"), out),
        Value::Seq(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

/// A text, quoted unless it is plainly one.
fn text(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(c),
            c if c.is_alphabetic() => out.push(c),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Whether any reader of YAML, of 1.1 too, takes it for this text without quotes.
fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '$'));
    let consists = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.-:@+=%$() ;".contains(&b));
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    // Dates and sexagesimal numbers are something else to some readers.
    let is_number_like = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"-:._+".contains(&b));
    let has_marks = text.contains(": ") || text.ends_with([':', ' ']);
    begins
        && consists
        && !is_word
        && !is_number_like
        && !has_marks
        && matches!(resolve(text), Value::String(resolved) if resolved == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_str;

    fn tree(yaml: &str) -> Node {
        parse_str("test", yaml, &|_| None).node.expect("the test's YAML is in form")
    }

    #[test]
    fn it_is_laid_out_as_in_the_go_collector() {
        let yaml = "a:\n    b:\n        - x\n        - c: 1\n          d: 2.5\n        - []\n    e: {}\n    f: null\n\
                    g: \"5\"\nh: localhost:4317\ni: \"a: b\"\nj: 1m30s\nk: \"\"\nl: \"2025-01-01\"\nm: \"yes\"\no: \"# \\n\"\n";
        assert_eq!(to_yaml(&tree(yaml)), yaml);
        assert_eq!(to_yaml(&tree("[[1, 2], {a: [b]}]")), "- - 1\n  - 2\n- a:\n      - b\n");
    }

    #[test]
    fn what_yaml_does_not_take_as_it_is_is_escaped_in_json_too() {
        for c in ['\u{7f}', '\u{80}', '\u{feff}', '\u{ffff}', '\u{1}'] {
            let node = Node::synthetic(Value::String(c.to_string()));
            assert_eq!(tree(&to_json(&node)).to_json(), node.to_json(), "{c:?}");
        }
    }

    #[test]
    fn a_dollar_stays_one() {
        let node = tree("a: $${env:HOME}\n");
        assert_eq!(to_yaml(&node), "a: \"$${env:HOME}\"\n");
        assert_eq!(to_json(&node), "{\n  \"a\": \"$${env:HOME}\"\n}\n");
        assert_eq!(tree(&to_json(&node)).to_json(), node.to_json());
    }
}
