//! Brokers that follow KIP-227 strictly and refuse requests that do not, with known logs.

use std::collections::BTreeMap;

use bytes::Bytes;
use offtake_machine::BrokerId;
use offtake_wire::{
    ErrorCode,
    messages::fetch::{
        AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
        LeaderIdAndEpoch, PartitionData,
    },
    records::BatchBuilder,
};

use crate::rig::{Asked, batch, build, id_of};

/// The one topic.
pub(crate) const TOPIC: &str = "t";

/// Larger than the accepted response size.
pub(crate) const HUGE: usize = 5000;

/// An entry to append to a log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Plain,
    /// Compaction has removed the tail.
    Tailless,
    /// One record, larger than the accepted response size.
    Huge,
    /// Compaction has removed everything.
    Emptied,
    Committed,
    /// Aborted, with another producer's record before the marker.
    Aborted,
}

struct Stored {
    base: i64,
    last: i64,
    bytes: Bytes,
}

/// One partition's log.
#[derive(Default)]
pub(crate) struct Log {
    batches: Vec<Stored>,
    /// Producer, first offset, offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    /// The records that either isolation level sees: offset, and whether it was committed.
    records: Vec<(i64, bool)>,
    pub(crate) end: i64,
}

impl Log {
    pub(crate) fn append(&mut self, entry: Entry, count: i64) {
        let producer = 1 + self.end % 3;
        let transactional = |b: BatchBuilder| b.producer(producer, 0, 0).transactional();
        let base = self.end;
        match entry {
            Entry::Plain => self.store(base, count, count, true, batch(base, count)),
            Entry::Tailless => {
                let delta = i32::try_from(count + 3).unwrap();
                let bytes = build(base, count, |b| b.last_offset_delta(delta));
                self.store(base, count, count + 4, true, bytes);
            }
            Entry::Emptied => {
                let delta = i32::try_from(count - 1).unwrap();
                self.store(base, 0, count, true, build(base, 0, |b| b.last_offset_delta(delta)));
            }
            Entry::Huge => {
                let mut builder = BatchBuilder::new(base);
                builder.push(1_000, None, Some(&[b'v'; HUGE]), &[]);
                self.store(base, 1, 1, true, builder.build().unwrap());
            }
            Entry::Committed => {
                self.store(base, count, count, true, build(base, count, transactional));
                self.marker(producer, 1);
            }
            Entry::Aborted => {
                self.store(base, count, count, false, build(base, count, transactional));
                self.store(self.end, 1, 1, true, batch(self.end, 1));
                self.aborted.push((producer, base, self.end));
                self.marker(producer, 0);
            }
        }
    }

    /// One record of `size` bytes.
    pub(crate) fn append_wide(&mut self, size: usize) {
        let mut builder = BatchBuilder::new(self.end);
        builder.push(1_000, None, Some(&vec![b'v'; size]), &[]);
        self.store(self.end, 1, 1, true, builder.build().unwrap());
    }

    fn marker(&mut self, producer: i64, kind: u8) {
        let mut marker = BatchBuilder::new(self.end).producer(producer, 0, -1).transactional().control();
        marker.push(0, Some(&[0, 0, 0, kind]), Some(&[0, 0, 0, 0, 0, 1]), &[]);
        self.store(self.end, 0, 1, true, marker.build().unwrap());
    }

    fn store(&mut self, base: i64, records: i64, offsets: i64, committed: bool, bytes: Bytes) {
        self.records.extend((base..base + records).map(|offset| (offset, committed)));
        self.end = base + offsets;
        self.batches.push(Stored { base, last: self.end - 1, bytes });
    }

    /// The visible records of `from..to`.
    pub(crate) fn visible(&self, from: i64, to: i64, committed_only: bool) -> Vec<i64> {
        let seen = self
            .records
            .iter()
            .filter(|(offset, committed)| (from..to).contains(offset) && (*committed || !committed_only));
        seen.map(|(offset, _)| *offset).collect()
    }

    /// Whether the batch at an offset is larger than the accepted response size.
    pub(crate) fn is_huge(&self, offset: i64) -> bool {
        self.batches.iter().any(|stored| stored.base == offset && stored.bytes.len() > HUGE)
    }

