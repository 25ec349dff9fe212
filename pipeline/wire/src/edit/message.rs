//! One message under the changes made to it.

use super::field::{Field, FieldType};
use super::level::{Attributed, Exemplar, Level, LogRecord, Point};
use super::texts::edit_texts;
use crate::cursor::{WireType, varint_len};
use crate::place::{Place, Places};
use crate::split::MetricKind;
use crate::view::{Number, Text};
use crate::write::{Encoded, Value, put_key_value};
use crate::writer::{put_double_field, put_fixed64_field};
use std::marker::PhantomData;

/// One message as it came in, under the changes made so far. What was written is what is read.
///
/// A list of attributes may repeat a key, though it must not. Changes by key apply to all of them alike, so that
/// nothing that was to be removed or masked is left behind; reading takes the first, as the Go collector does.
#[derive(Debug)]
pub struct Message<'a, L> {
    /// The whole payload.
    input: &'a [u8],
    /// Where the message came in, without tag and length; `None` if it was absent.
    place: Option<Place>,
    kind: MetricKind,
    slots: Vec<Slot>,
    /// Fields that were written, end to end.
    added: Vec<u8>,
    changed: bool,
    level: PhantomData<fn() -> L>,
}

/// One field of the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub number: u32,
    pub wire: WireType,
    pub state: State,
    /// Where it is, in the input or (if it is [`State::Written`]) in `added`: all of it, and its value.
    start: usize,
    body: usize,
    end: usize,
    /// The range of the input that it takes the place of; empty, at the end of the message, for a new one.
    pub old: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it came in.
    Kept,
    /// Replaced or new.
    Written,
    /// Removed.
    Gone,
}

/// Reading and writing fields.
impl<'a, L: Level> Message<'a, L> {
    /// The body of the message as it came in, to be read by a view; empty if it was absent.
    #[must_use]
    pub fn original(&self) -> &'a [u8] {
        self.place.map_or(&[], |place| place.value(self.input))
    }

    /// Reads a field.
    #[must_use]
    pub fn get<T: FieldType>(&self, field: Field<L, T>) -> T::Get<'_> {
        let slot = field.number(self.kind).and_then(|number| self.find(number));
        T::get(slot.map(|at| self.value(at)))
    }

    /// Writes a field. Writing its default, for example an empty text, removes it. Returns whether the message
    /// changed; it does not if the value is the same, or if this kind of data point has no such field.
    pub fn set<T: FieldType>(&mut self, field: Field<L, T>, value: T::Set<'_>) -> bool {
        let Some(number) = field.number(self.kind) else {
            return false;
        };
        let from = self.added.len();
        T::put(&mut self.added, number, value);
        self.settle(self.find(number), from)
    }

    /// Removes a field; returns whether it was there.
    pub fn clear<T: FieldType>(&mut self, field: Field<L, T>) -> bool {
        let slot = field.number(self.kind).and_then(|number| self.find(number));
        slot.is_some_and(|at| self.remove_slot(at))
    }
}

/// Reading and writing attributes.
impl<L: Attributed> Message<'_, L> {
    /// All attributes, in order, repeated keys included.
    pub fn attributes(&self) -> impl Iterator<Item = (Text<'_>, Encoded<'_>)> {
        let entries = (0..self.slots.len()).filter(|&at| self.is_attribute(at));
        entries.map(|at| {
            let (key, value) = entry(self.value(at));
            (Text(key), Encoded::vouched(value))
        })
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, key: &[u8]) -> Option<Encoded<'_>> {
        self.find_key(key, 0).map(|at| Encoded::vouched(entry(self.value(at)).1))
    }

    /// Adds an attribute unless the key is there; returns whether it was added.
    pub fn insert<'v>(&mut self, key: &[u8], value: impl Into<Value<'v>>) -> bool {
        self.find_key(key, 0).is_none() && self.write_entry(None, key, &value.into())
    }

    /// Changes an attribute if the key is there; returns whether anything changed.
    pub fn update<'v>(&mut self, key: &[u8], value: impl Into<Value<'v>>) -> bool {
        let value = value.into();
        self.for_key(key, |message, at| message.write_entry(Some(at), key, &value))
    }

    /// Changes or adds an attribute; returns whether anything changed.
    pub fn upsert<'v>(&mut self, key: &[u8], value: impl Into<Value<'v>>) -> bool {
        let value = value.into();
        match self.find_key(key, 0) {
            Some(_) => self.update(key, value),
            None => self.write_entry(None, key, &value),
        }
    }

    /// Removes an attribute; returns whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.for_key(key, Self::remove_slot)
    }

    /// Gives an attribute another key, in the place of one that has that key already; returns whether it was there.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let Some(at) = self.find_key(from, 0) else {
            return false;
        };
        if from != to {
            self.remove(to);
            Entries::set_key(self, at, to);
            self.remove(from);
        }
        true
    }

    /// Gives attribute `to` the value of attribute `from`; returns whether anything changed, which it does not if
    /// `from` is not there.
    pub fn copy(&mut self, from: &[u8], to: &[u8]) -> bool {
        let value = self.attribute(from).map(|value| value.bytes().to_vec());
        value.is_some_and(|value| self.upsert(to, Encoded::in_place(&value)))
    }

    /// Calls `edit` for each attribute, in order.
    pub fn edit_attributes(&mut self, mut edit: impl FnMut(&mut Attribute<'_>)) {
        for slot in 0..self.slots.len() {
            if self.is_attribute(slot) {
                edit(&mut Attribute { message: self, slot });
            }
        }
    }

    fn is_attribute(&self, at: usize) -> bool {
        self.slots[at].number == u32::from(L::ATTRIBUTES[self.kind as usize])
            && self.slots[at].state != State::Gone
    }

    /// The first attribute of that key from slot `from` on.
    fn find_key(&self, key: &[u8], from: usize) -> Option<usize> {
        (from..self.slots.len()).find(|&at| self.is_attribute(at) && entry_key(self.value(at)) == key)
    }

    fn for_key(&mut self, key: &[u8], mut change: impl FnMut(&mut Self, usize) -> bool) -> bool {
        let (mut changed, mut from) = (false, 0);
        while let Some(at) = self.find_key(key, from) {
            changed |= change(self, at);
            from = at + 1;
        }
        changed
    }

    fn write_entry(&mut self, at: Option<usize>, key: &[u8], value: &Value<'_>) -> bool {
        let from = self.added.len();
        put_key_value(&mut self.added, L::ATTRIBUTES[self.kind as usize].into(), key, value);
        self.settle(at, from)
    }
}

