//! Segments that cannot be read when a log is opened: they are read later, or missed when they are gone, and neither is
//! done twice. And files that cannot be opened while it is.

use crate::support::sim::{Fault, Sim};
use crate::{Opened, id_of, open, segments, small};
use millrace_log::{LossReason, Next, Notice, Options};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Several segments, of some of which something is done with. If they are `named`, a cursor names them all.
fn stored(is_named: bool) -> Sim {
    stored_after(3, is_named)
}

/// The same, when so many of the first 20 entries are done with; only that much a cursor has heard.
fn stored_after(acked: u64, is_named: bool) -> Sim {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..20, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    for _ in 0..acked {
        let lease = consumer.read_next().expect("readable").expect("there").lease;
        assert!(consumer.ack(lease.sequence));
    }
    opened.steps.keep(true);
    opened.fill(20..40, 5_000);
    if is_named {
        opened.steps.close();
    }
    sim.after_kill()
}

/// What has come of it, over several starts.
#[derive(Default)]
struct Sum {
    handed: BTreeSet<u64>,
    lost: u64,
}

impl Sum {
    /// Hands out everything, and ends.
    fn add(&mut self, mut opened: Opened, is_killed: bool) {
        for id in opened.drain() {
            assert!(self.handed.insert(id), "{id} is handed out twice");
        }
        self.lost += opened.lost().entries;
        opened.steps.keep(true);
        if !is_killed {
            opened.steps.close();
        }
    }

    fn all(&self) -> u64 {
        self.handed.len() as u64 + self.lost
    }
}

fn unreadable(opened: &Opened) -> Vec<String> {
    let file = |notice: &Notice| match notice {
        Notice::Unreadable { file, .. } => Some(file.clone()),
        _ => None,
    };
    opened.recovered.notices.iter().filter_map(file).collect()
}

#[test]
fn a_segment_that_cannot_be_read_is_handed_out_later_or_missed() {
    for is_named in [true, false] {
        let names = segments(&stored(is_named));
        assert!(names.len() >= 4, "{names:?}");
        for (which, name) in names.iter().enumerate() {
            for (starts, is_removed, is_killed) in
                [(1, false, false), (1, true, false), (2, false, true), (2, true, true)]
            {
                let context = format!("{name} named {is_named} starts {starts} removed {is_removed}");
                let mut sim = stored(is_named);
                let mut sum = Sum::default();
                for start in 0..starts {
                    sim.make_unreadable(name);
                    let mut opened = open(&sim, small());
                    assert_eq!(unreadable(&opened), std::slice::from_ref(name), "{context}");
                    if is_named {
                        assert!(opened.recovered.unreadable.items > 0, "{context}");
                    }
                    assert!(opened.append(100 + start, 100) > 40, "no number is used twice");
                    sum.add(opened, is_killed);
                    assert_eq!(sum.lost, 0, "{context}: it may come back");
                    sim = sim.after_kill();
                }
                let all = 37 + starts;
                assert!(sum.all() < all, "{context}");
                if is_removed {
                    sim.remove(name);
                }
                let opened = open(&sim, small());
                let is_missed = opened.recovered.notices.iter().any(|notice| {
                    matches!(notice, Notice::ReadFailed { file, .. } if file == name)
                        || matches!(notice, Notice::Gap { .. })
                });
                assert_eq!(is_missed, is_removed, "{context}: {:?}", opened.recovered.notices);
                sum.add(opened, false);
                // Of the newest, that nothing has named, nobody knows how much there was.
                if !(is_removed && !is_named && which + 1 == names.len()) {
                    assert_eq!(sum.all(), all, "{context}: {:?} {}", sum.handed, sum.lost);
                }
                assert_eq!(sum.lost > 0, is_removed && sum.all() == all, "{context}");
                assert_eq!(open(&sim, small()).recovered, Default::default(), "{context}: it is over");
            }
        }
    }
}

#[test]
fn of_two_segments_that_cannot_be_read_neither_is_forgotten() {
    for is_named in [true, false] {
        for pair in segments(&stored(is_named)).windows(2) {
            let context = format!("{pair:?} named {is_named}");
            let sim = stored(is_named);
            pair.iter().for_each(|name| sim.make_unreadable(name));
            let opened = open(&sim, small());
            assert_eq!(unreadable(&opened), pair, "{context}");
            let mut sum = Sum::default();
            sum.add(opened, false);
            sum.add(open(&sim.after_kill(), small()), false);
            assert_eq!((sum.handed.len(), sum.lost), (37, 0), "{context}: {:?}", sum.handed);
        }
    }
}

