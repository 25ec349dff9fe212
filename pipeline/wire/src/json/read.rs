//! JSON to protobuf: fields are written as they come, in the order of the text.
//!
//! What comes twice is written twice; it is noted, and the request put right by [`crate::validate`] in the end.

use super::error::{JsonError, Problem, Step};
use super::fields::Raw;
use super::number::{double, integer};
use super::scan::{Fault, RawString, Scanner};
use super::text::{put_repaired, read_base64, read_hex};
use super::{Options, Parsed};
use crate::schema::{self, Arity, Field, Kind, Message};
use crate::validate::{MAX_DEPTH, Policy, Utf8Policy, validate};
use crate::writer::{
    begin_message, end_message, put_fixed32_field, put_fixed64_field, put_len_field, put_varint,
    put_varint_field,
};
use crate::{Payload, Signal};
use bytes::Bytes;

/// The length at which protobuf ends: lengths are int32.
const MAX_LEN: usize = i32::MAX as usize;

/// The longest name of an unknown key that an error repeats, in bytes.
const SHOWN_KEY: usize = 64;

pub(super) fn request(signal: Signal, text: &[u8], options: &Options) -> Result<Parsed, JsonError> {
    let read = || {
        let table = schema::request(signal).ok_or_else(|| Fault::new(0, Problem::Profiles))?;
        let mut reader = Reader::new(text, options);
        reader.message(table, reader.depth)?;
        reader.scan.end()?;
        Ok(reader.finish(signal))
    };
    read().map_err(|fault: Fault| fault.located(text))
}

struct Reader<'a> {
    scan: Scanner<'a>,
    out: Vec<u8>,
    scratch: Vec<u8>,
    utf8: Utf8Policy,
    depth: u32,
    max_bytes: usize,
    /// Whether the whole text is UTF-8, so that no string needs to be looked at.
    valid_utf8: bool,
    repeated_keys: bool,
    items: u32,
    repaired_strings: u32,
}

/// Which fields of a message have been written: bit `i` for field `i`, and bit 31 for its oneof.
#[derive(Clone, Copy, Default)]
struct Seen(u32);

impl Seen {
    /// Notes a field, and says whether it, or another member of its oneof, was there before.
    fn note(&mut self, index: usize, arity: Arity) -> bool {
        let bit = match arity {
            Arity::OneOf(_) => 1 << 31,
            _ => 1 << index,
        };
        let before = self.0 & bit != 0;
        self.0 |= bit;
        before
    }

