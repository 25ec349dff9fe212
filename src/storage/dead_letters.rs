//! `millrace dead-letters`: what could not be delivered.

use super::folders::{Folder, Kept, Where};
use super::losses::Aloud;
use super::queue::payload;
use super::text::{bytes, one_line, table, time};
use crate::cli;
use clap::{Args, Subcommand};
use millrace_delivery::dead_letters::{Cause, as_queued};
use millrace_delivery::storage::CONSUMER;
use millrace_engine::storage::{Outcome, Selection, Task};
use millrace_extensions::file_storage::control::{self, Answer, Request, is_in_use};
use millrace_log::{ConsumerOptions, Delivery, Inspected, Inspector, Log, OpenError, Options};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

/// How much of a message is listed.
const SHOWN: usize = 100;

/// What to do with dead letters.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  millrace dead-letters list --config=gateway.yaml         how many there are, and why
  millrace dead-letters list --each                        every one of them
  millrace dead-letters show exporter-otlp_grpc-traces 17  its reason, and its OTLP as JSON
  millrace dead-letters replay --reason retries_exhausted
  millrace dead-letters drop exporter-otlp_grpc-traces --number 17";

#[derive(Debug, Subcommand)]
enum Action {
    /// List what could not be delivered, by exporter and reason.
    List {
        #[command(flatten)]
        place: Where,
        /// Of which; all of them where none is named.
        folders: Vec<String>,
        /// Only what was put aside for this reason.
        #[arg(long)]
        reason: Option<String>,
        /// Show every one, with its number and what the destination said.
        #[arg(long)]
        each: bool,
    },
    /// Show one: why it is there, and the telemetry in it as OTLP/JSON.
    Show {
        #[command(flatten)]
        place: Where,
        /// Of which, as `list` shows it.
        folder: String,
        /// Its number, as `list --each` shows it.
        number: u64,
        /// Write only the OTLP protobuf bytes, as they were received.
        #[arg(long)]
        raw: bool,
    },
    /// Give them back to the exporter, which tries again to deliver them.
    ///
    /// A running collector takes them at once, as if they had just been received. For a stopped one they are put in its
    /// queue on disk. What fails again becomes a dead letter again. Client metadata is not kept with dead letters. The
    /// exit code is 1 if nothing fits a --reason or --number.
    Replay {
        #[command(flatten)]
        choice: Choice,
    },
    /// Remove them for good. The exit code is 1 if nothing fits a --reason or --number.
    Drop {
        #[command(flatten)]
        choice: Choice,
        /// Also all of them, if nothing narrows it down.
        #[arg(long)]
        all: bool,
    },
}

/// Which.
#[derive(Debug, Args)]
struct Choice {
    #[command(flatten)]
    place: Where,
    /// Of which; all of them where none is named.
    folders: Vec<String>,
    /// Only what was put aside for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only the one with this number; may be repeated.
    #[arg(long)]
    number: Vec<u64>,
    /// So many at most of each, the oldest first.
    #[arg(long)]
    limit: Option<u64>,
}

impl Choice {
    /// What narrows it down to some of those in a folder, as it was typed.
    fn filters(&self) -> Vec<String> {
        let reason = self.reason.iter().map(|reason| format!("--reason {reason}"));
        reason.chain(self.number.iter().map(|number| format!("--number {number}"))).collect()
    }

    fn selection(&self) -> Selection {
        Selection { numbers: self.number.clone(), reason: self.reason.clone(), limit: self.limit }
    }
}

impl DeadLetters {
    /// The options that it has in common with the command line.
    pub fn place(&mut self) -> &mut Where {
        match &mut self.action {
            Action::List { place, .. } | Action::Show { place, .. } => place,
            Action::Replay { choice } | Action::Drop { choice, .. } => &mut choice.place,
        }
    }
}

/// Does it.
///
/// # Errors
/// What is in the way.
pub fn dead_letters(options: &DeadLetters) -> Result<ExitCode, String> {
    match &options.action {
        Action::List { place, folders, reason, each } => {
            let folders = place.folders(Kept::DeadLetters, folders)?;
            let out = if *each {
                every_one(&folders, reason.as_deref())?
            } else {
                summary(&folders, reason.as_deref())?
            };
            cli::print(if out.is_empty() { "no dead letters\n" } else { &out });
            Ok(ExitCode::SUCCESS)
        }
        Action::Show { place, folder, number, raw } => {
            let folders = place.folders(Kept::DeadLetters, std::slice::from_ref(folder))?;
            show(&folders, *number, *raw)
        }
        Action::Replay { choice } => change(choice, Task::Replay),
        Action::Drop { choice, all } => {
            let is_narrow =
                !choice.folders.is_empty() || choice.reason.is_some() || !choice.number.is_empty();
            if !is_narrow && !all {
                return Err("this would drop all dead letters of all exporters\nname a folder, a --reason or a --number, or say --all".into());
            }
            change(choice, Task::Drop)
        }
    }
}

