//! Where to connect to, as configurations write it.

use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A destination, and for HTTP a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What stands before the host.
    pub scheme: Scheme,
    /// Where it is.
    pub place: Place,
    /// What follows the port, without a trailing slash; empty for gRPC.
    pub path: String,
}

/// What stands before the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing.
    None,
    /// `http://`. For gRPC it says nothing: whether there is TLS is said by `tls`, as in Go.
    Http,
    /// `https://`: TLS, whatever else is said.
    Https,
    /// `dns:///`: as without a scheme.
    Dns,
    /// `passthrough:///`: one connection, to whichever address of the name answers.
    Passthrough,
    /// `unix:` or `unix-abstract:`.
    Unix,
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On a TCP port of a host, which may have several addresses. An IPv6 address has no brackets here.
    Host {
        /// A name or an address.
        name: String,
        /// TCP port.
        port: u16,
    },
    /// On a Unix socket; one that begins with a zero byte is in Linux's abstract name space.
    Socket(PathBuf),
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
    #[error("the scheme `{0}` is not supported; use `http`, `https`, `dns`, `passthrough`, `unix` or none")]
    BadScheme(String),
    /// `dns://server/host:port`.
    #[error("a name server of its own (`{0}`) is not supported; write `dns:///host:port`")]
    NameServer(String),
    /// `user:password@host:port`, which is not shown.
    #[error(
        "user and password cannot be part of an endpoint; give them as `client_auth` of the extension `basicauth`"
    )]
    Credentials,
    /// `unix://directory/socket`.
    #[error("the path of a Unix socket follows three slashes: `unix:///{0}`")]
    SocketHost(String),
}

impl Endpoint {
    /// A host, without a scheme.
    #[must_use]
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { scheme: Scheme::None, place: Place::Host { name: name.into(), port }, path: String::new() }
    }

    /// Reads `[scheme://]host[:port][/path]`, or the path of a Unix socket: `unix:path`, `unix:///path`,
    /// `unix-abstract:name`.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            return Ok(Self::socket(socket_path(rest)?.into()));
        }
        if let Some(rest) = text.strip_prefix("unix-abstract:") {
            return Ok(Self::socket(format!("\0{}", socket_path(rest)?).into()));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("dns", rest)) => (Scheme::Dns, without_name_server(rest)?),
            Some(("passthrough", rest)) => (Scheme::Passthrough, without_name_server(rest)?),
            Some((scheme, _)) => return Err(EndpointError::BadScheme(scheme.to_owned())),
            None => (Scheme::None, text),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            // As a part of the host they would be told to name servers and shown on pages.
            return Err(EndpointError::Credentials);
        }
        let (host, port) = split_authority(authority)?;
        let port = match (port, scheme) {
            (Some(port), _) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| EndpointError::BadPort(port.to_owned()))?,
            (None, Scheme::Https) => 443,
            (None, Scheme::Http) => 80,
            (None, _) => return Err(EndpointError::NoPort(text.to_owned())),
        };
        if host.is_empty() {
            return Err(EndpointError::Empty);
        }
        let place = Place::Host { name: host.to_owned(), port };
        Ok(Self { scheme, place, path: path.trim_end_matches('/').to_owned() })
    }

    fn socket(path: PathBuf) -> Self {
        Self { scheme: Scheme::Unix, place: Place::Socket(path), path: String::new() }
    }

    /// The name or address of the host; a socket is on this one.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Host { name, .. } => name,
            Place::Socket(_) => "localhost",
        }
    }

    /// The TCP port, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.place {
            Place::Host { port, .. } => Some(port),
            Place::Socket(_) => None,
        }
    }

    /// What metrics call the destination: the host, or the path of the socket.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.place {
            Place::Host { name, .. } => name.clone(),
            Place::Socket(path) => shown(path),
        }
    }

    /// `host:port`, with brackets around an IPv6 address; `localhost` for a socket.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Host { name, port } if name.contains(':') => format!("[{name}]:{port}"),
            Place::Host { name, port } => format!("{name}:{port}"),
            Place::Socket(_) => "localhost".to_owned(),
        }
    }
}

