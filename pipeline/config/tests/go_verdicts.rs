//! Agreement with the Go collector: what it accepts we accept, what it refuses we refuse.
//!
//! `go_verdicts/recorded.txt` holds what `otelcol validate` (v0.159.0) said of every case in `go_verdicts/` and
//! `diagnostics/`; `go_verdicts/differences.txt` lists where we mean to differ, and why. To record again, point
//! `GO_COLLECTOR` at a collector built with the components of the test catalogue.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{check, settings};

#[test]
fn the_verdict_is_the_go_collectors() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let recorded_path = home.join("go_verdicts/recorded.txt");
    if let Some(collector) = std::env::var_os("GO_COLLECTOR") {
        let lines = cases(&home)
            .into_iter()
            .map(|(name, path)| format!("{name}: {}\n", ask(collector.as_ref(), &path)));
        fs::write(&recorded_path, lines.collect::<String>()).expect("the verdicts written");
    }
    let recorded = read_table(&recorded_path);
    let differences = read_table(&home.join("go_verdicts/differences.txt"));
    let mut wrong = Vec::new();
    let mut agreed = 0;
    for (name, path) in cases(&home) {
        let Some(go) = recorded.get(&name) else {
            wrong.push(format!("{name}: no verdict is recorded"));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a readable case");
        let (env, gates) = settings(&text);
        let (config, parsed) = check(&name, &text, &|key| env.get(key).cloned(), gates);
        let agree = config.is_some() == (go == "ok");
        match (agree, differences.contains_key(&name)) {
            (true, false) => agreed += 1,
            (false, true) => {}
            (true, true) => wrong.push(format!("{name}: listed as a difference, but we agree")),
            (false, false) => {
                wrong.push(format!("{name}: the Go collector says {go}; we say\n{}", parsed.render()));
            }
        }
    }
    for name in differences.keys().filter(|name| !recorded.contains_key(*name)) {
        wrong.push(format!("{name}: a difference without a case"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(agreed >= 80, "only {agreed} cases were compared");
}

/// All cases by `directory/name`.
fn cases(home: &Path) -> BTreeMap<String, PathBuf> {
    let mut cases = BTreeMap::new();
    for directory in ["go_verdicts", "diagnostics"] {
        for entry in fs::read_dir(home.join(directory)).expect("a directory of cases") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let stem = path.file_stem().expect("a name").to_string_lossy();
                cases.insert(format!("{directory}/{stem}"), path);
            }
        }
    }
    cases
}

/// Lines of `name: text`; `#` starts a comment.
fn read_table(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).expect("a readable table");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// What a Go collector says of a case: `ok`, or the end of its complaint.
fn ask(collector: &Path, case: &Path) -> String {
    let text = fs::read_to_string(case).expect("a readable case");
    let (env, gates) = settings(&text);
    let mut open = Vec::new();
    open.extend(gates.profiles.then_some("service.profilesSupport"));
    open.extend(gates.allow_no_pipelines.then_some("service.AllowNoPipelines"));
    let output = Command::new(collector)
        .args(["validate", &format!("--feature-gates={}", open.join(","))])
        .arg(format!("--config={}", case.display()))
        .env_clear()
        .envs(env)
        .output()
        .expect("the collector runs");
    if output.status.success() {
        return "ok".to_owned();
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    format!("error: {}", last.trim().chars().take(200).collect::<String>())
}
