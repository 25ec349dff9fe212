//! Handing entries out, and taking back what becomes of them.

use crate::damage;
use crate::entry::{Delivery, Lease, Next};
use crate::event::{Listener, lock};
use crate::files::{Access, File, is_of_the_file, read_full, remedy};
use crate::format::frame::{self, HEADER, Header};
use crate::format::segment::BLOCK;
use crate::index::{Located, Segment};
use crate::report::{LossReason, Notice, ReadError, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::{Shared, segment_name};
use bytes::Bytes;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often an entry is tried to be read before it is given up.
const READ_ATTEMPTS: u8 = 3;

/// How far apart those attempts are, at least; others do not count.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// One of the log's readers. Clones are the same reader.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
    reader: usize,
    place: Arc<Mutex<Place>>,
}

/// Where reading is. One file is open at a time, and one table of it in memory.
#[derive(Default)]
pub(crate) struct Place {
    /// The segment that could not be opened when that was last tried, and the system's reason.
    unopened: Option<(u64, Option<i32>)>,
    segment: u64,
    file: Option<Arc<dyn File>>,
    /// Where the entries of the segment are that have been looked for on disk: eight bytes for each.
    table: Vec<(u32, u32)>,
    /// Numbers in the table are counted from here on, and it is complete up to there.
    base: u64,
    end: u64,
}

/// What came of reading.
enum Read {
    Entry(Delivery),
    /// Not any more; look again.
    Gone,
    Failed(io::Error),
    /// The file could not be opened, which says nothing about it.
    Unopened(io::Error),
}

impl Consumer {
    pub(crate) fn new(shared: &Arc<Shared>, reader: usize, place: &Arc<Mutex<Place>>) -> Self {
        Self { shared: Arc::clone(shared), reader, place: Arc::clone(place) }
    }

    /// What is next, without touching the disk. If it is an entry of which `held` says that the caller has it, it is
    /// handed out; otherwise it has to be [read](Self::read_next).
    pub fn try_next(&self, held: impl Fn(u64) -> bool) -> Next {
        let now_ns = self.shared.now_ns();
        self.let_go();
        self.shared.with(|index| {
            loop {
                let Some((sequence, segment, located)) = index.next(self.reader) else { return Next::Empty };
                let Some(located) = located.filter(|_| held(sequence)) else { return Next::OnDisk };
                if index.is_expired(located.lease.time_ns, now_ns) {
                    let totals = Totals::one(located.lease.items, located.lease.framed_len);
                    index.give_up(segment, LossReason::Expired, [(sequence, totals)].into_iter());
                } else if index.lease(self.reader, located) {
                    return Next::Held(located.lease);
                } else {
                    return Next::OnDisk;
                }
            }
        })
    }

    /// Hands out the next entry, read from disk. Blocks while reading, and not for entries to come: `None` if there is
    /// none.
    ///
    /// # Errors
    /// If the disk fails. The entry is next again: wait a little before calling again. When it has failed three times,
    /// at least a second apart, it is counted as [`LossReason::Unreadable`], and the next one is next. If its file could
    /// only not be opened, as the process has no more descriptors or may not, it stays next until it can be.
    pub fn read_next(&self) -> Result<Option<Delivery>, ReadError> {
        let mut place = lock(&self.place);
        loop {
            let next = self.shared.with(|index| {
                let (sequence, number, located) = index.next(self.reader)?;
                let segment = index.segments.get(&number).cloned();
                Some((sequence, number, located, segment))
            });
            let Some((sequence, number, located, segment)) = next else {
                place.close();
                self.look_at_unopened(&mut place);
                return Ok(None);
            };
            let Some(segment) = segment else { continue };
            match self.read(&mut place, sequence, number, located, &segment) {
                Read::Entry(delivery) => return Ok(Some(delivery)),
                Read::Gone => {}
                Read::Failed(source) => {
                    place.close();
                    let file = segment_name(number);
                    self.failed(sequence, number, located, &segment, &source);
                    return Err(ReadError { file, source });
                }
                Read::Unopened(source) => {
                    self.note_unopened(&mut place, number, &source);
                    return Err(ReadError { file: segment_name(number), source });
                }
            }
        }
    }

    /// The entry is done with. `false` if it is not with this consumer.
    pub fn ack(&self, sequence: u64) -> bool {
        self.shared.with(|index| index.ack(self.reader, sequence))
    }

