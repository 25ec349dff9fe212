//! A disk that hangs: whoever lets go of a log is not held up by it.

mod support;

use millrace_log::{
    Access, Disk, Displacement, File, Files, Guard, Identity, Listed, Log, OpenError, Options, SystemClock,
};
use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::entry;

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The real one, in which no name changes while it hangs.
struct Hanging {
    disk: Disk,
    hangs: Mutex<bool>,
    answers: Condvar,
}

impl Hanging {
    fn at(path: &Path) -> Arc<Self> {
        let disk = Disk::open(path).expect("there");
        Arc::new(Self { disk, hangs: Mutex::new(false), answers: Condvar::new() })
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) = hangs;
        self.answers.notify_all();
    }

    fn wait(&self) {
        let hangs = self.hangs.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.answers.wait_while(hangs, |hangs| *hangs).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Files for Hanging {
    fn list(&self) -> io::Result<Vec<Listed>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.wait();
        self.disk.create(name)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        self.disk.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.wait();
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.wait();
        self.disk.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.wait();
        self.disk.sync_dir()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        self.disk.lock()
    }

    fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        self.disk.identity(name)
    }

    fn displacement(&self) -> io::Result<Option<Displacement>> {
        self.disk.displacement()
    }
}

fn open(files: &Arc<Hanging>) -> Result<Log, OpenError> {
    let options = Options { max_size: 1 << 20, segment_size: Some(64 << 10), ..Options::default() };
    let (log, _) = Log::open_with(Arc::clone(files) as _, Arc::new(SystemClock::default()), options)?;
    Ok(log)
}

#[test]
fn a_log_on_a_disk_that_hangs_is_let_go_of_and_closed_when_it_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = Hanging::at(directory.path());
    let log = open(&files).expect("opens");
    for id in 0..20 {
        let entry = entry(id, 10_000);
        log.append(log.reserve(entry.framed_len()).expect("room"), entry).wait().expect("appended");
    }
    files.hang(true);
    // Whose segments are to be removed.
    let consumer = log.consumer("default").expect("there");
    for _ in 0..15 {
        let delivery = consumer.read_next().expect("readable").expect("an entry");
        assert!(consumer.ack(delivery.lease.sequence));
    }
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || {
        drop(log);
        tell.send(()).expect("it is waited for");
    });
    told.recv_timeout(PATIENCE).expect("whoever drops it goes on");
    let still = open(&files).err();
    assert!(
        matches!(still, Some(OpenError::Locked(_))),
        "until the disk answers it is not closed: {still:?}"
    );

    files.hang(false);
    let deadline = Instant::now() + PATIENCE;
    let log = loop {
        match open(&files) {
            Ok(log) => break log,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    assert_eq!(log.stats().held.entries, 5, "what was done with is written down");
}
