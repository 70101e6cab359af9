//! Calls as written by users who have not read the documentation: each compiles, and does what it says.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use offtake::{
    Assign, AutoOffsetReset, CloseOptions, Consumer, ErrorCode, ErrorKind, GroupMembership,
    OffsetAndMetadata, OffsetAndTimestamp, OwnershipChange, StartAt, Topic, TopicPartition,
    config::{AssignmentStrategy, Config, ConfigError},
};

use crate::support::{A_WHILE, cluster, member, orders, read, reading};

#[tokio::test]
async fn topics_come_as_one_or_as_many_by_value_or_by_reference() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).build().await.unwrap();
    let (name, names) = ("orders".to_owned(), vec!["orders".to_owned(), "returns".to_owned()]);
    let (one, both) = (vec![Topic::from("orders")], vec![Topic::from("orders"), Topic::from("returns")]);

    consumer.subscribe("orders").await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(&names).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(&name).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(["orders", "returns"]).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(name.clone()).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(&["orders", "returns"]).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(Topic::from("orders")).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(names.iter().collect::<HashSet<&String>>()).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe([&name]).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(names.iter().cloned().collect::<HashSet<String>>()).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(&[&name]).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(&BTreeSet::from_iter(names.clone())).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(Cow::Borrowed("orders")).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(names.as_slice()).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(&consumer.subscription()[..1]).await.unwrap();
    assert_eq!(consumer.subscription(), one);
    consumer.subscribe(names).await.unwrap();
    assert_eq!(consumer.subscription(), both);
    consumer.subscribe(Vec::<String>::new()).await.unwrap();
    assert!(consumer.subscription().is_empty());
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn partitions_are_assigned_with_and_without_a_start() {
    let cluster = cluster().await;
    let mut consumer = Consumer::builder(cluster.bootstrap()).build().await.unwrap();
    let partition = orders(1);
    let starts: HashMap<TopicPartition, i64> = HashMap::from([(orders(0), 3), (orders(1), 4)]);

    let mut expect = async |at: &[(i32, i64)], assign: Vec<Assign>| {
        consumer.assign(Vec::<Assign>::new()).await.unwrap();
        consumer.assign(assign).await.unwrap();
        let mut first = BTreeMap::new();
        while first.len() < at.len() {
            for record in &consumer.poll(A_WHILE).await.unwrap() {
                first.entry(record.partition()).or_insert(record.offset());
            }
        }
        assert_eq!(first, BTreeMap::from_iter(at.iter().copied()));
    };
    expect(&[(0, 0)], vec![("orders", 0, StartAt::Earliest).into()]).await;
    expect(&[(0, 7)], vec![("orders", 0, 7).into()]).await;
    expect(&[(1, 8)], vec![(&partition, 8).into()]).await;
    expect(&[(1, 9)], vec![(("orders", 1), 9).into()]).await;
    expect(&[(0, 3), (1, 4)], starts.iter().map(|(partition, at)| (partition, *at).into()).collect()).await;

    consumer.assign(("orders", 0)).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(0)]);
    consumer.assign(&partition).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(1)]);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(0), orders(1)]);
    consumer.assign([(&partition, StartAt::Latest)]).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(1)]);
    consumer.assign(starts).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(0), orders(1)]);
    consumer.assign([("orders", 0, 42)]).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(0)]);
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn all_calls_take_the_same_type_for_where_to_start() {
    let cluster = cluster().await;
    // The start if nothing is committed: an offset, or any other start.
    for (start, first) in [(3.into(), 3), (StartAt::BeforeEnd(2), 8), (StartAt::committed_or(4), 4)] {
        let mut consumer =
            member(&cluster).begin_at(start).property("enable.auto.commit", "false").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        let mut offsets = BTreeMap::new();
        while offsets.len() < 2 {
            for record in &consumer.poll(A_WHILE).await.unwrap() {
                offsets.entry(record.partition()).or_insert(record.offset());
            }
        }
        assert_eq!(offsets, BTreeMap::from([(0, first), (1, first)]));
        consumer.close(A_WHILE).await.unwrap();
    }
    let mut consumer = reading(&cluster).await;
    consumer.commit_offsets([(orders(0), 6)]).await.unwrap();
    consumer.pause_all().unwrap(); // the records that exist are not handed out
    for (start, position) in [
        (StartAt::offset(42), 42),
        (StartAt::Offset(41.into()), 41),
        (StartAt::committed_or(StartAt::Earliest), 6),
        (StartAt::Committed, 6),
        (StartAt::Policy, 0),
        (StartAt::Earliest, 0),
        (StartAt::Latest, 10),
        (StartAt::BeforeEnd(1), 9),
        (StartAt::Timestamp(0), 0),
    ] {
        consumer.seek(("orders", 0), start.clone()).await.unwrap();
        let began = std::time::Instant::now();
        while consumer.position(("orders", 0)) != Some(position) {
            assert!(began.elapsed() < A_WHILE, "{start:?} leads to {:?}", consumer.position(("orders", 0)));
            consumer.poll(Duration::from_millis(1)).await.unwrap();
        }
    }
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn pause_and_resume_accept_every_form_of_partitions() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let (handle, both) = (consumer.handle(), [orders(0), orders(1)]);
    let paused = |consumer: &Consumer| (consumer.paused(), consumer.handle().paused());

    consumer.pause(consumer.assignment()).unwrap();
    assert_eq!(paused(&consumer), (both.to_vec(), both.to_vec()));
    consumer.resume(consumer.paused()).unwrap();
    assert_eq!(paused(&consumer), (vec![], vec![]));
    consumer.pause(consumer.assignment()).unwrap();
    consumer.resume(&both).unwrap();
    assert_eq!(paused(&consumer), (vec![], vec![]));
    consumer.pause(("orders", 0)).unwrap();
    assert_eq!(consumer.paused(), [orders(0)]);
    consumer.resume(orders(0)).unwrap();
    consumer.pause([("orders".to_owned(), 1)]).unwrap();
    assert_eq!(consumer.paused(), [orders(1)]);
    consumer.resume([("orders", 1)]).unwrap();
    handle.pause(consumer.assignment().iter().filter(|held| held.partition == 0)).unwrap();
    assert_eq!(consumer.paused(), [orders(0)]);
    consumer.pause_all().unwrap();
    assert_eq!(paused(&consumer), (both.to_vec(), both.to_vec()));
    handle.resume_all().unwrap();
    assert_eq!(paused(&consumer), (vec![], vec![]));
    handle.pause_all().unwrap();
    assert_eq!(paused(&consumer).0, both);

    // Records of paused partitions are handed out after the resume, and not before.
    cluster.produce("orders", 0, None, Some(b"10")).unwrap();
    assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
    consumer.resume_all().unwrap();
    read(&mut consumer, 1).await;
    consumer.close(A_WHILE).await.unwrap();
    assert!(handle.pause_all().is_err() && handle.resume_all().is_err());
}