    /// The entry is to be handed out again, before any other. `false` if it is not with this consumer, or has been
    /// dropped meanwhile (evicted or too old), and is counted as lost for that reason.
    pub fn defer(&self, sequence: u64) -> bool {
        self.shared.with(|index| index.defer(self.reader, sequence))
    }

    /// How many bytes of entries it is done with take their room still, as it is given back segment by segment, and others
    /// are in theirs: as it will be when it is done with that one, too.
    #[must_use]
    pub fn spent_with(&self, sequence: Option<u64>) -> u64 {
        self.shared.with(|index| index.spent_with(self.reader, sequence))
    }

    /// Tells when there may be something that was not there when it was made.
    pub fn ready(&self) -> Listener {
        self.shared.ready.listen()
    }

    /// The lowest number that has not been handed out and may be. What a caller keeps of entries below it, for when they
    /// are, will not be asked for.
    #[must_use]
    pub fn untaken_from(&self) -> u64 {
        self.shared.with(|index| index.untaken_from(self.reader))
    }

    /// An open file takes its room on the disk even when it has been removed.
    fn let_go(&self) {
        let Ok(mut place) = self.place.try_lock() else { return };
        if place.file.is_some() && self.is_gone(place.segment) {
            place.close();
        }
        self.look_at_unopened(&mut place);
    }

    fn is_gone(&self, segment: u64) -> bool {
        self.shared.with(|index| !index.segments.contains_key(&segment))
    }

    fn note_unopened(&self, place: &mut Place, number: u64, error: &io::Error) {
        self.look_at_unopened(place);
        let unopened = Some((number, error.raw_os_error()));
        if std::mem::replace(&mut place.unopened, unopened) != unopened {
            let (file, error, remedy) = (segment_name(number), error.to_string(), remedy(error));
            self.shared.notice(&Notice::Unopened { file, error, remedy });
        }
    }

    /// What could not be opened may have been dropped since.
    fn look_at_unopened(&self, place: &mut Place) {
        if let Some((number, _)) = place.unopened
            && self.is_gone(number)
        {
            self.reads_on(place, number);
        }
    }

    fn reads_on(&self, place: &mut Place, number: u64) {
        if place.unopened.take_if(|(unopened, _)| *unopened == number).is_some() {
            self.shared.notice(&Notice::ReadsOn { file: segment_name(number) });
        }
    }

