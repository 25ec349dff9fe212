//! What is asked of a token endpoint and what its answers mean (RFC 6749, client credentials grant).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Longer than this no token is kept, whatever it says.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A token as it is sent, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) lasts: Option<Duration>,
}

/// How the client proves who it is. Servers know one or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// In the header `Authorization`.
    Header,
    /// In the body.
    Body,
    /// By a signature in the body.
    Assertion,
}

/// The `Authorization` of a request for a token.
pub(super) fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let credentials = STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret)));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The body of a request for a token.
pub(super) fn form<'p>(parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let pairs = parameters.into_iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// What a token endpoint has answered. The text of an error has nothing of the answer but the code of the error, since
/// whoever answers may repeat what was sent.
pub(super) fn answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Token, String> {
    let fields = fields(headers, body);
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
    if !status.is_success() || field("error").is_some() {
        let code = field("error").and_then(Value::as_str).filter(|code| is_code(code));
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        return Err(format!("it answered {}{code}", status.as_u16()));
    }
    if fields.is_none() {
        return Err("its answer is not JSON".to_owned());
    }
    let Some(token) = field("access_token").and_then(Value::as_str).filter(|token| !token.is_empty()) else {
        return Err("its answer has no access_token".to_owned());
    };
    let kind = match field("token_type").and_then(Value::as_str) {
        None | Some("") => "Bearer",
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(kind) => kind,
    };
    let mut header = HeaderValue::try_from(format!("{kind} {token}"))
        .map_err(|_| "its token cannot be sent in a header".to_owned())?;
    header.set_sensitive(true);
    Ok(Token { header, lasts: field("expires_in").and_then(seconds) })
}

/// JSON, or a form for those two types as in Go.
fn fields(headers: &HeaderMap, body: &[u8]) -> Option<serde_json::Map<String, Value>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !["application/x-www-form-urlencoded", "text/plain"].contains(&media_type) {
        return serde_json::from_slice(body).ok();
    }
    let text = std::str::from_utf8(body).ok()?;
    let pairs = text.trim().split('&').filter_map(|pair| pair.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), Value::String(unescaped(value)))).collect())
}

/// A number, also as text; what is no positive number says nothing.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |lasts| lasts.min(LONGEST)))
}

/// Whether it is the code of an error as RFC 6749 has them, and not something else.
fn is_code(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// As in forms.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The other way; a damaged escape stays as it is.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(status: u16, body: &str) -> Result<Token, String> {
        let status = StatusCode::from_u16(status).expect("a status");
        answer(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn tokens_are_read_in_every_form_that_servers_use() {
        let hour = Some(Duration::from_secs(3600));
        for (body, header, lasts) in [
            (r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#, "Bearer t", hour),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":"3600"}"#, "Bearer t", hour),
            (r#"{"access_token":"t","expires_in":3600.0,"scope":"x"}"#, "Bearer t", hour),
            (r#"{"access_token":"t","token_type":"DPoP"}"#, "DPoP t", None),
            (r#"{"access_token":"t","expires_in":0}"#, "Bearer t", None),
            (r#"{"access_token":"t","expires_in":-5}"#, "Bearer t", None),
            (r#"{"access_token":"t","expires_in":1e300}"#, "Bearer t", Some(LONGEST)),
            (r#"{"access_token":"t","expires_in":"soon"}"#, "Bearer t", None),
        ] {
            let token = json(200, body).unwrap_or_else(|problem| panic!("{body}: {problem}"));
            assert_eq!((token.header.to_str().expect("text"), token.lasts), (header, lasts), "{body}");
            assert!(token.header.is_sensitive());
        }
        let form = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        )]);
        let token = answer(StatusCode::OK, &form, b"access_token=a%2Bb+c&expires_in=60").expect("a token");
        assert_eq!(
            (token.header.to_str().expect("text"), token.lasts),
            ("Bearer a+b c", Some(Duration::from_secs(60)))
        );
    }

    #[test]
    fn other_answers_are_named_without_repeating_them() {
        for (status, body, problem) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"s3cret is wrong"}"#,
                "it answered 401 (invalid_client)",
            ),
            (400, r#"{"error":"your secret s3cret is wrong"}"#, "it answered 400"),
            (200, r#"{"error":"invalid_scope"}"#, "it answered 200 (invalid_scope)"),
            (302, "", "it answered 302"),
            (500, "<html>s3cret</html>", "it answered 500"),
            (200, "<html>s3cret</html>", "its answer is not JSON"),
            (200, "[]", "its answer is not JSON"),
            (200, "{}", "its answer has no access_token"),
            (200, r#"{"access_token":""}"#, "its answer has no access_token"),
            (200, r#"{"access_token":7}"#, "its answer has no access_token"),
            (200, r#"{"access_token":"a\r\nx: y"}"#, "its token cannot be sent in a header"),
        ] {
            assert_eq!(json(status, body), Err(problem.to_owned()), "{body}");
        }
    }

    #[test]
    fn credentials_are_escaped_before_they_are_encoded() {
        let basic = basic("a:b", "c d%").expect("a header");
        assert_eq!(basic.to_str().expect("text"), format!("Basic {}", STANDARD.encode("a%3Ab:c+d%25")));
        assert_eq!(form([("scope", "a b"), ("x&y", "ä=1")]), "scope=a+b&x%26y=%C3%A4%3D1");
    }
}
