//! What authenticators decide, and count.

use millrace_engine::component::Context;
use millrace_engine::{Denied, Failure, Unauthenticated};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Counter, Labels};

/// Why a request is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It has no credentials.
    Missing(String),
    /// They are not those of anybody.
    Wrong(&'static str),
    /// They cannot be checked now.
    NotNow(Failure),
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Missing(text) => Unauthenticated(text).into(),
            Refused::Wrong(text) => Unauthenticated(text.to_owned()).into(),
            Refused::NotNow(failure) => Self::NotNow(failure),
        }
    }
}

/// The requests that an authenticator has decided about, by outcome.
pub(crate) struct Verdicts {
    accepted: Counter,
    missing: Counter,
    wrong: Counter,
    put_off: Counter,
}

impl Verdicts {
    pub(crate) fn new(context: &Context) -> Self {
        let counter = |outcome| {
            let labels = Labels::new().with("extension", context.id.to_string()).with("outcome", outcome);
            context.shared.registry.counter(&catalogue::AUTHENTICATIONS, &labels)
        };
        Self {
            accepted: counter("accepted"),
            missing: counter("missing"),
            wrong: counter("wrong"),
            put_off: counter("put_off"),
        }
    }

    /// Counts a verdict, and makes of it what the server is told.
    pub(crate) fn count<T>(&self, verdict: Result<T, Refused>) -> Result<T, Denied> {
        let counter = match &verdict {
            Ok(_) => &self.accepted,
            Err(Refused::Missing(_)) => &self.missing,
            Err(Refused::Wrong(_)) => &self.wrong,
            Err(Refused::NotNow(_)) => &self.put_off,
        };
        counter.add(1);
        verdict.map_err(Denied::from)
    }
}
