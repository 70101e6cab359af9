//! The topics, filled by Java's producer, and the contents that every client must find.

use std::time::Duration;

use offtake_tests::{JavaTool, Offtake};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::rows::Row;
use crate::settings::Settings;
use crate::system::{bench_consume, java};

const PATIENCE: Duration = Duration::from_secs(1200);

/// An existing topic, and its contents.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) row: Row,
    pub(crate) name: String,
    pub(crate) records: u64,
    /// The bytes of keys and values.
    pub(crate) bytes: u64,
    pub(crate) header_bytes: u64,
    /// The bytes of its log.
    pub(crate) log_bytes: u64,
    /// The sum over all records, as in `offtake bench consume`.
    checksum: String,
}

impl Topic {
    /// Fills it, unless it was kept; then makes Java read all of it, which also brings it into the page cache.
    pub(crate) fn prepare(
        settings: &Settings,
        broker: &Broker,
        tool: &JavaTool,
        row: Row,
    ) -> Result<Self, String> {
        let records = row.count(settings.scale);
        let name = format!("peers-{}-{records}", row.name());
        if !is_full(tool, &name, records) {
            eprintln!("peers: filling {name}");
            tool.create_topic(&name, row.partitions(), &[]);
            fill(settings, broker, &name, row, records)?;
        }
        let sums = tool.checksum(&[&name], row.is_json());
        let number = |field: &str| sums[field].as_u64().unwrap_or_default();
        if number("records") != records {
            return Err(format!("Java finds {} records in {name}", number("records")));
        }
        Ok(Self {
            row,
            log_bytes: broker.log_bytes(&name),
            name,
            records,
            bytes: number("bytes"),
            header_bytes: row.header_bytes(records),
            checksum: sums["checksum"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Checks that `offtake bench consume` finds the same as Java.
    pub(crate) fn verify(&self, broker: &Broker) -> Result<(), String> {
        let (program, words) = bench_consume(&broker.bootstrap(), &self.name, self.row.is_json());
        let done = Offtake::new(words).instead(program).patience(PATIENCE).run();
        let found: Value =
            done.stdout.first().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let checksum = found["checksum"].to_string();
        if found["records"] != self.records || found["bytes"] != self.bytes || checksum != self.checksum {
            return Err(format!("Java finds {self:?}, offtake bench consume {found} {:?}", done.stderr));
        }
        Ok(())
    }
}

/// Whether the topic is full. A topic of the same name with other contents is removed.
fn is_full(tool: &JavaTool, name: &str, records: u64) -> bool {
    let Ok((_, ends)) = tool.call("list_offsets", json!({ "topic": name, "at": "latest" })) else {
        return false;
    };
    let ends = ends["offsets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ends.iter().filter_map(|end| end[1].as_u64()).sum::<u64>() == records {
        return true;
    }
    tool.delete_topic(name);
    false
}

fn fill(settings: &Settings, broker: &Broker, name: &str, row: Row, records: u64) -> Result<(), String> {
    let kind = if row.is_json() { "json" } else { "bytes" };
    let words = [
        broker.kafka().direct(),
        name.to_owned(),
        row.partitions().to_string(),
        records.to_string(),
        row.size().to_string(),
        kind.to_owned(),
        row.codec().to_owned(),
        row.batch_bytes().to_string(),
    ];
    let (program, words) = java(settings, "Fill", words.map(Into::into).into());
    let done = Offtake::new(words).instead(program).patience(PATIENCE).run();
    if done.code == Some(0) { Ok(()) } else { Err(format!("{name} cannot be filled: {:?}", done.stderr)) }
}
