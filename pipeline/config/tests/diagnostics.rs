//! What users see: every `diagnostics/*.yaml` and, beside it, the text that it draws.
//!
//! `UPDATE_EXPECT=1 cargo test -p millrace-config --test diagnostics` rewrites the texts.

mod support;

use std::fs;
use std::path::Path;

use support::{check, settings};

#[test]
fn every_mistake_is_explained_as_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut cases: Vec<_> = fs::read_dir(&directory)
        .expect("the directory of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 50, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let text = fs::read_to_string(&path).expect("a readable case");
        let (env, gates) = settings(&text);
        let name = path.file_name().expect("a name").to_string_lossy();
        let (config, parsed) = check(&name, &text, &|key| env.get(key).cloned(), gates);
        let verdict = if config.is_some() { "accepted" } else { "refused" };
        let actual = format!("{}\n{verdict}\n", parsed.render());
        let expected_path = path.with_extension("txt");
        if update {
            fs::write(&expected_path, &actual).expect("the text written");
        } else if fs::read_to_string(&expected_path).unwrap_or_default() != actual {
            wrong.push(format!("== {name}\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{} texts differ from what is recorded:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_too_large_by_itself_is_not_told_of_aliases() {
    let text = format!("a:\n{}", "- 1\n".repeat((64 << 20) / 128 + 1));
    let parsed = millrace_config::parse_str("c.yaml", &text, &|_| None);
    let rendered = parsed.render();
    assert!(rendered.contains("becomes larger than 64 MiB"), "{}", &rendered[..rendered.len().min(2000)]);
    assert!(rendered.contains("remove what is not used") && !rendered.contains("aliases"));
}
