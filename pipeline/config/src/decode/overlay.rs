//! A component's own defaults, laid under what the user wrote.

use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;

/// Lays what the user wrote over a component's defaults. Maps are joined key by key at every depth; whatever else
/// the user wrote replaces the default; a null leaves the default.
///
/// A default key that ends in `?` holds only if the user wrote that key, if only as `key:`. So
/// `grpc?: {endpoint: "localhost:4317"}` says what `grpc` contains when it is there, not that it is there.
#[must_use]
pub fn overlay(defaults: &Node, user: &Node) -> Node {
    let (Value::Map(base), Value::Map(_) | Value::Null) = (&defaults.value, &user.value) else {
        let chosen =
            if user.is_null() && !user.is_expanded() { bare(defaults, user.span) } else { user.clone() };
        return chosen;
    };
    let nothing = Map::new();
    let over = user.as_map().unwrap_or(&nothing);
    let mut joined = Map::new();
    for Entry { key, key_span, value } in over {
        let under = base.get(key).or_else(|| base.get(&format!("{key}?")));
        let value = under.map_or_else(|| value.clone(), |under| overlay(under, value));
        joined.push(Entry { key: key.clone(), key_span: *key_span, value });
    }
    for Entry { key, value, .. } in base {
        if !key.ends_with('?') && over.get(key).is_none() {
            let absent = Node::new(Value::Null, Span::NONE);
            joined.push(Entry { key: key.clone(), key_span: Span::NONE, value: overlay(value, &absent) });
        }
    }
    Node { value: Value::Map(joined), span: user.span, origin: user.origin.clone() }
}

/// A default in the place of a null.
fn bare(default: &Node, span: Span) -> Node {
    Node::new(default.value.clone(), span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostics;
    use crate::parse::parse_tree;
    use crate::source::Sources;

    fn tree(text: &str) -> Node {
        let mut sources = Sources::new();
        let id = sources.add("test", text);
        parse_tree(&sources, id, &mut Diagnostics::new()).expect("valid YAML")
    }

    fn shape(node: &Node) -> String {
        match &node.value {
            Value::Map(map) => {
                let mut keys: Vec<_> =
                    map.iter().map(|entry| format!("{}: {}", entry.key, shape(&entry.value))).collect();
                keys.sort();
                format!("{{{}}}", keys.join(", "))
            }
            Value::Int(number) => number.to_string(),
            Value::Null => "~".to_owned(),
            value => value.kind().to_owned(),
        }
    }

    #[test]
    fn defaults_fill_what_the_user_left_out() {
        let defaults = "a: 1\nm: {x: 1, y: 2}\nopt?: {p: 3}\n";
        for (user, expected) in [
            ("", "{a: 1, m: {x: 1, y: 2}}"),
            ("a: 5\n", "{a: 5, m: {x: 1, y: 2}}"),
            ("a:\n", "{a: 1, m: {x: 1, y: 2}}"),
            ("m: {y: 7, z: 8}\n", "{a: 1, m: {x: 1, y: 7, z: 8}}"),
            ("m:\n", "{a: 1, m: {x: 1, y: 2}}"),
            ("opt:\n", "{a: 1, m: {x: 1, y: 2}, opt: {p: 3}}"),
            ("opt: {q: 4}\n", "{a: 1, m: {x: 1, y: 2}, opt: {p: 3, q: 4}}"),
            ("other:\n", "{a: 1, m: {x: 1, y: 2}, other: ~}"),
        ] {
            assert_eq!(shape(&overlay(&tree(defaults), &tree(user))), expected, "{user:?}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_left_for_the_decoder_to_refuse() {
        let joined = overlay(&tree("m: {x: 1}"), &tree("m: 5"));
        assert_eq!(shape(&joined), "{m: 5}");
    }
}
