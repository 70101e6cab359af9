//! The command line as it is written.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::{
    groups::Scope,
    text::{format::Format, place::Place, time},
};

/// Read Kafka topics and consumer groups.
#[derive(Debug, Parser)]
#[command(name = "offtake", version, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Every command")]
pub(crate) struct Common {
    /// Bootstrap servers; else KAFKA_BOOTSTRAP_SERVERS, else localhost:9092
    #[arg(short, long, global = true, value_name = "HOST:PORT,…")]
    pub(crate) brokers: Option<String>,
    /// `-X`, in the order they stand in: see [`Cli::read`]
    #[arg(skip)]
    pub(crate) properties: Vec<(String, String)>,
    /// A Java .properties file, read before -X
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more; twice for everything (RUST_LOG is understood too)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

impl Cli {
    /// The command line, or the error that clap prints.
    ///
    /// Of a global option clap keeps what stands deepest; `-X` counts wherever it stands, so each command has its own.
    pub(crate) fn read<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = with_properties(Self::command()).try_get_matches_from(args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut level = Some(&matches);
        while let Some(matches) = level {
            let given = matches.get_many::<(String, String)>(PROPERTIES).into_iter().flatten();
            cli.common.properties.extend(given.cloned());
            level = matches.subcommand().map(|(_, below)| below);
        }
        Ok(cli)
    }
}

const PROPERTIES: &str = "properties";

fn with_properties(command: clap::Command) -> clap::Command {
    let option = Arg::new(PROPERTIES)
        .short('X')
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .value_parser(property)
        .help("A Kafka client property by its Java name or librdkafka's (may be given again)")
        .help_heading("Every command");
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
    /// Show what this is: a cluster in the box, orders, and a group that reads them; needs no broker
    Demo(Demo),
    /// Print the records of topics
    Consume(Consume),
    /// List, describe, create or delete topics
    Topics(Topics),
    /// Print the first, last and by-time offsets of topics
    Offsets(Offsets),
    /// List, describe or delete consumer groups, or reset what they have committed
    Groups(Groups),
    /// Run brokers in memory, for trying things against
    Broker(Broker),
    /// Measure
    Bench(Bench),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after so many seconds
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub(crate) seconds: u64,
    /// Write what the screen shows to this file, as SVG
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) screenshot: Option<PathBuf>,
    /// When: so many seconds from the start
    #[arg(long, value_name = "SECONDS", hide = true, requires = "screenshot")]
    pub(crate) screenshot_at: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The topics, or with --regex patterns of their whole names
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Join this group and commit what was printed; without it every partition is read and nothing committed
    #[arg(short, long)]
    pub(crate) group: Option<String>,
    /// Only these partitions (may be given again)
    #[arg(short, long = "partition", value_name = "N", conflicts_with = "group", value_delimiter = ',',
        value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partitions: Vec<i32>,
    /// The topics are regular expressions of whole names. With --protocol consumer the broker matches them (RE2 syntax), in
    /// all other cases this command does
    #[arg(long)]
    pub(crate) regex: bool,
    /// Where to begin: earliest, latest, an offset, -N (N before the end), @TIME (RFC 3339 or epoch milliseconds);
    /// in a group only where nothing is committed
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) from: Option<Place>,
    /// Where to stop, the same forms: before that offset in each partition; latest is the end as it was at the start
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) until: Option<Place>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Which records of transactions to print
    #[arg(long, value_enum)]
    pub(crate) isolation: Option<Isolation>,
    /// How a classic group divides the partitions: range, roundrobin, sticky, cooperative-sticky
    #[arg(long, value_name = "NAME[,NAME]", requires = "group")]
    pub(crate) assignor: Option<String>,
    /// The group protocol; consumer is KIP-848
    #[arg(long, value_enum, requires = "group")]
    pub(crate) protocol: Option<Protocol>,
    /// A name that survives restarts: static membership
    #[arg(long, value_name = "ID", requires = "group")]
    pub(crate) instance_id: Option<String>,
    /// How to print a record: %t topic, %p partition, %o offset, %k key, %s value, %h headers, %T timestamp, %K %S
    /// lengths (-1 for null), \n \t \0
    #[arg(short, long, value_name = "FMT", conflicts_with = "json")]
    pub(crate) format: Option<Format>,
    /// Tell what happens beside records as JSON lines on stderr
    #[arg(long)]
    pub(crate) events: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    #[value(name = "read_uncommitted")]
    ReadUncommitted,
    #[value(name = "read_committed")]
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Classic,
    Consumer,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Topics {
    #[command(subcommand)]
    pub(crate) what: Option<TopicsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// The topics of the cluster
    List {
        /// Kafka's own too
        #[arg(long)]
        internal: bool,
    },
    /// Partitions, leaders, replicas
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Create a topic
    Create(Create),
    /// Delete topics with all their records
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// How many partitions; else the broker's default
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// How many replicas of each; else the broker's default
    #[arg(short, long = "replication-factor", visible_alias = "replication", value_name = "N",
        value_parser = clap::value_parser!(i16).range(1..))]
    pub(crate) replication: Option<i16>,
    /// A setting of the topic, such as cleanup.policy=compact (may be given again)
    #[arg(short = 'c', long = "set", visible_alias = "topic-config", value_name = "KEY=VALUE", value_parser = property)]
    pub(crate) settings: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Offsets {
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Only these partitions (may be given again)
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',',
        value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partitions: Vec<i32>,
    /// Also the first offset that is not older: RFC 3339 or epoch milliseconds, with or without @
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(crate) at: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Groups {
    #[command(subcommand)]
    pub(crate) what: GroupsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// The groups of the cluster
    List,
    /// A group's state, protocol and coordinator, its members and what each owns
    Describe {
        #[arg(value_name = "GROUP")]
        group: String,
    },
    /// Delete groups with all that they have committed; refused while they have members
    Delete {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Say where a group would go on, and with --execute have it go on there; refused while it has members
    Reset(Reset),
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// A topic, or some of its partitions (may be given again)
    #[arg(long = "topic", value_name = "TOPIC[:P,…]", required_unless_present_any = ["all_topics", "from_file"],
        conflicts_with = "all_topics")]
    pub(crate) topics: Vec<Scope>,
    /// All that the group has committed
    #[arg(long)]
    pub(crate) all_topics: bool,
    #[command(flatten)]
    pub(crate) to: ResetTo,
    /// Do it; without this the plan is printed and nothing changed
    #[arg(long)]
    pub(crate) execute: bool,
}

