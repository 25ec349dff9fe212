//! Joining payloads: end to end, or grouped by what they are about.
//!
//! # Invariants
//! - Nothing is looked into below the scope's children: spans, log records and metrics are copied as ranges. Metrics
//!   of one name stay side by side.
//! - Work and memory are linear in the input: hashing is seeded, and equal hashes are compared byte by byte.

use crate::cursor::{WireType, varint_len};
use crate::mix::{Seeded, hash_bytes};
use crate::place::{Place, Places};
use crate::split::tree::{Headers, REQUEST, RESOURCE, SCOPE, is_child, leaf_level};
use crate::writer::{put_tag, put_varint};
use crate::{Payload, Signal};
use bytes::Bytes;
use std::collections::HashMap;
use thiserror::Error;

/// Why payloads cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MergeError {
    /// No payloads were given.
    #[error("there is nothing to merge; give at least one payload")]
    Nothing,
    /// Payloads of different signals.
    #[error("{0} and {1} cannot be merged; merge each signal by itself")]
    MixedSignals(Signal, Signal),
    /// More than one profiles request: each has a dictionary of its own, addressed by index.
    #[error("profiles cannot be merged; send each request by itself")]
    Profiles,
}

/// Lays payloads of one signal end to end. A single one that is not empty comes back without being copied.
///
/// # Errors
/// See [`MergeError`].
pub fn concat(payloads: &[Payload]) -> Result<Payload, MergeError> {
    let signal = common_signal(payloads)?;
    let mut filled = payloads.iter().filter(|payload| !payload.is_empty());
    let (Some(first), second) = (filled.next(), filled.next()) else {
        return Ok(Payload::empty(signal));
    };
    if second.is_none() {
        return Ok(first.clone());
    }
    let mut out = Vec::with_capacity(payloads.iter().map(Payload::len).sum());
    for payload in payloads {
        out.extend_from_slice(payload.bytes());
    }
    Ok(Payload::vouched(signal, total_items(payloads), Bytes::from(out)))
}

/// Joins payloads of one signal so that each resource, and in it each scope, occurs once.
///
/// Two resources are the same if everything in them besides their scopes is equal byte for byte (the `Resource`, the
/// schema URL, unknown fields, in this order of the wire), and so with scopes. Resources, scopes and what is in them
/// keep the order of their first appearance. Where there is nothing to join, this is [`concat()`].
///
/// # Errors
/// See [`MergeError`].
pub fn regroup(payloads: &[Payload]) -> Result<Payload, MergeError> {
    let signal = common_signal(payloads)?;
    if leaf_level(signal).is_none() {
        return concat(payloads);
    }
    let mut groups = Groups::default();
    for payload in payloads {
        groups.add(payload.bytes());
    }
    if !groups.joined {
        return concat(payloads);
    }
    Ok(Payload::vouched(signal, total_items(payloads), Bytes::from(groups.write())))
}

fn common_signal(payloads: &[Payload]) -> Result<Signal, MergeError> {
    let signal = payloads.first().ok_or(MergeError::Nothing)?.signal();
    if let Some(other) = payloads.iter().find(|payload| payload.signal() != signal) {
        return Err(MergeError::MixedSignals(signal, other.signal()));
    }
    if signal == Signal::Profiles && payloads.iter().filter(|payload| !payload.is_empty()).count() > 1 {
        return Err(MergeError::Profiles);
    }
    Ok(signal)
}

fn total_items(payloads: &[Payload]) -> u32 {
    // Saturation would take gigabytes of the smallest possible items.
    payloads.iter().fold(0, |sum, payload| sum.saturating_add(payload.items()))
}

/// A resource or a scope, of which the input may have several occurrences.
struct Group<'a> {
    header: (usize, usize),
    /// Of a resource: its scopes.
    scopes: Vec<usize>,
    /// Of a scope: runs of its children.
    runs: Vec<&'a [u8]>,
}

/// Which resource a group is in (a scope's), the hash of its header, and which of those it is.
type Key = (usize, u64, u32);