/// A dead letter and where it is.
struct Letter<'a> {
    folder: &'a Folder,
    cause: Cause,
    delivery: Delivery,
}

/// Goes through all that have not been replayed or dropped. One at a time is in memory.
fn each<'a>(
    folders: &'a [Folder],
    mut visit: impl FnMut(Letter<'a>) -> ControlFlow<()>,
) -> Result<(), String> {
    for folder in folders {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.path().display());
        let inspector = Inspector::open(&folder.path()).map_err(|error| told(&error))?;
        let one = |Inspected { done, delivery, .. }: Inspected| {
            if done {
                return ControlFlow::Continue(());
            }
            match Cause::read(delivery.lease.kind, &delivery.meta) {
                Ok(cause) => visit(Letter { folder, cause, delivery }),
                // A newer version's; it stays.
                Err(_) => ControlFlow::Continue(()),
            }
        };
        inspector.entries(one).map_err(|error| told(&error))?;
    }
    Ok(())
}

fn summary(folders: &[Folder], reason: Option<&str>) -> Result<String, String> {
    #[derive(Default)]
    struct Sum {
        requests: u64,
        items: u64,
        bytes: u64,
        oldest: u64,
        newest: u64,
    }
    let mut sums: BTreeMap<(&str, String), Sum> = BTreeMap::new();
    each(folders, |Letter { folder, cause, delivery }| {
        if reason.is_none_or(|reason| reason == cause.reason) {
            let time = delivery.lease.time_ns;
            let sum = sums
                .entry((&folder.name, cause.reason))
                .or_insert_with(|| Sum { oldest: time, ..Sum::default() });
            sum.requests += 1;
            sum.items += u64::from(delivery.lease.items);
            sum.bytes += delivery.payload.len() as u64;
            sum.oldest = sum.oldest.min(time);
            sum.newest = sum.newest.max(time);
        }
        ControlFlow::Continue(())
    })?;
    let row = |((folder, reason), sum): ((&str, String), Sum)| {
        [
            folder.to_owned(),
            one_line(&reason),
            sum.requests.to_string(),
            sum.items.to_string(),
            bytes(sum.bytes),
            time(sum.oldest),
            time(sum.newest),
        ]
    };
    let rows: Vec<_> = sums.into_iter().map(row).collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    Ok(table(["DEAD LETTERS OF", "REASON", "REQUESTS", "ITEMS", "SIZE", "OLDEST", "NEWEST"], &rows))
}

fn every_one(folders: &[Folder], reason: Option<&str>) -> Result<String, String> {
    let mut rows = Vec::new();
    each(folders, |Letter { folder, cause, delivery }| {
        if reason.is_none_or(|reason| reason == cause.reason) {
            let message = one_line(&cause.message);
            rows.push([
                folder.name.clone(),
                delivery.lease.sequence.to_string(),
                time(delivery.lease.time_ns),
                delivery.lease.items.to_string(),
                one_line(&cause.reason),
                message[..message.floor_char_boundary(SHOWN)].to_owned(),
            ]);
        }
        ControlFlow::Continue(())
    })?;
    if rows.is_empty() {
        return Ok(String::new());
    }
    Ok(table(["DEAD LETTERS OF", "NUMBER", "PUT ASIDE", "ITEMS", "REASON", "WHAT WAS SAID"], &rows))
}

