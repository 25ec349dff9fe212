//! The head of a request, put together from its fields (RFC 9113, sections 8.2 and 8.3).

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What a field counts beside its bytes (RFC 9113, section 6.5.2).
const FIELD: usize = 32;

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// What it asks for; `/` where its method has no path.
    pub path: PathAndQuery,
    /// Its other fields.
    pub headers: HeaderMap,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It breaks a rule.
    Malformed,
    /// Its fields are more than are taken.
    TooLarge,
}

/// Fields as they arrive, of a request or of what follows its body.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    method: Option<Method>,
    path: Option<PathAndQuery>,
    has_scheme: bool,
    has_authority: bool,
    headers: HeaderMap,
    content_length: Option<u64>,
    size: usize,
    flaw: Option<Flaw>,
    begun: bool,
}

impl Fields {
    /// Takes a field, as long as all of them are not more than `most`.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8], secret: bool, most: usize) {
        self.size += name.len() + value.len() + FIELD;
        if self.size > most {
            // What is in form does not matter any more; a rule that was broken before does.
            self.flaw.get_or_insert(Flaw::TooLarge);
        }
        if self.flaw.is_none() && self.take(name, value, secret).is_none() {
            self.flaw = Some(Flaw::Malformed);
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8], secret: bool) -> Option<()> {
        if name.first() == Some(&b':') {
            return if self.begun { None } else { self.pseudo(name, value) };
        }
        self.begun = true;
        let name = HeaderName::from_lowercase(name).ok()?;
        let is_allowed = match name.as_str() {
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => false,
            "te" => value.eq_ignore_ascii_case(b"trailers"),
            "content-length" => {
                let length = content_length(value)?;
                self.content_length.replace(length).is_none_or(|before| before == length)
            }
            _ => true,
        };
        if !is_allowed {
            return None;
        }
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(secret);
        self.headers.try_append(name, value).ok().map(|_| ())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let is_first = match name {
            b":method" => self.method.replace(Method::from_bytes(value).ok()?).is_none(),
            b":path" => {
                // What begins otherwise would be taken for a path all the same.
                let is_path = value.first() == Some(&b'/') || value == b"*";
                let path = is_path.then(|| PathAndQuery::try_from(value).ok()).flatten()?;
                self.path.replace(path).is_none()
            }
            b":scheme" => !value.is_empty() && !std::mem::replace(&mut self.has_scheme, true),
            b":authority" => {
                let is_name = value.is_empty() || Authority::try_from(value).is_ok();
                is_name && !std::mem::replace(&mut self.has_authority, true)
            }
            _ => false,
        };
        is_first.then_some(())
    }

    /// The request that they are, and how long its body says that it is.
    pub(crate) fn into_request(self) -> Result<(Request, Option<u64>), Flaw> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let method = self.method.ok_or(Flaw::Malformed)?;
        let path = match self.path {
            Some(path) if self.has_scheme && method != Method::CONNECT => path,
            None if method == Method::CONNECT && self.has_authority && !self.has_scheme => {
                PathAndQuery::from_static("/")
            }
            _ => return Err(Flaw::Malformed),
        };
        Ok((Request { method, path, headers: self.headers }, self.content_length))
    }

    /// Whether they may follow a body. What they say is of no use here.
    pub(crate) fn are_trailers(&self) -> bool {
        let has_pseudo =
            self.method.is_some() || self.path.is_some() || self.has_scheme || self.has_authority;
        self.flaw != Some(Flaw::Malformed) && !has_pseudo
    }
}

fn content_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Result<(Request, Option<u64>), Flaw> {
        let mut read = Fields::default();
        for (name, value) in fields {
            read.add(name.as_bytes(), value.as_bytes(), false, 1000);
        }
        read.into_request()
    }

    const GOOD: [(&str, &str); 4] =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C?d"), (":authority", "here:4317")];

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&GOOD[..], more].concat()
    }

    #[test]
    fn fields_become_a_request() {
        let (request, length) =
            request(&with(&[("te", "trailers"), ("content-length", "7"), ("x", "1"), ("x", "2")]))
                .expect("one");
        assert_eq!(
            (request.method, request.path.path(), request.path.query()),
            (Method::POST, "/a.B/C", Some("d"))
        );
        assert_eq!((length, request.headers.get_all("x").iter().count()), (Some(7), 2));
    }

    #[test]
    fn every_rule_is_looked_after() {
        for broken in [
            with(&[(":method", "GET")]),
            with(&[(":scheme", "http")]),
            with(&[(":path", "/")]),
            with(&[(":authority", "there")]),
            with(&[(":status", "200")]),
            with(&[(":protocol", "websocket")]),
            with(&[("Upper", "x")]),
            with(&[("", "x")]),
            with(&[("x y", "x")]),
            with(&[("x", "a\nb")]),
            with(&[("connection", "close")]),
            with(&[("transfer-encoding", "chunked")]),
            with(&[("te", "gzip")]),
            with(&[("content-length", "-1")]),
            with(&[("content-length", "1"), ("content-length", "2")]),
            [&[("x", "1")][..], &GOOD].concat(),
            GOOD[1..].to_vec(),
            [&GOOD[..1], &GOOD[2..]].concat(),
            [&GOOD[..2], &GOOD[3..]].concat(),
            vec![(":method", "GET"), (":scheme", "http"), (":path", "")],
            vec![(":method", "GET"), (":scheme", "http"), (":path", "a")],
            vec![(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
        ] {
            assert_eq!(request(&broken).map(|_| ()), Err(Flaw::Malformed), "{broken:?}");
        }
        let path = request(&[(":method", "CONNECT"), (":authority", "a:1")]).expect("a request").0.path;
        assert_eq!(path, "/");
    }

    #[test]
    fn too_many_fields_are_not_kept() {
        let long = "x".repeat(300);
        let mut read = Fields::default();
        for (name, value) in
            GOOD.into_iter().chain([("a", &long[..]), ("b", &long), ("c", &long), ("d", &long)])
        {
            read.add(name.as_bytes(), value.as_bytes(), false, 1000);
        }
        assert!(read.headers.len() < 4);
        assert!(read.are_trailers() || read.method.is_some());
        assert_eq!(read.into_request().map(|_| ()), Err(Flaw::TooLarge));
    }
}
