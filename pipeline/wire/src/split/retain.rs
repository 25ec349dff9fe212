//! Keeping some items and dropping the others.

use super::Item;
use super::assembly::Assembly;
use super::tree::{Headers, Path, REQUEST, is_child, leaf_level};
use crate::Payload;
use crate::place::{Place, Places};

/// Keeps the items for which `keep` says so; returns them, and how many were dropped.
///
/// Containers that this empties are removed, those that were empty before are not. Containers that lose nothing are
/// copied as they are, and if nothing is dropped at all the very same bytes come back.
pub fn retain(payload: &Payload, mut keep: impl FnMut(&Item<'_>) -> bool) -> (Payload, u32) {
    if payload.items() == 0 {
        return (payload.clone(), 0);
    }
    let Some(leaf) = leaf_level(payload.signal()) else {
        return match keep(&Item::opaque(payload.bytes())) {
            true => (payload.clone(), 0),
            false => (Payload::empty(payload.signal()), payload.items()),
        };
    };
    let mut filter = Filter {
        input: payload.bytes(),
        leaf,
        keep,
        headers: Headers::default(),
        path: Path::default(),
        kept: Assembly::default(),
        dropped: 0,
    };
    filter.walk(REQUEST, 0, payload.len());
    let Filter { kept, headers, dropped, .. } = filter;
    if dropped == 0 {
        return (payload.clone(), 0);
    }
    (kept.finish(payload.signal(), payload.bytes(), &headers), dropped)
}

struct Filter<'a, F> {
    input: &'a [u8],
    leaf: usize,
    keep: F,
    headers: Headers,
    path: Path,
    kept: Assembly,
    dropped: u32,
}

impl<F: FnMut(&Item<'_>) -> bool> Filter<'_, F> {
    fn walk(&mut self, level: usize, start: usize, end: usize) {
        let mut item = Item::template(self.input, &self.path, self.leaf);
        for child in Places::within(self.input, start, end).filter(|place| is_child(level, place)) {
            if level == self.leaf {
                item.bytes = child.value(self.input);
                if (self.keep)(&item) {
                    self.kept.copy(&self.path, level, child.start, child.end, 1);
                } else {
                    self.dropped += 1;
                }
            } else {
                self.container(level, &child);
            }
        }
    }

    fn container(&mut self, level: usize, place: &Place) {
        let (mark, dropped_before) = (self.kept.mark(), self.dropped);
        self.path[level + 1] = self.headers.enter(self.input, level + 1, place);
        self.walk(level + 1, place.body, place.end);
        if self.dropped == dropped_before {
            let items = self.kept.items_since(&mark);
            self.kept.back_to(&mark);
            self.kept.copy(&self.path, level, place.start, place.end, items);
        }
    }
}
