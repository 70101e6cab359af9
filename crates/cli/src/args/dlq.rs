//! `dlq`.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use regex::Regex;

use super::values::count;
use crate::text::time;

#[derive(Debug, Args)]
#[command(after_help = SETS)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    pub(crate) what: DlqCommand,
}

const SETS: &str = "\
A dead letter is a record with headers that say where it came from and why: those of Offtake
(original_topic, error_reason, …), Spring's (kafka_dlt-…) or Kafka Connect's (__connect.errors.…).
A topic is read to its end as it is at the start, and only what is committed of transactions.";

const LIST: &str = "\
PER HOUR is the rate from OLDEST to NEWEST, if a minute or more lies between them. All dead letters of
the topic are counted, also those that were replayed: purge deletes them.";

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Count the dead letters of a topic by origin and reason
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        letters: Letters,
    },
    /// Print dead letters with their origin and reason
    Show {
        #[command(flatten)]
        letters: Letters,
        /// Stop after N
        #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
        count: Option<u64>,
    },
    /// Write dead letters back to the topics that they came from; prints the plan unless --execute is given
    Replay(Replay),
    /// Delete dead letters that were replayed, or all that are old enough; prints the plan unless --execute is given
    Purge(Purge),
}

/// A selection of dead letters, which have to meet all conditions.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    /// The topic of the dead letters
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// Only those whose reason matches this
    #[arg(long, value_name = "REGEX")]
    pub(crate) reason: Option<Regex>,
    /// Only those that came from this topic (repeatable)
    #[arg(long = "from-topic", value_name = "TOPIC")]
    pub(crate) from_topics: Vec<String>,
    /// Only those whose key contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_contains: Option<String>,
    /// Only those that failed at TIME or later: RFC 3339 (without a zone: UTC) or epoch milliseconds
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(crate) since: Option<i64>,
    /// Only those that failed before TIME
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(crate) until: Option<i64>,
}

#[derive(Debug, Args)]
#[command(after_help = REPLAY)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) letters: Letters,
    /// Write all of them to this topic
    #[arg(long, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to: Option<String>,
    /// The group under which the progress of the replay is committed. Default: offtake-dlq-replay-TOPIC
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Do it; without this the plan is printed and nothing is changed
    #[arg(long)]
    pub(crate) execute: bool,
}

const REPLAY: &str = "\
Key, value, timestamp and headers are as the record had them before it was dead-lettered; the key
decides the partition. Records and the group's offsets are written in one transaction for each poll,
so that a replay that is run again, or that dies, writes nothing twice: for readers with
isolation.level=read_committed. Others also see what a replay wrote that died before its commit.
What a filter leaves out is passed for that group: give a filtered replay a --group of its own.
Offsets of a group expire where nothing is committed under it for offsets.retention.minutes (a week
unless configured); then all would be replayed. The transactional.id is GROUP-TOPIC.";

#[derive(Debug, Args)]
#[command(after_help = PURGE)]
pub(crate) struct Purge {
    /// The topic of the dead letters
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// Delete what was replayed under this group. Default: offtake-dlq-replay-TOPIC
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Delete what failed before TIME, replayed or not: RFC 3339 (without a zone: UTC) or epoch milliseconds
    #[arg(long, value_name = "TIME", value_parser = time::time, conflicts_with_all = ["group", "all"])]
    pub(crate) before: Option<i64>,
    /// Delete all dead letters that are there now, replayed or not
    #[arg(long, conflicts_with = "group")]
    pub(crate) all: bool,
    /// With --before or --all: also delete records that have no header of a dead letter
    #[arg(long, conflicts_with = "group")]
    pub(crate) foreign: bool,
    /// Do it; without this the plan is printed and nothing is changed
    #[arg(long)]
    pub(crate) execute: bool,
}

const PURGE: &str = "\
Kafka deletes from the beginning of each partition. So what was replayed goes up to the first dead letter
that was not, be it one that a filter left out; and --before goes up to the first that is younger.";
