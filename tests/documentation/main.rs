//! The pages that are made from the schemas, and the schemas themselves.
//!
//! `MILLRACE_UPDATE=1` (`just docs`) writes `docs/compatibility.md` and `docs/metrics.md` anew instead of complaining that it is out of date.

mod compare;
mod editor;
mod go;
mod metrics;
mod ours;
mod page;
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
