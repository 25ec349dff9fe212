//! `millrace dead-letters`: what could not be delivered.

use super::folders::{Folder, Kept, Where};
use super::limits::Limits;
use super::losses::Aloud;
use super::options::{Filter, One};
use super::queue::payload;
use super::stopped;
use super::text::{Columns, bytes, one_line, table, time};
use super::waiting;
use crate::cli;
use clap::{Args, Subcommand};
use millrace_delivery::dead_letters::Cause;
use millrace_engine::storage::{Outcome, Selection, Task};
use millrace_extensions::file_storage::control::{self, Answer, Request, is_in_use};
use millrace_log::{ConsumerOptions, Delivery, Inspected, Inspector, Log, OpenError, Options};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

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
  millrace dead-letters replay --wait                      all of them, as there is room
  millrace dead-letters drop exporter-otlp_grpc-traces --number 17";

/// How much of a long list is printed at once, in bytes.
const PRINTED_AT_ONCE: usize = 64 << 10;

/// Where to find the right number.
const LISTED: &str = "`millrace dead-letters list --each` shows which there are, with their numbers";

#[derive(Debug, Subcommand)]
enum Action {
    /// List what could not be delivered, by exporter and reason.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Show every one, with its number and all that was kept of what the destination said.
        #[arg(long)]
        each: bool,
    },
    /// Show one: why it is there, and the telemetry in it as OTLP/JSON.
    Show {
        #[command(flatten)]
        of: One,
        /// Its number, as `list --each` shows it.
        number: u64,
        /// Write only the OTLP protobuf bytes, as they were received.
        #[arg(long)]
        raw: bool,
    },
    /// Give them back to the exporter, which tries again to deliver them.
    ///
    /// A running collector takes them at once, as if they had just been received. For a stopped one they are put in its
    /// queue on disk, as far as the limits allow that the configuration (--config) gives it; the rest stays. What fails
    /// again becomes a dead letter again. Client metadata is not kept with dead letters. The exit code is 1 if nothing fits
    /// a --reason, or there is none with a --number, or some stay.
    Replay {
        #[command(flatten)]
        choice: Choice,
        /// Where a running collector has no room for more of them now, ask again until it has taken all that are there.
        ///
        /// What has been given back by then stays so if this is ended in between (Ctrl-C).
        #[arg(long)]
        wait: bool,
    },
    /// Remove them for good. The exit code is 1 if nothing fits a --reason, or there is none with a --number.
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
pub struct Choice {
    #[command(flatten)]
    filter: Filter,
    /// Only the one with this number; may be repeated.
    #[arg(long)]
    number: Vec<u64>,
    /// So many at most of each, the oldest first.
    #[arg(long)]
    pub limit: Option<u64>,
}

impl Choice {
    /// What narrows it down to some of those in a folder, as it was typed.
    fn filters(&self) -> Vec<String> {
        self.filters_with(&self.number)
    }

    /// The same with these numbers only.
    fn filters_with<'a>(&self, numbers: impl IntoIterator<Item = &'a u64>) -> Vec<String> {
        let reason = self.filter.reason.iter().map(|reason| format!("--reason {reason}"));
        reason.chain(numbers.into_iter().map(|number| format!("--number {number}"))).collect()
    }

    /// The same, without the folders.
    pub fn selection(&self) -> Selection {
        let reason = self.filter.reason.clone();
        Selection { numbers: self.number.clone(), reason, limit: self.limit }
    }

    /// Where to look.
    pub fn place(&self) -> &Where {
        &self.filter.of.place
    }
}

impl DeadLetters {
    /// The options that it has in common with the command line.
    pub fn place(&mut self) -> &mut Where {
        match &mut self.action {
            Action::List { filter, .. } => &mut filter.of.place,
            Action::Show { of, .. } => &mut of.place,
            Action::Replay { choice, .. } | Action::Drop { choice, .. } => &mut choice.filter.of.place,
        }
    }
}

