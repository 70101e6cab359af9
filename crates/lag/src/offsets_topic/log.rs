//! [`CommitLog`]: takes records of `__consumer_offsets` and returns the committed offsets of groups, without socket and clock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offtake_admin::{Topic, TopicPartition};
use offtake_wire::{
    DecodeError,
    offsets_topic::{OffsetCommitKey, OffsetCommitValue},
};

/// The contents of the assigned partitions, each read from its beginning.
///
/// The topic is compacted: read from its beginning, it contains the last commit of every partition of every group. A record
/// without a value ends a commit: it was deleted, has expired, or its topic is gone. All other records say nothing about commits;
/// nor does the end of a group's metadata, which leaves its commits unchanged when it changes its protocol.
#[derive(Debug, Default)]
pub(super) struct CommitLog {
    partitions: BTreeMap<i32, Partition>,
    /// Topic names, each stored once, because groups have many. Unused names are removed when there are twice as many as were in
    /// use.
    topics: BTreeSet<Topic>,
    /// The number of names from which unused ones are removed.
    most_topics: usize,
}

/// With fewer names, a search is not worthwhile.
const TOPICS: usize = 256;

#[derive(Debug, Default)]
struct Partition {
    /// The next offset to read.
    next: i64,
    /// Whether its commits are unknown although it is read.
    unreadable: bool,
    groups: BTreeMap<String, BTreeMap<TopicPartition, i64>>,
}

/// The consequence of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordEffect {
    /// Continue.
    Read,
    /// The record cannot be decoded. The commits of its partition are unknown from here on. Returned once.
    Unreadable(DecodeError),
    /// The log went back. Its partition has to be read from its beginning.
    Rewound,
}

impl CommitLog {
    /// Sets the assigned partitions. Each is read from its beginning unless it was read before.
    pub(super) fn assign(&mut self, partitions: &BTreeSet<i32>) {
        self.partitions.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            self.partitions.entry(*partition).or_default();
        }
        self.forget_topics();
    }

    /// Reads a partition from its beginning.
    pub(super) fn restart(&mut self, partition: i32) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            *known = Partition::default();
        }
    }

    /// Handles a record.
    pub(super) fn record(
        &mut self,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> RecordEffect {
        let Some(known) = self.partitions.get_mut(&partition) else { return RecordEffect::Read };
        if offset < known.next {
            *known = Partition::default();
            return RecordEffect::Rewound;
        }
        known.next = offset.saturating_add(1);
        if known.unreadable {
            return RecordEffect::Read; // it was reported, and later records change nothing
        }
        match decode(key, value) {
            Ok(None) => RecordEffect::Read,
            Ok(Some((key, committed))) => {
                match committed {
                    Some(offset) => {
                        let topic = match self.topics.get(key.topic.as_str()) {
                            Some(topic) => topic.clone(),
                            None => {
                                let topic = Topic::from(key.topic);
                                self.topics.insert(topic.clone());
                                topic
                            }
                        };
                        known.commit(key.group, TopicPartition::new(topic, key.partition), offset);
                        if self.topics.len() > self.most_topics.max(TOPICS) {
                            self.forget_topics();
                        }
                    }
                    None => known.remove(&key),
                }
                RecordEffect::Read
            }
            Err(error) => {
                known.unreadable = true;
                known.groups.clear();
                RecordEffect::Unreadable(error)
            }
        }
    }

    /// Removes the names of topics without any commits.
    fn forget_topics(&mut self) {
        let groups = self.partitions.values().flat_map(|known| known.groups.values());
        let used: BTreeSet<&str> =
            groups.flat_map(|group| group.keys().map(|of| of.topic.as_str())).collect();
        self.topics.retain(|topic| used.contains(topic.as_str()));
        self.most_topics = self.topics.len().saturating_mul(2);
    }

    /// Notes that there are no records before this offset: only transaction markers, or offsets that were compacted away.
    pub(super) fn advance(&mut self, partition: i32, next: i64) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            known.next = known.next.max(next);
        }
    }

    /// Whether a partition was read up to this offset, and its commits are known.
    pub(super) fn is_read(&self, partition: i32, end: i64) -> bool {
        self.partitions.get(&partition).is_some_and(|known| known.next >= end && !known.unreadable)
    }

    /// The committed offsets of a group in that partition, as far as they were read.
    pub(super) fn committed(&self, partition: i32, group: &str) -> BTreeMap<TopicPartition, i64> {
        let known = self.partitions.get(&partition).and_then(|known| known.groups.get(group));
        known.cloned().unwrap_or_default()
    }
}

