//! `millrace validate --fix`: how the files would say in today's form what older collectors accepted.

mod diff;
mod replace;

use crate::cli::{self, Input};
use crate::components::BuiltIn;
use crate::fetch::Web;
use crate::plan::{judge, read_with};
use diff::unified;
use millrace_config::legacy::rewrite;
use millrace_config::{Outside, Parsed};
use replace::replace;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// How often files are rewritten and read again: what one change makes room for, another one does.
const MAX_ROUNDS: usize = 20;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Shows the changes, or makes them, and says what is to be said of the result.
///
/// # Errors
/// Why a file could not be written.
pub fn fix(input: &Input, write: bool) -> Result<ExitCode, String> {
    let Rewritten { texts } = rewritten(input);
    for (path, Text { before, after }) in &texts {
        if write {
            replace(Path::new(path), after)
                .map_err(|error| format!("cannot write {path}, which is as it was: {error}"))?;
        } else {
            cli::print(&unified(path, before, after));
        }
    }
    Ok(judge(input, read_with(input, &Rewritten { texts })))
}

/// Files as they would be.
#[derive(Debug, Default)]
struct Rewritten {
    texts: BTreeMap<String, Text>,
}

#[derive(Debug)]
struct Text {
    before: String,
    after: String,
}

impl Outside for Rewritten {
    fn file(&self, path: &str) -> Result<String, String> {
        self.texts.get(path).map_or_else(|| Web.file(path), |text| Ok(text.after.clone()))
    }

    fn fetch(&self, url: &str) -> Result<String, String> {
        Web.fetch(url)
    }
}

/// Reads and rewrites until nothing more can be done.
fn rewritten(input: &Input) -> Rewritten {
    let mut rewritten = Rewritten::default();
    for _ in 0..MAX_ROUNDS {
        let parsed = read_with(input, &rewritten);
        if !rewritten.go_on(parsed) {
            break;
        }
    }
    rewritten
}

impl Rewritten {
    /// Carries out what is to be done to files that have been read. False if there is nothing to do.
    fn go_on(&mut self, mut parsed: Parsed) -> bool {
        let edits = parsed.modernise(&BuiltIn);
        let mut changed = false;
        for id in parsed.sources.ids() {
            let here: Vec<_> = edits.iter().filter(|edit| edit.span().source == id).collect();
            let (Some(path), Some(text)) = (parsed.sources.path(id), parsed.sources.text(id)) else {
                continue;
            };
            let Some(after) = rewrite(text, &here) else { continue };
            let Ok(before) = self.file(path) else { continue };
            let mark = if before.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK } else { "" };
            let after = format!("{mark}{after}");
            self.texts.entry(path.to_owned()).or_insert(Text { before, after: String::new() }).after = after;
            changed = true;
        }
        changed
    }
}