    fn read(
        &self,
        place: &mut Place,
        sequence: u64,
        number: u64,
        located: Option<Located>,
        segment: &Segment,
    ) -> Read {
        let opened = match place.file(&self.shared, number) {
            Err(error) if !is_of_the_file(&error) => return Read::Unopened(error),
            opened => opened,
        };
        self.reads_on(place, number);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing(number);
                return Read::Gone;
            }
            Err(error) => return Read::Failed(error),
        };
        let found = match located {
            Some(located) => Ok(Some((located.offset, located.lease.framed_len))),
            None => place.find(file.as_ref(), segment, sequence),
        };
        let (offset, framed_len) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return self.look_for_damage(file.as_ref(), number, segment, sequence),
            Err(error) => return Read::Failed(error),
        };
        let mut bytes = vec![0; framed_len as usize];
        match read_full(file.as_ref(), &mut bytes, offset) {
            Ok(read) => bytes.truncate(read),
            Err(error) => return Read::Failed(error),
        }
        let header = Header::decode(&bytes, segment.salt)
            .filter(|header| header.sequence == sequence && header.frame_len() == bytes.len() as u64);
        let Some(header) = header else {
            return self.look_for_damage(file.as_ref(), number, segment, sequence);
        };
        self.hand_out(number, offset, &header, &Bytes::from(bytes))
    }

    fn look_for_damage(&self, file: &dyn File, number: u64, segment: &Segment, sequence: u64) -> Read {
        if let Err(error) = damage::give_up(&self.shared, file, number, segment, Depth::Headers) {
            return Read::Failed(error);
        }
        let next = self.shared.with(|index| index.next(self.reader));
        match next {
            // It was not right a moment ago, and is now.
            Some((next, ..)) if next == sequence => Read::Failed(io::ErrorKind::InvalidData.into()),
            _ => Read::Gone,
        }
    }

    fn hand_out(&self, number: u64, offset: u64, header: &Header, frame: &Bytes) -> Read {
        let lease = Lease::of(header);
        let (meta, payload) = frame::sections(header, frame);
        let whole = frame::body_crc([&meta[..], &payload[..]]) == header.body_crc;
        let now_ns = self.shared.now_ns();
        let leased = self.shared.with(|index| {
            let lost = match whole {
                false => LossReason::Damaged,
                true if index.is_expired(lease.time_ns, now_ns) => LossReason::Expired,
                true => return index.lease(self.reader, Located { lease, segment: number, offset }),
            };
            // What has been dropped meanwhile may be another segment's by now.
            if !index.segments.contains_key(&number) {
                return false;
            }
            if lost == LossReason::Damaged {
                index.news.notices.push(Notice::Damage { file: segment_name(number), places: 1 });
            }
            let totals = Totals::one(header.items, header.frame_len());
            index.give_up(number, lost, [(lease.sequence, totals)].into_iter());
            false
        });
        // Meta sections are small and may be kept for longer; a slice would pin the whole frame.
        let meta = Bytes::copy_from_slice(&meta);
        if leased { Read::Entry(Delivery { lease, meta, payload }) } else { Read::Gone }
    }

    /// The file is gone.
    fn missing(&self, number: u64) {
        let file = segment_name(number);
        let error = io::Error::from(io::ErrorKind::NotFound).to_string();
        self.shared.with(|index| {
            index.news.notices.push(Notice::ReadFailed { file, error });
            index.miss(number);
        });
    }

    fn failed(
        &self,
        sequence: u64,
        number: u64,
        located: Option<Located>,
        segment: &Segment,
        error: &io::Error,
    ) {
        let notice = Notice::ReadFailed { file: segment_name(number), error: error.to_string() };
        let now = self.shared.monotonic();
        self.shared.with(|index| {
            index.news.notices.push(notice);
            let failures = &mut index.readers[self.reader].failures;
            let (times, last) = failures.entry(sequence).or_insert((0, now));
            if *times == 0 || now >= *last + READ_PAUSE {
                (*times, *last) = (*times + 1, now);
            }
            if *times >= READ_ATTEMPTS {
                index.readers[self.reader].failures.remove(&sequence);
                // If nothing is known of it, it counts an average of the segment.
                let average = |sum: u64| sum / segment.totals.entries.max(1);
                let totals = located.map_or(
                    Totals {
                        entries: 1,
                        items: average(segment.totals.items),
                        bytes: average(segment.totals.bytes),
                    },
                    |located| Totals::one(located.lease.items, located.lease.framed_len),
                );
                index.give_up(number, LossReason::Unreadable, [(sequence, totals)].into_iter());
            }
        });
    }
}

impl Place {
    fn close(&mut self) {
        *self = Self { unopened: self.unopened, ..Self::default() };
    }

    /// The file of a segment, opened once.
    fn file(&mut self, shared: &Shared, number: u64) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.file.as_ref().filter(|_| self.segment == number) {
            return Ok(Arc::clone(file));
        }
        self.close();
        let file: Arc<dyn File> = shared.files.open(&segment_name(number), Access::Read)?.into();
        self.segment = number;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Where an entry is, and how long its frame is.
    fn find(&mut self, file: &dyn File, segment: &Segment, sequence: u64) -> io::Result<Option<(u64, u64)>> {
        if sequence >= self.end || sequence < self.base || self.base != segment.base {
            self.look(file, segment)?;
        }
        let wanted = (sequence - segment.base) as u32;
        let Ok(at) = self.table.binary_search_by_key(&wanted, |(sequence, _)| *sequence) else {
            return Ok(None);
        };
        let offset = u64::from(self.table[at].1) * crate::format::ALIGN;
        let mut header = [0; HEADER];
        let read = read_full(file, &mut header, offset)?;
        Ok(Header::decode(&header[..read], segment.salt).map(|header| (offset, header.frame_len())))
    }

    fn look(&mut self, file: &dyn File, segment: &Segment) -> io::Result<()> {
        self.table.clear();
        (self.base, self.end) = (segment.base, segment.base);
        let to = segment.used.max(BLOCK);
        let range = Range { from: BLOCK, to, sequence: segment.base, sequence_end: segment.end };
        walk(file, segment.salt, range, Depth::Headers, |found| {
            let sequence = (found.header.sequence - segment.base) as u32;
            self.table.push((sequence, (found.offset / crate::format::ALIGN) as u32));
        })?;
        self.end = segment.end;
        Ok(())
    }
}
