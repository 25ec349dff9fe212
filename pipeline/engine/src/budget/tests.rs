use super::*;
use futures_util::FutureExt;

#[test]
fn the_limit_is_exact_and_everything_comes_back() {
    let budget = Budget::new(1_000_000);
    let held: Vec<_> = (0..10).map(|_| budget.try_charge(100_000).expect("there is room for ten")).collect();
    assert_eq!(budget.used(), 1_000_000);
    assert!(budget.try_charge(1).is_none());
    assert_eq!(budget.refused(), 1);
    drop(held);
    assert_eq!(budget.used(), 0);
    assert!(budget.try_charge(1_000_000).is_some());
}

#[test]
fn what_is_large_leaves_room_for_what_is_small() {
    let budget = Budget::new(800);
    let mut large = budget.try_charge_sparing(400).expect("there is room");
    assert!(budget.try_charge_sparing(301).is_none());
    let more = budget.try_charge_sparing(200).expect("an eighth is left");
    assert!(!large.try_grow_sparing(101));
    assert!(large.try_grow_sparing(100));
    let small: Vec<_> = (0..10).map(|_| budget.try_charge(10).expect("that is what is left")).collect();
    assert!(budget.try_charge(1).is_none());
    drop((small, large, more));
    assert_eq!(budget.used(), 0);
    let huge = budget.try_charge_sparing(790).expect("alone it fits");
    assert!(budget.try_charge(10).is_some());
    drop(huge);
    let held = budget.try_charge(1).expect("room");
    assert!(budget.try_charge_sparing(790).is_none(), "not alone");
    drop(held);
    assert!(budget.try_charge_sparing(800).is_some());
    assert!(budget.try_charge_sparing(801).is_none());
    let _held = budget.try_charge(1).expect("room");
    assert_eq!(budget.most_sparing(), 700);
    assert!(budget.try_charge_sparing(700).is_none(), "an eighth and what is held");
    assert!(budget.try_charge_sparing(699).is_some());
}

#[test]
fn what_is_beyond_the_limit_alone_is_told_from_what_is_not_there_now() {
    let budget = Budget::new(100);
    let (mut charge, _other) = (budget.try_charge(60).expect("room"), budget.try_charge(30).expect("room"));
    assert!(!charge.try_grow(40) && !charge.can_never_grow(40));
    assert!(!charge.try_grow(41) && charge.can_never_grow(41));
    assert!(!Charge::none().can_never_grow(u64::MAX));
}

#[test]
fn what_turns_out_smaller_gives_the_rest_back_unless_it_is_shared() {
    let budget = Budget::new(100);
    let mut charge = budget.try_charge(60).expect("room");
    charge.shrink_to(70);
    assert_eq!(budget.used(), 60);
    charge.shrink_to(20);
    assert_eq!((charge.bytes(), budget.used()), (20, 20));
    let shared = charge.clone();
    charge.shrink_to(0);
    assert_eq!(budget.used(), 20);
    drop((charge, shared));
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_limit_can_be_raised_and_lowered_while_bytes_are_held() {
    let budget = Budget::new(100);
    let held = budget.try_charge(80).expect("room");
    budget.set_limit(200);
    let more = budget.try_charge(120).expect("room");
    assert!(budget.try_charge(1).is_none());
    budget.set_limit(50);
    assert_eq!((budget.limit(), budget.used()), (50, 200));
    drop(held);
    assert!(budget.try_charge(1).is_none(), "more is held than the limit allows");
    drop(more);
    assert_eq!(budget.used(), 0);
    assert!(budget.try_charge(51).is_none());
    assert!(budget.try_charge(50).is_some());
}

#[test]
fn clones_share_one_hold() {
    let budget = Budget::new(100);
    let charge = budget.try_charge(60).expect("room");
    let shared = charge.clone();
    drop(charge);
    assert_eq!(budget.used(), 60);
    drop(shared);
    assert_eq!(budget.used(), 0);
}

#[test]
fn threads_never_overdraw_and_never_leak() {
    let budget = Budget::new(10_000);
    let peak = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (budget, peak) = (&budget, &peak);
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..20_000u64 {
                    if let Some(charge) = budget.try_charge((round * 7 + thread) % 900) {
                        held.push(charge);
                    }
                    peak.fetch_max(held.iter().map(Charge::bytes).sum(), Relaxed);
                    if held.len() > 6 || round % 5 == 0 {
                        held.pop();
                    }
                }
            });
        }
    });
    assert!(peak.load(Relaxed) <= 10_000);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_waiting_charge_goes_on_when_room_is_released() {
    let budget = Budget::new(100);
    let first = budget.try_charge(80).expect("room");
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.charge(50).await.bytes() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.expect("the task ends"), 50);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_charge_is_cut_to_a_limit_that_is_lowered_meanwhile() {
    let budget = Budget::new(100);
    let first = budget.try_charge(80).expect("room");
    let waiting = budget.charge(50);
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    budget.set_limit(40);
    drop(first);
    let charge = tokio::time::timeout(std::time::Duration::from_secs(1), waiting).await;
    assert_eq!(charge.expect("it fits alone").bytes(), 40);
}
