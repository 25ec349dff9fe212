//! Numbers: what counts as one when read, and how they are written.

use super::error::Problem;
use super::scan::{Fault, Scanner};
use std::io::Write;

/// Reads an integer, as a number or a decimal string; `T` bounds it.
pub(crate) fn integer<T: Integer>(scan: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Result<T, Fault> {
    let first = scan.peek()?;
    let start = scan.offset();
    let parsed = match first {
        b'"' => {
            let text = scan.string()?;
            T::parse(text.resolve(scratch)?, true)
        }
        b'-' | b'0'..=b'9' => {
            let text = scan.number()?;
            if text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
                return Err(Fault::new(start, Problem::NotAnInteger));
            }
            T::parse(text, false)
        }
        found => return Err(Fault::new(start, Problem::Unexpected { expected: "an integer", found })),
    };
    parsed.map_err(|problem| Fault::new(start, problem))
}

/// An integer type that a field may have.
pub(crate) trait Integer: Sized {
    /// Parses decimal digits with a sign where the type has one; a plus sign only where Go takes it (`plus`).
    fn parse(digits: &[u8], plus: bool) -> Result<Self, Problem>;
}

macro_rules! integers {
    ($($type:ty, $name:literal, $signed:literal;)*) => {
        $(impl Integer for $type {
            fn parse(digits: &[u8], plus: bool) -> Result<Self, Problem> {
                if digits.first() == Some(&b'+') && !(plus && $signed) {
                    return Err(Problem::BadNumber);
                }
                let text = std::str::from_utf8(digits).map_err(|_| Problem::BadNumber)?;
                text.parse::<Self>().map_err(|error| match error.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                        Problem::OutOfRange($name)
                    }
                    _ if !$signed && text.starts_with('-') => Problem::OutOfRange($name),
                    _ => Problem::BadNumber,
                })
            }
        })*
    };
}

integers! {
    i32, "a signed 32-bit integer", true;
    u32, "an unsigned 32-bit integer", false;
    i64, "a signed 64-bit integer", true;
    u64, "an unsigned 64-bit integer", false;
}

/// Reads a double, as a number or a string; the latter may say `NaN`, `Infinity` or `-Infinity`.
pub(super) fn double(scan: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Result<f64, Fault> {
    let first = scan.peek()?;
    let start = scan.offset();
    let text = match first {
        b'"' => scan.string()?.resolve(scratch)?,
        b'-' | b'0'..=b'9' => scan.number()?,
        found => return Err(Fault::new(start, Problem::Unexpected { expected: "a number", found })),
    };
    let value = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    match value {
        None => Err(Fault::new(start, Problem::BadNumber)),
        Some(value) if value.is_infinite() && text.iter().any(u8::is_ascii_digit) => {
            Err(Fault::new(start, Problem::OutOfRange("a double")))
        }
        Some(value) => Ok(value),
    }
}

/// Appends an integer in decimal digits.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_unsigned(out, value.unsigned_abs());
}

/// Appends an integer in decimal digits. By hand, because times and counts are a good part of what is written.
pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

/// Appends a double: the shortest digits that read back the same, with an exponent of at least two digits below 1e-6
/// and from 1e21 on; NaN and the infinities as strings.
pub(super) fn put_double(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{value}");
        break_tie(&mut out[start..], 0, value);
    } else {
        put_scientific(out, value);
    }
}

fn put_scientific(out: &mut Vec<u8>, value: f64) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(mantissa.as_bytes());
    break_tie(&mut out[start..], exponent, value);
    // Writing to a vector cannot fail.
    let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs());
}

/// Where two shortest forms are equally near (x.25 between x.2 and x.3), Go takes the even digit and Rust the upper one.
///
/// A double with one fraction digit more than its shortest form always ends in 5, and has that many when it is an odd
/// multiple of that power of 1/2.
fn break_tie(mantissa: &mut [u8], exponent: i32, value: f64) {
    let Some(point) = memchr::memchr(b'.', mantissa) else { return };
    let exact_digits = (mantissa.len() - point) as i32 - exponent;
    if !(1..=MOST_TIED_DIGITS).contains(&exact_digits) {
        return;
    }
    let scaled = value * (1u64 << exact_digits) as f64;
    if scaled % 2.0 == 0.0 || scaled.fract() != 0.0 {
        return;
    }
    match mantissa.last_mut() {
        Some(last) if *last % 2 == 1 => *last -= 1,
        _ => return,
    }
    // Below a power of two doubles are closer together: there the lower form may mean its neighbour.
    let lower =
        std::str::from_utf8(mantissa).ok().and_then(|digits| format!("{digits}e{exponent}").parse().ok());
    if let (Some(last), true) = (mantissa.last_mut(), lower != Some(value)) {
        *last += 1;
    }
}

/// Beyond, an odd multiple of the power of 1/2 has more significant digits (those of the power of 5) than are written.
const MOST_TIED_DIGITS: i32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e100, "-1.25e+100"),
            (5e-324, "5e-324"),
            (-6_450_287_512_490_073.0 / 4.0, "-1612571878122518.2"),
            (6_450_287_512_490_075.0 / 4.0, "1612571878122518.8"),
            (1_563_187_963_108_093.0 / 8.0, "195398495388511.62"),
            (2f64.powi(-25), "2.9802322387695312e-08"),
            (2f64.powi(-24), "5.960464477539063e-08"),
            (0.5, "0.5"),
            (1.375, "1.375"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ];
        for (value, text) in cases {
            let mut out = Vec::new();
            put_double(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn integers_are_written_in_decimal() {
        for value in [0, 9, 10, -1, 99, 1_234_567_890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        put_unsigned(&mut out, u64::MAX);
        assert_eq!(out, b"18446744073709551615");
    }

    #[test]
    fn integers_keep_to_their_type() {
        let read = |text: &str| integer::<i32>(&mut Scanner::new(text.as_bytes()), &mut Vec::new()).ok();
        assert_eq!(read("2147483647"), Some(i32::MAX));
        assert_eq!(read("-2147483648"), Some(i32::MIN));
        assert_eq!(read("\"+7\""), Some(7));
        assert_eq!(read("\"007\""), Some(7));
        for bad in ["2147483648", "1.0", "1e3", "\"\"", "\"1 \"", "+1", "01", "-", "true", "\"-\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let unsigned = |text: &str| integer::<u64>(&mut Scanner::new(text.as_bytes()), &mut Vec::new()).ok();
        assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
        for bad in ["18446744073709551616", "-1", "-0", "\"+1\"", "\"-1\""] {
            assert_eq!(unsigned(bad), None, "{bad}");
        }
    }
}
