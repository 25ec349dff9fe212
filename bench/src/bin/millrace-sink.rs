//! See `millrace-sink --help`.

use clap::Parser as _;
use millrace_bench::run;
use millrace_bench::sink::{self, Args};
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = run::runtime(args.threads).and_then(|runtime| runtime.block_on(sink::run(&args)));
    let written =
        outcome.and_then(|totals| run::write_json(args.json.as_deref().unwrap_or(Path::new("-")), &totals));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("millrace-sink: {error}"));
            ExitCode::FAILURE
        }
    }
}
