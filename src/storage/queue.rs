//! `millrace queue`: what waits on disk for its destination.

use super::folders::{Folder, Kept, Where};
use super::options::{One, Several};
use super::soundness::{repair, verify};
use super::text::{bytes, table, time};
use crate::cli;
use clap::{Args, Subcommand};
use millrace_extensions::file_storage::control::is_in_use;
use millrace_log::{Inspected, Inspector, SegmentState, Totals};
use millrace_wire::json::to_json;
use millrace_wire::validate::{Policy, validate};
use serde_json::json;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;

/// What to do with queues on disk.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Queue {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  millrace queue list --config=gateway.yaml          what waits, since when, and on how much disk
  millrace queue verify --directory /var/lib/queues  read every byte, and say what is damaged
  millrace queue dump exporter-otlp_grpc-traces --payload --limit 1
  millrace queue repair                              cut off what is torn, drop what is damaged";

#[derive(Debug, Subcommand)]
enum Action {
    /// List the queues: how much waits in each, how old it is, and how much disk it takes.
    List {
        #[command(flatten)]
        of: Several,
        /// Show the files, too.
        #[arg(long)]
        files: bool,
    },
    /// Read every byte and say what is damaged. The exit code is 1 if something that waits is.
    ///
    /// Nothing is changed, and a collector that runs is not disturbed; what it is writing at the moment may look torn.
    Verify(Several),
    /// Print what is in a queue, one JSON object a line.
    Dump {
        #[command(flatten)]
        of: One,
        /// Print the telemetry, too, as OTLP/JSON.
        #[arg(long)]
        payload: bool,
        /// Only the one with this number. The exit code is 1 if it is not there.
        #[arg(long)]
        number: Option<u64>,
        /// So many at most.
        #[arg(long)]
        limit: Option<u64>,
        /// Also what has been delivered, and is still in a file.
        #[arg(long)]
        done: bool,
    },
    /// Cut off what is torn, and drop what is damaged, now and not when it is found.
    ///
    /// A collector does the same when it starts and as it reads, so this is never needed; it says beforehand what is
    /// lost. What it gives up, it says and no start counts again; if it is killed before it has said so, the next start
    /// counts it. The collector has to be stopped.
    Repair(Several),
}

impl Queue {
    /// The options that it has in common with the command line.
    pub fn place(&mut self) -> &mut Where {
        match &mut self.action {
            Action::List { of, .. } | Action::Verify(of) | Action::Repair(of) => &mut of.place,
            Action::Dump { of, .. } => &mut of.place,
        }
    }
}

/// Does it.
///
/// # Errors
/// What is in the way.
pub fn queue(options: &Queue) -> Result<ExitCode, String> {
    match &options.action {
        Action::List { of, files } => list(of, *files),
        Action::Verify(of) => verify(&of.find(Kept::Queue)?, &of.place),
        Action::Dump { of, payload, number, limit, done } => {
            let folders = of.find(Kept::Queue)?;
            let dump = Dump { payload: *payload, number: *number, limit: *limit, done: *done };
            let mut printed = 0;
            for folder in &folders {
                printed += dump.print(folder)?;
            }
            match number {
                Some(number) if printed == 0 && *limit != Some(0) => Err(format!(
                    "no request {number} {}; `millrace queue dump {}` shows which there are",
                    if *done { "is in a file of it" } else { "waits in it" },
                    of.folder
                )),
                _ => Ok(ExitCode::SUCCESS),
            }
        }
        Action::Repair(of) => repair(&of.find(Kept::Queue)?, &of.place),
    }
}

