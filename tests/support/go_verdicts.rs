//! Tables of what the Go collector says to sections: `ok` or `refused`, a tab, and the section, a line each.
//!
//! Shared by the tests of several crates, which include it by its path.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A table, and how its cases are judged.
pub struct Verdicts {
    /// Where the table is.
    pub table: &'static str,
    /// Sections about which we mean to differ.
    pub differences: &'static [&'static str],
    /// What we say of a section: whether it is accepted, and what is wrong with it.
    pub ours: fn(&str) -> (bool, String),
    /// A whole configuration around a section, for the Go collector.
    pub around: fn(&str) -> String,
}

impl Verdicts {
    /// Compares all of them. With `GO_COLLECTOR` in the environment, that collector is asked first and its verdicts are
    /// written down.
    pub fn compare(&self) {
        let mut recorded = fs::read_to_string(self.table).expect("the verdicts");
        if let Some(collector) = std::env::var_os("GO_COLLECTOR") {
            let again = recorded.lines().map(|line| match case(line) {
                Some((_, section)) => format!("{}\t{section}\n", self.ask(collector.as_ref(), section)),
                None => format!("{line}\n"),
            });
            recorded = again.collect();
            fs::write(self.table, &recorded).expect("the verdicts written");
        }
        let cases: Vec<(&str, &str)> = recorded.lines().filter_map(case).collect();
        assert!(cases.len() > 40, "the table is read");
        let mut wrong = String::new();
        for (go, section) in cases {
            let (accepted, problems) = (self.ours)(section);
            let differs = self.differences.contains(&section);
            if (accepted == (go == "ok")) == differs {
                writeln!(wrong, "the Go collector says {go} to `{section}`; we say\n{problems}")
                    .expect("memory");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    fn ask(&self, collector: &Path, section: &str) -> &'static str {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("case.yaml");
        fs::write(&file, (self.around)(section)).expect("a case written");
        let output = Command::new(collector).arg("validate").arg("--config").arg(&file).output();
        if output.expect("the collector runs").status.success() { "ok" } else { "refused" }
    }
}

/// A verdict and a section in one line, separated by a tab.
fn case(line: &str) -> Option<(&str, &str)> {
    line.split_once('\t').filter(|_| !line.starts_with('#'))
}
