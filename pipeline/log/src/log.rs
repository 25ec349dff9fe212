//! The log, as its users have it.

use crate::clock::{Clock, SystemClock};
use crate::consumer::{Consumer, Place};
use crate::cursors::PROBE;
use crate::entry::Entry;
use crate::event::{Event, lock};
use crate::files::{Disk, Files, Guard};
use crate::format::frame;
use crate::group::Appending;
use crate::index::Limits;
use crate::keeper::{self, Keeper};
use crate::line::{Placed, Queued};
use crate::options::{Caps, MAX_SIZE_MIN, Options, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
use crate::recover;
use crate::report::{OpenError, Recovered, Refusal};
use crate::shared::{Chores, Shared};
use crate::writer::Writer;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How much stack the threads get: they neither recurse nor keep buffers there.
const STACK: usize = 256 * 1024;

/// How long whoever drops the last handle waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The default size of a segment.
const SEGMENT_SIZE: u64 = 16 << 20;

/// An open log. Clones are the same log; when the last one is dropped, it is closed. That is waited for, but not for a
/// disk that hangs: then it stays locked until the disk answers. [`Log::close`] waits for as long as it takes.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    places: Vec<Arc<Mutex<Place>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Room in the log, taken before anything is kept. Given back when dropped.
#[must_use = "dropping it gives the room back"]
pub struct Room {
    shared: Arc<Shared>,
    framed_len: u64,
    charge: u64,
}

impl Log {
    /// Opens the log in `directory`, which is made if it is not there. Blocks; how long depends on the size of the
    /// segment that was being written when the last process ended, and not on how much is waiting.
    ///
    /// # Errors
    /// If another process has it, a newer version wrote it, the options are contradictory, or the directory cannot be
    /// made or listed.
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Recovered), OpenError> {
        let disk = Disk::create(directory)
            .map_err(|source| OpenError::Io { doing: "making the directory", source })?
            .also_at(options.also_at.clone());
        Self::open_with(Arc::new(disk), Arc::new(SystemClock::default()), options).map_err(
            |error| match error {
                OpenError::Locked(_) => OpenError::Locked(directory.to_owned()),
                error => error,
            },
        )
    }

    /// The same, with files and a clock of the caller's.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_with(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Self, Recovered), OpenError> {
        let (log, recovered, writer) = Self::assemble(files, clock, options)?;
        let shared = Arc::clone(&log.inner.shared);
        let mut threads = Vec::new();
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).stack_size(STACK).spawn(body)
        };
        let started = start("log-writer", Box::new(move || write(&shared, writer))).and_then(|thread| {
            threads.push(thread);
            let shared = Arc::clone(&log.inner.shared);
            start("log-keeper", Box::new(move || keeper::run(&shared)))
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(source) => return Err(OpenError::Io { doing: "starting a thread", source }),
        }
        *lock(&log.inner.threads) = threads;
        Ok((log, recovered))
    }

    /// The same without threads: nothing is written or tidied up but by [`Steps`]. For tests that have to know what
    /// happens when.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_stepped(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Self, Recovered, Steps), OpenError> {
        let (log, recovered, writer) = Self::assemble(files, clock, options)?;
        let shared = Arc::clone(&log.inner.shared);
        Ok((log, recovered, Steps { shared, writer }))
    }

    fn assemble(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Self, Recovered, Writer), OpenError> {
        let limits = limits(&options)?;
        let (guard, read_only) = guard(files.as_ref())?;
        let opened = recover::open(files.as_ref(), clock.as_ref(), &options, limits, read_only)?;
        let now = clock.monotonic();
        let places = options.consumers.iter().map(|_| Arc::default()).collect();
        let next_sequence = opened.index.next_sequence;
        let shared = Arc::new(Shared {
            segment_size: opened.index.limits.segment_size,
            files,
            clock,
            options,
            time: opened.time,
            keeper: Mutex::new(Keeper::new(opened.cursors, now)),
            line: Mutex::default(),
            arrived: Condvar::new(),
            index: Mutex::new(opened.index),
            chores: Mutex::new(Chores { untidy: true, closed: false }),
            untidy: Condvar::new(),
            ready: Event::default(),
            freed: Event::default(),
            guard: Mutex::new(Some(guard)),
        });
        shared.options.observer.opened(&opened.recovered);
        if shared.with(|index| index.read_only.is_none()) {
            lock(&shared.keeper).prepare(&shared);
        }
        let writer = Writer::new(&shared, next_sequence);
        let inner = Inner { shared, places, threads: Mutex::default() };
        Ok((Self { inner: Arc::new(inner) }, opened.recovered, writer))
    }

    /// Takes room for an entry of that [length](Entry::framed_len), before anything of it is kept. Does not wait, and
    /// does not touch the disk.
    ///
    /// # Errors
    /// If there is no room, or nothing can be written at present.
    pub fn reserve(&self, framed_len: u64) -> Result<Room, Refusal> {
        self.reserve_leaving(framed_len, 0)
    }

    /// The same, if so many bytes are left then. Where the oldest give way, they do so that these are left. One that would
    /// not fit beside them even if nothing else was there leaves less.
    ///
    /// # Errors
    /// As [`Log::reserve`].
    pub fn reserve_leaving(&self, framed_len: u64, leave: u64) -> Result<Room, Refusal> {
        let shared = &self.inner.shared;
        let now = shared.monotonic();
        let charge = shared.with(|index| index.reserve(framed_len, leave, now))?;
        Ok(Room { shared: Arc::clone(shared), framed_len, charge })
    }

    /// Puts an entry in line. What is returned completes when the entry is on disk. If the entry has outgrown its room,
    /// it is admitted anew.
    pub fn append(&self, room: Room, entry: Entry) -> Appending {
        self.put(room, entry, None)
    }

    /// The same; `placed` is called with the entry's number before it can be handed out to anybody, by the thread that
    /// writes. It should return at once.
    pub fn append_with(
        &self,
        room: Room,
        entry: Entry,
        placed: impl FnOnce(u64) + Send + 'static,
    ) -> Appending {
        self.put(room, entry, Some(Placed(Box::new(placed))))
    }

    fn put(&self, mut room: Room, entry: Entry, placed: Option<Placed>) -> Appending {
        let framed_len = entry.framed_len();
        if framed_len > room.framed_len {
            drop(room);
            room = match self.reserve(framed_len) {
                Ok(room) => room,
                Err(refusal) => return Appending::refused(refusal),
            };
        }
        let shared = &self.inner.shared;
        let body = std::iter::once(&entry.meta).chain(&entry.payload);
        let body_crc = frame::body_crc(body.map(|piece| &piece[..]));
        let charge = std::mem::take(&mut room.charge);
        let queued = Queued { entry, framed_len, body_crc, time_ns: shared.now_ns(), charge, placed };
        let now = shared.monotonic();
        let mut line = lock(&shared.line);
        if line.closed {
            drop(line);
            shared.with(|index| index.release(charge));
            return Appending::refused(Refusal::Closed);
        }
        let appending = line.push(queued, now);
        let is_due = line.is_due();
        drop(line);
        if is_due {
            shared.arrived.notify_one();
        }
        appending
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The reader of that name.
    #[must_use]
    pub fn consumer(&self, name: &str) -> Option<Consumer> {
        let shared = &self.inner.shared;
        let reader = shared.options.consumers.iter().position(|consumer| consumer.name == name)?;
        Some(Consumer::new(shared, reader, &self.inner.places[reader]))
    }

    /// Has other limits from now on, and tells how many bytes it may take: a log has room for two of its segments, whose
    /// size stays as it is. What is over a limit already stays where new entries are refused, and gives way at once where
    /// the oldest do; a file that has been prepared for the next segment stays until it is used.
    pub fn limit(&self, caps: Caps) -> u64 {
        let shared = &self.inner.shared;
        let max_size = caps.max_size.max(2 * shared.segment_size);
        shared.with(|index| index.limit(Caps { max_size, ..caps }));
        max_size
    }

    /// Persists the cursors and removes what is done with, now. Blocks.
    pub fn tidy(&self) {
        let shared = &self.inner.shared;
        lock(&shared.keeper).keep(shared, true);
    }

    /// Counts as lost what is in files that somebody has removed. [`Log::close`] does so, too; until then, entries that the
    /// caller still has can be handed out without their file. Blocks.
    pub fn take_stock(&self) {
        let shared = &self.inner.shared;
        lock(&shared.keeper).take_stock(shared);
    }

    /// Takes nothing more, writes what has been taken, persists the cursors, and lets other processes in. Blocks. Does
    /// nothing the second time.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        if let Some(closing) = self.end() {
            closing.run();
        }
    }

    /// Takes nothing more. What is returned is what is left to be done, the first time.
    fn end(&self) -> Option<Closing> {
        let shared = &self.shared;
        shared.with(|index| index.closed = true);
        lock(&shared.line).closed = true;
        shared.arrived.notify_all();
        lock(&shared.chores).closed = true;
        shared.untidy.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        (!threads.is_empty()).then(|| Closing { shared: Arc::clone(shared), threads })
    }
}

