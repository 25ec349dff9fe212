//! A directory for queues on disk, and the processes that use it one after the other.

use super::process::Trial;
use millrace_delivery::{Delivery, Exporter, QueueConfig, Sender};
use millrace_engine::component::{BuildError, Context, Extension, Shared};
use millrace_engine::status::Instance;
use millrace_engine::storage::{Custodian, Directory, NoPlace, Owner, Place, Rules};
use millrace_engine::{BoxFuture, Health, Stage, Status, Storage};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub const RULES: Rules = Rules {
    max_bytes: None,
    segment_bytes: 1 << 20,
    max_age: None,
    sync: true,
    commit_delay: Duration::ZERO,
    lock_timeout: Duration::ZERO,
};

/// A directory that outlives processes.
pub struct Disk {
    pub folder: TempDir,
    pub rules: Rules,
    /// What there is for passing on; a queue takes an eighth.
    pub work_bytes: u64,
}

impl Disk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), rules: RULES, work_bytes: 64 << 20 }
    }

    /// A process that may keep things here.
    pub fn context(&self) -> Context {
        let registry = Registry::new(Level::Detailed);
        let shared = Shared::new(registry, &Health::starting(), 64 << 20, self.work_bytes, "test");
        let context =
            Context { shared, kind: "exporter", id: "test".parse().expect("an id"), pipeline: None };
        self.publish(&context);
        context
    }

    /// Has the process keep things here by the rules of now.
    pub fn publish(&self, context: &Context) {
        let shared = &context.shared;
        let id = "file_storage".parse().expect("an id");
        let instance = Instance { kind: "extension", id, signal: None, pipeline: None };
        let path = self.folder.path();
        let directory = shared.directories.get(path, || Ok::<_, Infallible>(())).expect("nobody has it");
        let status = shared.health.components().status(&instance);
        let extension = Places { directory, rules: self.rules, status };
        shared.offers.publish([(instance.id, Arc::new(extension) as _)]);
    }

    /// An exporter at work.
    pub fn start(&self, delivery: &Delivery, sender: Arc<dyn Sender>) -> Trial {
        let trial = self.build(delivery, sender);
        trial.exporter.begin();
        trial
    }

    /// One that has been built, and that has not begun to work.
    pub fn build(&self, delivery: &Delivery, sender: Arc<dyn Sender>) -> Trial {
        let context = self.context();
        let exporter = Exporter::start(&context, Signal::Logs, delivery, sender);
        Trial { exporter: exporter.unwrap_or_else(|error| panic!("{error}")), context }
    }

    /// Whoever keeps the dead letters of that process.
    pub fn dead_letters(&self, context: &Context) -> Arc<dyn Custodian> {
        let path = self.folder.path();
        let directory =
            context.shared.directories.get(path, || Err::<(), _>("not claimed")).expect("claimed");
        directory.custodian("test-logs.dead-letters").expect("there are dead letters")
    }

    /// The sizes of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        let folders = std::fs::read_dir(self.folder.path()).expect("a folder");
        let files =
            folders.flat_map(|folder| std::fs::read_dir(folder.expect("an entry").path()).expect("a folder"));
        files.map(|file| file.expect("an entry").metadata().expect("it is there").len()).sum()
    }
}

/// A queue there.
pub fn on_disk() -> QueueConfig {
    QueueConfig { storage: Some("file_storage".parse().expect("an id")), ..QueueConfig::default() }
}

struct Places {
    directory: Arc<Directory>,
    rules: Rules,
    status: Status,
}

impl Storage for Places {
    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn place(&self, owner: &Owner) -> Result<Place, NoPlace> {
        // What was kept under another name of its type is found under that.
        let id = owner.namesakes.first().unwrap_or(&owner.id);
        let name = format!("{id}-{}.{}", owner.signal, owner.what);
        Ok(Place::new(&self.directory, name, self.rules, self.status.clone()))
    }
}

impl Extension for Places {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn storage(self: Arc<Self>) -> Option<Arc<dyn Storage>> {
        Some(self)
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Whether something takes no time, as far as a busy machine lets one tell.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
