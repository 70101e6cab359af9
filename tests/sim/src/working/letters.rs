//! Dead letters as the log of their topic has them. What their headers are called is written down here once more: nothing of the worker's code
//! is asked.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
};

use bytes::Bytes;
use offtake_broker::{Model, NewRecord};

use super::LETTERS;
use crate::events::{Place, What};

/// Of a record's bytes: its key, its value, its headers.
pub(crate) fn digest<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    headers.for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// What the headers are called that say where a letter comes from: topic, partition, offset.
const ORIGINS: [[&str; 3]; 3] = [
    ["original_topic", "original_partition", "original_offset"],
    ["kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset"],
    ["__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset"],
];

/// And those of all that was added to the record's own.
const ADDED: [&str; 9] = [
    "original_timestamp",
    "original_group",
    "error_reason",
    "error_attempts",
    "failed_at",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-original-consumer-group",
    "kafka_dlt-exception-message",
    "__connect.errors.exception.message",
];

/// The letters at these offsets.
pub(crate) fn letters(model: &Model, partition: i32, offsets: RangeInclusive<i64>) -> Vec<What> {
    let records = model.records(LETTERS, partition).into_iter();
    let records = records.filter(|(offset, _)| offsets.contains(offset));
    let at = Place::new(LETTERS, partition);
    records.map(|(offset, record)| letter(at.clone(), offset, &record)).collect()
}

fn letter(at: Place, offset: i64, record: &NewRecord) -> What {
    let added = |name: &str| ORIGINS.iter().flatten().chain(&ADDED).any(|added| *added == name);
    let own = record.headers.iter().filter(|(name, _)| !added(name));
    let own = own.map(|(name, value)| (name.as_str(), value.as_deref()));
    let digest = digest(record.key.as_deref(), record.value.as_deref(), own);
    let of = ORIGINS.iter().find_map(|names| origin(record, names));
    What::Letter { at, offset, of, digest }
}

fn origin(record: &NewRecord, [topic, partition, offset]: &[&str; 3]) -> Option<(Place, i64)> {
    let value = |wanted: &str| {
        record.headers.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.as_ref())
    };
    let topic = String::from_utf8(value(topic)?.to_vec()).ok()?;
    let partition = i32::try_from(number(value(partition)?)?).ok()?;
    Some((Place::new(&topic, partition), number(value(offset)?)?))
}

/// As text, or as Java writes an `int` or a `long`.
fn number(value: &Bytes) -> Option<i64> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    text.or_else(|| Some(i64::from(i32::from_be_bytes(value[..].try_into().ok()?))))
        .or_else(|| Some(i64::from_be_bytes(value[..].try_into().ok()?)))
}
