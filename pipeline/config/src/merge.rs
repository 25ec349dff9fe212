//! Several sources made one: each is laid over those before it, in the order of the flags.
//!
//! Maps are joined key by key at every depth; whatever else the later source says replaces what was there, a null
//! included (`processors:` takes away every processor). What was replaced is remembered, so that a mistake that
//! follows from it can be explained.

use crate::diagnostic::Diagnostic;
use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;

/// How many replaced values are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// What later sources have replaced.
#[derive(Debug, Default)]
pub(crate) struct History {
    replaced: Vec<Replaced>,
}

/// One value that a later source has replaced.
#[derive(Debug)]
struct Replaced {
    /// Where in the configuration: `service::pipelines::traces::exporters`.
    path: String,
    /// What was there.
    before: Node,
    /// Where what is there now was written.
    by: Span,
}

/// How lists are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// The later list replaces the earlier one.
    Replace,
    /// Lists of components in `service` are joined: Go's gate `confmap.enableMergeAppendOption`.
    JoinReferences,
}

/// Lays `over` over `base`.
pub(crate) fn merge(base: &mut Node, over: Node, lists: Lists, history: &mut History) {
    lay(base, over, "", Span::NONE, lists, history);
}

fn lay(base: &mut Node, over: Node, path: &str, by: Span, lists: Lists, history: &mut History) {
    match (&mut base.value, over.value) {
        (Value::Map(entries), Value::Map(over)) => lay_map(entries, over, path, lists, history),
        (Value::Seq(items), Value::Seq(over)) if lists == Lists::JoinReferences && lists_components(path) => {
            for item in over {
                if !items.iter().any(|one| one.value == item.value) {
                    items.push(item);
                }
            }
        }
        (_, value) => {
            let by = if value == Value::Null { by } else { over.span };
            let before = std::mem::replace(base, Node { value, span: over.span, origin: over.origin });
            history.remember(path, before, by);
        }
    }
}

fn lay_map(base: &mut Map, over: Map, path: &str, lists: Lists, history: &mut History) {
    for Entry { key, key_span, value } in over {
        match base.entry_mut(&key) {
            Some(entry) => {
                let below = if path.is_empty() { key } else { format!("{path}::{key}") };
                lay(&mut entry.value, value, &below, key_span, lists, history);
                if entry.value.is_null() {
                    // What is said of a null is said of its key.
                    entry.key_span = key_span;
                }
            }
            None => base.push(Entry { key, key_span, value }),
        }
    }
}

/// Whether a list at `path` names components: what the Go collector's patterns `service::extensions`,
/// `service::**::receivers` and `service::**::exporters` match.
fn lists_components(path: &str) -> bool {
    path == "service::extensions"
        || path
            .strip_prefix("service::")
            .is_some_and(|rest| rest.ends_with("::receivers") || rest.ends_with("::exporters"))
}

impl History {
    fn remember(&mut self, path: &str, before: Node, by: Span) {
        let had_content = match &before.value {
            Value::Null => false,
            Value::Map(map) => !map.is_empty(),
            Value::Seq(items) => !items.is_empty(),
            _ => true,
        };
        if had_content && self.replaced.len() < MAX_REMEMBERED {
            self.replaced.push(Replaced { path: path.to_owned(), before, by });
        }
    }

    /// Adds to a finding what was replaced where it helps to understand it: at its own place or above, or where
    /// something that it says is missing (`Diagnostic::lacks`) once was.
    pub(crate) fn explain(&self, diagnostic: &mut Diagnostic) {
        let own = self.replaced.iter().find(|one| is_at_or_above(&one.path, &diagnostic.path));
        let lacking = || {
            let paths = diagnostic.lacks.iter();
            let mut found = paths.filter_map(|lack| self.replaced.iter().find(|one| one.contained(lack)));
            found.next()
        };
        let Some(replaced) = lacking().or(own) else { return };
        if replaced.before.is_expanded() || !replaced.before.span.is_written() {
            return;
        }
        let what = replaced.path.rsplit("::").next().unwrap_or_default();
        let before = replaced.before.span.first_line();
        diagnostic.related.push((before, format!("this `{what}` was replaced by a later source")));
        if diagnostic.span != Some(replaced.by) && replaced.by.is_written() {
            diagnostic.related.push((replaced.by.first_line(), "by what stands here".to_owned()));
        }
    }
}

