//! The whole way from `--config` and `--set` to one expanded tree.

use std::path::Path;

use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expand::{Env, Expansion, expand};
use crate::legacy::{Edit, modernise};
use crate::load::{Gates, not_a_configuration};
use crate::merge::{History, Lists, merge};
use crate::node::{Node, Origin, Value};
use crate::parse::parse_tree;
use crate::provider::{Providers, SCHEMES, public_url, split_scheme};
use crate::set::{nest_keys, read_set};
use crate::source::{SourceId, Sources};
use crate::suggest;

/// A configuration that has been read.
#[derive(Debug)]
pub struct Parsed {
    /// The tree of all sources, merged, with all `${…}` replaced; `None` if a source could not be read.
    pub node: Option<Node>,
    /// What was found on the way; more is added by loading and decoding.
    pub diagnostics: Diagnostics,
    /// The texts, for showing diagnostics.
    pub sources: Sources,
    history: History,
    /// How the texts would say in the modern form what was found while reading.
    edits: Vec<Edit>,
}

impl Parsed {
    fn nothing() -> Self {
        Self {
            node: None,
            diagnostics: Diagnostics::new(),
            sources: Sources::new(),
            history: History::default(),
            edits: Vec::new(),
        }
    }

    /// Gives what older collectors accepted its modern form, with a warning for each. To be called once, before
    /// loading. Returns how the texts would say the same.
    pub fn modernise(&mut self, catalog: &dyn Catalog) -> Vec<Edit> {
        let mut edits = std::mem::take(&mut self.edits);
        if let Some(node) = &mut self.node {
            edits.extend(modernise(node, catalog, &mut self.diagnostics));
        }
        edits
    }

    fn expand(&mut self, tree: Node, providers: &Providers<'_>) {
        let mut expansion = Expansion {
            providers,
            sources: &mut self.sources,
            diags: &mut self.diagnostics,
            edits: &mut self.edits,
        };
        self.node = Some(expand(tree, &mut expansion));
    }

    /// Everything found so far, as plain text. With several sources, a finding also says what one source has replaced
    /// of another where that explains it.
    #[must_use]
    pub fn render(&self) -> String {
        self.explained().render(&self.sources)
    }

    /// Everything found so far, with what the merging of sources has to do with it.
    #[must_use]
    pub fn explained(&self) -> Diagnostics {
        let mut explained = Diagnostics::new();
        explained.hidden.append(self.diagnostics.hidden.clone());
        for finding in &self.diagnostics {
            let mut finding = finding.clone();
            self.history.explain(&mut finding);
            explained.push(finding);
        }
        explained
    }
}

/// Reads the values of `--config` in order and lays those of `--set` over them: maps are joined, everything else is
/// replaced. Then every `${…}` is replaced.
///
/// A value of `--config` is a path, or a scheme and what it says: `file:path`, `yaml:text`, `env:VARIABLE`, or a URL
/// with `http:` or `https:`. A value of `--set` is `key.path=value`.
#[must_use]
pub fn resolve(configs: &[String], sets: &[String], gates: Gates, providers: &Providers<'_>) -> Parsed {
    let mut parsed = Parsed::nothing();
    let mut trees = Vec::new();
    for uri in configs {
        trees.push(read_uri(&mut parsed, uri, providers));
    }
    for set in sets {
        trees.push(read_set(set, &mut parsed.sources, &mut parsed.diagnostics));
    }
    if let Some(trees) = trees.into_iter().collect() {
        let lists = if gates.join_references { Lists::JoinReferences } else { Lists::Replace };
        let merged = merged(trees, lists, &mut parsed);
        parsed.expand(merged, providers);
    }
    parsed
}

/// Reads a text, which may refer to the environment only. `name` is what diagnostics call it.
#[must_use]
pub fn parse_str(name: &str, text: &str, env: Env<'_>) -> Parsed {
    let mut parsed = Parsed::nothing();
    let id = parsed.sources.add(name, text);
    if let Some(tree) = parse_tree(&parsed.sources, id, &mut parsed.diagnostics) {
        parsed.expand(tree, &Providers::sealed(env));
    }
    parsed
}

/// Reads a file.
#[must_use]
pub fn parse_file(path: &Path, env: Env<'_>) -> Parsed {
    let uri = format!("file:{}", path.display());
    resolve(&[uri], &[], Gates::default(), &Providers::local(env))
}

/// One tree of several. A single one is left as it is, whatever it is.
fn merged(mut trees: Vec<Node>, lists: Lists, parsed: &mut Parsed) -> Node {
    if trees.len() == 1 {
        return trees.remove(0);
    }
    let mut base = Node::default();
    for tree in trees {
        match &tree.value {
            Value::Map(_) => merge(&mut base, tree, lists, &mut parsed.history),
            // An empty source adds nothing.
            Value::Null => {}
            _ => parsed.diagnostics.push(not_a_configuration(&tree)),
        }
    }
    base
}

