//! Fetches: sessions, long polls, limits, followers.

use std::time::Duration;

use kafka_protocol::{
    error::ResponseError as E,
    messages::{FetchRequest, FetchResponse, RequestKind, ResponseKind, fetch_request::ForgottenTopic},
};

use crate::{
    NewRecord, Observed,
    log::stage::{Stage, fetch_request, id_of, name, values},
};

fn record(value: &str) -> NewRecord {
    NewRecord { value: Some(value.to_owned().into()), ..NewRecord::default() }
}

fn put(stage: &mut Stage, partition: i32, value: &str) {
    stage.model.append_records("orders", partition, &[record(value)]).unwrap();
    stage.drain();
}

fn answer(stage: &mut Stage, connection: crate::ConnectionId, correlation: i32) -> Option<FetchResponse> {
    match stage.answer_to(connection, correlation)? {
        ResponseKind::Fetch(response) => Some(response),
        other => panic!("{other:?}"),
    }
}

/// Partition, error code and read bytes, of every partition in an answer.
fn told(response: &FetchResponse) -> Vec<(i32, i16, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|data| (data.partition_index, data.error_code, values(data.records.as_ref().unwrap()).len()))
        .collect()
}

fn in_session(mut request: FetchRequest, id: i32, epoch: i32) -> FetchRequest {
    request.session_id = id;
    request.session_epoch = epoch;
    request
}

#[test]
fn a_session_tells_only_what_changed() {
    for version in [7, 12, 13, 18] {
        let mut stage = Stage::new(1).with_topic("orders", 3, &[]);
        put(&mut stage, 0, "a");
        let all = [("orders", 0, 0), ("orders", 1, 0), ("orders", 2, 0)];
        let full = stage.fetch(1, version, in_session(fetch_request(version, &all), 0, 0)).unwrap();
        assert_eq!(told(&full), [(0, 0, 1), (1, 0, 0), (2, 0, 0)]);
        assert_eq!(full.responses.len(), 1, "the request had three entries, but they are one topic's");
        let id = full.session_id;
        assert!(id > 0);
        let moved = in_session(fetch_request(version, &[("orders", 0, 1)]), id, 1).with_max_wait_ms(0);
        assert_eq!(told(&stage.fetch(1, version, moved).unwrap()), []);
        put(&mut stage, 2, "b");
        let next = in_session(fetch_request(version, &[]), id, 2);
        assert_eq!(told(&stage.fetch(1, version, next.clone()).unwrap()), [(2, 0, 1)]);

        // The epoch is used up.
        let again = stage.fetch(1, version, next).unwrap();
        assert_eq!((again.error_code, again.session_id), (E::InvalidFetchSessionEpoch.code(), 0));
        let other = stage.fetch(1, version, in_session(fetch_request(version, &[]), id ^ 1, 1)).unwrap();
        assert_eq!(other.error_code, E::FetchSessionIdNotFound.code());
    }
}

#[test]
fn an_answer_without_records_is_observed() {
    let mut stage = Stage::new(1).with_topic("orders", 2, &[]);
    put(&mut stage, 0, "a");
    let fetched_nothing = |from: i64| {
        let request = fetch_request(12, &[("orders", 0, from), ("orders", 1, 0)]).with_max_wait_ms(0);
        stage.fetch(1, 12, request).unwrap();
        let observed = std::iter::from_fn(|| stage.model.poll_observed());
        observed.filter(|event| matches!(event, Observed::FetchedNothing { broker: 1, .. })).count()
    };
    // An error brings nothing, either.
    assert_eq!([0, 1, 2].map(fetched_nothing), [0, 1, 1]);
}

#[test]
fn forgotten_partitions_are_not_read_and_an_empty_session_ends() {
    let mut stage = Stage::new(1).with_topic("orders", 2, &[]);
    let full = in_session(fetch_request(13, &[("orders", 0, 0), ("orders", 1, 0)]), 0, 0);
    let id = stage.fetch(1, 13, full).unwrap().session_id;
    put(&mut stage, 0, "a");
    put(&mut stage, 1, "b");
    let forget = |partitions: Vec<i32>| {
        vec![ForgottenTopic::default().with_topic_id(id_of("orders")).with_partitions(partitions)]
    };
    let request = in_session(fetch_request(13, &[]), id, 1).with_forgotten_topics_data(forget(vec![0]));
    assert_eq!(told(&stage.fetch(1, 13, request).unwrap()), [(1, 0, 1)]);
    let mixed = in_session(fetch_request(12, &[]), id, 2);
    assert_eq!(stage.fetch(1, 12, mixed).unwrap().error_code, E::FetchSessionTopicIdError.code());
    let last = in_session(fetch_request(13, &[]), id, 2).with_forgotten_topics_data(forget(vec![1]));
    let ended = stage.fetch(1, 13, last).unwrap();
    assert_eq!((ended.error_code, ended.session_id), (0, 0));
    let gone = in_session(fetch_request(13, &[]), id, 3);
    assert_eq!(stage.fetch(1, 13, gone).unwrap().error_code, E::FetchSessionIdNotFound.code());
}

