//! `docs/compatibility.md`.

use crate::compare::{Row, Status, rows};
use crate::{go, ours};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Compatibility, key by key

Every configuration key of every component that Millrace has, and of `service::telemetry`, beside the Go collector's
(release v0.159.0). This page is generated (`just docs`): Millrace's side from the types that read the configuration,
the Go collector's from the structs that read its own (`tests/peers/record-keys`). What differs in behaviour rather than
in keys stands in [differences](differences.md).

| | |
|---|---|
| same | the same meaning, the same default |
| different | there, with another default or meaning, for the reason given |
| no effect | accepted, so that configurations run unchanged; there is nothing for it to change here |
| not yet | refused by name, never ignored |
| ours | the Go collector has no such key |

Components that Millrace does not have are not listed; [the README](../README.md) says which those are. Every section
that can be switched has the key `enabled`, which is left out below.
";

/// The sections in the order of the page.
const SECTIONS: [(&str, &str); 6] = [
    ("receivers", "receiver"),
    ("processors", "processor"),
    ("exporters", "exporter"),
    ("connectors", "connector"),
    ("extensions", "extension"),
    ("service", ""),
];

/// What the structs in common are called here.
fn title(of: &str) -> String {
    match of {
        "confighttp.ServerConfig" => "HTTP servers".to_owned(),
        "confighttp.ClientConfig" => "HTTP clients".to_owned(),
        "confighttp.CORSConfig" => "CORS".to_owned(),
        "confighttp.AuthConfig" => "Authentication at HTTP servers".to_owned(),
        "configauth.Config" => "Authentication".to_owned(),
        "configgrpc.ServerConfig" => "gRPC servers".to_owned(),
        "configgrpc.ClientConfig" => "gRPC clients".to_owned(),
        "configgrpc.KeepaliveServerConfig" => "Keepalive of gRPC servers".to_owned(),
        "configgrpc.KeepaliveServerParameters" => "Keepalive of gRPC servers: parameters".to_owned(),
        "configgrpc.KeepaliveEnforcementPolicy" => "Keepalive of gRPC servers: enforcement".to_owned(),
        "configgrpc.KeepaliveClientConfig" => "Keepalive of gRPC clients".to_owned(),
        "configtls.ServerConfig" => "TLS of servers".to_owned(),
        "configtls.ClientConfig" => "TLS of clients".to_owned(),
        "configtls.TPMConfig" => "TLS keys in a TPM".to_owned(),
        "queuebatch.Config" => "Sending queue".to_owned(),
        "queuebatch.BatchConfig" => "Batching in the sending queue".to_owned(),
        "queuebatch.PartitionConfig" => "Batching in the sending queue: what is never joined".to_owned(),
        "configretry.BackOffConfig" => "Retry".to_owned(),
        "exporterhelper.TimeoutConfig" => "Timeout".to_owned(),
        other => format!("`{other}`"),
    }
}

fn anchor(title: &str) -> String {
    let kept = title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    kept.replace(' ', "-")
}

struct Compared {
    section: String,
    name: String,
    recorded: bool,
    rows: Vec<Row>,
}

fn compared() -> Vec<Compared> {
    let go = go::components();
    let nothing = go::Key::default();
    let compare = |component: ours::Component| {
        let ours::Component { section, name, root } = component;
        let recorded = go.get(&format!("{section}/{name}"));
        Compared {
            rows: rows(&root, recorded.unwrap_or(&nothing)),
            recorded: recorded.is_some(),
            section,
            name,
        }
    };
    ours::components().into_iter().map(compare).collect()
}

/// The keys whose default differs for no reason that is given.
pub fn differences_without_reason() -> Vec<String> {
    let mut missing = Vec::new();
    for Compared { section, name, rows, .. } in compared() {
        for row in rows {
            if let (Status::Different, None) = (row.status, &row.reason) {
                let Row { path, default, go_default, .. } = row;
                missing.push(format!(
                    "{section}/{name}: {path} is {default}, in Go {}",
                    go_default.unwrap_or_default()
                ));
            }
        }
    }
    missing
}

/// The whole page.
pub fn compatibility() -> String {
    let components = compared();
    let shared = shared_rows(&components);
    let mut page = INTRODUCTION.to_owned();
    summary(&mut page, &components);
    for (section, noun) in SECTIONS {
        for component in components.iter().filter(|component| component.section == section) {
            let heading = match noun {
                "" => format!("`service::{}`", component.name),
                noun => format!("`{}` {noun}", component.name),
            };
            write!(page, "\n## {heading}\n\n").expect("text");
            component_table(&mut page, component, &shared);
        }
    }
    page.push_str("\n## Shared sections\n\nWhat several components have in common. A component whose own default differs says so in its table.\n");
    for (of, rows) in &shared {
        write!(page, "\n### {}\n\n", title(of)).expect("text");
        table(&mut page, true, rows.iter().map(|(path, row)| (path.as_str(), row)));
    }
    page
}

