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
pub use names::signal_of;

use adopt::{Adoption, adopt};
use control::Control;
use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::storage::{Directory, NoPlace, Owner, Place, Rules};
use millrace_engine::{BoxFuture, Status, Storage, Tasks};
use millrace_log::SEGMENT_SIZE_MIN;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
        let directory =
            directory::claim(self, &context.shared.directories).map_err(|problem| context.error(problem))?;
        let name = context.id.to_string();
        if !self.fsync {
            tracing::warn!(
                otelcol.component.id = name,
                otelcol.component.kind = "extension",
                "fsync is off: what was acknowledged can be lost when the machine loses power"
            );
        }
        Ok(Arc::new(FileStorage {
            directory,
            rules: self.rules(),
            status: context.status(None),
            tasks: context.shared.tasks.clone(),
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
    fn rules(&self) -> Rules {
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
        }
    }
}

struct FileStorage {
    directory: Arc<Directory>,
    rules: Rules,
    status: Status,
    tasks: Tasks,
    /// Answers commands.
    control: Mutex<Option<Arc<Control>>>,
    name: String,
}

impl Extension for FileStorage {
    /// By now everything that is configured has opened its place.
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        let found = directory::look_around(&self.directory);
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
        match Control::of(&self.directory, &self.tasks) {
            Ok(control) => *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(control),
            Err(error) => tracing::warn!(
                otelcol.component.id = self.name,
                otelcol.component.kind = "extension",
                directory = %self.directory.path().display(),
                %error,
                "`millrace dead-letters replay` and `drop` will not work while this runs"
            ),
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        drop(self.control.lock().unwrap_or_else(PoisonError::into_inner).take());
        Box::pin(std::future::ready(()))
    }

    fn storage(self: Arc<Self>) -> Option<Arc<dyn Storage>> {
        Some(self)
    }
}

impl Storage for FileStorage {
    /// Where the owner has kept things under another name of its type (`otlp` for `otlp_grpc`, in an older
    /// configuration or a newer one), they are its own. A folder that could not be renamed then is used for as long as
    /// it is open: the graph after that one goes on with what is in it.
    fn place(&self, owner: &Owner) -> Result<Place, NoPlace> {
        let mut name = names::folder(owner);
        let others =
            owner.namesakes.iter().map(|id| names::folder(&Owner { id: id.clone(), ..owner.clone() }));
        let in_use = others.clone().find(|other| self.directory.is_used_instead(&name, other));
        if let Some(other) = in_use {
            return Ok(Place::new(&self.directory, other, self.rules, self.status.clone()));
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
        Ok(Place::new(&self.directory, name, self.rules, self.status.clone()))
    }
}
