//! The timestamps of single records.

use std::collections::BTreeMap;

use bytes::Bytes;
use offtake_machine::{BrokerId, TopicPartition, offsets::by_topic};
use offtake_wire::{
    ErrorCode, FetchRequest,
    messages::fetch::{FetchPartition, FetchTopic},
    records::{Batch, Batches, Crc, Decompressor},
};

use super::{Answers, Survey};

/// The last version of Fetch with topic names; later versions use topic ids.
const BY_NAME: i16 = 12;
/// The most partitions in one request.
const PARTITIONS: usize = 50;
/// The bytes read for each: a batch of the default size (`batch.size`), with its header. Larger batches are read alone.
const BYTES: i32 = 17 << 10;
/// The most partitions per call whose first batch is larger and read alone.
const ALONE: usize = 50;
/// The bytes read for each of those, or one batch if that is larger.
const BYTES_ALONE: i32 = 256 << 10;
/// A batch that is larger than this when decompressed is represented by its header.
const DECOMPRESSED: usize = 16 << 20;

/// The result of a lookup by offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordTime {
    /// The record at the offset, or the next one, has this timestamp in milliseconds since 1970, within `error_ms`. The error is
    /// 0 unless the batch could not be decompressed.
    At {
        /// The timestamp.
        timestamp: i64,
        /// The maximum error, in milliseconds.
        error_ms: u64,
    },
    /// The record has no timestamp.
    Without,
    /// There is no record up to the high watermark, except transaction markers: compaction may have removed it.
    NoRecord,
}

/// The result of decoding a response.
enum Read {
    Found(RecordTime),
    /// The bytes end before a record, so that the search continues at this offset.
    GoOn(i64),
}

impl Survey<'_> {
    /// The timestamp of the first record at or after each offset, requested from these leaders. As few bytes are read as brokers
    /// allow, one batch each. Records of aborted transactions count.
    ///
    /// Lookups that take more than two steps (a batch beyond 17 KiB, a long run of transaction markers) may be missing in the
    /// result.
    pub async fn record_times(
        &mut self,
        leaders: &BTreeMap<BrokerId, Vec<(TopicPartition, i64)>>,
    ) -> Answers<(TopicPartition, i64), RecordTime> {
        let asked = leaders.iter().flat_map(|(leader, at)| {
            at.iter().map(move |(partition, offset)| (*leader, partition.clone(), *offset, *offset))
        });
        let asked: Vec<Lookup> = asked.collect();
        let (mut answers, left) = self.read(&asked, PARTITIONS, BYTES).await;
        let alone = left.get(..ALONE.min(left.len())).unwrap_or_default();
        let (large, _) = self.read(alone, 1, BYTES_ALONE).await;
        answers.found.extend(large.found);
        answers.failed.extend(large.failed);
        answers
    }

    /// Reads the lookups, and returns those without a record among the bytes.
    async fn read(
        &mut self,
        asked: &[Lookup],
        together: usize,
        bytes: i32,
    ) -> (Answers<(TopicPartition, i64), RecordTime>, Vec<Lookup>) {
        const WHAT: &str = "read timestamps";
        let mut by_leader: BTreeMap<BrokerId, Vec<Lookup>> = BTreeMap::new();
        for lookup in asked {
            by_leader.entry(lookup.0).or_default().push(lookup.clone());
        }
        let mut requests = Vec::new();
        // The original offsets of each request's fetch offsets.
        for (leader, lookups) in by_leader {
            // A request contains each partition only once.
            let mut rounds: Vec<BTreeMap<TopicPartition, (i64, i64)>> = vec![BTreeMap::new()];
            for (_, partition, of, from) in lookups {
                let free =
                    |round: &&mut BTreeMap<_, _>| round.len() < together && !round.contains_key(&partition);
                match rounds.iter_mut().rev().take(8).find(free) {
                    Some(round) => drop(round.insert(partition, (of, from))),
                    None => rounds.push(BTreeMap::from([(partition, (of, from))])),
                }
            }
            for round in rounds.into_iter().filter(|round| !round.is_empty()) {
                let request = fetch(&round, bytes);
                requests.push((round.into_iter().collect(), leader, request));
            }
        }
        let mut decompressor = Decompressor::with_limit(DECOMPRESSED);
        let mut left = Vec::new();
        let answers = self
            .ask(
                BY_NAME,
                WHAT,
                requests,
                |answers, leader, about: Vec<(TopicPartition, (i64, i64))>, answer| {
                    let about: BTreeMap<_, _> = about.into_iter().collect();
                    for topic in answer.responses {
                        for data in topic.partitions {
                            let partition = TopicPartition::new(topic.topic.as_str(), data.partition_index);
                            let Some((of, from)) = about.get(&partition).copied() else { continue };
                            if data.error_code != ErrorCode::None {
                                answers.fail(leader, (partition, (of, from)), WHAT, data.error_code);
                                continue;
                            }
                            let records = data.records.unwrap_or_default();
                            match first_time(records, from, data.high_watermark, &mut decompressor) {
                                Read::Found(time) => {
                                    answers.found.insert((partition, (of, from)), time);
                                }
                                Read::GoOn(next) => left.push((leader, partition, of, next)),
                            }
                        }
                    }
                },
            )
            .await;
        let plain = |(partition, (of, _)): (TopicPartition, (i64, i64))| (partition, of);
        let failed = answers.failed.into_iter().map(|failed| super::Unanswered {
            broker: failed.broker,
            about: failed.about.into_iter().map(plain).collect(),
            error: failed.error,
        });
        let found = answers.found.into_iter().map(|(key, time)| (plain(key), time)).collect();
        (Answers { found, failed: failed.collect() }, left)
    }
}

