//! Idempotent and transactional producers.

use std::time::Duration;

use kafka_protocol::messages::{describe_producers_request::TopicRequest, *};

use super::verbs::*;
use crate::differential::{
    batch::Batch,
    conversation::{Conversation, Line, s},
};

fn look(conversation: &mut Conversation, line: Line, id: &str, topic: &str) {
    conversation.ask(
        line,
        0,
        DescribeTransactionsRequest::default().with_transactional_ids(vec![s(id), s("unknown")]),
    );
    let topics = vec![TopicRequest::default().with_name(s(topic)).with_partition_indexes(vec![0])];
    conversation.ask(line, 0, DescribeProducersRequest::default().with_topics(topics));
    for version in 0..=1 {
        conversation.ask(line, version, ListTransactionsRequest::default());
    }
}

pub(crate) fn init(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "init", 1);
    for version in 0..=5 {
        let id = format!("init-{version}");
        conversation.ask(line, version, beginning(None));
        conversation.ask(line, version, beginning(Some("")));
        conversation.ask(line, version, beginning(Some(&id)));
        let second = conversation.ask(line, version, beginning(Some(&id)));
        conversation.ask(line, version, beginning(Some(&id)).with_transaction_timeout_ms(0));
        conversation.ask(line, version, beginning(Some(&id)).with_transaction_timeout_ms(-1));
        conversation.ask(line, version, beginning(Some(&id)).with_transaction_timeout_ms(900_001));
        if version >= 3 {
            let with = |producer: ProducerId, epoch: i16| {
                beginning(Some(&id)).with_producer_id(producer).with_producer_epoch(epoch)
            };
            conversation.ask(line, version, with(second.producer_id, second.producer_epoch));
            conversation.ask(line, version, with(second.producer_id, 0));
            conversation.ask(line, version, with(second.producer_id, second.producer_epoch + 1));
            conversation.ask(line, version, with(second.producer_id, 99));
            conversation.ask(line, version, with(ProducerId(*second.producer_id + 1000), 1));
            conversation.ask(line, version, with(ProducerId(-1), 1));
            conversation.ask(line, version, with(second.producer_id, -1));
            conversation.ask(
                line,
                version,
                beginning(None).with_producer_id(second.producer_id).with_producer_epoch(0),
            );
            conversation.ask(
                line,
                version,
                beginning(Some(&format!("new-{version}")))
                    .with_producer_id(ProducerId(5))
                    .with_producer_epoch(0),
            );
        }
    }
}

