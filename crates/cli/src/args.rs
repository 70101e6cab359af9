//! The command line as it is written.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::NonEmptyStringValueParser, error::ErrorKind,
};

use offtake::security::Secret;
use offtake_broker::SaslMechanism;

use crate::{
    groups::Scope,
    hints,
    text::{
        format::{self, Format},
        place::Place,
        time,
    },
};

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
  4. the defaults of Kafka's Java consumer, but default.api.timeout.ms=10000 and
     allow.auto.create.topics=false

Exit status: 0 done, 1 failed (the last line on stderr says why), 2 wrong usage,
130 interrupted twice.";

/// Read Kafka topics and consumer groups.
#[derive(Debug, Parser)]
#[command(name = "offtake", version, long_version = BUILD, max_term_width = 110, propagate_version = true, after_long_help = SETTINGS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// Bootstrap servers (also OFFTAKE_BROKERS or KAFKA_BOOTSTRAP_SERVERS; default: localhost:9092)
    #[arg(short, long, global = true, value_name = "HOST:PORT,…", display_order = 1000)]
    pub(crate) brokers: Option<String>,
    /// `-X`, in the order they stand in: see [`Cli::read`]
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
    /// Of a global option clap keeps what stands deepest; `-X` counts wherever it stands, so each command has its own.
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

    /// What clap does not see, as a global option may stand before the command and what excludes it after.
    fn check(&self) -> Result<(), clap::Error> {
        let excluded = match &self.command {
            Command::Consume(Consume { format: Some(_), .. }) if self.common.json => {
                Some(("--json", "--format <FMT>"))
            }
            Command::Groups(Groups { what: GroupsCommand::Reset(Reset { export: true, .. }) })
                if self.common.json =>
            {
                Some(("--json", "--export"))
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
    /// List, describe, create or delete topics
    Topics(Topics),
    /// Print the first, last and by-time offsets of topics
    Offsets(Offsets),
    /// List, describe or delete consumer groups, or reset their committed offsets
    Groups(Groups),
    /// Look into why a client cannot read: connect to every broker and tell what is found, step by step; changes nothing
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

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

const COMPLETIONS: &str = "\
For example:
  bash  offtake completions bash > ~/.local/share/bash-completion/completions/offtake
  zsh   offtake completions zsh > \"${fpath[1]}/_offtake\"
  fish  offtake completions fish > ~/.config/fish/completions/offtake.fish";

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command, such as `groups reset` (default: offtake itself)
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Stop after N seconds
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub(crate) seconds: u64,
    /// Write what the screen shows to this file, as SVG
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) screenshot: Option<PathBuf>,
    /// Write it N seconds after the start
    #[arg(long, value_name = "N", hide = true, requires = "screenshot")]
    pub(crate) screenshot_at: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// Topics; with --regex, regular expressions matched against the full name
    #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Join this group and commit what was printed. Without it every partition is read and nothing committed.
    /// A reader such as head may get less than was printed: use -n with a group
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Only these partitions, without a group (repeatable)
    #[arg(short, long = "partition", value_name = "N", conflicts_with = "group", value_delimiter = ',',
        value_parser = partition, allow_negative_numbers = true)]
    pub(crate) partitions: Vec<i32>,
    /// Topics are regular expressions. With --protocol consumer the broker matches them (RE2 syntax), otherwise this command
    #[arg(long)]
    pub(crate) regex: bool,
    /// Where to start: earliest, latest, an offset, -N (N before the end), @TIME (RFC 3339 or epoch milliseconds). In a group
    /// it applies only where nothing is committed. Default: earliest without a group, auto.offset.reset (latest) with one
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) from: Option<Place>,
    /// Where to stop, same forms: before that offset in each partition; latest is the end as it was at the start
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) until: Option<Place>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// Stop when no record has come for this long, such as 10s (exit 0)
    #[arg(long, value_name = "DURATION", value_parser = idle_timeout, allow_negative_numbers = true)]
    pub(crate) idle_timeout: Option<i64>,
    /// Print only records whose key contains TEXT; those left out count as read
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_contains: Option<String>,
    /// Print only records whose value contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub(crate) value_contains: Option<String>,
    /// Print only records with a header NAME, or one whose value contains TEXT
    #[arg(long, value_name = "NAME[=TEXT]", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) header_contains: Option<String>,
    /// Which records of transactions to print
    #[arg(long, value_enum)]
    pub(crate) isolation: Option<Isolation>,
    /// How a classic group divides the partitions: range, roundrobin, sticky, cooperative-sticky
    #[arg(long, value_name = "NAME[,NAME]", requires = "group")]
    pub(crate) assignor: Option<String>,
    /// The group protocol; consumer is KIP-848
    #[arg(long, value_enum, requires = "group")]
    pub(crate) protocol: Option<Protocol>,
    /// group.instance.id (static membership)
    #[arg(long, value_name = "ID", requires = "group")]
    pub(crate) instance_id: Option<String>,
    /// How to print a record: %t topic, %p partition, %o offset, %k key, %s value, %h headers, %T timestamp in milliseconds,
    /// %I timestamp as RFC 3339 (UTC), %K %S lengths (-1 for null), \n \r \t \0 \xNN; %% is a percent sign
    #[arg(short, long, value_name = "FMT")]
    pub(crate) format: Option<Format>,
    /// Write rebalance, commit and error events to stderr as JSON lines
    #[arg(long)]
    pub(crate) events: bool,
}

