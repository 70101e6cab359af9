//! `offtake dlq`: dead letters, of whichever system wrote them.

mod filter;
mod letter;
mod list;
mod plan;
mod purge;
mod replay;
mod show;
mod source;

use crate::{
    args::{Common, Dlq, DlqCommand},
    failure::Failure,
    output::Output,
    stop::Stop,
};

pub(crate) async fn run(common: &Common, args: Dlq) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let mut output = Output::stdout();
    let done = match args.what {
        DlqCommand::List { letters } => list::run(common, &letters, &mut stop, &mut output).await,
        DlqCommand::Show { letters, count } => {
            show::run(common, &letters, count, &mut stop, &mut output).await
        }
        DlqCommand::Replay(args) => replay::run(common, args, &mut stop, &mut output).await,
        DlqCommand::Purge(args) => purge::run(common, args, &mut stop, &mut output).await,
    };
    // What was done before a failure is told all the same.
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

/// The group under which it is committed how far a topic is replayed, unless another is named.
fn group_of(group: Option<&str>, topic: &str) -> String {
    group.map_or_else(|| format!("offtake-dlq-replay-{topic}"), str::to_owned)
}

const STOPPED: &str = "stopped before the end of the topic";