    fn has(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8], options: &Options) -> Self {
        Self {
            scan: Scanner::new(text),
            // Protobuf takes a third to a half of what JSON takes.
            out: Vec::with_capacity((text.len() / 2).min(options.max_bytes)),
            scratch: Vec::new(),
            utf8: options.policy.utf8,
            depth: options.policy.max_depth.min(MAX_DEPTH),
            max_bytes: options.max_bytes.min(MAX_LEN),
            valid_utf8: simdutf8::basic::from_utf8(text).is_ok(),
            repeated_keys: false,
            items: 0,
            repaired_strings: 0,
        }
    }

    fn finish(mut self, signal: Signal) -> Parsed {
        if self.out.capacity() - self.out.len() > self.out.len() / 4 {
            self.out.shrink_to_fit();
        }
        let bytes = Bytes::from(self.out);
        let payload = if self.repeated_keys {
            let as_it_is = Policy { utf8: Utf8Policy::Pass, max_depth: MAX_DEPTH };
            validate(signal, bytes, &as_it_is).expect("what was just written is well-formed").payload
        } else {
            Payload::vouched(signal, self.items, bytes)
        };
        Parsed { payload, repaired_strings: self.repaired_strings }
    }

    /// Reads an object, or `null`, into the body of a message; `depth` counts what may be nested in it.
    fn message(&mut self, message: &'static Message, depth: u32) -> Result<(), Fault> {
        if self.scan.null()? {
            return Ok(());
        }
        self.scan.open_object()?;
        let mut seen = Seen::default();
        let mut first = true;
        let mut expected = 0;
        while let Some(key) = self.scan.key(first)? {
            first = false;
            match self.find(message, key, expected)? {
                Some(index) => {
                    expected = index + 1;
                    let field = &message.fields[index];
                    self.field(field, index, &mut seen, depth)
                        .map_err(|fault| fault.inside(Step::Field(field.json)))?;
                }
                None => self.scan.skip(self.depth).map_err(|fault| fault.inside(unknown(key)))?,
            }
        }
        Ok(())
    }

    /// The field of that name; `expected` is tried first.
    fn find(
        &mut self,
        message: &Message,
        key: RawString<'a>,
        expected: usize,
    ) -> Result<Option<usize>, Fault> {
        let name = key.resolve(&mut self.scratch)?;
        let is = |field: &Field| field.json.as_bytes() == name || field.name.as_bytes() == name;
        if message.fields.get(expected).is_some_and(is) {
            return Ok(Some(expected));
        }
        Ok(message.fields.iter().position(is))
    }

    fn field(
        &mut self,
        field: &'static Field,
        index: usize,
        seen: &mut Seen,
        depth: u32,
    ) -> Result<(), Fault> {
        match (field.arity, field.kind) {
            (Arity::Repeated, _) => self.list(field, index, seen, depth)?,
            (Arity::Single | Arity::Optional, Kind::Message(_)) if self.scan.null()? => {}
            (arity, Kind::Message(inner)) => {
                self.repeated_keys |= seen.note(index, arity);
                self.nested(field, inner, depth)?;
            }
            (arity, kind) => {
                // In text `null` is the empty string, as in Go; elsewhere the field is absent.
                let null = self.scan.null()?;
                if null && !matches!(kind, Kind::String) {
                    return Ok(());
                }
                let value = if null { Value::Raw(Raw::Len(&[])) } else { self.value(kind)? };
                let raw = value.raw(&self.scratch);
                if arity == Arity::Single && !seen.has(index) && raw.is_default(kind) {
                    return Ok(());
                }
                self.repeated_keys |= seen.note(index, arity);
                put(&mut self.out, field.number, raw);
            }
        }
        if self.out.len() > self.max_bytes {
            return Err(self.scan.fault(Problem::TooLarge(self.max_bytes)));
        }
        Ok(())
    }

    fn nested(&mut self, field: &Field, inner: &'static Message, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or_else(|| self.scan.fault(Problem::TooDeep))?;
        let open = begin_message(&mut self.out, field.number);
        self.message(inner, depth)?;
        end_message(&mut self.out, open);
        Ok(())
    }

    fn list(
        &mut self,
        field: &'static Field,
        index: usize,
        seen: &mut Seen,
        depth: u32,
    ) -> Result<(), Fault> {
        if self.scan.null()? {
            return Ok(());
        }
        self.scan.open_list()?;
        let mut count = 0;
        let mut run = None;
        while self.scan.element(count == 0)? {
            let element = match field.kind {
                Kind::Message(inner) => {
                    self.items += u32::from(is_item(inner));
                    self.nested(field, inner, depth)
                }
                Kind::String | Kind::Bytes | Kind::Id(_) => self.text_element(field),
                kind => {
                    if run.is_none() {
                        // A second run is joined to the first one in the end.
                        self.repeated_keys |= seen.note(index, field.arity);
                        run = Some(begin_message(&mut self.out, field.number));
                    }
                    self.packed_element(kind)
                }
            };
            element.map_err(|fault| fault.inside(Step::Index(count)))?;
            count += 1;
        }
        if let Some(run) = run {
            end_message(&mut self.out, run);
        }
        Ok(())
    }

    fn text_element(&mut self, field: &Field) -> Result<(), Fault> {
        let null = self.scan.null()?;
        let value = if null { Value::Raw(Raw::Len(&[])) } else { self.value(field.kind)? };
        put(&mut self.out, field.number, value.raw(&self.scratch));
        Ok(())
    }

    fn packed_element(&mut self, kind: Kind) -> Result<(), Fault> {
        match self.value(kind)?.raw(&self.scratch) {
            Raw::Varint(value) => put_varint(&mut self.out, value),
            Raw::Fixed64(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Raw::Fixed32(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Raw::Len(_) => {}
        }
        Ok(())
    }

    /// Reads anything but a message or `null`.
    fn value(&mut self, kind: Kind) -> Result<Value<'a>, Fault> {
        let Self { scan, scratch, .. } = self;
        Ok(Value::Raw(match kind {
            Kind::String => return self.text(),
            Kind::Bytes => return self.base64(),
            Kind::Id(len) => return self.id(len),
            Kind::Bool => Raw::Varint(u64::from(scan.boolean()?)),
            Kind::Int32 => Raw::Varint(i64::from(integer::<i32>(scan, scratch)?) as u64),
            Kind::Enum(names) => Raw::Varint(i64::from(enumeration(scan, scratch, names)?) as u64),
            Kind::Uint32 => Raw::Varint(u64::from(integer::<u32>(scan, scratch)?)),
            Kind::Sint32 => {
                let value = integer::<i32>(scan, scratch)?;
                Raw::Varint(u64::from(((value << 1) ^ (value >> 31)) as u32))
            }
            Kind::Int64 => Raw::Varint(integer::<i64>(scan, scratch)? as u64),
            Kind::Uint64 => Raw::Varint(integer::<u64>(scan, scratch)?),
            Kind::Fixed32 => Raw::Fixed32(integer::<u32>(scan, scratch)?),
            Kind::Fixed64 => Raw::Fixed64(integer::<u64>(scan, scratch)?),
            Kind::Sfixed64 => Raw::Fixed64(integer::<i64>(scan, scratch)? as u64),
            Kind::Double => Raw::Fixed64(double(scan, scratch)?.to_bits()),
            Kind::Message(_) => unreachable!("messages are read by `nested`"),
        }))
    }

    fn text(&mut self) -> Result<Value<'a>, Fault> {
        let string = self.scan.string()?;
        let bytes = string.resolve(&mut self.scratch)?;
        let sound =
            self.valid_utf8 || self.utf8 == Utf8Policy::Pass || simdutf8::basic::from_utf8(bytes).is_ok();
        if !sound {
            if self.utf8 == Utf8Policy::Reject {
                return Err(Fault::new(string.offset, Problem::InvalidUtf8));
            }
            let mut repaired = Vec::with_capacity(bytes.len() + 16);
            put_repaired(&mut repaired, bytes);
            self.repaired_strings = self.repaired_strings.saturating_add(1);
            self.scratch = repaired;
            return Ok(Value::Scratch);
        }
        Ok(if string.escaped { Value::Scratch } else { Value::Raw(Raw::Len(string.bytes)) })
    }

    fn id(&mut self, len: usize) -> Result<Value<'a>, Fault> {
        let string = self.scan.string()?;
        let digits = string.resolve(&mut self.scratch)?;
        let fault = |problem| Fault::new(string.offset, problem);
        if digits.is_empty() {
            return Ok(Value::Raw(Raw::Len(&[])));
        }
        if digits.len() != 2 * len {
            return Err(fault(Problem::IdLength { expected: 2 * len, found: digits.len() }));
        }
        let mut id = [0; LONGEST_ID];
        read_hex(digits, &mut id[..len]).ok_or_else(|| fault(Problem::BadHex))?;
        self.scratch.clear();
        self.scratch.extend_from_slice(&id[..len]);
        Ok(Value::Scratch)
    }

    fn base64(&mut self) -> Result<Value<'a>, Fault> {
        let string = self.scan.string()?;
        let mut decoded = Vec::with_capacity(string.bytes.len() / 4 * 3 + 3);
        read_base64(string.resolve(&mut self.scratch)?, &mut decoded)
            .ok_or_else(|| Fault::new(string.offset, Problem::BadBase64))?;
        self.scratch = decoded;
        Ok(Value::Scratch)
    }
}

