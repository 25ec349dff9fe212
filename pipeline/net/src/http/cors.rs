//! Cross-origin requests (`cors`): whether pages of other origins may send. Says what the Go collector says, which is
//! what its library, rs/cors, says with credentials allowed.

use crate::config::CorsConfig;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// What is allowed unless headers are listed.
const HEADERS: [&str; 3] = ["accept", "content-type", "x-requested-with"];
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
/// Empty elements that a list may have.
const EMPTY_ELEMENTS_MAX: usize = 16;

/// Which origins may send what.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    /// In order; `None` for all.
    headers: Option<Vec<String>>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

#[derive(Debug)]
enum Origins {
    All,
    Some {
        plain: Vec<String>,
        /// What stands before and after the asterisk.
        wild: Vec<(String, String)>,
    },
}

impl Cors {
    /// What a configuration allows; `None` if it allows no origin.
    #[must_use]
    pub fn of(config: &CorsConfig) -> Option<Self> {
        if config.allowed_origins.is_empty() {
            return None;
        }
        let mut headers: Vec<String> = if config.allowed_headers.is_empty() {
            HEADERS.map(str::to_owned).to_vec()
        } else {
            config.allowed_headers.iter().map(|name| name.to_lowercase()).collect()
        };
        headers.sort();
        let exposed: Vec<String> = config.exposed_headers.iter().map(|name| canonical(name)).collect();
        let max_age = match config.max_age {
            0 => None,
            age => Some(HeaderValue::from(age.max(0))),
        };
        Some(Self {
            origins: Origins::of(&config.allowed_origins),
            headers: (!headers.iter().any(|name| name == "*")).then_some(headers),
            exposed: (!exposed.is_empty()).then(|| HeaderValue::from_str(&exposed.join(", ")).ok()).flatten(),
            max_age,
        })
    }

    /// Whether a request only asks whether another one may be sent; it is answered with 204 and nothing else.
    #[must_use]
    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty())
    }

    /// Adds to the answer to a request that only asks.
    pub fn answer_preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(VARY, PREFLIGHT_VARY);
        let Some(origin) = self.allowed_origin(request) else { return };
        let Some(method) =
            request.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|method| is_allowed(method.as_bytes()))
        else {
            return;
        };
        let asked = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS);
        if !self.accepts(asked.iter().map(HeaderValue::as_bytes)) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if asked.iter().next().is_some_and(|first| !first.is_empty()) {
            for value in asked {
                answer.append(ACCESS_CONTROL_ALLOW_HEADERS, value.clone());
            }
        }
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        if let Some(age) = &self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
    }

    /// Adds to the answer to any other request.
    pub fn answer_request(&self, method: &Method, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.allowed_origin(request) else { return };
        if !is_allowed(method.as_str().as_bytes()) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if let Some(exposed) = &self.exposed {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }

    /// What is answered to the origin of a request, if it may send.
    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        match &self.origins {
            Origins::All => Some(HeaderValue::from_static("*")),
            Origins::Some { plain, wild } => {
                let lower = String::from_utf8_lossy(origin.as_bytes()).to_lowercase();
                let matches = |(before, after): &(String, String)| {
                    lower.len() >= before.len() + after.len()
                        && lower.starts_with(before)
                        && lower.ends_with(after)
                };
                (plain.contains(&lower) || wild.iter().any(matches)).then(|| origin.clone())
            }
        }
    }

    /// Whether all headers that are asked for may be sent. Browsers ask for them in order, each once and in lower case,
    /// and nothing else is taken.
    fn accepts<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let Some(allowed) = &self.headers else { return true };
        let mut rest = allowed.as_slice();
        let mut empty = 0;
        for name in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let Some(name) = trimmed(name) else { return false };
            if name.is_empty() {
                empty += 1;
                if empty > EMPTY_ELEMENTS_MAX {
                    return false;
                }
                continue;
            }
            match rest.iter().position(|allowed| allowed.as_bytes() == name) {
                Some(index) => rest = &rest[index + 1..],
                None => return false,
            }
        }
        true
    }
}

