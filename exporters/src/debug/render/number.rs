//! Numbers, times and ids as Go prints them.

use millrace_formats::calendar::date;
use millrace_formats::go::not_finite;
use std::fmt::{self, Display, Formatter};

/// A double as Go's `%f`: six decimals.
pub(super) struct Fixed(pub(super) f64);

impl Display for Fixed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match not_finite(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:.6}", self.0),
        }
    }
}

/// Nanoseconds since 1970 as Go prints a time in UTC: `2006-01-02 15:04:05.999999999 +0000 UTC`, without trailing
/// zeros of the fraction. Like Go, this takes the 64 bits as signed, so what lies after 2262 shows as before 1970.
pub(super) struct Time(pub(super) u64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const NANOS: i64 = 1_000_000_000;
        let since_epoch = self.0 as i64;
        let (seconds, nanos) = (since_epoch.div_euclid(NANOS), since_epoch.rem_euclid(NANOS));
        let (year, month, day) = date(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if nanos != 0 {
            let fraction = format!("{nanos:09}");
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(" +0000 UTC")
    }
}

/// A trace or span id in hexadecimal; nothing if it is unset, which includes all zeros.
pub(super) struct Id<'a>(pub(super) &'a [u8]);

impl Display for Id<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bounds of an exponential histogram's buckets at one scale.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    factor: f64,
}

impl Bounds {
    pub(super) fn at_scale(scale: i32) -> Self {
        Self { factor: times_power_of_two(std::f64::consts::LN_2, scale.saturating_neg()) }
    }

    /// The lower bound of the bucket that lies `position` after the first, which has index `offset`.
    pub(super) fn lower(self, offset: i32, position: usize) -> f64 {
        exp((f64::from(offset) + position as f64) * self.factor)
    }

    /// The upper bound of that bucket.
    pub(super) fn upper(self, offset: i32, position: usize) -> f64 {
        exp((f64::from(offset) + position as f64 + 1.0) * self.factor)
    }
}

/// e^x by the steps that Go takes on x86-64 (N. Shibata, "Efficient evaluation methods of elementary functions
/// suitable for SIMD computation", 2010), so that the last digit comes out the same: take out the power of two,
/// evaluate the Taylor series of e^r - 1 at a sixteenth of the rest, and square the result four times.
fn exp(x: f64) -> f64 {
    const OVERFLOW: f64 = 7.097_827_128_933_84e2;
    const LN_2_HIGH: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN_2_LOW: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    // 1/8!, 1/7!, … 1/2!, 1/1!
    const TAYLOR: [f64; 8] =
        [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    if power < -1075.0 {
        return 0.0;
    }
    let rest = power.mul_add(-LN_2_LOW, power.mul_add(-LN_2_HIGH, x)) * 0.0625;
    let series = TAYLOR.into_iter().reduce(|sum, term| sum.mul_add(rest, term)).unwrap_or_default();
    // With y = e^r - 1, e^2r - 1 is y (y + 2).
    let mut y = series * rest;
    for _ in 0..3 {
        y *= y + 2.0;
    }
    let mantissa = y.mul_add(y + 2.0, 1.0);
    // Go gives up where the power of two alone is too large, even if the product were not.
    if power >= 1024.0 { f64::INFINITY } else { times_power_of_two(mantissa, power as i32) }
}

/// `value` times 2^`power`, rounded once.
fn times_power_of_two(value: f64, power: i32) -> f64 {
    let power = power.clamp(-2000, 2000);
    // In three steps, since 2^power itself may be out of range; for a value near 1 only the last one can round.
    let third = power / 3;
    value * power_of_two(third) * power_of_two(third) * power_of_two(power - 2 * third)
}

/// 2^`power`, for a power of a normal number.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((1023 + power) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_with_six_decimals() {
        let cases = [
            (0.0, "0.000000"),
            (-0.0, "-0.000000"),
            (2.5e-7, "0.000000"),
            (999_999.5, "999999.500000"),
            (-123_456_789.0, "-123456789.000000"),
            (0.0078125, "0.007812"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, fixed) in cases {
            assert_eq!(Fixed(value).to_string(), fixed);
        }
    }

    #[test]
    fn times_print_in_utc_with_as_much_fraction_as_there_is() {
        let cases = [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (1, "1970-01-01 00:00:00.000000001 +0000 UTC"),
            (951_782_400_000_000_000, "2000-02-29 00:00:00 +0000 UTC"),
            (1_704_067_199_999_000_000, "2023-12-31 23:59:59.999 +0000 UTC"),
            (4_107_542_400_000_000_000, "2100-03-01 00:00:00 +0000 UTC"),
            (i64::MAX as u64, "2262-04-11 23:47:16.854775807 +0000 UTC"),
            (1 << 63, "1677-09-21 00:12:43.145224192 +0000 UTC"),
            (u64::MAX, "1969-12-31 23:59:59.999999999 +0000 UTC"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Time(nanos).to_string(), text);
        }
    }

    #[test]
    fn ids_of_zeros_are_unset() {
        assert_eq!(Id(&[0, 1, 0xab]).to_string(), "0001ab");
        assert_eq!(Id(&[0; 16]).to_string(), "");
        assert_eq!(Id(&[]).to_string(), "");
    }

    #[test]
    fn bucket_bounds_equal_go_s_to_the_last_bit() {
        let golden = include_str!("../testdata/bounds.txt");
        for line in golden.lines() {
            let [scale, index, bits] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (scale, index): (i32, i32) = (scale.parse().unwrap(), index.parse().unwrap());
            let expected = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
            let ours = Bounds::at_scale(scale).lower(index, 0);
            assert!(
                ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan(),
                "{line}: {ours:e}"
            );
            if let Some(below) = index.checked_sub(1) {
                let upper = Bounds::at_scale(scale).upper(below, 0);
                assert!(
                    upper.to_bits() == ours.to_bits() || upper.is_nan() && ours.is_nan(),
                    "{line}: {upper:e}"
                );
            }
        }
    }
}
