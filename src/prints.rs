//! What tells whether a component has changed since it was built: its section, the files that the section names, and
//! the extensions that it refers to.

use millrace_config::catalog::Kind;
use millrace_config::load::{Component, Wanted};
use millrace_config::{ComponentId, Node, Value};
use millrace_engine::graph::Print;
use millrace_processors::memory_limiter::Limits;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;

/// Keys whose value names a file that is read when a component is built: certificates, tokens, passwords.
const FILE_KEYS: [&str; 3] = ["_file", "filename", "file"];

/// The prints of the components of one configuration.
#[derive(Default)]
pub struct Prints(BTreeMap<(&'static str, ComponentId), Own>);

struct Own {
    print: Print,
    wanted: Vec<ComponentId>,
}

impl Prints {
    /// Takes note of a component, and of the extensions that it refers to.
    pub fn note(&mut self, component: &Component, section: &Node, wanted: &[Wanted]) {
        let mut hasher = DefaultHasher::new();
        component.canonical.hash(&mut hasher);
        section.print().hash(&mut hasher);
        files(section, &mut |path| stamp(path).hash(&mut hasher));
        let own =
            Own { print: hasher.finish(), wanted: wanted.iter().map(|wanted| wanted.id.clone()).collect() };
        self.0.insert((kind(component.kind), component.id.clone()), own);
    }

    /// The print of each, with all that it refers to. What receivers take depends on the memory that there is.
    pub fn finish(self, limits: &[Limits]) -> BTreeMap<(&'static str, ComponentId), Print> {
        let print = |key: &(&'static str, ComponentId)| {
            let mut hasher = DefaultHasher::new();
            self.whole(key, 0).hash(&mut hasher);
            if key.0 == kind(Kind::Receiver) {
                limits.iter().for_each(|limits| limits.intake_bytes.hash(&mut hasher));
            }
            (key.clone(), hasher.finish())
        };
        self.0.keys().map(print).collect()
    }

    /// Extensions may refer to one another; in a circle only in configurations that are refused.
    fn whole(&self, key: &(&'static str, ComponentId), depth: usize) -> Print {
        let Some(own) = self.0.get(key) else { return 0 };
        let mut hasher = DefaultHasher::new();
        own.print.hash(&mut hasher);
        if depth <= self.0.len() {
            for id in &own.wanted {
                self.whole(&(kind(Kind::Extension), id.clone()), depth + 1).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => "receiver",
        Kind::Processor => "processor",
        Kind::Exporter => "exporter",
        Kind::Connector => "connector",
        Kind::Extension => "extension",
    }
}

/// Tells of each file that a section names.
fn files(node: &Node, tell: &mut impl FnMut(&str)) {
    match &node.value {
        Value::Map(map) => {
            for entry in map.iter() {
                match entry.value.as_text() {
                    Some(path) if FILE_KEYS.iter().any(|key| entry.key.ends_with(key)) => tell(path),
                    _ => files(&entry.value, tell),
                }
            }
        }
        Value::Seq(items) => items.iter().for_each(|item| files(item, tell)),
        _ => {}
    }
}

/// What tells a file from what it was when it was read.
fn stamp(path: &str) -> Option<(u64, u64, i64, i64, u64)> {
    let file = fs::metadata(path).ok().filter(|file| file.is_file())?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
}
