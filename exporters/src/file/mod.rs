//! The `file` exporter: writes requests to a file, as a line of OTLP/JSON each or as protobuf.
//!
//! A request is answered when it has been handed to the operating system, whole. All signals of one exporter share
//! one writer. Encoding and writing happen off the workers.

mod config;
mod groups;
mod medium;
mod message;
mod rotation;
mod shared;

#[cfg(test)]
mod tests;

pub use config::{Compression, CompressionParams, Config, Format, GroupBy, Rotation};

use crate::local;
use groups::Groups;
use medium::Opening;
use message::Layout;
use millrace_config::Optional;
use millrace_delivery::{Accepted, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Budget, Charge, Failure, Fault, Reason, Stage};
use millrace_telemetry::warn_sparingly;
use millrace_wire::Signal;
use shared::Shared;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long a write that is under way is waited for in the end; a disk may hang.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The `file` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "file",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        if signal == Signal::Profiles && self.format == Format::Json {
            return Err(context
                .error("cannot write profiles as JSON, which are passed on unread; set `format: proto`"));
        }
        let file = if self.group_by.enabled {
            if signal == Signal::Profiles {
                return Err(context.error(
                    "cannot group profiles, which are passed on unread; use another exporter for them",
                ));
            }
            Target::Groups(self.groups(&context))
        } else {
            let opening = Opening {
                path: self.path.clone().into(),
                append: self.append,
                directory_mode: self.directory_mode(),
            };
            let (layout, rotation) = (Layout::of(self), self.rotation.as_option().cloned());
            let rotate_as = rotation.clone();
            let open = move || shared::writer(opening, layout, rotate_as.as_ref());
            let opened = context.shared.openings.open(Path::new(&self.path), open);
            let writer = opened.map_err(|error| context.error(error))?;
            Target::One(writer.map_err(|error| context.error(error))?, rotation)
        };
        let sender = File {
            exporter: context.id.to_string(),
            path: self.path.clone(),
            file,
            work: context.shared.work.clone(),
        };
        Ok(Exporter::start(&context, signal, &local::delivery(Optional::Off), Arc::new(sender))?)
    }
}

struct File {
    exporter: String,
    path: String,
    file: Target,
    work: Budget,
}

/// Where batches are written.
enum Target {
    /// All to one file.
    One(Shared, Option<Rotation>),
    /// Each group to a file of its own.
    Groups(Arc<Mutex<Groups>>),
}

impl File {
    /// Waits for its turn and for memory, and then writes off the workers. A write that has begun is finished even
    /// if nobody waits for it any more.
    async fn write(&self, batch: &Batch) -> Result<Accepted, Failure> {
        let bytes = batch.cost().bytes;
        match &self.file {
            Target::One(writer, rotation) => {
                let mut writer = Arc::clone(writer).lock_owned().await;
                writer.rotate_as(rotation.as_ref());
                let charge = self.work.charge(writer.most(bytes)).await;
                let write = move |batch: &Batch| writer.write(batch).map(|_| Accepted::default());
                off_the_workers(batch.clone(), charge, write).await
            }
            Target::Groups(groups) => {
                let mut groups = Arc::clone(groups).lock_owned().await;
                let charge = self.work.charge(groups.most(bytes)).await;
                let write = move |batch: &Batch| {
                    groups.write(batch).map(|rejected_items| Accepted { rejected_items })
                };
                off_the_workers(batch.clone(), charge, write).await
            }
        }
    }

    /// Waits for a write that is under way.
    async fn idle(&self) {
        match &self.file {
            Target::One(writer, _) => drop(writer.lock().await),
            Target::Groups(groups) => drop(groups.lock().await),
        }
    }
}

async fn off_the_workers(
    batch: Batch,
    charge: Charge,
    write: impl FnOnce(&Batch) -> Result<Accepted, Failure> + Send + 'static,
) -> Result<Accepted, Failure> {
    let write = move || {
        let written = write(&batch);
        drop((charge, batch));
        written
    };
    spawn_blocking(write).await.unwrap_or_else(|_| {
        Err(Failure::transient(Fault::Us, Reason::Internal, "writing to the file panicked"))
    })
}

impl Sender for File {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            let written = self.write(batch).await;
            if let Err(failure) = &written
                && failure.reason != Reason::TooLarge
            {
                warn_sparingly!(
                    otelcol.component.id = self.exporter,
                    otelcol.component.kind = "exporter",
                    error = %failure,
                    "Writing to the file failed. Rejecting data."
                );
            }
            written
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The file is closed when the last of its exporters is dropped; there is nothing to flush.
            if timeout(LAST_WRITE, self.idle()).await.is_err() {
                tracing::warn!(
                    otelcol.component.id = self.exporter,
                    path = self.path,
                    "the file is still being written to; its end may be missing"
                );
            }
        })
    }
}
