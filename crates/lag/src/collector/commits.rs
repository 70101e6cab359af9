//! The committed offsets of groups: read from `__consumer_offsets`, or requested from coordinators.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use offtake_admin::{
    BrokerId, Error, ErrorKind, IsolationLevel, OffsetSpec, TopicPartition, survey::Answers,
};

use super::{Collector, brokers::RequestKind, logs::Leaders};
use crate::offsets_topic::{Shard, TOPIC, partition_of};

/// How long to wait until everything committed before the round has been read. It is read at once, except after an open
/// transaction.
const READING: Duration = Duration::from_secs(1);

/// The committed offsets by group name.
type Committed = Answers<String, BTreeMap<TopicPartition, i64>>;

impl Collector {
    /// Looks up which groups this replica watches, if there are several replicas. A replica that is no member of its group
    /// watches none, because others may watch them.
    pub(super) fn look_up_shard(&mut self, failures: &mut Vec<String>) -> Result<(), Error> {
        let Some(topic) = self.offsets_topic.as_ref().filter(|topic| topic.config().shard_group.is_some())
        else {
            return Ok(());
        };
        let assigned = match (topic.assigned(), self.offsets_partitions()) {
            (Ok(partitions), of @ 1..) => Ok(Shard { partitions, of }),
            (Ok(_), _) => Err(format!("cannot see {TOPIC}: DESCRIBE on it is needed to divide groups")),
            (Err(why), _) => Err(why),
        };
        match (assigned, &mut self.shard) {
            (Ok(shard), known) => *known = Some(shard),
            (Err(why), Some(known)) => {
                known.partitions.clear();
                failures.push(why);
            }
            (Err(why), None) => return Err(Error::new(ErrorKind::NotOwned, why)),
        }
        Ok(())
    }

    /// The number of partitions of `__consumer_offsets`, as far as known.
    fn offsets_partitions(&self) -> i32 {
        let topic = self.cluster.topics.get(TOPIC);
        topic.map_or(0, |topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
    }

    /// Whether this replica watches the group. No replica watches the replicas' own group.
    pub(super) fn is_watched(&self, group: &str) -> bool {
        let of_replicas = self.offsets_topic.as_ref().and_then(|topic| topic.config().shard_group.as_deref());
        self.config().groups.includes(group)
            && of_replicas != Some(group)
            && self.shard.as_ref().is_none_or(|shard| shard.includes(group))
    }

    /// The committed offsets of these groups. Groups whose offsets were completely read from the topic need no request.
    pub(super) async fn committed(
        &mut self,
        groups: Vec<(BrokerId, String)>,
        failures: &mut Vec<String>,
    ) -> Committed {
        let (read, groups) = self.read_committed(groups, failures).await;
        let brokers: BTreeSet<_> = groups.iter().map(|(broker, _)| *broker).collect();
        let mut committed = self.survey().committed(groups).await;
        self.note(RequestKind::Committed, &brokers, &committed, failures);
        committed.found.extend(read);
        committed
    }

    /// Returns the offsets that were read, and the groups for which they are not known.
    async fn read_committed(
        &mut self,
        groups: Vec<(BrokerId, String)>,
        failures: &mut Vec<String>,
    ) -> (BTreeMap<String, BTreeMap<TopicPartition, i64>>, Vec<(BrokerId, String)>) {
        if self.offsets_topic.as_ref().is_none_or(|topic| !topic.config().commits) {
            return (BTreeMap::new(), groups);
        }
        let of = self.offsets_partitions();
        let wanted: BTreeSet<i32> = groups.iter().filter_map(|(_, group)| partition_of(group, of)).collect();
        let ends = self.ends_of_commits(&wanted).await;
        let Some(topic) = &self.offsets_topic else { return (BTreeMap::new(), groups) };
        let read = topic.read_to(&ends, READING).await;
        let (mut found, mut unknown) = (BTreeMap::new(), Vec::new());
        for (broker, group) in groups {
            match partition_of(&group, of).filter(|partition| read.contains(partition)) {
                Some(partition) => {
                    let committed = topic.committed(partition, &group);
                    found.insert(group, committed);
                }
                None => unknown.push((broker, group)),
            }
        }
        if !unknown.is_empty() {
            let why = topic.failure().map_or(String::new(), |failure| format!(" ({failure})"));
            let what = match wanted.len() {
                0 => format!("{TOPIC} cannot be seen"),
                all => {
                    format!("{} of {all} partitions of {TOPIC} are not read to the end", all - read.len())
                }
            };
            failures.push(format!(
                "{what}{why}: the offsets of {} groups are fetched from their coordinators",
                unknown.len()
            ));
        }
        (found, unknown)
    }

    /// The present ends of these partitions; a partition is left out if no broker returns its end.
    async fn ends_of_commits(&mut self, wanted: &BTreeSet<i32>) -> BTreeMap<i32, i64> {
        let mut leaders = Leaders::new();
        for partition in wanted {
            let partition = TopicPartition::new(TOPIC, *partition);
            if let Some(leader) = self.leader(&partition, RequestKind::Offsets) {
                leaders.entry(leader).or_default().push(partition);
            }
        }
        if leaders.is_empty() {
            return BTreeMap::new();
        }
        let all = IsolationLevel::ReadUncommitted;
        let ends = self.survey().list_offsets(&leaders, OffsetSpec::Latest, all).await;
        self.mark(RequestKind::Offsets, leaders.keys(), &ends.failed);
        if !ends.failed.is_empty() {
            self.described = None; // the partition may have moved
        }
        ends.found.into_iter().filter_map(|(of, end)| Some((of.partition, end?.offset))).collect()
    }
}
