//! What a request tells its destination in confidence, and quoting the destination without it.
//!
//! Destinations repeat what they were sent: a page about a request shows its headers, a proxy names the user. What they
//! say goes into logs, dead letters and answers to senders, where credentials have no place. What is confidential is
//! known here: the values of headers that are marked sensitive (all that are configured or come from an authenticator,
//! cookies, a proxy's credentials) and the URL's query. They are masked as they are, and as JSON, URLs and HTML escape
//! them; besides, whatever looks like a credential is ([`discreet`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderValue, Uri};
use millrace_config::discreet;

/// As much is quoted of what a destination says, in bytes.
pub const QUOTE_MAX: usize = 512;
/// What is shorter is found in any text by chance, and hardly a secret.
const SHORTEST: usize = 4;
/// What stands for what was left out.
const MASK: &str = "***";

/// What was sent with a request that is for its destination only.
pub struct Confided(Vec<String>);

impl Confided {
    /// What was sent with these headers, and to this URL; with what the client has `added` of its own, all of it
    /// confidential.
    #[must_use]
    pub fn of(headers: &HeaderMap, added: &[HeaderValue], uri: &Uri) -> Self {
        let sensitive = headers.values().filter(|value| value.is_sensitive()).chain(added);
        let mut all = Vec::new();
        for value in sensitive {
            parts(&String::from_utf8_lossy(value.as_bytes()), &mut all);
        }
        if let Some(query) = uri.query() {
            parts(query, &mut all);
            parts(&unescaped(query), &mut all);
        }
        all.retain(|text| text.len() >= SHORTEST);
        // A whole value before its parts.
        all.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(all)
    }

    /// A text of the destination's in one line that moves no cursor, at most [`QUOTE_MAX`] long, without what was told in
    /// confidence. May be empty.
    #[must_use]
    pub fn quote(&self, text: &str) -> String {
        // Masked before it is cut, as half of a secret would not be found.
        let line = shortened(one_line(&self.masked(text)));
        shortened(discreet(&line).into_owned())
    }

    fn masked(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut left = text;
        while let Some(first) = left.chars().next() {
            // Most characters begin neither a secret nor an escape.
            let begins = |secret: &&String| matches!(first, '\\' | '%' | '&') || secret.starts_with(first);
            match self.0.iter().filter(begins).find_map(|secret| behind(secret, left)) {
                Some(rest) => {
                    masked.push_str(MASK);
                    left = rest;
                }
                None => {
                    masked.push(first);
                    left = &left[first.len_utf8()..];
                }
            }
        }
        masked
    }
}

/// The headers that a client adds to those that it is given, as far as they are confidential.
pub(crate) fn added(headers: &HeaderMap) -> Vec<HeaderValue> {
    let names = [http::header::COOKIE, http::header::PROXY_AUTHORIZATION];
    names.iter().filter_map(|name| headers.get(name).cloned()).collect()
}

/// A value, and what of it could be repeated alone: a token without its scheme, user and password, the values of cookies
/// and of a query.
fn parts(value: &str, all: &mut Vec<String>) {
    all.push(value.to_owned());
    if let Some((scheme, credential)) = value.split_once(' ') {
        all.push(credential.trim().to_owned());
        let is_basic = scheme.eq_ignore_ascii_case("basic");
        if let Some(plain) = is_basic.then(|| BASE64.decode(credential.trim()).ok()).flatten() {
            let plain = String::from_utf8_lossy(&plain).into_owned();
            all.extend(plain.split_once(':').map(|(_, password)| password.to_owned()));
            all.push(plain);
        }
    }
    let pairs = value.split([';', '&']).filter_map(|pair| pair.split_once('='));
    all.extend(pairs.map(|(_, value)| value.to_owned()));
}

/// A query as whoever has read it repeats it.
fn unescaped(query: &str) -> String {
    let mut left = query;
    std::iter::from_fn(|| {
        let (found, rest) = url(left)?;
        left = rest;
        Some(found)
    })
    .collect()
}

/// What follows the secret in a text that begins with it, as it is or escaped.
fn behind<'t>(secret: &str, text: &'t str) -> Option<&'t str> {
    let styles: [Next; 4] = [plain, json, url, html];
    styles.iter().find_map(|next| {
        secret.chars().try_fold(text, |left, wanted| {
            let (found, rest) = next(left)?;
            (found == wanted).then_some(rest)
        })
    })
}

/// Takes the next character of a text. What is no escape stands for itself.
type Next = for<'t> fn(&'t str) -> Option<(char, &'t str)>;

fn plain(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    Some((first, &text[first.len_utf8()..]))
}

fn json(text: &str) -> Option<(char, &str)> {
    let escaped = text.strip_prefix('\\').and_then(|rest| match rest.strip_prefix('u') {
        Some(rest) => Some((hex(rest.get(..4)?)?, &rest[4..])),
        None => plain(rest).filter(|(quoted, _)| matches!(quoted, '"' | '\\' | '/')),
    });
    escaped.or_else(|| plain(text))
}

fn url(text: &str) -> Option<(char, &str)> {
    let escaped = text.strip_prefix('%').and_then(|rest| Some((hex(rest.get(..2)?)?, &rest[2..])));
    // Of more than one byte only the whole is a character; nobody has such secrets.
    escaped.filter(|(found, _)| found.is_ascii()).or_else(|| plain(text))
}

fn html(text: &str) -> Option<(char, &str)> {
    let escaped = text.strip_prefix('&').and_then(|rest| {
        let (name, rest) = rest.split_at_checked(rest.bytes().take(8).position(|byte| byte == b';')?)?;
        let found = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => match name.strip_prefix('#')? {
                name if name.starts_with(['x', 'X']) => hex(&name[1..])?,
                name => char::from_u32(name.parse().ok()?)?,
            },
        };
        Some((found, &rest[1..]))
    });
    escaped.or_else(|| plain(text))
}

