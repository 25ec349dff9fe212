//! Several sources and `--set`, as the Go collector merges them: every `merge/NAME.args` holds the flags of a case, one
//! a line, and `NAME.go.txt` what `otelcol print-config --mode unredacted --validate=false` (v0.159.0) made of them.
//! `merge/differences.txt` lists where we mean to differ. To record again, point `GO_COLLECTOR` at a collector built
//! with the components of the test catalogue.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_config::gates::read_gates;
use millrace_config::{Node, Parsed, Providers, Value, parse_str, resolve};
use support::judge;

#[test]
fn sources_are_merged_as_the_go_collector_merges_them() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge");
    let differences = fs::read_to_string(directory.join("differences.txt")).expect("the differences");
    let mut wrong = Vec::new();
    let mut agreed = (0, 0);
    for case in cases(&directory) {
        let text = fs::read_to_string(&case).expect("a readable case");
        let recorded_path = case.with_extension("go.txt");
        if let Some(collector) = std::env::var_os("GO_COLLECTOR") {
            fs::write(&recorded_path, ask(collector.as_ref(), &text)).expect("written");
        }
        let name = case.file_stem().expect("a name").to_string_lossy().into_owned();
        let go = fs::read_to_string(&recorded_path).expect("a recorded answer");
        let ours = read(&text);
        let tree = ours.node.clone().unwrap_or_default();
        let (config, shown) =
            judge(ours, millrace_config::Gates { allow_no_pipelines: true, ..Default::default() });
        let complaint = match (go.strip_prefix("Error: "), config.is_some()) {
            // Not every reference has to be there for a configuration to be printed.
            (None, false)
                if shown
                    .diagnostics
                    .iter()
                    .all(|one| !one.severity_is_error() || is_beyond_merging(&one.message)) =>
            {
                disagreement(&tree, &go)
            }
            (None, false) => Some(format!("Go takes it; we say\n{}", shown.render())),
            (Some(_), true) => Some(format!("we take it; Go says {go}")),
            (Some(_), false) => {
                agreed.1 += 1;
                None
            }
            (None, true) => disagreement(&tree, &go),
        };
        let is_meant = differences.lines().any(|line| line.starts_with(&format!("{name}: ")));
        match (complaint, is_meant) {
            (Some(complaint), false) => wrong.push(format!("{name}: {complaint}")),
            (None, true) => wrong.push(format!("{name}: listed as a difference, but we agree")),
            (None, false) => agreed.0 += 1,
            (Some(_), true) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(agreed.0 >= 35 && agreed.1 >= 10, "only {agreed:?} cases were compared");
}

/// What `print-config` does not look at when it does not validate.
fn is_beyond_merging(message: &str) -> bool {
    message.contains("which is not configured") || message.contains("configuration specified in config")
}

trait SeverityOf {
    fn severity_is_error(&self) -> bool;
}

impl SeverityOf for millrace_config::Diagnostic {
    fn severity_is_error(&self) -> bool {
        self.severity == millrace_config::Severity::Error
    }
}

fn cases(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory of cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "args")).collect()
}

fn read(args: &str) -> Parsed {
    let of = |flag: &str| -> Vec<String> {
        args.lines().filter_map(|line| line.strip_prefix(flag)).map(str::to_owned).collect()
    };
    let (gates, _) = read_gates(&of("--feature-gates=")).expect("known gates");
    resolve(&of("--config="), &of("--set="), gates, &Providers::local(&|_| None))
}

fn ask(collector: &Path, args: &str) -> String {
    let output = Command::new(collector)
        .args(["print-config", "--mode", "unredacted", "--validate=false"])
        .args(args.lines())
        .env_clear()
        .output()
        .expect("the collector runs");
    if output.status.success() {
        return String::from_utf8_lossy(&output.stdout).into_owned();
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.starts_with("Error: ")).unwrap_or("Error: no reason given");
    format!("{line}\n")
}

/// Where what was merged is not what Go prints: which components there are, what the pipelines list, and every single
/// value that was written. (Go prints defaults as well, and enums in capitals.)
fn disagreement(ours: &Node, go: &str) -> Option<String> {
    let go = parse_str("go", go, &|_| None).node.expect("Go prints YAML");
    for section in ["receivers", "exporters"] {
        let ids = |tree: &Node| {
            let map = tree.get(&[section]).and_then(Node::as_map);
            let mut ids: Vec<_> = map.into_iter().flatten().map(|entry| entry.key.clone()).collect();
            ids.sort();
            ids
        };
        if ids(ours) != ids(&go) {
            return Some(format!("{section}: {:?} for Go, {:?} for us", ids(&go), ids(ours)));
        }
    }
    let mut wrong = Vec::new();
    compare(ours, &go, "", &mut wrong);
    wrong.into_iter().next()
}

fn compare(ours: &Node, go: &Node, path: &str, wrong: &mut Vec<String>) {
    match (&ours.value, &go.value) {
        // Go prints headers as a list of names and values.
        (Value::Map(map), Value::Seq(pairs)) if path.ends_with("::headers") => {
            let told = |pair: &Node, key| pair.get(&[key]).and_then(Node::as_text).map(str::to_owned);
            let mut go: Vec<_> = pairs.iter().map(|pair| (told(pair, "name"), told(pair, "value"))).collect();
            let ours =
                map.iter().map(|entry| (Some(entry.key.clone()), entry.value.as_text().map(str::to_owned)));
            let mut ours: Vec<_> = ours.collect();
            go.sort();
            ours.sort();
            if go != ours {
                wrong.push(format!("{path}: {go:?} for Go, {ours:?} for us"));
            }
        }
        (Value::Map(map), _) => {
            for entry in map {
                let below = format!("{path}::{}", entry.key);
                match go.get(&[&entry.key]) {
                    Some(value) => compare(&entry.value, value, &below, wrong),
                    // Nor does it print this one.
                    None if entry.value.is_null() || entry.value.as_text() == Some("basic") => {}
                    None => wrong.push(format!("{below} is not in what Go prints")),
                }
            }
        }
        (Value::Null, _) => {}
        (Value::Seq(ours), Value::Seq(go)) if ours.len() == go.len() => {
            for (index, (ours, go)) in ours.iter().zip(go).enumerate() {
                compare(ours, go, &format!("{path}[{index}]"), wrong);
            }
        }
        (ours, go) => {
            let plain = |value: &Value| format!("{value:?}").to_lowercase();
            if plain(ours) != plain(go) {
                wrong.push(format!("{path}: {go:?} for Go, {ours:?} for us"));
            }
        }
    }
}
