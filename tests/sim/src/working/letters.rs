//! Dead letters as their topic's log has them. The names of their headers are repeated here, independently of the worker's code.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
};

use bytes::Bytes;
use offtake_broker::{Model, NewRecord};

use super::{LETTERS, since_start};
use crate::{
    events::{Place, What},
    producer::ID,
};

/// A digest of a record's key, value, headers, and timestamp.
pub(crate) fn digest<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    dated: Option<i64>,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value, dated).hash(&mut hasher);
    headers.for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// The headers with a letter's origin: topic, partition, offset.
const ORIGINS: [[&str; 3]; 3] = [
    ["original_topic", "original_partition", "original_offset"],
    ["kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset"],
    ["__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset"],
];

/// The headers with its original timestamp.
const DATED: [&str; 2] = ["original_timestamp", "kafka_dlt-original-timestamp"];

/// All other headers that were added to the record's own.
const ADDED: [&str; 9] = [
    "first_error_reason",
    "first_failed_at",
    "original_group",
    "error_reason",
    "error_attempts",
    "failed_at",
    "kafka_dlt-original-consumer-group",
    "kafka_dlt-exception-message",
    "__connect.errors.exception.message",
];

/// The letters at these offsets.
pub(crate) fn letters(model: &Model, partition: i32, offsets: RangeInclusive<i64>) -> Vec<What> {
    let at = Place::new(LETTERS, partition);
    let letter = |(offset, record): (i64, NewRecord)| What::Letter {
        at: at.clone(),
        offset,
        of: of(&record),
        digest: own_digest(&record),
        attempts: attempts(&record),
    };
    written(model, &at, offsets).map(letter).collect()
}

/// The records of a retry topic at these offsets: an event for each as from a producer, and one with its headers.
pub(crate) fn put_aside(
    model: &Model,
    (topic, partition): (&str, i32),
    offsets: RangeInclusive<i64>,
) -> Vec<What> {
    let at = &Place::new(topic, partition);
    let told = |(offset, record): (i64, NewRecord)| {
        let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
        [
            What::Appended { at: at.clone(), offset, id: id(&record), transaction: 0 },
            What::Wrote { at: at.clone(), offset, key, digest: own_digest(&record) },
            What::PutAside {
                at: at.clone(),
                offset,
                of: of(&record),
                attempts: attempts(&record),
                first: text(&record, "first_error_reason"),
                written: since_start(record.timestamp.unwrap_or_default()),
            },
        ]
    };
    written(model, at, offsets).flat_map(told).collect()
}

fn written(
    model: &Model,
    at: &Place,
    offsets: RangeInclusive<i64>,
) -> impl Iterator<Item = (i64, NewRecord)> {
    model.records(&at.topic, at.partition).into_iter().filter(move |(offset, _)| offsets.contains(offset))
}

/// The digest of the original record's parts in it.
fn own_digest(record: &NewRecord) -> u64 {
    let added = |name: &str| ORIGINS.iter().flatten().chain(&DATED).chain(&ADDED).any(|added| *added == name);
    let own = record.headers.iter().filter(|(name, _)| !added(name));
    let own = own.map(|(name, value)| (name.as_str(), value.as_deref()));
    let dated = DATED.iter().find_map(|name| number(header(record, name)?));
    digest(record.key.as_deref(), record.value.as_deref(), own, dated)
}

/// The original record that it names.
fn of(record: &NewRecord) -> Option<(Place, i64)> {
    ORIGINS.iter().find_map(|names| origin(record, names))
}

fn attempts(record: &NewRecord) -> Option<u32> {
    text(record, "error_attempts")?.parse().ok()
}

fn header<'a>(record: &'a NewRecord, wanted: &str) -> Option<&'a Bytes> {
    record.headers.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.as_ref())
}

fn text(record: &NewRecord, wanted: &str) -> Option<String> {
    String::from_utf8(header(record, wanted)?.to_vec()).ok()
}

/// The number of the original record.
fn id(record: &NewRecord) -> u64 {
    let bytes = record.value.as_ref().or_else(|| header(record, ID));
    let number = bytes.and_then(|bytes| bytes.get(..8)?.try_into().ok());
    number.map_or(u64::MAX, u64::from_be_bytes)
}

fn origin(record: &NewRecord, [topic, partition, offset]: &[&str; 3]) -> Option<(Place, i64)> {
    let topic = text(record, topic)?;
    let partition = i32::try_from(number(header(record, partition)?)?).ok()?;
    Some((Place::new(&topic, partition), number(header(record, offset)?)?))
}

/// Parses a number as text, or as Java writes an `int` or a `long`.
fn number(value: &Bytes) -> Option<i64> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    text.or_else(|| Some(i64::from(i32::from_be_bytes(value[..].try_into().ok()?))))
        .or_else(|| Some(i64::from_be_bytes(value[..].try_into().ok()?)))
}
