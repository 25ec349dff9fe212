//! The `debug` exporter: shows what arrives, for people who are setting up a pipeline.
//!
//! It never refuses a request because it could not be shown: what it shows is a view, and not where telemetry ends.

mod chunks;
mod config;
mod logger;
mod output;
pub mod render;
mod sampler;

#[cfg(test)]
mod tests;

pub use config::{Config, Verbosity};

use crate::local;
use chunks::Chunks;
use logger::Logger;
use millrace_delivery::{Accepted, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Failure, Stage};
use millrace_telemetry::warn_sparingly;
use millrace_wire::Signal;
use output::Outputs;
use sampler::Sampler;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// The longest message in the logs; their buffer holds one MiB. Longer ones become several.
const MESSAGE_BYTES: usize = 512 << 10;
/// How much is written to other outputs at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Requests up to this size are rendered on the worker.
const INLINE_BYTES: u64 = 16 << 10;

/// The `debug` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "debug",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        let voice = if self.use_internal_logger {
            Voice::Logs(Logger::new(&context, signal))
        } else {
            let default = ["stdout".to_owned()];
            let paths = self.output_paths.as_deref().unwrap_or(&default);
            Voice::Outputs(Outputs::open(paths).map_err(|error| context.error(error))?)
        };
        let sampler = Sampler::new(self.sampling_initial, self.sampling_thereafter);
        let speaker = Speaker { voice, sampler, verbosity: self.verbosity };
        let debug = Debug {
            blocks: !self.use_internal_logger,
            verbosity: self.verbosity,
            speaker: Arc::new(Mutex::new(speaker)),
        };
        let delivery = local::delivery(self.sending_queue.clone());
        Ok(Exporter::start(&context, signal, &delivery, Arc::new(debug))?)
    }
}

struct Debug {
    /// Whether speaking may wait for a pipe, a terminal or a disk.
    blocks: bool,
    verbosity: Verbosity,
    /// One speaks at a time, so that what belongs together stays together.
    speaker: Arc<Mutex<Speaker>>,
}

impl Sender for Debug {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            let mut speaker = Arc::clone(&self.speaker).lock_owned().await;
            let short = self.verbosity == Verbosity::Basic || batch.cost().bytes <= INLINE_BYTES;
            if short && !self.blocks {
                speaker.show(batch);
            } else {
                let batch = batch.clone();
                let shown = spawn_blocking(move || speaker.show(&batch)).await;
                if shown.is_err_and(|error| error.is_panic()) {
                    tracing::error!("showing a request panicked; this is a bug");
                }
            }
            Ok(Accepted::default())
        })
    }
}

/// Shows requests of one signal.
struct Speaker {
    voice: Voice,
    sampler: Sampler,
    verbosity: Verbosity,
}

enum Voice {
    Logs(Logger),
    Outputs(Outputs),
}

impl Speaker {
    fn show(&mut self, batch: &Batch) {
        if matches!(self.voice, Voice::Logs(_)) && !Logger::is_heard() {
            return;
        }
        let now = Instant::now();
        let payloads = || batch.pieces().iter().map(|piece| &piece.payload);
        let counts = render::basic(batch.signal(), payloads());
        if self.sampler.admits(now, |out| out.write_str(counts.message())) {
            match &mut self.voice {
                Voice::Logs(logger) => logger.counts(counts),
                Voice::Outputs(outputs) => outputs.write(&format!("{counts}\n")),
            }
        }
        let text = |out: &mut dyn fmt::Write| match self.verbosity {
            Verbosity::Basic => Ok(()),
            Verbosity::Normal => render::normal(payloads(), out),
            Verbosity::Detailed => render::detailed(payloads(), out),
        };
        if self.verbosity != Verbosity::Basic && self.sampler.admits(now, text) {
            self.voice.text(text);
        }
        if let Voice::Outputs(outputs) = &mut self.voice
            && let Some(error) = outputs.take_error()
        {
            warn_sparingly!(error, "the debug exporter cannot show everything");
        }
    }
}

impl Voice {
    /// Says what `write` writes, as a message of its own.
    fn text(&mut self, write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        // Neither of them fails.
        match self {
            Self::Logs(logger) => {
                let mut chunks = Chunks::new(MESSAGE_BYTES, |text: &str| logger.text(text));
                let _ = write(&mut chunks);
                chunks.finish();
            }
            Self::Outputs(outputs) => {
                let mut chunks = Chunks::new(CHUNK_BYTES, |text: &str| outputs.write(text));
                let _ = write(&mut chunks);
                chunks.finish();
                outputs.write("\n");
            }
        }
    }
}
