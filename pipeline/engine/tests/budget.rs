//! The budget against a model: exact to the byte on whichever worker, and fair to those that wait.

use millrace_engine::{Budget, Charge};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy)]
enum Step {
    Charge(u64),
    Grow(usize, u64),
    Share(usize),
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..50u64, 0..2_000u64, Just(u64::MAX), Just(i64::MAX as u64)];
    prop_oneof![
        4 => size.clone().prop_map(Step::Charge),
        2 => (any::<usize>(), size).prop_map(|(at, bytes)| Step::Grow(at, bytes)),
        1 => any::<usize>().prop_map(Step::Share),
        3 => any::<usize>().prop_map(Step::Release),
    ]
}

/// Runs on a thread of its own, so that steps come from all slots in turn.
fn elsewhere<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_fits_is_granted_and_nothing_else(limit in 1..5_000u64, steps in prop::collection::vec(step(), 1..80)) {
        let budget = Budget::new(limit);
        // Each charge with all its clones; the model is the sum of their bytes.
        let mut held: Vec<Vec<Charge>> = Vec::new();
        for step in steps {
            let used: u64 = held.iter().map(|charges| charges[0].bytes()).sum();
            let fits = |bytes: u64| used.checked_add(bytes).is_some_and(|sum| sum <= limit);
            match step {
                Step::Charge(bytes) => {
                    let charge = elsewhere(|| budget.try_charge(bytes));
                    prop_assert_eq!(charge.is_some(), fits(bytes), "{} of {} used, {} more", used, limit, bytes);
                    held.extend(charge.map(|charge| vec![charge]));
                }
                Step::Grow(at, bytes) if !held.is_empty() => {
                    let at = at % held.len();
                    let may = held[at].len() == 1 && fits(bytes);
                    prop_assert_eq!(elsewhere(|| held[at][0].try_grow(bytes)), may);
                }
                Step::Share(at) if !held.is_empty() => {
                    let at = at % held.len();
                    let clone = held[at][0].clone();
                    held[at].push(clone);
                }
                Step::Release(at) if !held.is_empty() => {
                    let at = at % held.len();
                    let charge = held[at].pop();
                    elsewhere(|| drop(charge));
                    held.retain(|charges| !charges.is_empty());
                }
                _ => {}
            }
            prop_assert_eq!(budget.used(), held.iter().map(|charges| charges[0].bytes()).sum::<u64>());
        }
        drop(held);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[tokio::test]
async fn who_waits_longest_goes_first_however_much_it_wants() {
    let budget = Budget::new(100);
    let first = budget.try_charge(60).expect("room");
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let release = Arc::new(Notify::new());
    let mut waiters = Vec::new();
    for (name, bytes) in [("large", 90), ("small", 10), ("more than all", 1000), ("tiny", 1)] {
        let (budget, order, release) = (budget.clone(), Arc::clone(&order), Arc::clone(&release));
        waiters.push(tokio::spawn(async move {
            let charge = budget.charge(bytes).await;
            order.lock().expect("no test panics here").push(name);
            release.notified().await;
            charge.bytes()
        }));
        tokio::task::yield_now().await;
    }
    assert!(order.lock().expect("no test panics here").is_empty(), "the small ones do not overtake");
    drop(first);
    let mut held = Vec::new();
    for waiter in waiters {
        release.notify_one();
        held.push(waiter.await.expect("it ends"));
    }
    assert_eq!(*order.lock().expect("no test panics here"), ["large", "small", "more than all", "tiny"]);
    assert_eq!(held, [90, 10, 100, 1]);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_charges_all_come_through_and_never_exceed_the_limit() {
    const LIMIT: u64 = 1000;
    let budget = Budget::new(LIMIT);
    let (held, peak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..16u64)
        .map(|task| {
            let (budget, held, peak) = (budget.clone(), Arc::clone(&held), Arc::clone(&peak));
            tokio::spawn(async move {
                for round in 0..500 {
                    let charge = budget.charge(1 + (task * 131 + round * 37) % 700).await;
                    peak.fetch_max(held.fetch_add(charge.bytes(), SeqCst) + charge.bytes(), SeqCst);
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    held.fetch_sub(charge.bytes(), SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        let done = tokio::time::timeout(std::time::Duration::from_secs(30), task).await;
        done.expect("nobody waits for ever").expect("no panic");
    }
    assert!(peak.load(SeqCst) <= LIMIT);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn who_gives_up_waiting_lets_the_next_one_go() {
    let budget = Budget::new(100);
    let first = budget.try_charge(60).expect("room");
    let impatient = tokio::spawn({
        let budget = budget.clone();
        async move { budget.charge(90).await.bytes() }
    });
    tokio::task::yield_now().await;
    let patient = tokio::spawn({
        let budget = budget.clone();
        async move { budget.charge(10).await.bytes() }
    });
    tokio::task::yield_now().await;
    impatient.abort();
    assert_eq!(patient.await.expect("it ends"), 10);
    drop(first);
    assert_eq!(budget.used(), 0);
}
