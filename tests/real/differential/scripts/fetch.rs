//! Fetch: versions, sessions, long polls.

use std::time::Duration;

use kafka_protocol::messages::{
    fetch_request::{FetchPartition, ForgottenTopic, ReplicaState},
    *,
};
use uuid::Uuid;

use super::verbs::*;
use crate::differential::{
    batch::Batch,
    conversation::{Conversation, s},
};

pub(crate) fn versions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "fetch", 2, &[]);
    for values in [["a", "b"], ["c", "d"], ["e", "f"]] {
        produce(conversation, line, &topic, &Batch::of(&values));
    }
    let nobody = Topic { name: "unknown".into(), id: Uuid::from_u128(3) };
    for version in 4..=18 {
        for offset in [0, 1, 2, 5, 6, 7, -1] {
            conversation.ask(line, version, fetching(version, &topic, from(offset)));
        }
        conversation.ask(line, version, fetching(version, &topic, from(0).with_partition(9)));
        conversation.ask(line, version, fetching(version, &topic, from(0).with_partition(1)));
        conversation.ask(line, version, fetching(version, &nobody, from(0)));
        conversation.ask(line, version, fetching(version, &topic, from(0).with_partition_max_bytes(1)));
        conversation.ask(line, version, fetching(version, &topic, from(0).with_partition_max_bytes(80)));
        conversation.ask(line, version, fetching(version, &topic, from(0).with_partition_max_bytes(160)));
        conversation.ask(line, version, fetching(version, &topic, from(2)).with_max_bytes(1));
        conversation.ask(line, version, fetching(version, &topic, from(2)).with_max_bytes(0));
        conversation.ask(line, version, fetching(version, &topic, from(0)).with_isolation_level(1));
        if version >= 9 {
            for epoch in [0, 1] {
                conversation.ask(
                    line,
                    version,
                    fetching(version, &topic, from(0).with_current_leader_epoch(epoch)),
                );
            }
        }
        if version >= 12 {
            for (epoch, offset) in [(0, 0), (0, 6), (0, 7), (3, 0), (-1, 3)] {
                let partition = from(offset).with_current_leader_epoch(0).with_last_fetched_epoch(epoch);
                conversation.ask(line, version, fetching(version, &topic, partition));
            }
            conversation.ask(
                line,
                version,
                fetching(version, &topic, from(0)).with_cluster_id(Some(s("another"))),
            );
        }
    }
    // Several partitions share the byte limit.
    for version in [12, 13] {
        let both = vec![from(0), from(0).with_partition(1), from(2).with_partition(0)];
        let mut request = fetching(version, &topic, from(0));
        request.topics = vec![topic_to_fetch(version, &topic, both)];
        conversation.ask(line, version, request.clone());
        request.max_bytes = 50;
        conversation.ask(line, version, request);
    }
    // A client that claims to be a broker.
    conversation.ask(line, 12, fetching(12, &topic, from(0)).with_replica_id(BrokerId(7)));
    let replica = ReplicaState::default().with_replica_id(BrokerId(7)).with_replica_epoch(1);
    conversation.ask(line, 16, fetching(16, &topic, from(0)).with_replica_state(replica));
}

