//! The acknowledged-items file: what a generator was promised, so that a sink can be held to it.
//!
//! One line per range, `RUN FIRST LAST` (run in hexadecimal, sequences inclusive); `#` begins a comment.

use std::fmt::Write as _;
use thiserror::Error;

/// Consecutive acknowledged items of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckedRange {
    /// The generator run.
    pub run: u64,
    /// The first sequence.
    pub first: u64,
    /// The last sequence, inclusive.
    pub last: u64,
}

impl AckedRange {
    /// How many items the range holds; never zero.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// A line that is not `RUN FIRST LAST`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line} of the acknowledged-items file is not `RUN FIRST LAST` with FIRST <= LAST: {text:?}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// Collects acknowledged ranges in any order and gives them back merged.
#[derive(Debug, Default)]
pub struct Collector {
    ranges: Vec<(u64, u64)>,
}

impl Collector {
    /// Adds `count` items from `first`.
    pub fn add(&mut self, first: u64, count: u64) {
        match self.ranges.last_mut() {
            Some((_, last)) if *last + 1 == first => *last += count,
            _ => self.ranges.push((first, first + count - 1)),
        }
    }

    /// Takes over another collector's ranges.
    pub fn absorb(&mut self, other: Self) {
        self.ranges.extend(other.ranges);
    }

    /// The ranges, ascending, neighbours joined.
    #[must_use]
    pub fn merged(mut self, run: u64) -> Vec<AckedRange> {
        self.ranges.sort_unstable();
        let mut merged: Vec<AckedRange> = Vec::new();
        for (first, last) in self.ranges {
            match merged.last_mut() {
                Some(open) if open.last + 1 >= first => open.last = open.last.max(last),
                _ => merged.push(AckedRange { run, first, last }),
            }
        }
        merged
    }
}

/// Writes the file's text.
#[must_use]
pub fn render(ranges: &[AckedRange]) -> String {
    let mut text = String::from("# run first last (acknowledged items, inclusive)\n");
    for range in ranges {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:016x} {} {}", range.run, range.first, range.last);
    }
    text
}

/// Reads the file's text.
///
/// # Errors
/// The first line that is neither a range, a comment nor blank.
pub fn parse(text: &str) -> Result<Vec<AckedRange>, BadLine> {
    let mut ranges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let range = parse_line(line).ok_or_else(|| BadLine { line: index + 1, text: line.to_owned() })?;
        ranges.push(range);
    }
    Ok(ranges)
}

fn parse_line(line: &str) -> Option<AckedRange> {
    let mut words = line.split_whitespace();
    let run = u64::from_str_radix(words.next()?, 16).ok()?;
    let first: u64 = words.next()?.parse().ok()?;
    let last: u64 = words.next()?.parse().ok()?;
    (first <= last && words.next().is_none()).then_some(AckedRange { run, first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_added_out_of_order_come_back_joined() {
        let mut one = Collector::default();
        one.add(101, 100);
        one.add(201, 100);
        let mut two = Collector::default();
        two.add(1, 100);
        two.add(401, 100);
        one.absorb(two);

        let merged = one.merged(3);

        assert_eq!(
            merged,
            [AckedRange { run: 3, first: 1, last: 300 }, AckedRange { run: 3, first: 401, last: 500 }]
        );
        assert_eq!(parse(&render(&merged)), Ok(merged));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = parse("# fine\n\n00ff 1 9\n00ff 9 1\n").unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (4, "00ff 9 1"));
    }
}
