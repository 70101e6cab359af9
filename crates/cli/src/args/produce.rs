//! `produce`, and `bench produce`.

use clap::{Args, builder::NonEmptyStringValueParser};

use super::values::{count, partition};
use crate::text::format;

#[derive(Debug, Args)]
#[command(after_help = PRODUCE)]
pub(crate) struct Produce {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// Split each line into key and value at the first occurrence of this separator (\t \n \0 \xNN are
    /// understood)
    #[arg(short = 'K', long, value_name = "SEP", value_parser = separator)]
    pub(crate) key_separator: Option<Separator>,
    /// The key of records that have none of their own
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
    /// Whose acknowledgement makes a record written: all, 1 (the leader) or 0 (nobody). Default: all
    #[arg(long, value_name = "ACKS")]
    pub(crate) acks: Option<String>,
    /// At most N records a second
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) rate: Option<u64>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// Write in transactions under this transactional id: readers see all of one, or nothing (read_committed)
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) transactional_id: Option<String>,
    /// The number of records per transaction; the last one, and one that collects lines for a quarter of
    /// `transaction.timeout.ms`, may have fewer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count, requires = "transactional_id", allow_negative_numbers = true)]
    pub(crate) transaction_records: u64,
    /// Print a JSON object for each record that is written
    #[arg(long)]
    pub(crate) json_report: bool,
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub(crate) registry: super::ProduceRegistry,
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

#[derive(Debug, Args)]
pub(crate) struct BenchProduce {
    /// The topic. Its records are kept: take one that may be deleted
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// Write N records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000_000, value_parser = count,
        allow_negative_numbers = true)]
    pub(crate) count: u64,
    /// Bytes of a value, at most 16777216. Records have no key
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = value_size, allow_negative_numbers = true)]
    pub(crate) size: usize,
    /// At most N records a second
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) rate: Option<u64>,
}

fn value_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| *size <= 16 << 20);
    size.ok_or_else(|| "not a size: write a number of bytes, at most 16777216".to_owned())
}
