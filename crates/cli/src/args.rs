//! The command line, as the user writes it.

mod broker;
mod consume;
mod dlq;
mod doctor;
mod documents;
mod groups;
mod lag;
mod monitor;
#[cfg(unix)]
mod pipe;
mod produce;
#[cfg(feature = "registry")]
mod registry;
#[cfg(test)]
mod tests;
mod top;
mod topics;
mod values;

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

pub(crate) use broker::{Broker, Demo, User};
pub(crate) use consume::{Bench, BenchCommand, BenchConsume, Consume};
pub(crate) use dlq::{Dlq, DlqCommand, Letters, Purge, Replay};
pub(crate) use doctor::Doctor;
pub(crate) use documents::{Completions, Man};
pub(crate) use groups::{Groups, GroupsCommand, Reset};
pub(crate) use lag::{FailAt, Isolation as LagIsolation, Lag, Source};
pub(crate) use monitor::{ExporterNames, Monitor, WebhookFormat};
#[cfg(unix)]
pub(crate) use pipe::{DlqHeaders, Framing, Mode, Order, Pipe};
pub(crate) use produce::{BenchProduce, Produce};
#[cfg(feature = "registry")]
pub(crate) use registry::{ConsumeRegistry, ProduceRegistry, RegistryAt, Schemas, SchemasCommand};
pub(crate) use top::{Top, Watch};
pub(crate) use topics::{Create, Offsets, Topics, TopicsCommand};

use crate::hints;

const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit   ",
    env!("OFFTAKE_BUILD_COMMIT"),
    "\ntarget   ",
    env!("OFFTAKE_BUILD_TARGET"),
    "\nprofile  ",
    env!("OFFTAKE_BUILD_PROFILE"),
    "\nrustc    ",
    env!("OFFTAKE_BUILD_RUSTC"),
);

const SETTINGS: &str = "\
Where settings come from, the nearest first:
  1. the command line: --brokers, then -X, then --config
  2. the environment: OFFTAKE_BROKERS, then OFFTAKE_X_SOME_NAME for the property
     some.name, then KAFKA_BOOTSTRAP_SERVERS
  3. the default file, unless --config is given: the one that OFFTAKE_CONFIG names
     (empty: none), else offtake/config.properties in $XDG_CONFIG_HOME or ~/.config
  4. the defaults of Kafka's Java clients, but default.api.timeout.ms=10000 and
     allow.auto.create.topics=false

Exit status: 0 done, 1 failed (the last line on stderr says why), 2 wrong usage,
3 from `lag --fail-at` if it is that bad, 130 interrupted twice.";

/// Read and write Kafka topics, and look after consumer groups.
#[derive(Debug, Parser)]
#[command(name = "offtake", version, long_version = BUILD, max_term_width = 110, propagate_version = true, after_long_help = SETTINGS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// Bootstrap servers (also OFFTAKE_BROKERS or KAFKA_BOOTSTRAP_SERVERS; default: localhost:9092)
    #[arg(short, long, global = true, value_name = "HOST:PORT,…", display_order = 1000)]
    pub(crate) brokers: Option<String>,
    /// All `-X`, in the order in which they were given: see [`Cli::read`]
    #[arg(skip)]
    pub(crate) properties: Vec<(String, String)>,
    /// Java .properties file, read before -X and in place of the default one (see `offtake --help`)
    #[arg(long, global = true, value_name = "FILE", display_order = 1002)]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object per line
    #[arg(long, global = true, display_order = 1003)]
    pub(crate) json: bool,
    /// More logging; -vv for debug (also RUST_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 1004)]
    pub(crate) verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, display_order = 1005)]
    pub(crate) quiet: bool,
}

impl Cli {
    /// All commands with all of their options.
    pub(crate) fn definition() -> clap::Command {
        with_properties(Self::command())
    }

