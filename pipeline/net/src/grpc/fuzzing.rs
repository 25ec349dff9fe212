//! What the fuzz targets reach of this folder.

use super::PingPolicy;
use super::conduct::Conduct;
use super::watch::{FrameWatch, Misuse, calm_down};
use crate::coalesce::Watch;

/// What is thought of a peer after these reads, and the last stream that it has opened.
pub fn watched<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> (Option<Complaint>, u32) {
    let conduct = Conduct::begin(false);
    let mut watch = FrameWatch::new().with_pings(PingPolicy::default(), &conduct);
    reads.into_iter().for_each(|read| watch.see(read));
    let complaint = watch.complaint().map(|misuse| match misuse {
        Misuse::Flood => Complaint::Flood,
        Misuse::TooManyPings => Complaint::Pings,
    });
    assert!(watch.complaint().is_none_or(|misuse| calm_down(watch.last_stream(), misuse).len() < 100));
    (complaint, watch.last_stream())
}

/// What there is to complain of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Too many frames that carry nothing.
    Flood,
    /// Pings too early, too often.
    Pings,
}
