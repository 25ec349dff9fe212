//! What the fuzz targets reach of this folder.

use super::proxy::{Proxy, tunnel};
use futures_util::FutureExt as _;

/// Asks a proxy that answers so and hangs up for a way through, and gives what is left of its answer.
pub fn tunnelled<'a>(proxy: &Proxy, destination: &str, answer: &'a [u8]) -> Result<&'a [u8], String> {
    let mut stream = tokio::io::join(answer, Vec::new());
    let outcome =
        tunnel(&mut stream, proxy, destination).now_or_never().expect("there is nothing to wait for");
    outcome.map(|()| stream.into_inner().0).map_err(|error| error.to_string())
}

/// Whether TLS, where, and with what credentials.
#[must_use]
pub fn parts(proxy: &Proxy) -> (bool, &str, u16, Option<&[u8]>) {
    let authorization = proxy.authorization.as_ref().map(|value| value.as_bytes());
    (proxy.tls, &proxy.host, proxy.port, authorization)
}
