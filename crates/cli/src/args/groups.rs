//! `groups`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{groups::Scope, text::time};

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
    ///
    /// A cluster that does not answer is waited for once, for default.api.timeout.ms; if only some of the coordinators do
    /// not answer, that long for every 20 groups. Each group that is left is named.
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

/// The target: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the log start
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the log end
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To the committed offset itself, and to the log end where none is committed: to export it
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