/// One attribute of a message that is being edited.
pub struct Attribute<'m> {
    message: &'m mut dyn Entries,
    slot: usize,
}

impl Attribute<'_> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> Text<'_> {
        Text(entry(self.message.entry(self.slot)).0)
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Encoded<'_> {
        Encoded::vouched(entry(self.message.entry(self.slot)).1)
    }

    /// Replaces the value; returns whether it changed.
    pub fn set<'v>(&mut self, value: impl Into<Value<'v>>) -> bool {
        self.message.set(self.slot, &value.into())
    }

    /// Gives the attribute another key. An attribute that has that key already is not looked for; see
    /// [`Message::rename`].
    pub fn set_key(&mut self, key: &[u8]) -> bool {
        self.message.set_key(self.slot, key)
    }

    /// Edits the texts in the value, however deep, but for the keys of maps: `edit` gets a text and an empty buffer,
    /// and returns true if it has put a replacement into that. Returns whether any was replaced.
    pub fn edit_texts(&mut self, mut edit: impl FnMut(Text<'_>, &mut Vec<u8>) -> bool) -> bool {
        let edited = edit_texts(self.value(), &mut edit);
        edited.is_some_and(|value| self.set(Encoded::in_place(&value)))
    }

    /// Removes the attribute.
    pub fn remove(&mut self) {
        self.message.remove(self.slot);
    }
}

/// The attributes of any message, by slot.
trait Entries {
    fn entry(&self, slot: usize) -> &[u8];
    fn set(&mut self, slot: usize, value: &Value<'_>) -> bool;
    fn set_key(&mut self, slot: usize, key: &[u8]) -> bool;
    fn remove(&mut self, slot: usize);
}

impl<L: Attributed> Entries for Message<'_, L> {
    fn entry(&self, slot: usize) -> &[u8] {
        self.value(slot)
    }

    fn set(&mut self, slot: usize, value: &Value<'_>) -> bool {
        let key = entry_key(self.value(slot)).to_vec();
        self.write_entry(Some(slot), &key, value)
    }

    fn set_key(&mut self, slot: usize, key: &[u8]) -> bool {
        let value = entry(self.value(slot)).1.to_vec();
        self.write_entry(Some(slot), key, &Value::Encoded(Encoded::in_place(&value)))
    }

    fn remove(&mut self, slot: usize) {
        self.remove_slot(slot);
    }
}

impl Message<'_, LogRecord> {
    /// Edits the texts in the body as [`Attribute::edit_texts`] does in a value.
    pub fn edit_body_texts(&mut self, mut edit: impl FnMut(Text<'_>, &mut Vec<u8>) -> bool) -> bool {
        let edited = self.get(LogRecord::BODY).and_then(|body| edit_texts(body, &mut edit));
        edited.is_some_and(|body| self.set(LogRecord::BODY, Some(Value::Encoded(Encoded::in_place(&body)))))
    }
}

impl Message<'_, Point> {
    /// The kind of its metric.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// The value of a gauge's or sum's point; `None` if it has none, or is a point of another kind.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        self.is_number().then(|| self.read_number(4)).flatten()
    }

    /// Writes the value of a gauge's or sum's point; returns whether the message changed, which points of other kinds
    /// do not.
    pub fn set_number(&mut self, value: Number) -> bool {
        self.is_number() && self.write_number(4, value)
    }

    fn is_number(&self) -> bool {
        matches!(self.kind, MetricKind::Gauge | MetricKind::Sum)
    }
}

