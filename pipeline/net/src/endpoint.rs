//! Where to connect to, as configurations write it.

use std::fmt;
use std::net::SocketAddr;
use thiserror::Error;

/// A destination: scheme, host, port, and for HTTP a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the scheme asks for TLS (`https`); `None` without a scheme.
    pub tls: Option<bool>,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What follows the port, without a trailing slash; empty for gRPC.
    pub path: String,
}

/// Why an endpoint cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// Nothing there.
    #[error("the endpoint is empty; write it as `host:port`")]
    Empty,
    /// No port, and no scheme to guess it from.
    #[error("`{0}` has no port; write it as `host:port`")]
    NoPort(String),
    /// Not a number, or out of range.
    #[error("`{0}` is not a port; it must be a number from 1 to 65535")]
    BadPort(String),
    /// A scheme that nobody here speaks.
    #[error("the scheme `{0}` is not supported; use `http`, `https` or none")]
    BadScheme(String),
}

impl Endpoint {
    /// Reads `[scheme://]host[:port][/path]`. Schemes: `http`, `https`, and for gRPC also `dns` and `passthrough`
    /// (with one or three slashes), which name the resolver that is used anyway.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(("dns" | "passthrough", rest)) => (None, rest.trim_start_matches('/')),
            Some((scheme, _)) => return Err(EndpointError::BadScheme(scheme.to_owned())),
            None => (None, text),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = split_authority(authority)?;
        let port = match (port, tls) {
            (Some(port), _) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| EndpointError::BadPort(port.to_owned()))?,
            (None, Some(true)) => 443,
            (None, Some(false)) => 80,
            (None, None) => return Err(EndpointError::NoPort(text.to_owned())),
        };
        if host.is_empty() {
            return Err(EndpointError::Empty);
        }
        Ok(Self { tls, host: host.to_owned(), port, path: path.trim_end_matches('/').to_owned() })
    }

    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The addresses behind the name, asked anew each time.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }
}

/// Host and port of `host:port`, `[v6]:port`, `host`.
fn split_authority(authority: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) =
            rest.split_once(']').ok_or_else(|| EndpointError::NoPort(authority.to_owned()))?;
        return Ok((host, after.strip_prefix(':')));
    }
    Ok(authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let cases = [
            ("localhost:4317", None, "localhost", 4317, ""),
            ("http://tempo:4318/", Some(false), "tempo", 4318, ""),
            ("https://otlp.example.com/otlp/", Some(true), "otlp.example.com", 443, "/otlp"),
            ("[::1]:4317", None, "::1", 4317, ""),
            ("dns:///collector:4317", None, "collector", 4317, ""),
        ];
        for (text, tls, host, port, path) in cases {
            let expected = Endpoint { tls, host: host.into(), port, path: path.into() };
            assert_eq!(Endpoint::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert_eq!(Endpoint::parse(" "), Err(EndpointError::Empty));
        assert_eq!(Endpoint::parse("localhost"), Err(EndpointError::NoPort("localhost".into())));
        assert_eq!(Endpoint::parse("localhost:0"), Err(EndpointError::BadPort("0".into())));
        assert_eq!(Endpoint::parse("localhost:http"), Err(EndpointError::BadPort("http".into())));
        assert_eq!(Endpoint::parse("ftp://x:1"), Err(EndpointError::BadScheme("ftp".into())));
    }
}
