//! See `millrace-loadgen --help`.

use clap::Parser as _;
use millrace_bench::loadgen::{self, Args};
use millrace_bench::run;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = run::runtime(args.threads).and_then(|runtime| runtime.block_on(loadgen::run(&args)));
    let written = outcome.and_then(|report| match &args.json {
        Some(path) => run::write_json(path, &report),
        None => {
            run::say(report.to_string().trim_end());
            Ok(())
        }
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("millrace-loadgen: {error}"));
            ExitCode::FAILURE
        }
    }
}