impl Message<'_, Exemplar> {
    /// The value.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        self.read_number(3)
    }

    /// Writes the value; returns whether it changed.
    pub fn set_number(&mut self, value: Number) -> bool {
        self.write_number(3, value)
    }
}

impl Message<'_, super::Data> {
    /// The kind of the metric.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
    }
}

/// `as_int` wherever it occurs.
const AS_INT: u32 = 6;

impl<'a, L> Message<'a, L> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let (slots, added) = (Vec::new(), Vec::new());
        Self { input, place: None, kind: MetricKind::Gauge, slots, added, changed: false, level: PhantomData }
    }

    /// Turns to another message of the input, without its fields of number `skip`; `None` if it is absent.
    pub(super) fn turn_to(&mut self, place: Option<Place>, kind: MetricKind, skip: u32) {
        (self.place, self.kind, self.changed) = (place, kind, false);
        self.slots.clear();
        self.added.clear();
        let Some(place) = place else { return };
        for field in Places::within(self.input, place.body, place.end) {
            if field.number != skip {
                self.slots.push(Slot {
                    number: field.number,
                    wire: field.wire,
                    state: State::Kept,
                    start: field.start,
                    body: field.body,
                    end: field.end,
                    old: (field.start, field.end),
                });
            }
        }
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The slots, in the order of the wire, new ones last.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Where the field of that slot lies in the input, if it is unchanged and a message.
    pub(super) fn kept_place(&self, at: usize) -> Option<Place> {
        let slot = &self.slots[at];
        let Slot { number, wire, start, body, end, .. } = *slot;
        let after_tag = start + varint_len(u64::from(number) << 3);
        let message = slot.state == State::Kept && wire == WireType::Len;
        message.then_some(Place { number, wire, start, after_tag, body, end })
    }

    /// The whole field that a slot stands for, wherever it is.
    pub(super) fn raw(&self, slot: &Slot) -> &[u8] {
        match slot.state {
            State::Written => &self.added[slot.start..slot.end],
            _ => &self.input[slot.start..slot.end],
        }
    }

    fn value(&self, at: usize) -> &[u8] {
        let slot = &self.slots[at];
        match slot.state {
            State::Written => &self.added[slot.body..slot.end],
            _ => &self.input[slot.body..slot.end],
        }
    }

    fn find(&self, number: u32) -> Option<usize> {
        self.slots.iter().position(|slot| slot.number == number && slot.state != State::Gone)
    }

    /// Puts the field that was appended to `added` from `from` on into a slot, or into a new one. If nothing was
    /// appended, the slot's field is removed. Returns whether that changed anything.
    fn settle(&mut self, slot: Option<usize>, from: usize) -> bool {
        let Some(written) = Places::within(&self.added, from, self.added.len()).next() else {
            return slot.is_some_and(|at| self.remove_slot(at));
        };
        let end = self.place.map_or(0, |place| place.end);
        let old = match slot {
            Some(at) if self.raw(&self.slots[at]) == written.raw(&self.added) => {
                self.added.truncate(from);
                return false;
            }
            Some(at) => self.slots[at].old,
            None => (end, end),
        };
        let Place { number, wire, start, body, end, .. } = written;
        let new = Slot { number, wire, state: State::Written, start, body, end, old };
        match slot {
            Some(at) => self.slots[at] = new,
            None => self.slots.push(new),
        }
        self.changed = true;
        true
    }

    fn remove_slot(&mut self, at: usize) -> bool {
        self.slots[at].state = State::Gone;
        self.changed = true;
        true
    }

    fn read_number(&self, as_double: u32) -> Option<Number> {
        let bits = |at| self.value(at).first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let double = self.find(as_double).and_then(bits).map(|bits| Number::Double(f64::from_bits(bits)));
        double.or_else(|| self.find(AS_INT).and_then(bits).map(|bits| Number::Int(bits as i64)))
    }

    fn write_number(&mut self, as_double: u32, value: Number) -> bool {
        let from = self.added.len();
        match value {
            Number::Int(value) => put_fixed64_field(&mut self.added, AS_INT, value as u64),
            Number::Double(value) => put_double_field(&mut self.added, as_double, value),
        }
        // Only one member of the oneof may be there: a new one takes the place of the other.
        let slot = self.find(as_double).or_else(|| self.find(AS_INT));
        self.settle(slot, from)
    }
}

/// Key and value of an encoded `KeyValue`.
fn entry(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for place in Places::of(bytes) {
        if place.is_len(1) {
            key = place.value(bytes);
        } else if place.is_len(2) {
            value = place.value(bytes);
        }
    }
    (key, value)
}

/// The key alone; nearly always it comes first and is short.
#[inline]
fn entry_key(bytes: &[u8]) -> &[u8] {
    const KEY: u8 = 1 << 3 | WireType::Len as u8;
    if let [KEY, len @ 0..0x80, rest @ ..] = bytes
        && let Some(key) = rest.get(..usize::from(*len))
    {
        return key;
    }
    Places::of(bytes).find(|place| place.is_len(1)).map_or(&[], |place| place.value(bytes))
}
