//! The pages that are made from the schemas, and the schemas themselves.
//!
//! `MILLRACE_UPDATE=1` (`just docs`) writes `docs/compatibility.md` and `docs/metrics.md` anew instead of complaining that it is out of date.

mod boards;
mod compare;
mod editor;
mod go;
mod metrics;
mod ours;
mod page;
mod promises;
mod readmes;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at_root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_compatibility_page_is_what_the_schemas_say() {
    assert_current("docs/compatibility.md", &page::compatibility());
}

#[test]
fn the_page_of_metrics_is_what_their_definitions_say() {
    assert_current("docs/metrics.md", &metrics::page());
}

#[test]
fn every_metric_that_is_defined_is_listed_and_made() {
    let catalogue = at_root("pipeline/telemetry/src/catalogue");
    let is_source = |path: &Path| path.extension().is_some_and(|end| end == "rs");
    let folders = ["pipeline", "receivers", "processors", "connectors", "exporters", "extensions", "src"];
    let sources: Vec<_> = folders.iter().flat_map(|folder| below(&at_root(folder))).collect();
    let (defined, code): (Vec<_>, Vec<_>) =
        sources.into_iter().filter(|path| is_source(path)).partition(|path| path.starts_with(&catalogue));
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a source");
    let code: String = code.iter().map(text).collect();
    let mut count = 0;
    for file in &defined {
        let file = text(file);
        let (definitions, list) = file.split_once("const ALL: ").unwrap_or((&file, ""));
        for name in
            definitions.lines().filter_map(|line| line.strip_prefix("pub static ")?.split_once(": Def ="))
        {
            let has = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name.0)
            };
            assert!(has(list), "{} is not in `ALL`, so no page names it", name.0);
            assert!(has(&code), "{} is never measured", name.0);
            count += 1;
        }
    }
    assert!(count > 50, "only {count} definitions were found");
}

#[test]
fn dashboards_and_alerts_tell_components_of_every_kind_apart() {
    let (wrong, seen) = boards::kinds_left_out();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 20, "only {seen} groupings were found");
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

fn assert_current(path: &str, page: &str) {
    if std::env::var_os("MILLRACE_UPDATE").is_some() {
        fs::write(at_root(path), page).expect("written");
    }
    let written = fs::read_to_string(at_root(path)).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).find(|(written, made)| written != made);
    assert!(written == page, "{path} is out of date: run `just docs`; the first difference: {differs:#?}");
}

#[test]
fn every_difference_has_its_reason() {
    let missing = page::differences_without_reason();
    assert!(
        missing.is_empty(),
        "a key whose default differs from the Go collector's needs a paragraph `Go: …` in its comment:\n{}",
        missing.join("\n")
    );
}
