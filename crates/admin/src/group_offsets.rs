//! The committed offsets of a group: reads, writes and deletes them from outside the group.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{
    OffsetAndMetadata, TopicPartition,
    offsets::{OffsetError, committed_offsets},
};
use offtake_wire::{
    ErrorCode,
    messages::{
        offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup},
    },
};

use crate::{Admin, attempts::AttemptError, calls::Calls, coordinator, outcomes::Outcomes};
use offtake_client::{Error, ErrorKind, OneOrMany, Result};

/// The last version of OffsetCommit and OffsetFetch with topic names; later versions use topic ids.
const BY_NAME: i16 = 9;

/// Why a commit from outside is refused that a member could make.
const ALIVE: &str =
    "the group has members: stop them, and wait until they have left or their sessions have ended";

impl Admin {
    /// The committed offsets of a group; empty if it does not exist.
    ///
    /// Offsets committed in a transaction count once the transaction has ended.
    pub async fn list_offsets_of_group(
        &mut self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let deadline = self.deadline();
        self.calls.retrying(deadline, async |calls| committed(calls, deadline, group).await).await
    }

    /// Commits offsets for a group without members, which is created if it does not exist. Returns the result for each partition.
    ///
    /// # Errors
    /// For each partition: `Group` if the group has members, `UnknownTopic` if there is no such partition, `Misuse` for a
    /// negative offset or metadata that is too long; or the coordinator could not be reached or did not respond within the
    /// timeout.
    pub async fn alter_offsets<P: Into<TopicPartition>, O: Into<OffsetAndMetadata>>(
        &mut self,
        group: &str,
        offsets: impl IntoIterator<Item = (P, O)>,
    ) -> BTreeMap<TopicPartition, Result<()>> {
        let deadline = self.deadline();
        let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> =
            offsets.into_iter().map(|(partition, offset)| (partition.into(), offset.into())).collect();
        let mut each = Outcomes::of(offsets.keys().cloned());
        for (partition, offset) in offsets.iter().filter(|(_, offset)| offset.offset < 0) {
            let message = format!(
                "cannot commit offset {} of {partition} for group `{group}`: offsets begin with 0",
                offset.offset
            );
            let error = Error::new(ErrorKind::Misuse, message).with_partition(partition.clone());
            each.complete(partition.clone(), Err(AttemptError::never(error)));
        }
        let ended = self
            .calls
            .retrying(deadline, async |calls| commit(calls, deadline, group, &offsets, &mut each).await)
            .await;
        each.ended(ended)
    }

    /// Deletes a group's committed offsets of these partitions. Returns the result for each (KIP-496). Partitions without a
    /// committed offset succeed.
    ///
    /// # Errors
    /// For each partition: `Group` if a member is subscribed to its topic or there is no such group, `UnknownTopic` if there is
    /// no such partition; or the coordinator could not be reached or did not respond within the timeout.
    pub async fn delete_offsets<S>(
        &mut self,
        group: &str,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> BTreeMap<TopicPartition, Result<()>> {
        let deadline = self.deadline();
        let mut each = Outcomes::of(partitions.into_items());
        let ended = self
            .calls
            .retrying(deadline, async |calls| forget(calls, deadline, group, &mut each).await)
            .await;
        each.ended(ended)
    }
}

async fn committed(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, AttemptError> {
    let what = format!("read what group `{group}` has committed");
    let to = coordinator::find(calls, deadline, group).await?.target();
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: None,
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let answer = calls.call_up_to(BY_NAME, &what, deadline, to, request).await?;
    let committed = committed_offsets(answer, group, |name, _| Some(name.into()))
        .map_err(|code| AttemptError::code(&what, code, None))?;
    let mut all = BTreeMap::new();
    for (partition, committed) in committed {
        match committed {
            Ok(Some(committed)) => drop(all.insert(partition, committed)),
            Ok(None) | Err(OffsetError::Impossible(_)) => {}
            Err(OffsetError::Refused(code)) => {
                let what = format!("read what group `{group}` has committed of {partition}");
                return Err(AttemptError::code(&what, code, None).of(&partition));
            }
        }
    }
    Ok(all)
}

async fn commit(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    each: &mut Outcomes<TopicPartition>,
) -> Result<(), AttemptError> {
    let left = each.left();
    if left.is_empty() {
        return Ok(());
    }
    let what = format!("commit for group `{group}`");
    let to = coordinator::find(calls, deadline, group).await?.target();
    let mut topics: BTreeMap<&str, OffsetCommitRequestTopic> = BTreeMap::new();
    for (partition, offset) in left.iter().filter_map(|partition| offsets.get_key_value(partition)) {
        let name = partition.topic.as_str();
        let topic = topics.entry(name).or_default();
        name.clone_into(&mut topic.name);
        topic.partitions.push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
        });
    }
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: topics.into_values().collect(),
        ..OffsetCommitRequest::default()
    };
    let answer = calls.call_up_to(BY_NAME, &what, deadline, to, request).await?;
    for topic in answer.topics {
        for told in topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), told.partition_index);
            let what = format!("commit an offset of {partition} for group `{group}`");
            let became = match told.error_code {
                ErrorCode::None => Ok(()),
                // This client is no member, and a non-member may commit only while the group has no members.
                code @ (ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration
                | ErrorCode::RebalanceInProgress
                | ErrorCode::StaleMemberEpoch) => Err(AttemptError::hinted(&what, code, None, ALIVE)),
                code => Err(AttemptError::code(&what, code, None)),
            };
            each.complete(partition.clone(), became.map_err(|failure| failure.of(&partition)));
        }
    }
    each.attempted(&what)
}

async fn forget(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
    each: &mut Outcomes<TopicPartition>,
) -> Result<(), AttemptError> {
    let left = each.left();
    if left.is_empty() {
        return Ok(());
    }
    let what = format!("delete offsets of group `{group}`");
    let to = coordinator::find(calls, deadline, group).await?.target();
    let mut topics: BTreeMap<&str, OffsetDeleteRequestTopic> = BTreeMap::new();
    for partition in &left {
        let name = partition.topic.as_str();
        let topic = topics.entry(name).or_default();
        name.clone_into(&mut topic.name);
        topic.partitions.push(OffsetDeleteRequestPartition { partition_index: partition.partition });
    }
    let request = OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.into_values().collect() };
    let answer = calls.call(&what, deadline, to, request).await?;
    let refused = |partition: &TopicPartition, code| {
        let what = format!("delete the offset of {partition} of group `{group}`");
        AttemptError::code(&what, code, None).of(partition)
    };
    if answer.error_code != ErrorCode::None {
        each.complete_all(|partition| Err(refused(partition, answer.error_code)));
        return each.attempted(&what);
    }
    for topic in answer.topics {
        for told in topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), told.partition_index);
            let became = match told.error_code {
                ErrorCode::None => Ok(()),
                code => Err(refused(&partition, code)),
            };
            each.complete(partition, became);
        }
    }
    each.attempted(&what)
}