/// A socket's path, with `@` for what is in the abstract name space.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replacen('\0', "@", 1)
}

/// What follows `unix:`; after two slashes there would be a host, which a socket does not have.
fn socket_path(rest: &str) -> Result<&str, EndpointError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if !path.is_empty() && !path.starts_with('/') => {
            return Err(EndpointError::SocketHost(path.to_owned()));
        }
        Some(path) => path,
        None => rest,
    };
    if path.is_empty() { Err(EndpointError::Empty) } else { Ok(path) }
}

/// What follows `dns://`. Without a third slash it is taken for the host, which is what is meant.
fn without_name_server(rest: &str) -> Result<&str, EndpointError> {
    match rest.split_once('/') {
        Some(("", rest)) => Ok(rest),
        Some((server, _)) => Err(EndpointError::NameServer(server.to_owned())),
        None => Ok(rest),
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

/// Without the query of a URL, which may be a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Host { .. } => {
                let path = self.path.split('?').next().unwrap_or_default();
                write!(f, "{}{path}", self.authority())
            }
            Place::Socket(path) => write!(f, "unix:{}", shown(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let cases = [
            ("localhost:4317", Scheme::None, "localhost", 4317, ""),
            ("http://tempo:4318/", Scheme::Http, "tempo", 4318, ""),
            ("https://otlp.example.com/otlp/", Scheme::Https, "otlp.example.com", 443, "/otlp"),
            ("[::1]:4317", Scheme::None, "::1", 4317, ""),
            ("dns:///collector:4317", Scheme::Dns, "collector", 4317, ""),
            ("dns://collector:4317", Scheme::Dns, "collector", 4317, ""),
            ("passthrough:///collector:4317", Scheme::Passthrough, "collector", 4317, ""),
        ];
        for (text, scheme, host, port, path) in cases {
            let place = Place::Host { name: host.into(), port };
            let expected = Endpoint { scheme, place, path: path.into() };
            assert_eq!(Endpoint::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sockets_are_read_and_shown() {
        let cases = [
            ("unix:relative/path.sock", "relative/path.sock", "unix:relative/path.sock"),
            ("unix:/run/otel.sock", "/run/otel.sock", "unix:/run/otel.sock"),
            ("unix:///run/otel.sock", "/run/otel.sock", "unix:/run/otel.sock"),
            ("unix-abstract:otel", "\0otel", "unix:@otel"),
        ];
        for (text, path, shown) in cases {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!(endpoint.place, Place::Socket(path.into()), "{text}");
            assert_eq!((endpoint.to_string(), endpoint.authority()), (shown.into(), "localhost".into()));
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert_eq!(Endpoint::parse(" "), Err(EndpointError::Empty));
        assert_eq!(Endpoint::parse("unix://"), Err(EndpointError::Empty));
        assert_eq!(Endpoint::parse("localhost"), Err(EndpointError::NoPort("localhost".into())));
        assert_eq!(Endpoint::parse("localhost:0"), Err(EndpointError::BadPort("0".into())));
        assert_eq!(Endpoint::parse("localhost:http"), Err(EndpointError::BadPort("http".into())));
        assert_eq!(Endpoint::parse("ftp://x:1"), Err(EndpointError::BadScheme("ftp".into())));
        assert_eq!(Endpoint::parse("dns://8.8.8.8/x:1"), Err(EndpointError::NameServer("8.8.8.8".into())));
        assert_eq!(Endpoint::parse("unix://run/x"), Err(EndpointError::SocketHost("run/x".into())));
    }

    #[test]
    fn credentials_are_neither_taken_for_a_host_nor_shown() {
        for text in
            ["http://me:hush@x:1/p", "me:hush@x:1", "https://hush@x", "dns:///me:hush@x", "http://me:hush@/"]
        {
            let error = Endpoint::parse(text).expect_err(text);
            assert_eq!(error, EndpointError::Credentials, "{text}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        assert!(Endpoint::parse("http://x:1/a@b").is_ok(), "a path is nobody's password");
        assert!(Endpoint::parse("unix:/run/a@b").is_ok());
    }
}
