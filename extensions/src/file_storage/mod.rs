//! The `file_storage` extension: a directory in which components keep what must outlive the process.
//!
//! Each component and signal has a folder of its own in it, so that none can take another's room or keep another's
//! files alive. The directory is locked: two collectors in one would each send what the other has sent.

mod adopt;
mod config;
pub mod control;
mod directory;
mod names;
#[cfg(test)]
mod tests;

pub use config::{Compaction, Config};
pub use names::{folder, is_folder, signal_of};

use adopt::{Adoption, adopt};
use control::Control;
use directory::Found;
use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::storage::{Calling, Directory, NoPlace, Owner, Place, Rules};
use millrace_engine::{BoxFuture, Openings, Status, Storage, Tasks};
use millrace_log::SEGMENT_SIZE_MIN;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// How long it is looked around in the directory.
const LOOKING: Duration = Duration::from_secs(5);

/// The `file_storage` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "file_storage",
    aliases: &[],
    signals: &[],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        let (config, directories) = (self.clone(), context.shared.directories.clone());
        // Another process may be waited for beside the disk.
        let openings = context.shared.openings.and(self.lock_timeout());
        let claimed =
            openings.open(Path::new(&self.directory), move || directory::claim(&config, &directories));
        let directory =
            claimed.map_err(|problem| context.error(problem))?.map_err(|problem| context.error(problem))?;
        let name = context.id.to_string();
        if !self.fsync {
            tracing::warn!(
                otelcol.component.id = name,
                otelcol.component.kind = "extension",
                "fsync is off: what was acknowledged can be lost when the machine loses power"
            );
        }
        Ok(Arc::new(FileStorage {
            path: std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone().into()),
            directory,
            called: Mutex::default(),
            rules: self.rules(),
            status: context.status(None),
            tasks: context.shared.tasks.clone(),
            openings: context.shared.openings.clone(),
            control: Mutex::default(),
            name,
        }))
    }

    fn offers(&self) -> &'static [Role] {
        &[Role::Storage]
    }
}

impl Config {
    /// The same for all places in the directory.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let given = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let max_bytes = (self.max_size > 0).then_some(self.max_size);
        // At least a few files, since room is given back file by file.
        let segment_bytes = max_bytes.map_or(self.millrace_segment_size, |max| {
            self.millrace_segment_size.min((max / 8).max(SEGMENT_SIZE_MIN))
        });
        Rules {
            max_bytes,
            // In whole words, as the log has it.
            segment_bytes: segment_bytes & !7,
            max_age: given(self.millrace_max_age.get()),
            sync: self.fsync,
            commit_delay: self.millrace_commit_delay.get(),
            lock_timeout: self.lock_timeout(),
        }
    }
}

struct FileStorage {
    directory: Arc<Directory>,
    /// As it is configured.
    path: PathBuf,
    /// Held while it is looked for at that path, if that leads through links.
    called: Mutex<Option<Calling>>,
    rules: Rules,
    status: Status,
    tasks: Tasks,
    openings: Openings,
    /// Answers commands.
    control: Mutex<Option<Arc<Control>>>,
    name: String,
}

