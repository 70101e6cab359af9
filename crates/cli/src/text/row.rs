//! A record as input of the writers.

use offtake::{OwnedRecord, Record, TimestampType};

/// A record, with its headers as an iterator over key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a, H> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 if there is none.
    pub(crate) timestamp: i64,
    /// `create`, `log_append` or `none`.
    pub(crate) timestamp_type: &'static str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: H,
}

/// Key and value of a header.
pub(crate) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The row of a polled record.
pub(crate) fn of<'a>(record: &Record<'a>) -> Row<'a, impl Iterator<Item = Header<'a>> + Clone + use<'a>> {
    Row {
        topic: record.topic(),
        partition: record.partition(),
        offset: record.offset(),
        timestamp: record.timestamp(),
        timestamp_type: timestamp_type(record.timestamp_type()),
        key: record.key(),
        value: record.value(),
        headers: record.headers().map(|header| (header.key, header.value)),
    }
}

/// The row of an owned record.
pub(crate) fn of_owned(record: &OwnedRecord) -> Row<'_, impl Iterator<Item = Header<'_>>> {
    Row {
        topic: record.topic(),
        partition: record.partition(),
        offset: record.offset(),
        timestamp: record.timestamp(),
        timestamp_type: timestamp_type(record.timestamp_type()),
        key: record.key().map(AsRef::as_ref),
        value: record.value().map(AsRef::as_ref),
        headers: record.headers().map(|header| (header.key, header.value)),
    }
}

fn timestamp_type(of: TimestampType) -> &'static str {
    match of {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "log_append",
        TimestampType::NoTimestampType => "none",
    }
}
