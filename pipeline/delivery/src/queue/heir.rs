//! Who goes on with what a queue in memory leaves, on a reload.

use super::space::Space;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The line that takes the place of another one's, once there is one. It does not end before the other has.
#[derive(Default)]
pub(crate) struct Heir(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    Is(Giver),
    /// Nothing is left that could be handed over.
    Over,
}

impl Heir {
    /// It is `space`; whether there is something to hand over, and nobody who has it already.
    pub(super) fn set(&self, space: &Arc<Space>) -> bool {
        let mut state = self.state();
        let is_first = matches!(*state, State::Unknown);
        if is_first {
            *state = State::Is(Giver::to(space));
        }
        is_first
    }

    /// The line, if there is one.
    pub(crate) fn get(&self) -> Option<Arc<Space>> {
        match &*self.state() {
            State::Is(giver) => Some(Arc::clone(&giver.0)),
            State::Unknown | State::Over => None,
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        matches!(*self.state(), State::Is(_))
    }

    /// Nothing more is handed over.
    pub(super) fn end(&self) {
        *self.state() = State::Over;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who may put requests in line that have been accepted. Nobody ends with that line before this is dropped.
pub(super) struct Giver(Arc<Space>);

impl Giver {
    pub(super) fn to(space: &Arc<Space>) -> Self {
        space.expect_more();
        Self(Arc::clone(space))
    }

    pub(super) fn space(&self) -> &Arc<Space> {
        &self.0
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.0.expect_no_more();
    }
}
