//! Several sources of a configuration, `--set`, and old forms: whatever they say is read or explained, a source laid
//! over itself changes nothing, and `--fix` comes to an end that says what was said.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_config::legacy::rewrite;
use millrace_config::{Gates, Node, Outside, Parsed, Providers, Value, parse_str, resolve};
use millrace_fuzz::configuration::{TestCatalog, check, judge};

/// What separates the sources. One that begins with `=` is the value of a `--set`.
const SEPARATOR: char = '\u{1}';
/// As in `millrace validate --fix`.
const MAX_ROUNDS: usize = 20;

fuzz_target!(|text: &str| {
    let parts: Vec<&str> = text.split(SEPARATOR).take(8).collect();
    let files = Texts(parts.iter().copied().filter(|part| !part.starts_with('=')).collect());
    let sets: Vec<String> =
        parts.iter().filter_map(|part| part.strip_prefix('=')).map(str::to_owned).collect();
    for join_references in [false, true] {
        together(&files, &sets, Gates { join_references, ..Gates::default() });
    }
    if let Some(first) = files.0.first() {
        over_itself(first);
        fixed(first);
    }
});

fn env(name: &str) -> Option<String> {
    (name != "UNSET").then(|| "a: [b]".to_owned())
}

struct Texts<'t>(Vec<&'t str>);

impl Outside for Texts<'_> {
    fn file(&self, path: &str) -> Result<String, String> {
        let text = path.parse().ok().and_then(|at: usize| self.0.get(at));
        text.map(|text| (*text).to_owned()).ok_or_else(|| "there is no such file".to_owned())
    }

    fn fetch(&self, _: &str) -> Result<String, String> {
        Err("there is no network".to_owned())
    }
}

fn together(files: &Texts<'_>, sets: &[String], gates: Gates) {
    // The last is given where `a::b: c` nests.
    let mut names: Vec<_> = (0..files.0.len()).map(|at| format!("file:{at}")).collect();
    names.extend(files.0.last().map(|text| format!("yaml:{text}")));
    let providers = Providers { env: &env, outside: files };
    let parsed = resolve(&names, sets, gates, &providers);
    assert!(parsed.node.is_some() || parsed.diagnostics.has_errors());
    let (config, parsed) = judge(parsed, gates);
    assert_eq!(config.is_none(), parsed.diagnostics.has_errors(), "{}", parsed.render());
    is_well_explained(&parsed);
}

fn is_well_explained(parsed: &Parsed) {
    for diagnostic in &parsed.explained() {
        assert!(!diagnostic.message.is_empty());
        let spans = diagnostic.span.iter().chain(diagnostic.related.iter().map(|(span, _)| span));
        for span in spans.filter(|span| span.is_written()) {
            assert!(parsed.sources.slice(*span).is_some(), "{diagnostic:?}");
        }
    }
    assert_eq!(parsed.render().is_empty(), parsed.diagnostics.is_empty());
}

fn over_itself(text: &str) {
    let read = |times: usize| {
        let files = Texts(vec![text]);
        let names = vec!["file:0".to_owned(); times];
        let providers = Providers { env: &env, outside: &files };
        resolve(&names, &[], Gates::default(), &providers).node
    };
    if let (Some(once), Some(twice)) = (read(1), read(2))
        && once.as_map().is_some()
    {
        assert!(says_the_same(&once, &twice), "{once:?}\n{twice:?}");
    }
}

fn says_the_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other.iter())
                    .all(|(a, b)| a.key == b.key && says_the_same(&a.value, &b.value))
        }
        (Value::Seq(one), Value::Seq(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| says_the_same(a, b))
        }
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

fn fixed(text: &str) {
    let Some(new) = rewritten(text) else { panic!("there is no end to rewriting\n{text}") };
    if new == text {
        return;
    }
    assert!(parse_str("c.yaml", &new, &env).node.is_some(), "{text}\n{new}");
    let (before, _) = check("c.yaml", text, &env, Gates::default());
    let (after, parsed) = check("c.yaml", &new, &env, Gates::default());
    assert!(before.is_none() || after.is_some(), "{text}\n{new}\n{}", parsed.render());
}

/// What becomes of a text when there is nothing left to do.
fn rewritten(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let mut parsed = parse_str("c.yaml", &text, &env);
        let edits = parsed.modernise(&TestCatalog);
        // Without the byte order mark, which stays: the edits count from behind it.
        let read = parsed.sources.ids().next().and_then(|id| parsed.sources.text(id))?;
        let mark = text.strip_suffix(read)?;
        match rewrite(read, &edits.iter().collect::<Vec<_>>()) {
            Some(next) => text = format!("{mark}{next}"),
            None => return Some(text),
        }
    }
    None
}
