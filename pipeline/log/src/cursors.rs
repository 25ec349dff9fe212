//! Cursors' files: two slots, written in turn.

use crate::files::{Access, File, Files, read_full, write_all};
use crate::format::VERSION;
use crate::format::cursor::{Cursor, Decoded};
use crate::report::OpenError;
use crate::shared::Shared;
use std::io::{self, IoSlice};

/// The size of a slot to begin with. Enough for the bitmaps of 100,000 entries in a few segments.
const SLOT: u64 = 16 * 1024;

/// What is read of a file at most: a bitmap takes an eighth of a byte for each 56 bytes of frames.
const FILE_MAX: u64 = 1 << 30;

const PREFIX: &str = "cursor-";

/// What the name of a file ends in that is to take the place of another.
const NEW: &str = ".new";

/// A file that is made to see whether files can be made.
pub(crate) const PROBE: &str = "probe";

/// The file of one cursor.
pub(crate) struct CursorFile {
    consumer: String,
    /// Not opened yet, or let go after a failure: of a descriptor whose sync has failed nothing can be known.
    file: Option<Box<dyn File>>,
    /// The size of a slot; none if there is no file that can be used.
    slot: Option<u64>,
    /// The slot that is not the one that counts, and is written to next: again, if writing to it fails.
    turn: u64,
    generation: u64,
    /// Its name is on disk.
    is_named: bool,
}

/// What was found in a cursor's file.
pub(crate) enum Found {
    Cursor(Cursor, CursorFile),
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
    name.strip_prefix(PREFIX).filter(|consumer| !consumer.ends_with(NEW))
}

/// Whether a file is what a crash has left of one that was being made.
pub(crate) fn is_remains(name: &str) -> bool {
    name == PROBE || name.starts_with(PREFIX) && name.ends_with(NEW)
}

/// What is persisted for a consumer.
pub(crate) fn load(files: &dyn Files, consumer: &str) -> Result<Found, OpenError> {
    let name = cursor_name(consumer);
    let bytes = match read(files, &name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(_) => return Ok(Found::Damaged),
    };
    let slot = bytes.len().div_ceil(2).max(1);
    let mut best: Option<(Cursor, u64)> = None;
    for (bytes, other) in bytes.chunks(slot).zip([1, 0]) {
        match Cursor::decode(bytes) {
            Decoded::Cursor(cursor) => {
                if best.as_ref().is_none_or(|(best, _)| best.generation < cursor.generation) {
                    best = Some((cursor, other));
                }
            }
            Decoded::Newer(version) => {
                return Err(OpenError::NewerVersion { file: name, version, known: VERSION });
            }
            Decoded::Nothing => {}
        }
    }
    let Some((cursor, turn)) = best else { return Ok(Found::Damaged) };
    let usable = bytes.len() as u64 >= 2 * SLOT && bytes.len().is_multiple_of(2);
    let file = CursorFile {
        consumer: consumer.to_owned(),
        file: None,
        slot: usable.then_some(slot as u64),
        turn,
        generation: cursor.generation,
        // Whoever opens a log sees to the names that are there.
        is_named: true,
    };
    Ok(Found::Cursor(cursor, file))
}

fn read(files: &dyn Files, name: &str) -> io::Result<Vec<u8>> {
    let file = files.open(name, Access::Read)?;
    let len = file.size()?.min(FILE_MAX) as usize;
    let mut bytes = vec![0; len];
    let read = read_full(file.as_ref(), &mut bytes, 0)?;
    bytes.truncate(read);
    // Slots are halves of the file as it was made.
    bytes.resize(len, 0);
    Ok(bytes)
}

impl CursorFile {
    /// To be made.
    pub(crate) fn new(consumer: &str) -> Self {
        Self {
            consumer: consumer.to_owned(),
            file: None,
            slot: None,
            turn: 0,
            generation: 0,
            is_named: false,
        }
    }

