//! The components' own pages: each names every key of its component, or says where the keys in common are listed.

use crate::compare::{Row, Status, rows};
use crate::{at_root, go, ours};
use std::fs;
use std::path::PathBuf;

/// Where the page of a component lies.
fn page(section: &str, name: &str) -> Option<PathBuf> {
    let folder = match name {
        "otlp_grpc" | "otlp_http" => "otlp",
        name => name,
    };
    let beside_its_code = at_root(&format!("{section}/src/{folder}/README.md"));
    beside_its_code.exists().then_some(beside_its_code)
}

#[test]
fn every_page_names_every_key() {
    let go = go::components();
    let nothing = go::Key::default();
    let mut missing = Vec::new();
    for ours::Component { section, name, root } in ours::components() {
        if section == "service" {
            continue;
        }
        let Some(path) = page(&section, &name) else {
            missing.push(format!("{section}/{name} has no README.md"));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a page");
        let theirs = go.get(&format!("{section}/{name}")).unwrap_or(&nothing);
        for Row { path, status, shared, .. } in rows(&root, theirs) {
            // What belongs to a section in common is listed in docs/compatibility.md, which the page must lead to.
            let is_elsewhere = shared.is_some() && text.contains("docs/compatibility.md");
            let own_name = path.rsplit("::").next().unwrap_or(&path);
            let is_named = text.split('`').skip(1).step_by(2).any(|code| names(code, own_name));
            if status != Status::NotYet && !is_elsewhere && !is_named {
                missing.push(format!("{section}/{name}: `{path}`"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "keys that the pages of their components do not name:\n{}",
        missing.join("\n")
    );
}

/// Whether a piece of code contains a key as a whole word.
fn names(code: &str, key: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '-');
    code.split(|c: char| !is_word(c)).any(|word| word == key)
}
