//! The JSON scanner: white space, punctuation, strings, numbers, and stepping over what is not wanted.
//!
//! It walks over bytes and allocates nothing; escapes are resolved by [`super::text`] where a string is wanted.

use super::error::{JsonError, Problem, Step, path, place};
use super::text;

/// An error on its way up: each level adds its step to the path.
#[derive(Debug)]
pub(crate) struct Fault {
    offset: usize,
    problem: Problem,
    steps: Vec<Step>,
}

impl Fault {
    pub(crate) fn new(offset: usize, problem: Problem) -> Self {
        Self { offset, problem, steps: Vec::new() }
    }

    pub(super) fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Gives the error its place in the text.
    pub(crate) fn located(self, text: &[u8]) -> JsonError {
        let (line, column) = place(text, self.offset);
        JsonError { offset: self.offset, line, column, path: path(&self.steps), problem: self.problem }
    }
}

/// A string as it stands in the text, between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawString<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether there are backslashes in it.
    pub(crate) escaped: bool,
    /// The offset of the first byte after the quote.
    pub(crate) offset: usize,
}

impl<'a> RawString<'a> {
    /// The string's bytes, with escapes resolved into `scratch` when there are any.
    pub(crate) fn resolve<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Fault>
    where
        'a: 's,
    {
        if !self.escaped {
            return Ok(self.bytes);
        }
        scratch.clear();
        text::unescape(*self, scratch)?;
        Ok(scratch)
    }
}

/// A position in a JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space, which stays unread.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, Fault> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(self.fault(Problem::Truncated)),
            }
        }
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(self.fault(Problem::TrailingText)),
        }
    }

    /// Reads `byte`, or says what was expected.
    #[inline]
    fn punctuation(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        let found = self.peek()?;
        if found != byte {
            return Err(self.fault(Problem::Unexpected { expected, found }));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads `null` if it comes next.
    #[inline]
    pub(crate) fn null(&mut self) -> Result<bool, Fault> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.literal(b"null").map(|()| true)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.peek()? {
            b't' => self.literal(b"true").map(|()| true),
            b'f' => self.literal(b"false").map(|()| false),
            found => Err(self.fault(Problem::Unexpected { expected: "true or false", found })),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        for &expected in word {
            match self.text.get(self.at) {
                Some(&found) if found == expected => self.at += 1,
                Some(&found) => {
                    return Err(self.fault(Problem::Unexpected { expected: "null, true or false", found }));
                }
                None => return Err(self.fault(Problem::Truncated)),
            }
        }
        Ok(())
    }

    /// Opens an object; `key` is then called until it gives none.
    #[inline]
    pub(crate) fn open_object(&mut self) -> Result<(), Fault> {
        self.punctuation(b'{', "an object")
    }

    /// The next key of an object, with its colon; or none, and the object is closed.
    #[inline]
    pub(crate) fn key(&mut self, first: bool) -> Result<Option<RawString<'a>>, Fault> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !first => self.at += 1,
            found if !first => return Err(self.fault(Problem::Unexpected { expected: "',' or '}'", found })),
            _ => {}
        }
        let found = self.peek()?;
        if found != b'"' {
            return Err(self.fault(Problem::Unexpected { expected: "a key in quotes", found }));
        }
        let key = self.string()?;
        self.punctuation(b':', "':'")?;
        Ok(Some(key))
    }

    /// Opens a list; `element` is then called before each element until it says there is none.
    #[inline]
    pub(crate) fn open_list(&mut self) -> Result<(), Fault> {
        self.punctuation(b'[', "a list")
    }

    /// Whether another element comes; if not, the list is closed.
    #[inline]
    pub(crate) fn element(&mut self, first: bool) -> Result<bool, Fault> {
        match self.peek()? {
            b']' => {
                self.at += 1;
                Ok(false)
            }
            _ if first => Ok(true),
            b',' => {
                self.at += 1;
                // A comma promises an element: a closing bracket is found wanting by whoever reads it.
                self.peek().map(|_| true)
            }
            found => Err(self.fault(Problem::Unexpected { expected: "',' or ']'", found })),
        }
    }

    /// Reads a string without resolving its escapes.
    pub(crate) fn string(&mut self) -> Result<RawString<'a>, Fault> {
        self.punctuation(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        let mut at = start;
        let end = loop {
            let rest = self.text.get(at..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(index) if rest[index] == b'"' => break at + index,
                Some(index) => {
                    escaped = true;
                    at += index + 2;
                }
                None => return Err(Fault::new(self.text.len(), Problem::Truncated)),
            }
        };
        let bytes = &self.text[start..end];
        // Without an early exit the compiler checks many bytes at once.
        if bytes.iter().fold(false, |bad, &byte| bad | (byte < 0x20)) {
            let index = bytes.iter().position(|&byte| byte < 0x20).unwrap_or_default();
            return Err(Fault::new(start + index, Problem::ControlCharacter(bytes[index])));
        }
        self.at = end + 1;
        Ok(RawString { bytes, escaped, offset: start })
    }

    /// Reads a number as JSON writes it: no plus sign, no leading zero or point, digits after a point.
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let leading = self.at;
        let digits = self.digits()?;
        if digits > 1 && self.text[leading] == b'0' {
            return Err(Fault::new(start, Problem::BadNumber));
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        match self.at - start {
            0 if self.at == self.text.len() => Err(self.fault(Problem::Truncated)),
            0 => Err(self.fault(Problem::BadNumber)),
            count => Ok(count),
        }
    }

    /// Steps over any value, lists and objects up to `depth` levels.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<(), Fault> {
        match self.peek()? {
            b'"' => {
                let string = self.string()?;
                if string.escaped { text::check_escapes(string) } else { Ok(()) }
            }
            b'{' | b'[' if depth == 0 => Err(self.fault(Problem::TooDeep)),
            b'{' => {
                self.open_object()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    self.skip(depth - 1)?;
                }
                Ok(())
            }
            b'[' => {
                self.open_list()?;
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    self.skip(depth - 1)?;
                }
                Ok(())
            }
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b't' | b'f' => self.boolean().map(drop),
            b'n' => self.null().map(drop),
            found => Err(self.fault(Problem::Unexpected { expected: "a value", found })),
        }
    }

    /// An error at the next byte.
    pub(crate) fn fault(&self, problem: Problem) -> Fault {
        Fault::new(self.at, problem)
    }
}
