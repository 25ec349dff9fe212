//! Requests that two readers may take for different ones. hyper refuses most of them; the rest is looked for here, with
//! the answers of Go's server.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

/// What is wrong with a head, and what its sender is told; the connection ends then.
pub(super) fn ambiguity(version: Version, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let bad = |text| Some((StatusCode::BAD_REQUEST, text));
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return bad("400 Bad Request"),
        // RFC 9112, section 3.2.
        (None, _) if version == Version::HTTP_11 => {
            return bad("400 Bad Request: missing required Host header");
        }
        (Some(host), None) if !host.as_bytes().iter().all(|byte| may_be_in_a_host(*byte)) => {
            return bad("400 Bad Request: malformed Host header");
        }
        _ => {}
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_known = match (encodings.next(), encodings.next()) {
        (None, _) => true,
        // Nothing else is ever undone, and `chunked` twice is not a thing.
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if is_known { None } else { Some((StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding")) }
}

/// What Go lets be a part of one: names, addresses, ports, and what RFC 3986 has for hosts of the future.
fn may_be_in_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn of(headers: &[(HeaderName, &'static str)]) -> Option<u16> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        // Of equal names the map would keep the last.
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        ambiguity(Version::HTTP_11, &map).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn there_is_one_host_that_can_be_one() {
        for host in ["x", "", "[::1]:4318", "a_b-c.example:80", "x%20y"] {
            assert_eq!(of(&[(HOST, host)]), None, "{host}");
        }
        for host in ["x y", "x/", "user@x", "x\"", "x\\y", "<x>", "x,y z"] {
            assert_eq!(of(&[(HOST, host)]), Some(400), "{host}");
        }
        assert_eq!(of(&[]), Some(400));
        assert_eq!(of(&[(HOST, "x"), (HOST, "x")]), Some(400));
        assert_eq!(ambiguity(Version::HTTP_10, &HeaderMap::new()), None);
    }

    #[test]
    fn the_only_transfer_encoding_is_chunked_alone() {
        for (values, status) in [
            (&["chunked"][..], None),
            (&["CHUNKED"], None),
            (&["identity"], Some(501)),
            (&["identity, chunked"], Some(501)),
            (&["gzip, chunked"], Some(501)),
            (&["chunked, chunked"], Some(501)),
            (&["identity", "chunked"], Some(501)),
            (&["chunked", "chunked"], Some(501)),
            (&[""], Some(501)),
        ] {
            let headers: Vec<_> = values.iter().map(|value| (TRANSFER_ENCODING, *value)).collect();
            let headers = [vec![(HOST, "x")], headers].concat();
            assert_eq!(of(&headers), status, "{values:?}");
        }
    }
}