impl Partition {
    fn commit(&mut self, group: String, of: TopicPartition, offset: i64) {
        self.groups.entry(group).or_default().insert(of, offset);
    }

    /// Removes a commit. A group without any commits is removed.
    fn remove(&mut self, key: &OffsetCommitKey) {
        if let Some(committed) = self.groups.get_mut(&key.group) {
            committed.remove(&TopicPartition::new(key.topic.as_str(), key.partition));
            if committed.is_empty() {
                self.groups.remove(&key.group);
            }
        }
    }
}

/// The key of a commit, and its offset or `None` if it was deleted; `None` for other records.
fn decode(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Option<(OffsetCommitKey, Option<i64>)>, DecodeError> {
    let Some(key) = key else { return Ok(None) };
    let Some(key) = OffsetCommitKey::decode_versioned(Bytes::copy_from_slice(key))? else { return Ok(None) };
    let value = value.map(|value| OffsetCommitValue::decode_versioned(Bytes::copy_from_slice(value)));
    Ok(Some((key, value.transpose()?.map(|value| value.offset))))
}

#[cfg(test)]
mod tests {
    use offtake_wire::{Message, Writer};
    use proptest::prelude::*;

    use super::*;

    fn key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
        let mut w = Writer::new();
        w.i16(1);
        OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition }
            .encode(&mut w, 1)
            .unwrap();
        w.into_bytes().to_vec()
    }

    fn value(version: i16, offset: i64) -> Vec<u8> {
        let mut w = Writer::new();
        w.i16(version);
        OffsetCommitValue { offset, ..OffsetCommitValue::default() }.encode(&mut w, version).unwrap();
        w.into_bytes().to_vec()
    }

    fn reading(partitions: &[i32]) -> CommitLog {
        let mut log = CommitLog::default();
        log.assign(&partitions.iter().copied().collect());
        log
    }

    fn offsets(log: &CommitLog, group: &str) -> Vec<(String, i64)> {
        log.committed(0, group).into_iter().map(|(of, offset)| (of.to_string(), offset)).collect()
    }

    #[test]
    fn the_last_commit_of_each_partition_counts_and_one_without_a_value_is_none() {
        let mut log = reading(&[0]);
        let group = [0_u8, 2, 0, 1, b'a'];
        let audit = |partition| key("audit", "orders", partition);
        let records = [
            (audit(0), Some(value(0, 3))),
            (audit(1), Some(value(4, 7))),
            (group.to_vec(), Some(vec![1, 2, 3])),
            (key("billing", "orders", 0), Some(value(1, 9))),
            (audit(0), Some(value(3, 5))),
            (audit(1), None),
            (group.to_vec(), None),
        ];
        for ((key, value), offset) in records.iter().zip(0..) {
            assert_eq!(log.record(0, offset, Some(key), value.as_deref()), RecordEffect::Read);
        }
        assert_eq!(offsets(&log, "audit"), [("orders-0".to_owned(), 5)]);
        assert_eq!(offsets(&log, "billing"), [("orders-0".to_owned(), 9)]);
        log.record(0, 7, Some(&audit(0)), None);
        log.record(0, 8, Some(&audit(0)), None);
        assert!(offsets(&log, "audit").is_empty() && log.partitions[&0].groups.len() == 1);
        // A record without a key says nothing.
        assert_eq!(log.record(0, 9, None, None), RecordEffect::Read);
    }

    /// Groups and topics come and go as long as a cluster lives, for example those of tests and of Kafka Streams jobs.
    #[test]
    fn groups_and_topics_that_are_gone_are_forgotten() {
        let mut log = reading(&[0]);
        let mut offset = 0;
        let mut record = |log: &mut CommitLog, key: &[u8], value: Option<&[u8]>| {
            assert_eq!(log.record(0, offset, Some(key), value), RecordEffect::Read);
            offset += 1;
        };
        for nth in 0..300 {
            record(&mut log, &key("stays", &format!("kept-{nth}"), 0), Some(&value(3, 1)));
        }
        let mut most = 0;
        for nth in 0..20_000 {
            let (group, topic) = (format!("group-{nth}"), format!("topic-{nth}"));
            record(&mut log, &key(&group, &topic, 0), Some(&value(3, 1)));
            record(&mut log, &key("stays", &topic, 0), Some(&value(3, 1)));
            for group in [group.as_str(), "stays"] {
                record(&mut log, &key(group, &topic, 0), None);
            }
            // A deletion of an unknown commit, whose earlier records were compacted away, adds nothing.
            record(&mut log, &key("never", &format!("never-{nth}"), 0), None);
            most = most.max(log.topics.len());
        }
        assert!(most <= 2 * 301, "{most} names, of which 301 are used");
        assert_eq!((log.partitions[&0].groups.len(), log.committed(0, "stays").len()), (1, 300));
        assert!((0..300).all(|nth| log.topics.contains(format!("kept-{nth}").as_str())), "used, and once");
        // Partitions now assigned to another replica are forgotten here.
        log.assign(&BTreeSet::from([1]));
        assert!(log.topics.is_empty());
    }

    #[test]
    fn a_partition_that_is_not_read_to_an_offset_is_not_known() {
        let mut log = reading(&[0, 1]);
        assert!(log.is_read(0, 0) && !log.is_read(0, 1) && !log.is_read(2, 0));
        log.record(0, 4, Some(&key("a", "t", 0)), Some(&value(3, 1)));
        assert!(log.is_read(0, 5) && !log.is_read(0, 6), "a marker is left");
        log.advance(0, 6);
        log.advance(0, 2);
        assert!(log.is_read(0, 6));
        // Another replica has it for a while, and then it comes back.
        log.assign(&BTreeSet::from([1]));
        log.record(0, 6, Some(&key("a", "t", 0)), Some(&value(3, 2)));
        log.assign(&BTreeSet::from([0, 1]));
        assert!(!log.is_read(0, 1) && offsets(&log, "a").is_empty());
    }

    #[test]
    fn a_log_that_goes_back_is_read_anew() {
        let mut log = reading(&[0]);
        log.record(0, 8, Some(&key("a", "t", 0)), Some(&value(3, 1)));
        log.record(0, 9, Some(&key("a", "t", 1)), Some(&value(3, 2)));
        assert_eq!(log.record(0, 9, Some(&key("a", "t", 0)), Some(&value(3, 3))), RecordEffect::Rewound);
        assert!(!log.is_read(0, 1) && offsets(&log, "a").is_empty(), "all of it");
    }

    #[test]
    fn a_commit_that_cannot_be_read_makes_all_of_its_partition_unknown() {
        let mut log = reading(&[0, 1]);
        log.record(0, 0, Some(&key("a", "t", 0)), Some(&value(3, 1)));
        let effect = log.record(0, 1, Some(&key("a", "t", 0)), Some(&[0, 99]));
        assert!(matches!(effect, RecordEffect::Unreadable(_)));
        log.record(0, 2, Some(&key("b", "t", 0)), Some(&value(3, 1)));
        // A coordinator of a later release writes all of its commits in this way.
        assert_eq!(log.record(0, 3, Some(&key("a", "t", 0)), Some(&[0, 99])), RecordEffect::Read);
        assert!(!log.is_read(0, 0) && offsets(&log, "b").is_empty() && log.is_read(1, 0));
        log.restart(0);
        assert!(log.is_read(0, 0));
    }

    proptest! {
        #[test]
        fn nothing_that_stands_in_a_record_breaks_it(
            records in proptest::collection::vec(
                (any::<i64>(), any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), 0..3_i32), 0..50,
            ),
        ) {
            let mut log = reading(&[0, 1]);
            for (offset, key, value, partition) in records {
                log.record(partition, offset, key.as_deref(), value.as_deref());
            }
        }
    }
}