/// A value that was read: its payload, or where its payload is.
#[derive(Clone, Copy)]
enum Value<'a> {
    Raw(Raw<'a>),
    Scratch,
}

impl<'a> Value<'a> {
    fn raw<'s>(self, scratch: &'s [u8]) -> Raw<'s>
    where
        'a: 's,
    {
        match self {
            Self::Raw(raw) => raw,
            Self::Scratch => Raw::Len(scratch),
        }
    }
}

/// The bytes of a trace id, the longest kind of id.
const LONGEST_ID: usize = 16;

/// Reads an enum value, as a number that may be unknown or as a name that may not.
fn enumeration(
    scan: &mut Scanner<'_>,
    scratch: &mut Vec<u8>,
    names: &'static [(&'static str, i32)],
) -> Result<i32, Fault> {
    if scan.peek()? != b'"' {
        return integer::<i32>(scan, scratch);
    }
    let string = scan.string()?;
    let name = string.resolve(scratch)?;
    let value = names.iter().find(|(known, _)| known.as_bytes() == name);
    value.map(|(_, value)| *value).ok_or_else(|| Fault::new(string.offset, Problem::UnknownEnumName))
}

/// Appends a field with its tag.
fn put(out: &mut Vec<u8>, number: u32, raw: Raw<'_>) {
    match raw {
        Raw::Varint(value) => put_varint_field(out, number, value),
        Raw::Fixed64(value) => put_fixed64_field(out, number, value),
        Raw::Fixed32(value) => put_fixed32_field(out, number, value),
        Raw::Len(bytes) => put_len_field(out, number, bytes),
    }
}

/// Whether a message is what [`Payload::items`] counts.
fn is_item(message: &'static Message) -> bool {
    [
        &schema::SPAN,
        &schema::LOG_RECORD,
        &schema::NUMBER_DATA_POINT,
        &schema::HISTOGRAM_DATA_POINT,
        &schema::EXPONENTIAL_HISTOGRAM_DATA_POINT,
        &schema::SUMMARY_DATA_POINT,
    ]
    .into_iter()
    .any(|item| std::ptr::eq(item, message))
}

fn unknown(key: RawString<'_>) -> Step {
    let shown = &key.bytes[..key.bytes.len().min(SHOWN_KEY)];
    Step::Unknown(String::from_utf8_lossy(shown).into_owned())
}
