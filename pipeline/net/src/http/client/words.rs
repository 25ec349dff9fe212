//! What an answer says to people.

use super::Response;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use std::borrow::Cow;

impl Response {
    /// What its body says in words: all of a text and of JSON, and the title of a page. `None` for whatever else it is.
    ///
    /// It is as it came: long, of many lines, and perhaps with what it was told in confidence; see
    /// [`Confided::quote`](crate::Confided::quote).
    #[must_use]
    pub fn words(&self) -> Option<Cow<'_, str>> {
        let is_page = match kind(&self.headers)? {
            Kind::Text => false,
            Kind::Page => self.body.contains(&b'<'),
        };
        match String::from_utf8_lossy(&self.body) {
            text if !is_page => Some(text),
            Cow::Borrowed(page) => title(page).map(Cow::Borrowed),
            Cow::Owned(page) => title(&page).map(|title| Cow::Owned(title.to_owned())),
        }
    }
}

enum Kind {
    Text,
    /// Of HTML, unless there is no tag in it: frameworks call plain words so, too.
    Page,
}

/// What a body is said to be, if it can be read by people.
fn kind(headers: &HeaderMap) -> Option<Kind> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
        return None;
    }
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim().to_ascii_lowercase();
    match essence.split_once('/')? {
        ("text", "html") | ("application", "xhtml+xml") => Some(Kind::Page),
        ("text", _) | ("application", "json") => Some(Kind::Text),
        ("application", kind) if kind.ends_with("+json") => Some(Kind::Text),
        _ => None,
    }
}

/// The title of a page, if it has no tags in it.
fn title(page: &str) -> Option<&str> {
    let tags = page.to_ascii_lowercase();
    let tag = tags.find("<title")?;
    let from = tag + tags[tag..].find('>')? + 1;
    let to = from + tags[from..].find('<')?;
    tags[to..].starts_with("</title").then(|| &page[from..to])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    fn answer(content_type: &'static str, body: impl Into<Bytes>) -> Response {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Response { status: StatusCode::BAD_REQUEST, headers, body: body.into(), added: Vec::new() }
    }

    #[test]
    fn texts_and_json_are_words_and_a_page_has_a_title() {
        let nginx = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n";
        for (content_type, body, words) in [
            ("text/plain; charset=utf-8", "no such tenant\n", Some("no such tenant\n")),
            ("TEXT/PLAIN", "no", Some("no")),
            ("application/json", "{\"error\":\"no\"}", Some("{\"error\":\"no\"}")),
            ("application/problem+json", "{\"title\":\"no\"}", Some("{\"title\":\"no\"}")),
            ("text/html", nginx, Some("413 Request Entity Too Large")),
            ("text/html", "<TITLE class=x\n>No\n</TITLE>", Some("No\n")),
            ("text/html", "plain words", Some("plain words")),
            ("text/html", "<p>no title</p>", None),
            ("text/html", "<title>a <b>bold</b> one</title>", None),
            ("text/html", "<title>no end", None),
            ("text/html", "<title", None),
            ("application/x-protobuf", "\u{12}\u{2}no", None),
            ("application/octet-stream", "no", None),
            ("image/png", "no", None),
            ("text", "no", None),
            ("", "no", None),
        ] {
            assert_eq!(answer(content_type, body).words().as_deref(), words, "{content_type} {body}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_repaired_and_what_is_compressed_is_left() {
        assert_eq!(answer("text/plain", &b"caf\xe9"[..]).words().as_deref(), Some("caf\u{fffd}"));
        let mut page = answer("text/html", &b"<title>caf\xe9</title>"[..]);
        assert_eq!(page.words().as_deref(), Some("caf\u{fffd}"));
        page.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(page.words(), None);
        page.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
        assert!(page.words().is_some());
        page.headers.remove(CONTENT_TYPE);
        assert_eq!(page.words(), None);
    }
}