#[tokio::test]
async fn a_seek_takes_an_offset_and_positions_are_asked_for_by_any_name_of_a_partition() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let (handle, partition) = (consumer.handle(), orders(0));

    consumer.seek(&partition, 4).await.unwrap();
    assert_eq!((consumer.position(&partition), consumer.position(("orders", 0))), (Some(4), Some(4)));
    consumer.seek(("orders", 0), 5).await.unwrap();
    assert_eq!((handle.position(("orders", 0)), handle.position(partition.clone())), (Some(5), Some(5)));
    handle.seek(&partition, 6).await.unwrap();
    assert_eq!(
        (consumer.position(("orders".to_owned(), 0)), consumer.lag(("orders", 0))),
        (Some(6), Some(4))
    );
    handle.seek(("orders", 0), StartAt::Earliest).await.unwrap();
    for partition in consumer.assignment() {
        consumer.seek(partition, 8).await.unwrap();
    }
    assert_eq!(consumer.lags(), BTreeMap::from([(orders(0), Some(2)), (orders(1), Some(2))]));
    assert_eq!((handle.lag(&partition), handle.lag(("orders", 1))), (Some(2), Some(2)));
    read(&mut consumer, 4).await;

    // Results of a search by time, and committed offsets, can be passed to `seek` as they are.
    let found = consumer.offsets_for_times([(("orders", 0), 0)]).await.unwrap();
    consumer.seek(&partition, found[&partition]).await.unwrap();
    assert_eq!(consumer.position(&partition), Some(0));
    consumer.commit_offsets([(&partition, 0)]).await.unwrap();
    for (partition, committed) in &consumer.committed(consumer.assignment()).await.unwrap() {
        consumer.seek(partition, committed).await.unwrap();
    }
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn offsets_are_committed_and_asked_for_by_any_name_of_a_partition() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let (handle, partition) = (consumer.handle(), orders(0));
    let committed = async |consumer: &Consumer| {
        let committed = consumer.committed(("orders", 0)).await.unwrap();
        committed.get(&orders(0)).map(|committed| committed.offset)
    };

    consumer.commit_offsets([(partition.clone(), 1)]).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(1));
    consumer.commit_offsets([(("orders", 0), 2)]).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(2));
    consumer.commit_offsets([(&partition, 3)]).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(3));
    handle.commit_offsets([(("orders", 0), 4)]).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(4));
    handle.commit_offsets(BTreeMap::from([(partition.clone(), 5)])).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(5));
    handle.commit_offsets(&BTreeMap::from([(partition.clone(), 6)])).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(6));
    consumer.commit_offsets([(&partition, OffsetAndMetadata::new(7).with_metadata("noted"))]).await.unwrap();
    assert_eq!(consumer.committed(&partition).await.unwrap()[&partition].metadata, "noted");
    consumer.commit_offsets(&handle.committed(&[partition.clone()]).await.unwrap()).await.unwrap();
    assert_eq!(handle.committed([("orders", 0)]).await.unwrap()[&partition].metadata, "noted");

    let all = consumer.assignment();
    assert_eq!(consumer.end_offsets(&all).await.unwrap(), handle.end_offsets(all.clone()).await.unwrap());
    assert_eq!(
        consumer.end_offsets([("orders", 0)]).await.unwrap(),
        BTreeMap::from([(partition.clone(), 10)])
    );
    assert_eq!(
        handle.beginning_offsets(("orders", 0)).await.unwrap(),
        BTreeMap::from([(partition.clone(), 0)])
    );
    assert_eq!(consumer.beginning_offsets([&partition]).await.unwrap()[&partition], 0);
    assert_eq!(consumer.watermarks(&partition).await.unwrap(), (0, 10));
    assert_eq!(handle.watermarks(("orders", 1)).await.unwrap(), (0, 10));
    assert_eq!(handle.offsets_for_times([(&partition, 0)]).await.unwrap()[&partition].offset, 0);
    assert_eq!(handle.partitions_for("orders").await.unwrap().len(), 2);
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn records_that_are_taken_by_value_outlive_their_poll() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    let (mut kept, mut of_parts) = (Vec::new(), 0);
    while kept.len() < 20 {
        let records = consumer.poll(A_WHILE).await.unwrap();
        for part in records.partitions().cloned() {
            of_parts += part.into_iter().count();
        }
        let (expected, owned) = (records.len(), records.into_iter());
        assert_eq!(owned.len(), expected);
        for record in owned {
            kept.push(record);
        }
    }
    consumer.close(A_WHILE).await.unwrap();
    assert_eq!((kept.len(), of_parts), (20, 20));
    for record in kept {
        assert_eq!(record.value().unwrap(), record.offset().to_string().as_bytes());
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    assert_eq!("orders-0".parse::<TopicPartition>().unwrap(), orders(0));
    assert_eq!("of-two-words-12".parse::<TopicPartition>().unwrap(), TopicPartition::new("of-two-words", 12));
    assert_eq!(orders(0).to_string(), "orders-0");
    assert_eq!("orders".parse::<Topic>().unwrap(), "orders");
    let refused = "orders".parse::<TopicPartition>().unwrap_err();
    assert!(refused.to_string().contains("`orders`"), "{refused}");
}

