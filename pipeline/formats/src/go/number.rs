//! Numbers.

use std::fmt::{self, Display, Formatter, Write};
use std::ops::Range;

/// A double as Go's `%v`: the shortest digits that read back, with an exponent of two digits or more below 1e-4 and
/// from 1e6 on.
#[derive(Debug, Clone, Copy)]
pub struct Shortest(pub f64);

impl Display for Shortest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match not_finite(self.0) {
            Some(name) => f.write_str(name),
            None => Decimal::nearest(self.0).fmt(f, 1e-4..1e6, 2),
        }
    }
}

/// A finite double as JSON and ECMAScript print it: an exponent below 1e-6 and from 1e21 on.
#[derive(Debug, Clone, Copy)]
pub struct Json(pub f64);

impl Display for Json {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Decimal::nearest(self.0).fmt(f, 1e-6..1e21, 1)
    }
}

/// The name of what is no finite number.
#[must_use]
pub fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ if value.is_nan() => Some("NaN"),
        _ => None,
    }
}

/// The shortest decimal that reads back as a finite double: a digit, the point, further digits, times ten to a power.
struct Decimal {
    value: f64,
    digits: String,
    power: i32,
}

impl Decimal {
    /// Of several equally short ones the nearest, of two equally near ones the even one, as in Go. The standard library
    /// takes the upper one, but rounds to even where the number of digits is given. What is nearest may not read back
    /// at a power of two, below which doubles lie closer together.
    fn nearest(value: f64) -> Self {
        let size = value.abs();
        let shortest = format!("{size:e}");
        let digits = shortest.bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
        let rounded = format!("{size:.*e}", digits.saturating_sub(1));
        let chosen = if rounded.parse() == Ok(size) { rounded } else { shortest };
        let (digits, power) = chosen.split_once('e').unwrap_or((&chosen, "0"));
        Self { value, digits: digits.replace('.', ""), power: power.parse().unwrap_or_default() }
    }

    /// Without an exponent if the value lies in `plain` or is zero, else with one of at least that many digits.
    fn fmt(&self, f: &mut Formatter<'_>, plain: Range<f64>, exponent_digits: usize) -> fmt::Result {
        if self.value.is_sign_negative() {
            f.write_char('-')?;
        }
        let size = self.value.abs();
        if size == 0.0 || plain.contains(&size) {
            self.plain(f)
        } else {
            let (first, rest) = self.digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let sign = if self.power < 0 { '-' } else { '+' };
            write!(f, "{first}{point}{rest}e{sign}{:0>exponent_digits$}", self.power.unsigned_abs())
        }
    }

    fn plain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let before_point = usize::try_from(self.power + 1).unwrap_or_default();
        if before_point == 0 {
            let zeros = self.power.unsigned_abs() as usize - 1;
            write!(f, "0.{:0>zeros$}{}", "", self.digits)
        } else if self.digits.len() <= before_point {
            write!(f, "{:0<before_point$}", self.digits)
        } else {
            let (whole, fraction) = self.digits.split_at(before_point);
            write!(f, "{whole}.{fraction}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_go_prints_them() {
        let cases = [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (0.1, "0.1", "0.1"),
            (2.5e-7, "2.5e-07", "2.5e-7"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (999_999.5, "999999.5", "999999.5"),
            (1e6, "1e+06", "1000000"),
            (-123_456_789.0, "-1.23456789e+08", "-123456789"),
            (1e21, "1e+21", "1e+21"),
            (5e-324, "5e-324", "5e-324"),
            (0.0078125, "0.0078125", "0.0078125"),
        ];
        for (value, shortest, json) in cases {
            assert_eq!(Shortest(value).to_string(), shortest);
            assert_eq!(Json(value).to_string(), json);
        }
        let between_two_shortest = 13_591_544_514_628.0 + 0.3125;
        assert_eq!(Json(between_two_shortest).to_string(), "13591544514628.312");
        assert_eq!(Json(2f64.powi(122)).to_string(), "5.316911983139664e+36");
        for (value, name) in [(f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf"), (f64::NAN, "NaN")] {
            assert_eq!(Shortest(value).to_string(), name);
        }
    }
}
