//! The comparisons: contenders take turns at the same work, and only the contender's own processor time counts.
//!
//! # Invariants
//! - Contenders run one at a time and in turn (A B C A B C …), so that a busy neighbour hits all of them alike.
//! - Every process that is started is killed when its turn ends, also on error and on Ctrl-C.
//! - A turn that lost items or failed requests says so beside its numbers.

mod case;
mod child;
mod cli;
mod contender;
mod control;
mod crowd;
mod durable;
mod idle;
mod overload;
mod proc;
mod relay;
mod results;
mod yaml;

pub use case::list;
pub use cli::Args;
pub use results::Results;

use case::{Case, Kind};
use child::Tools;
use contender::Contender;
use results::CaseResult;
use std::io;
use tokio_util::sync::CancellationToken;

/// Runs the chosen cases, printing each table as it is ready.
///
/// # Errors
/// A contender that cannot be started or does not become ready, a case that does not exist, or an interruption.
pub async fn run(args: &Args) -> io::Result<Results> {
    let cases = case::chosen(&args.cases)?;
    let contenders = contender::all(args)?;
    let stop = CancellationToken::new();
    crate::run::cancel_on_signal(stop.clone())?;
    tokio::select! {
        results = compare(args, &cases, &contenders) => results,
        // Dropping the comparison kills its children.
        () = stop.cancelled() => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted; children were killed")),
    }
}

async fn compare(args: &Args, cases: &[Case], contenders: &[Contender]) -> io::Result<Results> {
    let tools = Tools::find()?;
    let mut results = Results::new(args);
    crate::run::say(&results.heading());
    for case in cases {
        let result = play(args, &tools, case, contenders).await?;
        crate::run::say(&result.table());
        results.cases.push(result);
    }
    if let Some((table, all_hold)) = durable::bars::table(&results) {
        crate::run::say(&table);
        results.missed = !all_hold;
    }
    Ok(results)
}

async fn play(args: &Args, tools: &Tools, case: &Case, contenders: &[Contender]) -> io::Result<CaseResult> {
    let players: Vec<_> = contenders.iter().filter(|contender| contender.can_play(case)).collect();
    let mut result = CaseResult::new(case, players.iter().map(|player| player.name()));
    for round in 0..args.rounds_of(case) {
        for (index, player) in players.iter().enumerate() {
            crate::run::complain(&format!("{} round {} {}", case.name, round + 1, player.name()));
            let turn = match &case.kind {
                Kind::Relay(relay) if relay.durable => {
                    durable::relayed::turn(args, tools, player, case, relay).await
                }
                Kind::Relay(relay) => relay::turn(args, tools, player, case, relay).await,
                Kind::Idle => idle::turn(args, player, case).await,
                Kind::Overload(overload) => overload::turn(args, tools, player, case, overload).await,
                Kind::Crowd(crowd) => crowd::turn(args, tools, player, case, *crowd).await,
                Kind::Stored(stored) if matches!(player, Contender::Bare) => {
                    durable::bare::turn(
                        args,
                        stored,
                        result.of_any("request_bytes"),
                        result.of_any("per_sync"),
                    )
                    .await
                }
                Kind::Stored(stored) => durable::stored::turn(args, tools, player, case, stored).await,
                Kind::Backlog => durable::backlog::turn(args, tools, player, case).await,
            };
            match turn {
                Ok(turn) => result.add(index, turn),
                // One contender that cannot do a case must not cost the others their turns.
                Err(error) => result.fail(index, &error),
            }
        }
    }
    Ok(result)
}
