//! What is wrong with a request, and where.

use crate::cursor::WireError;
use std::fmt;
use thiserror::Error;

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("malformed OTLP in {path}, at byte {offset}: {problem}")]
pub struct Malformed {
    /// Where the field begins that cannot be read, in bytes from the start of the request.
    pub offset: usize,
    /// The way from the request to that field.
    pub path: FieldPath,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Malformed {
    /// A problem of the request as a whole.
    pub(super) fn of_request(problem: Problem) -> Self {
        Self { offset: 0, path: FieldPath::default(), problem }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It is protobuf, but the protocol gives the field another type.
    #[error("the field has another wire type than the protocol gives it")]
    WrongWireType,
    /// A trace id of other than 0 or 16 bytes, or a span id of other than 0 or 8.
    #[error("a trace id must have 16 bytes or none, a span id 8 or none")]
    IdLength,
    /// Text that is not UTF-8, where the policy is to refuse it.
    #[error("text is not utf-8; invalid_utf8: repair would accept it")]
    InvalidUtf8,
    /// 2 GiB or more, where protobuf ends.
    #[error("a request must be smaller than 2 GiB")]
    TooLarge,
}

/// One step from a message to a field of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The field number.
    pub number: u32,
    /// The name in the `.proto` file; none for an unknown field.
    pub name: Option<&'static str>,
    /// Which occurrence of a repeated field, from zero.
    pub index: Option<u32>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "(unknown field {})", self.number)?,
        }
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// The way from the request to a field: `resource_spans[0].scope_spans[1].spans[7].attributes[2].value`.
///
/// A message that arrives in several parts is counted part by part. An empty path is the request itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldPath {
    steps: Vec<Step>,
}

impl FieldPath {
    /// The steps, outermost first.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.steps.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("the request");
        }
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}
