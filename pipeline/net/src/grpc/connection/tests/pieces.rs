//! Large messages of several streams, in frames of any length with others between them, in pieces of any length. What
//! arrived is told by its length and checksum, which flate2 computes.

use super::*;
use fastrand::Rng;
use flate2::Crc;
use std::collections::BTreeMap;

/// What the client may still send: on the connection (0), and on each stream.
struct Windows {
    left: BTreeMap<u32, usize>,
    /// Of a new stream.
    first: usize,
    /// How much of what it was told has been looked at.
    seen: usize,
}

/// A message that is being sent.
struct Sending {
    stream: u32,
    framed: Vec<u8>,
    sent: usize,
}

pub(super) fn told(message: &[u8]) -> Bytes {
    let mut crc = Crc::new();
    crc.update(message);
    Bytes::from([(message.len() as u32).to_be_bytes(), crc.sum().to_be_bytes()].concat())
}

impl Windows {
    fn hear(&mut self, talk: &Talk, answers: &mut BTreeMap<u32, Vec<u8>>) {
        while let [a, b, c, kind, _, d, e, f, g, ..] = talk.told[self.seen..] {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            let payload = &talk.told[self.seen + 9..][..len];
            let stream = u32::from_be_bytes([d, e, f, g]);
            match (kind, payload) {
                (0, payload) => answers.entry(stream).or_default().extend_from_slice(payload),
                (8, &[a, b, c, d]) => {
                    *self.left.entry(stream).or_default() += u32::from_be_bytes([a, b, c, d]) as usize;
                }
                // New settings, after a lease, are for all streams.
                (4, settings) => {
                    for &[_, id, a, b, c, d] in settings.as_chunks::<6>().0 {
                        let window = u32::from_be_bytes([a, b, c, d]) as usize;
                        if id == 4 {
                            let wider = window - std::mem::replace(&mut self.first, window);
                            self.left.range_mut(1..).for_each(|(_, left)| *left += wider);
                        }
                    }
                }
                _ => {}
            }
            self.seen += 9 + len;
        }
    }
}

