//! What the fuzz targets reach of this folder.

use super::PingPolicy;
use super::conduct::Conduct;
use super::park::{Heard, SAID_MAX, Said};
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

/// What a parked connection answers to these reads, and whether it is parked no more.
pub fn parked<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> (Vec<u8>, bool) {
    let (mut said, mut answers) = (Said::default(), Vec::new());
    for read in reads {
        if said.hear(read, &mut answers) == Heard::More {
            return (answers, true);
        }
        assert!(said.len() <= SAID_MAX);
    }
    (answers, false)
}
