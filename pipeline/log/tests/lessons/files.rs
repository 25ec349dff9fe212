//! Files: removed, used again, foreign, gone, emptied, or in each other's place.

use crate::support::sim::{Fault, Sim};
use crate::support::{self, entry, id_of};
use crate::{Opened, open, segments, small};
use millrace_log::{Inspector, LossReason, Notice, Options, Totals};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_file_that_is_used_again_shows_nothing_of_what_was_in_it() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    let mut files = std::collections::BTreeSet::new();
    for round in 0..20 {
        opened.fill(round * 10..(round + 1) * 10, 4_000);
        files.extend(segments(&sim));
        // Each time it is killed, what lies behind the newest entries is an earlier segment's.
        let survivor = open(&sim.after_kill(), small());
        assert_eq!(survivor.recovered.losses, []);
        assert_eq!(survivor.recovered.notices, []);
        assert_eq!(survivor.drain(), (round * 10..(round + 1) * 10).collect::<Vec<_>>());
        assert_eq!(opened.drain().len(), 10);
        opened.steps.keep(true);
    }
    assert!(files.len() > 8, "several segments");
    assert!(sim.created() <= 4, "{} files were made for {} segments", sim.created(), files.len());
}

#[test]
fn a_file_whose_sync_has_failed_is_not_used_again() {
    for fails in [false, true] {
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        opened.fill(0..10, 5_000);
        if fails {
            sim.fail_at(1, Fault::Io);
            assert!(opened.try_append(entry(99, 5_000)).is_err());
        }
        opened.fill(10..15, 5_000);
        assert_eq!(opened.drain().len(), 15);
        opened.steps.keep(true);
        let names = segments(&sim);
        assert_eq!(names.len(), if fails { 1 } else { 2 }, "one is being written: {names:?}");
    }
}

#[test]
fn a_file_that_could_not_be_prepared_counts_until_it_is_removed() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..8, 5_000);
    // It is there; reserving its room fails, and so does removing it.
    sim.fail_at(1, Fault::Io);
    sim.fail_at(2, Fault::Io);
    opened.steps.keep(false);
    assert_eq!(segments(&sim).len(), 2);
    assert_eq!(opened.log.stats().disk_bytes, sim.content("cursor-default").len() as u64 + (128 << 10));
    opened.steps.keep(false);
    // With the one that is prepared now.
    assert_eq!(segments(&sim), ["00000000000000000001.seg", "00000000000000000003.seg"]);
}

#[test]
fn a_segment_that_is_gone_is_counted() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..40, 5_000);
    opened.steps.close();
    let gone = &segments(&sim)[1];
    sim.remove(gone);
    let opened = open(&sim, small());
    let ids = opened.drain();
    assert!(ids.len() < 40);
    let items: u64 = (0..40).filter(|id| !ids.contains(id)).map(|id| u64::from(support::items(id))).sum();
    assert_eq!(opened.recovered.losses.len(), 1);
    assert_eq!(opened.recovered.losses[0].reason, LossReason::Missing);
    assert_eq!((opened.lost().entries, opened.lost().items), (40 - ids.len() as u64, items));
}

/// Several segments of which no cursor says anything: it was killed before one was persisted.
fn killed(sim: &Sim, entries: u64) -> Sim {
    let mut opened = open(sim, small());
    opened.fill(0..entries, 5_000);
    sim.after_kill()
}

#[test]
fn a_segment_in_the_middle_that_no_cursor_names_is_counted_whatever_became_of_it() {
    for which in 0..3 {
        for how in ["removed", "emptied", "zeroed", "overwritten"] {
            let sim = killed(&Sim::default(), 40);
            let name = segments(&sim)[which].clone();
            let len = sim.content(&name).len();
            match how {
                "removed" => sim.remove(&name),
                "emptied" => sim.put(&name, &[]),
                "zeroed" => sim.put(&name, &vec![0; len]),
                _ => sim.put(&name, &vec![7; len]),
            }
            let opened = open(&sim, small());
            let (lost, sum) = (opened.lost().entries, opened.lost().items);
            let ids = opened.drain();
            assert!(ids.len() < 40);
            let gone = (0..40).filter(|id| !ids.contains(id));
            assert_eq!(lost, 40 - ids.len() as u64, "{how} {which}");
            assert_eq!(sum, gone.map(|id| u64::from(support::items(id))).sum::<u64>(), "{how} {which}");
            let told = |notice: &Notice| {
                let Notice::Gap { entries, items, unknown, .. } = notice else { return false };
                (*entries, *items, *unknown) == (lost, sum, 0)
            };
            assert!(opened.recovered.notices.iter().any(told), "{how}: {:?}", opened.recovered.notices);
            let reason = if how == "removed" { LossReason::Missing } else { LossReason::Damaged };
            assert_eq!(opened.recovered.losses.iter().map(|loss| loss.reason).collect::<Vec<_>>(), [reason]);
            opened.steps.close();
            assert_eq!(open(&sim, small()).recovered.losses, [], "it is told once");
        }
    }
}

