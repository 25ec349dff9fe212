//! [`Node`] → typed configuration, reporting every mistake in one run.
//!
//! Typing is as strict as the Go collector's: a number is not text, `"5"` is not a number, keys are case-sensitive
//! and unknown keys are errors. A null leaves a field at its default.
//!
//! serde stops at the first error, so decoding is repeated: what failed is reported, left out, and the rest is tried
//! again. Each round removes at least one value, and rounds are bounded, so it ends.

mod access;
mod deserializer;
mod error;
pub(crate) mod markers;
mod overlay;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use serde::de::DeserializeOwned;

use self::access::Fields;
use self::deserializer::NodeDeserializer;
pub use self::error::DecodeError;
pub use self::overlay::overlay;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Entry, Node, Value};
use crate::parse::parse_tree;
use crate::source::Sources;
use crate::suggest;
use crate::validate::{Checker, Validate};

/// How many errors are reported for one component.
const MAX_ERRORS: usize = 100;

/// How many rounds decoding one component may take; nulls take one each.
const MAX_ROUNDS: usize = 2_000;

/// Keys of TLS that people write beside `tls`.
const TLS_KEYS: [&str; 8] = [
    "insecure",
    "insecure_skip_verify",
    "ca_file",
    "cert_file",
    "key_file",
    "client_ca_file",
    "server_name_override",
    "min_version",
];

/// Decodes a value and checks it. `path` is where the value stands (`exporters::otlp_http`). Reports every mistake
/// to `diags`; `None` if there was an error.
pub fn decode<T: DeserializeOwned + Validate>(node: &Node, path: &str, diags: &mut Diagnostics) -> Option<T> {
    let errors_before = diags.errors();
    let state = State::default();
    let value = rounds::<T>(node, path, &state, diags);
    let State { failed, misspelt, .. } = state;
    let (failed, misspelt) = (failed.into_inner(), misspelt.into_inner());
    if let Some(value) = &value {
        value.validate(&mut Checker::new(node, path, diags, &failed, &misspelt));
    }
    value.filter(|_| diags.errors() == errors_before)
}

/// The same over defaults of the component's own, written as YAML: see [`overlay`] for what they can say.
pub fn decode_over<T: DeserializeOwned + Validate>(
    defaults: &str,
    node: &Node,
    path: &str,
    diags: &mut Diagnostics,
) -> Option<T> {
    match over(defaults, node) {
        Ok(node) => decode(&node, path, diags),
        Err(problem) => {
            let message = format!("the built-in defaults are broken: {problem}");
            diags.push(Diagnostic::error(node.span, path, message));
            None
        }
    }
}

/// What the user wrote, over defaults written as YAML.
fn over(defaults: &str, node: &Node) -> Result<Node, String> {
    let mut sources = Sources::new();
    let mut problems = Diagnostics::new();
    let id = sources.add("defaults", defaults);
    match parse_tree(&sources, id, &mut problems) {
        Some(base) if problems.is_empty() => Ok(overlay(&base.unwritten(), node)),
        _ => Err(problems.render(&sources).trim_end().to_owned()),
    }
}

/// A section with a component's own defaults under it.
pub(crate) struct Overlaid<'a> {
    node: Cow<'a, Node>,
}

impl<'a> Overlaid<'a> {
    /// `None` if the defaults are broken, which [`decode_over`] reports.
    pub(crate) fn new(defaults: &str, node: &'a Node) -> Option<Self> {
        let node = match defaults {
            "{}" => Cow::Borrowed(node),
            defaults => Cow::Owned(over(defaults, node).ok()?),
        };
        Some(Self { node })
    }
}

/// Decodes without checking or reporting; `None` if there was an error.
pub(crate) fn read<T: DeserializeOwned>(section: &Overlaid<'_>) -> Option<T> {
    let mut diags = Diagnostics::new();
    let value = rounds::<T>(&section.node, "", &State::default(), &mut diags);
    value.filter(|_| !diags.has_errors())
}