/// The first transaction protocol: partitions are added by the client, epochs stay.
pub(crate) fn first_protocol(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "txn", 1);
    coordinator(conversation, line, "txn", 0);
    let topic = topic(conversation, line, "txn", 2, &[]);
    let mut offset = 0;
    for (at, version) in [0, 1, 2, 3, 4].into_iter().enumerate() {
        let id = format!("txn-{version}");
        let id = id.as_str();
        let producer = producer(conversation, line, version, id);
        let batch =
            |sequence: i32| Batch::of(&["a", "b"]).by(producer.0, producer.1, sequence).transactional();
        look(conversation, line, id, "txn");
        // No transaction was begun.
        conversation.ask(line, version, ending(id, producer, true));
        conversation.ask(line, version, ending(id, producer, false));
        produce_in(conversation, line, 11, id, &topic, &batch(0));
        let adds = version.min(3);
        conversation.ask(line, adds, adding(adds, id, (producer.0, 9), &[("txn", &[0])]));
        conversation.ask(line, adds, adding(adds, id, (producer.0 + 1000, producer.1), &[("txn", &[0])]));
        conversation.ask(line, adds, adding(adds, "nobody", producer, &[("txn", &[0])]));
        conversation.ask(line, adds, adding(adds, "", producer, &[("txn", &[0])]));
        conversation.ask(line, adds, adding(adds, id, producer, &[("txn", &[0]), ("unknown", &[0])]));
        conversation.ask(line, adds, adding(adds, id, producer, &[]));
        conversation.ask(line, adds, adding(adds, id, producer, &[("txn", &[0, 1])]));
        conversation.ask(line, adds, adding(adds, id, producer, &[("txn", &[0])]));
        look(conversation, line, id, "txn");
        produce_in(conversation, line, 11, id, &topic, &batch(0));
        produce_in(conversation, line, 11, "another", &topic, &batch(2));
        produce_in(conversation, line, 11, id, &topic, &Batch::of(&["x"]).by(producer.0, producer.1, 2));
        look(conversation, line, id, "txn");
        for isolation in [0, 1] {
            for fetch in [4, 12, 17] {
                conversation.ask(
                    line,
                    fetch,
                    fetching(fetch, &topic, from(offset)).with_isolation_level(isolation),
                );
            }
            conversation.ask(line, 6, listing("txn", 0, -1).with_isolation_level(isolation));
            conversation.ask(line, 7, listing("txn", 0, -3).with_isolation_level(isolation));
        }
        conversation.ask(line, version, ending(id, (producer.0, 9), true));
        conversation.ask(line, version, ending(id, (producer.0 + 1000, 0), true));
        conversation.ask(line, version, ending("nobody", producer, true));
        conversation.ask(line, version, ending("", producer, true));
        conversation.ask(line, version, ending(id, producer, at % 2 == 0));
        completed(conversation, line, id);
        conversation.ask(line, version, ending(id, producer, at % 2 == 0));
        conversation.ask(line, version, ending(id, producer, at % 2 == 1));
        look(conversation, line, id, "txn");
        for isolation in [0, 1] {
            for fetch in [4, 12, 17] {
                conversation.ask(
                    line,
                    fetch,
                    fetching(fetch, &topic, from(offset)).with_isolation_level(isolation),
                );
                conversation.ask(
                    line,
                    fetch,
                    fetching(fetch, &topic, from(offset + 1)).with_isolation_level(isolation),
                );
            }
            conversation.ask(line, 6, listing("txn", 0, -1).with_isolation_level(isolation));
        }
        produce_in(conversation, line, 11, id, &topic, &batch(2));
        offset = conversation.ask(line, 6, listing("txn", 0, -1)).topics[0].partitions[0].offset;
    }
}

pub(crate) fn fencing(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "fence", 1, &[]);
    for version in [1, 2, 4, 5] {
        let id = format!("fence-{version}");
        let id = id.as_str();
        let old = producer(conversation, line, version, id);
        add(conversation, line, id, old, "fence");
        produce_in(
            conversation,
            line,
            11,
            id,
            &topic,
            &Batch::of(&["old"]).by(old.0, old.1, 0).transactional(),
        );
        // Another producer takes over; the open transaction is aborted.
        conversation.ask(line, version, beginning(Some(id)));
        let new = producer(conversation, line, version, id);
        conversation.ask(line, version.min(3), adding(version.min(3), id, old, &[("fence", &[0])]));
        conversation.ask(line, version.min(4), ending(id, old, true));
        for produce in [9, 11, 12] {
            produce_in(
                conversation,
                line,
                produce,
                id,
                &topic,
                &Batch::of(&["late"]).by(old.0, old.1, 1).transactional(),
            );
        }
        conversation.ask(
            line,
            version.min(4),
            AddOffsetsToTxnRequest::default()
                .with_transactional_id(s(id))
                .with_producer_id(ProducerId(old.0))
                .with_producer_epoch(old.1)
                .with_group_id(s("fence")),
        );
        if version >= 3 {
            conversation.ask(
                line,
                version,
                beginning(Some(id)).with_producer_id(ProducerId(old.0)).with_producer_epoch(old.1),
            );
        }
        add(conversation, line, id, new, "fence");
        produce_in(
            conversation,
            line,
            11,
            id,
            &topic,
            &Batch::of(&["new"]).by(new.0, new.1, 0).transactional(),
        );
        conversation.ask(line, 4, ending(id, new, true));
        completed(conversation, line, id);
        look(conversation, line, id, "fence");
    }
    conversation.ask(line, 12, fetching(12, &topic, from(0)).with_isolation_level(1));
}

