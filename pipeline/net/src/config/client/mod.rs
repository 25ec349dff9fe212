//! Clients: confighttp's and configgrpc's keys of the sending side.

mod grpc;
mod http;

pub use grpc::{GrpcClientConfig, KeepAliveConfig};
pub use http::{CompressionParams, CookiesConfig, HttpClientConfig};

use super::{ClientAuthConfig, TlsClientConfig};
use crate::Endpoint;
use crate::connect::{Connector, Handshake, Proxies, Proxy, SystemResolver};
use crate::endpoint::Place;
use crate::tls::Site;
use millrace_config::{Checker, GivenOnly};
use millrace_engine::ClientAuth;
use millrace_engine::component::{BuildError, Context};
use std::sync::Arc;

/// Reads and checks the URL of an HTTP destination under `key`.
pub fn check_url(at: &mut Checker<'_>, key: &str, url: &str) -> Option<Endpoint> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        at.error(key, format!("must begin with http:// or https://\nwrite it as \"http://{url}\""));
        return None;
    }
    check_endpoint(at, key, url)
}

/// Reads and checks a destination under `key`.
pub fn check_endpoint(at: &mut Checker<'_>, key: &str, text: &str) -> Option<Endpoint> {
    match Endpoint::parse(text) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            at.error(key, error.to_string());
            None
        }
    }
}

/// TLS with the host of an endpoint.
fn handshake(
    tls: &TlsClientConfig,
    context: &Context,
    alpn: &'static [&'static [u8]],
    endpoint: &Endpoint,
) -> Result<Handshake, BuildError> {
    let connector = tls.connector(&Site::of(context), alpn).map_err(|error| context.error(error))?;
    Handshake::new(connector, endpoint.host()).map_err(|error| context.error(error))
}

/// What stands between a client and an endpoint.
fn connector(
    context: &Context,
    tls: Option<Handshake>,
    proxy: Option<Proxy>,
) -> Result<Connector, BuildError> {
    let proxy_tls = match &proxy {
        Some(proxy) if proxy.tls => {
            let host = Endpoint {
                scheme: crate::endpoint::Scheme::Https,
                place: proxy.place(),
                path: String::new(),
            };
            Some(handshake(&TlsClientConfig::default(), context, &[crate::tls::ALPN_HTTP1], &host)?)
        }
        _ => None,
    };
    Ok(Connector { tls, proxy, proxy_tls, resolver: Arc::new(SystemResolver) })
}

/// The proxy that the environment asks for.
fn environment_proxy(context: &Context, tls: bool, endpoint: &Endpoint) -> Result<Option<Proxy>, BuildError> {
    let Place::Host { name, port } = &endpoint.place else { return Ok(None) };
    let proxies = Proxies::from_env(|name| std::env::var(name).ok()).map_err(|error| context.error(error))?;
    Ok(proxies.for_destination(tls, name, *port).cloned())
}

/// The extension that says who sends, if one is named.
fn authenticator(
    auth: &GivenOnly<ClientAuthConfig>,
    context: &Context,
) -> Result<Option<Arc<dyn ClientAuth>>, BuildError> {
    let Some(id) = auth.as_option().and_then(|auth| auth.authenticator.as_ref()) else { return Ok(None) };
    context.shared.offers.client_auth(id).map(Some).map_err(|error| context.error(error))
}