pub(crate) fn sessions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let a = topic(conversation, line, "session-a", 2, &[]);
    let b = topic(conversation, line, "session-b", 1, &[]);
    let gone = topic(conversation, line, "session-gone", 1, &[]);
    for topic in [&a, &b] {
        produce(conversation, line, topic, &Batch::of(&["a", "b"]));
    }
    for version in [7, 11, 12, 13, 15, 17] {
        let of = |session: i32, epoch: i32, topics: Vec<(&Topic, Vec<FetchPartition>)>| {
            let mut request =
                fetching(version, &a, from(0)).with_session_id(session).with_session_epoch(epoch);
            request.topics = topics
                .into_iter()
                .map(|(topic, partitions)| topic_to_fetch(version, topic, partitions))
                .collect();
            request.max_wait_ms = 10;
            request
        };
        let forget = |topic: &Topic, partitions: &[i32]| {
            let forgotten = ForgottenTopic::default().with_partitions(partitions.to_vec());
            if version < 13 {
                forgotten.with_topic(s(&topic.name))
            } else {
                forgotten.with_topic_id(topic.id)
            }
        };
        let all = vec![(&a, vec![from(0), from(0).with_partition(1)]), (&b, vec![from(0)])];
        let id = conversation.ask(line, version, of(0, 0, all)).session_id;
        conversation.ask(line, version, of(id, 1, vec![]));
        conversation.ask(line, version, of(id, 2, vec![(&a, vec![from(2)]), (&b, vec![from(2)])]));
        conversation.ask(line, version, of(id, 3, vec![]));
        produce(conversation, line, &a, &Batch::of(&["c"]));
        conversation.ask(line, version, of(id, 4, vec![]));
        conversation.ask(line, version, of(id, 4, vec![]));
        conversation.ask(line, version, of(id, 9, vec![]));
        conversation.ask(line, version, of(id + 1, 1, vec![]));
        conversation.ask(line, version, of(id, 5, vec![]).with_forgotten_topics_data(vec![forget(&a, &[0])]));
        conversation.ask(line, version, of(id, 6, vec![(&a, vec![from(99)])]));
        conversation.ask(line, version, of(id, 7, vec![]));
        conversation.ask(line, version, of(id, 8, vec![(&a, vec![from(1), from(0).with_partition(7)])]));
        conversation.ask(
            line,
            version,
            of(id, 9, vec![]).with_forgotten_topics_data(vec![forget(&a, &[0, 1, 7]), forget(&b, &[0])]),
        );
        conversation.ask(line, version, of(id, 10, vec![]));
        conversation.ask(line, version, of(id, 1, vec![]));
        // A new one in place of the old, closed again.
        let id = conversation.ask(line, version, of(0, 0, vec![(&b, vec![from(0)])])).session_id;
        let again = conversation.ask(line, version, of(id, 0, vec![(&b, vec![from(0)])])).session_id;
        conversation.ask(line, version, of(id, 1, vec![]));
        conversation.ask(line, version, of(again, 1, vec![]));
        conversation.ask(line, version, of(again, -1, vec![]));
        conversation.ask(line, version, of(again, 1, vec![]));
        conversation.ask(line, version, of(again, 2, vec![]));
        conversation.ask(line, version, of(0, -1, vec![(&b, vec![from(0)])]));
        conversation.ask(line, version, of(0, 0, vec![]));
        conversation.ask(line, version, of(0, 5, vec![]));
    }
    // A session uses either ids or names.
    for (one, two) in [(12, 13), (13, 12)] {
        let id = conversation
            .ask(line, one, fetching(one, &b, from(0)).with_session_id(0).with_session_epoch(0))
            .session_id;
        let mut request = fetching(two, &b, from(0)).with_session_id(id).with_session_epoch(1);
        request.topics.clear();
        conversation.ask(line, two, request.clone());
        request.session_epoch = 2;
        conversation.ask(line, one, request);
    }
    // A topic is deleted while a session asks for it.
    let id = conversation
        .ask(line, 13, fetching(13, &gone, from(0)).with_session_id(0).with_session_epoch(0))
        .session_id;
    conversation.ask(
        line,
        5,
        DeleteTopicsRequest::default().with_topic_names(vec![s("session-gone")]).with_timeout_ms(10_000),
    );
    conversation.until(line, 12, metadata_of(&["session-gone"]), |answer| {
        answer.topics.iter().all(|topic| topic.error_code == 3)
    });
    conversation.pass(Duration::from_millis(300));
    let mut request = fetching(13, &gone, from(0)).with_session_id(id).with_session_epoch(1);
    request.topics.clear();
    conversation.ask(line, 13, request.clone());
    request.session_epoch = 2;
    conversation.ask(line, 13, request);
}

pub(crate) fn long_polls(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let other = conversation.connect("b");
    let topic = topic(conversation, line, "poll", 2, &[]);
    for version in [4, 12, 17] {
        let at = |offset: i64| fetching(version, &topic, from(offset)).with_max_wait_ms(8000);
        let end = conversation.ask(other, 5, listing("poll", 0, -1)).topics[0].partitions[0].offset;
        let waiting = conversation.say(line, version, at(end));
        conversation.quiet(line);
        produce(conversation, other, &topic, &Batch::of(&["woken"]));
        conversation.hear(waiting);
        // One batch is not enough, two are.
        let waiting = conversation.say(line, version, at(end + 1).with_min_bytes(100));
        produce(conversation, other, &topic, &Batch::of(&["first"]));
        conversation.quiet(line);
        produce(conversation, other, &topic, &Batch::of(&["second"]));
        conversation.hear(waiting);
        // The maximum wait ends, with less than wanted, and with nothing.
        conversation.ask(line, version, at(end + 1).with_min_bytes(10_000).with_max_wait_ms(50));
        conversation.ask(line, version, at(end + 3).with_max_wait_ms(50));
        conversation.ask(line, version, at(end + 3).with_max_wait_ms(0));
        conversation.ask(line, version, at(end + 3).with_min_bytes(0));
        // An error is returned without waiting.
        conversation.ask(line, version, at(9999));
    }
}
