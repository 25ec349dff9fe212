//! Strings: escapes, UTF-8, hexadecimal and base64.

use super::error::Problem;
use super::scan::{Fault, RawString};

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Appends a string with its escapes resolved. Lone surrogates become U+FFFD, as in Go: a surrogate that is followed
/// by another `\u` escape takes that one with it, whether or not they are a pair.
pub(super) fn unescape(string: RawString<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    walk(string, |part| match part {
        Part::Plain(bytes) => out.extend_from_slice(bytes),
        Part::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    })
}

/// Checks the escapes of a string that is not wanted.
pub(super) fn check_escapes(string: RawString<'_>) -> Result<(), Fault> {
    walk(string, |_| ())
}

enum Part<'a> {
    Plain(&'a [u8]),
    Char(char),
}

fn walk<'a>(string: RawString<'a>, mut emit: impl FnMut(Part<'a>)) -> Result<(), Fault> {
    let bytes = string.bytes;
    let mut at = 0;
    while let Some(index) = memchr::memchr(b'\\', &bytes[at..]) {
        emit(Part::Plain(&bytes[at..at + index]));
        at += index;
        let bad = || Fault::new(string.offset + at, Problem::BadEscape);
        let (char, len) = match bytes.get(at + 1).ok_or_else(bad)? {
            b'"' => ('"', 2),
            b'\\' => ('\\', 2),
            b'/' => ('/', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => {
                let unit = code_unit(&bytes[at..]).ok_or_else(bad)?;
                match char::from_u32(unit) {
                    Some(char) => (char, 6),
                    // A surrogate.
                    None if bytes[at + 6..].starts_with(b"\\u") => {
                        let second = code_unit(&bytes[at + 6..]).ok_or_else(bad)?;
                        let paired = pair(unit, second).unwrap_or_else(|| {
                            emit(Part::Char(char::REPLACEMENT_CHARACTER));
                            char::from_u32(second).unwrap_or(char::REPLACEMENT_CHARACTER)
                        });
                        (paired, 12)
                    }
                    None => (char::REPLACEMENT_CHARACTER, 6),
                }
            }
            _ => return Err(bad()),
        };
        emit(Part::Char(char));
        at += len;
    }
    emit(Part::Plain(&bytes[at..]));
    Ok(())
}

/// The number in `\uxxxx`.
fn code_unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.get(2..6)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | u32::from(hex_digit(digit)?)))
}

fn pair(high: u32, low: u32) -> Option<char> {
    let is_pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    is_pair.then(|| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))).flatten()
}

/// Appends bytes as UTF-8, with U+FFFD for every bad sequence.
pub(super) fn put_repaired(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

/// Appends text as a JSON string. What is not UTF-8 becomes U+FFFD.
pub(crate) fn put_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if simdutf8::basic::from_utf8(text).is_ok() {
        put_escaped(out, text);
    } else {
        let mut repaired = Vec::with_capacity(text.len() + 16);
        put_repaired(&mut repaired, text);
        put_escaped(out, &repaired);
    }
    out.push(b'"');
}

fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Without an early exit the compiler checks many bytes at once; most strings need no escape.
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.iter().fold(false, |any, &byte| any | needs_escape(byte)) {
        out.extend_from_slice(text);
        return;
    }
    let mut plain_from = 0;
    for (index, &byte) in text.iter().enumerate() {
        if !needs_escape(byte) {
            continue;
        }
        out.extend_from_slice(&text[plain_from..index]);
        plain_from = index + 1;
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                out.extend_from_slice(b"\\u00");
                put_hex(out, &[byte]);
            }
        }
    }
    out.extend_from_slice(&text[plain_from..]);
}

/// Appends bytes as lower-case hexadecimal digits.
pub(super) fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Reads an id: exactly as many bytes as `id` has. The caller has checked that there are twice as many digits.
pub(super) fn read_hex(digits: &[u8], id: &mut [u8]) -> Option<()> {
    for (byte, digit) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(digit[0])? << 4 | hex_digit(digit[1])?;
    }
    Some(())
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends bytes in base64 with padding (RFC 4648, section 4).
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, index: u32| DIGITS[(group >> (18 - 6 * index) & 63) as usize];
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| chunk.get(index).copied().map_or(0, u32::from);
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.extend_from_slice(&[digit(group, 0), digit(group, 1)]);
        out.push(if chunk.len() > 1 { digit(group, 2) } else { b'=' });
        out.push(if chunk.len() > 2 { digit(group, 3) } else { b'=' });
    }
}

/// Appends the bytes that base64 stands for: the standard or the URL alphabet, padded or not, line ends ignored and
/// left-over bits not looked at, as in Go.
pub(super) fn read_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut group = 0u32;
    let mut digits = 0u32;
    let mut padding = 0u32;
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\n' | b'\r' => continue,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        group = group << 6 | u32::from(value);
        digits += 1;
        if digits.is_multiple_of(4) {
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            group = 0;
        }
    }
    match (digits % 4, padding) {
        (0, 0) => {}
        (2, 0 | 2) => out.push((group >> 4) as u8),
        (3, 0 | 1) => out.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_test_vectors_of_its_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, encoded) in vectors {
            let mut out = Vec::new();
            put_base64(&mut out, plain.as_bytes());
            assert_eq!(out, encoded.as_bytes());
            for text in [encoded, encoded.trim_end_matches('=')] {
                let mut back = Vec::new();
                assert_eq!(read_base64(text.as_bytes(), &mut back), Some(()), "{text}");
                assert_eq!(back, plain.as_bytes());
            }
        }
        let mut url = Vec::new();
        assert_eq!(read_base64(b"-_-_", &mut url), Some(()));
        assert_eq!(url, [0xfb, 0xff, 0xbf]);
        for bad in ["Z", "Zg=", "Zg===", "Z===", "Zg==Zg==", "Z!", "====", "Zm9v="] {
            assert_eq!(read_base64(bad.as_bytes(), &mut Vec::new()), None, "{bad}");
        }
    }

    #[test]
    fn surrogates_are_paired_or_replaced_as_in_go() {
        let cases = [
            (r"\ud83d\ude00", "😀"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud800\ud83d\ude00", "\u{fffd}\u{fffd}\u{fffd}"),
            (r"a\u0000\/\b\f", "a\0/\u{8}\u{c}"),
        ];
        for (escaped, plain) in cases {
            let mut out = Vec::new();
            unescape(RawString { bytes: escaped.as_bytes(), escaped: true, offset: 0 }, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), plain, "{escaped}");
        }
        for bad in [r"\x", r"\u12", r"\u12g4", r"\ud83d\u1", "\\"] {
            let string = RawString { bytes: bad.as_bytes(), escaped: true, offset: 0 };
            assert!(check_escapes(string).is_err(), "{bad}");
        }
    }
}
