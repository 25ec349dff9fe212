//! Dividing by a key of each item.

use super::Item;
use super::assembly::Assembly;
use super::tree::{Headers, Path, REQUEST, is_child, leaf_level};
use crate::Payload;
use crate::mix::Seeded;
use crate::place::{Place, Places};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Divides a payload by a key of its items; parts come in the order in which their keys were first met.
///
/// The key may be anything: a shard number, a trace id, a tenant. `key` is called once per item, in order, and the
/// payload is walked once. If all items have one key, the part is the payload itself. Containers without items belong
/// to no part, unless there is but one.
///
/// Every part repeats the headers of its items' containers, so the output is at most
/// `input + parts × (resource + scope + metric header)`: who calls it with many keys bounds their number.
pub fn by_key<K: Eq + Hash + Copy>(
    payload: &Payload,
    mut key: impl FnMut(&Item<'_>) -> K,
) -> Vec<(K, Payload)> {
    if payload.items() == 0 {
        return Vec::new();
    }
    let Some(leaf) = leaf_level(payload.signal()) else {
        return vec![(key(&Item::opaque(payload.bytes())), payload.clone())];
    };
    let mut split = Split {
        input: payload.bytes(),
        leaf,
        key,
        headers: Headers::default(),
        path: Path::default(),
        parts: Vec::new(),
        index: HashMap::default(),
    };
    split.walk(REQUEST, 0, payload.len());
    let Split { mut parts, headers, .. } = split;
    if let [(key, _)] = parts[..] {
        return vec![(key, payload.clone())];
    }
    let finish = |(key, part): (K, Assembly)| (key, part.finish(payload.signal(), payload.bytes(), &headers));
    parts.drain(..).map(finish).collect()
}

struct Split<'a, K, F> {
    input: &'a [u8],
    leaf: usize,
    key: F,
    headers: Headers,
    path: Path,
    parts: Vec<(K, Assembly)>,
    index: HashMap<K, usize, Seeded>,
}

impl<K: Eq + Hash + Copy, F: FnMut(&Item<'_>) -> K> Split<'_, K, F> {
    fn walk(&mut self, level: usize, start: usize, end: usize) {
        if level == self.leaf {
            return self.items(start, end);
        }
        for child in Places::within(self.input, start, end).filter(|place| is_child(level, place)) {
            self.path[level + 1] = self.headers.enter(self.input, level + 1, &child);
            self.walk(level + 1, child.body, child.end);
        }
    }

    fn items(&mut self, start: usize, end: usize) {
        let (input, leaf) = (self.input, self.leaf);
        let mut item = Item::template(input, &self.path, leaf);
        for place in Places::within(input, start, end).filter(|place| is_child(leaf, place)) {
            item.bytes = place.value(input);
            let key = (self.key)(&item);
            self.append(key, &place);
        }
    }

    #[inline]
    fn append(&mut self, key: K, place: &Place) {
        let at = match self.index.entry(key) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.parts.push((key, Assembly::default()));
                *entry.insert(self.parts.len() - 1)
            }
        };
        self.parts[at].1.copy(&self.path, self.leaf, place.start, place.end, 1);
    }
}
