//! From when to when a certificate is valid (RFC 5280, section 4.1.2.5), which rustls checks and does not tell.
//!
//! Only as much DER as it takes to get there; what is not in form has no times.

use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xA0;

/// From when to when, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: i64,
    pub(super) until: i64,
}

impl Validity {
    /// Reads the times of a certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = any(rest)?.2;
        }
        // The serial number, the signature's algorithm, the issuer.
        for _ in 0..3 {
            rest = any(rest)?.2;
        }
        let (times, _) = element(rest, SEQUENCE)?;
        let (kind, from, times) = any(times)?;
        let (kind_until, until, _) = any(times)?;
        Some(Self { from: time(kind, from)?, until: time(kind_until, until)? })
    }

    /// Whether it is valid at that time.
    pub(super) fn covers(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.from..=self.until).contains(&now))
    }

    /// How long it has been invalid, if it is over.
    pub(super) fn over_for(&self, now: UnixTime) -> Option<Duration> {
        let until = u64::try_from(self.until).unwrap_or(0);
        now.as_secs().checked_sub(until).filter(|over| *over > 0).map(Duration::from_secs)
    }
}

/// The content of an element of `kind`, and what follows it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(der)?;
    (found == kind).then_some((content, rest))
}

/// The kind and content of an element, and what follows it.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((kind, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that RFC 5280 allows.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let (digits, zulu) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if zulu != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (kind, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (year + if year < 50 { 2000 } else { 1900 }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |index: usize| number(&rest[2 * index..2 * index + 2]);
    let days = days_since_1970(year, part(0), part(1))?;
    Some(((days * 24 + part(2)) * 60 + part(3)) * 60 + part(4))
}

/// Days of the proleptic Gregorian calendar, with years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (153 * month + 2) / 5;
    Some(365 * year + leap_days + before_month + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
    }

    #[test]
    fn the_times_are_those_that_were_put_in() {
        for (from, until) in [
            ((1970, 1, 1), (2000, 2, 29)),
            ((2024, 2, 29), (2049, 12, 31)),
            ((1999, 12, 31), (2050, 1, 1)),
            ((2026, 3, 1), (4096, 1, 1)),
        ] {
            let unix = |(year, month, day)| date_time_ymd(year, month, day).unix_timestamp();
            let expected = Validity { from: unix(from), until: unix(until) };
            assert_eq!(Validity::of(&certificate(from, until)), Some(expected));
        }
    }

    #[test]
    fn damage_anywhere_is_no_reason_to_panic() {
        let whole = certificate((2020, 1, 1), (2030, 1, 1));
        for len in 0..whole.len() {
            let _ = Validity::of(&whole[..len].into());
        }
        for index in 0..whole.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut damaged = whole.to_vec();
                damaged[index] ^= flip;
                let _ = Validity::of(&damaged.into());
            }
        }
        assert_eq!(time(UTC_TIME, b"991332000000Z"), None);
        assert_eq!(time(UTC_TIME, b"Z"), None);
        assert_eq!(time(UTC_TIME, b""), None);
    }

    #[test]
    fn being_over_begins_a_second_after_the_last() {
        let validity = Validity { from: 100, until: 200 };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        assert!(!validity.covers(at(99)) && validity.covers(at(100)) && validity.covers(at(200)));
        assert_eq!(validity.over_for(at(200)), None);
        assert_eq!(validity.over_for(at(201)), Some(Duration::from_secs(1)));
    }
}
