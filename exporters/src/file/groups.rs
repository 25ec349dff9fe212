//! One file for each value of a resource attribute.
//!
//! # Invariants
//! - No value of the attribute leads out of the part of the path before the `*`.
//! - With rotation, no value's file is taken for one that was moved aside from another's.
//! - No more files are open than the configuration allows, and a file that is opened again is added to.
//! - A batch is in all of its files or in none, as far as files can be cut back.

use super::config::Config;
use super::medium::Opening;
use super::message::Layout;
use super::rotation::apart;
use super::shared::{self, OpenError, Shared, Written};
use millrace_engine::component::Context;
use millrace_engine::{Batch, Failure, Fault, Reason};
use millrace_telemetry::warn_sparingly;
use millrace_wire::split::by_key;
use millrace_wire::view::Resource;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many paths are remembered as opened; every further one is never emptied.
const SEEN_MAX: usize = 100_000;

/// The files of one exporter.
pub(super) struct Groups {
    config: Config,
    pattern: Pattern,
    layout: Layout,
    max_open: usize,
    open: HashMap<String, Open>,
    /// By when they were used last.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    seen: Arc<Seen>,
}

struct Open {
    writer: Shared,
    used: u64,
}

/// The paths that an exporter has opened, by their hashes: they are not to be emptied any more, whether the exporter has
/// closed them in between or has been replaced by another of its name.
#[derive(Default)]
pub(super) struct Seen {
    hashes: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Seen {
    /// What exporters of that name have opened since there is one.
    pub(super) fn of(context: &Context) -> Arc<Self> {
        let (lasting, key) = (&context.shared.lasting, context.id.to_string());
        lasting.find(&key).unwrap_or_else(|| {
            let seen = Arc::default();
            lasting.put(&key, &seen);
            seen
        })
    }

    /// Notes a path; whether it is new.
    fn note(&self, path: &str) -> bool {
        let mut hashes = self.hashes();
        hashes.len() < SEEN_MAX && hashes.insert(self.hasher.hash_one(path))
    }

    fn forget(&self, path: &str) {
        self.hashes().remove(&self.hasher.hash_one(path));
    }

    fn hashes(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    pub(super) fn new(config: &Config, seen: Arc<Seen>) -> Self {
        Self {
            config: config.clone(),
            pattern: Pattern::new(&config.path),
            layout: Layout::of(config),
            max_open: usize::try_from(config.group_by.max_open_files).unwrap_or(1).max(1),
            open: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            seen,
        }
    }

    /// The most memory that writing a batch of `bytes` takes.
    pub(super) fn most(&self, bytes: u64) -> u64 {
        self.layout.most(bytes)
    }

    /// Writes a batch, and says how many items of it have no file: they lack the attribute, or its value is no path.
    /// Blocks.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<u64, Failure> {
        let Divided { groups, without } = divide(batch, self.config.group_by.resource_attribute.as_bytes());
        if without > 0 {
            warn_sparingly!(
                attribute = self.config.group_by.resource_attribute,
                dropped_items = without,
                "some resources have no such attribute, or it is not text; dropping them"
            );
        }
        let mut rejected = without;
        // By their paths, not their files: a batch may have more groups than files may be open.
        let mut written: Vec<(String, Written)> = Vec::new();
        for (segment, group) in groups {
            let mut path = self.pattern.path(&segment);
            if self.config.rotation.is_on() {
                path = apart(path);
            }
            match self.write_group(path.clone(), &group) {
                Ok(done) => written.push((path, done)),
                Err(failure) if failure.is_transient() || failure.reason == Reason::TooLarge => {
                    // The whole batch will come again.
                    self.undo(written);
                    return Err(failure);
                }
                Err(failure) => {
                    let items = group.cost().items;
                    warn_sparingly!(error = %failure, dropped_items = items, "a group has no file; dropping it");
                    rejected += items;
                }
            }
        }
        Ok(rejected)
    }

    fn write_group(&mut self, path: String, group: &Batch) -> Result<Written, Failure> {
        let writer = self.writer(path).map_err(|error| refusal(&error))?;
        writer.blocking_lock().write(group)
    }

    /// Takes back what was written last, the last first: its files are those that are still open.
    fn undo(&mut self, written: Vec<(String, Written)>) {
        for (path, written) in written.into_iter().rev() {
            // What cannot be opened again stays, and will be there twice.
            if let Ok(writer) = self.writer(path) {
                writer.blocking_lock().undo(written);
            }
        }
    }

    fn writer(&mut self, path: String) -> Result<Shared, OpenError> {
        self.uses += 1;
        let now = self.uses;
        if let Some(open) = self.open.get_mut(&path) {
            let before = std::mem::replace(&mut open.used, now);
            self.by_use.remove(&before);
            let writer = Shared::clone(&open.writer);
            self.by_use.insert(now, path);
            return Ok(writer);
        }
        while self.open.len() >= self.max_open
            && let Some((_, longest_unused)) = self.by_use.pop_first()
        {
            self.open.remove(&longest_unused);
        }
        let is_new = self.seen.note(&path);
        let opening = Opening {
            path: path.clone().into(),
            append: self.config.append || !is_new,
            directory_mode: Some(self.config.group_directory_mode()),
        };
        let writer =
            shared::writer(opening, self.layout, self.config.rotation.as_option()).inspect_err(|_| {
                if is_new {
                    self.seen.forget(&path);
                }
            })?;
        self.open.insert(path.clone(), Open { writer: Shared::clone(&writer), used: now });
        self.by_use.insert(now, path);
        Ok(writer)
    }
}

/// What a file that cannot be opened means for its group: if it is because of the path, it will never do.
fn refusal(error: &OpenError) -> Failure {
    let is_the_path = match error {
        OpenError::OtherLayout { .. } => true,
        OpenError::File { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
        ),
    };
    if is_the_path {
        Failure::permanent(Fault::Destination, Reason::Rejected, error.to_string())
    } else {
        Failure::transient(Fault::Destination, Reason::Storage, error.to_string())
    }
}

/// A batch by the values of an attribute.
struct Divided {
    groups: Vec<(Box<str>, Batch)>,
    /// Items of resources that do not have it, or have something other than text there.
    without: u64,
}

fn divide(batch: &Batch, attribute: &[u8]) -> Divided {
    let mut groups: Vec<(Box<str>, Batch)> = Vec::new();
    let mut index: HashMap<Box<str>, usize> = HashMap::new();
    let mut without = 0;
    for piece in batch.pieces() {
        let mut last = None;
        let parts = by_key(&piece.payload, |item| match last {
            Some((resource, group)) if resource == item.resource_index => group,
            _ => {
                let value = Resource::over(item.resource).attributes().get(attribute);
                let text = value.and_then(|value| value.as_text());
                let group = text.map(|text| group(&mut groups, &mut index, &text.to_str_lossy(), batch));
                last = Some((item.resource_index, group));
                group
            }
        });
        for (group, payload) in parts {
            match group {
                Some(at) => groups[at].1.push(piece.with_payload(payload)),
                None => without += u64::from(payload.items()),
            }
        }
    }
    Divided { groups, without }
}

fn group(
    groups: &mut Vec<(Box<str>, Batch)>,
    index: &mut HashMap<Box<str>, usize>,
    segment: &str,
    batch: &Batch,
) -> usize {
    if let Some(&at) = index.get(segment) {
        return at;
    }
    groups.push((segment.into(), Batch::empty(batch.signal())));
    index.insert(segment.into(), groups.len() - 1);
    groups.len() - 1
}

/// The path before and after the `*`.
#[derive(Debug)]
struct Pattern {
    prefix: String,
    suffix: String,
}

impl Pattern {
    fn new(path: &str) -> Self {
        let (prefix, suffix) = path.split_once('*').unwrap_or((path, ""));
        let mut clean = cleaned(prefix);
        if prefix.ends_with('/') && !clean.ends_with('/') {
            clean.push('/');
        }
        Self { prefix: clean, suffix: suffix.to_owned() }
    }

