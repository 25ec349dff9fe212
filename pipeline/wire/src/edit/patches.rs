//! What the rewritten bytes differ in, and their writing.

use super::message::{Message, State};
use crate::cursor::WireType;
use crate::place::Place;
use crate::writer::{put_tag, put_varint};

/// A range of the input and what takes its place, in `Patches::bytes`.
#[derive(Debug, Clone, Copy, Default)]
struct Patch {
    start: usize,
    end: usize,
    from: usize,
    to: usize,
}

/// All changes so far, in the order of the input. No two overlap.
///
/// A message is opened before anything in it is patched and closed afterwards, so that its new length is known when
/// it is closed, and the patch of its length is already in its place.
#[derive(Debug, Default)]
pub(super) struct Patches {
    list: Vec<Patch>,
    bytes: Vec<u8>,
    /// How much longer than the input the output is so far.
    growth: isize,
}

/// A message that has been opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    index: usize,
    growth: isize,
}

impl Patches {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Opens a message, whose length may have to change.
    pub fn open(&mut self, place: &Place) -> Opened {
        let opened = Opened { index: self.list.len(), growth: self.growth };
        let at = self.bytes.len();
        self.list.push(Patch { start: place.after_tag, end: place.after_tag, from: at, to: at });
        opened
    }

    /// Closes a message.
    pub fn close(&mut self, opened: Opened, place: &Place) {
        if self.list.len() == opened.index + 1 {
            self.list.truncate(opened.index);
            return;
        }
        let old_len = place.end - place.body;
        let new_len = old_len.saturating_add_signed(self.growth - opened.growth);
        if new_len != old_len {
            let from = self.bytes.len();
            put_varint(&mut self.bytes, new_len as u64);
            self.list[opened.index].end = place.body;
            (self.list[opened.index].from, self.list[opened.index].to) = (from, self.bytes.len());
            self.growth += (self.bytes.len() - from) as isize - (place.body - place.after_tag) as isize;
        }
    }

    /// Removes a message that has been opened, whatever has been changed in it.
    pub fn remove(&mut self, opened: Opened, place: &Place) {
        self.list.truncate(opened.index);
        self.growth = opened.growth;
        self.replace((place.start, place.end), &[]);
    }

    /// Adds the changes of a message's own fields, after those of the messages in it.
    pub fn add<L>(&mut self, opened: Opened, message: &Message<'_, L>) {
        if !message.is_changed() {
            return;
        }
        let inside = opened.index + 1;
        let others = self.list.len() > inside;
        for slot in message.slots() {
            match slot.state {
                State::Kept => {}
                State::Written => self.replace(slot.old, message.raw(slot)),
                State::Gone if slot.old.0 < slot.old.1 => self.replace(slot.old, &[]),
                State::Gone => {}
            }
        }
        if others {
            self.sort_from(inside);
        }
    }

    /// Adds the changes of a message (`number` in its parent) after those of the messages beside it. If it was absent
    /// it becomes the last field of `parent`.
    pub fn add_nested<L>(&mut self, opened: Opened, message: &Message<'_, L>, number: u32, parent: &Place) {
        if !message.is_changed() {
            return;
        }
        let others = self.list.len() > opened.index + 1;
        match message.place() {
            Some(place) => {
                let inner = self.open(&place);
                self.add(inner, message);
                self.close(inner, &place);
            }
            None => self.append(message, number, parent.end),
        }
        if others {
            self.sort_from(opened.index + 1);
        }
    }

    /// Adds the changes of a message in which nothing else is edited, or its removal.
    pub fn add_leaf<L>(&mut self, message: &Message<'_, L>, place: &Place, removed: bool) {
        if removed {
            self.replace((place.start, place.end), &[]);
        } else if message.is_changed() {
            let opened = self.open(place);
            self.add(opened, message);
            self.close(opened, place);
        }
    }

    fn append<L>(&mut self, message: &Message<'_, L>, number: u32, at: usize) {
        let live = || message.slots().iter().filter(|slot| slot.state != State::Gone);
        let len: usize = live().map(|slot| message.raw(slot).len()).sum();
        if len == 0 {
            return;
        }
        let from = self.bytes.len();
        put_tag(&mut self.bytes, number, WireType::Len);
        put_varint(&mut self.bytes, len as u64);
        for slot in live() {
            self.bytes.extend_from_slice(message.raw(slot));
        }
        self.push(Patch { start: at, end: at, from, to: self.bytes.len() });
    }

    fn replace(&mut self, old: (usize, usize), new: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(new);
        self.push(Patch { start: old.0, end: old.1, from, to: self.bytes.len() });
    }

    fn push(&mut self, patch: Patch) {
        self.growth += (patch.to - patch.from) as isize - (patch.end - patch.start) as isize;
        self.list.push(patch);
    }

    /// Restores the order. Two insertions at one place stay as they are: the inner message's was added first.
    fn sort_from(&mut self, index: usize) {
        self.list[index..].sort_by_key(|patch| (patch.start, patch.end));
    }

    /// The input with all patches applied.
    pub fn apply(&self, input: &[u8]) -> Vec<u8> {
        let len = input.len().saturating_add_signed(self.growth);
        let mut out = Vec::with_capacity(len);
        let mut at = 0;
        for patch in &self.list {
            if patch.start == patch.end && patch.from == patch.to {
                continue;
            }
            out.extend_from_slice(&input[at..patch.start]);
            out.extend_from_slice(&self.bytes[patch.from..patch.to]);
            at = patch.end;
        }
        out.extend_from_slice(&input[at..]);
        debug_assert_eq!(out.len(), len);
        out
    }
}
