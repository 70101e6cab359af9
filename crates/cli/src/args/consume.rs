//! `consume`, and `bench consume`.

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

use super::{
    BenchProduce,
    values::{count, partition},
};
use crate::text::{format::Format, offset_bound::OffsetBound, time};

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// Topics; with --regex, regular expressions matched against the full name
    #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Join this group and commit the printed records. Without it every partition is read and nothing
    /// committed. A reader such as head may get less than was printed: use -n with a group
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Only these partitions, without a group (repeatable)
    #[arg(short, long = "partition", value_name = "N", conflicts_with = "group", value_delimiter = ',',
        value_parser = partition, allow_negative_numbers = true)]
    pub(crate) partitions: Vec<i32>,
    /// Topics are regular expressions. With --protocol consumer the broker matches them (RE2 syntax), otherwise this command. In a
    /// group a topic created later is read once it is found: within metadata.max.age.ms (5 minutes), by the broker in some 10 s
    #[arg(long)]
    pub(crate) regex: bool,
    /// Where to start: earliest, latest, an offset, -N (N before the end), @TIME (RFC 3339 or epoch milliseconds). In a group
    /// it applies only where nothing is committed. Default: earliest without a group, auto.offset.reset (latest) with one
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) from: Option<OffsetBound>,
    /// Where to stop, same forms: before that offset in each partition; latest is the end as it was at the start
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) until: Option<OffsetBound>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// Stop when no record has arrived for this long, such as 10s (exit 0)
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
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub(crate) registry: super::ConsumeRegistry,
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

fn idle_timeout(text: &str) -> Result<i64, String> {
    match time::duration(text)? {
        0 => Err("the duration is zero: write a duration such as 10s".to_owned()),
        millis => Ok(millis),
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
    /// Write records of words to a topic, and wait until each is acknowledged
    Produce(BenchProduce),
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
