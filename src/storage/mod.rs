//! The commands `queue` and `dead-letters`: looking at what a collector keeps on disk, and deciding what becomes of it,
//! while it runs or is stopped.

mod dead_letters;
mod folders;
mod limits;
mod losses;
mod options;
mod queue;
mod soundness;
mod stopped;
mod text;
mod waiting;

pub use dead_letters::{DeadLetters, dead_letters};
pub use queue::{Queue, queue};
