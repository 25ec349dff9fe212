//! The segment log: entries are appended, synced to disk together, handed out, and kept until they are done with.
//!
//! One log is one directory with one writer. It is what the file-backed sending queue, the dead letters and the tail
//! sampler keep their data in, each in a log of its own, so that none can fill or hold up another.
//!
//! ```no_run
//! use bytes::Bytes;
//! use millrace_log::{Entry, Log, Next, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (log, recovered) = Log::open("/var/lib/millrace/otlp-traces".as_ref(), Options::default())?;
//! println!("{} entries were waiting", recovered.held.entries);
//!
//! let entry = Entry::new(0, 100, vec![Bytes::from_static(b"as received")]);
//! let room = log.reserve(entry.framed_len())?; // refused here, before anything is kept
//! let appended = log.append(room, entry).wait()?; // or `.await`: on disk when it returns
//!
//! let consumer = log.consumer("default").expect("every log has it");
//! while let Some(delivery) = consumer.read_next()? {
//!     // … send it …
//!     consumer.ack(delivery.lease.sequence);
//! }
//! log.close();
//! # Ok(()) }
//! ```
//!
//! # What holds
//!
//! - **Appended means on disk.** [`Appending`] completes when an fdatasync that covers the entry has returned. All that
//!   arrive while one is running share the next.
//! - **Refused means not kept.** Room is [reserved](Log::reserve) before anything is written. What was refused is not
//!   handed out while this process lives.
//! - **No byte is trusted before its checksum.** Damage costs the entries that it hit, which are counted by reason
//!   ([`Observer::lost`]); what lies behind it is found again.
//! - **Done is remembered.** Entries are acked in any order; cursors are persisted at a stated interval
//!   ([`Options::cursor_interval`], [`Options::cursor_bytes`]), which bounds what is handed out twice after a crash.
//! - **It always starts.** Only a newer format or another process in the directory keeps it from opening.
//! - **The limit is what the disk sees.** [`Options::max_size`] bounds the files' true sizes, preallocation and cursors
//!   included.
//!
//! # How it is built
//!
//! Everything that touches the disk goes through [`Files`], and everything that knows the time through [`Clock`]; the
//! tests put a file system in their place that tells written from synced, loses what was not synced, and fails on
//! request. The state (`index`) does no input or output. A log has two threads: one that writes and syncs, one
//! that persists cursors, unlinks what is done, and prepares the next file. Nothing here knows tokio: what waits can be
//! awaited or waited for. The bytes on disk are described in this crate's README.

mod clock;
mod consumer;
mod cursors;
mod damage;
mod entry;
mod event;
mod files;
mod format;
mod group;
mod index;
mod inspect;
mod keeper;
mod line;
mod log;
mod lookout;
mod options;
mod recover;
mod report;
mod scan;
mod seen;
mod shared;
mod spare;
mod tally;
mod writer;

pub use clock::{Clock, SystemClock};
pub use consumer::Consumer;
pub use damage::Repaired;
pub use entry::{Appended, Delivery, Entry, Lease, Next, framed_len};
pub use event::Listener;
pub use files::{Access, Disk, Displacement, File, Files, Guard, Identity, Listed};
pub use group::Appending;
pub use inspect::{CursorFacts, Hole, Inspected, Inspector, Position, SegmentFacts, SegmentState, Verified};
pub use log::{Log, Room, Steps};
pub use options::{
    AlsoAt, Caps, ConsumerOptions, MAX_SIZE_MIN, OnFull, Options, Order, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN,
};
pub use report::{
    Loss, LossReason, Notice, Observer, OpenError, ReadError, Recovered, Refusal, Stats, Totals,
};
