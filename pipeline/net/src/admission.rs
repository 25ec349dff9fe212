//! Who may come in: authentication and gates, asked by the headers of a request, before its body is read.

use crate::config::ServerMiddlewareConfig;
use http::HeaderMap;
use millrace_config::ComponentId;
use millrace_engine::extension::{Denied, Gate, NoOffer, ServerAuth};
use millrace_engine::{Failure, Identity, Offers};
use std::fmt;
use std::sync::Arc;

/// What a server asks before it reads a body. Nothing, by default.
#[derive(Clone, Default)]
pub struct Admission {
    auth: Option<Arc<dyn ServerAuth>>,
    gates: Vec<Arc<dyn Gate>>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("auth", &self.auth.is_some())
            .field("gates", &self.gates.len())
            .finish()
    }
}

impl Admission {
    /// Looks up the extensions that a configuration names.
    ///
    /// # Errors
    /// When one is not running, or cannot do what it is named for.
    pub fn of(
        offers: &Offers,
        authenticator: Option<&ComponentId>,
        middlewares: &[ServerMiddlewareConfig],
    ) -> Result<Self, NoOffer> {
        let auth = authenticator.map(|id| offers.server_auth(id)).transpose()?;
        let gates = middlewares.iter().filter_map(|middleware| middleware.id.as_ref());
        let gates = gates.map(|id| offers.gate(id)).collect::<Result<_, _>>()?;
        Ok(Self { auth, gates })
    }

    /// Asks for authentication by `auth`.
    #[must_use]
    pub fn with_auth(mut self, auth: Arc<dyn ServerAuth>) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Asks one more gate.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gates.push(gate);
        self
    }

    /// Whether every request comes in, as long as nobody asks who sends it.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        self.auth.is_none() && self.gates.is_empty()
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When it may not come in.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, Denied> {
        match &self.auth {
            Some(auth) => auth.authenticate(headers).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether a request may come in now.
    ///
    /// # Errors
    /// The first gate's reason that it may not.
    pub fn pass(&self) -> Result<(), Failure> {
        self.gates.iter().try_for_each(|gate| gate.admit())
    }
}
