//! A log's files, damaged: it opens, hands out nothing but what was put in, and counts the rest. Headers that are
//! forged with a right checksum may say anything, as long as nothing panics and memory stays bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::log_support::sim::Sim;
use millrace_fuzz::log_support::{HandClock, Told, entry, id_of};
use millrace_log::{Inspector, Log, Options};
use std::ops::ControlFlow;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let [count, seed, edits @ ..] = data else { return };
    let sim = stored(u64::from(count % 24) + 1, u64::from(*seed));
    let mut forged = false;
    for edit in edits.chunks_exact(6).take(64) {
        forged |= apply(&sim, edit);
    }
    let inspector = Inspector::new(Arc::new(sim.clone()));
    for segment in inspector.segments().expect("nothing fails here") {
        inspector.verify(segment.number).expect("nothing fails here");
    }
    let _ = inspector.entries(|inspected| {
        if !forged {
            id_of(&inspected.delivery);
        }
        ControlFlow::Continue(())
    });
    let told = Arc::<Told>::default();
    let Ok((log, recovered, mut steps)) =
        Log::open_stepped(Arc::new(sim.clone()), HandClock::new(1), options(&told))
    else {
        return; // A version that is newer.
    };
    let consumer = log.consumer("default").expect("there is one");
    let mut handed_out = 0;
    while let Ok(Some(delivery)) = consumer.read_next() {
        if !forged {
            id_of(&delivery);
        }
        handed_out += 1;
        assert!(consumer.ack(delivery.lease.sequence));
    }
    assert!(forged || handed_out <= recovered.held.entries);
    steps.keep(true);
    if !forged {
        assert_eq!(log.stats().held.entries, 0, "everything was handed out or given up");
    }
    // And it still takes what comes.
    let more = entry(99, 100);
    let room = log.reserve(more.framed_len()).expect("there is room");
    let appending = log.append(room, more);
    while steps.write() {}
    appending.wait().expect("appended");
    assert_eq!(id_of(&consumer.read_next().expect("readable").expect("there")), 99);
});

fn options(told: &Arc<Told>) -> Options {
    Options {
        max_size: 16 << 20,
        segment_size: Some(64 << 10),
        observer: Arc::clone(told) as _,
        ..Options::default()
    }
}

/// A log with some entries, some of which have been acked. An odd seed: it was not closed.
fn stored(count: u64, seed: u64) -> Sim {
    let (sim, told) = (Sim::default(), Arc::default());
    let (log, _, mut steps) =
        Log::open_stepped(Arc::new(sim.clone()), HandClock::new(seed), options(&told)).expect("opens");
    let consumer = log.consumer("default").expect("there is one");
    for id in 0..count {
        let entry = entry(id, (id * seed * 37 % 9000) as usize);
        let room = log.reserve(entry.framed_len()).expect("room");
        let _ = log.append(room, entry);
        while steps.write() {}
    }
    for _ in 0..count / 2 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        if delivery.lease.sequence % 3 > 0 {
            consumer.ack(delivery.lease.sequence);
        }
    }
    steps.keep(true);
    if seed.is_multiple_of(2) {
        steps.close();
    }
    let after = Sim::default();
    for name in sim.names() {
        after.put(&name, &sim.content(&name));
    }
    after
}

/// Whether a header has been forged.
fn apply(sim: &Sim, edit: &[u8]) -> bool {
    let &[what, which, high, low, value, more] = edit else { return false };
    let names = sim.names();
    if names.is_empty() {
        return false;
    }
    let name = &names[usize::from(which) % names.len()];
    let mut bytes = sim.content(name);
    let at = (usize::from(high) << 8 | usize::from(low)) % bytes.len().max(1);
    let end = bytes.len().min(at + usize::from(more) * 16 + 1);
    match what % 8 {
        0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        2 => bytes[at.min(end)..end].fill(value),
        3 => bytes.truncate(at),
        4 => {
            sim.remove(name);
            return false;
        }
        5 => bytes.resize(bytes.len() + usize::from(value), more),
        6 => {
            let from = at.min(end);
            let to = usize::from(value) * 8 % (bytes.len() - (end - from)).max(1);
            bytes.copy_within(from..end, to);
        }
        _ => {
            if !name.ends_with(".seg") || bytes.len() < 4096 {
                return false;
            }
            forge(&mut bytes, usize::from(high), usize::from(low), value, more);
            sim.put(name, &bytes);
            return true;
        }
    }
    sim.put(name, &bytes);
    false
}

/// Changes a byte of the header of the frame that is so many frames behind the first, and puts its checksum right.
fn forge(segment: &mut [u8], frame: usize, at: usize, value: u8, how: u8) {
    let marker: [u8; 4] = segment[48..52].try_into().expect("four bytes");
    let seed = u32::from_le_bytes(segment[52..56].try_into().expect("four bytes"));
    let begins: Vec<usize> =
        (4096..segment.len().saturating_sub(56)).step_by(8).filter(|at| segment[*at..at + 4] == marker).collect();
    let Some(begin) = begins.get(frame % begins.len().max(1)) else { return };
    let header = &mut segment[*begin..begin + 56];
    header[4 + at % 48] = if how % 2 == 0 { value } else { 0 };
    let crc = crc32c::crc32c_append(seed, &header[..52]);
    header[52..].copy_from_slice(&crc.to_le_bytes());
}