#[test]
fn two_segments_that_have_changed_places_are_counted_both() {
    let sim = killed(&Sim::default(), 60);
    let names = segments(&sim);
    let (one, two) = (sim.content(&names[1]), sim.content(&names[2]));
    sim.put(&names[1], &two);
    sim.put(&names[2], &one);
    let opened = open(&sim, small());
    let ids = opened.drain();
    assert!(ids.len() < 60);
    assert_eq!(opened.lost().entries, 60 - ids.len() as u64);
}

#[test]
fn what_is_gone_is_counted_as_far_as_it_was_not_done_with() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..20, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    let mut left: Vec<_> = (0..20).collect();
    for _ in 0..5 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        left.retain(|id| *id != id_of(&delivery));
        assert!(consumer.ack(delivery.lease.sequence));
    }
    opened.steps.keep(true);
    opened.fill(20..60, 5_000);
    left.extend(20..60);
    let sim = sim.after_kill();
    for name in &segments(&sim)[..3] {
        sim.remove(name);
    }
    let opened = open(&sim, small());
    let lost = opened.lost().entries;
    assert_eq!(lost, (left.len() - opened.drain().len()) as u64);
    assert!(lost > 20, "what the cursor names, and what it does not");
}

#[test]
fn numbers_that_were_given_up_are_not_missed() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    for id in 2..5 {
        // The sync behind the write fails.
        sim.fail_at(1, Fault::Io);
        assert!(opened.try_append(entry(id, 100)).is_err());
        opened.append(10 + id, 100);
    }
    let sim = sim.after_kill();
    let opened = open(&sim, small());
    assert_eq!(opened.recovered.losses, []);
    assert_eq!(opened.drain(), [1, 12, 13, 14]);

    // A file that cannot be used makes numbers jump.
    let sim = killed(&Sim::default(), 5);
    sim.put("00000000000000000009.seg", &[7; 9_000]);
    let mut opened = open(&sim, small());
    opened.append(5, 100);
    let opened = open(&sim.after_kill(), small());
    assert_eq!(opened.recovered.losses, []);
    assert_eq!(opened.drain(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_was_given_up_is_not_counted_with_what_is_gone() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..15, 5_000);
    for id in 50..53 {
        // The sync behind the write fails, and the file is let go; its end cannot be cut off either.
        sim.fail_at(1, Fault::Io);
        sim.fail_at(2, Fault::Io);
        assert!(opened.try_append(entry(id, 100)).is_err());
        opened.append(id - 30, 100);
    }
    opened.fill(30..50, 5_000);
    let sim = sim.after_kill();
    let names = segments(&sim);
    for name in &names[..names.len() - 1] {
        sim.remove(name);
    }
    let opened = open(&sim, small());
    let ids = opened.drain();
    let gone = (0..15).chain(20..23).chain(30..50).filter(|id| !ids.contains(id));
    let items = gone.map(|id| u64::from(support::items(id))).sum::<u64>();
    assert_eq!((opened.lost().entries, opened.lost().items), (38 - ids.len() as u64, items));
    assert_eq!(opened.recovered.losses[0].unknown, 0);
}