fn list(of: &Several, files: bool) -> Result<ExitCode, String> {
    let folders = of.find(Kept::Queue)?;
    if folders.is_empty() {
        cli::print(&format!("no queues in {}\n", of.place.shown()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    let mut segments = Vec::new();
    for folder in &folders {
        let looked = look(folder)?;
        rows.push([
            folder.name.clone(),
            looked.waiting.entries.to_string(),
            looked.waiting.items.to_string(),
            bytes(looked.waiting.bytes),
            bytes(looked.disk),
            time(looked.oldest_ns),
            if is_in_use(&folder.directory).unwrap_or(false) { "running" } else { "stopped" }.to_owned(),
        ]);
        segments.extend(looked.files);
    }
    let mut out = table(["QUEUE", "REQUESTS", "ITEMS", "WAITING", "ON DISK", "OLDEST", "COLLECTOR"], &rows);
    if files {
        out.push('\n');
        out.push_str(&table(["FILE", "STATE", "FROM", "TO", "ITEMS", "SIZE", "NEWEST"], &segments));
    }
    cli::print(&out);
    Ok(ExitCode::SUCCESS)
}

/// What there is to say about a queue.
struct Looked {
    waiting: Totals,
    disk: u64,
    oldest_ns: u64,
    files: Vec<[String; 7]>,
}

fn look(folder: &Folder) -> Result<Looked, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.path().display());
    let inspector = Inspector::open(&folder.path()).map_err(|error| told(&error))?;
    let mut looked = Looked { waiting: Totals::default(), disk: 0, oldest_ns: 0, files: Vec::new() };
    for segment in inspector.segments().map_err(|error| told(&error))? {
        looked.disk += segment.file_len;
        let state = match segment.state {
            SegmentState::Complete => "complete".to_owned(),
            SegmentState::Open => "open".to_owned(),
            SegmentState::Blank => "prepared".to_owned(),
            SegmentState::Damaged => "damaged".to_owned(),
            SegmentState::Newer(version) => format!("version {version}"),
            SegmentState::Irregular => "no file".to_owned(),
            SegmentState::Empty => "empty".to_owned(),
        };
        looked.files.push([
            format!("{}/{}", folder.name, segment.file),
            state,
            segment.base.to_string(),
            segment.end.to_string(),
            segment.totals.items.to_string(),
            bytes(segment.file_len),
            time(segment.newest_ns),
        ]);
    }
    inspector
        .waiting(|lease| {
            looked.waiting.entries += 1;
            looked.waiting.items += u64::from(lease.items);
            looked.waiting.bytes += lease.framed_len;
            if looked.oldest_ns == 0 || lease.time_ns < looked.oldest_ns {
                looked.oldest_ns = lease.time_ns;
            }
        })
        .map_err(|error| told(&error))?;
    Ok(looked)
}

struct Dump {
    payload: bool,
    number: Option<u64>,
    limit: Option<u64>,
    done: bool,
}

impl Dump {
    /// Prints, and says how many.
    fn print(&self, folder: &Folder) -> Result<u64, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.path().display());
        let inspector = Inspector::open(&folder.path()).map_err(|error| told(&error))?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut printed = 0;
        let mut failed = None;
        let visit = |inspected: Inspected| {
            let lease = inspected.delivery.lease;
            if (inspected.done && !self.done) || self.number.is_some_and(|number| number != lease.sequence) {
                return ControlFlow::Continue(());
            }
            if self.limit.is_some_and(|limit| printed >= limit) {
                return ControlFlow::Break(());
            }
            printed += 1;
            if let Err(error) = writeln!(out, "{}", self.line(folder, &inspected)) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        inspector.entries(visit).map_err(|error| told(&error))?;
        cli::printed(failed.map_or_else(|| out.flush(), Err));
        Ok(printed)
    }

    fn line(&self, folder: &Folder, inspected: &Inspected) -> serde_json::Value {
        let Inspected { segment, offset, done, delivery } = inspected;
        let lease = delivery.lease;
        let mut line = json!({
            "number": lease.sequence,
            "appended": time(lease.time_ns),
            "items": lease.items,
            "bytes": delivery.payload.len(),
            "done": done,
            "segment": segment,
            "offset": offset,
        });
        if self.payload {
            line["payload"] = payload(folder, delivery.payload.clone());
        }
        line
    }
}

/// Telemetry as OTLP/JSON; a text where it cannot be.
pub fn payload(folder: &Folder, payload: bytes::Bytes) -> serde_json::Value {
    let Some(signal) = folder.signal() else {
        return json!("the folder's name does not say which signal it is");
    };
    let mut out = Vec::new();
    let written = validate(signal, payload, &Policy::default())
        .map_err(|problem| problem.to_string())
        .and_then(|validated| to_json(&validated.payload, &mut out).map_err(|problem| problem.to_string()));
    match written.and_then(|()| serde_json::from_slice(&out).map_err(|problem| problem.to_string())) {
        Ok(value) => value,
        Err(problem) => json!(format!("cannot be shown as JSON: {problem}")),
    }
}
