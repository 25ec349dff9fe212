//! Escaping of names that are more than letters, digits, `_` and `:`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What becomes of names that are more than letters, digits, `_` and `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// They are quoted.
    AllowUtf8,
    /// What does not belong becomes `_`.
    Underscores,
    /// Dots become `_dot_`, underscores are doubled.
    Dots,
    /// What does not belong becomes its code point in hexadecimal, after `U__`.
    Values,
}

/// Whether a name can stand without quotes.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().enumerate().all(|(at, c)| belongs(c, at))
}

fn belongs(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

/// The name as the reader wants it. Names that are plain are left alone under every scheme.
#[must_use]
pub fn escape(name: &str, escaping: Escaping) -> Cow<'_, str> {
    if escaping == Escaping::AllowUtf8 || is_plain(name) || name.is_empty() {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 16);
    if escaping == Escaping::Values {
        out.push_str("U__");
    }
    // A digit belongs anywhere but at the first byte.
    for (at, c) in name.char_indices() {
        match (escaping, c) {
            (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
            (Escaping::Dots, '.') => out.push_str("_dot_"),
            (_, c) if belongs(c, at) => out.push(c),
            (Escaping::Dots, _) => out.push_str("__"),
            (Escaping::Values, c) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "_{:x}_", u32::from(c));
            }
            _ => out.push('_'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_asked() {
        let cases = [
            (Escaping::AllowUtf8, "a_b.c", "a_b.c"),
            (Escaping::Underscores, "a_b.c", "a_b_c"),
            (Escaping::Underscores, "0é.1", "___1"),
            (Escaping::Dots, "a_b.c-d", "a__b_dot_c__d"),
            (Escaping::Dots, "a_b", "a_b"),
            (Escaping::Values, "a_b.c", "U__a__b_2e_c"),
            (Escaping::Values, "é", "U___e9_"),
        ];
        for (escaping, name, expected) in cases {
            assert_eq!(escape(name, escaping), expected);
        }
    }
}
