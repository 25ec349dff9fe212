//! From names to addresses.

use millrace_engine::BoxFuture;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// The limit for one question.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What knows the addresses behind a name.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host` at this moment, with `port`.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's own: hosts file, DNS, and whatever else it is set up with. Nothing is remembered here.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The addresses of a host, in time, each once; an address stands for itself.
///
/// # Errors
/// When there are none, or no answer.
pub(crate) async fn addresses(resolver: &dyn Resolve, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(ip) = literal(host) {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let asked = timeout(RESOLVE_TIMEOUT, resolver.resolve(host, port)).await;
    let told = asked.unwrap_or_else(|_| {
        let limit = RESOLVE_TIMEOUT.as_secs();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit} seconds")))
    });
    let cannot = |error: io::Error| io::Error::new(error.kind(), format!("cannot resolve `{host}`: {error}"));
    let mut addresses = Vec::new();
    for address in told.map_err(cannot)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(cannot(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")));
    }
    Ok(addresses)
}

/// The address that a host's name is, if it is one.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(Vec<SocketAddr>);

    impl Resolve for Fixed {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    #[derive(Debug)]
    struct Silent;

    impl Resolve for Silent {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_has_each_address_once_and_an_address_is_not_asked_for() {
        let one: SocketAddr = ([10, 0, 0, 1], 4317).into();
        let two: SocketAddr = ([10, 0, 0, 2], 4317).into();
        let fixed = Fixed(vec![one, two, one]);
        assert_eq!(addresses(&fixed, "name", 4317).await.expect("addresses"), [one, two]);
        assert_eq!(addresses(&Silent, "10.0.0.1", 4317).await.expect("itself"), [one]);
        let silent = addresses(&Silent, "name", 4317).await.expect_err("no answer");
        assert_eq!(silent.to_string(), "cannot resolve `name`: no answer within 10 seconds");
        let nothing = addresses(&Fixed(Vec::new()), "name", 4317).await.expect_err("nothing");
        assert_eq!(nothing.to_string(), "cannot resolve `name`: the name has no addresses");
    }
}
