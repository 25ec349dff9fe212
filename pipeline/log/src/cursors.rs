//! Cursors' files: two slots, written in turn.

use crate::files::{Access, File, Files, read_full, write_all};
use crate::format::cursor::{Cursor, Decoded};
use crate::report::OpenError;
use crate::shared::Shared;
use std::io::{self, IoSlice};

/// The size of a slot to begin with. Enough for the bitmaps of 100,000 entries in a few segments.
const SLOT: u64 = 16 * 1024;

/// What is read of a file at most: a bitmap takes an eighth of a byte for each 56 bytes of frames.
const FILE_MAX: u64 = 1 << 30;

const PREFIX: &str = "cursor-";

/// The file of one cursor.
pub(crate) struct CursorFile {
    consumer: String,
    /// None after a failure: what the kernel still has of a file whose sync failed cannot be known.
    file: Option<Box<dyn File>>,
    slot: u64,
    generation: u64,
}

/// What was found in a cursor's file.
pub(crate) enum Found {
    Cursor(Cursor),
    /// There is no file.
    Nothing,
    /// There is one, and no slot can be used.
    Damaged,
}

/// The name of a cursor's file.
pub(crate) fn cursor_name(consumer: &str) -> String {
    format!("{PREFIX}{consumer}")
}

/// The consumer in the name of a cursor's file.
pub(crate) fn consumer_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX).filter(|consumer| !consumer.ends_with(".new"))
}

/// What is persisted for a consumer.
pub(crate) fn load(files: &dyn Files, consumer: &str) -> Result<Found, OpenError> {
    let name = cursor_name(consumer);
    let bytes = match read(files, &name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(_) => return Ok(Found::Damaged),
    };
    let mut best: Option<Cursor> = None;
    let mut newer = None;
    for slot in bytes.chunks(bytes.len().div_ceil(2).max(1)) {
        match Cursor::decode(slot) {
            Decoded::Cursor(cursor) => {
                if best.as_ref().is_none_or(|best| best.generation < cursor.generation) {
                    best = Some(cursor);
                }
            }
            Decoded::Newer(version) => newer = Some(version),
            Decoded::Nothing => {}
        }
    }
    match (newer, best) {
        (Some(version), _) => {
            Err(OpenError::NewerVersion { file: name, version, known: crate::format::VERSION })
        }
        (None, Some(cursor)) => Ok(Found::Cursor(cursor)),
        (None, None) => Ok(Found::Damaged),
    }
}

fn read(files: &dyn Files, name: &str) -> io::Result<Vec<u8>> {
    let file = files.open(name, Access::Read)?;
    let len = file.len()?.min(FILE_MAX) as usize;
    let mut bytes = vec![0; len];
    let read = read_full(file.as_ref(), &mut bytes, 0)?;
    bytes.truncate(read);
    // Slots are halves of the file as it was made.
    bytes.resize(len, 0);
    Ok(bytes)
}

impl CursorFile {
    /// Not made yet, or to be made anew: a file that another process has written is not written to any more.
    pub(crate) fn new(consumer: &str, generation: u64) -> Self {
        Self { consumer: consumer.to_owned(), file: None, slot: SLOT, generation }
    }

    pub(crate) fn name(&self) -> String {
        cursor_name(&self.consumer)
    }

    /// The size of the file.
    pub(crate) fn len(&self) -> u64 {
        self.slot * 2
    }

    /// Persists a cursor. `false`: not all of it, as the disk has no room for a larger file.
    pub(crate) fn persist(&mut self, shared: &Shared, mut cursor: Cursor) -> io::Result<bool> {
        self.generation += 1;
        cursor.generation = self.generation;
        let need = (cursor.encoded_len() as u64).next_power_of_two();
        if self.file.is_none() || need > self.slot {
            match self.make(shared, need.max(self.slot), &cursor) {
                Ok(()) => return Ok(true),
                Err(error) if self.file.is_none() => return Err(error),
                Err(_) => {}
            }
        }
        let (bytes, whole) = cursor.encode(self.slot as usize);
        let at = self.generation % 2 * self.slot;
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written =
            write_all(file.as_ref(), &mut [IoSlice::new(&bytes)], at).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.file = None;
            return Err(error);
        }
        Ok(whole)
    }

    /// A new file in the place of the old one. All of it is written, so that no later write needs room.
    fn make(&mut self, shared: &Shared, slot: u64, cursor: &Cursor) -> io::Result<()> {
        let files = shared.files.as_ref();
        let (bytes, _) = cursor.encode(slot as usize);
        let mut content = vec![0; slot as usize * 2];
        let at = (self.generation % 2 * slot) as usize;
        content[at..at + bytes.len()].copy_from_slice(&bytes);
        let (name, new) = (self.name(), format!("{}.new", self.name()));
        match files.unlink(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = files.create(&new)?;
        let made = write_all(file.as_ref(), &mut [IoSlice::new(&content)], 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| files.rename(&new, &name))
            .and_then(|()| files.sync_dir());
        if let Err(error) = made {
            let _ = files.unlink(&new);
            return Err(error);
        }
        self.file = Some(file);
        self.slot = slot;
        Ok(())
    }
}
