//! What the documentation of the Go collector's components shows, in our own words: `millrace validate` says yes or no
//! as `otelcol validate` does.
//!
//! `component_examples/recorded.txt` holds what the Go collector (v0.159.0) said, `differences.txt` where we mean to
//! differ, and why. Where the recording binary has no such component, or asks what is not there where it was recorded (a
//! cluster, a cloud), the documentation counts: `# documented: accepted` or `refused`. To record again, point `GO_COLLECTOR` at the binary that
//! `tests/peers/install-otelcol` builds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What starts a recorded verdict on a component that was not there.
const UNKNOWN: &str = "has no ";

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/component_examples")
}

/// All examples by name.
fn examples() -> BTreeMap<String, PathBuf> {
    let paths = fs::read_dir(home()).expect("the folder").map(|entry| entry.expect("an entry").path());
    let examples = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    examples.map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path)).collect()
}

/// Lines of `name: text`; `#` starts a comment.
fn table(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(home().join(name)).expect("a table");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// What stands behind `# key: ` in an example.
fn said<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    comments.filter_map(|line| line.strip_prefix(key)).find_map(|line| line.strip_prefix(": "))
}

/// Lets a collector validate an example: its complaint, if it has one.
fn validate(collector: &OsStr, example: &Path) -> Option<String> {
    let text = fs::read_to_string(example).expect("readable");
    let env = said(&text, "env").unwrap_or_default();
    let output = Command::new(collector)
        .args(["validate", "--config"])
        .arg(example)
        .env_clear()
        .envs(env.split(' ').filter_map(|pair| pair.split_once('=')))
        .output()
        .expect("the collector runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One line for the record.
fn verdict(complaint: Option<String>) -> String {
    let Some(complaint) = complaint else { return "ok".to_owned() };
    let unknown = complaint.split("unknown type: \"").nth(1).and_then(|rest| rest.split('"').next());
    if let Some(unknown) = unknown {
        return format!("{UNKNOWN}{unknown}");
    }
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    format!("error: {}", last.trim().chars().take(200).collect::<String>())
}

#[test]
fn what_the_documentation_of_components_shows_is_taken_and_refused_as_by_the_go_collector() {
    if let Some(collector) = std::env::var_os("GO_COLLECTOR") {
        let lines = examples()
            .into_iter()
            .map(|(name, path)| format!("{name}: {}\n", verdict(validate(&collector, &path))));
        fs::write(home().join("recorded.txt"), lines.collect::<String>()).expect("written");
    }
    let (recorded, differences) = (table("recorded.txt"), table("differences.txt"));
    let mut wrong = Vec::new();
    let (mut compared, mut by_documentation) = (0, 0);
    for (name, path) in examples() {
        let text = fs::read_to_string(&path).expect("readable");
        let go = match (recorded.get(&name), said(&text, "documented")) {
            (Some(go), None) if !go.starts_with(UNKNOWN) => go == "ok",
            (Some(go), Some(documented)) if go != "ok" => {
                by_documentation += 1;
                documented == "accepted"
            }
            (go, documented) => {
                wrong.push(format!("{name}: recorded as {go:?}, documented as {documented:?}"));
                continue;
            }
        };
        compared += 1;
        let complaint = validate(OsStr::new(env!("CARGO_BIN_EXE_millrace")), &path);
        let is_listed = differences.contains_key(&name);
        match (complaint.is_none() == go, is_listed) {
            (true, false) | (false, true) => {}
            (true, true) => wrong.push(format!("{name}: listed as a difference, but we agree")),
            (false, false) => wrong.push(format!("{name}: the Go collector says {go}; we say {complaint:?}")),
        }
    }
    let stale = differences.keys().chain(recorded.keys()).filter(|name| !examples().contains_key(*name));
    wrong.extend(stale.map(|name| format!("{name}: there is no such example")));
    println!("{compared} examples, {by_documentation} by documentation, {} differences", differences.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(compared >= 160, "only {compared} examples were compared");
}
