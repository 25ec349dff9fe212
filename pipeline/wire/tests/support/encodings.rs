//! Other encodings of the same message: what protobuf allows a writer to do, and few writers do.

use super::Rng;
use millrace_wire::cursor::{Cursor, Tag, WireType};
use millrace_wire::schema::{Arity, Field, Kind, Message};
use millrace_wire::writer::{put_tag, put_varint};

/// Re-encodes a well-formed message with its fields in another order, unknown fields between them, and some
/// defaults written out. A reader of validated payloads meets all of this.
pub fn shuffled(message: &'static Message, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let top = message.name.starts_with("Export");
    Writer { rng, odd: false }.message(message, bytes, top)
}

/// Re-encodes a well-formed message as strangely as protobuf allows without changing what it decodes to: besides
/// what [`shuffled`] does, over-long varints, integers wider than their type, singular messages in several parts,
/// scalars and oneofs set more than once, packed scalars in several runs or unpacked, groups, and unknown fields at
/// the top level.
pub fn odd(message: &'static Message, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    Writer { rng, odd: true }.message(message, bytes, false)
}

/// An encoded field together with what it must not be reordered against: fields with the same `order`.
struct Piece {
    order: u32,
    bytes: Vec<u8>,
}

struct Writer<'r> {
    rng: &'r mut Rng,
    odd: bool,
}

