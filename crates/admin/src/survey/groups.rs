//! Groups: their list, their members, and their committed offsets.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{
    BrokerId, CoordinatorAddress, TopicPartition,
    offsets::{OffsetError, committed_offsets},
};
use offtake_wire::{
    ApiKey, ErrorCode, Message,
    messages::{
        consumer_group_describe::ConsumerGroupDescribeRequest,
        describe_groups::DescribeGroupsRequest,
        list_groups::ListGroupsRequest,
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup},
    },
};

use super::{Answers, ClusterDescription, Survey};
use crate::{GroupDescription, GroupListing, describe, groups};

/// The most groups in one request.
const GROUPS: usize = 200;
/// The first version of OffsetFetch with many groups (KIP-709).
const MANY_GROUPS: i16 = 8;
/// The last version of OffsetFetch with topic names; later versions use topic ids.
const BY_NAME: i16 = 9;

impl Survey<'_> {
    /// The groups that each of these brokers coordinates. Brokers before 2.6 return no states.
    pub async fn groups(
        &mut self,
        brokers: impl IntoIterator<Item = BrokerId>,
    ) -> Answers<BrokerId, Vec<GroupListing>> {
        const WHAT: &str = "list the groups";
        let requests = brokers.into_iter().map(|broker| (vec![broker], broker, ListGroupsRequest::default()));
        let requests = requests.collect();
        self.ask(ListGroupsRequest::VERSIONS.max, WHAT, requests, |answers, broker, _, answer| {
            match answer.error_code {
                ErrorCode::None => {
                    let groups = answer.groups.into_iter().map(|group| groups::listing(group, broker));
                    answers.found.insert(broker, groups.collect());
                }
                code => answers.fail(broker, broker, WHAT, code),
            }
        })
        .await
    }

    /// The members of these groups, by group name; unknown for types other than `classic` and `consumer`. A group that has been
    /// deleted meanwhile is `Dead`.
    pub async fn describe_groups(
        &mut self,
        cluster: &ClusterDescription,
        groups: &[GroupListing],
    ) -> Answers<String, GroupDescription> {
        const WHAT: &str = "describe the groups";
        let of_type = |group_type: &str| {
            let groups = groups.iter().filter(|group| group.group_type == group_type);
            by_coordinator(groups.map(|group| (group.coordinator, group.group.clone())), |_| GROUPS)
        };
        let place = |broker: BrokerId| {
            let (host, port) = cluster.brokers.get(&broker).cloned().unwrap_or_default();
            CoordinatorAddress { broker, host, port }
        };
        let requests = of_type("classic").into_iter().map(|(broker, names)| {
            let request = DescribeGroupsRequest { groups: names.clone(), ..Default::default() };
            (names, broker, request)
        });
        let (version, requests) = (DescribeGroupsRequest::VERSIONS.max, requests.collect());
        let mut described = self
            .ask(version, WHAT, requests, |answers, broker, mut left, answer| {
                for found in answer.groups {
                    let Some(name) = take(&mut left, &found.group_id) else { continue };
                    match describe::of_classic(found, place(broker)) {
                        Ok(group) => drop(answers.found.insert(name, group)),
                        Err(code) => answers.fail(broker, name, WHAT, code),
                    }
                }
                answers.fail_left_out(broker, left, WHAT);
            })
            .await;
        let requests = of_type("consumer").into_iter().map(|(broker, names)| {
            let request = ConsumerGroupDescribeRequest { group_ids: names.clone(), ..Default::default() };
            (names, broker, request)
        });
        let (version, requests) = (ConsumerGroupDescribeRequest::VERSIONS.max, requests.collect());
        let of_consumer = self
            .ask(version, WHAT, requests, |answers, broker, mut left, answer| {
                for found in answer.groups {
                    let Some(name) = take(&mut left, &found.group_id) else { continue };
                    match found.error_code {
                        ErrorCode::None => {
                            answers.found.insert(name, describe::of_consumer(found, place(broker)));
                        }
                        code => answers.fail(broker, name, WHAT, code),
                    }
                }
                answers.fail_left_out(broker, left, WHAT);
            })
            .await;
        described.found.extend(of_consumer.found);
        described.failed.extend(of_consumer.failed);
        described
    }

    /// The committed offsets of these groups, by group name. The groups of one coordinator share a request where it supports that
    /// (Kafka 3.0, KIP-709). A partition with a pending transactional commit has its previous offset.
    pub async fn committed(
        &mut self,
        groups: impl IntoIterator<Item = (BrokerId, String)>,
    ) -> Answers<String, BTreeMap<TopicPartition, i64>> {
        const WHAT: &str = "read what groups have committed";
        let together = |broker| {
            let speaks = self.calls.highest_version(broker, ApiKey::OffsetFetch);
            if speaks.is_some_and(|version| version >= MANY_GROUPS) { GROUPS } else { 1 }
        };
        let requests = by_coordinator(groups, together).into_iter().map(|(broker, names)| {
            let request = offset_fetch(&names);
            (names, broker, request)
        });
        let requests = requests.collect();
        self.ask(BY_NAME, WHAT, requests, |answers, broker, about, answer| {
            let mut names: BTreeSet<String> =
                answer.groups.iter().map(|group| group.group_id.clone()).collect();
            if answer.groups.is_empty() {
                names.extend(about.first().cloned());
            }
            let left = about.iter().filter(|name| !names.contains(*name)).cloned().collect();
            answers.fail_left_out(broker, left, WHAT);
            for (name, committed) in split(answer, about) {
                match committed {
                    Ok(committed) => drop(answers.found.insert(name, committed)),
                    Err(code) => answers.fail(broker, name, WHAT, code),
                }
            }
        })
        .await
    }
}