    /// Whole batches from the one with `offset` on, the first however large, and perhaps part of the next.
    fn read(&self, offset: i64, limit: usize, at_least_one: bool, cut: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for stored in self.batches.iter().filter(|stored| stored.last >= offset) {
            let first = out.is_empty() && at_least_one;
            if !first && out.len() + stored.bytes.len() > limit {
                if cut && !out.is_empty() {
                    out.extend_from_slice(&stored.bytes[..stored.bytes.len() / 2]);
                }
                break;
            }
            out.extend_from_slice(&stored.bytes);
        }
        out
    }

    fn aborted_between(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        let reaching = self.aborted.iter().rev().filter(|(_, first, marker)| *marker >= from && *first < to);
        reaching
            .map(|(producer_id, first_offset, _)| AbortedTransaction {
                producer_id: *producer_id,
                first_offset: *first_offset,
            })
            .collect()
    }

    fn offset_after(&self, from: i64, bytes: usize) -> i64 {
        let mut left = bytes;
        let mut after = from;
        for stored in self.batches.iter().filter(|stored| stored.last >= from) {
            if stored.bytes.len() > left {
                break;
            }
            left -= stored.bytes.len();
            after = stored.last + 1;
            assert!(stored.base <= after);
        }
        after
    }
}

/// The fault of one response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The broker never receives the request.
    LostRequest,
    /// The broker has executed it, but the response is lost.
    LostAnswer,
    /// The broker has dropped its sessions before.
    Evicted,
    /// The broker has no room for a session.
    CacheFull,
    /// Each partition is included twice.
    Doubled,
    /// One is missing.
    Omitted,
    /// One that was not requested is included.
    Stray,
    /// The last batch of each partition is cut short.
    Cut,
}

#[derive(Default)]
struct Session {
    epoch: i32,
    by_name: bool,
    partitions: BTreeMap<i32, FetchPartition>,
}

/// The cluster.
pub(crate) struct Model {
    pub(crate) logs: Vec<Log>,
    /// Leader and epoch of each partition.
    pub(crate) leaders: Vec<(i32, i32)>,
    sessions: BTreeMap<(BrokerId, i32), Session>,
    next_session: i32,
    /// Leaders refer readers that send their rack to this replica.
    pub(crate) prefers: Option<i32>,
    /// Whether followers serve readers.
    pub(crate) followers_serve: bool,
    /// Whether brokers name the leader instead.
    pub(crate) hints: bool,
}

impl Model {
    pub(crate) fn new(leaders: Vec<(i32, i32)>) -> Self {
        Self {
            logs: leaders.iter().map(|_| Log::default()).collect(),
            leaders,
            sessions: BTreeMap::new(),
            next_session: 100,
            prefers: None,
            followers_serve: true,
            hints: false,
        }
    }

    /// The broker's response, if there is one. Panics if a request breaks the protocol.
    pub(crate) fn serve(&mut self, asked: &Asked, fault: Fault) -> Option<FetchResponse> {
        if fault == Fault::LostRequest {
            return None;
        }
        if fault == Fault::Evicted {
            self.sessions.retain(|(broker, _), _| *broker != asked.broker);
        }
        let mut session = match self.session(asked) {
            Ok(session) => session,
            Err(error_code) => return Some(FetchResponse { error_code, ..Default::default() }),
        };
        let full = asked.request.session_epoch == 0;
        let mut data = self.read(asked, &session, full, fault == Fault::Cut);
        let session_id = if full && fault == Fault::CacheFull {
            0
        } else if full {
            self.next_session += 1;
            self.next_session
        } else {
            asked.request.session_id
        };
        if session_id != 0 {
            session.epoch += 1;
            self.sessions.insert((asked.broker, session_id), session);
        }
        match fault {
            Fault::LostAnswer => return None,
            Fault::Doubled => data.extend(data.clone()),
            Fault::Omitted => drop(data.pop()),
            Fault::Stray => data.push(PartitionData {
                partition_index: 99,
                high_watermark: 5,
                records: Some(batch(0, 5)),
                ..Default::default()
            }),
            _ => {}
        }
        let by_name = asked.max_version == Some(12);
        let topic = FetchableTopicResponse {
            topic: if by_name { TOPIC.to_owned() } else { String::new() },
            topic_id: if by_name { offtake_wire::Uuid::ZERO } else { id_of(TOPIC) },
            partitions: data,
        };
        Some(FetchResponse { session_id, responses: vec![topic], ..Default::default() })
    }