impl Writer<'_> {
    fn message(&mut self, message: &'static Message, bytes: &[u8], only_known: bool) -> Vec<u8> {
        let mut pieces = Vec::new();
        let mut seen = Vec::new();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_done() {
            let tag = cursor.tag().expect("the input is well-formed");
            let field = message.field(tag.field).expect("the input has no unknown fields");
            seen.push(tag.field);
            self.field(message, field, tag, &mut cursor, &mut pieces);
        }
        for field in message.fields {
            let writable = matches!(field.arity, Arity::Single) && !matches!(field.kind, Kind::Message(_));
            if writable && !seen.contains(&field.number) && self.rng.one_in(12) {
                let default = self.scalar(field, 0, &[]);
                pieces.push(Piece { order: order_of(field), bytes: default });
            }
        }
        while !only_known && self.rng.one_in(6) {
            let bytes = self.unknown_field(message, 3);
            pieces.push(Piece { order: u32::MAX - pieces.len() as u32, bytes });
        }
        self.interleave(pieces)
    }

    /// Takes the pieces in random order, except that pieces of one `order` stay in theirs.
    fn interleave(&mut self, pieces: Vec<Piece>) -> Vec<u8> {
        let mut queues: Vec<(u32, std::collections::VecDeque<Vec<u8>>)> = Vec::new();
        for piece in pieces {
            match queues.iter_mut().find(|(order, _)| *order == piece.order) {
                Some((_, queue)) => queue.push_back(piece.bytes),
                None => queues.push((piece.order, [piece.bytes].into())),
            }
        }
        let in_order = self.rng.one_in(2);
        let mut out = Vec::new();
        while !queues.is_empty() {
            let at = if in_order { 0 } else { self.rng.below(queues.len()) };
            match queues[at].1.pop_front() {
                Some(bytes) => out.extend(bytes),
                None => drop(queues.remove(at)),
            }
        }
        out
    }

    fn field(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        tag: Tag,
        cursor: &mut Cursor<'_>,
        pieces: &mut Vec<Piece>,
    ) {
        let order = order_of(field);
        let repeated = field.arity == Arity::Repeated;
        if self.odd && !repeated && self.rng.one_in(10) {
            pieces.extend(self.decoy(message, field));
        }
        if let Kind::Message(inner) = field.kind {
            let body = cursor.len_prefixed().expect("the input is well-formed");
            let body = self.message(inner, body, false);
            if self.odd && !repeated && self.rng.one_in(6) {
                let at = cut_between_fields(&body, self.rng);
                for part in [&body[..at], &body[at..]] {
                    pieces.push(Piece { order, bytes: self.len_field(field.number, part) });
                }
            } else {
                pieces.push(Piece { order, bytes: self.len_field(field.number, &body) });
            }
        } else if repeated && scalar_wire(field.kind) != WireType::Len {
            let run = cursor.len_prefixed().expect("prost packs");
            pieces.extend(self.packed(field, run).into_iter().map(|bytes| Piece { order, bytes }));
        } else {
            let bytes = match tag.wire {
                WireType::Varint => {
                    let value = cursor.varint().expect("the input is well-formed");
                    self.scalar(field, value, &[])
                }
                WireType::Fixed64 => {
                    let value = cursor.fixed64().expect("the input is well-formed");
                    self.scalar(field, value, &[])
                }
                WireType::Fixed32 => {
                    let value = cursor.fixed32().expect("the input is well-formed");
                    self.scalar(field, u64::from(value), &[])
                }
                _ => {
                    let payload = cursor.len_prefixed().expect("the input is well-formed");
                    self.scalar(field, 0, payload)
                }
            };
            pieces.push(Piece { order, bytes });
        }
    }

    /// An earlier occurrence of a singular field, or of another member of its oneof, that the real one overrides.
    fn decoy(&mut self, message: &'static Message, field: &'static Field) -> Option<Piece> {
        let rivals: Vec<&'static Field> = message
            .fields
            .iter()
            .filter(|other| match field.arity {
                // Another member: the same one would be merged with if it is a message.
                Arity::OneOf(_) => other.arity == field.arity && other.number != field.number,
                _ => other.number == field.number && !matches!(other.kind, Kind::Message(_)),
            })
            .collect();
        if rivals.is_empty() {
            return None;
        }
        let rival = *self.rng.pick(&rivals);
        let value = self.rng.integer();
        let bytes = match rival.kind {
            Kind::Message(inner) => {
                let body = self.message(inner, &[], false);
                self.len_field(rival.number, &body)
            }
            Kind::Id(len) => {
                let id = self.rng.id(len);
                self.scalar(rival, 0, &id)
            }
            Kind::Int32 | Kind::Sint32 | Kind::Uint32 | Kind::Fixed32 => {
                self.scalar(rival, u64::from(value as u32), &[])
            }
            Kind::Bool => self.scalar(rival, value & 1, &[]),
            _ => {
                let text = self.rng.text();
                self.scalar(rival, value, text.as_bytes())
            }
        };
        Some(Piece { order: order_of(field), bytes })
    }

    fn scalar(&mut self, field: &Field, value: u64, payload: &[u8]) -> Vec<u8> {
        let wire = scalar_wire(field.kind);
        if wire == WireType::Len {
            return self.len_field(field.number, payload);
        }
        let mut out = self.tag(field.number, wire);
        self.bare(field.kind, value, &mut out);
        out
    }

    /// A number without its tag.
    fn bare(&mut self, kind: Kind, value: u64, out: &mut Vec<u8>) {
        match scalar_wire(kind) {
            WireType::Fixed64 => out.extend_from_slice(&value.to_le_bytes()),
            WireType::Fixed32 => out.extend_from_slice(&(value as u32).to_le_bytes()),
            _ => {
                let value = match kind {
                    Kind::Bool if self.odd && value != 0 && self.rng.one_in(4) => self.rng.next() | 2,
                    Kind::Uint32 | Kind::Sint32 if self.odd && self.rng.one_in(4) => {
                        value & 0xffff_ffff | self.rng.next() << 32
                    }
                    Kind::Int32 | Kind::Enum(_) if self.odd && self.rng.one_in(4) => value & 0xffff_ffff,
                    _ => value,
                };
                self.varint(value, out);
            }
        }
    }

    /// The run as it is, in two runs, element by element, or a mix.
    fn packed(&mut self, field: &Field, run: &[u8]) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        let mut cursor = Cursor::new(run);
        while !cursor.is_done() {
            values.push(match scalar_wire(field.kind) {
                WireType::Fixed64 => cursor.fixed64().expect("the input is well-formed"),
                WireType::Fixed32 => u64::from(cursor.fixed32().expect("the input is well-formed")),
                _ => cursor.varint().expect("the input is well-formed"),
            });
        }
        let mut out = Vec::new();
        let mut rest = &values[..];
        while !rest.is_empty() {
            if self.odd && self.rng.one_in(4) {
                out.push(self.scalar(field, rest[0], &[]));
                rest = &rest[1..];
                continue;
            }
            let take = if self.odd && self.rng.one_in(3) { self.rng.below(rest.len()) } else { rest.len() };
            let mut body = Vec::new();
            for &value in &rest[..take] {
                self.bare(field.kind, value, &mut body);
            }
            out.push(self.len_field(field.number, &body));
            rest = &rest[take..];
        }
        out
    }

    /// A field that the message does not define, of any wire type (groups only among odd encodings).
    fn unknown_field(&mut self, message: &Message, depth: usize) -> Vec<u8> {
        let number = loop {
            let number = *self.rng.pick(&[13, 15, 17, 31, 32, 33, 40, 65, 1000, 20_000, (1 << 29) - 1]);
            if message.field(number).is_none() {
                break number;
            }
        };
        let value = self.rng.integer();
        match self.rng.below(if self.odd && depth > 0 { 6 } else { 4 }) {
            0 => {
                let mut out = self.tag(number, WireType::Varint);
                self.varint(value, &mut out);
                out
            }
            1 => {
                let mut out = self.tag(number, WireType::Fixed64);
                out.extend_from_slice(&value.to_le_bytes());
                out
            }
            2 => {
                let mut out = self.tag(number, WireType::Fixed32);
                out.extend_from_slice(&(value as u32).to_le_bytes());
                out
            }
            3 => {
                let len = self.rng.below(200);
                let payload = self.rng.bytes(len);
                self.len_field(number, &payload)
            }
            _ => {
                let mut out = self.tag(number, WireType::StartGroup);
                while self.rng.one_in(2) {
                    let inner = self.unknown_field(message, depth - 1);
                    out.extend(inner);
                }
                let end = self.tag(number, WireType::EndGroup);
                out.extend(end);
                out
            }
        }
    }

    fn len_field(&mut self, number: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = self.tag(number, WireType::Len);
        self.varint(payload.len() as u64, &mut out);
        out.extend_from_slice(payload);
        out
    }

    fn tag(&mut self, number: u32, wire: WireType) -> Vec<u8> {
        let mut out = Vec::new();
        if self.odd {
            self.varint(u64::from(number) << 3 | wire as u64, &mut out);
        } else {
            put_tag(&mut out, number, wire);
        }
        out
    }

    /// A varint, sometimes padded with up to as many zero groups as ten bytes hold.
    fn varint(&mut self, value: u64, out: &mut Vec<u8>) {
        let start = out.len();
        put_varint(out, value);
        if self.odd && self.rng.one_in(24) {
            let padding = self.rng.below(11 - (out.len() - start));
            for _ in 0..padding {
                *out.last_mut().expect("a varint has a byte") |= 0x80;
                out.push(0);
            }
        }
    }
}

/// Fields that must keep their order share a number: a field with itself, and the members of a oneof.
fn order_of(field: &Field) -> u32 {
    match field.arity {
        Arity::OneOf(group) => 1_000_000 + u32::from(group),
        _ => field.number,
    }
}

fn scalar_wire(kind: Kind) -> WireType {
    match kind {
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => WireType::Len,
        Kind::Fixed32 => WireType::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => WireType::Fixed64,
        _ => WireType::Varint,
    }
}

/// A random boundary between two fields of a well-formed message.
fn cut_between_fields(body: &[u8], rng: &mut Rng) -> usize {
    let mut cuts = vec![0];
    let mut cursor = Cursor::new(body);
    while !cursor.is_done() {
        let tag = cursor.tag().expect("just written");
        cursor.skip(tag, 100).expect("just written");
        cuts.push(cursor.offset());
    }
    *rng.pick(&cuts)
}