/// A log that takes nothing more, and is to be closed. That waits for the disk.
struct Closing {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Closing {
    fn run(self) {
        for thread in self.threads {
            // Whoever drops the last handle may be one of them: an observer, for instance.
            if thread.thread().id() != thread::current().id() {
                // A panic has been reported where it happened.
                let _ = thread.join();
            }
        }
        finish(&self.shared);
    }

    /// The same in a thread of its own, which is waited for no longer than [`PATIENCE`]: whoever drops the last handle
    /// may be needed by others, who have nothing to do with a disk that hangs. When it answers, the log is closed.
    fn run_aside(self) {
        if self.threads.iter().any(|thread| thread.thread().id() == thread::current().id()) {
            return self.run();
        }
        let (give, given) = sync_channel::<Self>(1);
        let (tell, told) = sync_channel(1);
        let close = move || {
            if let Ok(closing) = given.recv() {
                closing.run();
                // Nobody listens if it took too long.
                let _ = tell.send(());
            }
        };
        match thread::Builder::new().name("log-closer".into()).stack_size(STACK).spawn(close) {
            Ok(_) => {
                // It waits for it, and tells when it is done.
                let _ = give.send(self);
                let _ = told.recv_timeout(PATIENCE);
            }
            Err(_) => self.run(),
        }
    }
}

/// The last thing to be done.
fn finish(shared: &Shared) {
    lock(&shared.keeper).close(shared);
    *lock(&shared.guard) = None;
    shared.ready.happen();
    shared.freed.happen();
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(closing) = self.end() {
            closing.run_aside();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.charge > 0 {
            let charge = self.charge;
            self.shared.with(|index| {
                index.release(charge);
                index.news.freed = true;
            });
        }
    }
}

/// What the threads of a log do, step by step.
pub struct Steps {
    shared: Arc<Shared>,
    writer: Writer,
}

impl Steps {
    /// Writes and syncs one group. `false` if none was waiting.
    pub fn write(&mut self) -> bool {
        let (waiting, seal) = {
            let mut line = lock(&self.shared.line);
            (line.groups.pop_front(), std::mem::take(&mut line.seal))
        };
        if seal {
            self.writer.seal();
        }
        let some = waiting.is_some();
        if let Some(waiting) = waiting {
            self.writer.commit(waiting);
        }
        some
    }