impl Origins {
    fn of(configured: &[String]) -> Self {
        let (mut plain, mut wild) = (Vec::new(), Vec::new());
        for origin in configured {
            let origin = origin.to_lowercase();
            match origin.split_once('*') {
                Some(("", "")) => return Self::All,
                Some((before, after)) => wild.push((before.to_owned(), after.to_owned())),
                None => plain.push(origin),
            }
        }
        Self::Some { plain, wild }
    }
}

/// The methods that pages of other origins may use.
fn is_allowed(method: &[u8]) -> bool {
    [&b"GET"[..], b"POST", b"HEAD", b"OPTIONS"].contains(&method)
}

/// Without the one space or tab that may stand at either end.
fn trimmed(name: &[u8]) -> Option<&[u8]> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let name = name.split_first().filter(|(first, _)| is_space(first)).map_or(name, |(_, rest)| rest);
    let name = name.split_last().filter(|(last, _)| is_space(last)).map_or(name, |(_, rest)| rest);
    let untidy = name.first().is_some_and(is_space) || name.last().is_some_and(is_space);
    (!untidy).then_some(name)
}

/// A header's name as Go writes it: `X-Trace-Id`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let written = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            written
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], headers: &[&str]) -> Cors {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Cors::of(&CorsConfig {
            allowed_origins: owned(origins),
            allowed_headers: owned(headers),
            exposed_headers: vec!["x-trace-id".to_owned()],
            max_age: 600,
        })
        .expect("origins are allowed")
    }

    fn preflight(cors: &Cors, origin: &str, method: &str, headers: &str) -> HeaderMap {
        let mut request = HeaderMap::new();
        let value = |text| HeaderValue::from_str(text).expect("a value");
        request.insert(ORIGIN, value(origin));
        request.insert(ACCESS_CONTROL_REQUEST_METHOD, value(method));
        if !headers.is_empty() {
            request.insert(ACCESS_CONTROL_REQUEST_HEADERS, value(headers));
        }
        assert!(Cors::is_preflight(&Method::OPTIONS, &request));
        let mut answer = HeaderMap::new();
        cors.answer_preflight(&request, &mut answer);
        answer
    }

    fn allows(cors: &Cors, origin: &str, method: &str, headers: &str) -> bool {
        preflight(cors, origin, method, headers).contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
    }

    #[test]
    fn origins_are_compared_without_case_and_with_one_asterisk() {
        let some = cors(&["https://Example.com", "https://*.example.org"], &[]);
        for (origin, allowed) in [
            ("https://example.com", true),
            ("HTTPS://EXAMPLE.COM", true),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://example.com.evil.net", false),
            ("null", false),
        ] {
            assert_eq!(allows(&some, origin, "POST", "content-type"), allowed, "{origin}");
        }
        let answer = preflight(&some, "https://Example.com", "POST", "content-type");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://Example.com");
        let answer = preflight(&cors(&["https://a", "*"], &[]), "https://b", "POST", "");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn only_listed_headers_in_the_order_of_browsers_may_be_sent() {
        let some = cors(&["*"], &["X-B", "x-a"]);
        for (headers, allowed) in [
            ("", true),
            ("x-a", true),
            ("x-a,x-b", true),
            ("x-a, x-b", true),
            ("x-a,,x-b", true),
            ("x-b,x-a", false),
            ("x-a,x-a", false),
            ("X-A", false),
            ("x-a,  x-b", false),
            ("x-c", false),
            ("content-type", false),
        ] {
            assert_eq!(allows(&some, "https://a", "POST", headers), allowed, "{headers}");
        }
        assert!(allows(&cors(&["*"], &[]), "https://a", "POST", "accept,content-type,x-requested-with"));
        assert!(allows(&cors(&["*"], &["*"]), "https://a", "POST", "whatever,And so on"));
        assert!(!allows(&some, "https://a", "PUT", "x-a"));
    }

    #[test]
    fn other_requests_are_told_what_a_page_may_see() {
        let some = cors(&["https://a"], &[]);
        let mut answer = HeaderMap::new();
        let request = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://a"))]);
        some.answer_request(&Method::POST, &request, &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "X-Trace-Id");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[VARY], "Origin");
        let mut answer = HeaderMap::new();
        some.answer_request(&Method::POST, &HeaderMap::new(), &mut answer);
        assert_eq!(answer.len(), 1, "{answer:?}");
    }
}
