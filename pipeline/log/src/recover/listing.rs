//! Telling our files from others.

use super::{ASIDE, Recovery};
use crate::cursors;
use crate::files::{Access, Listed, read_full};
use crate::format::VERSION;
use crate::format::segment::{BLOCK, Decoded, Header};
use crate::options::Options;
use crate::report::{Notice, OpenError};
use crate::shared::{is_far, segment_name, segment_number};
use std::collections::BTreeMap;
use std::io;

/// A segment's number, the length of its file, and what its first block says, or why it cannot be read.
pub(super) type Headed = (u64, u64, Result<Decoded, io::Error>);

impl Recovery<'_> {
    /// The segments, in order. Nothing is changed before it is known that no file is newer than this program.
    pub(super) fn sort_out(
        &mut self,
        listed: &[Listed],
        options: &Options,
    ) -> Result<Vec<Headed>, OpenError> {
        let mut segments = BTreeMap::new();
        for file in listed {
            let consumer = cursors::consumer_of(&file.name);
            if let Some(number) = segment_number(&file.name).filter(|_| file.regular) {
                segments.insert(number, file.len);
            } else if cursors::is_remains(&file.name) {
                if self.writable {
                    let _ = self.files.unlink(&file.name);
                }
            } else if consumer.is_some_and(|name| options.consumers.iter().any(|c| c.name == name)) {
                self.index.cursor_len += file.len;
            } else {
                self.notices.push(Notice::Foreign { file: file.name.clone() });
            }
        }
        let mut headed = Vec::new();
        for (number, len) in segments {
            headed.push((number, len, self.header(number)?));
        }
        let is_begun = |(.., decoded): &Headed| matches!(decoded, Ok(Decoded::Header(_)));
        let has_far = headed.iter().any(|segment| is_far(segment.0) && is_begun(segment));
        let is_ours = |number: u64| has_far || !is_far(number);
        let (ours, others): (Vec<_>, Vec<_>) = headed.into_iter().partition(|segment| is_ours(segment.0));
        self.notices.extend(others.iter().map(|segment| Notice::Foreign { file: segment_name(segment.0) }));
        // No number is used twice while anything remembers it.
        let aside = listed.iter().filter_map(|file| segment_number(file.name.strip_suffix(ASIDE)?));
        let named = self.cursors.iter().flatten().flat_map(|cursor| &cursor.parts).map(|part| part.segment);
        let remembered = aside.chain(named).filter(|number| is_ours(*number));
        let last = ours.iter().map(|segment| segment.0).chain(remembered).max();
        self.index.next_number = last.map_or(1, |last| last.saturating_add(1));
        Ok(ours)
    }

    /// What the first block of a segment says; or why it cannot be read.
    fn header(&self, number: u64) -> Result<Result<Decoded, io::Error>, OpenError> {
        let name = segment_name(number);
        let mut block = vec![0; BLOCK as usize];
        let read = self.files.open(&name, Access::Read);
        match read.and_then(|file| read_full(file.as_ref(), &mut block, 0)) {
            Ok(read) => match Header::decode(&block[..read], number) {
                Decoded::Newer(version) => {
                    Err(OpenError::NewerVersion { file: name, version, known: VERSION })
                }
                decoded => Ok(Ok(decoded)),
            },
            Err(error) => Ok(Err(error)),
        }
    }
}