    /// The command line, or the error that clap prints.
    ///
    /// Of a global option given at several levels, clap keeps the deepest; `-X` counts at every level, so each
    /// command has its own.
    pub(crate) fn read<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::definition().try_get_matches_from(args).map_err(hints::add)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.check()?;
        let mut level = Some(&matches);
        while let Some(matches) = level {
            let given = matches.get_many::<(String, String)>(PROPERTIES).into_iter().flatten();
            cli.common.properties.extend(given.cloned());
            level = matches.subcommand().map(|(_, below)| below);
        }
        Ok(cli)
    }

    /// Checks what clap cannot see: a pattern among topic names; and exclusions, as a global option may stand before the command
    /// and the option that excludes it after.
    fn check(&self) -> Result<(), clap::Error> {
        let (names, advice) = match &self.command {
            Command::Consume(Consume { regex: false, topics, .. }) => {
                (topics.as_slice(), "with '--regex' the whole name has to match, and '.*' is any text")
            }
            Command::Pipe(Pipe { topics, .. }) => (topics.as_slice(), "'pipe' reads topics by their names"),
            _ => (&[][..], ""),
        };
        if let Some(pattern) = names.iter().find(|topic| topic.starts_with('^') || topic.contains('*')) {
            let message = format!("'{pattern}' is a pattern, not a topic name: {advice}");
            return Err(Self::command().error(ErrorKind::InvalidValue, message));
        }
        let excluded = match &self.command {
            Command::Consume(Consume { format: Some(_), .. }) if self.common.json => {
                Some(("--json", "--format <FMT>"))
            }
            Command::Groups(Groups { what: GroupsCommand::Reset(Reset { export: true, .. }) })
                if self.common.json =>
            {
                Some(("--json", "--export"))
            }
            #[cfg(unix)]
            Command::Pipe(Pipe { mode: Mode::Value, in_flight: 2.., .. }) => {
                Some(("--mode value", "--in-flight <N>"))
            }
            #[cfg(unix)]
            Command::Pipe(Pipe { retry_topics, order, allow_reordering: false, .. })
                if !retry_topics.is_empty() && *order != Order::None =>
            {
                Some(("--retry-topics", "--order <ORDER>' without '--allow-reordering"))
            }
            #[cfg(unix)]
            Command::Pipe(Pipe { mode: Mode::Value, framing: Framing::Length, .. }) => {
                Some(("--mode value", "--framing length"))
            }
            _ if self.common.quiet && self.common.verbose > 0 => Some(("--quiet", "--verbose")),
            _ => None,
        };
        let Some((one, other)) = excluded else { return Ok(()) };
        let message = format!("the argument '{one}' cannot be used with '{other}'");
        Err(Self::command().error(ErrorKind::ArgumentConflict, message))
    }
}

const PROPERTIES: &str = "properties";

fn with_properties(command: clap::Command) -> clap::Command {
    let option = Arg::new(PROPERTIES)
        .short('X')
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .value_parser(property)
        .help("Kafka client property by its Java name or librdkafka's (repeatable)")
        .display_order(1001)
        .help_heading("Global options");
    command.arg(option).mut_subcommands(with_properties)
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a self-contained demo: embedded cluster, producer, consumer group; needs no broker
    Demo(Demo),
    /// Print the records of topics
    Consume(Consume),
    /// Write the lines of stdin to a topic
    Produce(Produce),
    /// Give the records of a group to handlers in any language, with retries and dead letters
    #[cfg(unix)]
    Pipe(Pipe),
    /// List, show, replay or purge dead letters
    Dlq(Dlq),
    /// List, show or check the schemas of a registry
    #[cfg(feature = "registry")]
    Schemas(Schemas),
    /// List, describe, create or delete topics
    Topics(Topics),
    /// Print the first, last and by-time offsets of topics
    Offsets(Offsets),
    /// List, describe or delete consumer groups, or reset their committed offsets
    Groups(Groups),
    /// Show how far groups are behind: in records and seconds, with a status and the time until retention
    /// deletes unread records
    Lag(Lag),
    /// Watch groups on the whole screen: lag, rates, status, members; ? lists the keys
    Top(Top),
    /// Watch groups, and serve the findings: Prometheus metrics, JSON, a page with charts; notify webhooks
    Monitor(Box<Monitor>),
    /// Find out why a client cannot read: connect to every broker and report the findings, step by step;
    /// changes nothing
    Doctor(Doctor),
    /// Run an in-memory Kafka cluster for testing
    Broker(Broker),
    /// Run benchmarks
    Bench(Bench),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page of a command
    Man(Man),
}