#[test]
fn a_file_with_a_number_that_no_segment_gets_to_does_not_end_the_log() {
    let far = ["18446744073709551615.seg", "18446744073709551614.seg", "09223372036854775808.seg"];
    let sim = killed(&Sim::default(), 5);
    for name in far {
        sim.put(name, b"somebody else's");
    }
    // What an earlier start has set aside.
    sim.put("18446744073709551613.seg.damaged", b"somebody else's");
    for id in 5..8 {
        let mut opened = open(&sim, small());
        for name in far {
            let told = |notice: &Notice| matches!(notice, Notice::Foreign { file } if file == name);
            assert_eq!(opened.recovered.notices.iter().filter(|notice| told(notice)).count(), 1, "{name}");
            assert_eq!(sim.content(name), b"somebody else's");
        }
        assert_eq!(opened.recovered.losses, []);
        opened.append(id, 100);
        opened.steps.close();
    }
    let inspector = Inspector::new(Arc::new(sim.clone()));
    let last = inspector.segments().expect("readable").last().map(|facts| facts.number);
    assert!(last.is_some_and(|last| last < 10), "{last:?}");
    assert_eq!(open(&sim, small()).drain(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_log_that_has_really_come_that_far_goes_on() {
    let sim = killed(&Sim::default(), 3);
    let name = segments(&sim)[0].clone();
    let mut bytes = sim.content(&name);
    let number = (1_u64 << 63) + 7;
    for copy in [0, 2048] {
        bytes[copy + 16..copy + 24].copy_from_slice(&number.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[copy..copy + 100]);
        bytes[copy + 100..copy + 104].copy_from_slice(&crc.to_le_bytes());
    }
    for name in sim.names() {
        sim.remove(&name);
    }
    sim.put(&format!("{number:020}.seg"), &bytes);
    let mut opened = open(&sim, small());
    opened.append(3, 100);
    assert_eq!(segments(&sim).last().map(String::as_str), Some("09223372036854775816.seg"));
    assert_eq!(opened.drain(), [0, 1, 2, 3]);
}

#[test]
fn the_cursor_is_on_disk_before_a_segment_is_unlinked() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..40, 5_000);
    let before = segments(&sim).len();
    assert_eq!(opened.drain().len(), 40);
    // Persisting fails: nothing may be removed, however urgent.
    sim.fail_at(0, Fault::Io);
    opened.steps.keep(true);
    assert_eq!(segments(&sim).len(), before);
    assert!(matches!(opened.told.notices()[..], [Notice::CursorFailed { .. }]));
    opened.steps.keep(true);
    // That which is being written, and the file of one of the others, for the next.
    assert!(segments(&sim).len() <= 2, "{:?}", segments(&sim));
}

#[test]
fn what_was_done_with_comes_again_only_within_a_quarter_of_a_second_or_16_mib() {
    let Options { cursor_interval, cursor_bytes, .. } = Options::default();
    assert_eq!((cursor_interval, cursor_bytes), (Duration::from_millis(250), 16 << 20));
    let sim = Sim::default();
    let mut opened = open(&sim, Options { cursor_bytes: 2_000, ..small() });
    let again = |sim: &Sim| open(&sim.after_kill(), small()).drain();
    let done = |opened: &mut Opened, id: u64, len: usize| {
        opened.append(id, len);
        assert_eq!(opened.drain(), [id]);
        opened.steps.keep(false);
    };
    opened.clock.pass(cursor_interval);
    done(&mut opened, 0, 100);
    assert_eq!(again(&sim), [], "it is long since anything was written down");

    done(&mut opened, 1, 100);
    assert_eq!(again(&sim), [1]);
    opened.clock.pass(cursor_interval - Duration::from_millis(1));
    opened.steps.keep(false);
    assert_eq!(again(&sim), [1]);
    opened.clock.pass(Duration::from_millis(1));
    opened.steps.keep(false);
    assert_eq!(again(&sim), []);

    done(&mut opened, 2, 100);
    done(&mut opened, 3, 100);
    assert_eq!(again(&sim), [2, 3]);
    done(&mut opened, 4, 2_000);
    assert_eq!(again(&sim), [], "that was too much to come again");
}

#[test]
fn what_is_removed_does_not_rise_again_and_is_not_missed() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..40, 5_000);
    let old: Vec<_> = segments(&sim).into_iter().map(|name| (name.clone(), sim.content(&name))).collect();
    opened.drain();
    opened.steps.close();
    assert_eq!(segments(&sim), [""; 0]);
    for (name, content) in &old {
        sim.put(name, content);
    }
    let mut opened = open(&sim, small());
    assert_eq!(opened.recovered.held, Totals::default());
    assert_eq!(opened.drain(), []);
    assert_eq!(opened.append(99, 10), 41);
    assert_eq!(opened.drain(), [99]);
}

#[test]
fn foreign_and_useless_files_neither_stop_nor_stall() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    opened.steps.close();
    sim.put("00000000000000000007.seg", b"");
    sim.put("00000000000000000008.seg", b"not a segment");
    sim.put("00000000000000009999.seg", &[7; 9_000]);
    sim.put("notes.txt", b"");
    sim.put("cursor-other", b"?");
    let mut opened = open(&sim, small());
    assert!(opened.append(2, 100) > 1);
    assert_eq!(opened.drain(), [1, 2]);
    let told = |wanted: &str| {
        let is = |notice: &&Notice| match notice {
            Notice::Foreign { file } | Notice::SetAside { file, .. } => file == wanted,
            _ => false,
        };
        opened.recovered.notices.iter().filter(is).count()
    };
    for file in
        ["notes.txt", "cursor-other", "00000000000000000008.seg.damaged", "00000000000000009999.seg.damaged"]
    {
        assert_eq!(told(file), 1, "{file}");
        assert!(sim.names().iter().any(|name| name == file), "left alone");
    }
    opened.steps.close();
    assert_eq!(open(&sim, small()).recovered.losses, []);
}
