//! Admission: all branches or none, transforms before commits, and nothing left behind wherever it ends.

mod support;

use millrace_engine::entry::Route;
use millrace_engine::{Batch, Entry, Failure, Reason, Retry, Until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use support::{Apply, Log, Probe, logs, permanent, poll_times, stage, transient};

fn commit(probe: &Arc<Probe>) -> Arc<Route> {
    Arc::new(Route::Commit(stage(probe)))
}

fn apply(
    transform: impl Fn(Batch) -> Result<Option<Batch>, Failure> + Send + Sync + 'static,
    next: Arc<Route>,
) -> Arc<Route> {
    Arc::new(Route::Apply(Arc::new(Apply(transform)), next))
}

fn fan(branches: impl IntoIterator<Item = Arc<Route>>) -> Arc<Route> {
    Arc::new(Route::Fan(branches.into_iter().collect()))
}

fn events(log: &Log) -> Vec<String> {
    log.lock().expect("no test panics here").clone()
}

#[tokio::test]
async fn a_refusal_on_one_branch_leaves_nothing_on_the_others() {
    let log = Log::default();
    let (roomy, full) = (Probe::new("roomy", &log, 9), Probe::new("full", &log, 0));
    let entry = Entry::new(fan([commit(&roomy), commit(&full)]));

    let failure = entry.submit(logs(5), Until::Stored).await.expect_err("one branch is full");

    assert_eq!(failure.reason, Reason::QueueFull);
    assert_eq!((roomy.taken(), roomy.used(), full.used()), (0, 0, 0));
    assert!(!events(&log).iter().any(|event| event.starts_with("commit")));
}

#[tokio::test]
async fn a_transform_that_refuses_gives_every_room_back() {
    let log = Log::default();
    let (first, second) = (Probe::new("first", &log, 9), Probe::new("second", &log, 9));
    let entry = Entry::new(fan([commit(&first), apply(|_| Err(permanent()), commit(&second))]));

    let failure = entry.submit(logs(5), Until::Stored).await.expect_err("the transform refuses");

    assert_eq!(failure.reason, Reason::Rejected);
    assert_eq!((first.taken(), first.used(), second.used()), (0, 0, 0));
}

#[tokio::test]
async fn a_branch_that_filters_everything_gives_its_room_back_and_the_others_go_on() {
    let log = Log::default();
    let (kept, emptied) = (Probe::new("kept", &log, 9), Probe::new("emptied", &log, 9));
    let nothing = || apply(|_| Ok(None), fan([commit(&emptied), commit(&emptied)]));
    let entry = Entry::new(fan([nothing(), commit(&kept), nothing()]));

    entry.submit(logs(5), Until::Stored).await.expect("nothing refuses");

    assert_eq!((kept.taken(), emptied.taken()), (5, 0));
    assert_eq!((kept.used(), emptied.used()), (0, 0));
}

#[tokio::test]
async fn a_single_branch_runs_its_transforms_in_order_and_may_come_to_nothing() {
    let log = Log::default();
    let probe = Probe::new("only", &log, 9);
    let note = |name: &'static str| {
        let probe = Arc::clone(&probe);
        move |batch| {
            probe.note(name);
            Ok(Some(batch))
        }
    };
    let route = apply(note("first"), fan([apply(note("second"), commit(&probe)), fan([])]));
    Entry::new(route).submit(logs(3), Until::Stored).await.expect("accepted");
    assert_eq!(events(&log), ["reserve only", "first only", "second only", "commit only"]);
    assert_eq!(probe.taken(), 3);

    Entry::new(apply(|_| Ok(None), commit(&probe))).submit(logs(3), Until::Stored).await.expect("filtered");
    assert_eq!((probe.taken(), probe.used()), (3, 0));
}

#[tokio::test]
async fn the_sender_hears_the_transient_failure_with_the_longer_delay() {
    let log = Log::default();
    let probes = ["a", "b", "c", "d"].map(|name| Probe::new(name, &log, 9));
    let entry = Entry::new(fan(probes.iter().map(commit)));
    probes[0].fail([permanent()]);
    probes[1].fail([transient().after(Duration::from_secs(2))]);
    probes[2].fail([transient().after(Duration::from_secs(7))]);

    let failure = entry.submit(logs(1), Until::Stored).await.expect_err("three branches fail");

    assert_eq!(failure.retry, Retry::After(Some(Duration::from_secs(7))));
    assert_eq!(probes[3].taken(), 1, "the branch that does not fail keeps its copy");
    assert!(probes.iter().all(|probe| probe.account.imbalance() == 0));
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_an_error() {
    let failure = Entry::new(fan([])).submit(logs(1), Until::Stored).await.expect_err("it leads nowhere");
    assert_eq!(failure.reason, Reason::Internal);
}

/// Entries that list the same stages in different order, and one stage twice; so little room that each request has to
/// wait for others, so many requests that every interleaving of a few steps occurs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_room_never_wait_for_each_other() {
    let log = Log::default();
    let probes = ["a", "b", "c"].map(|name| Probe::blocking(name, &log, 3));
    let stages = probes.each_ref().map(stage);
    let entry = |order: &[usize]| {
        Entry::new(fan(order.iter().map(|&at| Arc::new(Route::Commit(Arc::clone(&stages[at]))))))
    };
    let entries = [entry(&[0, 1, 2]), entry(&[2, 1, 0]), entry(&[1, 0, 1, 2, 0]), entry(&[2, 0, 2])];
    for (pauses, probe) in probes.iter().enumerate() {
        probe.pauses.store(pauses as u32, SeqCst);
    }

    let requests = (0..400usize).map(|request| {
        let entry = Arc::clone(&entries[request % entries.len()]);
        tokio::spawn(async move { entry.submit(logs(1), Until::Stored).await })
    });
    let requests: Vec<_> = requests.collect();
    for request in requests {
        let done = tokio::time::timeout(Duration::from_secs(30), request).await;
        done.expect("no request waits for ever").expect("no panic").expect("accepted");
    }

    // 100 requests through each entry.
    assert_eq!(probes.each_ref().map(|probe| probe.taken()), [500, 400, 500]);
    assert_eq!(probes.each_ref().map(|probe| probe.used()), [0, 0, 0]);
}