/// Reads one value of `--config`. Why it cannot be read is reported.
fn read_uri(parsed: &mut Parsed, uri: &str, providers: &Providers<'_>) -> Option<Node> {
    let (scheme, rest) = split_scheme(uri).unwrap_or(("file", uri));
    let (name, text) = match scheme {
        "yaml" => ("yaml:".to_owned(), Ok(rest.to_owned())),
        "file" => (rest.to_owned(), providers.outside.file(rest)),
        // As in Go, a variable that is not set says nothing.
        "env" => (uri.to_owned(), Ok((providers.env)(rest).unwrap_or_default())),
        "http" | "https" => (public_url(uri), providers.outside.fetch(uri)),
        _ => {
            let message = format!("unsupported scheme on URI \"{scheme}:…\"");
            let help = suggest::advice(scheme, "schemes", &SCHEMES);
            parsed.diagnostics.push(Diagnostic::error(None, "", message).help(help));
            return None;
        }
    };
    let text = match text {
        Ok(text) => text,
        Err(problem) => {
            let message = format!("cannot read the configuration {name}: {problem}");
            parsed.diagnostics.push(Diagnostic::error(None, "", message));
            return None;
        }
    };
    let id = if scheme == "file" {
        parsed.sources.add_file(rest, &text)
    } else {
        parsed.sources.add(&name, &text)
    };
    let mut tree = read_tree(parsed, id)?;
    match scheme {
        // There, but not in files, `a::b: c` is a way to write nested keys.
        "yaml" => nest_keys(&mut tree),
        // A variable, or page, that is no configuration was not meant to be one, and may be a secret.
        "env" | "http" | "https" if tree.as_map().is_none() => {
            tree.origin = Origin::Expanded { original: None };
        }
        _ => {}
    }
    Some(tree)
}

fn read_tree(parsed: &mut Parsed, id: SourceId) -> Option<Node> {
    parse_tree(&parsed.sources, id, &mut parsed.diagnostics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    struct Page;

    impl crate::provider::Outside for Page {
        fn fetch(&self, url: &str) -> Result<String, String> {
            if url.ends_with("/page") { Ok("a: 1\n".to_owned()) } else { Err("404 Not Found".to_owned()) }
        }
    }

    fn read(configs: &[&str], sets: &[&str]) -> Parsed {
        let env = |name: &str| match name {
            "CONFIG" => Some("a: 1".to_owned()),
            "SECRET" => Some("hunter2".to_owned()),
            _ => None,
        };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let providers = Providers { env: &env, outside: &Page };
        resolve(&owned(configs), &owned(sets), Gates::default(), &providers)
    }

    #[test]
    fn every_form_of_a_config_value_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, "a: 1\n").expect("written");
        let path = path.display().to_string();
        for uri in ["yaml:a: 1", "env:CONFIG", "http://u:p@localhost/page", &format!("file:{path}"), &path] {
            let parsed = read(&[uri], &[]);
            assert!(parsed.diagnostics.is_empty(), "{}", parsed.render());
            let value = parsed.node.and_then(|node| node.get(&["a"]).cloned()).map(|node| node.value);
            assert_eq!(value, Some(Value::Int(1)), "{uri}");
        }
        for (uri, reason) in [
            ("http://u:p@localhost/x", "cannot read the configuration http://localhost/x: 404 Not Found"),
            ("/no/such/file", "cannot read the configuration /no/such/file: No such file"),
            ("fil:/x", "did you mean `file`?"),
            ("", "cannot read the configuration"),
        ] {
            let shown = read(&[uri], &[]).render();
            assert!(shown.contains(reason) && !shown.contains("u:p"), "{uri}: {shown}");
        }
    }

    #[test]
    fn later_sources_and_then_sets_are_laid_over_earlier_ones() {
        let parsed = read(
            &["yaml:{m: {x: 1, y: 1}, l: [1]}", "env:UNSET", "yaml:m::y: 2", "yaml:l: [2]"],
            &["m.y=3", "m.z.a=${env:CONFIG}"],
        );
        assert!(parsed.diagnostics.is_empty(), "{}", parsed.render());
        let expected = read(&["yaml:{m: {x: 1, y: 3, z: {a: {a: 1}}}, l: [2]}"], &[]);
        let plain =
            |parsed: Parsed| format!("{:?}", crate::node::tests::plain(&parsed.node.expect("a tree")));
        assert_eq!(plain(parsed), plain(expected));
    }

    #[test]
    fn what_is_not_a_map_cannot_be_merged_and_is_not_shown_if_it_may_be_secret() {
        let parsed = read(&["yaml:a: 1", "env:SECRET"], &[]);
        let shown = parsed.render();
        assert!(shown.contains("a configuration is a map") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_its_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").expect("written");
        assert!(parse_file(&path, &no_env).render().contains("line 2 is not UTF-8"));
    }
}
