//! What is answered: a status and a body, from the state of the process and the time.

use super::config::{Answers, ResponseBody};
use millrace_config::Duration;
use millrace_engine::Health;
use millrace_formats::calendar::date;
use serde::Serialize;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// 200, 307, 404 or 503.
    pub(super) status: u16,
    /// The media type, unless there is no body.
    pub(super) content_type: Option<&'static str>,
    /// Where to ask instead.
    pub(super) location: Option<String>,
    /// The body.
    pub(super) body: String,
}

/// The fields and their order are those of the Go collector's answer.
#[derive(Serialize)]
struct Status<'a> {
    status: &'a str,
    #[serde(rename = "upSince")]
    up_since: String,
    uptime: String,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Answers {
    /// The answer to a request for `path`, whatever its method.
    pub(super) fn to(&self, path: &str, health: &Health) -> Answer {
        let at = Path(&self.path);
        if !at.covers(path) {
            return at.elsewhere(path, true);
        }
        let ready = health.is_ready();
        let status = if ready { 200 } else { 503 };
        let (content_type, body) = match self.response_body.as_option() {
            Some(ResponseBody { healthy, unhealthy }) => {
                let body = if ready { healthy } else { unhealthy };
                ((!body.is_empty()).then_some(TEXT), body.clone())
            }
            None => (Some("application/json"), json(health, ready)),
        };
        Answer { status, content_type, location: None, body }
    }
}

impl Answer {
    /// A status and nothing else.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, content_type: None, location: None, body: String::new() }
    }

    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, content_type: Some("application/json"), location: None, body }
    }
}

/// A configured path, as Go's servers match it: one that ends in `/` stands for everything below it.
pub(super) struct Path<'a>(pub(super) &'a str);

impl Path<'_> {
    pub(super) fn covers(&self, path: &str) -> bool {
        path == self.0 || (self.0.ends_with('/') && path.starts_with(self.0))
    }

    /// The answer to what it does not cover.
    pub(super) fn elsewhere(&self, path: &str, is_served: bool) -> Answer {
        if is_served && self.0.strip_suffix('/') == Some(path) {
            return Answer { location: Some(self.0.to_owned()), ..Answer::empty(307) };
        }
        let body = "404 page not found\n".to_owned();
        Answer { content_type: Some(TEXT), body, ..Answer::empty(404) }
    }
}

fn json(health: &Health, ready: bool) -> String {
    let status = if ready {
        Status {
            status: "Server available",
            up_since: Rfc3339(health.started_at()).to_string(),
            uptime: Duration::from(health.started().elapsed()).to_string(),
        }
    } else {
        // Go's zero time.
        let up_since = "0001-01-01T00:00:00Z".to_owned();
        Status { status: "Server not available", up_since, uptime: String::new() }
    };
    serde_json::to_string(&status).expect("three texts can be written as JSON")
}

/// A time in UTC with as many digits of the second as it takes, as Go writes one into JSON.
pub(super) struct Rfc3339(pub(super) SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().cast_signed();
        let (year, month, day) = date(seconds / 86_400);
        let second = seconds % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if since.subsec_nanos() > 0 {
            let fraction = format!("{:09}", since.subsec_nanos());
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_config::Optional;
    use millrace_engine::health::State;
    use std::time::Duration as StdDuration;

    fn ready() -> Health {
        let health = Health::starting();
        health.advance(State::Ready);
        health
    }

    fn at(path: &str) -> Answers {
        Answers { path: path.to_owned(), ..Answers::default() }
    }

    #[test]
    fn a_ready_collector_says_since_when() {
        let answer = at("/").to("/", &ready());
        assert_eq!((answer.status, answer.content_type), (200, Some("application/json")));
        let (head, rest) = answer.body.split_once("\"upSince\":\"").expect("it says since when");
        assert_eq!(head, "{\"status\":\"Server available\",");
        let (since, uptime) = rest.split_once("\",\"uptime\":\"").expect("it says for how long");
        assert!(since.starts_with("20") && since.ends_with('Z') && since.contains('T'), "{since}");
        let uptime = uptime.strip_suffix("s\"}").expect("it is in some unit of seconds");
        assert!(uptime.starts_with(|c: char| c.is_ascii_digit()), "{uptime}");
    }

    #[test]
    fn one_that_starts_drains_or_has_failed_is_not_available() {
        let unavailable =
            "{\"status\":\"Server not available\",\"upSince\":\"0001-01-01T00:00:00Z\",\"uptime\":\"\"}";
        let health = Health::starting();
        for state in [State::Starting, State::Draining, State::Failed] {
            health.advance(state);
            let answer = at("/").to("/", &health);
            assert_eq!((answer.status, answer.body.as_str()), (503, unavailable), "{state:?}");
        }
    }

    #[test]
    fn configured_bodies_take_the_place_of_the_json() {
        let body = ResponseBody { healthy: "{\"a\":1}".to_owned(), unhealthy: String::new() };
        let answers = Answers { response_body: Optional::On(body), ..Answers::default() };
        let healthy = answers.to("/", &ready());
        assert_eq!(
            (healthy.status, healthy.content_type, healthy.body.as_str()),
            (200, Some(TEXT), "{\"a\":1}")
        );
        let unhealthy = answers.to("/", &Health::starting());
        assert_eq!((unhealthy.status, unhealthy.content_type, unhealthy.body.as_str()), (503, None, ""));
    }

    #[test]
    fn paths_match_as_those_of_a_go_server() {
        // Measured: Go's answers to the same requests.
        for (path, asked, status) in [
            ("/", "/", 200),
            ("/", "/x", 200),
            ("/health", "/health", 200),
            ("/health", "/health/", 404),
            ("/health", "/", 404),
            ("/health/", "/health/", 200),
            ("/health/", "/health/x", 200),
            ("/health/", "/health", 307),
            ("/health/", "/", 404),
        ] {
            assert_eq!(at(path).to(asked, &ready()).status, status, "{path} asked for {asked}");
        }
        assert_eq!(at("/health/").to("/health", &ready()).location.as_deref(), Some("/health/"));
    }

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 999_000_000, "2000-02-28T23:59:59.999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (951_868_800, 0, "2000-03-01T00:00:00Z"),
            (1_795_206_762, 294_992_707, "2026-11-20T20:32:42.294992707Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (1_798_761_599, 500_000_000, "2026-12-31T23:59:59.5Z"),
        ] {
            let time = UNIX_EPOCH + StdDuration::new(seconds, nanos);
            assert_eq!(Rfc3339(time).to_string(), expected);
        }
    }
}
