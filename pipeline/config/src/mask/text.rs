//! Secrets that a text itself gives away, wherever it stands.

use std::borrow::Cow;
use std::ops::Range;

use super::{MASK, is_secret, joined};

/// What separates one thing from the next in a line of text.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// A text for people without what it may keep secret: user, password and query of URLs, and tokens.
#[must_use]
pub fn discreet(text: &str) -> Cow<'_, str> {
    let hidden = joined(ranges(text), text);
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut at = 0;
    for range in hidden {
        shown.push_str(&text[at..range.start]);
        shown.push_str(MASK);
        at = range.end;
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

/// What is to be hidden in a text.
pub(super) fn ranges(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    for (at, word) in words(text) {
        url(at, word, &mut hidden);
    }
    assigned(text, &mut hidden);
    credentials(text, &mut hidden);
    hidden
}

/// The words of a text, each with where it begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(ends_word).map(move |word| {
        let start = at;
        // What ended the word is one ASCII character, or white space of any width.
        at += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
        (start, word)
    })
}

/// User, password and query of a URL; `user:password@` also where there is no scheme.
fn url(at: usize, word: &str, hidden: &mut Vec<Range<usize>>) {
    let scheme = word.find("://");
    let slashes = word.len() - word.trim_start_matches('/').len();
    let start = scheme.map_or(slashes, |found| found + 3);
    let rest = &word[start..];
    // A password may have a `/` or `?` in it that should have been escaped.
    let authority_end = rest.find(['/', '?', '#', ',']).unwrap_or(rest.len());
    let user_end = match rest[..authority_end].rfind('@') {
        None if scheme.is_some() => rest.rfind('@').filter(|&at| rest[..at].contains(':')),
        found => found,
    };
    // Messages show how a proxy is written.
    let is_example = |end: &usize| &rest[..*end] == "[user:password";
    if let Some(user_end) = user_end.filter(|end| !is_example(end)) {
        let user = &rest[..user_end];
        // In a line, the key and brackets may stand in front.
        let from = if scheme.is_some() { 0 } else { user.rfind(['{', '[', ',', '=']).map_or(0, |at| at + 1) };
        if scheme.is_some() || (user[from..].contains(':') && !user.contains("${")) {
            hidden.push(at + start + from..at + start + user_end);
        }
    }
    let behind_user = user_end.unwrap_or(0);
    let query = rest[behind_user..].find('?').map(|found| behind_user + found + 1);
    if let Some(query) = query.filter(|&query| scheme.is_some() || rest[query..].contains('=')) {
        let end = rest[query..].trim_end_matches(['}', ']', ',']).len();
        hidden.push(at + start + query..at + start + query + end);
    }
}

/// `password=…`, `password: …` and `${PASSWORD:-…}`, in the middle of other things.
fn assigned(text: &str, hidden: &mut Vec<Range<usize>>) {
    for (at, separator) in text.match_indices(['=', ':']) {
        let before = text[..at].trim_end_matches(['"', '\'']);
        let key_at = before
            .rfind(|c: char| !(c.is_alphanumeric() || "_-".contains(c)))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        if !is_secret(&before[key_at..]) {
            continue;
        }
        let after = &text[at + 1..];
        if let Some(default) = after.strip_prefix('-').filter(|_| separator == ":") {
            let from = text.len() - default.len();
            hidden.push(from..from + default.find('}').unwrap_or(default.len()));
            continue;
        }
        let value = after.trim_start();
        // `token:` in the middle of a word is not a key.
        if separator == ":" && value.len() == after.len() && !value.starts_with(['"', '\'']) {
            continue;
        }
        let from = text.len() - value.len();
        let within = match separator {
            "=" => Within::List,
            _ if text[..at].contains(['{', '[']) => Within::Brackets,
            _ => Within::Line,
        };
        hidden.push(from..from + value_length(value, within));
    }
}

/// What a value stands in, which says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A line of YAML.
    Line,
    /// Brackets in YAML.
    Brackets,
    /// Other assignments: a query, a connection string.
    List,
}

/// How long the value is that a text begins with; 0 for a section, whose own keys speak for it.
fn value_length(text: &str, within: Within) -> usize {
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '{' | '[' | '|' | '>' | '&' | '*' => 0,
        '"' | '\'' => text[1..].find(first).map_or(text.len(), |end| end + 2),
        '$' if text.starts_with("${") && !text[..text.find('}').unwrap_or(0)].contains(":-") => 0,
        _ => {
            let comment = text.find(" #").unwrap_or(text.len());
            let stops: &[char] = match within {
                Within::Line => &[],
                Within::Brackets => &['}', ']', ','],
                Within::List => &[';', '&'],
            };
            let end = text.find(stops).unwrap_or(text.len());
            text[..end.min(comment)].trim_end().len()
        }
    }
}

/// What follows `Bearer` and `Basic`.
fn credentials(text: &str, hidden: &mut Vec<Range<usize>>) {
    for scheme in ["bearer ", "basic "] {
        let lower = text.to_ascii_lowercase();
        for (at, _) in lower.match_indices(scheme) {
            let word_before = text[..at].chars().next_back().is_some_and(char::is_alphanumeric);
            let from = at + scheme.len();
            let length = text[from..].find(|c: char| ends_word(c) || matches!(c, ',' | '}' | ']'));
            let credential = &text[from..from + length.unwrap_or(text.len() - from)];
            let is_word = credential.len() < 16 && credential.chars().skip(1).all(char::is_lowercase);
            if !word_before && !is_word && !credential.starts_with("${") {
                hidden.push(from..from + credential.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_texts_are_masked_and_the_rest_is_not() {
        for (text, shown) in [
            ("https://u:p@host:1/a?token=t#x", "https://***@host:1/a?***"),
            ("see \"http://user@host/\" there", "see \"http://***@host/\" there"),
            ("https://u:p/q?r@host/x", "https://***@host/x"),
            ("endpoint: {a: https://h/p?k=v}", "endpoint: {a: https://h/p?***}"),
            ("user:secret@host:4317", "***@host:4317"),
            ("[a:b@c, d]", "[***@c, d]"),
            ("/u:p@host/path", "/***@host/path"),
            ("someone@example.com", "someone@example.com"),
            ("Authorization: Bearer abc.def-123", "Authorization: ***"),
            ("x: \"Bearer 0123456789abcdef\"", "x: \"Bearer ***\""),
            ("x: Basic dTpw", "x: Basic ***"),
            ("a basic understanding", "a basic understanding"),
            ("Host=h;Password=hunter2;Port=1", "Host=h;Password=***;Port=1"),
            ("{password: hunter2, level: x}", "{password: ***, level: x}"),
            ("password: \"a, b\" # c", "password: *** # c"),
            ("token: ${env:TOKEN}", "token: ${env:TOKEN}"),
            ("token: ${env:TOKEN:-hunter2}", "token: ***"),
            ("x: ${DB_PASSWORD:-hunter2}", "x: ${DB_PASSWORD:-***}"),
            ("/v1/x?sig=abc", "/v1/x?***"),
            ("what? no: x=y", "what? no: x=y"),
            ("token_url: https://host/token", "token_url: https://host/token"),
            ("key `token` is missing", "key `token` is missing"),
            ("tokens: [a, b]", "tokens: [a, b]"),
        ] {
            assert_eq!(discreet(text), shown, "{text}");
        }
    }
}
