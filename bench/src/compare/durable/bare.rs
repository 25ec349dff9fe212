//! What the disk allows: appends to one file, and an fdatasync after each group of them.
//!
//! Room is reserved ahead, as a loop that cares about speed would: otherwise each sync has a new length to write, too.

use crate::compare::Args;
use crate::compare::case::Stored;
use crate::compare::results::Turn;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How much room is reserved at once: as much as the log's segments have.
const RESERVED: u64 = 16 << 20;

/// What one group took, and how many there were.
struct Groups {
    took: Vec<Duration>,
    seconds: f64,
}

/// Groups of as many requests as have shared a sync with us, of `request_bytes` each, as the load has: whoever shows
/// both goes first.
pub(in crate::compare) async fn turn(
    args: &Args,
    stored: &Stored,
    request_bytes: Option<f64>,
    per_sync: Option<f64>,
) -> io::Result<Turn> {
    let (Some(request_bytes), Some(per_sync)) = (request_bytes, per_sync) else {
        return Err(io::Error::other("nobody has shown how large a request is, and how many share a sync"));
    };
    let dir = super::folder(args)?;
    let time = Duration::from_secs_f64(args.measure);
    let (requests, request_bytes) = (per_sync.round().max(1.0) as usize, request_bytes as usize);
    let path = dir.path().join("bare");
    let groups = tokio::task::spawn_blocking(move || write(&path, requests, request_bytes, time))
        .await
        .map_err(io::Error::other)??;

    let rate = (groups.took.len() * requests) as f64 / groups.seconds;
    let mut turn = Turn::default();
    turn.set("acked_per_second", rate * stored.items as f64);
    turn.set("per_sync", requests as f64);
    turn.set("mb_per_second", rate * request_bytes as f64 / 1e6);
    turn.set("p50_ms", quantile(&groups.took, 0.5));
    turn.set("p99_ms", quantile(&groups.took, 0.99));
    Ok(turn)
}

/// Real bytes, not zeros, as a disk or file system might be clever about those.
fn write(path: &Path, requests: usize, request_bytes: usize, time: Duration) -> io::Result<Groups> {
    let request: Vec<u8> = (0..request_bytes).map(|at| (at * 7 + at / 255) as u8).collect();
    let mut file = File::create(path)?;
    let (mut room, mut end) = (0, 0);
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let begun = Instant::now();
        end += (requests * request_bytes) as u64;
        if end > room {
            let more = RESERVED.max(end - room);
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), room, more)?;
            room += more;
        }
        let mut slices = vec![IoSlice::new(&request); requests];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = file.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    Ok(Groups { took, seconds })
}

/// Of what is sorted, in milliseconds.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at).or(sorted.last()).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.5), 51.0);
        assert_eq!(quantile(&sorted, 0.99), 100.0);
        assert_eq!(quantile(&sorted[..1], 0.99), 1.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn all_groups_are_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bare");
        let groups = write(&path, 3, 1000, Duration::from_millis(20)).unwrap();
        assert!(!groups.took.is_empty());
        let written = std::fs::read(path).unwrap();
        let request: Vec<u8> = (0..1000).map(|at| (at * 7 + at / 255) as u8).collect();
        let (requests, rest) = written.split_at(groups.took.len() * 3000);
        assert!(requests.chunks(1000).all(|chunk| chunk == request));
        assert!(rest.iter().all(|byte| *byte == 0), "what is reserved behind them is empty");
    }
}
