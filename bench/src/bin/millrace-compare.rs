//! See `millrace-compare --help`.

use clap::Parser as _;
use millrace_bench::compare::{self, Args};
use millrace_bench::run;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse().resolved();
    if args.list {
        run::say(compare::list().trim_end());
        return ExitCode::SUCCESS;
    }
    let outcome = run::runtime(1).and_then(|runtime| runtime.block_on(compare::run(&args)));
    let written = outcome.and_then(|results| {
        args.json.as_ref().map_or(Ok(()), |path| run::write_json(path, &results))?;
        Ok(results.missed)
    });
    match written {
        Ok(missed) if missed && args.check => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("millrace-compare: {error}"));
            ExitCode::FAILURE
        }
    }
}
