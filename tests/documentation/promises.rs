//! Each promise names the tests that show it, and they are there.

use super::{at_root, below, read};
use std::fs;

const PAGE: &str = "docs/promises.md";

#[test]
fn every_promise_names_tests_that_are_there() {
    let page = read(PAGE);
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let mut named = 0;
    for (promise, tested) in rows.skip(1) {
        let tests = Tests::of(tested);
        assert!(
            tested == "the same" || !tests.named.is_empty() || !tests.commands.is_empty(),
            "untested: {promise}"
        );
        for (name, place) in &tests.named {
            assert!(is_there(name, place), "{PAGE}: there is no `{name}` in `{place}` to show: {promise}");
        }
        for command in &tests.commands {
            let (recipe, how) = command.split_once(' ').unwrap_or((command, ""));
            let justfile = read("justfile");
            let is_known = justfile.lines().any(|line| line.starts_with(&format!("{recipe} ")));
            assert!(is_known && justfile.contains(how), "{PAGE}: there is no `just {command}`: {promise}");
        }
        named += tests.named.len();
    }
    assert!(named > 40, "the table is read: {named}");
}

/// What the right column says.
#[derive(Default)]
struct Tests<'a> {
    /// Functions, and the folder or file that they are in.
    named: Vec<(&'a str, &'a str)>,
    /// Recipes, without `just`.
    commands: Vec<&'a str>,
}

impl<'a> Tests<'a> {
    /// Names stand in front of their place: `` `one` and `another` in `tests/durable` ``.
    fn of(text: &'a str) -> Self {
        let (mut tests, mut names) = (Self::default(), Vec::new());
        for code in text.split('`').skip(1).step_by(2) {
            if let Some(command) = code.strip_prefix("just ") {
                tests.commands.push(command);
            } else if code.contains('/') {
                tests.named.extend(names.drain(..).map(|name| (name, code)));
            } else if !code.starts_with('.') {
                names.push(code);
            }
        }
        // Those that are left stand in the place that was named last.
        let last = tests.named.last().map(|(_, place)| *place);
        tests.named.extend(names.into_iter().map(|name| (name, last.unwrap_or("nowhere"))));
        tests
    }
}

/// Whether a Rust test or a case of a Python script of that name is there.
fn is_there(name: &str, place: &str) -> bool {
    let path = at_root(place);
    let files = if path.is_dir() { below(&path) } else { vec![path] };
    let heads = ["fn", "def"].map(|keyword| format!("{keyword} {name}("));
    files.iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        heads.iter().any(|head| text.contains(head))
    })
}
