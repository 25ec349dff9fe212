//! The small reads of the hot path: what is decided by looking at a few bytes.

/// Whether all bytes are below 0x80.
///
/// Written for strings of 8 to 100 bytes: no alignment, no call, and the last word may overlap the one before it.
#[inline(always)]
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut any = 0u64;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |any, byte| any | byte) < 0x80;
    };
    for word in bytes.as_chunks::<8>().0 {
        any |= u64::from_le_bytes(*word);
    }
    (any | u64::from_le_bytes(*last)) & HIGH == 0
}

/// Whether the bytes are exactly one varint, no longer than it needs to be.
#[inline]
pub(super) fn is_minimal_varint(bytes: &[u8]) -> bool {
    match bytes {
        [byte] => *byte < 0x80,
        [all_but_last @ .., last] if bytes.len() <= 10 => {
            let ends = if bytes.len() == 10 { *last == 1 } else { *last != 0 && *last < 0x80 };
            ends && all_but_last.iter().all(|byte| *byte >= 0x80)
        }
        _ => false,
    }
}

/// Whether a `KeyValue` is of the plain kind that nearly all are: a key and one string, bool, integer, double or
/// nothing as its value, in that order, all lengths below 128, all text ASCII.
///
/// A `false` says nothing: the general walk decides then.
#[inline(always)]
pub(super) fn is_plain_key_value(bytes: &[u8]) -> bool {
    // Then all lengths in it are below 128 too, or reach past its end; and values nested in values, which are tested
    // here once for each level, cost no more than that.
    if bytes.len() >= 0x80 {
        return false;
    }
    let ascii = is_ascii(bytes);
    let [0x0a, key_len, rest @ ..] = bytes else { return false };
    let Some((key, rest)) = rest.split_at_checked(usize::from(*key_len)) else { return false };
    let [0x12, value_len, value @ ..] = rest else { return false };
    if value.len() != usize::from(*value_len) {
        return false;
    }
    match value {
        [0x0a, len, text @ ..] => ascii && text.len() == usize::from(*len),
        [0x18, number @ ..] => is_minimal_varint(number) && (ascii || is_ascii(key)),
        [0x10, 0 | 1] | [] => ascii,
        [0x21, double @ ..] => double.len() == 8 && (ascii || is_ascii(key)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;
    use crate::writer::put_varint;

    #[test]
    fn ascii_is_what_the_standard_library_says() {
        for len in 0..40 {
            for at in 0..=len {
                let mut bytes = vec![0x7f; len];
                if at < len {
                    bytes[at] = 0x80;
                }
                assert_eq!(is_ascii(&bytes), bytes.is_ascii(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn minimal_varints_are_told_from_others() {
        for shift in 0..64 {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, u64::MAX >> shift);
            assert!(is_minimal_varint(&bytes), "{bytes:?}");
            assert!(!is_minimal_varint(&bytes[..bytes.len() - 1]), "{bytes:?} without its last byte");
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push(0);
            assert!(!is_minimal_varint(&bytes), "{bytes:?}");
        }
        let too_wide = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(Cursor::new(&too_wide).varint().is_err());
        assert!(!is_minimal_varint(&too_wide));
    }
}