/// Does it.
///
/// # Errors
/// What is in the way.
pub fn dead_letters(options: &DeadLetters) -> Result<ExitCode, String> {
    match &options.action {
        Action::List { filter, each } => {
            let folders = filter.find()?;
            let are_there = if *each { every_one(&folders, filter)? } else { summary(&folders, filter)? };
            if !are_there {
                cli::print("no dead letters\n");
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Show { of, number, raw } => show(&of.find(Kept::DeadLetters)?, *number, *raw),
        Action::Replay { choice, wait } => change(choice, Task::Replay, *wait),
        Action::Drop { choice, all } => {
            let is_narrow = choice.filter.is_narrow() || !choice.number.is_empty();
            if !is_narrow && !all {
                return Err("this would drop all dead letters of all exporters\nname a folder, a --reason or a --number, or say --all".into());
            }
            change(choice, Task::Drop, false)
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

/// Shows how many there are, and whether there are any.
fn summary(folders: &[Folder], filter: &Filter) -> Result<bool, String> {
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
        if filter.takes(&cause) {
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
    if !rows.is_empty() {
        let heads = ["DEAD LETTERS OF", "REASON", "REQUESTS", "ITEMS", "SIZE", "OLDEST", "NEWEST"];
        cli::print(&table(heads, &rows));
    }
    Ok(!rows.is_empty())
}

/// Shows all of them, and whether there are any. However many there may be: they are gone through twice instead of being
/// kept.
fn every_one(folders: &[Folder], filter: &Filter) -> Result<bool, String> {
    let rows = |visit: &mut dyn FnMut([String; 6])| {
        each(folders, |Letter { folder, cause, delivery }| {
            if filter.takes(&cause) {
                visit([
                    folder.name.clone(),
                    delivery.lease.sequence.to_string(),
                    time(delivery.lease.time_ns),
                    delivery.lease.items.to_string(),
                    one_line(&cause.reason),
                    one_line(&cause.message),
                ]);
            }
            ControlFlow::Continue(())
        })
    };
    let heads = ["DEAD LETTERS OF", "NUMBER", "PUT ASIDE", "ITEMS", "REASON", "WHAT WAS SAID"];
    let mut columns = Columns::of(heads);
    rows(&mut |row| columns.fit(&row))?;
    if columns.is_empty() {
        return Ok(false);
    }
    let mut out = columns.line(heads);
    rows(&mut |row| {
        out.push_str(&columns.line(row.each_ref().map(String::as_str)));
        if out.len() >= PRINTED_AT_ONCE {
            cli::print(&out);
            out.clear();
        }
    })?;
    cli::print(&out);
    Ok(true)
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
        return Err(format!("there is no dead letter {number}; {LISTED}"));
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
fn change(choice: &Choice, task: Task, wait: bool) -> Result<ExitCode, String> {
    let folders = choice.filter.find()?;
    let filters = choice.filters();
    let missing = missing(choice, &folders)?;
    let (mut is_done, mut changed) = (true, 0);
    for folder in &folders {
        let is_running = is_in_use(&folder.directory)
            .map_err(|error| format!("{}: {error}", folder.directory.display()))?;
        let ask = |which| ask(folder, which, task);
        let answer = match (is_running, wait) {
            (true, true) => waiting::ask(&folder.name, &choice.selection(), meant(choice, folder)?, ask)?,
            (true, false) => ask(choice.selection())?,
            (false, _) => stopped::change(folder, choice, task)?,
        };
        let verb = match task {
            Task::Replay if is_running => "given back to the exporter",
            Task::Replay => "put into the queue, to be sent when the collector starts",
            Task::Drop => "dropped",
        };
        match answer {
            Answer::Done(Outcome { requests, items, stopped, .. }) => {
                changed += requests;
                if requests > 0 || filters.is_empty() {
                    cli::print(&format!("{}: {requests} requests, {items} items {verb}\n", folder.name));
                }
                if let Some(problem) = stopped {
                    is_done = false;
                    cli::print(&format!("{}: and no more: {}\n", folder.name, one_line(&problem)));
                }
            }
            // That of a component which is in no configuration any more stays when it has been emptied.
            Answer::Refused(_) if is_empty(folder)? => {
                cli::print(&format!("{}: no dead letters in it\n", folder.name));
            }
            Answer::Refused(problem) => {
                is_done = false;
                cli::print(&format!("{}: {}\n", folder.name, one_line(&problem)));
            }
        }
    }
    if folders.is_empty() && filters.is_empty() {
        cli::print(&format!("no dead letters in {}\n", choice.place().shown()));
    }
    if is_done && changed == 0 && !filters.is_empty() {
        return Err(nothing_fits(&filters, &folders)?);
    }
    if !missing.is_empty() {
        return Err(format!("no dead letter fits {}\n{LISTED}", choice.filters_with(&missing).join(" ")));
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_empty(folder: &Folder) -> Result<bool, String> {
    let mut is_empty = true;
    each(std::slice::from_ref(folder), |_| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}

/// How many there are now of those that are meant.
fn meant(choice: &Choice, folder: &Folder) -> Result<u64, String> {
    let (which, mut meant) = (choice.selection(), 0);
    each(std::slice::from_ref(folder), |Letter { cause, delivery, .. }| {
        meant += u64::from(which.takes(delivery.lease.sequence, &cause.reason));
        ControlFlow::Continue(())
    })?;
    Ok(which.limit.map_or(meant, |limit| limit.min(meant)))
}

/// The numbers among those asked for that no dead letter has, or none that was put aside for the reason asked for.
fn missing(choice: &Choice, folders: &[Folder]) -> Result<BTreeSet<u64>, String> {
    let mut missing: BTreeSet<u64> = choice.number.iter().copied().collect();
    if !missing.is_empty() {
        let which = choice.selection();
        each(folders, |Letter { cause, delivery, .. }| {
            if which.takes(delivery.lease.sequence, &cause.reason) {
                missing.remove(&delivery.lease.sequence);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(missing)
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
            format!("there are {}; {LISTED}", counted.join(", "))
        }
    };
    Ok(format!("no dead letter fits {}, so nothing was done\n{there}", filters.join(" ")))
}

fn ask(folder: &Folder, which: Selection, task: Task) -> Result<Answer, String> {
    let request = Request { folder: folder.name.clone(), task, which };
    let waiting =
        || cli::remark(&format!("waiting for the collector that uses {}", folder.directory.display()));
    control::ask(&folder.directory, &request, waiting).map_err(|error| {
        format!("the collector that uses {} does not answer: {error}", folder.directory.display())
    })
}

/// Opens the log in a folder, with those limits if there are any.
pub fn open(folder: &Folder, limits: Option<&Limits>) -> Result<Log, String> {
    let all = ConsumerOptions { max_outstanding: usize::MAX, ..ConsumerOptions::default() };
    let observer = Arc::new(Aloud::of(folder));
    let unlimited = || Options { max_size: u64::MAX, ..Options::default() };
    let options = limits.map_or_else(unlimited, Limits::options);
    let options = Options { consumers: vec![all], observer, ..options };
    Log::open(&folder.path(), options).map(|(log, _)| log).map_err(|error| match error {
        OpenError::Locked(path) => format!("{} is in use by another process", path.display()),
        error => format!("{}: {error}", folder.path().display()),
    })
}
