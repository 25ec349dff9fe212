//! The `oauth2client` extension: requests carry a token that a token endpoint gives to this client.
//!
//! A token is fetched when it is first needed, and the next one some time before it expires, while the present one is
//! still in use. One fetch is under way at a time, on a task of its own: whoever needs the token waits for it, and is
//! not kept from it by his own time limit. After a failure the endpoint is left alone for a while.

mod config;
mod endpoint;
mod grant;
mod jwt;

pub use config::Config;

use crate::credentials::Current;
use endpoint::TokenEndpoint;
use http::HeaderMap;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, ClientAuth, Failure, Fault, Origin, Reason, Tasks};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The first wait after a failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A token that is not believed is replaced if it is older than this: a destination that believes none must not make
/// us ask for one with every request.
const YOUNG: Duration = Duration::from_secs(10);

/// The `oauth2client` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "oauth2client",
    aliases: &[],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        let (done, _) = watch::channel(());
        let inner = Inner {
            endpoint: TokenEndpoint::new(self, &context)?,
            expiry_buffer: self.expiry_buffer.get(),
            token: Current::from(None),
            fetching: Mutex::default(),
            done,
        };
        Ok(Arc::new(OAuth2Client { tasks: context.shared.tasks, inner: Arc::new(inner) }))
    }

    fn offers(&self) -> &'static [Role] {
        &[Role::ClientAuth]
    }
}

struct OAuth2Client {
    tasks: Tasks,
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: TokenEndpoint,
    expiry_buffer: Duration,
    token: Current<Option<Kept>>,
    fetching: Mutex<Fetching>,
    /// Told when a fetch has ended.
    done: watch::Sender<()>,
}

/// A token in use.
struct Kept {
    header: HeaderValue,
    fetched: Instant,
    /// From when on the next one is to be fetched.
    aging: Option<Instant>,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Fetching {
    is_under_way: bool,
    failures: u32,
    /// The last failure, and until when the endpoint is left alone.
    failed: Option<(String, Instant)>,
}

impl OAuth2Client {
    /// The token, if there is one; has the next one fetched if it is time.
    fn token(&self) -> Option<HeaderValue> {
        let now = Instant::now();
        let token = self.inner.token.read();
        let token = token.as_ref().filter(|token| token.expires.is_none_or(|end| now < end))?;
        if token.aging.is_some_and(|aging| aging <= now) {
            // While this one lasts, nobody needs to know why there is no other.
            let _ = self.fetch();
        }
        Some(token.header.clone())
    }

    /// Has a token fetched, unless that is under way already.
    ///
    /// # Errors
    /// When the endpoint has failed and is left alone.
    fn fetch(&self) -> Result<(), Failure> {
        let mut fetching = self.inner.fetching();
        if fetching.is_under_way {
            return Ok(());
        }
        if let Some((problem, until)) = &fetching.failed
            && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            return Err(unavailable(problem).after(left));
        }
        fetching.is_under_way = true;
        drop(fetching);
        let inner = Arc::clone(&self.inner);
        drop(self.tasks.spawn("fetch token", async move { inner.fetch().await }));
        Ok(())
    }

    async fn wait(&self) -> Result<HeaderValue, Failure> {
        let mut done = self.inner.done.subscribe();
        self.fetch()?;
        // The sender is in `self`, so this does not fail.
        let _ = done.changed().await;
        self.token().ok_or_else(|| {
            let fetching = self.inner.fetching();
            let problem = fetching.failed.as_ref().map_or("the token has expired", |(problem, _)| problem);
            unavailable(problem)
        })
    }
}

impl Inner {
    async fn fetch(&self) {
        let result = self.endpoint.fetch().await;
        let now = Instant::now();
        let mut fetching = self.fetching();
        fetching.is_under_way = false;
        match result {
            Ok(token) => {
                // A token that lasts for less than the buffer is used for half of its time.
                let aging =
                    token.lasts.map(|lasts| now + lasts.saturating_sub(self.expiry_buffer).max(lasts / 2));
                let expires = token.lasts.map(|lasts| now + lasts);
                self.token.replace(Some(Kept { header: token.header, fetched: now, aging, expires }));
                *fetching = Fetching::default();
            }
            Err(problem) => {
                let wait = BACKOFF.0.saturating_mul(1 << fetching.failures.min(10)).min(BACKOFF.1);
                tracing::error!(error = problem, retry_in = ?wait, "cannot get a token");
                fetching.failures += 1;
                fetching.failed = Some((problem, now + wait));
            }
        }
        drop(fetching);
        self.done.send_replace(());
    }

    fn fetching(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Extension for OAuth2Client {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        Some(self)
    }
}

impl ClientAuth for OAuth2Client {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            let header = match self.token() {
                Some(header) => header,
                None => self.wait().await?,
            };
            headers.insert(AUTHORIZATION, header);
            Ok(())
        })
    }

    fn disbelieved(&self) {
        if self.inner.token.read().as_ref().is_some_and(|token| token.fetched.elapsed() >= YOUNG) {
            self.inner.token.replace(None);
        }
    }
}

fn unavailable(problem: &str) -> Failure {
    Failure::transient(Fault::Destination, Reason::Unreachable, problem.to_owned())
}

#[cfg(test)]
mod tests;