    /// Persists cursors, removes files, prepares the next one: all of it, or only what is due.
    pub fn keep(&mut self, urgent: bool) {
        lock(&self.shared.keeper).keep(&self.shared, urgent);
    }

    /// Closes the log in order.
    pub fn close(mut self) {
        self.shared.with(|index| index.closed = true);
        lock(&self.shared.line).closed = true;
        while self.write() {}
        self.writer.close();
        finish(&self.shared);
    }
}

/// Nothing comes any more once the thread that writes has ended, in whatever way.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.with(|index| index.closed = true);
        let mut line = lock(&self.0.line);
        line.closed = true;
        let left = std::mem::take(&mut line.groups);
        drop(line);
        // Whoever waits hears that it was for nothing.
        drop(left);
    }
}

/// Until the log is closed: writes what is in the line.
fn write(shared: &Shared, mut writer: Writer) {
    let _ended = Ended(shared);
    loop {
        let mut seal = false;
        let waiting = {
            let mut line = lock(&shared.line);
            loop {
                seal |= std::mem::take(&mut line.seal);
                if seal && line.groups.is_empty() {
                    break None;
                }
                let now = shared.monotonic();
                let closed = line.closed;
                match line.groups.front() {
                    Some(first) => {
                        let due = first.since + shared.options.commit_delay;
                        let left = due.saturating_sub(now);
                        if closed || first.is_full() || left.is_zero() {
                            break line.groups.pop_front();
                        }
                        let waited = shared.arrived.wait_timeout(line, left);
                        line = waited.unwrap_or_else(PoisonError::into_inner).0;
                    }
                    None if closed => {
                        drop(line);
                        return writer.close();
                    }
                    None => {
                        line.is_awaited = true;
                        line = shared.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
                        line.is_awaited = false;
                    }
                }
            }
        };
        if seal {
            writer.seal();
        }
        if let Some(waiting) = waiting {
            writer.commit(waiting);
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Keeps other processes out, as far as that is possible.
fn guard(files: &dyn Files) -> Result<(Box<dyn Guard>, Option<String>), OpenError> {
    let guard = files.lock().map_err(|source| OpenError::Io { doing: "locking the directory", source })?;
    let Some(guard) = guard else { return Err(OpenError::Locked(Default::default())) };
    // Whether files can be made is found out by making one.
    let _ = files.unlink(PROBE);
    let read_only = match files.create(PROBE) {
        Ok(_) => None,
        Err(error) if crate::files::is_read_only(&error) => Some(error.to_string()),
        Err(_) => None,
    };
    let _ = files.unlink(PROBE);
    Ok((guard, read_only))
}

fn limits(options: &Options) -> Result<Limits, OpenError> {
    let wrong = |what: String| Err(OpenError::Options(what));
    if options.max_size < MAX_SIZE_MIN {
        return wrong(format!("max_size has to be at least {MAX_SIZE_MIN} bytes"));
    }
    let default = (options.max_size / 16).clamp(SEGMENT_SIZE_MIN, SEGMENT_SIZE) & !7;
    let segment_size = options.segment_size.unwrap_or(default);
    if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&segment_size) || !segment_size.is_multiple_of(8) {
        return wrong(format!(
            "segment_size has to be between {SEGMENT_SIZE_MIN} and {SEGMENT_SIZE_MAX} bytes, and a multiple of 8"
        ));
    }
    if segment_size > options.max_size / 2 {
        return wrong("segment_size has to be at most half of max_size".into());
    }
    let mut names: Vec<&str> = options.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let plain = |name: &str| {
        let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(byte)
    };
    if names.is_empty() || names.len() != options.consumers.len() || !names.iter().all(|name| plain(name)) {
        return wrong("a log needs consumers with different names of a-z, 0-9, _ and -".into());
    }
    Ok(Limits {
        max_size: options.max_size,
        segment_size,
        on_full: options.on_full,
        max_age_ns: options.max_age.map(nanos),
        cursor_bytes: options.cursor_bytes,
    })
}