impl Replaced {
    /// Whether the value that was replaced had something at `path`, or listed the component that `path` names.
    fn contained(&self, path: &str) -> bool {
        if let Some(rest) = path.strip_prefix(&self.path) {
            let keys: Vec<_> = rest.split("::").filter(|key| !key.is_empty()).collect();
            return (rest.is_empty() || rest.starts_with("::")) && self.before.get(&keys).is_some();
        }
        let Some((section, id)) = path.split_once("::") else { return false };
        let is_list_of_them =
            self.path.starts_with("service::") && self.path.rsplit("::").next() == Some(section);
        let Value::Seq(items) = &self.before.value else { return false };
        is_list_of_them && items.iter().any(|item| item.as_text().is_some_and(|text| text.trim() == id))
    }
}

/// Whether `path` is `of` or something that contains it.
fn is_at_or_above(path: &str, of: &str) -> bool {
    of.strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostics;
    use crate::parse::parse_tree;
    use crate::source::Sources;

    fn joined(texts: &[&str], lists: Lists) -> (Node, History, Sources) {
        let mut sources = Sources::new();
        let mut tree = Node::default();
        let mut history = History::default();
        for text in texts {
            let id = sources.add("c.yaml", text);
            let over = parse_tree(&sources, id, &mut Diagnostics::new()).expect("valid YAML");
            merge(&mut tree, over, lists, &mut history);
        }
        (tree, history, sources)
    }

    fn tree(text: &str) -> Node {
        joined(&[text], Lists::Replace).0.unwritten()
    }

    #[test]
    fn maps_are_joined_and_everything_else_is_replaced() {
        for (texts, expected) in [
            (["m: {x: 1, l: [1]}", "m: {l: [2], y: }"], "m: {x: 1, l: [2], y: }"),
            (["m: {x: 1}", "m:"], "m:"),
            (["m: {x: 1}", "m: {}"], "m: {x: 1}"),
            (["m:", "m: {x: 1}"], "m: {x: 1}"),
            (["m: {x: 1}", "m: text"], "m: text"),
            (["m: text", "m: {x: 1}"], "m: {x: 1}"),
            (["a: 1", "b: 2"], "a: 1\nb: 2"),
        ] {
            assert_eq!(joined(&texts, Lists::Replace).0.unwritten(), tree(expected), "{texts:?}");
        }
    }

    #[test]
    fn only_lists_of_components_are_ever_joined() {
        let texts = [
            "service: {extensions: [a, b], pipelines: {logs: {receivers: [r], processors: [p], exporters: [e]}}}",
            "service: {extensions: [b, c], pipelines: {logs: {receivers: [s], processors: [q], exporters: [e]}}}",
        ];
        let expected = "service: {extensions: [a, b, c], pipelines: {logs: {receivers: [r, s], processors: [q], exporters: [e]}}}";
        assert_eq!(joined(&texts, Lists::JoinReferences).0.unwritten(), tree(expected));
    }

    #[test]
    fn a_mistake_is_explained_by_what_was_replaced() {
        let texts = ["exporters: {debug: {}}\n", "exporters:\n"];
        let (_, history, sources) = joined(&texts, Lists::Replace);
        let mut dangling = Diagnostic::error(None, "service::pipelines::traces", "not configured");
        dangling.lacks.push("exporters::debug".to_owned());
        history.explain(&mut dangling);
        let mut diags = Diagnostics::new();
        diags.push(dangling);
        let shown = diags.render(&sources);
        assert!(shown.contains("this `exporters` was replaced by a later source"), "{shown}");
        assert!(shown.contains("by what stands here"), "{shown}");
        let mut other = Diagnostic::error(None, "exporters_of_all_kinds", "unknown");
        history.explain(&mut other);
        assert!(other.related.is_empty());
    }
}