/// The keys that are accepted in each map of a section, by the map's path.
pub(crate) fn keys<T: DeserializeOwned>(section: &Overlaid<'_>) -> BTreeMap<String, Vec<&'static str>> {
    let state = State { keys: Some(RefCell::default()), ..State::default() };
    rounds::<T>(&section.node, "", &state, &mut Diagnostics::new());
    state.keys.unwrap_or_default().into_inner()
}

/// What the rounds of one decoding share. Values are told apart by where they lie in memory, which does not change
/// while the tree is borrowed.
#[derive(Default)]
struct State {
    /// Values to leave out from now on.
    dropped: RefCell<HashSet<usize>>,
    /// Those of them that were left out for an error.
    failed: RefCell<HashSet<usize>>,
    /// Keys that an unknown key was probably meant to be, by map.
    misspelt: RefCell<HashSet<(usize, String)>>,
    /// Fields that keep their default where the key is null: learnt from the first such null.
    nullable: RefCell<HashSet<(Fields, String)>>,
    /// What was found besides the error that ends a round.
    found: RefCell<Diagnostics>,
    /// Where somebody asks for them: the keys that each map may have, by its path.
    keys: Option<RefCell<BTreeMap<String, Vec<&'static str>>>>,
}

impl State {
    /// Keeps a value out of everything that is shown.
    fn hide(&self, node: &Node) {
        self.found.borrow_mut().hidden.secret(node);
    }

    fn is_dropped(&self, node: &Node) -> bool {
        self.dropped.borrow().contains(&address(node))
    }

    fn ignores_null(&self, fields: Fields, entry: &Entry) -> bool {
        let plain_null = entry.value.is_null() && !entry.value.is_expanded();
        plain_null && self.nullable.borrow().contains(&(fields, entry.key.clone()))
    }

    fn ignore_nulls(&self, fields: Fields, entry: &Entry) {
        if entry.value.is_null() {
            self.nullable.borrow_mut().insert((fields, entry.key.clone()));
        }
    }

    /// Reports a key that its section does not have.
    fn unknown_key(&self, map: &Node, entry: &Entry, path: &str, accepted: &[&str]) {
        let key = &entry.key;
        let near = suggest::nearest(key, accepted.iter().copied());
        if let Some(near) = near {
            self.misspelt.borrow_mut().insert((address(map), near.to_owned()));
        }
        let below = if path.is_empty() { key.clone() } else { format!("{path}::{key}") };
        let help = if accepted.is_empty() {
            Some("this section takes no keys".to_owned())
        } else if accepted.contains(&"tls") && TLS_KEYS.contains(&key.as_str()) {
            Some(format!("write it below `tls`: `tls: {{{key}: …}}`"))
        } else {
            suggest::advice(key, "keys", accepted)
        };
        let error = Diagnostic::error(entry.key_span, &below, format!("unknown key `{key}`")).help(help);
        let mut found = self.found.borrow_mut();
        found.hidden.unknown_key(entry, near);
        found.push(error);
    }
}

/// Tells values of one borrowed tree apart.
pub(crate) fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

fn rounds<T: DeserializeOwned>(node: &Node, path: &str, state: &State, diags: &mut Diagnostics) -> Option<T> {
    let mut errors = 0;
    for _ in 0..MAX_ROUNDS {
        let result = T::deserialize(NodeDeserializer::root(node, path, state));
        diags.append(state.found.take());
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let silent = error.is_silent() || follows_from_a_drop(&error, node, state);
        if !silent {
            diags.push(error.diagnostic(node, path));
            errors += 1;
            if errors == MAX_ERRORS {
                diags.push(Diagnostic::error(node.span, path, "there are more errors here than are shown"));
                return None;
            }
        }
        // The innermost value that can be left out and has not been.
        let mut dropped = state.dropped.borrow_mut();
        let culprit = error.enclosing().find(|address| !dropped.contains(address))?;
        dropped.insert(culprit);
        if !error.is_silent() {
            state.failed.borrow_mut().insert(culprit);
        }
    }
    diags.push(Diagnostic::error(node.span, path, "this section is too irregular to be read"));
    None
}

/// Whether a required key is only missing because its value was left out, or spelt wrongly.
fn follows_from_a_drop(error: &DecodeError, root: &Node, state: &State) -> bool {
    let Some(field) = error.missing_key() else { return false };
    let site = error.site_address();
    let dropped = state.failed.borrow();
    state.misspelt.borrow().contains(&(site, field.to_owned()))
        || find(root, site)
            .and_then(Node::as_map)
            .and_then(|map| map.get(field))
            .is_some_and(|value| dropped.contains(&address(value)))
}

fn find(node: &Node, wanted: usize) -> Option<&Node> {
    if address(node) == wanted {
        return Some(node);
    }
    match &node.value {
        Value::Seq(items) => items.iter().find_map(|item| find(item, wanted)),
        Value::Map(map) => map.iter().find_map(|entry| find(&entry.value, wanted)),
        _ => None,
    }
}
