//! What the engine shows among the metrics.

use millrace_engine::component::{Context, Shared};
use millrace_engine::ledger::Term;
use millrace_engine::{Cost, Health, Reason};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;

fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Basic), &Health::starting(), 1 << 20, 1 << 20, "test");
    Context {
        shared,
        kind: "processor",
        id: "batch/small".parse().expect("an id"),
        pipeline: Some("logs/in".parse().expect("an id")),
    }
}

/// The lines of the page that begin like this.
fn lines(registry: &Registry, prefix: &str) -> Vec<String> {
    let (_, page) = registry.render(None);
    page.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

fn cost(items: u64) -> Cost {
    Cost { items, bytes: items * 100 }
}

#[test]
fn an_account_is_on_the_page_term_by_term() {
    let context = context();
    let registry = &context.shared.registry;
    let account = context.account(Signal::Logs);
    let who = r#"component="batch/small",kind="processor",pipeline="logs/in""#;
    assert_eq!(
        lines(registry, "otelcol_millrace_ledger_items{"),
        [
            format!(r#"otelcol_millrace_ledger_items{{{who},signal="logs",term="in"}} 0"#),
            format!(r#"otelcol_millrace_ledger_items{{{who},signal="logs",term="out"}} 0"#),
        ],
        "what alerts look at is there before it happens, what never happens is not"
    );

    account.record(Term::Opening, cost(1));
    account.record(Term::In, cost(9));
    account.record(Term::Out, cost(4));
    account.record(Term::Lost(Reason::QueueFull), cost(2));
    let held = account.hold(cost(4));

    assert_eq!(
        lines(registry, "otelcol_millrace_ledger_items{"),
        [
            format!(r#"otelcol_millrace_ledger_items{{{who},signal="logs",term="in"}} 9"#),
            format!(r#"otelcol_millrace_ledger_items{{{who},signal="logs",term="out"}} 4"#),
            format!(
                r#"otelcol_millrace_ledger_items{{{who},reason="queue_full",signal="logs",term="lost"}} 2"#
            ),
        ]
    );
    let bytes = lines(registry, "otelcol_millrace_ledger_bytes{");
    assert!(
        bytes.contains(&format!(r#"otelcol_millrace_ledger_bytes{{{who},signal="logs",term="out"}} 400"#))
    );
    let one = |name: &str| lines(registry, &format!("{name}{{")).concat();
    let of = |name: &str, value: u64| format!(r#"{name}{{{who},signal="logs"}} {value}"#);
    assert_eq!(one("otelcol_millrace_ledger_held_items"), of("otelcol_millrace_ledger_held_items", 4));
    assert_eq!(one("otelcol_millrace_ledger_held_bytes"), of("otelcol_millrace_ledger_held_bytes", 400));
    assert_eq!(one("otelcol_millrace_ledger_opening_items"), of("otelcol_millrace_ledger_opening_items", 1));
    drop(held);
    assert_eq!(one("otelcol_millrace_ledger_held_items"), of("otelcol_millrace_ledger_held_items", 0));
}

#[test]
fn an_account_leaves_the_page_with_its_ledger() {
    let context = context();
    let registry = context.shared.registry.clone();
    let account = context.account(Signal::Traces);
    assert!(!lines(&registry, "otelcol_millrace_ledger").is_empty());
    drop((context, account));
    assert!(lines(&registry, "otelcol_millrace_ledger").is_empty());
}

#[test]
fn the_closing_account_tells_what_was_lost_from_what_its_sender_still_has() {
    let mut receiver = context();
    receiver.kind = "receiver";
    let mut exporter = receiver.clone();
    exporter.kind = "exporter";
    let (in_front, behind) = (receiver.account(Signal::Logs), exporter.account(Signal::Logs));
    for account in [&in_front, &behind] {
        account.record(Term::In, cost(5));
    }
    let _asked = in_front.hold(cost(5));
    let _stuck = behind.hold(cost(5));
    let closing = receiver.shared.ledger.closing();
    assert_eq!((closing.lost, closing.left.len(), closing.imbalances.len()), (5, 1, 0));
    assert_eq!(
        closing.to_string(),
        "5 received, 0 refused, 0 delivered, 0 filtered, 5 lost; exporter batch/small (logs): 5 left in memory"
    );
}

#[tokio::test]
async fn a_panic_is_counted_by_the_name_of_the_task() {
    let context = context();
    let tasks = &context.shared.tasks;
    tasks.count_in(&context.shared.registry);
    assert_eq!(tasks.watch("steady", async { 7 }).await, Some(7));
    assert_eq!(tasks.watch("doomed", async { panic!("on {}", "purpose") }).await, None::<()>);
    assert_eq!(
        lines(&context.shared.registry, "otelcol_millrace_panics"),
        [r#"otelcol_millrace_panics{component="doomed"} 1"#]
    );
}
