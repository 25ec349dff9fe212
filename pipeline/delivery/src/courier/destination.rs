//! Where a batch goes, and why it was not taken there.

use super::sending::{Patience, Protocol, Sending};
use super::{Courier, Phase};
use crate::Accepted;
use crate::says::say;
use millrace_engine::{Batch, Entry, Failure, Reason, Retry, Submission, Until};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The first wait before the pipeline behind is asked again.
const HOLD_MIN: Duration = Duration::from_millis(100);
/// The longest.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// Where to.
pub(crate) enum Destination {
    /// Out of the process.
    Protocol(Box<Protocol>),
    /// Into the rest of a pipeline.
    Pipeline {
        next: Arc<Entry>,
        /// Whether what it refuses for a while is held, however long that is, or handed back to whoever waits.
        holds: bool,
    },
}

/// A batch was not taken.
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Whether smaller parts of it may be taken.
    pub(super) divisible: bool,
    /// Whether it would have been tried again, if there were time.
    pub(super) cut_short: bool,
}

impl Refusal {
    /// It never got there.
    pub(super) fn by_us(failure: Failure) -> Self {
        Self { failure, divisible: false, cut_short: false }
    }

    /// What the destination has decided.
    pub(super) fn by_destination(failure: Failure) -> Self {
        Self { divisible: failure.reason == Reason::TooLarge, failure, cut_short: false }
    }
}

impl Destination {
    /// Whether what is refused for a while stays, and the rest behind it.
    pub(crate) fn holds(&self) -> bool {
        matches!(self, Self::Pipeline { holds: true, .. })
    }

    pub(super) async fn take(
        &self,
        courier: &Courier,
        batch: &Batch,
        patience: &mut Patience,
        until: Until,
    ) -> Result<Accepted, Refusal> {
        match self {
            Self::Protocol(protocol) => Sending::over(protocol, courier).attempts(batch, patience).await,
            Self::Pipeline { next, holds } => {
                let mut submission = next.submission(batch.clone());
                let result = if *holds {
                    hand_on(courier, &mut submission, until).await
                } else {
                    submission.attempt(until).await.map(|()| Accepted::default())
                };
                result.map_err(|failure| Refusal {
                    divisible: failure.reason == Reason::TooLarge && submission.is_untouched(),
                    cut_short: failure.is_transient() && courier.has_successor(),
                    failure,
                })
            }
        }
    }
}

/// Hands a batch on, and holds it while what comes after refuses it for a while. While draining, what comes after is
/// still at work: it is asked at short intervals until the time is up.
async fn hand_on(
    courier: &Courier,
    submission: &mut Submission<'_>,
    until: Until,
) -> Result<Accepted, Failure> {
    let mut hold = HOLD_MIN;
    loop {
        let failure = match submission.attempt(until).await {
            Ok(()) => return Ok(Accepted::default()),
            Err(failure) => failure,
        };
        let Retry::After(asked) = failure.retry else { return Err(failure) };
        if courier.is_in(Phase::Draining) {
            // Whoever goes on with it would hand it once more to the branches that have taken it: only in the end.
            let is_late = !submission.is_untouched() && !courier.is_in(Phase::CutOff);
            if courier.has_successor() && !is_late {
                return Err(failure);
            }
            sleep(HOLD_MIN).await;
            continue;
        }
        let wait = hold.max(asked.unwrap_or_default());
        hold = (hold * 2).min(HOLD_MAX);
        say!(
            info,
            courier.account.holder(),
            error = %failure,
            interval = ?wait,
            "what comes next does not take the batch; holding it"
        );
        tokio::select! {
            () = sleep(wait) => {}
            () = courier.reached(Phase::Draining) => {}
        }
    }
}
