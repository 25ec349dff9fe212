//! What a plain (unquoted) scalar means: the rules of the Go collector's YAML library.
//!
//! YAML 1.2 core schema with three habits of 1.1 kept: octal as `0777`, `_` between digits, and `0b` binary.
//! `yes`, `no`, `on` and `off` are text. Dates are text too (Go makes them a time, which no field accepts).

use crate::node::Value;

/// Reads a plain scalar.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).map(Value::Int).or_else(|| float(&digits).map(Value::Float))
        }
        Some(b'.') => float(text).map(Value::Float),
        _ => None,
    };
    number.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A whole number in any of the accepted bases, if it fits into 64 bits (signed, or unsigned when positive).
fn integer(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// A decimal fraction with at least one digit and an optional exponent, if it is finite.
fn float(text: &str) -> Option<f64> {
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(allowed) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_the_go_collector() {
        let text = |s: &str| Value::String(s.to_owned());
        for (input, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("NULL", Value::Null),
            ("nUll", text("nUll")),
            ("True", Value::Bool(true)),
            ("yes", text("yes")),
            ("off", text("off")),
            ("0", Value::Int(0)),
            ("-0", Value::Int(0)),
            ("+12", Value::Int(12)),
            ("1_000", Value::Int(1000)),
            ("010", Value::Int(8)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("-0x10", Value::Int(-16)),
            ("0b101", Value::Int(5)),
            ("18446744073709551615", Value::Int(i128::from(u64::MAX))),
            ("-9223372036854775808", Value::Int(i128::from(i64::MIN))),
            ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
            ("08", Value::Float(8.0)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("-1.5e-2", Value::Float(-0.015)),
            (".inf", Value::Float(f64::INFINITY)),
            ("1e999", text("1e999")),
            ("-", text("-")),
            (".", text(".")),
            ("1.2.3", text("1.2.3")),
            ("0x", text("0x")),
            ("5s", text("5s")),
            ("localhost:4317", text("localhost:4317")),
            ("2024-01-01", text("2024-01-01")),
            ("--1", text("--1")),
            ("-+1", text("-+1")),
        ] {
            assert_eq!(resolve(input), expected, "{input:?}");
        }
        assert!(matches!(resolve(".nan"), Value::Float(value) if value.is_nan()));
    }
}
