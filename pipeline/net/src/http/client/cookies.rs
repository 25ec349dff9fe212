//! Cookies of one destination (RFC 6265), so that a load balancer that marks clients finds its mark again.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use std::time::{Duration, SystemTime};

/// The most cookies that are kept; the oldest go first.
const COOKIES_MAX: usize = 50;
/// The longest cookie that is kept, name and value, in bytes.
const COOKIE_MAX: usize = 4 << 10;

/// What a destination has asked to be told again.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    /// For requests whose path is this one or below it.
    path: String,
    /// For TLS only.
    secure: bool,
    expires: Option<SystemTime>,
}

impl Jar {
    /// Takes in what an answer to a request for `path` of `host` sets.
    pub(super) fn take_in(&mut self, headers: &HeaderMap, host: &str, path: &str, now: SystemTime) {
        for set in headers.get_all(SET_COOKIE) {
            let Some(cookie) = set.to_str().ok().and_then(|text| Cookie::parse(text, host, path, now)) else {
                continue;
            };
            self.0.retain(|known| known.name != cookie.name || known.path != cookie.path);
            if cookie.is_good(now) {
                if self.0.len() == COOKIES_MAX {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// The header `Cookie` of a request for `path`, if there is anything to say.
    pub(super) fn header(&self, tls: bool, path: &str, now: SystemTime) -> Option<HeaderValue> {
        let fitting = self.0.iter().filter(|cookie| cookie.is_good(now) && cookie.fits(tls, path));
        let pairs: Vec<_> = fitting.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        let mut value = HeaderValue::try_from(pairs.join("; ")).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Cookie {
    /// Reads a `Set-Cookie`; `None` for what is too long, not in form, or meant for somebody else.
    fn parse(text: &str, host: &str, path: &str, now: SystemTime) -> Option<Self> {
        let mut parts = text.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() + value.len() > COOKIE_MAX {
            return None;
        }
        let default_path = path.rfind('/').filter(|slash| *slash > 0).map_or("/", |slash| &path[..slash]);
        let mut cookie = Self {
            name: name.to_owned(),
            value: value.to_owned(),
            path: default_path.to_owned(),
            secure: false,
            expires: None,
        };
        let mut lives_for = None;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "domain" if !belongs(host, value) => return None,
                "max-age" => lives_for = value.parse::<i64>().ok().or(lives_for),
                "expires" => cookie.expires = httpdate::parse_http_date(value).ok(),
                _ => {}
            }
        }
        // Of the two, the age counts.
        if let Some(seconds) = lives_for {
            let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            cookie.expires = now.checked_add(seconds);
        }
        Some(cookie)
    }

    fn is_good(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    fn fits(&self, tls: bool, path: &str) -> bool {
        let below = path.strip_prefix(self.path.as_str());
        let within =
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'));
        within && (tls || !self.secure)
    }
}

/// Whether a host is of a domain.
fn belongs(host: &str, domain: &str) -> bool {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(set: &[&str]) -> Jar {
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        for text in set {
            headers.append(SET_COOKIE, HeaderValue::from_str(text).expect("a header"));
        }
        jar.take_in(&headers, "otlp.example.com", "/v1/traces", SystemTime::now());
        jar
    }

    fn said(jar: &Jar, tls: bool, path: &str) -> String {
        let header = jar.header(tls, path, SystemTime::now());
        header.map_or_else(String::new, |value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn cookies_go_back_to_where_they_belong() {
        let jar = jar(&[
            "node=7; Path=/; HttpOnly",
            "here=1",
            "safe=2; Secure; Path=/",
            "other=3; Domain=example.org",
            "wide=4; Domain=.example.com; Path=/v1",
            "gone=5; Max-Age=0; Path=/",
            "late=6; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
            "kept=8; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
            "no cookie",
        ]);
        assert_eq!(said(&jar, true, "/v1/traces"), "node=7; here=1; safe=2; wide=4; kept=8");
        assert_eq!(said(&jar, false, "/v1/traces"), "node=7; here=1; wide=4; kept=8");
        assert_eq!(said(&jar, false, "/v10"), "node=7; kept=8");
    }

    #[test]
    fn a_later_cookie_replaces_an_earlier_one_and_there_is_a_limit() {
        let mut all: Vec<String> = (0..60).map(|number| format!("c{number}=x; Path=/")).collect();
        all.push("c59=y; Path=/".to_owned());
        all.push(format!("long={}; Path=/", "x".repeat(COOKIE_MAX)));
        let jar = jar(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let said = said(&jar, false, "/");
        assert_eq!(said.split("; ").count(), COOKIES_MAX);
        assert!(said.ends_with("c58=x; c59=y") && !said.contains("c0="), "{said}");
    }
}
