//! Text that is most likely, but not certainly, UTF-8.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// The bytes of a string field. They are valid UTF-8 unless configuration lets invalid text through, so keys are
/// compared and patterns matched on bytes.
///
/// Displays with U+FFFD in place of what is not UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, if it is UTF-8.
    #[must_use]
    pub fn to_str(self) -> Option<&'a str> {
        simdutf8::basic::from_utf8(self.0).ok()
    }

    /// The text, with U+FFFD in place of what is not UTF-8; allocates only in that case.
    #[must_use]
    pub fn to_str_lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_kept_as_bytes_and_shown_as_replacement() {
        let text = Text(b"caf\xe9 au lait");
        assert_eq!(text.as_bytes(), b"caf\xe9 au lait");
        assert_eq!(text.to_str(), None);
        assert_eq!(text.to_string(), "caf\u{fffd} au lait");
        assert_eq!(text.to_str_lossy(), text.to_string());
    }

    #[test]
    fn valid_text_is_borrowed() {
        let text = Text("Grüße".as_bytes());
        assert_eq!(text.to_str(), Some("Grüße"));
        assert!(matches!(text.to_str_lossy(), Cow::Borrowed("Grüße")));
        assert_eq!(text, "Grüße");
    }
}