fn show(folders: &[Folder], number: u64, raw: bool) -> Result<ExitCode, String> {
    let mut found = None;
    each(folders, |letter| {
        if letter.delivery.lease.sequence == number {
            found = Some(letter);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let Some(Letter { folder, cause, delivery }) = found else {
        return Err(format!(
            "there is no dead letter {number}; `millrace dead-letters list --each` shows which there are"
        ));
    };
    if raw {
        cli::print_bytes(&delivery.payload);
        return Ok(ExitCode::SUCCESS);
    }
    let shown = json!({
        "number": number,
        "of": folder.name,
        "reason": cause.reason,
        "fault": cause.fault,
        "message": cause.message,
        "destination": cause.destination,
        "received": time(cause.received_ns),
        "put_aside": time(delivery.lease.time_ns),
        "items": delivery.lease.items,
        "payload": payload(folder, delivery.payload.clone()),
    });
    let text = serde_json::to_string_pretty(&shown).map_err(|error| error.to_string())?;
    cli::print(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Replays or drops. The exit code is 1 if something was in the way, or what was asked for is not there.
fn change(choice: &Choice, task: Task) -> Result<ExitCode, String> {
    let folders = choice.place.folders(Kept::DeadLetters, &choice.folders)?;
    let filters = choice.filters();
    let (mut is_done, mut changed) = (true, 0);
    for folder in &folders {
        let is_running = is_in_use(&folder.directory)
            .map_err(|error| format!("{}: {error}", folder.directory.display()))?;
        let answer =
            if is_running { ask(folder, choice, task)? } else { change_stopped(folder, choice, task)? };
        let verb = match task {
            Task::Replay if is_running => "given back to the exporter",
            Task::Replay => "put into the queue, to be sent when the collector starts",
            Task::Drop => "dropped",
        };
        match answer {
            Answer::Done(Outcome { requests, items, stopped }) => {
                changed += requests;
                if requests > 0 || filters.is_empty() {
                    cli::print(&format!("{}: {requests} requests, {items} items {verb}\n", folder.name));
                }
                if let Some(problem) = stopped {
                    is_done = false;
                    cli::print(&format!("{}: and no more: {}\n", folder.name, one_line(&problem)));
                }
            }
            Answer::Refused(problem) => {
                is_done = false;
                cli::print(&format!("{}: {}\n", folder.name, one_line(&problem)));
            }
        }
    }
    if folders.is_empty() && filters.is_empty() {
        cli::print(&format!("no dead letters in {}\n", choice.place.shown()));
    }
    if is_done && changed == 0 && !filters.is_empty() {
        return Err(nothing_fits(&filters, &folders)?);
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What to say where a filter has let nothing through: a reason that is misspelt looks like one that nothing has.
fn nothing_fits(filters: &[String], folders: &[Folder]) -> Result<String, String> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    each(folders, |Letter { cause, .. }| {
        *reasons.entry(one_line(&cause.reason)).or_default() += 1;
        ControlFlow::Continue(())
    })?;
    let there = match reasons.is_empty() {
        true => "there are no dead letters at all".to_owned(),
        false => {
            let counted: Vec<_> =
                reasons.iter().map(|(reason, requests)| format!("{requests} for `{reason}`")).collect();
            format!(
                "there are {}; `millrace dead-letters list --each` shows them with their numbers",
                counted.join(", ")
            )
        }
    };
    Ok(format!("no dead letter fits {}, so nothing was done\n{there}", filters.join(" ")))
}

fn ask(folder: &Folder, choice: &Choice, task: Task) -> Result<Answer, String> {
    let request = Request { folder: folder.name.clone(), task, which: choice.selection() };
    let waiting =
        || cli::remark(&format!("waiting for the collector that uses {}", folder.directory.display()));
    control::ask(&folder.directory, &request, waiting).map_err(|error| {
        format!("the collector that uses {} does not answer: {error}", folder.directory.display())
    })
}

/// With the collector stopped, the files are ours meanwhile.
fn change_stopped(folder: &Folder, choice: &Choice, task: Task) -> Result<Answer, String> {
    let queue = match task {
        Task::Drop => None,
        Task::Replay => {
            let queue = folder.beside(Kept::Queue);
            if !queue.path().is_dir() {
                return Ok(Answer::Refused(
                    "there is no queue on disk to put them into; start the collector, and replay while it runs".into(),
                ));
            }
            Some(open(&queue)?)
        }
    };
    let Some(signal) = folder.signal() else {
        return Ok(Answer::Refused("the folder's name does not say which signal it is".into()));
    };
    let letters = open(folder)?;
    let consumer = letters.consumer(CONSUMER).expect("every log has this consumer");
    let which = choice.selection();
    let (mut requests, mut items, mut stopped, mut left) = (0, 0, None, Vec::new());
    while which.limit.is_none_or(|limit| requests < limit) {
        let Delivery { lease, meta, payload } = match consumer.read_next() {
            Ok(Some(delivery)) => delivery,
            Ok(None) => break,
            Err(error) => {
                stopped = Some(error.to_string());
                break;
            }
        };
        let is_meant =
            Cause::read(lease.kind, &meta).is_ok_and(|cause| which.takes(lease.sequence, &cause.reason));
        if !is_meant {
            left.push(lease.sequence);
            continue;
        }
        if let Some(queue) = &queue {
            let put = as_queued(signal, payload).and_then(|entry| {
                let room = queue.reserve(entry.framed_len()).map_err(|refusal| refusal.to_string())?;
                queue.append(room, entry).wait().map_err(|refusal| refusal.to_string())
            });
            if let Err(problem) = put {
                stopped = Some(problem);
                left.push(lease.sequence);
                break;
            }
        }
        // In the queue on disk by now: if this is not written down any more, it is there twice.
        consumer.ack(lease.sequence);
        requests += 1;
        items += u64::from(lease.items);
    }
    for sequence in left {
        let _ = consumer.defer(sequence);
    }
    if let Some(queue) = queue {
        queue.close();
    }
    letters.close();
    Ok(Answer::Done(Outcome { requests, items, stopped }))
}

fn open(folder: &Folder) -> Result<Log, String> {
    let all = ConsumerOptions { max_outstanding: usize::MAX, ..ConsumerOptions::default() };
    let observer = Arc::new(Aloud::of(folder));
    let options = Options { max_size: u64::MAX, consumers: vec![all], observer, ..Options::default() };
    Log::open(&folder.path(), options).map(|(log, _)| log).map_err(|error| match error {
        OpenError::Locked(path) => format!("{} is in use by another process", path.display()),
        error => format!("{}: {error}", folder.path().display()),
    })
}
