//! What extensions offer to other components: deciding who may send, proving who sends, turning requests away, and
//! keeping things on disk.
//!
//! A component names an extension by its id (`auth: {authenticator: basicauth/clients}`, `middlewares: [{id: …}]`) and
//! looks it up in [`Offers`] when it is built. Extensions are built before everything else, so by then all are there.

use crate::Origin;
use crate::component::Extension;
use crate::failure::Failure;
use crate::stage::BoxFuture;
use crate::storage::Storage;
use http::HeaderMap;
use millrace_config::ComponentId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// Who a request came from, as an authenticator found out: `subject`, `username`, …
pub type Identity = Vec<(Box<str>, Box<str>)>;

/// A request does not prove who sent it. The text is for the sender, and never repeats what it sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

/// Why a server does not take a request.
#[derive(Debug, Clone, Error)]
pub enum Denied {
    /// It does not prove who sent it: 401, `UNAUTHENTICATED`.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// Whether it does cannot be told now. The sender is to come back, and hears the same as for any [`Failure`].
    #[error("{0}")]
    NotNow(Failure),
}

/// Decides whether a server takes a request, by its headers and before its body.
pub trait ServerAuth: Send + Sync {
    /// Who sent the request.
    ///
    /// # Errors
    /// When it may not be taken.
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Arc<Identity>, Denied>>;
}

/// Adds to a client's requests what says who sends them.
pub trait ClientAuth: Send + Sync {
    /// Sets headers of a request. `origin` is where what is sent came from; the oldest, when it was merged.
    ///
    /// # Errors
    /// When the headers cannot be had now, or ever.
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        origin: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// The names of what clients send that it reads: what of it a queue on disk has to keep.
    fn metadata(&self) -> Vec<String> {
        Vec::new()
    }

    /// The destination answered that it does not believe what was sent: whatever is cached is to be fetched anew.
    fn disbelieved(&self) {}
}

/// Turns requests away before their bodies are read (`middlewares`).
pub trait Gate: Send + Sync {
    /// Whether a request may come in now.
    ///
    /// # Errors
    /// Why not, and when to come back.
    fn admit(&self) -> Result<(), Failure>;
}

/// What the extensions of the process offer, by their ids. Empty until all of them are built, and fixed from then on.
#[derive(Clone, Default)]
pub struct Offers(Arc<OnceLock<BTreeMap<ComponentId, Arc<dyn Extension>>>>);

/// An extension that was asked for cannot serve. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoOffer(String);

impl Offers {
    /// Makes the extensions known. Later calls change nothing.
    pub fn publish(&self, extensions: impl IntoIterator<Item = (ComponentId, Arc<dyn Extension>)>) {
        let _ = self.0.set(extensions.into_iter().collect());
    }

    /// The authenticator of a server.
    ///
    /// # Errors
    /// When there is no such extension, or it does not authenticate servers' requests.
    pub fn server_auth(&self, id: &ComponentId) -> Result<Arc<dyn ServerAuth>, NoOffer> {
        self.offer(id, "authenticate what a server receives", Extension::server_auth)
    }

    /// The authenticator of a client.
    ///
    /// # Errors
    /// When there is no such extension, or it does not authenticate clients' requests.
    pub fn client_auth(&self, id: &ComponentId) -> Result<Arc<dyn ClientAuth>, NoOffer> {
        self.offer(id, "authenticate what a client sends", Extension::client_auth)
    }

    /// The gate of a server.
    ///
    /// # Errors
    /// When there is no such extension, or it does not turn requests away.
    pub fn gate(&self, id: &ComponentId) -> Result<Arc<dyn Gate>, NoOffer> {
        self.offer(id, "act as a server's middleware", Extension::gate)
    }

    /// What keeps things on disk.
    ///
    /// # Errors
    /// When there is no such extension, or it keeps nothing.
    pub fn storage(&self, id: &ComponentId) -> Result<Arc<dyn Storage>, NoOffer> {
        self.offer(id, "keep things on disk", Extension::storage)
    }

    fn offer<T>(
        &self,
        id: &ComponentId,
        purpose: &str,
        offered: impl FnOnce(Arc<dyn Extension>) -> Option<T>,
    ) -> Result<T, NoOffer> {
        let Some(extension) = self.0.get().and_then(|extensions| extensions.get(id)) else {
            return Err(NoOffer(format!("extension `{id}` is not running; add it to service::extensions")));
        };
        offered(Arc::clone(extension)).ok_or_else(|| NoOffer(format!("extension `{id}` cannot {purpose}")))
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.get().into_iter().flat_map(BTreeMap::keys)).finish()
    }
}