impl Sending {
    /// The next frame, as long as chance and the windows want it.
    fn next(&mut self, windows: &mut Windows, random: &mut Rng) -> Option<Vec<u8>> {
        let all = windows.left[&0];
        let own = windows.left.get_mut(&self.stream)?;
        let most = (self.framed.len() - self.sent).min(all).min(*own);
        let padding = if random.u8(..) < 20 { random.usize(..100) } else { 0 };
        let padded = padding > 0 && most > 200;
        if most == 0 {
            return None;
        }
        let usual = [1, 100, 5000, 16_384, 16_384, 16_384, 60_000][random.usize(..7)];
        let len = if padded { random.usize(1..most - padding - 1) } else { most.min(usual) };
        let mut payload = if padded { vec![padding as u8] } else { Vec::new() };
        payload.extend_from_slice(&self.framed[self.sent..][..len]);
        payload.resize(payload.len() + if padded { padding } else { 0 }, 0);
        self.sent += len;
        *own -= payload.len();
        *windows.left.get_mut(&0).expect("it is there from the beginning") -= payload.len();
        let flags = u8::from(self.sent == self.framed.len()) | if padded { 8 } else { 0 };
        Some(frame(0, flags, self.stream, &payload))
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_are_whole_in_whatever_frames_and_pieces_they_come() {
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let budget = Budget::new(64 << 20);
        let server = server(|options| options.budget = budget.clone());
        let mut talk = Talk::with(&server);
        talk.say(&opening()).await;
        let mut windows = Windows { left: BTreeMap::from([(0, 65_535)]), first: 65_535, seen: 0 };
        let (mut wanted, mut answers) = (BTreeMap::new(), BTreeMap::new());
        let (mut sending, mut pending, mut next) = (Vec::<Sending>::new(), Vec::new(), 1);
        while next < 20 || !sending.is_empty() {
            if next < 20 && (sending.is_empty() || sending.len() < 3 && random.u8(..) < 30) {
                let len =
                    [10, 3000, 40_000, 70_800, 150_000, 300_000][random.usize(..6)] + random.usize(..50);
                let body: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                wanted.insert(next, framed(&told(&body)).to_vec());
                pending.extend(frame(1, 4, next, &block(b"Told")));
                windows.left.insert(next, windows.first);
                sending.push(Sending { stream: next, framed: framed(&body).to_vec(), sent: 0 });
                next += 2;
            }
            let at = random.usize(..sending.len());
            let said = sending[at].next(&mut windows, &mut random);
            let is_stuck = said.is_none();
            pending.extend(said.into_iter().flatten());
            if sending[at].sent == sending[at].framed.len() {
                sending.remove(at);
            }
            match random.u8(..) {
                0..10 => pending.extend(frame(6, 0, 0, &[7; 8])),
                10..20 => pending.extend(frame(2, 0, next + 2, &[0, 0, 0, 0, 1])),
                _ => {}
            }
            if is_stuck || random.u8(..) < 80 || sending.is_empty() {
                let piece = [1000, 20_000, 1 << 20][random.usize(..3)];
                for piece in pending.chunks(piece) {
                    talk.say(piece).await;
                }
                pending.clear();
                windows.hear(&talk, &mut answers);
            }
        }
        assert!(!talk.ended, "{seed}");
        assert_eq!(answers, wanted, "{seed}");
        assert_eq!(budget.used(), 0, "{seed}");
    }
}

/// A connection with so much to be read, and its peer, which takes a kilobyte of what it is told.
fn fed(server: &Arc<Server<Echo>>, said: Vec<u8>) -> (Box<Driver<Echo, impl Stream + use<>>>, DuplexStream) {
    let (peer, deaf) = duplex(1024);
    let stream = tokio::io::join(io::Cursor::new(said), deaf);
    (Box::new(Driver::new(Arc::clone(server), stream, Peer(None))), peer)
}

/// All of it, as far as it goes.
fn read_on<S: Stream>(driver: &mut Driver<Echo, S>) -> Poll<End> {
    driver.poll_read(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// A message of 2 MiB, of which so much has come, in the middle of a frame of which 8 KiB are still to come.
fn begun(len: usize) -> Vec<u8> {
    let mut said = [opening(), frame(1, 4, 1, &block(b"Told"))].concat();
    said.extend(frame(0, 0, 1, &[0, 0, 0x20, 0, 0]));
    (0..len / 16_384).for_each(|_| said.extend(frame(0, 0, 1, &[7; 16_384])));
    let cut = frame(0, 0, 1, &[7; 16_384]);
    said.extend(&cut[..cut.len() - 8192]);
    said
}

#[tokio::test]
async fn what_is_read_into_a_message_and_is_none_is_answered_no_faster_than_its_client_listens() {
    let server = server(|options| options.max_message = 20 << 20);
    let mut said = [begun(1 << 20), vec![7; 8192]].concat();
    let refused = block(b"None");
    (0..60_000).for_each(|at| said.extend(frame(1, 5, 3 + 2 * at, &refused)));
    let (mut driver, _peer) = fed(&server, said);
    assert!(read_on(&mut driver).is_pending());
    assert!(driver.reads > 10, "the message had room");
    let waits = driver.sending_len();
    assert!((OUT_MAX..1 << 20).contains(&waits), "{waits} bytes wait to be sent");
}

#[tokio::test]
async fn a_message_that_is_given_up_while_it_is_read_leaves_nothing() {
    let budget = Budget::new(64 << 20);
    let server = server(|options| (options.max_message, options.budget) = (20 << 20, budget.clone()));
    let reset = frame(3, 0, 1, &8u32.to_be_bytes());
    let trailers = frame(1, 5, 1, b"\x00\x04last\x01x");
    let too_much = frame(0, 0, 1, &[7; 16_384]).repeat(65);
    for end in [reset, trailers, frame(0, 1, 1, &[]), too_much] {
        let next = [frame(1, 4, 3, &block(b"Told")), frame(0, 1, 3, MESSAGE)].concat();
        let said = [begun(1 << 20), vec![7; 8192], end, next].concat();
        let (mut driver, _peer) = fed(&server, said);
        let _ = read_on(&mut driver);
        assert!(driver.reads > 10);
        assert_eq!(driver.http2.last_stream(), 3, "the next request is heard");
        drop(driver);
        // It has been handed to its task, which ends with the connection or before.
        while budget.used() > 0 {
            yield_now().await;
        }
    }
}
