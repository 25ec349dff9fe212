//! Lengths of time as Go writes them: `300ms`, `1.5h`, `2h45m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::decode::markers;
use crate::validate::Validate;

/// A length of time in a configuration, 0 or longer.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// That many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// That many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// The standard library's type.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl Validate for Duration {}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number needs a unit.
    #[error("a duration needs a unit\ndid you mean \"{0}s\"?")]
    NoUnit(String),
    /// There is no such unit.
    #[error("unknown unit `{0}` in a duration\naccepted units: ns, us, ms, s, m, h")]
    Unit(String),
    /// It is below zero.
    #[error("a duration cannot be negative")]
    Negative,
    /// It exceeds what Go can hold.
    #[error("a duration cannot be longer than 292 years")]
    TooLong,
    /// It is something else.
    #[error("this is not a duration\nwrite it as \"300ms\", \"1.5h\" or \"2h45m\"")]
    Malformed,
}

impl FromStr for Duration {
    type Err = DurationError;

    /// Go's `time.ParseDuration`, without negative lengths.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(DurationError::Malformed);
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
            if whole.is_empty() && fraction.is_empty() {
                return Err(DurationError::Malformed);
            }
            let unit_length = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_length);
            let unit_nanos: u128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(DurationError::NoUnit(text.to_owned())),
                unit => return Err(DurationError::Unit(unit.to_owned())),
            };
            nanos += amount(whole, fraction, unit_nanos).ok_or(DurationError::TooLong)?;
            if nanos > i64::MAX as u128 {
                return Err(DurationError::TooLong);
            }
            rest = after;
        }
        if negative && nanos > 0 {
            return Err(DurationError::Negative);
        }
        let nanos = u64::try_from(nanos).map_err(|_| DurationError::TooLong)?;
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units in nanoseconds, cut off below one.
fn amount(whole: &str, fraction: &str, unit_nanos: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    // No unit is longer than 3.6e12 ns, so further digits cannot matter.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * unit_nanos + fraction * unit_nanos / scale)
}

impl fmt::Display for Duration {
    /// As Go prints it: `1m30s`, `200ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let (mut whole, part) = (nanos / unit, nanos % unit);
        if name == "s" {
            if whole >= 3600 {
                write!(f, "{}h", whole / 3600)?;
            }
            if whole >= 60 {
                write!(f, "{}m", whole / 60 % 60)?;
            }
            whole %= 60;
        }
        write!(f, "{whole}")?;
        if part > 0 {
            let width = unit.to_string().len() - 1;
            let fraction = format!("{part:0width$}");
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(name)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;

        impl<'de> Visitor<'de> for DurationVisitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"5s\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
                match number {
                    0 => Ok(Duration::ZERO),
                    ..0 => Err(E::custom(DurationError::Negative)),
                    _ => Err(E::custom(DurationError::NoUnit(number.to_string()))),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
                Err(E::custom(DurationError::NoUnit(number.to_string())))
            }

            /// An empty variable.
            fn visit_unit<E: Error>(self) -> Result<Duration, E> {
                Ok(Duration::ZERO)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Duration, D::Error> {
                inner.deserialize_any(self)
            }
        }

        deserializer.deserialize_newtype_struct(markers::SCALAR, DurationVisitor)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            // `0` needs no unit.
            "minimum": 0,
            "maximum": 0,
            "format": "go-duration",
            "pattern": r"^\+?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_in_go() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("+0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("200ms", 200_000_000, "200ms"),
            ("1us", 1_000, "1µs"),
            ("1.5µs", 1_500, "1.5µs"),
            ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
            ("90m", 5_400_000_000_000, "1h30m0s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("0.0000000001s", 0, "0s"),
            ("-0s", 0, "0s"),
            ("60s", 60_000_000_000, "1m0s"),
            ("9223372036854775807ns", i64::MAX as u64, "2562047h47m16.854775807s"),
        ] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!(duration.get().as_nanos(), u128::from(nanos), "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let unit = |unit: &str| DurationError::Unit(unit.to_owned());
        for (text, expected) in [
            ("", DurationError::Malformed),
            ("s", DurationError::Malformed),
            (".s", DurationError::Malformed),
            ("five", DurationError::Malformed),
            ("5", DurationError::NoUnit("5".to_owned())),
            ("1h5", DurationError::NoUnit("1h5".to_owned())),
            ("5d", unit("d")),
            ("5 s", unit(" s")),
            ("-5s", DurationError::Negative),
            ("9223372036854775808ns", DurationError::TooLong),
            ("99999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(text.parse::<Duration>(), Err(expected), "{text}");
        }
    }
}
