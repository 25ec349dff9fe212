//! Finds the damage in a refused request: the same rules as the walk's, by the schema tables, with book-keeping.
//!
//! Also an independent statement of the rules: tests hold the two against each other.

use super::{FieldPath, MAX_DEPTH, Malformed, Policy, Problem, Step, Utf8Policy};
use crate::cursor::{Cursor, Tag, WireError, WireType};
use crate::schema::{Arity, Field, Kind, Message};

/// Says where a request of that message was found wanting. `problem` is what the walk said.
pub(super) fn request(
    message: &'static Message,
    bytes: &[u8],
    policy: &Policy,
    problem: Problem,
) -> Malformed {
    found(Search::new(policy), message, bytes, problem)
}

/// The same for a request of which only the shape is known.
pub(super) fn opaque(bytes: &[u8], policy: &Policy, problem: Problem) -> Malformed {
    static ANYTHING: Message = Message { name: "request", fields: &[] };
    found(Search::new(policy), &ANYTHING, bytes, problem)
}

fn found(mut search: Search, message: &'static Message, bytes: &[u8], problem: Problem) -> Malformed {
    let depth = search.max_depth;
    match search.message(message, bytes, 0, depth) {
        Err(found) => {
            debug_assert_eq!(found, problem, "the walk and the search disagree");
            Malformed { offset: search.offset, path: search.path, problem: found }
        }
        Ok(()) => {
            debug_assert!(false, "the walk said {problem}, the search found nothing");
            Malformed::of_request(problem)
        }
    }
}

/// Stops at the first problem, with the path and offset of the field that has it.
struct Search {
    utf8: Utf8Policy,
    max_depth: u32,
    path: FieldPath,
    offset: usize,
}

impl Search {
    fn new(policy: &Policy) -> Self {
        let max_depth = policy.max_depth.min(MAX_DEPTH);
        Self { utf8: policy.utf8, max_depth, path: FieldPath::default(), offset: 0 }
    }

    /// Walks the fields of a message that begins at `base`, below which `depth` levels are allowed.
    fn message(
        &mut self,
        message: &'static Message,
        bytes: &[u8],
        base: usize,
        depth: u32,
    ) -> Result<(), Problem> {
        let mut counts = vec![0u32; message.fields.len()];
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_done() {
            self.offset = base + cursor.offset();
            let tag = cursor.tag()?;
            let Some(at) = message.fields.iter().position(|field| field.number == tag.field) else {
                self.path.push(Step { number: tag.field, name: None, index: None });
                skip(&mut cursor, tag, depth)?;
                self.path.pop();
                continue;
            };
            let field = &message.fields[at];
            let index = (field.arity == Arity::Repeated).then_some(counts[at]);
            counts[at] += 1;
            self.path.push(Step { number: field.number, name: Some(field.name), index });
            self.field(field, tag, &mut cursor, base, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        tag: Tag,
        cursor: &mut Cursor<'_>,
        base: usize,
        depth: u32,
    ) -> Result<(), Problem> {
        let own = field.kind.wire_type();
        if tag.wire != own {
            let packed = field.arity == Arity::Repeated && tag.wire == WireType::Len;
            return if packed { Ok(packed_run(cursor, own)?) } else { Err(Problem::WrongWireType) };
        }
        if own != WireType::Len {
            return Ok(cursor.skip(tag, 0)?);
        }
        let payload = cursor.len_prefixed()?;
        match field.kind {
            Kind::Message(inner) => {
                let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                self.message(inner, payload, base + cursor.offset() - payload.len(), depth)
            }
            Kind::Id(len) if !payload.is_empty() && payload.len() != len => Err(Problem::IdLength),
            Kind::String if self.utf8 == Utf8Policy::Reject && std::str::from_utf8(payload).is_err() => {
                Err(Problem::InvalidUtf8)
            }
            _ => Ok(()),
        }
    }
}

fn packed_run(cursor: &mut Cursor<'_>, element: WireType) -> Result<(), WireError> {
    let mut run = Cursor::new(cursor.len_prefixed()?);
    while !run.is_done() {
        run.skip(Tag { field: 1, wire: element }, 0)?;
    }
    Ok(())
}

/// Steps over an unknown field. As in prost, one at the deepest level is refused.
fn skip(cursor: &mut Cursor<'_>, tag: Tag, depth: u32) -> Result<(), WireError> {
    if tag.wire == WireType::EndGroup {
        return Err(WireError::UnbalancedGroup);
    }
    let inside = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
    if tag.wire != WireType::StartGroup {
        return cursor.skip(tag, 0);
    }
    loop {
        let inner = cursor.tag()?;
        if inner.wire == WireType::EndGroup && inner.field == tag.field {
            return Ok(());
        }
        skip(cursor, inner, inside)?;
    }
}
