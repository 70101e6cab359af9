//! `topics`, and `offsets`.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::{property, values::partition};
use crate::text::time;

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
    ///
    /// If deleting one takes all of default.api.timeout.ms, the rest is left alone. Each topic that is left is named.
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