/// A leader, a partition, the requested offset, and the offset to read from.
type Lookup = (BrokerId, TopicPartition, i64, i64);

fn fetch(round: &BTreeMap<TopicPartition, (i64, i64)>, bytes: i32) -> FetchRequest {
    let partition = |(partition, from): (i32, i64)| FetchPartition {
        partition,
        fetch_offset: from,
        partition_max_bytes: bytes,
        ..FetchPartition::default()
    };
    let topics = by_topic(round.iter().map(|(partition, (_, from))| (partition, *from)));
    let topics = topics.into_iter().map(|(topic, partitions)| FetchTopic {
        topic: topic.as_str().to_owned(),
        partitions: partitions.into_iter().map(partition).collect(),
        ..FetchTopic::default()
    });
    FetchRequest { topics: topics.collect(), ..FetchRequest::default() }
}

/// The timestamp of the first record at or after `from` in these bytes.
fn first_time(records: Bytes, from: i64, end: i64, decompressor: &mut Decompressor) -> Read {
    let mut next = from;
    for batch in Batches::new(records, Crc::Check) {
        let Ok(batch) = batch else { break };
        next = batch.next_offset().max(next);
        if next <= from || batch.is_control() || batch.is_header_only() {
            continue;
        }
        if let Some(time) = time_in(&batch, from, decompressor) {
            return Read::Found(time);
        }
    }
    if next >= end { Read::Found(RecordTime::NoRecord) } else { Read::GoOn(next) }
}

fn time_in(batch: &Batch, from: i64, decompressor: &mut Decompressor) -> Option<RecordTime> {
    let Ok(payload) = batch.open(decompressor) else {
        // Its codec may not be compiled in. The header has the first and the greatest timestamp.
        let header = batch.header()?;
        let (first, greatest) = (header.base_timestamp(), header.max_timestamp());
        return Some(stamped(greatest, greatest.saturating_sub(first).unsigned_abs()));
    };
    let record = payload.records().flatten().find(|record| record.offset() >= from)?;
    Some(stamped(record.timestamp(), 0))
}

fn stamped(timestamp: i64, error_ms: u64) -> RecordTime {
    if timestamp < 0 { RecordTime::Without } else { RecordTime::At { timestamp, error_ms } }
}
