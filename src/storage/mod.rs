//! The commands `queue` and `dead-letters`: looking at what a collector keeps on disk, and deciding what becomes of it,
//! while it runs or is stopped.

mod dead_letters;
mod folders;
mod losses;
mod queue;
mod soundness;
mod text;

pub use dead_letters::{DeadLetters, dead_letters};
pub use queue::{Queue, queue};
