//! `offtake dlq`: dead letters, whichever system wrote them.

mod filter;
mod letter;
mod list;
mod plan;
mod purge;
mod replay;
mod show;
mod source;

use offtake::config::Config;
use offtake_admin::Admin;

use crate::{
    args::{Common, Dlq, DlqCommand},
    failure::Failure,
    output::Output,
    setup::{self, Both},
    stop::Stop,
};

/// The context of each subcommand.
struct Work {
    config: Config,
    json: bool,
    stop: Stop,
    output: Output,
}

impl Work {
    fn admin(&self) -> Result<Admin, Failure> {
        let mut admin = Admin::new(self.config.clone())?;
        admin.within(self.config.client.default_api_timeout);
        Ok(admin)
    }
}

pub(crate) async fn run(common: &Common, args: Dlq) -> Result<(), Failure> {
    let Both { consumer, producer, .. } = setup::both(common)?;
    let mut work =
        Work { config: consumer, json: common.json, stop: Stop::listen()?, output: Output::stdout() };
    let done = match args.what {
        DlqCommand::List { letters } => list::run(&mut work, &letters).await,
        DlqCommand::Show { letters, count } => show::run(&mut work, &letters, count).await,
        DlqCommand::Replay(args) => replay::run(&mut work, producer, args).await,
        DlqCommand::Purge(args) => purge::run(&mut work, args).await,
    };
    let Work { mut output, .. } = work;
    // Output from before a failure is printed all the same.
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

/// The group under which the replay of a topic is committed, unless another is named.
fn group_of(group: Option<&str>, topic: &str) -> String {
    group.map_or_else(|| format!("offtake-dlq-replay-{topic}"), str::to_owned)
}

const STOPPED: &str = "stopped before the end of the topic";