fn offset_fetch(names: &[String]) -> OffsetFetchRequest {
    let group = |name: &String| OffsetFetchRequestGroup {
        group_id: name.clone(),
        topics: None,
        ..OffsetFetchRequestGroup::default()
    };
    OffsetFetchRequest {
        group_id: names.first().cloned().unwrap_or_default(),
        topics: None,
        groups: names.iter().map(group).collect(),
        ..OffsetFetchRequest::default()
    }
}

type Committed = Result<BTreeMap<TopicPartition, i64>, ErrorCode>;

/// Splits a response by group. Partitions with an error are left out.
fn split(answer: offtake_wire::OffsetFetchResponse, about: Vec<String>) -> Vec<(String, Committed)> {
    let one = |response, name: &str| -> Committed {
        let committed = committed_offsets(response, name, |name, _| Some(name.into()))?;
        let offset = |(partition, committed): (_, Result<Option<_>, OffsetError>)| {
            let committed: offtake_machine::OffsetAndMetadata = committed.ok()??;
            Some((partition, committed.offset))
        };
        Ok(committed.into_iter().filter_map(offset).collect())
    };
    if answer.groups.is_empty() {
        // Before version 8, the response is about the only requested group.
        let name = about.into_iter().next().unwrap_or_default();
        let committed = one(answer, &name);
        return vec![(name, committed)];
    }
    let groups = answer.groups.into_iter().filter(|group| about.contains(&group.group_id)).map(|group| {
        let name = group.group_id.clone();
        let alone = offtake_wire::OffsetFetchResponse { groups: vec![group], ..Default::default() };
        let committed = one(alone, &name);
        (name, committed)
    });
    groups.collect()
}

/// Names by broker, in pieces that fit into one request.
fn by_coordinator(
    named: impl IntoIterator<Item = (BrokerId, String)>,
    most: impl Fn(BrokerId) -> usize,
) -> Vec<(BrokerId, Vec<String>)> {
    let mut by_broker: BTreeMap<BrokerId, Vec<String>> = BTreeMap::new();
    for (broker, name) in named {
        by_broker.entry(broker).or_default().push(name);
    }
    let pieces = |(broker, names): (BrokerId, Vec<String>)| -> Vec<_> {
        names.chunks(most(broker)).map(|piece| (broker, piece.to_vec())).collect()
    };
    by_broker.into_iter().flat_map(pieces).collect()
}

/// Removes this name from the remaining ones.
fn take(left: &mut Vec<String>, name: &str) -> Option<String> {
    let index = left.iter().position(|other| other == name)?;
    Some(left.swap_remove(index))
}
