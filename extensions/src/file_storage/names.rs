//! Names of folders: whose they are, so that nobody's is taken for another's, and in characters that every file system
//! takes.

use millrace_engine::storage::Owner;
use millrace_wire::Signal;
use std::fmt::Write as _;

/// The longest name that is used as it is; file systems take 255 bytes.
const LONGEST: usize = 200;

/// The name of an owner's folder: `exporter-otlp_grpc-eu-traces.queue`.
///
/// Parts are separated by what no part has in it, and the last one says how many there are: no two owners share a name.
#[must_use]
pub fn folder(owner: &Owner) -> String {
    let Owner { kind, id, pipeline, signal, what, .. } = owner;
    let mut name = safe(kind);
    let mut part = |text: &str| {
        name.push('-');
        name.push_str(&safe(text));
    };
    part(id.type_name());
    if let Some(name) = id.name() {
        part(name);
    }
    match pipeline {
        Some(pipeline) => part(pipeline),
        None => part(signal.name()),
    }
    if name.len() > LONGEST {
        let hash = fingerprint(&name);
        let end = name.floor_char_boundary(LONGEST);
        name.truncate(end);
        let _ = write!(name, "~{hash:016x}");
    }
    format!("{name}.{what}")
}

/// The kind of telemetry in a folder: the last part of its name, or the beginning of that where it is a pipeline. A name
/// that has been cut does not say it.
#[must_use]
pub fn signal_of(folder: &str) -> Option<Signal> {
    let (name, _) = folder.rsplit_once('.')?;
    let (_, last) = name.rsplit_once('-')?;
    Signal::from_name(last.split('~').next()?)
}

/// Whether it looks like the name of such a folder.
#[must_use]
pub fn is_folder(name: &str) -> bool {
    let kinds = ["exporter-", "processor-", "connector-", "receiver-"];
    let is_safe = |character: char| character.is_ascii_alphanumeric() || "_.-~".contains(character);
    name.contains('.') && kinds.iter().any(|kind| name.starts_with(kind)) && name.chars().all(is_safe)
}

/// Letters, digits, `_` and `.` stay; everything else becomes `~` and its number, four hexadecimal digits at least.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || "_.".contains(character) {
            safe.push(character);
        } else {
            let _ = write!(safe, "~{:04X}", u32::from(character));
        }
    }
    safe
}

/// FNV-1a: it has to be the same for ever, and names are nobody's attack.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn owner(id: &str) -> Owner {
        Owner {
            kind: "exporter",
            id: id.parse().expect("an id"),
            namesakes: Arc::default(),
            pipeline: None,
            signal: Signal::Traces,
            what: "queue",
        }
    }

    #[test]
    fn a_folder_says_whose_it_is() {
        assert_eq!(folder(&owner("otlp_grpc")), "exporter-otlp_grpc-traces.queue");
        assert_eq!(signal_of("exporter-otlp_grpc-traces.queue"), Some(Signal::Traces));
        assert_eq!(folder(&owner("otlp_grpc/eu")), "exporter-otlp_grpc-eu-traces.queue");
        let processor =
            Owner { kind: "processor", pipeline: Some("logs/a".to_owned()), ..owner("queue_batch") };
        assert_eq!(folder(&processor), "processor-queue_batch-logs~002Fa.queue");
        assert_eq!(signal_of(&folder(&processor)), Some(Signal::Logs));
        assert_eq!(signal_of("something"), None);
        assert!(is_folder(&folder(&processor)) && !is_folder("exporter_otlp__traces"));
        assert!(!is_folder("exporter-a\u{1b}[2J-logs.queue") && !is_folder("exporter-a\n-logs.queue"));
    }

    #[test]
    fn no_two_owners_share_a_folder_and_every_name_is_safe() {
        let ids =
            ["a", "a/b", "a/b-traces", "a/b_traces", "a_b", "a/_b", "a/b.queue", "a/traces", "a/é", "a/E9"];
        let names: BTreeSet<_> = ids.iter().map(|id| folder(&owner(id))).collect();
        assert_eq!(names.len(), ids.len(), "{names:?}");
        let safe =
            |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte));
        assert!(names.iter().all(safe), "{names:?}");
    }

    #[test]
    fn long_names_are_cut_and_told_apart() {
        let long = format!("a/{}", "x".repeat(1000));
        let (one, other) = (folder(&owner(&long)), folder(&owner(&format!("{long}y"))));
        assert!(one.len() < 255 && other.len() < 255);
        assert_ne!(one, other);
    }
}