#[test]
fn whichever_read_fails_once_nothing_is_lost() {
    for (acked, is_named) in [(3, true), (3, false), (20, true), (20, false)] {
        for nth in 0.. {
            let sim = stored_after(acked, is_named);
            sim.fail_at(nth, Fault::Io);
            let before = sim.calls();
            let told = std::sync::Arc::<crate::support::Told>::default();
            let options = Options { observer: told.clone() as _, ..small() };
            let clock = crate::HandClock::new(7);
            let Ok((log, recovered, steps)) =
                millrace_log::Log::open_stepped(std::sync::Arc::new(sim.clone()), clock, options)
            else {
                continue;
            };
            let is_over = sim.calls() - before <= nth;
            sim.no_more_faults();
            assert_eq!(recovered.losses, [], "{nth}");
            let consumer = log.consumer("default").expect("there");
            let mut handed = BTreeSet::new();
            while let Some(delivery) = consumer.read_next().expect("readable") {
                handed.insert(id_of(&delivery));
                assert!(consumer.ack(delivery.lease.sequence));
            }
            steps.close();
            drop(log);
            let opened = open(&sim, small());
            assert_eq!(opened.recovered.losses, [], "{nth}: {:?}", recovered.notices);
            handed.extend(opened.drain());
            assert_eq!(opened.lost().entries, 0, "{nth}");
            assert!(
                (acked..40).all(|id| handed.contains(&id)),
                "{nth} of {acked}: {handed:?} {:?}",
                recovered.notices
            );
            if is_over {
                break;
            }
        }
    }
}

/// What has been said of files that cannot be opened.
fn said_of_opening(opened: &Opened) -> Vec<String> {
    let said = opened.told.notices().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(said.iter().all(|said| said.contains(" be opened")), "{said:?}");
    said
}

#[test]
fn files_that_cannot_be_opened_for_a_while_cost_nothing() {
    for why in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::PERM, Errno::STALE] {
        let sim = stored(true);
        let opened = open(&sim, small());
        let consumer = opened.log.consumer("default").expect("there");
        sim.refuse_to_open(Some(why));
        for _ in 0..10 {
            let error = consumer.read_next().expect_err("it cannot be read");
            assert_eq!(error.source.raw_os_error(), Some(why.raw_os_error()));
            opened.clock.pass(SECOND);
        }
        assert_eq!(said_of_opening(&opened).len(), 1, "said once, and not at every attempt");
        sim.refuse_to_open(None);
        assert_eq!(opened.drain(), (3..40).collect::<Vec<_>>(), "{why}");
        assert_eq!(opened.told.losses(), [], "{why}");
        let said = said_of_opening(&opened);
        let first = &segments(&sim)[0];
        assert!(said.len() == 2 && said.iter().all(|said| said.contains(first.as_str())), "{said:?}");
        assert_ne!(said[0], said[1]);
    }
}

#[test]
fn a_file_that_the_disk_cannot_open_is_tried_three_times() {
    for why in [Errno::IO, Errno::BADMSG] {
        let sim = stored(true);
        let opened = open(&sim, small());
        let consumer = opened.log.consumer("default").expect("there");
        sim.refuse_to_open(Some(why));
        for _ in 0..3 {
            assert!(consumer.read_next().is_err());
            opened.clock.pass(SECOND);
        }
        sim.refuse_to_open(None);
        assert_eq!(opened.drain(), (4..40).collect::<Vec<_>>(), "{why}");
        let [loss] = opened.told.losses()[..] else { panic!("one loss") };
        assert_eq!((loss.reason, loss.lost.entries), (LossReason::Unreadable, 1));
    }
}

#[test]
fn a_file_that_cannot_be_opened_and_goes_keeps_nobody_waiting() {
    let sim = Sim::default();
    let mut opened = open(&sim, Options { max_age: Some(60 * SECOND), ..small() });
    opened.fill(0..20, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    sim.refuse_to_open(Some(Errno::ACCESS));
    assert!(consumer.read_next().is_err());
    opened.clock.pass(100 * SECOND);
    opened.append(20, 5_000);
    opened.steps.keep(true);
    assert_eq!(consumer.try_next(|_| false), Next::OnDisk, "the one that is young");
    assert_eq!(said_of_opening(&opened).len(), 2, "that one is over");
    assert!(consumer.read_next().is_err());
    assert_eq!(said_of_opening(&opened).len(), 3);
    sim.refuse_to_open(None);
    assert_eq!(opened.drain(), [20]);
    assert_eq!((said_of_opening(&opened).len(), opened.lost().entries), (4, 20));
}