    /// The path for a value. What would lead elsewhere is put below the prefix, as in Go.
    fn path(&self, segment: &str) -> String {
        let Self { prefix, suffix } = self;
        let segment = match segment {
            _ if segment.starts_with("./") => &segment[1..],
            _ if segment.starts_with("../") => &segment[2..],
            _ => segment,
        };
        let path = cleaned(&format!("{prefix}{segment}{suffix}"));
        if path.starts_with(prefix) {
            return path;
        }
        cleaned(&format!("{prefix}/{}", cleaned(&format!("/{segment}{suffix}"))))
    }
}

/// The shortest path that leads to the same place without looking at the disk: Go's `path.Clean`.
fn cleaned(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_rooted => {}
            part => parts.push(part),
        }
    }
    match (is_rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_go_collector() {
        for (pattern, segment, path) in [
            ("/data/*.json", "app", "/data/app.json"),
            ("/data/*.json", "a/b", "/data/a/b.json"),
            ("/data/*.json", "../etc/my_config", "/data/etc/my_config.json"),
            ("/data/*.json", "./x", "/data/x.json"),
            ("/data/*.json", "/x", "/data/x.json"),
            ("/data/*.json", "a/../../../etc/passwd", "/data/etc/passwd.json"),
            ("/data/*.json", "", "/data/.json"),
            ("/data/app-*.json", "x/../../etc", "/data/app-/etc.json"),
            ("/data/app-*", "1", "/data/app-1"),
            ("./out/*.json", "a", "out/a.json"),
            ("./*.json", "a", "a.json"),
            ("./*.json", "../../a", "a.json"),
            ("/*", "x", "/x"),
            ("/data/*/log.json", "t1", "/data/t1/log.json"),
            ("/data/*/log.json", "..", "/data/log.json"),
        ] {
            assert_eq!(Pattern::new(pattern).path(segment), path, "{pattern} {segment}");
        }
    }

    #[test]
    fn cleaning_is_gos() {
        for (path, clean) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/./b/..", "a"),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("a/../..", ".."),
        ] {
            assert_eq!(cleaned(path), clean, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_value_leads_out_of_the_prefix(segment in "(\\.|/|\\.\\./|[a-z]){0,12}") {
            for pattern in ["/data/*.json", "/data/app-*", "/data/*/x", "out/*"] {
                let path = Pattern::new(pattern).path(&segment);
                let folder = if pattern.starts_with('/') { "/data" } else { "out" };
                prop_assert!(path.starts_with(folder), "{pattern} {segment}: {path}");
                prop_assert!(!path.split('/').any(|part| part == ".."), "{pattern} {segment}: {path}");
            }
        }
    }
}
