//! The `offtake` command.
//!
//! Data goes to stdout, everything else to stderr. Status: 0 done, 1 failed (the last line on stderr says why),
//! 2 usage error, 3 the limit of `lag --fail-at` is reached, 130 interrupted twice.

mod args;
mod bench;
mod broker;
mod clock;
mod consume;
mod demo;
mod dlq;
mod doctor;
mod documents;
mod events;
mod failure;
mod groups;
mod hints;
mod lag;
mod logging;
mod monitor;
mod offsets;
mod output;
#[cfg(unix)] // process groups, and a shell
mod pipe;
mod produce;
#[cfg(feature = "registry")]
mod registry;
#[cfg(feature = "registry")]
mod schemas;
mod sending;
mod setup;
mod stop;
mod text;
mod top;
mod topics;
mod watching;

use std::{io, process::ExitCode};

use args::{Cli, Command};
use failure::Failure;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let Cli { common, command } = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    logging::start(&common);
    let done = match runtime() {
        Ok(runtime) => runtime.block_on(async {
            match command {
                Command::Demo(args) => demo::run(&common, args).await,
                Command::Consume(args) => consume::run(&common, args).await,
                Command::Produce(args) => produce::run(&common, args).await,
                #[cfg(unix)]
                Command::Pipe(args) => pipe::run(&common, args).await,
                Command::Dlq(args) => dlq::run(&common, args).await,
                #[cfg(feature = "registry")]
                Command::Schemas(args) => schemas::run(&common, args).await,
                Command::Topics(args) => topics::run(&common, args).await,
                Command::Offsets(args) => offsets::run(&common, args).await,
                Command::Groups(args) => groups::run(&common, args).await,
                Command::Lag(args) => lag::run(&common, args).await,
                Command::Top(args) => top::run(&common, args).await,
                Command::Monitor(args) => monitor::run(&common, args).await,
                Command::Doctor(args) => doctor::run(&common, args).await,
                Command::Broker(args) => broker::run(&common, args).await,
                Command::Bench(args) => bench::run(&common, args).await,
                Command::Completions(args) => documents::completions(&args),
                Command::Man(args) => documents::man(&args),
            }
        }),
        Err(error) => Err(Failure::failed(format!("cannot start the runtime: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The main thread runs the command; the worker handles signals, which must be received while the command
/// writes to a pipe that nobody reads.
fn runtime() -> io::Result<Runtime> {
    // If no file descriptors are left for its signal handler, tokio panics. It takes six in all.
    #[cfg(unix)]
    drop((0..4).map(|_| std::os::unix::net::UnixStream::pair()).collect::<io::Result<Vec<_>>>()?);
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
