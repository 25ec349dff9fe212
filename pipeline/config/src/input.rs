//! The whole way from a text, file or `--config` value to an expanded tree.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expand::{Env, expand};
use crate::node::Node;
use crate::parse::{MAX_TEXT_BYTES, parse_tree, too_long};
use crate::source::{SourceId, Sources};

/// A configuration that has been read.
#[derive(Debug)]
pub struct Parsed {
    /// The tree with all `${…}` replaced; `None` if the text could not be read as YAML.
    pub node: Option<Node>,
    /// What was found on the way; more is added by loading and decoding.
    pub diagnostics: Diagnostics,
    /// The texts, for showing diagnostics.
    pub sources: Sources,
}

impl Parsed {
    /// Everything found so far, as plain text.
    #[must_use]
    pub fn render(&self) -> String {
        self.diagnostics.render(&self.sources)
    }
}

/// Reads a text. `name` is what diagnostics call it.
#[must_use]
pub fn parse_str(name: &str, text: &str, env: Env<'_>) -> Parsed {
    let mut parsed = Parsed { node: None, diagnostics: Diagnostics::new(), sources: Sources::new() };
    let id = parsed.sources.add(name, text);
    parsed.node = read(&mut parsed, id, env);
    parsed
}

/// Reads a file.
#[must_use]
pub fn parse_file(path: &Path, env: Env<'_>) -> Parsed {
    let name = path.display().to_string();
    match read_text(path) {
        Ok(text) => parse_str(&name, &text, env),
        Err(problem) => {
            let mut diagnostics = Diagnostics::new();
            diagnostics.push(Diagnostic::error(
                None,
                "",
                format!("cannot read the configuration {name}: {problem}"),
            ));
            Parsed { node: None, diagnostics, sources: Sources::new() }
        }
    }
}

/// Reads a value of `--config`: a path, `file:path`, or `yaml:text`.
///
/// Further schemes and several sources, merged by [`Node::merge`] before expansion, will be taken here.
#[must_use]
pub fn parse_uri(uri: &str, env: Env<'_>) -> Parsed {
    match uri.split_once(':') {
        Some(("yaml", text)) => parse_str("yaml:", text, env),
        Some(("file", path)) => parse_file(Path::new(path), env),
        Some((scheme @ ("env" | "http" | "https"), _)) => {
            let mut diagnostics = Diagnostics::new();
            let message = format!("scheme \"{scheme}\" is not supported for uri \"{uri}\"");
            diagnostics.push(
                Diagnostic::error(None, "", message).help("give a path, file:path or yaml:text".to_owned()),
            );
            Parsed { node: None, diagnostics, sources: Sources::new() }
        }
        _ => parse_file(Path::new(uri), env),
    }
}

fn read(parsed: &mut Parsed, id: SourceId, env: Env<'_>) -> Option<Node> {
    let tree = parse_tree(&parsed.sources, id, &mut parsed.diagnostics)?;
    Some(expand(tree, env, &mut parsed.diagnostics))
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long from one that just fits.
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(too_long(bytes.len()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 text")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Value;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn every_form_of_a_config_value_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, "a: 1\n").expect("written");
        let path = path.display().to_string();
        for uri in ["yaml:a: 1", &format!("file:{path}"), &path] {
            let parsed = parse_uri(uri, &no_env);
            assert!(parsed.diagnostics.is_empty(), "{}", parsed.render());
            let value = parsed.node.and_then(|node| node.get(&["a"]).cloned()).map(|node| node.value);
            assert_eq!(value, Some(Value::Int(1)), "{uri}");
        }
        for uri in ["http://localhost/x", "env:X", "/no/such/file"] {
            assert!(parse_uri(uri, &no_env).diagnostics.has_errors(), "{uri}");
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_its_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").expect("written");
        assert!(parse_file(&path, &no_env).render().contains("line 2 is not UTF-8"));
    }
}