/// What [`Key`] has in place of a resource when it stands for a resource itself.
const NONE: usize = usize::MAX;

#[derive(Default)]
struct Groups<'a> {
    headers: Headers,
    /// Resources and scopes, in order of first appearance.
    groups: Vec<Group<'a>>,
    resources: Vec<usize>,
    index: HashMap<Key, usize, Seeded>,
    joined: bool,
}

impl<'a> Groups<'a> {
    fn add(&mut self, input: &'a [u8]) {
        for resource in children(input, REQUEST, 0, input.len()) {
            let at = self.group(input, RESOURCE, &resource, NONE);
            for scope in children(input, RESOURCE, resource.body, resource.end) {
                let at = self.group(input, SCOPE, &scope, at);
                self.take_children(input, at, &scope);
            }
        }
    }

    /// The group that an occurrence belongs to.
    fn group(&mut self, input: &[u8], level: usize, place: &Place, parent: usize) -> usize {
        let header = self.headers.enter(input, level, place).header;
        let hash = hash_bytes(self.headers.get(header));
        // Different headers of one hash, should they ever occur, are told apart by a running number.
        for nth in 0.. {
            let known = self.index.get(&(parent, hash, nth)).copied();
            match known {
                Some(at) if self.headers.get(self.groups[at].header) != self.headers.get(header) => {}
                Some(at) => {
                    self.joined = true;
                    return at;
                }
                None => {
                    self.index.insert((parent, hash, nth), self.groups.len());
                    break;
                }
            }
        }
        let at = self.groups.len();
        self.groups.push(Group { header, scopes: Vec::new(), runs: Vec::new() });
        match self.groups.get_mut(parent) {
            Some(resource) => resource.scopes.push(at),
            None => self.resources.push(at),
        }
        at
    }

    fn take_children(&mut self, input: &'a [u8], group: usize, scope: &Place) {
        let runs = &mut self.groups[group].runs;
        let mut run = 0..0;
        for child in children(input, SCOPE, scope.body, scope.end) {
            if child.start != run.end {
                runs.extend((!run.is_empty()).then(|| &input[run]));
                run = child.start..child.start;
            }
            run.end = child.end;
        }
        runs.extend((!run.is_empty()).then(|| &input[run]));
    }

    fn write(&self) -> Vec<u8> {
        let mut lens = vec![0; self.groups.len()];
        let mut total = 0;
        for &resource in &self.resources {
            let mut inside = 0;
            for &scope in &self.groups[resource].scopes {
                let children: usize = self.groups[scope].runs.iter().map(|run| run.len()).sum();
                lens[scope] = self.header(scope).len() + children;
                inside += 1 + varint_len(lens[scope] as u64) + lens[scope];
            }
            lens[resource] = self.header(resource).len() + inside;
            total += 1 + varint_len(lens[resource] as u64) + lens[resource];
        }

        let mut out = Vec::with_capacity(total);
        for &resource in &self.resources {
            self.begin(&mut out, REQUEST_CHILD, resource, lens[resource]);
            for &scope in &self.groups[resource].scopes {
                self.begin(&mut out, RESOURCE_CHILD, scope, lens[scope]);
                for run in &self.groups[scope].runs {
                    out.extend_from_slice(run);
                }
            }
        }
        debug_assert_eq!(out.len(), total);
        out
    }

    fn begin(&self, out: &mut Vec<u8>, number: u32, group: usize, len: usize) {
        put_tag(out, number, WireType::Len);
        put_varint(out, len as u64);
        out.extend_from_slice(self.header(group));
    }

    fn header(&self, group: usize) -> &[u8] {
        self.headers.get(self.groups[group].header)
    }
}

/// The field number of resources in a request.
const REQUEST_CHILD: u32 = 1;
/// The field number of scopes in a resource.
const RESOURCE_CHILD: u32 = 2;

fn children(input: &[u8], level: usize, start: usize, end: usize) -> impl Iterator<Item = Place> {
    Places::within(input, start, end).filter(move |place| is_child(level, place))
}
