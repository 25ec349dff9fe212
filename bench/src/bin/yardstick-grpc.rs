//! See `yardstick-grpc --help`.

use clap::Parser as _;
use millrace_bench::run;
use millrace_bench::yardstick::{Args, grpc};
use std::error::Error;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("yardstick-grpc: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Several threads even on one core, as the runtimes of the relays compared with have.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads()).enable_all().build()?;
    runtime.block_on(async { grpc::run(run::listen(args.listen)?, args).await })
}