#[derive(Debug, Args)]
#[command(after_help = PRODUCE)]
pub(crate) struct Produce {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// A line is a key and a value with this between them, where it first stands (\\t \\n \\0 \\xNN are understood)
    #[arg(short = 'K', long, value_name = "SEP", value_parser = separator)]
    pub(crate) key_separator: Option<Separator>,
    /// The key of records that have none themselves
    #[arg(short, long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// A header of all records (repeatable)
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// Write to this partition, whatever the key
    #[arg(short, long, value_name = "N", value_parser = partition, allow_negative_numbers = true)]
    pub(crate) partition: Option<i32>,
    /// With --json, write each record to the partition that its line names
    #[arg(long, conflicts_with = "partition")]
    pub(crate) keep_partition: bool,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    pub(crate) compression: Option<String>,
    /// Whose word makes a record written: all, 1 (the leader) or 0 (nobody). Default: all
    #[arg(long, value_name = "ACKS")]
    pub(crate) acks: Option<String>,
    /// At most N records a second
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) rate: Option<u64>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// Print a JSON object for each record that is written
    #[arg(long)]
    pub(crate) json_report: bool,
}

const PRODUCE: &str = "\
A line is a value, and an empty line an empty value. With --json a line is a record as
`offtake consume --json` prints it: `consume --json a | produce --json b` copies a topic.";

/// Bytes between a key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Separator(pub(crate) Vec<u8>);

fn separator(text: &str) -> Result<Separator, String> {
    match format::unescaped(text)? {
        bytes if bytes.is_empty() => Err("it cannot be empty".to_owned()),
        bytes => Ok(Separator(bytes)),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
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
    /// List the topics of the cluster
    List {
        /// Include internal topics
        #[arg(long)]
        internal: bool,
    },
    /// Show partitions, leaders and replicas
    Describe {
        /// The topics
        #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
        topics: Vec<String>,
    },
    /// Create a topic
    Create(Create),
    /// Delete topics with all their records
    Delete {
        /// The topics
        #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
        topics: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Number of partitions (default: broker's)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// Replication factor (default: broker's)
    #[arg(short, long = "replication-factor", visible_alias = "replication", value_name = "N",
        value_parser = clap::value_parser!(i16).range(1..))]
    pub(crate) replication: Option<i16>,
    /// Topic config, for example cleanup.policy=compact (repeatable)
    #[arg(short = 'c', long = "set", visible_alias = "topic-config", value_name = "KEY=VALUE", value_parser = property)]
    pub(crate) settings: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Offsets {
    /// The topics
    #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Only these partitions (repeatable)
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',', value_parser = partition,
        allow_negative_numbers = true)]
    pub(crate) partitions: Vec<i32>,
    /// Also the offset of the first record with a timestamp at or after TIME: RFC 3339 (without a zone: UTC) or epoch
    /// milliseconds
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
    /// List the groups of the cluster
    List,
    /// Show a group's state, coordinator and members, and the committed offset, log end and lag of each partition
    Describe {
        /// The consumer group
        #[arg(value_name = "GROUP")]
        group: String,
    },
    /// Delete groups with their committed offsets; refused while they have members
    Delete {
        /// The consumer groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Reset a group's committed offsets; prints the plan unless --execute is given; refused while the group has active members
    Reset(Reset),
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The consumer group
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// A topic, or some of its partitions (repeatable)
    #[arg(long = "topic", value_name = "TOPIC[:P,…]", required_unless_present_any = ["all_topics", "from_file"],
        conflicts_with = "all_topics")]
    pub(crate) topics: Vec<Scope>,
    /// All topics with committed offsets
    #[arg(long)]
    pub(crate) all_topics: bool,
    #[command(flatten)]
    pub(crate) to: ResetTo,
    /// Apply the plan; without this it is printed and nothing is changed
    #[arg(long)]
    pub(crate) execute: bool,
    /// Print the plan and change nothing: the default
    #[arg(long, conflicts_with = "execute")]
    pub(crate) dry_run: bool,
    /// Print the plan as CSV (topic,partition,offset), which --from-file and kafka-consumer-groups read back
    #[arg(long)]
    pub(crate) export: bool,
}

