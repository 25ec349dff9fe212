//! What proxies and destinations answer, and how proxies are named: a way through a proxy begins where its answer ends,
//! no password is ever shown, and cookies go back only as they came.

#![no_main]

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use millrace_net::connect::fuzzing::{parts, tunnelled};
use millrace_net::connect::{Proxies, Proxy};
use millrace_net::http::fuzzing::Cookies;

const COOKIES_MAX: usize = 50;
/// What a message may say of an answer.
const MESSAGE_MAX: usize = 2_000;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    match choice % 3 {
        0 => connect(rest),
        1 => cookies(rest, choice & 4 != 0),
        _ => names(&String::from_utf8_lossy(rest)),
    }
});

fn connect(answer: &[u8]) {
    let proxy = Proxy::parse("http://me:Zo9-pass@p:1").expect("a proxy");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    let good = [b"HTTP/1.1 200".as_slice(), b"HTTP/1.0 200"];
    match tunnelled(&proxy, "far.example:4317", answer) {
        Ok(left) => {
            assert_eq!(Some(answer.len() - left.len()), end, "what follows belongs to the destination");
            assert!(answer.starts_with(b"HTTP/1."));
        }
        Err(problem) => {
            assert!(problem.contains("http://p:1") && problem.len() < MESSAGE_MAX, "{problem}");
            assert!(!problem.contains("Zo9-pass"), "{problem}");
            let is_good =
                |start: &&[u8]| answer.strip_prefix(*start).is_some_and(|it| it.starts_with(b"\r\n"));
            assert!(end.is_none() || !good.iter().any(is_good), "{problem}");
        }
    }
}

fn cookies(lines: &[u8], twice: bool) {
    let mut headers = HeaderMap::new();
    let mut came = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        if let Some((name, value)) = line.split(|byte| *byte == b';').next().and_then(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
        }) {
            came.push([name, b"=", value].concat());
        }
        headers.append(SET_COOKIE, value);
    }
    let mut jar = Cookies::default();
    for _ in 0..=usize::from(twice) {
        jar.take_in(&headers, "a.example.com", "/v1/traces");
    }
    let said = |tls, path| jar.header(tls, path).map_or_else(Vec::new, |value| split(value.as_bytes()));
    let (open, secure) = (said(false, "/v1/traces"), said(true, "/v1/traces"));
    assert!(secure.len() <= COOKIES_MAX);
    assert!(open.iter().all(|pair| secure.contains(pair)), "{secure:?}");
    for pair in secure.iter().chain(&said(true, "/")) {
        assert!(came.contains(pair), "{:?}", String::from_utf8_lossy(pair));
        assert!(!pair.starts_with(b"=") && !pair.contains(&b';'));
    }
}

fn split(header: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(header).expect("cookies are text");
    text.split("; ").map(|pair| pair.as_bytes().to_vec()).collect()
}

fn names(text: &str) {
    let (url, exceptions) = text.split_once('\n').unwrap_or((text, ""));
    match Proxy::parse(url) {
        Ok(proxy) => {
            let again = Proxy::parse(&proxy.to_string()).expect("what is shown names a proxy");
            let (tls, host, port, credentials) = parts(&proxy);
            assert_eq!((tls, host, port, None), parts(&again), "{proxy}, {host:?}");
            assert_ne!(port, 0);
            assert!(credentials.is_none() || url.contains('@'), "{proxy}");
        }
        Err(problem) => assert!(problem.to_string().len() < 100, "{problem}"),
    }
    let env = |name: &str| match name {
        "HTTPS_PROXY" => Some("p:1".to_owned()),
        "NO_PROXY" => Some(exceptions.to_owned()),
        _ => None,
    };
    let proxies = Proxies::from_env(env).expect("a proxy");
    let everything = exceptions.split(',').any(|one| one.trim() == "*");
    for host in ["localhost", "127.0.0.1", "far.example", "192.0.2.1", "2001:db8::1"] {
        let proxy = proxies.for_destination(true, host, 4317);
        assert!(proxy.is_none() || !everything && !matches!(host, "localhost" | "127.0.0.1"), "{host}");
    }
    if !exceptions.contains([',', '*']) && exceptions.trim().is_empty() {
        assert!(proxies.for_destination(true, "far.example", 4317).is_some());
    }
}
