//! The `file` exporter: writes requests to a file, as a line of OTLP/JSON each or as protobuf.
//!
//! A request is answered when it has been handed to the operating system, whole. All signals of one exporter share
//! one writer. Encoding and writing happen off the workers.

mod config;
mod medium;
mod message;
mod shared;

#[cfg(test)]
mod tests;

pub use config::{Compression, CompressionParams, Config, Format, GroupBy, Rotation};

use crate::local;
use medium::Opening;
use message::Layout;
use millrace_config::Optional;
use millrace_delivery::{Accepted, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Budget, Failure, Fault, Reason, Stage};
use millrace_telemetry::warn_sparingly;
use millrace_wire::Signal;
use shared::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long a write that is under way is waited for in the end; a disk may hang.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The `file` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "file",
    aliases: &[],
    signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        let opening = Opening {
            path: self.path.clone().into(),
            append: self.append,
            directory_mode: self.directory_mode(),
        };
        let writer = shared::writer(opening, Layout::of(self)).map_err(|error| context.error(error))?;
        let sender = File {
            exporter: context.id.to_string(),
            path: self.path.clone(),
            writer,
            work: context.shared.work.clone(),
        };
        Ok(Exporter::start(&context, signal, &local::delivery(Optional::Off), Arc::new(sender)))
    }
}

struct File {
    exporter: String,
    path: String,
    writer: Shared,
    work: Budget,
}

impl File {
    /// Waits for its turn and for memory, and then writes off the workers. A write that has begun is finished even
    /// if nobody waits for it any more.
    async fn write(&self, batch: &Batch) -> Result<(), Failure> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let charge = self.work.charge(writer.most(batch.cost().bytes)).await;
        let batch = batch.clone();
        let write = move || {
            let written = writer.write(&batch);
            drop((charge, batch));
            written
        };
        spawn_blocking(write).await.unwrap_or_else(|_| {
            Err(Failure::transient(Fault::Us, Reason::Internal, "writing to the file panicked"))
        })
    }
}

impl Sender for File {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            match self.write(batch).await {
                Ok(()) => Ok(Accepted::default()),
                Err(failure) => {
                    warn_sparingly!(
                        otelcol.component.id = self.exporter,
                        otelcol.component.kind = "exporter",
                        error = %failure,
                        "Writing to the file failed. Rejecting data."
                    );
                    Err(failure)
                }
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The file is closed when the last of its exporters is dropped; there is nothing to flush.
            if timeout(LAST_WRITE, self.writer.lock()).await.is_err() {
                tracing::warn!(
                    otelcol.component.id = self.exporter,
                    path = self.path,
                    "the file is still being written to; its end may be missing"
                );
            }
        })
    }
}