/// Where to: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the log start
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the log end
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To what is committed now, and to the log end where nothing is: to export it
    #[arg(long)]
    pub(crate) to_current: bool,
    /// To this offset, or to the nearer end of the log if it is outside
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to_offset: Option<i64>,
    /// Shift the committed offset by N (negative: back), within the log
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shift_by: Option<i64>,
    /// To the first record with a timestamp at or after TIME: RFC 3339 (without a zone: UTC) or epoch milliseconds; to the log
    /// end if there is none
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(crate) to_datetime: Option<i64>,
    /// To the first record at or after now minus DURATION: PT1H30M or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = time::duration, allow_hyphen_values = true)]
    pub(crate) by_duration: Option<i64>,
    /// To the offsets in this file, - for stdin: lines topic,partition,offset or group,topic,partition,offset as
    /// kafka-consumer-groups exports them, or a plan as --json prints it. Rows of other groups are left out and, with
    /// --topic/--all-topics, partitions outside them
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = DOCTOR)]
pub(crate) struct Doctor {
    /// Also whether this topic is there and may be read (repeatable)
    #[arg(short, long = "topic", value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Also whether this group may be joined (repeatable)
    #[arg(short, long = "group", value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) groups: Vec<String>,
}

const DOCTOR: &str = "\
Exit status: 0 all is fine, 1 a step failed (the last line on stderr says the first of them).

Each step is a line, or with --json an object: broker, step, ok, detail. Of a broker nothing follows a step that failed.
The clocks of brokers are not compared: Kafka's protocol does not tell them.";

#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// Where the first broker listens; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) listen: String,
    /// Create this topic at start (default: 1 partition; repeatable)
    #[arg(short, long = "topic", value_name = "NAME[:PARTITIONS]", value_parser = topic)]
    pub(crate) topics: Vec<(String, i32)>,
    /// Number of brokers, on consecutive ports
    // Not --brokers: that says where a cluster is.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) nodes: i32,
    /// Create topics that clients ask for and that do not exist
    #[arg(long)]
    pub(crate) auto_create_topics: bool,
    /// group.consumer.heartbeat.interval.ms for KIP-848 groups; below the session timeout of 45 s
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..45_000))]
    pub(crate) heartbeat_interval: u64,
    /// Speak TLS only, by an authority that is made at the start and that clients have to trust
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub(crate) tls: bool,
    /// Write the certificate of that authority to this file, as PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Let in only who authenticates: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER with unsecured tokens (repeatable)
    #[arg(long = "sasl", value_name = "MECHANISM", requires = "users")]
    pub(crate) mechanisms: Vec<SaslMechanism>,
    /// Who may log in, by each of the mechanisms (repeatable). OAUTHBEARER needs no password
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user, requires = "mechanisms")]
    pub(crate) users: Vec<User>,
}

/// Who may log in. Does not print the password.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

fn user(text: &str) -> Result<User, String> {
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("the user's name is missing: write it as NAME:PASSWORD".to_owned());
    }
    Ok(User { name: name.to_owned(), password: Secret::from(password) })
}

fn partition(text: &str) -> Result<i32, String> {
    let index = text.parse::<u32>().ok().and_then(|index| i32::try_from(index).ok());
    index.ok_or_else(|| "not a partition: write a number, 0 or more".to_owned())
}

fn idle_timeout(text: &str) -> Result<i64, String> {
    match time::duration(text)? {
        0 => Err("nothing comes in no time: write a duration such as 10s".to_owned()),
        millis => Ok(millis),
    }
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "not a number of records: write 0 or more".to_owned())
}

fn topic(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = match text.rsplit_once(':') {
        Some((name, partitions)) => (name, partitions.parse().map_err(|_| "write it as NAME:PARTITIONS")?),
        None => (text, 1),
    };
    match (name.is_empty(), partitions) {
        (false, 1..=10_000) => Ok((name.to_owned(), partitions)),
        (true, _) => Err("the topic name is missing".to_owned()),
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
    /// The topics
    #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// Read as a member of this group, from its committed offsets; nothing is committed
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Read headers too
    #[arg(long)]
    pub(crate) headers: bool,
    /// Decode batches on N threads, at most 256 (0: on the polling thread)
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "count",
        value_parser = clap::value_parser!(u16).range(..=256))]
    pub(crate) threads: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::definition().debug_assert();
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
    fn a_cluster_to_try_things_against_may_be_secured() {
        let line = "offtake broker --sasl PLAIN --sasl SCRAM-SHA-512 --user alice:a:b --user bob";
        let Command::Broker(broker) = parsed(line).unwrap().command else { panic!("another command") };
        assert_eq!(broker.mechanisms, [SaslMechanism::Plain, SaslMechanism::ScramSha512]);
        let users: Vec<_> = broker
            .users
            .iter()
            .map(|user| (user.name.as_str(), user.password.expose_str().unwrap()))
            .collect();
        assert_eq!(users, [("alice", "a:b"), ("bob", "")]);
        assert!(!format!("{broker:?}").contains("a:b"));
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
            "offtake broker --sasl PLAIN",
            "offtake broker --user alice:wonder",
            "offtake broker --sasl GSSAPI --user alice:wonder",
            "offtake broker --sasl PLAIN --user :wonder",
            "offtake broker --tls-ca ca.pem",
            "offtake doctor orders",
            "offtake broker --heartbeat-interval 0",
            "offtake nosuch",
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
