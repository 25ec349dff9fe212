//! What is looked at of a profiles request: whether the messages down to the samples are well-formed, and how many samples
//! there are.
//!
//! Their fields, and the dictionary that all of them refer to, are left alone, so that a request stays what it is while
//! the protocol is still in development.

use super::Problem;
use super::walk::Walk;

/// The tags on the way down, all length-delimited: `resource_profiles` of the request, `scope_profiles`, `profiles`, and
/// the `samples` of a profile.
const CHILDREN: [u32; 4] = [1 << 3 | 2, 2 << 3 | 2, 2 << 3 | 2, 2 << 3 | 2];

impl Walk {
    /// Walks the messages of a profiles request and counts the samples in `items`.
    pub(super) fn samples(&mut self, request: &[u8]) -> Result<(), Problem> {
        self.samples_within(request, &CHILDREN, self.depth())
    }

    fn samples_within(&mut self, message: &[u8], path: &[u32], depth: u32) -> Result<(), Problem> {
        let Some((child, further)) = path.split_first() else {
            // A sample; it is skipped as one field.
            self.items = self.items.saturating_add(1);
            return Ok(());
        };
        let mut rest = message;
        while !rest.is_empty() {
            let tag = self.tag(&mut rest)?;
            if tag == *child {
                let inside = self.payload(&mut rest)?;
                self.samples_within(inside, further, depth.saturating_sub(1))?;
            } else {
                self.other(tag, &mut rest, depth, 0, &[])?;
            }
        }
        Ok(())
    }
}
