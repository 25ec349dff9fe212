//! Proxies: which one stands before a destination, and how to get through it.
//!
//! The rules are those of Go's `net/http` and grpc-go: a configured proxy is for everything; the environment's
//! (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, or in lower case) never for this machine itself.

use super::resolve::literal;
use crate::endpoint::Place;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use std::fmt;
use std::io;
use std::net::IpAddr;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The head of a proxy's answer.
const HEAD_MAX: usize = 16 << 10;
/// How much of its first line is quoted.
const QUOTED_MAX: usize = 100;

/// A proxy. What it is told of who asks is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Whether it is spoken to in TLS.
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `Proxy-Authorization`, if it wants any.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, authority(&self.host, self.port))
    }
}

/// A text does not name a proxy. The text is not repeated: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// No host, or no port that is one.
    #[error("is not the URL of a proxy; write it as `http://[user:password@]host:port`")]
    Malformed,
    /// `socks5` and others.
    #[error("has the scheme `{0}`, which is not supported; use an http or https proxy")]
    Scheme(String),
}

impl Proxy {
    /// Reads `[http[s]://][user:password@]host[:port]`.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            // A word that is a scheme; anything else may be a part of a password.
            "socks5" | "socks5h" | "socks4" | "ftp" | "tcp" => return Err(ProxyError::Scheme(scheme.into())),
            _ => return Err(ProxyError::Malformed),
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = split_port(place);
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(ProxyError::Malformed)?,
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '[' | ']')) {
            return Err(ProxyError::Malformed);
        }
        let authorization = user.map(authorization).transpose()?;
        Ok(Self { tls, host: host.to_owned(), port, authorization })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        Place::Host { name: self.host.clone(), port: self.port }
    }
}

/// Credentials of a URL as a header.
fn authorization(user: &str) -> Result<HeaderValue, ProxyError> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = unescaped(name).ok_or(ProxyError::Malformed)?;
    plain.push(b':');
    plain.extend(unescaped(password).ok_or(ProxyError::Malformed)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(plain)))
        .map_err(|_| ProxyError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `%XX` as the byte it stands for.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    Some(bytes)
}

