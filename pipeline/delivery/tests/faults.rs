//! Random configurations against random destinations under a clock that is stopped: whatever happens, every account
//! balances, and says what the destination and the callers have seen.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, Delivery, QueueConfig, RetryConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::{Failure, Fault, Reason, Until};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use support::process::{Trial, direct};
use support::sender::{Go, Scripted};
use support::{Rng, batch};

const SEEDS: u64 = 600;

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    Later,
    Never,
    /// It went away before it was told anything.
    Nothing,
}

fn delivery(rng: &mut Rng) -> Delivery {
    let retry = RetryConfig {
        enabled: !rng.one_in(4),
        initial_interval: Configured::from_millis(1 + rng.below(5_000)),
        max_interval: Configured::from_millis(5_000 + rng.below(20_000)),
        max_elapsed_time: Some(Configured::from_millis([0, 30_000, 120_000][rng.below(3) as usize])),
        ..RetryConfig::default()
    };
    let timeout = Duration::from_millis([0, 50, 5_000][rng.below(3) as usize]);
    Delivery { queue: queue(rng), retry, timeout, ..direct() }
}

fn queue(rng: &mut Rng) -> Optional<QueueConfig> {
    if rng.one_in(4) {
        return Optional::Off;
    }
    let sizer = [Sizer::Requests, Sizer::Items, Sizer::Bytes][rng.below(3) as usize];
    let unit = match sizer {
        Sizer::Requests => 1,
        Sizer::Items => 20,
        Sizer::Bytes => 1_000,
    };
    Optional::On(QueueConfig {
        num_consumers: 1 + rng.below(4) as usize,
        queue_size: (1 + rng.below(30)) * unit,
        sizer,
        block_on_overflow: rng.one_in(2),
        wait_for_result: rng.one_in(3),
        batch: if rng.one_in(2) { Optional::On(batching(rng)) } else { Optional::Off },
        ..QueueConfig::default()
    })
}

fn batching(rng: &mut Rng) -> BatchConfig {
    let (sizer, unit) = if rng.one_in(2) { (Sizer::Items, 1) } else { (Sizer::Bytes, 60) };
    let min_size = rng.below(60) * unit;
    BatchConfig {
        flush_timeout: Configured::from_millis(1 + rng.below(2_000)),
        min_size,
        max_size: if rng.one_in(2) { 0 } else { (min_size + rng.below(60) * unit).max(1) },
        sizer: Some(sizer),
        ..BatchConfig::default()
    }
}

/// Attempts that go well, badly, slowly, or wrong; none hangs unless there is a time limit.
fn script(rng: &mut Rng) -> Vec<Go> {
    let mood = rng.below(4);
    (0..rng.below(120)).map(|_| go(rng, mood)).collect()
}

fn go(rng: &mut Rng, mood: u64) -> Go {
    let go = match rng.below(6 + 8 * mood) {
        0 => Go::Partly(rng.below(5)),
        1 => fail(Failure::permanent(Fault::Destination, Reason::Malformed, "never")),
        2 if rng.one_in(4) => Go::Panic,
        3 => fail(Failure::permanent(Fault::Destination, Reason::TooLarge, "too large")),
        4 => {
            let asked = Duration::from_millis(rng.below(40_000));
            fail(Failure::transient(Fault::Destination, Reason::Throttled, "later").after(asked))
        }
        5 => fail(Failure::transient(Fault::Destination, Reason::Unreachable, "away")),
        _ => Go::Take,
    };
    if rng.one_in(3) { Go::After(Duration::from_millis(rng.below(10_000)), Box::new(go)) } else { go }
}

fn fail(failure: Failure) -> Go {
    Go::Fail(failure)
}

/// One request after the other from a few callers, some of which lose patience.
async fn call(trial: Arc<Trial>, mut rng: Rng, requests: Vec<Range<u64>>) -> Vec<(Range<u64>, Told)> {
    let mut told = Vec::new();
    for range in requests {
        let until = if rng.one_in(8) { Until::Settled } else { Until::Stored };
        let handing_in = trial.hand_in_until(batch(range.clone()), until);
        let patience = Duration::from_millis(if rng.one_in(5) { rng.below(3_000) } else { 1_000_000 });
        told.push((
            range,
            match tokio::time::timeout(patience, handing_in).await {
                Err(_) => Told::Nothing,
                Ok(Ok(())) => Told::Yes,
                Ok(Err(failure)) if failure.is_transient() => Told::Later,
                Ok(Err(_)) => Told::Never,
            },
        ));
        tokio::time::sleep(Duration::from_millis(rng.below(500))).await;
    }
    told
}

