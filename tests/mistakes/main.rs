//! What `millrace validate` says of mistakes: each case in this folder is a configuration and, beside it, what it draws.
//! And that there is a case for everything that can be said.
//!
//! `UPDATE_EXPECT=1 cargo test --test mistakes` rewrites what the cases draw.

mod sources;

use sources::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What can be said but not drawn from a configuration that a case could be, and why.
const ELSEWHERE: [(&str, &str); 6] = [
    (
        "the built-in defaults are broken: ",
        "a bug; all built-in defaults are decoded by the tests of `schema`",
    ),
    ("there are more ", "the tests of `diagnostic.rs` make so many"),
    ("there are more errors here than are shown", "the property tests of `millrace-config` make so many"),
    ("this section is too irregular to be read", "takes a section of thousands of nulls"),
    ("the memory of this machine cannot be told; ", "a machine without /proc and cgroups"),
    ("`http://` does not switch TLS off", "the old form of the endpoint is given its modern one first"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files in a folder with this ending, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    paths.sort();
    paths
}

/// What stands behind `# key: ` in a case, each time.
fn said<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    comments.filter_map(move |line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// What is said of a case.
fn told(case: &Path) -> String {
    let text = fs::read_to_string(case).expect("readable");
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .current_dir(case.parent().expect("a folder"))
        .args(["validate", "--config"])
        .arg(case.file_name().expect("a name"))
        .args(said(&text, "args").flat_map(|arguments| arguments.split(' ')))
        .env_clear()
        .envs(said(&text, "env").filter_map(|pair| pair.split_once('=')))
        .output()
        .expect("it runs");
    assert!(output.stdout.is_empty(), "{}: something is printed beside what is said", case.display());
    let verdict = if output.status.success() { "accepted" } else { "refused" };
    format!("{}\n{verdict}\n", String::from_utf8(output.stderr).expect("UTF-8").trim_end())
}

#[test]
fn every_mistake_is_explained_as_recorded() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in files("tests/mistakes", "yaml") {
        let (actual, expected) = (told(&case), case.with_extension("txt"));
        if update {
            fs::write(&expected, &actual).expect("written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != actual {
            wrong.push(format!("== {}\n{actual}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} texts differ from what is recorded:\n{}", wrong.len(), wrong.join("\n"));
}

/// The first lines of everything that is recorded, without `error: ` and `warning: `.
fn recorded() -> Vec<String> {
    let folders = ["tests/mistakes", "pipeline/config/tests/diagnostics", "pipeline/config/tests/legacy"];
    let texts = folders.iter().flat_map(|folder| files(folder, "txt"));
    let texts: Vec<_> = texts.map(|path| fs::read_to_string(path).expect("readable")).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let first =
        lines.filter_map(|line| line.strip_prefix("error: ").or_else(|| line.strip_prefix("warning: ")));
    first.map(str::to_owned).collect()
}

#[test]
fn there_is_a_case_for_everything_that_can_be_said() {
    let recorded = recorded();
    let (messages, indirect) = sources::messages(root());
    let is_covered = |message: &Message| recorded.iter().any(|line| message.is_in(line));
    let elsewhere = |message: &Message| ELSEWHERE.iter().any(|(text, _)| message.begins_with(text));
    let missing: Vec<_> = messages
        .iter()
        .filter(|message| !is_covered(message) && !elsewhere(message))
        .map(ToString::to_string)
        .collect();
    assert!(missing.is_empty(), "no case draws:\n{}", missing.join("\n"));
    for (text, _) in ELSEWHERE {
        assert!(messages.iter().any(|message| message.begins_with(text)), "nobody says any more: {text}");
    }
    assert!(messages.len() > 200, "only {} messages were found", messages.len());

    // Where a message comes from another place, its texts are found there; here is where that has been looked after.
    let known: BTreeMap<_, _> = INDIRECT.into_iter().collect();
    let found: BTreeMap<_, _> = indirect.iter().map(|(file, count)| (file.as_str(), *count)).collect();
    assert_eq!(found, known, "see that what is said there has cases, then write down how many there are");
}

/// How many messages in each file are not written where they are reported: they are in a variable, whose `let` is looked
/// at, or in an error type, whose `#[error]` is.
const INDIRECT: [(&str, usize); 26] = [
    ("exporters/src/prometheus/config.rs", 1),
    ("extensions/src/oauth2client/config.rs", 2),
    ("pipeline/config/src/decode/error.rs", 1),
    ("pipeline/config/src/decode/mod.rs", 1),
    ("pipeline/config/src/diagnostic.rs", 1),
    ("pipeline/config/src/expand/mod.rs", 2),
    ("pipeline/config/src/expand/retrieve.rs", 3),
    ("pipeline/config/src/legacy/section.rs", 1),
    ("pipeline/config/src/load/claims.rs", 1),
    ("pipeline/config/src/load/components.rs", 7),
    ("pipeline/config/src/load/files.rs", 1),
    ("pipeline/config/src/load/graph.rs", 5),
    ("pipeline/config/src/load/mod.rs", 3),
    ("pipeline/config/src/load/service.rs", 9),
    ("pipeline/config/src/load/wanted.rs", 1),
    ("pipeline/config/src/parse.rs", 9),
    ("pipeline/config/src/resolve.rs", 2),
    ("pipeline/net/src/config/client/http.rs", 1),
    ("pipeline/net/src/config/client/mod.rs", 1),
    ("pipeline/net/src/config/mod.rs", 1),
    ("pipeline/net/src/config/server.rs", 1),
    ("pipeline/net/src/config/tls.rs", 2),
    ("pipeline/telemetry/src/config/otlp.rs", 1),
    ("processors/src/resource_detection/config.rs", 1),
    ("processors/src/resource_detection/sections.rs", 1),
    ("src/batched.rs", 1),
];