/// Where to: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the first record
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the end
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To this offset; where the log does not have it, to its nearer end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to_offset: Option<i64>,
    /// So many records on from what is committed, or with -N back; not beyond the ends of the log
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shift_by: Option<i64>,
    /// To the first record that is not older: RFC 3339 (without a zone: UTC) or epoch milliseconds; to the end if all are
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(crate) to_datetime: Option<i64>,
    /// The same, so long before now: PT1H30M or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = time::duration, allow_hyphen_values = true)]
    pub(crate) by_duration: Option<i64>,
    /// To the offsets in this file, - for stdin: lines topic,partition,offset or group,topic,partition,offset as
    /// kafka-consumer-groups exports them, or a plan as --json prints it. Rows of other groups are left out, and with
    /// --topic or --all-topics what these do not mean
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// Where the first broker listens; 0 takes a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) listen: String,
    /// A topic that is there from the start (may be given again); one partition unless said
    #[arg(short, long = "topic", value_name = "NAME[:PARTITIONS]", value_parser = topic)]
    pub(crate) topics: Vec<(String, i32)>,
    /// How many brokers, on ports that follow each other
    // Not --brokers: that says where a cluster is.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) nodes: i32,
    /// Create topics that clients ask for
    #[arg(long)]
    pub(crate) auto_create_topics: bool,
    /// How often members of groups of the consumer protocol (KIP-848) are to be heard from: their
    /// group.consumer.heartbeat.interval.ms; below the session timeout of 45 s
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..45_000))]
    pub(crate) heartbeat_interval: u64,
}

