//! What a head asks of the server itself: whether a body is wanted, and `OPTIONS *`, which asks nothing in particular. As
//! Go's server answers it.

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

/// The answer to a request that no handler sees.
pub(super) fn answer<B>(request: &Request<B>) -> Option<Response> {
    let unknown = request.headers().get(EXPECT).is_some_and(|expected| !is_continue(expected));
    if unknown && request.version() <= Version::HTTP_11 {
        let headers = [(CONNECTION, "close"), (CONTENT_LENGTH, "0")];
        return Some((StatusCode::EXPECTATION_FAILED, headers).into_response());
    }
    (request.method() == Method::OPTIONS && request.uri().path() == "*")
        .then(|| StatusCode::OK.into_response())
}

/// Whether the sender waits to be told that its body is wanted.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(is_continue)
}

fn is_continue(expected: &HeaderValue) -> bool {
    expected.is_empty() || expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, target: &str, expected: &str) -> Option<u16> {
        let request = Request::builder().method(method).uri(target).header(EXPECT, expected);
        answer(&request.body(()).expect("a request")).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_the_wish_to_go_on_is_understood() {
        assert_eq!(status("POST", "/", "100-Continue"), None);
        assert_eq!(status("POST", "/", ""), None);
        assert_eq!(status("POST", "/", "200-maybe"), Some(417));
    }

    #[test]
    fn a_question_about_nothing_in_particular_is_answered_with_nothing() {
        assert_eq!(status("OPTIONS", "*", ""), Some(200));
        assert_eq!(status("GET", "*", ""), None);
    }
}