    pub(crate) fn name(&self) -> String {
        cursor_name(&self.consumer)
    }

    /// The size of the file.
    pub(crate) fn len(&self) -> u64 {
        self.slot.map_or(0, |slot| slot * 2)
    }

    /// What it may take: while it is made anew, there are two.
    pub(crate) fn room(&self) -> u64 {
        self.slot.unwrap_or(SLOT) * 4
    }

    /// Whether somebody has taken it away, or put another in its place. Then it is made anew.
    pub(crate) fn has_vanished(&mut self, files: &dyn Files) -> bool {
        let Some(_) = self.slot else { return false };
        let Ok(named) = files.identity(&self.name()) else { return false };
        let opened = self.file.as_ref().and_then(|file| file.identity().ok());
        let has_vanished = named.is_none() || opened.is_some_and(|opened| named != Some(opened));
        if has_vanished {
            (self.file, self.slot) = (None, None);
        }
        has_vanished
    }

    /// Makes the file, if there is none, so that persisting needs no room.
    pub(crate) fn prepare(&mut self, shared: &Shared, cursor: Cursor) -> io::Result<()> {
        if self.slot.is_none() { self.persist(shared, cursor).map(drop) } else { Ok(()) }
    }

    /// Persists a cursor. `false`: not all of it, as the disk has no room for a larger file.
    pub(crate) fn persist(&mut self, shared: &Shared, mut cursor: Cursor) -> io::Result<bool> {
        self.generation += 1;
        cursor.generation = self.generation;
        let need = (cursor.encoded_len() as u64).next_power_of_two().max(SLOT);
        let Some(slot) = self.slot else { return self.make(shared, need, &cursor).map(|()| true) };
        if need > slot {
            match self.make(shared, need, &cursor) {
                Ok(()) => return Ok(true),
                // The old file is there no more. In the new one, its slots are in the middle of others.
                Err(error) if self.slot != Some(slot) => return Err(error),
                Err(_) => {}
            }
        }
        let (bytes, whole) = cursor.encode(slot as usize);
        self.write(shared, slot, &bytes).inspect_err(|error| {
            self.file = None;
            if error.kind() == io::ErrorKind::NotFound {
                // Somebody has taken it away.
                self.slot = None;
            }
        })?;
        self.turn ^= 1;
        Ok(whole)
    }

    fn write(&mut self, shared: &Shared, slot: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => shared.files.open(&self.name(), Access::Write)?,
        };
        write_all(file.as_ref(), &mut [IoSlice::new(bytes)], self.turn * slot)?;
        file.sync_data()?;
        self.file = Some(file);
        self.name_it(shared)
    }

    fn name_it(&mut self, shared: &Shared) -> io::Result<()> {
        if !self.is_named {
            shared.files.sync_dir()?;
            self.is_named = true;
        }
        Ok(())
    }

    /// A new file in the place of the old one. All of it is written, so that no later write needs room.
    fn make(&mut self, shared: &Shared, slot: u64, cursor: &Cursor) -> io::Result<()> {
        let files = shared.files.as_ref();
        let (bytes, _) = cursor.encode(slot as usize);
        let mut content = vec![0; slot as usize * 2];
        content[..bytes.len()].copy_from_slice(&bytes);
        let (name, new) = (self.name(), format!("{}{NEW}", self.name()));
        match files.unlink(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let more = slot * 4 - self.room();
        shared.with(|index| index.grow_cursors(more))?;
        let made = files.create(&new).and_then(|file| {
            write_all(file.as_ref(), &mut [IoSlice::new(&content)], 0)?;
            file.sync_data()?;
            files.rename(&new, &name)?;
            Ok(file)
        });
        let file = made.inspect_err(|_| {
            let _ = files.unlink(&new);
            shared.with(|index| index.cursor_room -= more);
        })?;
        (self.file, self.slot, self.turn, self.is_named) = (Some(file), Some(slot), 1, false);
        self.name_it(shared)
    }
}
