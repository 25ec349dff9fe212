//! Whether all of what waits on disk can be read, and giving up what cannot.

use super::folders::{Folder, Where};
use super::losses::Aloud;
use super::text::bytes;
use crate::cli;
use millrace_log::{Hole, Inspector, Log, OpenError, Options, SegmentFacts, SegmentState, Totals, Verified};
use std::process::ExitCode;
use std::sync::Arc;

/// Reads everything and says what is damaged.
///
/// # Errors
/// If something cannot be read.
pub fn verify(folders: &[Folder], place: &Where) -> Result<ExitCode, String> {
    if folders.is_empty() {
        cli::print(&format!("no queues in {}\n", place.shown()));
    }
    let mut is_sound = true;
    for folder in folders {
        let report = Report::of(folder)?;
        cli::print(&report.text(folder));
        is_sound &= report.problems.is_empty();
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives up what is torn or damaged, and says what that is.
///
/// # Errors
/// If a collector is at work there, or something cannot be read.
pub fn repair(folders: &[Folder], place: &Where) -> Result<ExitCode, String> {
    if folders.is_empty() {
        cli::print(&format!("no queues in {}\n", place.shown()));
    }
    for folder in folders {
        // It makes what a log consists of, and a folder may be anybody's, or a link to one.
        let is_log = Inspector::open(&folder.path()).and_then(|inspector| inspector.is_log());
        if !is_log.map_err(|error| format!("{}: {error}", folder.path().display()))? {
            cli::print(&format!("{}: no collector has kept anything there\n", folder.name));
            continue;
        }
        let observer = Arc::new(Aloud::of(folder));
        let options = Options { max_size: u64::MAX, observer, ..Options::default() };
        let repaired = Log::repair(&folder.path(), options).map_err(|error| match error {
            OpenError::Locked(_) => format!(
                "{} is in use by a collector, which repairs it as it goes; stop it first, or see `millrace queue verify`",
                folder.path().display()
            ),
            error => format!("{}: {error}", folder.path().display()),
        })?;
        let Totals { entries, items, .. } = repaired.whole;
        cli::print(&format!("{}: sound: {entries} requests, {items} items\n", folder.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is to say about one queue.
#[derive(Default)]
struct Report {
    /// Requests whose every byte is right.
    whole: Totals,
    /// What waits and cannot be sent.
    problems: Vec<String>,
    /// What need not worry anybody.
    remarks: Vec<String>,
    /// Requests that cannot be read, and need not be.
    settled: u64,
}

impl Report {
    fn of(folder: &Folder) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.path().display());
        let inspector = Inspector::open(&folder.path()).map_err(|error| told(&error))?;
        let mut report = Self::default();
        for segment in inspector.segments().map_err(|error| told(&error))? {
            let verified = match segment.state {
                SegmentState::Irregular => None,
                _ => inspector.verify(segment.number).map_err(|error| told(&error))?,
            };
            report.segment(&segment, verified);
        }
        for Hole { before, missing, unknown } in inspector.holes().map_err(|error| told(&error))? {
            let items = match (missing.items, unknown) {
                (items, 0) => format!(" with {items} items"),
                (0, _) => "; how many items they had is not known".to_owned(),
                (items, _) => format!(" with at least {items} items"),
            };
            report.problems.push(format!(
                "{before}: {} requests that were taken before it are missing{items}",
                missing.entries
            ));
        }
        Ok(report)
    }

    fn segment(&mut self, segment: &SegmentFacts, verified: Option<Verified>) {
        let file = &segment.file;
        match segment.state {
            SegmentState::Damaged => {
                self.problems.push(format!("{file}: its header is damaged; the collector sets it aside"));
            }
            SegmentState::Newer(version) => {
                let problem = format!("{file}: written by a newer version (format {version}); use that one");
                self.problems.push(problem);
            }
            SegmentState::Irregular => {
                self.problems.push(format!("{file}: is no regular file, and not looked into: remove it"));
            }
            SegmentState::Empty => {
                self.problems.push(format!("{file}: is empty, and segments were begun after it"));
            }
            SegmentState::Complete | SegmentState::Open | SegmentState::Blank => {}
        }
        let Some(verified) = verified else { return };
        self.whole.entries += verified.whole.entries;
        self.whole.items += verified.whole.items;
        self.settled += verified.settled;
        if !verified.broken.is_empty() {
            let Totals { entries, items, .. } = verified.broken;
            self.problems.push(format!("{file}: {entries} requests with {items} items are damaged"));
        }
        if verified.missing > 0 {
            let seen = verified.whole.items + verified.broken.items;
            let items = match segment.totals.items.saturating_sub(seen) {
                items if segment.state == SegmentState::Complete && verified.settled == 0 && items > 0 => {
                    format!(" with {items} items")
                }
                _ => "; how many items they had is not known".to_owned(),
            };
            self.problems.push(format!("{file}: {} requests are missing{items}", verified.missing));
        }
        if verified.gaps > 0 && !verified.is_sound() {
            self.problems.push(format!("{file}: {} stretches hold nothing that can be read", verified.gaps));
        }
        if verified.torn_bytes > 0 && verified.missing == 0 {
            self.remarks.push(format!(
                "{file}: {} at the end are not complete: being written now, or cut short by a kill (nobody was told that \
                 it was there)",
                bytes(verified.torn_bytes)
            ));
        }
    }

    fn text(&self, folder: &Folder) -> String {
        let verdict = if self.problems.is_empty() { "sound" } else { "damaged" };
        let Totals { entries, items, .. } = self.whole;
        let mut text = format!("{}: {verdict}: {entries} requests, {items} items\n", folder.name);
        for line in self.problems.iter().chain(&self.remarks) {
            text.push_str(&format!("  {line}\n"));
        }
        if self.settled > 0 {
            text.push_str(&format!(
                "  {} requests that cannot be read are done with: given up and counted as lost by a start or a repair, \
                 or damaged after they had been delivered\n",
                self.settled
            ));
        }
        if !self.problems.is_empty() {
            text.push_str("  what cannot be read is lost, and the next start counts it; `millrace queue repair` does it now\n");
        }
        text
    }
}
