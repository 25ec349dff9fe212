//! What the sources can say about a configuration: every text that is handed to the reporting functions.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The functions that report, and which of their arguments is the message. `at` is a `Checker`, whose messages may begin
/// with a verb: then the key, which is the first argument, stands in front.
const REPORTERS: [(&str, usize); 6] = [
    ("at.error(", 1),
    ("at.warning(", 1),
    ("at.error_here(", 0),
    ("Diagnostic::error(", 2),
    ("Diagnostic::warning(", 2),
    ("self.error(", 2),
];

/// Where messages are put together before they are reported.
const VARIABLES: [&str; 2] = ["let message = ", "let (message, "];

/// Error types whose texts become messages.
const ERRORS: [&str; 6] = [
    "pipeline/config/src/id.rs",
    "pipeline/config/src/values/duration.rs",
    "pipeline/net/src/endpoint.rs",
    "pipeline/net/src/tls/choices.rs",
    "pipeline/net/src/connect/proxy.rs",
    "pipeline/config/src/gates.rs",
];

/// A text that can be said.
#[derive(Debug)]
pub struct Message {
    place: String,
    /// What stands between the parts that vary.
    fixed: Vec<String>,
}

impl Message {
    /// From a literal, as far as its first line break; `{…}` in it varies.
    fn new(place: String, literal: &str) -> Self {
        let text = unescaped(literal);
        let text = text.split('\n').next().unwrap_or_default();
        let mut fixed = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    fixed.last_mut().expect("never empty").push(c);
                }
                '{' => {
                    chars.by_ref().find(|&c| c == '}');
                    fixed.push(String::new());
                }
                c => fixed.last_mut().expect("never empty").push(c),
            }
        }
        Self { place, fixed }
    }

    /// Whether a line says this.
    pub fn is_in(&self, line: &str) -> bool {
        let mut rest = line;
        self.fixed.iter().all(|fixed| match rest.find(fixed.as_str()) {
            Some(at) => {
                rest = &rest[at + fixed.len()..];
                true
            }
            None => false,
        })
    }

    /// Whether it begins so.
    pub fn begins_with(&self, text: &str) -> bool {
        self.fixed[0].starts_with(text)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fixed.join("…"))
    }
}

/// Everything that can be said, and for each file how many reports there are whose message is not written there.
pub fn messages(root: &Path) -> (Vec<Message>, BTreeMap<String, usize>) {
    let (mut messages, mut indirect) = (Vec::new(), BTreeMap::new());
    for folder in ["pipeline", "receivers", "processors", "exporters", "extensions", "connectors", "src"] {
        for path in sources(&root.join(folder)) {
            let file = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            // The tests of a file stand at its end.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let told = reports(text, &file, &mut messages);
            if told > 0 {
                indirect.insert(file.clone(), told);
            }
            if ERRORS.contains(&file.as_str()) {
                for (at, _) in text.match_indices("#[error(") {
                    let literals = literals(arguments(&text[at + "#[error(".len()..])[0]);
                    messages.extend(literals.iter().map(|text| Message::new(file.clone(), text)));
                }
            }
        }
    }
    (messages, indirect)
}

/// Adds the messages that one file reports; how many of its reports have theirs from elsewhere.
fn reports(text: &str, file: &str, messages: &mut Vec<Message>) -> usize {
    let mut indirect = 0;
    for (reporter, index) in REPORTERS {
        for (at, _) in text.match_indices(reporter) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' {
                continue;
            }
            let place = format!("{file}:{}", text[..at].matches('\n').count() + 1);
            let arguments = arguments(&text[at + reporter.len()..]);
            let Some(message) = arguments.get(index) else { continue };
            let found = literals(message);
            indirect += usize::from(found.is_empty());
            let key = literals(arguments[0]).into_iter().next().filter(|_| index == 1);
            messages.extend(found.into_iter().map(|literal| match &key {
                Some(key) if begins_with_a_verb(&literal) => {
                    Message::new(place.clone(), &format!("`{key}` {literal}"))
                }
                _ => Message::new(place.clone(), &literal),
            }));
        }
    }
    if indirect > 0 {
        for variable in VARIABLES {
            for (at, _) in text.match_indices(variable) {
                let place = format!("{file}:{}", text[..at].matches('\n').count() + 1);
                let value = statement(&text[at + variable.len()..]);
                messages.extend(literals(value).iter().map(|literal| Message::new(place.clone(), literal)));
            }
        }
    }
    indirect
}

/// As `Checker` has it.
fn begins_with_a_verb(message: &str) -> bool {
    let verbs =
        ["contain", "may", "must", "has", "is", "needs", "requires", "cannot", "belongs", "does", "stands"];
    verbs.contains(&message.split(' ').next().unwrap_or_default())
}

/// All Rust files of a folder but tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_test = name == "tests" || name == "tests.rs" || name == "testing.rs" || name == "examples";
        if path.is_dir() && !is_test {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && !is_test {
            found.push(path);
        }
    }
    found
}

/// Walks over code, jumping over strings, until `ends` says so of a bracket, comma or semicolon at a depth.
fn walk(text: &str, mut visit: impl FnMut(usize, char, i32) -> bool) {
    let mut depth = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                while let Some((_, c)) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if visit(at, c, depth) {
            return;
        }
    }
}

/// The arguments of a call whose bracket has just been opened.
fn arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut from) = (Vec::new(), 0);
    walk(text, |at, c, depth| {
        if depth < 0 || (depth == 0 && c == ',') {
            arguments.push(&text[from..at]);
            from = at + 1;
        }
        depth < 0
    });
    arguments
}

/// A statement as far as its semicolon.
fn statement(text: &str) -> &str {
    let mut end = text.len();
    walk(text, |at, c, depth| {
        let ends = depth < 0 || (depth == 0 && c == ';');
        if ends {
            end = at;
        }
        ends
    });
    &text[..end]
}

/// The string literals in code that say something.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = code.chars();
    while chars.by_ref().any(|c| c == '"') {
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => literal.extend(['\\'].into_iter().chain(chars.next())),
                c => literal.push(c),
            }
        }
        if literal.len() > 3 {
            found.push(literal);
        }
    }
    found
}

/// What a literal stands for.
fn unescaped(literal: &str) -> String {
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('n')) => {
                chars.next();
                text.push('\n');
            }
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some(_)) => text.extend(chars.next()),
            (c, _) => text.push(c),
        }
    }
    text
}
