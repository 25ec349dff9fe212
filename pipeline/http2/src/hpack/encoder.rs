//! Writing header blocks. Nothing is added to a table, and nothing coded: answers have a few short fields, and without
//! state there is nothing to hold for each connection.

use super::statics::FIELDS;

const STATUS: usize = 8;

/// Says that no table is needed, which the peer must be told when it asks for a small one.
pub(crate) const TABLE_SIZE_ZERO: u8 = 0x20;

/// Writes the status of an answer.
pub(crate) fn put_status(out: &mut Vec<u8>, status: http::StatusCode) {
    let known = FIELDS.iter().position(|field| *field == (":status", status.as_str()));
    match known {
        Some(at) => put_number(out, 7, 0x80, at + 1),
        None => {
            put_number(out, 4, 0, STATUS);
            put_text(out, status.as_str().as_bytes());
        }
    }
}

/// Writes a field, in such a way that whoever passes it on does not index it where it is a secret.
pub(crate) fn put_field(out: &mut Vec<u8>, name: &http::HeaderName, value: &http::HeaderValue) {
    let kind = if value.is_sensitive() { 0x10 } else { 0 };
    match FIELDS.iter().position(|(known, _)| *known == name.as_str()) {
        Some(at) => put_number(out, 4, kind, at + 1),
        None => {
            out.push(kind);
            put_text(out, name.as_str().as_bytes());
        }
    }
    put_text(out, value.as_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, 7, 0, text.len());
    out.extend_from_slice(text);
}

/// Writes a number into the lower `prefix` bits of a byte whose upper ones are those of `first`, and on from there.
fn put_number(out: &mut Vec<u8>, prefix: u32, first: u8, number: usize) {
    let mask = (1_usize << prefix) - 1;
    let Some(mut rest) = number.checked_sub(mask) else {
        out.push(first | number as u8);
        return;
    };
    out.push(first | mask as u8);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;
    use http::{HeaderName, HeaderValue, StatusCode};

    #[test]
    fn numbers_of_the_standard() {
        // Appendix C.1.
        for (prefix, number, coded) in
            [(5, 10, &[0x0A][..]), (5, 1337, &[0x1F, 0x9A, 0x0A]), (8, 42, &[0x2A])]
        {
            let mut out = Vec::new();
            put_number(&mut out, prefix, 0, number);
            assert_eq!(out, coded);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut random = fastrand::Rng::with_seed(3);
        let names = ["content-type", "grpc-status", "x-long", "authorization", "date"];
        for status in (100..600).map(|code| StatusCode::from_u16(code).expect("a status")) {
            let mut block = Vec::new();
            let mut expected = vec![(b":status".to_vec(), status.as_str().as_bytes().to_vec(), false)];
            put_status(&mut block, status);
            for _ in 0..random.usize(..5) {
                let name = names[random.usize(..names.len())];
                let value = "v".repeat(random.usize(..500));
                let mut header = HeaderValue::from_str(&value).expect("a value");
                header.set_sensitive(random.bool());
                put_field(&mut block, &HeaderName::from_static(name), &header);
                expected.push((name.into(), value.into(), header.is_sensitive()));
            }
            let mut read = Vec::new();
            let field =
                |name: &[u8], value: &[u8], secret| read.push((name.to_vec(), value.to_vec(), secret));
            Decoder::new().decode(&block, field).expect("in form");
            assert_eq!(read, expected);
        }
    }
}
