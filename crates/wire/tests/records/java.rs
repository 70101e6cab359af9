//! Batches written by Kafka's own Java code (kafka-clients 3.9.1, `MemoryRecords`), and the records that it reads from them.

use offtake_wire::records::{ControlRecord, TimestampType};

use super::*;

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('x')?;
    Some(
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect(),
    )
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || "-".to_owned(),
        |bytes| bytes.iter().fold("x".to_owned(), |all, byte| format!("{all}{byte:02x}")),
    )
}

struct Set {
    name: &'static str,
    bytes: Bytes,
    records: Vec<&'static str>,
}

fn sets() -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for line in include_str!("java-3.9.1.txt").lines() {
        match line.split_once(' ').unwrap() {
            ("set", rest) => {
                let (name, bytes) = rest.split_once(' ').unwrap();
                sets.push(Set { name, bytes: unhex(bytes).unwrap().into(), records: Vec::new() });
            }
            (_, record) => sets.last_mut().unwrap().records.push(record),
        }
    }
    sets
}

fn named(name: &str) -> Bytes {
    sets().into_iter().find(|set| set.name == name).unwrap().bytes
}

/// Formats a record as in the file; a large value is given by its length.
fn line(record: &Record<'_>) -> String {
    let value = match record.value() {
        Some(value) if record.offset() == 77 || record.offset() == 78 => format!("len{}", value.len()),
        value => hex(value),
    };
    let kind = match record.timestamp_type() {
        TimestampType::NoTimestampType => "NoTimestampType",
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let mut line = format!("{} {} {kind} {} {value}", record.offset(), record.timestamp(), hex(record.key()));
    for header in record.headers() {
        line += &format!(" {}={}", hex(Some(header.key)), hex(header.value));
    }
    line
}

#[test]
fn j7_every_format_and_codec_reads_as_java_reads_it() {
    let mut decompressor = Decompressor::new();
    let sets = sets();
    assert_eq!(sets.len(), 36);
    for set in sets {
        let mut read = Vec::new();
        for batch in batches(set.bytes) {
            let payload = batch.open(&mut decompressor).unwrap();
            read.extend(payload.records().map(|record| line(&record.unwrap())));
        }
        assert_eq!(read, set.records, "{}", set.name);
    }
}

#[test]
fn markers_and_emptied_batches_of_java() {
    let read = |name| ControlRecord::read(&only_batch(named(name)), &mut Decompressor::new()).unwrap();
    assert_eq!(read("v2-commit"), Some(ControlRecord::Commit { coordinator_epoch: 21 }));
    assert_eq!(read("v2-abort"), Some(ControlRecord::Abort { coordinator_epoch: 22 }));
    let emptied = only_batch(named("v2-emptied"));
    assert_eq!((emptied.base_offset(), emptied.next_offset(), emptied.leader_epoch()), (60, 70, Some(9)));
    let header = *only_batch(named("v2-transactional")).header().unwrap();
    assert!(header.is_transactional());
    assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (4711, 3, 12));
}

#[test]
fn one_answer_may_mix_formats() {
    let set = [named("v2-gzip-large"), named("v0-lz4-CreateTime"), bytes(&abc(2000))].concat();
    assert_eq!(read(set), (vec![77, 78, 1000, 1001, 1005, 1009, 2000, 2001, 2002], None));
}

#[test]
fn our_builder_writes_what_java_writes() {
    let mut ours = BatchBuilder::new(1000);
    let headers: [(&str, Option<&[u8]>); 4] =
        [("h", Some(b"1")), ("h", None), ("", Some(b"")), ("\u{e9}", Some(b"2"))];
    let time = 1_700_000_000_000;
    ours.push(time, Some(b"first"), Some(b"value one"), &headers).push(time - 5, None, Some(b""), &[]);
    ours.gap(3).push(time + 100_000, Some(b""), None, &[]).gap(3);
    ours.push(time, Some(b"last"), Some(["repeat"; 8].join(" ").as_bytes()), &[]);
    assert_eq!(bytes(&ours), named("v2-none-CreateTime"));
}