/// A transaction that takes too long is aborted by the coordinator.
pub(crate) fn timing_out(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "late", 1, &[]);
    for version in [4, 5] {
        let id = format!("late-{version}");
        let id = id.as_str();
        let started = conversation.ask(line, version, beginning(Some(id)).with_transaction_timeout_ms(300));
        let producer = (*started.producer_id, started.producer_epoch);
        let batch = |sequence: i32| Batch::of(&["a"]).by(producer.0, producer.1, sequence).transactional();
        if version < 5 {
            add(conversation, line, id, producer, "late");
        }
        produce_in(conversation, line, 7 + version, id, &topic, &batch(0));
        conversation.pass(Duration::from_secs(2));
        look(conversation, line, id, "late");
        produce_in(conversation, line, 7 + version, id, &topic, &batch(1));
        conversation.ask(line, 3, adding(3, id, producer, &[("late", &[0])]));
        conversation.ask(line, version, ending(id, producer, true));
        conversation.ask(line, version, ending(id, producer, false));
        let again =
            beginning(Some(id)).with_producer_id(ProducerId(producer.0)).with_producer_epoch(producer.1);
        conversation.ask(line, version, again.clone());
        conversation.ask(line, version, again);
        conversation.ask(line, version, beginning(Some(id)));
        conversation.ask(line, 12, fetching(12, &topic, from(0)).with_isolation_level(1));
    }
}

/// KIP-890: partitions are added by the first write, and each transaction has an epoch of its own.
pub(crate) fn second_protocol(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "txn2", 2, &[]);
    let id = "txn2";
    let mut producer = producer(conversation, line, 5, id);
    conversation.ask(line, 5, ending(id, producer, true)); // empty
    for version in [12, 13] {
        producer = self::producer(conversation, line, 5, id);
        for (sequence, commit) in [(0, true), (0, false)] {
            let batch = Batch::of(&["a", "b"]).by(producer.0, producer.1, sequence).transactional();
            // The first request may meet the pending markers of the previous transaction.
            let request = producing(version, &topic, 0, batch.bytes()).with_transactional_id(Some(s(id)));
            conversation.until(line, version, request, |answer| {
                answer
                    .responses
                    .iter()
                    .flat_map(|topic| &topic.partition_responses)
                    .all(|partition| partition.error_code != 51)
            });
            look(conversation, line, id, "txn2");
            produce_in(
                conversation,
                line,
                version,
                id,
                &topic,
                &Batch::of(&["c"]).by(producer.0, producer.1, 2).transactional(),
            );
            produce_in(
                conversation,
                line,
                version,
                id,
                &topic,
                &Batch::of(&["c"]).by(producer.0, producer.1 + 1, 0).transactional(),
            );
            conversation.ask(line, 12, fetching(12, &topic, from(0)).with_isolation_level(1));
            let ended = conversation.ask(line, 5, ending(id, producer, commit));
            completed(conversation, line, id);
            conversation.ask(line, 5, ending(id, producer, commit)); // once more
            conversation.ask(line, 5, ending(id, producer, !commit));
            produce_in(
                conversation,
                line,
                version,
                id,
                &topic,
                &Batch::of(&["late"]).by(producer.0, producer.1, 3).transactional(),
            );
            look(conversation, line, id, "txn2");
            conversation.ask(line, 12, fetching(12, &topic, from(0)).with_isolation_level(1));
            producer = (*ended.producer_id, ended.producer_epoch);
            conversation.ask(line, 5, ending(id, producer, true)); // nothing in it
            conversation.ask(line, 5, ending(id, producer, false));
        }
    }
    // Requests between brokers.
    let current = self::producer(conversation, line, 5, "txn2b");
    for version in 4..=5 {
        conversation.ask(line, version, adding(version, "txn2b", current, &[("txn2", &[0])]));
        let mut verify = adding(version, "txn2b", current, &[("txn2", &[1])]);
        verify.transactions[0].verify_only = true;
        conversation.ask(line, version, verify);
    }
    conversation.ask(line, 5, ending("txn2b", current, false));
    completed(conversation, line, "txn2b");
}

