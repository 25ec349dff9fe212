//! A page of metrics without its values: families and series, in one order, with the words for what differs from run
//! to run.

use millrace_telemetry::catalogue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is ours alone.
const OURS: &str = "otelcol_millrace_";
/// What describes the process rather than what it does: the program's own name and version.
const ABOUT_THE_PROGRAM: &str = "target_info";

pub struct Page(BTreeMap<String, Family>);

struct Family {
    kind: String,
    help: String,
    series: BTreeSet<String>,
}

impl Page {
    /// Reads a page, without what is ours alone; label values that are keys of `words` are shown as their values.
    pub fn parse(text: &str, words: &BTreeMap<String, &'static str>) -> Self {
        let Self(mut families) = Self::read(text, words);
        families.retain(|name, _| !name.starts_with(OURS));
        if let Some(about) = families.get_mut(ABOUT_THE_PROGRAM) {
            about.series = about.series.iter().map(|series| without_values(series)).collect();
        }
        Self(families)
    }

    fn read(text: &str, words: &BTreeMap<String, &'static str>) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("# HELP ") {
                let (title, help) = title.split_once(' ').expect("a name and a help text");
                name = title.to_owned();
                let family = Family { kind: String::new(), help: help.to_owned(), series: BTreeSet::new() };
                families.insert(name.clone(), family);
                continue;
            }
            let family = families.get_mut(&name).expect("a family begins with its help text");
            match line.strip_prefix("# TYPE ") {
                Some(title) => family.kind = title.rsplit(' ').next().expect("a type").to_owned(),
                None => {
                    family.series.insert(labels(line, words));
                }
            }
        }
        Self(families)
    }

    /// Lines that only one of both has; empty if there are none.
    pub fn difference(&self, golden: &str) -> String {
        let ours = self.to_string();
        let lines = |text: &str| -> BTreeSet<String> {
            let mut family = "";
            let mut lines = BTreeSet::new();
            for line in text.lines() {
                if !line.starts_with(' ') {
                    family = line.split(' ').next().unwrap_or_default();
                }
                // A series is told apart from the same of another family.
                lines.insert(format!("{}{line}", if line.starts_with(' ') { family } else { "" }));
            }
            lines
        };
        let (ours, theirs) = (lines(&ours), lines(golden));
        let missing = theirs.difference(&ours).map(|line| format!("missing: {line}\n"));
        let surplus = ours.difference(&theirs).map(|line| format!("surplus: {line}\n"));
        missing.chain(surplus).collect()
    }
}

/// The metrics of a page, with a label, whose definitions do not name that label, or that have none.
pub fn undefined(text: &str) -> Vec<String> {
    let page = Page::read(text, &BTreeMap::new());
    let plain = |name: &str| name.replace('.', "_");
    let named = |name: &str, label: &str| {
        let def = catalogue::all().find(|def| plain(def.name) == *name);
        def.is_some_and(|def| label.is_empty() || def.labels.iter().any(|known| plain(known) == label))
    };
    let series =
        page.0.iter().flat_map(|(name, family)| family.series.iter().map(move |series| (name, series)));
    let labels = series.flat_map(|(name, series)| {
        let pairs = series.trim_matches(['{', '}']).split(", ");
        pairs.map(move |pair| (name, pair.split('=').next().unwrap_or_default()))
    });
    let others = [ABOUT_THE_PROGRAM, "promhttp_metric_handler_errors_total"];
    labels
        .filter(|(name, label)| !others.contains(&name.as_str()) && !named(name, label))
        .map(|(name, label)| format!("{name}: {label}"))
        .collect()
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { kind, help, series }) in &self.0 {
            writeln!(f, "{name} {kind} {help}")?;
            series.iter().try_for_each(|series| writeln!(f, "  {series}"))?;
        }
        Ok(())
    }
}

/// The labels of a sample, without `le`.
fn labels(line: &str, words: &BTreeMap<String, &'static str>) -> String {
    let (series, _) = line.rsplit_once(' ').expect("a series and a value");
    let Some((_, labels)) = series.split_once('{') else { return "{}".to_owned() };
    let mut rest = labels.strip_suffix('}').expect("labels end");
    let mut pairs = Vec::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("a value ends; none here has quotes inside");
        let key = key.trim_start_matches(',');
        if key != "le" {
            let value = words.get(value).map_or_else(|| value.to_owned(), |word| format!("${word}"));
            pairs.push(format!("{key}={value}"));
        }
        rest = after;
    }
    format!("{{{}}}", pairs.join(", "))
}

fn without_values(series: &str) -> String {
    let names = series.trim_matches(['{', '}']).split(", ");
    let names: Vec<_> = names.filter_map(|pair| pair.split('=').next()).collect();
    format!("{{{}}}", names.join(", "))
}
