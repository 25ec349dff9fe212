//! Long texts in parts, so that showing a request takes no more memory for a large one.

use std::fmt;

/// Collects what is written and hands it on in parts of about `limit` bytes, cut after a line where there is one.
pub(super) struct Chunks<F> {
    limit: usize,
    buffer: String,
    hand_on: F,
}

impl<F: FnMut(&str)> Chunks<F> {
    pub(super) fn new(limit: usize, hand_on: F) -> Self {
        Self { limit, buffer: String::new(), hand_on }
    }

    /// Hands on what is left.
    pub(super) fn finish(mut self) {
        (self.hand_on)(&self.buffer);
    }
}

impl<F: FnMut(&str)> fmt::Write for Chunks<F> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while self.buffer.len() + text.len() > self.limit {
            let (head, rest) = text.split_at(text.floor_char_boundary(self.limit - self.buffer.len()));
            self.buffer.push_str(head);
            text = rest;
            let end = self.buffer.rfind('\n').map_or(self.buffer.len(), |line_end| line_end + 1);
            (self.hand_on)(&self.buffer[..end]);
            self.buffer.drain(..end);
        }
        self.buffer.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn parts(limit: usize, texts: &[&str]) -> Vec<String> {
        let mut parts = Vec::new();
        let mut chunks = Chunks::new(limit, |part: &str| parts.push(part.to_owned()));
        for text in texts {
            chunks.write_str(text).expect("it never fails");
        }
        chunks.finish();
        parts
    }

    #[test]
    fn a_text_that_fits_is_one_part() {
        assert_eq!(parts(10, &["one\n", "two\n"]), ["one\ntwo\n"]);
        assert_eq!(parts(8, &["one\n", "two\n"]), ["one\ntwo\n"]);
    }

    #[test]
    fn a_longer_one_is_cut_after_lines() {
        assert_eq!(parts(9, &["one\ntwo\n", "three\n", "four"]), ["one\ntwo\n", "three\n", "four"]);
    }

    #[test]
    fn a_line_that_is_too_long_by_itself_is_cut_between_characters() {
        let parts = parts(5, &["a\nüüüüü\n"]);
        assert_eq!(parts.concat(), "a\nüüüüü\n");
        assert!(parts.iter().all(|part| part.len() <= 5), "{parts:?}");
    }
}