pub(crate) fn offsets_in_transactions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "txn-offsets", 1, &[]);
    for version in 0..=5 {
        let id = format!("txn-offsets-{version}");
        let (id, group) = (id.as_str(), id.as_str());
        let mut producer = producer(conversation, line, 5, id);
        let join = |producer: (i64, i16)| {
            AddOffsetsToTxnRequest::default()
                .with_transactional_id(s(id))
                .with_producer_id(ProducerId(producer.0))
                .with_producer_epoch(producer.1)
                .with_group_id(s(group))
        };
        let adds = version.min(4);
        for commit in [true, false] {
            let request = committing_in(id, group, producer, "txn-offsets", 11);
            conversation.ask(line, version.min(4), request.clone()); // not added yet
            conversation.ask(line, adds, join((producer.0, 77)));
            conversation.ask(line, adds, join((producer.0 + 1000, 0)));
            conversation.ask(line, adds, join(producer).with_transactional_id(s("nobody")));
            conversation.ask(line, adds, join(producer).with_group_id(s("")));
            conversation.ask(line, adds, join(producer));
            conversation.ask(line, adds, join(producer));
            conversation.ask(line, version, request.clone());
            conversation.ask(line, version, committing_in(id, group, (producer.0, 77), "txn-offsets", 11));
            conversation.ask(line, version, committing_in(id, "", producer, "txn-offsets", 11));
            conversation.ask(line, version, committing_in(id, group, producer, "unknown", 11));
            if version >= 3 {
                conversation.ask(
                    line,
                    version,
                    request.clone().with_generation_id(3).with_member_id(s("stranger")),
                );
                conversation.ask(line, version, request.clone().with_generation_id(3));
                conversation.ask(line, version, request.clone().with_member_id(s("stranger")));
            }
            for fetch in [7, 9] {
                conversation.ask(line, fetch, committed(fetch, group, None));
                conversation.ask(
                    line,
                    fetch,
                    committed(fetch, group, Some(&[("txn-offsets", &[0])])).with_require_stable(true),
                );
                conversation.ask(line, fetch, committed(fetch, group, None).with_require_stable(true));
            }
            conversation.ask(line, 2, DeleteGroupsRequest::default().with_groups_names(vec![s(group)]));
            let ended = conversation.ask(line, 5, ending(id, producer, commit));
            completed(conversation, line, id);
            producer = (*ended.producer_id, ended.producer_epoch);
            conversation.until(
                line,
                7,
                committed(7, group, Some(&[("txn-offsets", &[0])])).with_require_stable(true),
                |answer| {
                    answer
                        .topics
                        .iter()
                        .flat_map(|topic| &topic.partitions)
                        .all(|partition| partition.error_code == 0)
                },
            );
        }
    }
    // KIP-890: without a request before.
    let producer = producer(conversation, line, 5, "txn-offsets-self");
    conversation.ask(
        line,
        5,
        committing_in("txn-offsets-self", "txn-offsets-self", producer, "txn-offsets", 12),
    );
    conversation.ask(line, 5, ending("txn-offsets-self", producer, true));
    completed(conversation, line, "txn-offsets-self");
    conversation.until(line, 9, committed(9, "txn-offsets-self", None).with_require_stable(true), |answer| {
        answer.groups.iter().all(|group| !group.topics.is_empty())
    });
}

pub(crate) fn listing_transactions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "list-txn", 1, &[]);
    let one = producer(conversation, line, 4, "list-one");
    producer(conversation, line, 4, "list-two");
    add(conversation, line, "list-one", one, "list-txn");
    conversation.pass(Duration::from_millis(5));
    let all = ListTransactionsRequest::default;
    for states in [&["Ongoing"][..], &["Empty"], &["nonsense"], &["Ongoing", "nonsense"], &["CompleteCommit"]]
    {
        conversation.ask(line, 1, all().with_state_filters(states.iter().map(|state| s(state)).collect()));
    }
    conversation.ask(line, 1, all().with_producer_id_filters(vec![ProducerId(one.0)]));
    conversation.ask(line, 1, all().with_producer_id_filters(vec![ProducerId(123_456)]));
    conversation.ask(line, 1, all().with_duration_filter(1_000_000));
    conversation.ask(line, 1, all().with_duration_filter(0).with_state_filters(vec![s("Ongoing")]));
    conversation.ask(
        line,
        0,
        DescribeTransactionsRequest::default().with_transactional_ids(vec![
            s("list-one"),
            s("list-two"),
            s(""),
        ]),
    );
    conversation.ask(line, 0, DescribeTransactionsRequest::default());
    conversation.ask(line, 4, ending("list-one", one, false));
    completed(conversation, line, "list-one");
}