#[test]
fn public_types_can_be_serialized_and_read_back() {
    let offsets = BTreeMap::from([
        (orders(0), OffsetAndMetadata::new(42)),
        (TopicPartition::new("a-b", 1), OffsetAndMetadata::new(7).with_metadata("noted")),
    ]);
    let written = serde_json::to_string(&offsets).unwrap();
    assert!(written.contains(r#""a-b-1":{"offset":7,"#), "{written}");
    assert_eq!(
        serde_json::from_str::<BTreeMap<TopicPartition, OffsetAndMetadata>>(&written).unwrap(),
        offsets
    );
    let short: OffsetAndMetadata = serde_json::from_str(r#"{"offset":42}"#).unwrap();
    assert_eq!(short, OffsetAndMetadata::new(42));
    let topics: Vec<Topic> = serde_json::from_str(r#"["orders"]"#).unwrap();
    assert_eq!(
        (topics[0].as_str(), serde_json::to_string(&topics).unwrap().as_str()),
        ("orders", r#"["orders"]"#)
    );
    let refused = serde_json::from_str::<TopicPartition>(r#""orders""#).unwrap_err();
    assert!(refused.to_string().contains("names no partition"), "{refused}");
}

#[tokio::test]
async fn an_error_has_its_cause_and_its_kind_a_name() {
    let refused = Consumer::builder(Vec::<String>::new()).build().await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.kind().to_string().as_str()),
        (ErrorKind::Config, "invalid configuration")
    );
    let cause = std::error::Error::source(&refused).unwrap();
    assert!(cause.is::<ConfigError>(), "{cause:?}");
    assert_eq!(refused.code(), None::<ErrorCode>);
}

/// Types that users build themselves, in tests of their own code, although they are non-exhaustive.
#[test]
fn non_exhaustive_types_can_be_built() {
    let offset = OffsetAndMetadata::new(7).with_leader_epoch(3).with_metadata("noted");
    assert_eq!((offset.offset, offset.leader_epoch, offset.metadata.as_str()), (7, Some(3), "noted"));
    let found = OffsetAndTimestamp::new(7, Some(1_700_000_000_000));
    assert_eq!(
        (StartAt::from(found), OffsetAndMetadata::from(found)),
        (StartAt::offset(7), OffsetAndMetadata::new(7))
    );
    let change = OwnershipChange::new(vec![orders(0)], vec![orders(0), orders(1)], Some(1));
    assert_eq!((change.partitions.len(), change.owned.len()), (1, 2));
    let options = CloseOptions::timeout(A_WHILE).group_membership(GroupMembership::Leave);
    assert_eq!((options.timeout, options.group_membership), (A_WHILE, GroupMembership::Leave));
    assert_eq!(AssignmentStrategy::ALL.len(), 4);
    let mut decompressor = offtake::batches::Decompressor::new();
    let run: fn(offtake::builder::EngineFuture) = drop;
    let iterate = |records: &offtake::Records, _: &mut offtake::batches::Decompressor| {
        let iter: offtake::records::Iter<'_> = records.iter();
        iter.len()
    };
    assert_eq!(iterate(&offtake::Records::default(), &mut decompressor), 0);
    let _ = (run, offtake::dial::Tcp::default());
}

#[tokio::test]
async fn a_topic_that_looks_like_a_pattern_is_refused_and_subscribe_patterns_named() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).build().await.unwrap();
    let refused = consumer.subscribe(["returns", "^ord.*"]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misuse);
    assert!(refused.to_string().contains("subscribe_patterns"), "{refused}");
    consumer.subscribe_patterns(["^ord.*"]).await.unwrap();
    read(&mut consumer, 20).await;
}

#[tokio::test]
async fn a_configuration_begins_a_consumer_and_names_may_be_owned() {
    let cluster = cluster().await;
    let mut config = Config::default();
    config.set("bootstrap.servers", &cluster.bootstrap()).unwrap();
    let group = String::from("guess");
    let builder = Consumer::from_config(config).group(&group).client_id(group.clone()).client_rack("r1");
    let mut consumer = builder.auto_offset_reset(AutoOffsetReset::Earliest).build().await.unwrap();
    assert_eq!(
        (consumer.config().group_id.as_deref(), consumer.config().client.client_id.as_str()),
        (Some("guess"), "guess")
    );
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 20).await;
    assert!(consumer.health().is_ready());
    let handle = consumer.handle();
    assert_eq!(handle.lags(), consumer.lags());
    assert_eq!(handle.lags().into_values().collect::<Vec<_>>(), [Some(0), Some(0)]);
    consumer.commit_offsets((("orders", 0), 3)).await.unwrap();
    handle.commit_offsets((orders(1), 4)).await.unwrap();
    let committed = consumer.committed([orders(0), orders(1)]).await.unwrap();
    let offsets: Vec<_> = committed.values().map(|committed| committed.offset).collect();
    assert_eq!(offsets, [3, 4]);
    consumer.close(A_WHILE).await.unwrap();
    assert!(handle.lags().is_empty());
}