fn topic(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = match text.rsplit_once(':') {
        Some((name, partitions)) => (name, partitions.parse().map_err(|_| "write it as NAME:PARTITIONS")?),
        None => (text, 1),
    };
    match (name.is_empty(), partitions) {
        (false, 1..=10_000) => Ok((name.to_owned(), partitions)),
        (true, _) => Err("a topic has a name".to_owned()),
        (false, _) => Err("a topic has 1 to 10000 partitions".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Read topics to the end as it was at the start, looking at every key and value
    Consume(BenchConsume),
}

#[derive(Debug, Args)]
pub(crate) struct BenchConsume {
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Read through this group
    #[arg(short, long)]
    pub(crate) group: Option<String>,
    /// Read headers too
    #[arg(long)]
    pub(crate) headers: bool,
    /// Take whole batches, and have so many threads unpack and read them; 0: records, on one
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "count")]
    pub(crate) threads: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        with_properties(Cli::command()).debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for line in [
            "offtake -b a:1 -X group.id=x --json consume t",
            "offtake consume t --json -X group.id=x --brokers a:1",
        ] {
            let cli = parsed(line).unwrap();
            assert!(cli.common.json, "{line}");
            assert_eq!(cli.common.brokers.as_deref(), Some("a:1"));
            assert_eq!(cli.common.properties, [("group.id".to_owned(), "x".to_owned())]);
        }
    }

    #[test]
    fn properties_before_and_after_the_command_all_count() {
        let cli = parsed("offtake -X a=1 -X b=2 consume t -X c=3").unwrap();
        let names: Vec<_> = cli.common.properties.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn every_option_of_consume_is_understood() {
        let line = "offtake consume a b --regex -g g --from -10 --until @1700000000000 -n 3 --isolation read_committed \
                    --assignor range,sticky --protocol classic --instance-id i --events -f %s\\n -vv";
        let cli = parsed(line).unwrap();
        let Command::Consume(consume) = cli.command else { panic!("another command") };
        assert_eq!(consume.topics, ["a", "b"]);
        assert_eq!(consume.from, Some(Place::BeforeEnd(10)));
        assert_eq!(consume.until, Some(Place::Time(1_700_000_000_000)));
        assert_eq!((consume.count, consume.isolation), (Some(3), Some(Isolation::ReadCommitted)));
        assert_eq!(cli.common.verbose, 2);
        let cli = parsed("offtake consume a -p 0 -p 2,3 --from earliest").unwrap();
        let Command::Consume(consume) = cli.command else { panic!("another command") };
        assert_eq!(consume.partitions, [0, 2, 3]);
    }

    #[test]
    fn a_reset_has_one_scope_and_one_goal() {
        let reset = |line: &str| match parsed(&format!("offtake groups reset g {line}")).unwrap().command {
            Command::Groups(Groups { what: GroupsCommand::Reset(reset) }) => reset,
            other => panic!("another command: {other:?}"),
        };
        let all = reset("--topic a --topic b:0,2 --shift-by -10 --execute");
        assert_eq!((all.group.as_str(), all.topics.len(), all.execute), ("g", 2, true));
        assert_eq!(all.to.shift_by, Some(-10));
        assert_eq!(
            reset("--all-topics --to-datetime 2023-11-14T22:13:20").to.to_datetime,
            Some(1_700_000_000_000)
        );
        assert_eq!(reset("--all-topics --by-duration PT1H").to.by_duration, Some(3_600_000));
        assert!(
            reset("--all-topics --to-earliest").to.to_earliest && reset("--topic a --to-latest").to.to_latest
        );
        let file = reset("--from-file -"); // says itself which partitions are meant
        assert_eq!((file.to.from_file, file.topics.len()), (Some("-".into()), 0));
    }

    #[test]
    fn a_cluster_to_try_things_against_has_topics_and_brokers() {
        let line =
            "offtake broker --topic orders:4 --topic a:b:2 --topic single --nodes 3 --auto-create-topics";
        let Command::Broker(broker) = parsed(line).unwrap().command else { panic!("another command") };
        let topics = [("orders", 4), ("a:b", 2), ("single", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(broker.topics, topics);
        assert_eq!((broker.nodes, broker.auto_create_topics), (3, true));
        assert_eq!(broker.listen, "127.0.0.1:9092");
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "offtake",
            "offtake consume",
            "offtake consume t -p 0 -g g",
            "offtake consume t -p -1",
            "offtake consume t --assignor range",
            "offtake consume t --from yesterday",
            "offtake consume t -f %z",
            "offtake consume t -f %s --json",
            "offtake consume t -X novalue",
            "offtake consume t -v -q",
            "offtake topics create",
            "offtake demo --seconds 0",
            "offtake demo orders",
            "offtake groups describe",
            "offtake groups delete",
            "offtake groups reset --all-topics --to-latest",
            "offtake groups reset g --to-latest",
            "offtake groups reset g --all-topics",
            "offtake groups reset g --all-topics --topic t --to-latest",
            "offtake groups reset g --all-topics --to-latest --to-earliest",
            "offtake groups reset g --all-topics --to-offset -1",
            "offtake groups reset g --all-topics --shift-by 1.5",
            "offtake groups reset g --all-topics --to-datetime yesterday",
            "offtake groups reset g --all-topics --by-duration -PT1H",
            "offtake groups reset g --topic t: --to-latest",
            "offtake offsets",
            "offtake broker --topic orders:none",
            "offtake broker --topic :3",
            "offtake broker --nodes 0",
            "offtake broker --heartbeat-interval 0",
            "offtake nosuch",
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
