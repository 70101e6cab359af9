//! Committed offsets.

use kafka_protocol::messages::{
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    offset_fetch_request::OffsetFetchRequestGroup,
    *,
};

use super::verbs::*;
use crate::differential::conversation::{Conversation, s};

pub(crate) fn commit_and_fetch(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "commit", 0);
    topic(conversation, line, "commit", 3, &[]);
    for version in 1..=9 {
        let group = format!("commit-{version}");
        let group = group.as_str();
        let all = Some(&[("commit", &[0, 1, 7][..]), ("unknown", &[0])][..]);
        conversation.ask(line, version, committed(version, group, all));
        if version >= 2 {
            conversation.ask(line, version, committed(version, group, None));
            let commit =
                |generation: i32, member: &str, topic: &str| committing(group, generation, member, topic, 40);
            conversation.ask(line, version, commit(-1, "", "commit"));
            conversation.ask(line, version, commit(-1, "", "unknown"));
            conversation.ask(line, version, commit(-1, "", ""));
            conversation.ask(line, version, commit(0, "", "commit"));
            conversation.ask(line, version, commit(-1, "stranger", "commit"));
            conversation.ask(line, version, commit(3, "stranger", "commit"));
            conversation.ask(line, version, committing("", -1, "", "commit", 1));
            conversation.ask(line, version, committing("nobody", 3, "stranger", "commit", 1));
            let mut request = commit(-1, "", "commit");
            let mut other = request.topics[0].partitions[0]
                .clone()
                .with_partition_index(1)
                .with_committed_metadata(Some(s(&"m".repeat(4097))));
            request.topics[0].partitions.push(other.clone());
            other = other.with_partition_index(9).with_committed_metadata(None);
            request.topics[0].partitions.push(other.clone());
            request.topics[0].partitions.push(other.with_partition_index(2).with_committed_offset(-1));
            conversation.ask(line, version, request);
            if version >= 6 {
                let mut request = commit(-1, "", "commit");
                request.topics[0].partitions[0].committed_leader_epoch = 4;
                conversation.ask(line, version, request);
            }
            conversation.ask(line, version, commit(-1, "", "commit").with_topics(vec![]));
            if version >= 7 {
                conversation.ask(
                    line,
                    version,
                    commit(-1, "", "commit").with_group_instance_id(Some(s("one"))),
                );
                conversation.ask(
                    line,
                    version,
                    commit(3, "x", "commit").with_group_instance_id(Some(s("one"))),
                );
            }
            conversation.ask(line, version, committed(version, group, None));
        }
        conversation.ask(line, version, committed(version, group, all));
        conversation.ask(line, version, committed(version, "nobody", all));
        conversation.ask(line, version, committed(version, "", all));
        conversation.ask(line, version, committed(version, group, Some(&[])));
        if version >= 7 {
            conversation.ask(line, version, committed(version, group, all).with_require_stable(true));
        }
        if version >= 8 {
            let mut request = committed(version, group, all);
            let two = OffsetFetchRequestGroup::default().with_group_id(s("commit-7")).with_topics(None);
            request.groups.extend([two.clone(), two.with_group_id(s("nobody"))]);
            conversation.ask(line, version, request.clone());
            request.groups.clear();
            conversation.ask(line, version, request);
        }
        if version >= 9 {
            for (member, epoch) in [(Some("stranger"), 3), (None, 4), (Some("stranger"), -1)] {
                let mut request = committed(version, group, all);
                request.groups[0].member_id = member.map(s);
                request.groups[0].member_epoch = epoch;
                conversation.ask(line, version, request);
            }
        }
    }
}

pub(crate) fn commit_as_member(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "mine", 1, &[]);
    let group = "commit-member";
    let member = conversation.ask(line, 3, joining(group, "")).member_id.to_string();
    for version in [2, 5, 7, 8, 9] {
        conversation.ask(line, version, committing(group, 1, &member, "mine", 1)); // the assignment is pending
    }
    conversation.ask(line, 3, syncing(group, 1, &member, &[(&member, b"all")]));
    for version in 2..=9 {
        conversation.ask(line, version, committing(group, 1, &member, "mine", i64::from(version)));
        conversation.ask(line, version, committing(group, 0, &member, "mine", 1));
        conversation.ask(line, version, committing(group, 2, &member, "mine", 1));
        conversation.ask(line, version, committing(group, 1, "stranger", "mine", 1));
        conversation.ask(line, version, committing(group, -1, "", "mine", 1));
        conversation.ask(line, version, committing(group, -1, &member, "mine", 1));
        conversation.ask(line, version, committed(version, group, None));
    }
    let delete = |group: &str, topic: &str, partition: i32| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default().with_name(s(topic)).with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(s(group)).with_topics(vec![topic])
    };
    conversation.ask(line, 0, delete(group, "mine", 0));
    conversation.ask(line, 0, delete(group, "unknown", 0));
    conversation.ask(line, 0, delete("nobody", "mine", 0));
    conversation.ask(line, 0, delete("", "mine", 0));
    conversation.ask(line, 3, leaving(group, &[(&member, None)]));
    conversation.ask(line, 8, committing(group, 1, &member, "mine", 1));
    conversation.ask(line, 8, committing(group, -1, "", "mine", 77));
    conversation.ask(line, 0, delete(group, "mine", 5));
    conversation.ask(line, 0, delete(group, "mine", 0));
    conversation.ask(line, 8, committed(8, group, None));
    conversation.ask(line, 5, describing(group));
    // Where the members' subscription can be read, only offsets of topics without subscribers may be deleted.
    let request = joining(group, "").with_protocols(vec![protocol_for("range", "mine", b"")]);
    let member = conversation.ask(line, 3, request).member_id.to_string();
    conversation.ask(line, 3, syncing(group, 3, &member, &[(&member, b"all")]));
    conversation.ask(line, 5, describing(group));
    conversation.ask(line, 0, delete(group, "mine", 0));
    conversation.ask(line, 0, delete(group, "unknown", 0));
    // A deleted topic takes its offsets along.
    conversation.ask(line, 8, committing("commit-gone", -1, "", "mine", 77));
    conversation.ask(
        line,
        5,
        DeleteTopicsRequest::default().with_topic_names(vec![s("mine")]).with_timeout_ms(10_000),
    );
    conversation.until(line, 8, committed(8, "commit-gone", None), |answer| {
        answer.groups.iter().all(|group| group.topics.is_empty())
    });
}
