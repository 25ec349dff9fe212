//! Certificates and keys: PEM that we write comes back, whatever stands between; what is wrong with other text is said
//! without repeating any of it; and the times of a certificate are those that another reader of dates finds.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use millrace_net::tls::fuzzing::{certificates, key, validity};
use std::time::{Duration, UNIX_EPOCH};

/// Shorter pieces of a text may be in a message by chance.
const SECRET_MIN: usize = 20;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    match choice % 3 {
        0 => any_text(&String::from_utf8_lossy(rest)),
        1 => written(rest),
        _ => times(rest),
    }
    let _ = validity(rest);
});

fn any_text(text: &str) {
    match certificates(text) {
        Ok(found) => {
            assert!(!found.is_empty());
            let again: String = found.iter().map(|der| pem("CERTIFICATE", der)).collect();
            assert_eq!(certificates(&again), Ok(found));
        }
        Err(problem) => repeats_nothing(&problem, text),
    }
    match key(text) {
        Ok(found) => assert!(text.contains("-----BEGIN ") && text.contains("KEY-----"), "{found:?}"),
        Err(problem) => repeats_nothing(&problem, text),
    }
}

/// Lines that may be a part of a key are not in a message.
fn repeats_nothing(problem: &str, text: &str) {
    let is_base64 =
        |line: &&str| line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    for secret in text.lines().filter(|line| line.len() >= SECRET_MIN).filter(is_base64) {
        assert!(!problem.contains(secret), "{problem}");
    }
}

/// Sections of any content, the first byte of each saying which, with comments between them.
fn written(data: &[u8]) {
    let mut text = String::new();
    let (mut expected, mut first_key) = (Vec::new(), None);
    for section in data.split(|byte| *byte == b'\n').filter(|section| section.len() > 1) {
        let der = &section[1..];
        let label = ["CERTIFICATE", "PRIVATE KEY", "X509 CRL", "CERTIFICATE"][usize::from(section[0] % 4)];
        match label {
            "CERTIFICATE" => expected.push(der.to_vec()),
            "PRIVATE KEY" => {
                first_key.get_or_insert_with(|| der.to_vec());
            }
            _ => {}
        }
        text.push_str("# a comment\n");
        text.push_str(&pem(label, der));
    }
    assert_eq!(certificates(&text).unwrap_or_default(), expected, "{text}");
    assert_eq!(key(&text).ok(), first_key, "{text}");
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

const SEQUENCE: u8 = 0x30;

/// A certificate in outline, valid between two times of any text.
fn times(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (from, until) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let serial = parts.next().unwrap_or_default();
    let time = |text: &[u8]| der(if text.len() == 13 { 0x17 } else { 0x18 }, text);
    let outline = [
        der(0xA0, &der(0x02, &[2])),
        der(0x02, serial),
        der(SEQUENCE, &[]),
        der(SEQUENCE, serial),
        der(SEQUENCE, &[time(from), time(until)].concat()),
        der(SEQUENCE, &[]),
    ];
    // The version may be missing.
    for outline in [&outline[..], &outline[1..]] {
        let certificate = der(SEQUENCE, &der(SEQUENCE, &outline.concat()));
        let found = validity(&certificate);
        if let (Some(from), Some(until)) = (date(from), date(until)) {
            assert_eq!(found, Some((from, until)));
        }
    }
}

fn der(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("inputs are short").to_be_bytes();
    [&[kind, 0x82, len[0], len[1]], content].concat()
}

/// The time, as a reader of HTTP's dates understands it, from 1970 on.
fn date(text: &[u8]) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match digits.len() {
        12 => (format!("{}{}", if &digits[..2] < "50" { "20" } else { "19" }, &digits[..2]), &digits[2..]),
        14 => (digits[..4].to_owned(), &digits[4..]),
        _ => return None,
    };
    let month = MONTHS.get(rest[..2].parse::<usize>().ok()?.checked_sub(1)?)?;
    let (day, hour, minute, second) = (&rest[2..4], &rest[4..6], &rest[6..8], &rest[8..]);
    let shown = format!("Mon, {day} {month} {year} {hour}:{minute}:{second} GMT");
    let since = httpdate::parse_http_date(&shown).ok()?.duration_since(UNIX_EPOCH).ok()?;
    // A month has as many days as it has: what is shown again is what was shown, but for the day of the week.
    let exact = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
    (exact[4..] == shown[4..]).then(|| i64::try_from(since.as_secs()).expect("before the year 10000"))
}