#[test]
fn a_full_cache_gives_no_session_until_one_is_idle() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[]);
    stage.model.config.fetch_session_slots = 1;
    let begin = || in_session(fetch_request(12, &[("orders", 0, 0)]), 0, 0);
    let first = stage.fetch(1, 12, begin()).unwrap().session_id;
    assert_ne!(first, 0);
    assert_eq!(stage.fetch(1, 12, begin()).unwrap().session_id, 0);
    stage.pass(Duration::from_secs(121));
    let second = stage.fetch(1, 12, begin()).unwrap().session_id;
    assert!(second != 0 && second != first);
    let evicted = stage.fetch(1, 12, in_session(fetch_request(12, &[]), first, 1)).unwrap();
    assert_eq!(evicted.error_code, E::FetchSessionIdNotFound.code());
    stage.fetch(1, 12, in_session(fetch_request(12, &[]), second, -1)).unwrap();
    assert_ne!(stage.fetch(1, 12, begin()).unwrap().session_id, 0, "the final epoch made room");
}

#[test]
fn a_fat_partition_does_not_starve_the_others() {
    let mut stage = Stage::new(1).with_topic("orders", 3, &[]);
    for partition in 0..3 {
        for _ in 0..4 {
            put(&mut stage, partition, &"x".repeat(500));
        }
    }
    let all = [("orders", 0, 0), ("orders", 1, 0), ("orders", 2, 0)];
    let small = |request: FetchRequest| request.with_max_bytes(100);
    let first = stage.fetch(1, 12, small(in_session(fetch_request(12, &all), 0, 0))).unwrap();
    assert_eq!(
        told(&first),
        [(0, 0, 1), (1, 0, 0), (2, 0, 0)],
        "one whole batch, though it is larger (KIP-74)"
    );
    let mut served = Vec::new();
    for epoch in 1..=5 {
        let next = small(in_session(fetch_request(12, &[]), first.session_id, epoch));
        let response = stage.fetch(1, 12, next).unwrap();
        served.extend(told(&response).iter().filter(|(.., records)| *records > 0).map(|told| told.0));
    }
    assert_eq!(served, [0, 1, 2, 0, 1]);
}

#[test]
fn a_long_poll_waits_for_bytes_for_time_and_for_the_leader() {
    let mut stage = Stage::new(2).with_topic("orders", 2, &[]);
    let connection = stage.dial(1);
    let poll = |stage: &mut Stage, min_bytes: i32, offset: i64| {
        let mut request = fetch_request(16, &[("orders", 0, offset), ("orders", 1, 0)])
            .with_max_wait_ms(500)
            .with_min_bytes(min_bytes);
        request.topics[0].partitions[0].current_leader_epoch = 0;
        stage.send(connection, 16, RequestKind::Fetch(request))
    };
    let first = poll(&mut stage, 100, 0);
    put(&mut stage, 0, "a");
    assert_eq!(answer(&mut stage, connection, first), None, "71 bytes are too few");
    put(&mut stage, 1, "b");
    assert_eq!(told(&answer(&mut stage, connection, first).unwrap()), [(0, 0, 1), (1, 0, 1)]);

    let second = poll(&mut stage, 1000, 0);
    assert_eq!(stage.model.poll_timeout(), Some(stage.now + Duration::from_millis(500)));
    stage.pass(Duration::from_millis(499));
    assert_eq!(answer(&mut stage, connection, second), None);
    stage.pass(Duration::from_millis(1));
    assert_eq!(told(&answer(&mut stage, connection, second).unwrap()), [(0, 0, 1), (1, 0, 1)]);

    let third = poll(&mut stage, 1000, 1);
    stage.lead("orders", 0, 2);
    let response = answer(&mut stage, connection, third).unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, E::FencedLeaderEpoch.code());
    assert_eq!((data.current_leader.leader_id.0, data.current_leader.leader_epoch), (2, 1));
    assert_eq!(response.node_endpoints[0].node_id.0, 2);
    assert_eq!((data.high_watermark, data.aborted_transactions.as_ref()), (-1, None));

    let fourth = poll(&mut stage, 1000, 1);
    let _ = answer(&mut stage, connection, fourth);
    stage.model.disconnect(stage.now, connection);
    assert_eq!(stage.model.poll_timeout(), None, "nobody waits any more");
}

