//! Attribute values with their types.

use millrace_formats::go::Plain;
use millrace_wire::view::Value;
use std::fmt::{self, Display, Formatter};

/// A value with its type: `Str(GET)`.
pub(super) struct Typed<'a>(pub(super) Value<'a>);

impl Display for Typed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Value::Empty | Value::TextIndex(_) => "Empty",
            Value::Text(_) => "Str",
            Value::Bool(_) => "Bool",
            Value::Int(_) => "Int",
            Value::Double(_) => "Double",
            Value::Array(_) => "Slice",
            Value::Map(_) => "Map",
            Value::Bytes(_) => "Bytes",
        };
        write!(f, "{kind}({})", Plain(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_type() {
        assert_eq!(Typed(Value::Empty).to_string(), "Empty()");
        assert_eq!(Typed(Value::Double(f64::NEG_INFINITY)).to_string(), "Double(-Infinity)");
        assert_eq!(Typed(Value::Bytes(b"f")).to_string(), "Bytes(Zg==)");
    }
}