    /// The session after this request, or the error.
    fn session(&mut self, asked: &Asked) -> Result<Session, ErrorCode> {
        let FetchRequest { session_id, session_epoch, topics, forgotten_topics_data, .. } = &asked.request;
        let by_name = asked.max_version == Some(12);
        let mut session = if *session_epoch == 0 {
            self.sessions.remove(&(asked.broker, *session_id));
            assert!(forgotten_topics_data.is_empty(), "nothing to forget yet");
            Session { by_name, ..Default::default() }
        } else {
            let held =
                self.sessions.get(&(asked.broker, *session_id)).ok_or(ErrorCode::FetchSessionIdNotFound)?;
            if held.epoch != *session_epoch {
                return Err(ErrorCode::InvalidFetchSessionEpoch);
            }
            assert_eq!(held.by_name, by_name, "names and ids do not mix (I13)");
            self.sessions.remove(&(asked.broker, *session_id)).unwrap()
        };
        for index in forgotten_topics_data.iter().flat_map(|topic| &topic.partitions) {
            assert!(session.partitions.remove(index).is_some(), "forgets what the session does not have");
        }
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            assert!(partition.fetch_offset >= 0, "a negative position");
            session.partitions.insert(partition.partition, partition.clone());
        }
        Ok(session)
    }

    fn read(&self, asked: &Asked, session: &Session, full: bool, cut: bool) -> Vec<PartitionData> {
        let mut left = usize::try_from(asked.request.max_bytes).unwrap();
        let committed = asked.request.isolation_level == 1;
        let mut sent_any = false;
        let mut all = Vec::new();
        for wanted in session.partitions.values() {
            let index = usize::try_from(wanted.partition).unwrap();
            let (leader, epoch) = self.leaders[index];
            let log = &self.logs[index];
            let leads = leader == asked.broker.0;
            let refused = |error_code| PartitionData {
                partition_index: wanted.partition,
                error_code,
                high_watermark: -1,
                current_leader: self
                    .hints
                    .then_some(LeaderIdAndEpoch { leader_id: leader, leader_epoch: epoch }),
                ..Default::default()
            };
            let error = match wanted.current_leader_epoch {
                told if told > epoch => Some(ErrorCode::UnknownLeaderEpoch),
                told if told >= 0 && told < epoch => Some(ErrorCode::FencedLeaderEpoch),
                _ if !leads && !self.followers_serve => Some(ErrorCode::NotLeaderOrFollower),
                _ => None,
            };
            if let Some(code) = error {
                all.push(refused(code));
                continue;
            }
            let mut data = PartitionData {
                partition_index: wanted.partition,
                high_watermark: log.end,
                last_stable_offset: log.end,
                log_start_offset: 0,
                ..Default::default()
            };
            let nearer =
                self.prefers.filter(|to| leads && *to != leader && !asked.request.rack_id.is_empty());
            if let Some(replica) = nearer {
                data.preferred_read_replica = replica;
                all.push(data);
                continue;
            }
            assert!(wanted.fetch_offset <= log.end, "beyond the log");
            let limit = left.min(usize::try_from(wanted.partition_max_bytes).unwrap());
            let records = log.read(wanted.fetch_offset, limit, !sent_any, cut);
            left = left.saturating_sub(records.len());
            sent_any |= !records.is_empty();
            if !records.is_empty() || full {
                let to = log.offset_after(wanted.fetch_offset, records.len());
                data.aborted_transactions = committed.then(|| log.aborted_between(wanted.fetch_offset, to));
                data.records = Some(records.into());
                all.push(data);
            }
        }
        all
    }
}