async fn run(seed: u64, seen: &mut BTreeSet<String>) {
    fastrand::seed(seed);
    let mut rng = Rng::new(seed);
    let delivery = delivery(&mut rng);
    let sender = Scripted::new(script(&mut rng));
    let trial = Arc::new(Trial::new(&delivery, Arc::clone(&sender) as _));
    let mut next = 0;
    let callers: Vec<_> = (0..1 + rng.below(5))
        .map(|_| {
            let requests = (0..rng.below(12)).map(|_| {
                let first = next;
                next += 1 + rng.below(25);
                first..next
            });
            let requests = requests.collect();
            tokio::spawn(call(Arc::clone(&trial), Rng::new(rng.next()), requests))
        })
        .collect();
    // Half of the runs are stopped while callers are at it, some with hardly any time to drain.
    tokio::time::sleep(Duration::from_millis(rng.below(20_000))).await;
    let mut told = Vec::new();
    if rng.one_in(2) {
        let within = Duration::from_millis([0, 500, 60_000][rng.below(3) as usize]);
        trial.drain(within).await;
        trial.assert_settled();
        for caller in callers {
            told.extend(caller.await.expect("callers do not panic"));
        }
    } else {
        for caller in callers {
            told.extend(caller.await.expect("callers do not panic"));
        }
        trial.drain(Duration::from_secs(100_000)).await;
    }
    check(&trial, &sender, &told, seed);
    seen.extend(told.iter().map(|(_, told)| format!("told {told:?}")));
    let account = trial.account();
    seen.extend(Reason::ALL.into_iter().filter_map(|reason| {
        let lost = account.total(Term::Lost(reason)).items;
        (lost > 0).then(|| format!("lost {}", reason.name()))
    }));
}

fn check(trial: &Trial, sender: &Scripted, told: &[(Range<u64>, Told)], seed: u64) {
    trial.assert_settled();
    let account = trial.account();
    let total = |term| account.total(term).items;
    let taken: Vec<_> = sender.attempts().into_iter().filter(|attempt| attempt.taken).collect();
    let delivered = sender.delivered();
    let set: BTreeSet<_> = delivered.iter().copied().collect();

    // Nobody here sends again what was handed back, so nothing arrives twice, and nothing that nobody handed in.
    assert_eq!(delivered.len(), set.len(), "seed {seed}: delivered twice");
    let handed_in: BTreeSet<u64> = told.iter().flat_map(|(range, _)| range.clone()).collect();
    assert!(set.is_subset(&handed_in), "seed {seed}");

    // The account knows what the destination knows.
    let rejected: u64 = taken.iter().map(|attempt| attempt.rejected).sum();
    assert_eq!(total(Term::Out), delivered.len() as u64 - rejected, "seed {seed}: {account:?}");
    assert_eq!(total(Term::Lost(Reason::Rejected)), rejected, "seed {seed}: {account:?}");
    assert_eq!(trial.metric("otelcol_exporter_sent_log_records"), delivered.len() as f64, "seed {seed}");

    // The account knows what the callers know: of what was accepted, all that did not arrive is lost by name, and of
    // what was handed back, nothing is. Who went away before the answer may be either.
    let missing = |of: &[Told]| -> u64 {
        let requests = told.iter().filter(|(_, told)| of.contains(told));
        requests.map(|(range, _)| range.clone().filter(|id| !set.contains(id)).count() as u64).sum()
    };
    let lost = account.lost().items - rejected;
    let (accepted, gone) = (missing(&[Told::Yes]), missing(&[Told::Nothing]));
    assert!((accepted..=accepted + gone).contains(&lost), "seed {seed}: {accepted}, {gone}, {account:?}");
    assert!(
        total(Term::Refused) <= missing(&[Told::Later, Told::Never]) + gone,
        "seed {seed}: {told:?}, {account:?}"
    );
    for (range, _) in told.iter().filter(|(_, told)| *told == Told::Never) {
        let arrived = range.clone().find(|id| set.contains(id));
        assert_eq!(arrived, None, "seed {seed}: {range:?} was refused for good");
    }

    assert_eq!(trial.metric("otelcol_exporter_in_flight_requests"), 0.0, "seed {seed}");
    assert_eq!(trial.metric("otelcol_exporter_queue_size"), 0.0, "seed {seed}");
}

#[test]
fn whatever_happens_every_account_balances_and_tells_the_truth() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        runtime.block_on(run(seed, &mut seen));
    }
    // The runs have been where it hurts.
    let expected = [
        "lost internal",
        "lost malformed",
        "lost rejected",
        "lost retries_exhausted",
        "lost shutting_down",
        "lost throttled",
        "lost timeout",
        "lost too_large",
        "lost unreachable",
        "told Later",
        "told Never",
        "told Nothing",
        "told Yes",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
