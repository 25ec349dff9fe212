//! One writer for each file, whoever writes to it: the signals of one exporter, several exporters with the same path,
//! and, while a configuration is being replaced, the old graph and the new one.
//!
//! # Invariants
//! - Two messages never interleave, and a file that is being written to is never emptied.
//! - At most one message of a file is being encoded or written at any time.

use super::medium::{Appender, OnDisk, Opening};
use super::message::{Encoder, Layout};
use millrace_engine::{Batch, Failure, Fault, Reason};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use thiserror::Error;

/// A file that is open for writing.
pub(super) struct Writer {
    path: PathBuf,
    layout: Layout,
    encoder: Encoder,
    appender: Appender<OnDisk>,
}

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
static IN_USE: Mutex<BTreeMap<PathBuf, Open>> = Mutex::new(BTreeMap::new());

struct Open {
    layout: Layout,
    writer: Weak<tokio::sync::Mutex<Writer>>,
}

/// The writer of a file, opened if nobody has. Blocks.
pub(super) fn writer(opening: Opening, layout: Layout) -> Result<Shared, OpenError> {
    let failed = |source| OpenError::File { path: opening.path.clone(), source };
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.retain(|_, open| open.writer.strong_count() > 0);
    let file = opening.open().map_err(failed)?;
    let real = real_path(&opening.path);
    if let Some(open) = in_use.get(&real)
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
    let writer = Writer { path: opening.path, layout, encoder, appender: Appender::new(medium) };
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    in_use.insert(real, Open { layout, writer: Arc::downgrade(&writer) });
    Ok(writer)
}

/// The path without links. What has none (a pipe behind `/dev/stdout`) is known by the one given.
fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Writer {
    /// The most memory that writing a batch of `bytes` takes.
    pub(super) fn most(&self, bytes: u64) -> u64 {
        self.layout.most(bytes)
    }

    /// Writes a batch. Blocks.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        let message = self.encoder.encode(batch)?;
        self.appender.append(message).map_err(|error| {
            let message = format!("cannot write to `{}`: {error}", self.path.display());
            Failure::transient(Fault::Destination, Reason::Storage, message)
        })
    }
}