#[test]
fn limits_cut_the_answer_where_kafka_cuts_it() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[]);
    put(&mut stage, 0, "a");
    put(&mut stage, 0, "b");
    let batch = stage.read("orders", 1, false).records.unwrap().len();
    let mut request = fetch_request(12, &[("orders", 0, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = batch as i32 + 10;
    let response = stage.fetch(1, 12, request).unwrap();
    assert_eq!(response.responses[0].partitions[0].records.as_ref().unwrap().len(), batch + 10);
    for (offset, code) in [(2, 0), (3, 1), (-1, 1)] {
        assert_eq!(stage.read("orders", offset, false).error_code, code);
    }
}

#[test]
fn topics_that_are_not_there_are_told_apart() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[]);
    let unknown_id = stage.fetch(1, 13, fetch_request(13, &[("unheard-of", 0, 0)])).unwrap();
    assert_eq!(told(&unknown_id), [(0, E::UnknownTopicId.code(), 0)]);
    assert_eq!(unknown_id.responses[0].partitions[0].aborted_transactions, Some(Vec::new()));
    let unknown = stage.fetch(1, 12, fetch_request(12, &[("unheard-of", 0, 0)])).unwrap();
    assert_eq!(told(&unknown), [(0, E::UnknownTopicOrPartition.code(), 0)]);
    assert_eq!(unknown.responses[0].topic, name("unheard-of"));

    // B3: a topic is deleted and made anew while a session has its old id.
    let id = stage.fetch(1, 13, in_session(fetch_request(13, &[("orders", 0, 0)]), 0, 0)).unwrap().session_id;
    let mut topic = stage.model.topics.all.remove("orders").unwrap();
    stage.model.topics.names.clear();
    topic.id = uuid::Uuid::from_u128(77);
    stage.model.topics.names.insert(topic.id, "orders".to_owned());
    stage.model.topics.all.insert("orders".to_owned(), topic);
    let next = stage.fetch(1, 13, in_session(fetch_request(13, &[]), id, 1)).unwrap();
    assert_eq!(told(&next), [(0, E::InconsistentTopicId.code(), 0)]);
}

#[test]
fn a_fetch_beyond_the_new_leaders_log_gets_a_diverging_epoch() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[]);
    put(&mut stage, 0, "a");
    put(&mut stage, 0, "b");
    stage.model.truncate_to("orders", 0, 1);
    stage.lead("orders", 0, 1);
    put(&mut stage, 0, "B");
    put(&mut stage, 0, "C");
    let mut request = fetch_request(12, &[("orders", 0, 2)]);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let response = stage.fetch(1, 12, request.clone()).unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (0, 1));
    assert_eq!((data.error_code, data.high_watermark), (0, 3));
    request.topics[0].partitions[0].last_fetched_epoch = 1;
    assert_eq!(told(&stage.fetch(1, 12, request).unwrap()), [(0, 0, 1)]);
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack() {
    let mut stage = Stage::new(3).with_topic("orders", 1, &[]);
    for (id, rack) in [(1, "a"), (2, "b"), (3, "b")] {
        stage.model.nodes.all.get_mut(&id).unwrap().rack = Some(rack.to_owned());
    }
    put(&mut stage, 0, "x");
    put(&mut stage, 0, "y");
    let from =
        |rack: &'static str, offset| fetch_request(12, &[("orders", 0, offset)]).with_rack_id(rack.into());
    let preferred = |response: &FetchResponse| response.responses[0].partitions[0].preferred_read_replica.0;
    let sent = stage.fetch(1, 12, from("b", 0)).unwrap();
    assert_eq!((preferred(&sent), told(&sent)), (2, vec![(0, 0, 0)]));
    assert_eq!(told(&stage.fetch(2, 12, from("b", 0)).unwrap()), [(0, 0, 2)]);
    assert_eq!(preferred(&stage.fetch(1, 12, from("a", 0)).unwrap()), -1);
    // A follower that lags: offsets beyond its log are out of range there, and the leader sends no consumer to it.
    stage.model.hold_follower(("orders", 0), 2, Some(1), None);
    assert_eq!(preferred(&stage.fetch(1, 12, from("b", 2)).unwrap()), 3);
    assert_eq!(told(&stage.fetch(2, 12, from("b", 0)).unwrap()), [(0, 0, 1)]);
    assert_eq!(told(&stage.fetch(2, 12, from("b", 2)).unwrap()), [(0, E::OffsetOutOfRange.code(), 0)]);
    // Before version 11 only the leader serves consumers.
    let old = stage.fetch(2, 10, fetch_request(10, &[("orders", 0, 0)])).unwrap();
    assert_eq!(told(&old), [(0, E::NotLeaderOrFollower.code(), 0)]);
}
