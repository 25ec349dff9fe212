//! One writer for each file, whoever writes to it: the signals of one exporter, several exporters with the same path,
//! and, while a configuration is being replaced, the old graph and the new one.
//!
//! # Invariants
//! - Two messages never interleave, and a file that is being written to is never emptied.
//! - At most one message of a file is being encoded or written at any time.

use super::config::Rotation;
use super::medium::{Appender, OnDisk, Opening};
use super::message::{Encoder, Layout};
use super::rotation::Rotator;
use jiff::Timestamp;
use millrace_engine::{Batch, Failure, Fault, Reason};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use thiserror::Error;

/// A file that is open for writing.
pub(super) struct Writer {
    path: PathBuf,
    layout: Layout,
    encoder: Encoder,
    appender: Appender<OnDisk>,
    rotation: Option<Rotation>,
    rotator: Option<Rotator>,
}

/// Where a batch lies that has just been written, to take it back.
#[derive(Debug)]
pub(super) struct Written(Option<Range<u64>>);

/// A writer that many share, one at a time and in the order in which they come.
pub(super) type Shared = Arc<tokio::sync::Mutex<Writer>>;

/// Why a file cannot be written to.
#[derive(Debug, Error)]
pub(super) enum OpenError {
    /// The operating system says no.
    #[error("cannot open `{path}` for writing: {source}{}", advice(source))]
    File { path: PathBuf, source: io::Error },
    /// Two formats in one file could not be told apart.
    #[error(
        "`{path}` is already being written to in another `format` or `compression`; choose another path, or stop the \
         collector before changing the format of a file"
    )]
    OtherLayout { path: PathBuf },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; make the folder, or set `create_directory: true`",
        io::ErrorKind::PermissionDenied => "; choose a path that the collector's user may write to",
        _ => "",
    }
}

/// The writers that are in use, by the file's real path.
static IN_USE: Mutex<BTreeMap<PathBuf, Arc<Mutex<Option<Open>>>>> = Mutex::new(BTreeMap::new());

/// One of them. Held while the file is made ready: a disk that hangs holds up nobody who writes to another one.
struct Open {
    layout: Layout,
    writer: Weak<tokio::sync::Mutex<Writer>>,
}

/// The writer of a file, opened if nobody has. A file that is rotated is never emptied. Blocks.
pub(super) fn writer(
    mut opening: Opening,
    layout: Layout,
    rotation: Option<&Rotation>,
) -> Result<Shared, OpenError> {
    opening.append |= rotation.is_some();
    let failed = |source| OpenError::File { path: opening.path.clone(), source };
    let file = opening.open().map_err(failed)?;
    let place = place(real_path(&opening.path));
    let mut place = locked(&place);
    if let Some(open) = &*place
        && let Some(writer) = open.writer.upgrade()
    {
        return if open.layout == layout {
            Ok(writer)
        } else {
            Err(OpenError::OtherLayout { path: opening.path })
        };
    }
    let mut medium = OnDisk::new(opening.clone(), file).map_err(failed)?;
    if medium.prepare(layout.is_lines()).map_err(failed)? {
        tracing::warn!(path = %opening.path.display(), "the last line of the file was cut off; starting a new one after it");
    }
    let encoder = Encoder::new(layout).map_err(failed)?;
    let rotator = rotation.map(|rotation| Rotator::new(&opening.path, rotation));
    if let Some(rotator) = &rotator {
        rotator.adopt();
        rotator.clean(Timestamp::now());
    }
    let (rotation, appender) = (rotation.cloned(), Appender::new(medium));
    let writer = Writer { path: opening.path, layout, encoder, appender, rotation, rotator };
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    *place = Some(Open { layout, writer: Arc::downgrade(&writer) });
    Ok(writer)
}

/// Where the writer of the file at that path is, or is to be.
fn place(real: PathBuf) -> Arc<Mutex<Option<Open>>> {
    let mut in_use = locked(&IN_USE);
    // Whoever has a place is about to fill it, and has got it under this lock.
    let is_open = |open: &Option<Open>| open.as_ref().is_some_and(|open| open.writer.strong_count() > 0);
    in_use.retain(|_, place| Arc::strong_count(place) > 1 || is_open(&locked(place)));
    Arc::clone(in_use.entry(real).or_default())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path without links. What has none (a pipe behind `/dev/stdout`) is known by the one given.
fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Writer {
    /// Has the file rotated in that way from now on: a reload may have changed it while the file stayed open.
    pub(super) fn rotate_as(&mut self, rotation: Option<&Rotation>) {
        if self.rotation.as_ref() != rotation {
            self.rotator = rotation.map(|rotation| Rotator::new(&self.path, rotation));
            self.rotation = rotation.cloned();
        }
    }

    /// The most memory that writing a batch of `bytes` takes.
    pub(super) fn most(&self, bytes: u64) -> u64 {
        self.layout.most(bytes)
    }

    /// Writes a batch. Blocks.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<Written, Failure> {
        let Self { path, encoder, appender, rotator, .. } = self;
        let failed = |error: io::Error| {
            let message = format!("cannot write to `{}`: {error}", path.display());
            Failure::transient(Fault::Destination, Reason::Storage, message)
        };
        let message = encoder.encode(batch)?;
        if let Some(rotator) = rotator {
            make_room(rotator, appender, message.len() as u64).map_err(|refusal| match refusal {
                NoRoom::Never(most) => Failure::permanent(
                    Fault::Us,
                    Reason::TooLarge,
                    format!(
                        "the request takes {} bytes, and a file holds {most}; raise `max_megabytes`",
                        message.len()
                    ),
                ),
                NoRoom::Now(error) => failed(error),
            })?;
        }
        appender.append(message).map(Written).map_err(failed)
    }

    /// Takes back what was written last.
    pub(super) fn undo(&mut self, written: Written) {
        if let Written(Some(range)) = written {
            self.appender.undo(range);
        }
    }
}

/// Why a message has no place in a file that is rotated.
enum NoRoom {
    /// It is larger than a file may be.
    Never(u64),
    /// The file could not be moved aside.
    Now(io::Error),
}

/// Begins a new file if the message does not fit into the old one.
fn make_room(rotator: &mut Rotator, appender: &mut Appender<OnDisk>, len: u64) -> Result<(), NoRoom> {
    if len > rotator.max_bytes() {
        return Err(NoRoom::Never(rotator.max_bytes()));
    }
    let Some(size) = appender.len().map_err(NoRoom::Now)? else { return Ok(()) };
    if rotator.is_due(size, len) {
        let now = Timestamp::now();
        appender.rotate(&rotator.aside(now)).map_err(NoRoom::Now)?;
        rotator.clean(now);
    }
    Ok(())
}