#[test]
fn giving_up_at_any_point_leaves_rooms_free_and_accounts_balanced() {
    let mut given_up = 0;
    for polls in 0.. {
        let log = Log::default();
        let probes = ["a", "b", "c"].map(|name| Probe::new(name, &log, 2));
        for (pauses, probe) in probes.iter().enumerate() {
            probe.pauses.store(pauses as u32 + 1, SeqCst);
        }
        let diamond = fan([commit(&probes[2]), commit(&probes[1])]);
        let entry = Entry::new(fan([commit(&probes[0]), apply(|batch| Ok(Some(batch)), diamond)]));

        let mut submit = Box::pin(entry.submit(logs(4), Until::Stored));
        let outcome = poll_times(&mut submit, polls);
        drop(submit);

        for probe in &probes {
            assert_eq!(probe.used(), 0, "{} after {polls} polls", probe.name);
            assert_eq!(probe.account.imbalance(), 0, "{} after {polls} polls", probe.name);
        }
        match outcome {
            None => given_up += 1,
            Some(outcome) => {
                outcome.expect("nothing refuses");
                assert!(probes.iter().all(|probe| probe.taken() == 4));
                break;
            }
        }
    }
    assert!(given_up > 8, "there are many points to give up at, and {given_up} were tried");
}

#[tokio::test]
async fn a_submission_asks_again_only_those_that_have_not_taken_it() {
    let log = Log::default();
    let (steady, shaky, picky) =
        (Probe::new("steady", &log, 9), Probe::new("shaky", &log, 9), Probe::new("picky", &log, 9));
    let transformed = Arc::new(AtomicU32::new(0));
    let count = {
        let transformed = Arc::clone(&transformed);
        move |batch| {
            transformed.fetch_add(1, SeqCst);
            Ok(Some(batch))
        }
    };
    let entry = Entry::new(apply(count, fan([commit(&steady), commit(&shaky), commit(&picky)])));
    shaky.fail([transient(), transient()]);
    picky.fail([permanent()]);

    let mut submission = entry.submission(logs(2));
    assert!(submission.attempt(Until::Stored).await.expect_err("shaky fails").is_transient());
    assert!(!submission.is_untouched());
    assert!(submission.attempt(Until::Stored).await.expect_err("shaky fails again").is_transient());
    let last = submission.attempt(Until::Stored).await.expect_err("picky will never take it");

    assert!(!last.is_transient());
    assert_eq!([&steady, &shaky, &picky].map(|probe| probe.taken()), [2, 2, 0]);
    assert_eq!(transformed.load(SeqCst), 1);
    let commits = |name| events(&log).iter().filter(|event| **event == format!("commit {name}")).count();
    assert_eq!((commits("steady"), commits("shaky"), commits("picky")), (1, 3, 1));
    assert_eq!([&steady, &shaky, &picky].map(|probe| probe.used()), [0, 0, 0]);
}

#[tokio::test]
async fn a_submission_that_is_not_admitted_stays_whole() {
    let log = Log::default();
    let (roomy, tight) = (Probe::new("roomy", &log, 9), Probe::new("tight", &log, 1));
    let diamond = Entry::new(fan([commit(&roomy), fan([commit(&tight), commit(&tight)])]));
    let mut submission = diamond.submission(logs(1));
    for _ in 0..3 {
        let refused = submission.attempt(Until::Stored).await.expect_err("there is no room for two");
        assert_eq!(refused.reason, Reason::QueueFull);
        assert!(submission.is_untouched());
    }
    assert_eq!((roomy.used(), roomy.taken()), (0, 0));
}

#[test]
fn a_submission_given_up_half_way_and_taken_up_again_loses_nothing() {
    for polls in 0..12 {
        let log = Log::default();
        let probes = ["a", "b"].map(|name| Probe::new(name, &log, 2));
        probes[0].pauses.store(1, SeqCst);
        probes[1].pauses.store(3, SeqCst);
        let entry = Entry::new(fan(probes.iter().map(commit)));
        let mut submission = entry.submission(logs(1));

        let mut attempt = Box::pin(submission.attempt(Until::Stored));
        let done = poll_times(&mut attempt, polls).is_some();
        drop(attempt);
        if !done {
            let mut again = Box::pin(submission.attempt(Until::Stored));
            poll_times(&mut again, 20).expect("it comes to an end").expect("accepted");
        }

        for probe in &probes {
            assert!(probe.taken() >= 1, "{} after {polls} polls", probe.name);
            assert_eq!((probe.used(), probe.account.imbalance()), (0, 0));
        }
    }
}