fn hex(digits: &str) -> Option<char> {
    let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)).flatten()
}

/// In one line, without what moves the cursor or turns the direction of what follows.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let is_blank = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for word in text.split(is_blank).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Cut between characters, with a sign that it was.
fn shortened(mut text: String) -> String {
    const CUT: &str = "…";
    if text.len() > QUOTE_MAX {
        text.truncate(text.floor_char_boundary(QUOTE_MAX - CUT.len()));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName};
    use proptest::prelude::*;

    const URI: &str = "http://backend.test/v1/logs?signature=que%2Fry%2B1&v=2";

    /// What is confided by a request with these headers, of which the content type is no secret.
    fn confided(headers: &[(HeaderName, &str)]) -> Confided {
        let mut sent = HeaderMap::new();
        for (name, text) in headers {
            let mut value = HeaderValue::from_str(text).expect("a header");
            value.set_sensitive(name != CONTENT_TYPE);
            sent.append(name, value);
        }
        let added = added(&sent);
        sent.remove(COOKIE);
        Confided::of(&sent, &added, &Uri::from_static(URI))
    }

    #[test]
    fn what_was_sent_in_confidence_is_masked_in_whatever_repeats_it() {
        let basic = format!("Basic {}", BASE64.encode("alice:pass/word"));
        let confided = confided(&[
            (CONTENT_TYPE, "application/json"),
            (AUTHORIZATION, &basic),
            (HeaderName::from_static("x-key"), "a\"b\\c/d&e"),
            (HeaderName::from_static("x-short"), "abc"),
            (COOKIE, "session=c00kie1; other=1"),
        ]);
        for (said, quoted) in [
            (&*format!("got {basic}"), "got ***"),
            (&basic["Basic ".len()..], "***"),
            ("wrong password pass/word for alice", "wrong password *** for alice"),
            ("credentials alice:pass/word", "credentials ***"),
            (r#"{"x-key":"a\"b\\c\/d\u0026e"}"#, r#"{"x-key":"***"}"#),
            ("key=a%22b%5Cc%2fd%26e!", "key=***!"),
            ("<title>a&quot;b\\c/d&amp;e &amp; co</title>", "<title>*** &amp; co</title>"),
            ("a&#34;b\\c&#x2F;d&e", "***"),
            ("Cookie: session=c00kie1; other=1", "Cookie: ***"),
            ("no session c00kie1.", "no session ***."),
            ("the signature que/ry+1, or que%2Fry%2B1", "the signature ***, or ***"),
            ("cannot POST \\/v1\\/logs?signature=que%2Fry%2B1&v=2", "cannot POST \\/v1\\/logs?***"),
            ("application/json is not taken, nor abc", "application/json is not taken, nor abc"),
            // Nobody's of this request, but they look like it.
            ("Authorization: Bearer eyJhbGciOiJ", "Authorization: ***"),
        ] {
            assert_eq!(confided.quote(said), quoted, "{said}");
        }
    }

    #[test]
    fn a_quote_is_one_short_line() {
        let quote = |text: &str| confided(&[]).quote(text);
        assert_eq!(
            quote("\r\n invalid timestamp\n\tin line\u{a0}3\u{1b}[2J\u{0}\u{202e}x\n"),
            "invalid timestamp in line 3 [2J x"
        );
        assert_eq!(quote(" \n\u{7}"), "");
        assert_eq!(quote(&"x".repeat(QUOTE_MAX)), "x".repeat(QUOTE_MAX));
        let long = quote(&"ä".repeat(QUOTE_MAX));
        assert_eq!(long, format!("{}…", "ä".repeat(254)));
    }

    #[test]
    fn a_secret_at_the_end_of_what_is_quoted_is_not_cut_in_half() {
        let confided = confided(&[(AUTHORIZATION, "Bearer 0123456789abcdef")]);
        for before in QUOTE_MAX - 40..QUOTE_MAX + 1 {
            let said = format!("{} 0123456789abcdef", "x".repeat(before));
            assert!(!confided.quote(&said).contains('0'), "{before}");
        }
    }

    fn escaped(secret: &str, style: u8, which: &[bool]) -> String {
        let escape = |(at, c): (usize, char)| {
            let must = match style {
                0 => false,
                1 => matches!(c, '"' | '\\'),
                2 => c == '%',
                _ => c == '&',
            };
            match style {
                1 if must || which[at] => format!("\\u{:04x}", u32::from(c)),
                2 if must || which[at] => format!("%{:02X}", u32::from(c)),
                3 if must || which[at] => format!("&#{};", u32::from(c)),
                _ => c.to_string(),
            }
        };
        secret.chars().enumerate().map(escape).collect()
    }

    proptest! {
        #[test]
        fn no_way_of_escaping_gets_a_secret_through(
            secret in "[!-~]{8,40}", style in 0u8..4, which in prop::collection::vec(any::<bool>(), 40),
        ) {
            let shown = escaped(&secret, style, &which);
            let quote = confided(&[(HeaderName::from_static("x-key"), &secret)]).quote(&format!("« {shown} »"));
            prop_assert!(!quote.contains(&secret) && !quote.contains(&shown), "{quote}");
        }

        #[test]
        fn any_text_is_quoted_within_its_limit(text: String, secret in "[ -~]{0,10}") {
            let quote = confided(&[(HeaderName::from_static("x-key"), &secret)]).quote(&text);
            prop_assert!(quote.len() <= QUOTE_MAX && !quote.contains(char::is_control), "{quote}");
        }
    }
}