/// The rows of each struct in common, by their paths in it: as most components have them.
fn shared_rows(components: &[Compared]) -> BTreeMap<String, BTreeMap<String, Row>> {
    let mut seen: BTreeMap<&str, BTreeMap<&str, Vec<&Row>>> = BTreeMap::new();
    for row in components.iter().flat_map(|component| &component.rows) {
        if let Some((of, path)) = &row.shared {
            seen.entry(of).or_default().entry(path).or_default().push(row);
        }
    }
    let most_common = |rows: &[&Row]| {
        let count = |row: &Row| rows.iter().filter(|other| is_same(row, other)).count();
        let best = rows.iter().map(|row| count(row)).max();
        rows.iter().find(|row| Some(count(row)) == best).map(|row| (*row).clone()).expect("there is a row")
    };
    let section = |rows: BTreeMap<&str, Vec<&Row>>| {
        rows.into_iter().map(|(path, rows)| (path.to_owned(), most_common(&rows))).collect()
    };
    seen.into_iter().map(|(of, rows)| (of.to_owned(), section(rows))).collect()
}

/// Whether two components say the same of a key in common.
fn is_same(one: &Row, other: &Row) -> bool {
    let told = |row: &Row| (row.status, row.default.clone(), row.go_default.clone(), row.reason.clone());
    told(one) == told(other)
}

fn summary(page: &mut String, components: &[Compared]) {
    page.push_str("\n| component |");
    for status in Status::ALL {
        write!(page, " {} |", status.words()).expect("text");
    }
    page.push_str("\n|---|--:|--:|--:|--:|--:|\n");
    for Compared { section, name, recorded, rows } in components {
        write!(page, "| `{section}/{name}` |").expect("text");
        for status in Status::ALL {
            let count = rows.iter().filter(|row| row.status == status).count();
            match count * usize::from(*recorded || status != Status::Ours) {
                0 => page.push_str(" |"),
                count => write!(page, " {count} |").expect("text"),
            }
        }
        page.push('\n');
    }
}

fn component_table(
    page: &mut String,
    component: &Compared,
    shared: &BTreeMap<String, BTreeMap<String, Row>>,
) {
    let mut embedded: Vec<&str> = Vec::new();
    let mut own = Vec::new();
    for row in &component.rows {
        let Some((of, path)) = &row.shared else {
            own.push((row.path.as_str(), row));
            continue;
        };
        if !is_same(row, &shared[of][path]) {
            own.push((row.path.as_str(), row));
        }
        let is_direct = *path == row.path || row.path.ends_with(&format!("::{path}")) && !path.contains("::");
        let is_led_to = component.rows.iter().any(|other| {
            other.leads_to.as_deref() == Some(of) && row.path.starts_with(&format!("{}::", other.path))
        });
        if is_direct && !is_led_to && !embedded.contains(&of.as_str()) {
            embedded.push(of);
        }
    }
    if !component.recorded {
        page.push_str("The Go collector's keys are not recorded: what is told here is only what is known of this side.\n\n");
    }
    if component.rows.is_empty() {
        page.push_str("It has no keys.\n");
        return;
    }
    if !embedded.is_empty() {
        let links: Vec<_> = embedded.iter().map(|of| link(of)).collect();
        write!(page, "Besides those below, it has the keys of {}.\n\n", links.join(", ")).expect("text");
    }
    if !own.is_empty() {
        table(page, component.recorded, own.into_iter());
    }
}

fn link(of: &str) -> String {
    let title = title(of);
    format!("[{title}](#{})", anchor(&title))
}

fn table<'a>(page: &mut String, recorded: bool, rows: impl Iterator<Item = (&'a str, &'a Row)>) {
    page.push_str("| key | default | meaning | Go collector |\n|---|---|---|---|\n");
    for (path, row) in rows {
        let Row { status, default, go_default, meaning, reason, leads_to, .. } = row;
        let is_guess = !recorded && *status == Status::Ours;
        let mut told = if is_guess { "not compared" } else { status.words() }.to_owned();
        if let (Some(go_default), Status::Different) = (go_default, status) {
            write!(told, ", default {go_default}").expect("text");
        }
        if let Some(reason) = reason {
            write!(told, ": {reason}").expect("text");
        }
        let mut meaning = if *status == Status::NotYet { String::new() } else { meaning.clone() };
        if let Some(of) = leads_to {
            write!(meaning, " See {}.", link(of)).expect("text");
        }
        let cells = [format!("`{path}`"), default.clone(), meaning.trim().to_owned(), told];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| {} |", cells.join(" | ")).expect("text");
    }
}