impl Extension for FileStorage {
    /// By now everything that is configured has opened its place.
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        if self.path != self.directory.path() {
            *lock(&self.called) = Some(self.directory.call(self.path.clone()));
        }
        let (directory, tasks) = (Arc::clone(&self.directory), self.tasks.clone());
        let openings = self.openings.within(LOOKING);
        Box::pin(async move {
            let runtime = Handle::current();
            let look = move || {
                let at = directory.path().to_owned();
                openings.open(&at, move || {
                    let _runtime = runtime.enter();
                    (directory::look_around(&directory), Control::of(&directory, &tasks))
                })
            };
            // Off the workers: a disk may hang from one moment to the next.
            match spawn_blocking(look).await {
                Ok(Ok((found, control))) => self.has_found(&found, control),
                Ok(Err(error)) => self.has_found(&Found::default(), Err(error)),
                // A panic has been reported.
                Err(_) => {}
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        drop(lock(&self.control).take());
        drop(lock(&self.called).take());
        Box::pin(std::future::ready(()))
    }

    fn storage(self: Arc<Self>) -> Option<Arc<dyn Storage>> {
        Some(self)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage for FileStorage {
    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the owner has kept things under another name of its type (`otlp` for `otlp_grpc`, in an older
    /// configuration or a newer one), they are its own. A folder that could not be renamed then is used for as long as
    /// it is open, and so is one that is in use when a reload changes the name: the graph after that one goes on with what is
    /// in it. Meanwhile it is nobody else's, also if its name is.
    fn place(&self, owner: &Owner) -> Result<Place, NoPlace> {
        let mut name = folder(owner);
        let others = owner.namesakes.iter().map(|id| folder(&Owner { id: id.clone(), ..owner.clone() }));
        let in_use = others.clone().find(|other| self.directory.is_used_instead(&name, other));
        if let Some(other) = in_use {
            return self.claim(other, owner);
        }
        for other in others {
            match adopt(&self.directory, &other, &name) {
                Adoption::Nothing => {}
                Adoption::Renamed => tracing::info!(
                    otelcol.component.id = self.name,
                    otelcol.component.kind = "extension",
                    folder = %self.directory.path().join(&name).display(),
                    former = other,
                    "what the component has left on disk under another name of its type is taken over"
                ),
                Adoption::InUse => {
                    tracing::info!(
                        otelcol.component.id = self.name,
                        otelcol.component.kind = "extension",
                        folder = %self.directory.path().join(&other).display(),
                        "what the component has on disk under another name of its type is gone on with"
                    );
                    self.directory.use_instead(&name, &other);
                    name = other;
                    break;
                }
                Adoption::Both => tracing::warn!(
                    otelcol.component.id = self.name,
                    otelcol.component.kind = "extension",
                    directory = %self.directory.path().display(),
                    former = other,
                    folder = name,
                    "the component has left something on disk under two names of its type, and only what is under the present \
                     one is sent; to send the other, too, configure it under that name until its queue is empty \
                     (`millrace queue list`)"
                ),
                Adoption::Failed(error) => {
                    tracing::warn!(
                        otelcol.component.id = self.name,
                        otelcol.component.kind = "extension",
                        directory = %self.directory.path().display(),
                        former = other,
                        %error,
                        "a folder that is called by another name of its component cannot be renamed, and is used as it is"
                    );
                    self.directory.use_instead(&name, &other);
                    name = other;
                    break;
                }
            }
        }
        self.claim(name, owner)
    }
}

impl FileStorage {
    /// What is in the directory, and whether commands are answered there.
    fn has_found(&self, found: &Found, control: Result<Arc<Control>, NoPlace>) {
        if !found.of_go.is_empty() {
            tracing::warn!(
                otelcol.component.id = self.name,
                otelcol.component.kind = "extension",
                directory = %self.directory.path().display(),
                files = found.of_go.join(", "),
                "files of the Go collector are left alone, and what they hold is not sent; to send it, run the Go collector once more until its queues are empty"
            );
        }
        if !found.orphans.is_empty() {
            tracing::warn!(
                otelcol.component.id = self.name,
                otelcol.component.kind = "extension",
                directory = %self.directory.path().display(),
                folders = found.orphans.join(", "),
                "folders of components that are not configured are left alone, and what they hold is not sent; configure the component under its former name to send it, or remove the folder"
            );
        }
        match control {
            Ok(control) => *lock(&self.control) = Some(control),
            Err(error) => tracing::warn!(
                otelcol.component.id = self.name,
                otelcol.component.kind = "extension",
                directory = %self.directory.path().display(),
                %error,
                "`millrace dead-letters replay` and `drop` will not work while this runs"
            ),
        }
    }

    fn claim(&self, folder: String, owner: &Owner) -> Result<Place, NoPlace> {
        let path = self.directory.path().join(&folder);
        let place = Place::new(&self.directory, folder, self.rules, self.status.clone());
        place.claimed_by(owner).map_err(|other| {
            NoPlace(format!(
                "{} is in use by {} {other}, which had this name before and goes on with what waits there; give this one \
                 another name, or first restart with {other} and without this one: then what waits is kept under the new \
                 name",
                path.display(),
                owner.kind
            ))
        })
    }
}
