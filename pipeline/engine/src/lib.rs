//! What every component of the collector stands on.
//!
//! The unit of flow is a [`Batch`]; work flows through two contracts and no third, [`Transform`] and [`Stage`];
//! what a component owes is written down in an [`Account`]; memory is charged to a [`Budget`] at the door. The
//! graph ties components together as the configuration says, starts them from the back and stops them from the
//! front. `docs/contract.md` works through the cases.
//!
//! # Invariants
//! - A request reserves room on every branch it will reach before any branch keeps anything ([`Entry::submit`]).
//! - Every item that enters a component leaves it by name, or is held; no term of an account is computed from the
//!   others.
//! - Bytes are charged before they are kept, and released when the last piece that pins them is dropped.

pub mod batch;
pub mod budget;
pub mod component;
pub mod current;
mod custody;
pub mod entry;
mod expose;
pub mod extension;
pub mod failure;
pub mod graph;
pub mod health;
pub mod host;
pub mod lanes;
pub mod lasting;
pub mod ledger;
mod measured;
pub mod memory;
pub mod openings;
pub mod retries;
pub mod stage;
pub mod status;
pub mod storage;
pub mod submission;
pub mod tasks;

pub use batch::{Batch, Cost, Metadata, Origin, Piece};
pub use budget::{Budget, Charge};
pub use current::{Current, Gone, Reading};
pub use entry::Entry;
pub use extension::{ClientAuth, Denied, Gate, Identity, Offers, ServerAuth, Unauthenticated};
pub use failure::{Failure, Fault, Reason, Retry};
pub use health::Health;
pub use lanes::Lanes;
pub use lasting::{Generation, Lasting};
pub use ledger::{Account, Ledger};
pub use openings::Openings;
pub use retries::Retries;
pub use stage::{BoxFuture, Permit, Reservation, Stage, Transform, Until};
pub use status::{Components, Status};
pub use storage::{Directories, Storage};
pub use submission::Submission;
pub use tasks::Tasks;