/// The proxies that the environment asks for.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// Reads the environment through `get`.
    ///
    /// # Errors
    /// The variable that names no proxy, and why.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let first = |names: [&'static str; 2]| {
            names
                .into_iter()
                .find_map(|name| get(name).filter(|value| !value.is_empty()).map(|it| (name, it)))
        };
        let proxy = |names| match first(names) {
            None => Ok(None),
            Some((name, value)) => Proxy::parse(&value)
                .map(Some)
                .map_err(|error| format!("the environment variable {name} {error}")),
        };
        // Where a web server runs us, a request's header `Proxy` would be HTTP_PROXY.
        let http = if get("REQUEST_METHOD").is_some() { None } else { proxy(["HTTP_PROXY", "http_proxy"])? };
        let https = proxy(["HTTPS_PROXY", "https_proxy"])?;
        let exceptions = first(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, value)| value);
        let exceptions = exceptions.split(',').filter_map(Exception::parse).collect();
        Ok(Self { http, https, exceptions })
    }

    /// The proxy for a destination, if there is one; `tls` says which of the two. gRPC is always as with TLS.
    #[must_use]
    pub fn for_destination(&self, tls: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = literal(&host);
        let here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let excepted = || self.exceptions.iter().any(|exception| exception.covers(&host, address, port));
        (!here && !excepted()).then_some(proxy)
    }
}

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`.
    Everything,
    /// An address, with a port or for all.
    Address(IpAddr, Option<u16>),
    /// A network in CIDR.
    Network(IpAddr, u32),
    /// A name and its subdomains (`example.com`) or only these (`.example.com`, `*.example.com`).
    Domain { name: String, itself: bool, port: Option<u16> },
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((network, bits)) = text.split_once('/')
            && let (Ok(network), Ok(bits)) = (network.parse(), bits.parse())
        {
            return Some(Self::Network(network, bits));
        }
        if let Some(address) = literal(&text) {
            return Some(Self::Address(address, None));
        }
        let (host, port) = split_port(&text);
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        if let Some(address) = literal(host) {
            return Some(Self::Address(address, port));
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        Some(Self::Domain { name: below.unwrap_or(host).to_owned(), itself: below.is_none(), port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Address(excepted, at) => address == Some(*excepted) && at.is_none_or(|at| at == port),
            Self::Network(network, bits) => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Self::Domain { name, itself, port: at } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|before| before.ends_with('.'));
                (below || *itself && host == name) && at.is_none_or(|at| at == port)
            }
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// Host and port of `host[:port]`, `[v6][:port]`. Brackets elsewhere stay in the host.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return (host, None),
        Some((host, after)) if after.starts_with(':') => return (host, Some(&after[1..])),
        _ => {}
    }
    text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks a proxy for a way through to `destination` (`host:port`).
///
/// # Errors
/// What the proxy said, or that it said nothing.
pub(crate) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    destination: &str,
) -> io::Result<()> {
    let mut request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    stream.flush().await?;
    // Byte by byte, because what follows the head belongs to the destination.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Err(io::Error::other(format!("the answer of {proxy} has no end")));
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => {
                let text = format!("{proxy} hung up before it had answered: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    if status == Some("200") {
        return Ok(());
    }
    let advice = if status == Some("407") { "; give user and password in the proxy's URL" } else { "" };
    let said: String = line.chars().take(QUOTED_MAX).collect();
    Err(io::Error::other(format!("{proxy} does not let us through to {destination}: {said:?}{advice}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let get = |name: &str| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::from_env(get).expect("an environment")
    }

    #[test]
    fn urls_are_read_and_passwords_are_not_shown() {
        let proxy = Proxy::parse("http://me:s%40cret@proxy.example:3128/").expect("a proxy");
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.tls), ("proxy.example", 3128, false));
        let expected = format!("Basic {}", BASE64.encode("me:s@cret"));
        assert_eq!(proxy.authorization.as_ref().map(HeaderValue::as_bytes), Some(expected.as_bytes()));
        assert_eq!(
            format!("{proxy} {proxy:?}"),
            "http://proxy.example:3128 Proxy(http://proxy.example:3128)"
        );
        assert_eq!(Proxy::parse("https://p").map(|proxy| (proxy.tls, proxy.port)), Ok((true, 443)));
        assert_eq!(Proxy::parse("p:8080").map(|proxy| (proxy.tls, proxy.port)), Ok((false, 8080)));
        assert_eq!(Proxy::parse("[::1]:8080").map(|proxy| proxy.host), Ok("::1".to_owned()));
        assert_eq!(Proxy::parse("socks5://p:1"), Err(ProxyError::Scheme("socks5".into())));
        for text in [
            "",
            "http://",
            "http://p:port",
            "http://a b:1",
            "me:secret://p:1",
            "http://%zz@p:1",
            "http://%+4@p:1",
            "[::1]x:1",
            "a]b:1",
            "a:[b:1",
        ] {
            let error = Proxy::parse(text).expect_err(text);
            assert_eq!(error, ProxyError::Malformed, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_environment_is_obeyed_as_in_go() {
        let env = proxies(&[
            ("HTTP_PROXY", "http://plain:1"),
            ("https_proxy", "secure:2"),
            ("NO_PROXY", "10.0.0.0/8, .inner.example,example.com , 192.0.2.7:4317,[2001:db8::1],fe80::/10"),
        ]);
        let port = |tls, host, port| env.for_destination(tls, host, port).map(|proxy| proxy.port);
        assert_eq!(port(false, "elsewhere.net", 80), Some(1));
        assert_eq!(port(true, "elsewhere.net", 443), Some(2));
        for (host, at, expected) in [
            ("localhost", 4317, None),
            ("127.0.0.1", 4317, None),
            ("::1", 4317, None),
            ("10.1.2.3", 4317, None),
            ("11.1.2.3", 4317, Some(2)),
            ("example.com", 4317, None),
            ("EXAMPLE.com.", 4317, None),
            ("a.example.com", 4317, None),
            ("anexample.com", 4317, Some(2)),
            ("inner.example", 4317, Some(2)),
            ("a.inner.example", 4317, None),
            ("192.0.2.7", 4317, None),
            ("192.0.2.7", 4318, Some(2)),
            ("2001:db8::1", 4317, None),
            ("2001:db8::2", 4317, Some(2)),
            ("fe80::1", 4317, None),
        ] {
            assert_eq!(port(true, host, at), expected, "{host}:{at}");
        }
        let none = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]);
        assert_eq!(none.for_destination(true, "elsewhere.net", 443), None);
        let cgi = proxies(&[("HTTP_PROXY", "p:1"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(cgi.for_destination(false, "elsewhere.net", 80), None);
        let wrong = Proxies::from_env(|name| (name == "HTTPS_PROXY").then(|| "u:secret@:x".to_owned()));
        let error = wrong.expect_err("no proxy");
        assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
    }

    async fn asked(answer: &'static [u8]) -> (io::Result<()>, String) {
        let (mut near, mut far) = duplex(1 << 20);
        let proxy = Proxy::parse("http://me:secret@p:1").expect("a proxy");
        far.write_all(answer).await.expect("room");
        let result = tunnel(&mut near, &proxy, "far.example:4317").await;
        drop(near);
        far.shutdown().await.expect("shuts down");
        let mut request = String::new();
        far.read_to_string(&mut request).await.expect("text");
        (result, request)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_way_through() {
        let (result, request) = asked(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await;
        result.expect("a tunnel");
        let credentials = BASE64.encode("me:secret");
        assert_eq!(
            request,
            format!(
                "CONNECT far.example:4317 HTTP/1.1\r\nHost: far.example:4317\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
            )
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_quoted_without_credentials() {
        let (result, _) = asked(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let error = result.expect_err("refused").to_string();
        assert!(error.contains("407") && error.contains("user and password"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let long: &'static [u8] = format!("HTTP/1.1 503 {}\r\n\r\n", "\0".repeat(10_000)).leak().as_bytes();
        let error = asked(long).await.0.expect_err("refused").to_string();
        assert!(error.contains("503") && error.len() < 1_000, "a log line is no place for {error}");
        let endless: &'static [u8] = Box::leak(vec![b'x'; HEAD_MAX + 1].into_boxed_slice());
        assert!(asked(endless).await.0.is_err());
    }
}
