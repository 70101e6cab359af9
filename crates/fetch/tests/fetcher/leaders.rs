//! Tests of which broker is asked: moved leaders, nearby replicas, none at all.

use std::time::Duration;

use offtake_fetch::{Config, Event};
use offtake_machine::{Broker, BrokerId, Position};
use offtake_wire::{
    ErrorCode, Uuid,
    messages::fetch::{LeaderIdAndEpoch, NodeEndpoint, PartitionData},
};

use crate::rig::{Asked, Rig, TOKEN, batch, data, error, named, nothing, response, tp};

const LEASE: Duration = Duration::from_secs(300);

fn preferring(replica: i32) -> PartitionData {
    PartitionData { preferred_read_replica: replica, ..nothing(0) }
}

/// "a-0" is led by broker 1, which named broker 2 as replica, and a request to that one is outstanding.
fn at_replica() -> (Rig, Asked) {
    let mut rig = Rig::with(Config { rack: Some("rack2".to_owned()), ..Default::default() }).topic("a", &[1]);
    rig.start("a", 0, 10);
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.request.rack_id.as_str()), (BrokerId(1), "rack2"));
    rig.answer(&asked, response(7, vec![("a", vec![preferring(2)])]));
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.asks()), (BrokerId(2), vec!["a-0@10".to_owned()]));
    (rig, asked)
}

#[test]
fn b1_without_a_leader_metadata_is_asked_for_with_pauses_until_there_is_one() {
    let mut rig = Rig::new().topic("a", &[-1]);
    rig.start("a", 0, 0);
    rig.silent();
    let mut wishes = rig.events().len();
    for _ in 0..1000 {
        rig.pass_ms(10);
        rig.silent();
        wishes += rig.events().len();
    }
    assert!((9..=20).contains(&wishes), "{wishes} in 10 s");
    rig.lead("a", 0, 1, 5);
    rig.show();
    assert_eq!(rig.ask().asks(), ["a-0@0"]);
    assert_eq!(rig.events(), []);
}

#[test]
fn b2_an_older_view_changes_nothing() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    rig.lead("a", 0, 2, 4);
    rig.show();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 1))])]));
    assert_eq!(rig.ask().broker, BrokerId(1));
    assert_eq!(rig.drain().len(), 1);
}

#[test]
fn b5_a_view_without_the_partition_stops_nothing_and_one_that_brings_it_heals() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    rig.start("b", 0, 0);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@0"]);
    assert_eq!(rig.events(), [Event::RefreshMetadata]);
    rig.cluster.topics.clear();
    rig.show();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 1))])]));
    assert_eq!(rig.ask().asks(), ["a-0@1"]);
    let mut rig = rig.topic("a", &[1]).topic("b", &[2]);
    assert_eq!(rig.ask().asks(), ["b-0@0"]);
}

#[test]
fn i5_a_moved_partition_waits_for_the_view_and_for_nothing_more() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::ReplicaNotAvailable,
        ErrorCode::KafkaStorageError,
    ] {
        let mut rig = Rig::new().topic("a", &[1]);
        rig.start("a", 0, 10);
        let asked = rig.ask();
        rig.answer(&asked, response(7, vec![("a", vec![error(0, code)])]));
        assert_eq!(rig.events(), [Event::RefreshMetadata], "{code}");
        rig.silent();
        rig.lead("a", 0, 2, 6);
        rig.show();
        let asked = rig.ask();
        assert_eq!((asked.broker, asked.asks()), (BrokerId(2), vec!["a-0@10".to_owned()]), "{code}");
    }
}

#[test]
fn i5_a_late_response_of_the_old_leader_is_ignored() {
    for late in [error(0, ErrorCode::NotLeaderOrFollower), data(0, batch(10, 7))] {
        let mut rig = Rig::new().topic("a", &[1]);
        rig.start("a", 0, 10);
        let old = rig.ask();
        rig.lead("a", 0, 2, 6);
        rig.show();
        let new = rig.ask();
        rig.answer(&old, response(7, vec![("a", vec![late])]));
        assert_eq!((rig.events(), rig.fetcher.take().is_some()), (vec![], false));
        rig.answer(&new, response(8, vec![("a", vec![data(0, batch(10, 2))])]));
        assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10, 11])]);
    }
}

#[test]
fn i5_a_broker_behind_our_view_is_asked_again_after_a_pause() {
    for code in [ErrorCode::UnknownLeaderEpoch, ErrorCode::OffsetNotAvailable] {
        let mut rig = Rig::new().topic("a", &[1]);
        rig.start("a", 0, 10);
        let asked = rig.ask();
        rig.answer(&asked, response(7, vec![("a", vec![error(0, code)])]));
        assert_eq!(rig.events(), [], "{code} says nothing against our view");
        rig.silent();
        let wake = rig.fetcher.poll_timeout().expect("a time to come back");
        assert!(wake > rig.now && wake <= rig.now + Duration::from_millis(150));
        rig.pass(wake - rig.now);
        rig.ask();
    }
}

#[test]
fn i5_a_view_that_tells_nothing_new_ends_no_pause() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 10);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetNotAvailable)])]));
    rig.show();
    rig.silent();
    // A new epoch of the same leader ends the wait.
    rig.lead("a", 0, 1, 6);
    rig.show();
    let asked = rig.ask();
    assert_eq!(asked.request.topics[0].partitions[0].current_leader_epoch, 6);
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetNotAvailable)])]));
    // So does another leader, even one without an epoch.
    rig.topic_mut("a").partitions.get_mut(&0).unwrap().epoch = None;
    rig.topic_mut("a").partitions.get_mut(&0).unwrap().leader = Some(BrokerId(2));
    rig.show();
    let asked = rig.ask();
    assert_eq!(asked.broker, BrokerId(2));
    assert_eq!(
        asked.request.topics[0].partitions[0].current_leader_epoch, 6,
        "the newest that is known (B2)"
    );
}

#[test]
fn i9_a_replica_that_has_left_the_cluster_is_asked_no_more_nor_after_a_new_epoch() {
    for gone in [true, false] {
        let (mut rig, asked) = at_replica();
        rig.answer_late(&asked, response(8, vec![("a", vec![nothing(0)])]));
        if gone {
            rig.cluster.brokers.remove(&BrokerId(2));
        } else {
            rig.lead("a", 0, 1, 6);
        }
        rig.show();
        assert_eq!(rig.ask().broker, BrokerId(1), "gone: {gone}");
    }
}

#[test]
fn i5_a_hint_names_the_new_leader_and_its_address() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 10);
    let asked = rig.ask();
    let moved = PartitionData {
        current_leader: Some(LeaderIdAndEpoch { leader_id: 9, leader_epoch: 6 }),
        ..error(0, ErrorCode::NotLeaderOrFollower)
    };
    let mut answer = response(7, vec![("a", vec![moved.clone()])]);
    answer.node_endpoints = vec![NodeEndpoint { node_id: 9, host: "new".to_owned(), port: 9092, rack: None }];
    rig.answer(&asked, answer);
    let address = Broker { host: "new".to_owned(), port: 9092, rack: None };
    let hint = Event::LeaderHint {
        partition: tp("a", 0),
        leader: BrokerId(9),
        epoch: 6,
        address: Some(address.clone()),
    };
    assert_eq!(rig.events(), [hint], "no metadata is needed");
    rig.cluster.brokers.insert(BrokerId(9), address);
    rig.lead("a", 0, 9, 6);
    rig.show();
    let asked = rig.ask();
    assert_eq!(asked.broker, BrokerId(9));
    // The same hint again is ignored.
    rig.answer(&asked, response(8, vec![("a", vec![moved])]));
    assert_eq!(rig.events(), [Event::RefreshMetadata]);
}

#[test]
fn i5_a_hint_of_the_first_epoch_is_news_where_metadata_tell_no_epoch() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.topic_mut("a").partitions.get_mut(&0).unwrap().epoch = None;
    rig.start("a", 0, 10);
    let asked = rig.ask();
    let moved = |leader_epoch| PartitionData {
        current_leader: Some(LeaderIdAndEpoch { leader_id: 9, leader_epoch }),
        ..error(0, ErrorCode::NotLeaderOrFollower)
    };
    rig.answer(&asked, response(7, vec![("a", vec![moved(0)])]));
    let hint = Event::LeaderHint { partition: tp("a", 0), leader: BrokerId(9), epoch: 0, address: None };
    assert!(rig.events().contains(&hint));
}

#[test]
fn i12_a_silent_broker_holds_up_nobody_else() {
    let mut rig = Rig::new().topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (_black_hole, mut asked) = (rig.ask(), rig.ask());
    for round in 0..50 {
        rig.answer_late(&asked, response(7, vec![("a", vec![data(1, batch(round * 5, 5))])]));
        assert_eq!(rig.drain().len(), 1);
        asked = rig.ask();
        assert_eq!(asked.broker, BrokerId(2));
    }
}

#[test]
fn i9_a_preferred_replica_is_asked_until_its_lease_ends_and_the_leader_forgets() {
    let (mut rig, asked) = at_replica();
    rig.answer(&asked, response(8, vec![("a", vec![data(0, batch(10, 5))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10, 11, 12, 13, 14])]);
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.asks()), (BrokerId(2), vec!["a-0@15".to_owned()]));
    rig.answer_late(&asked, response(8, vec![]));
    rig.pass(LEASE);
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.session()), (BrokerId(1), (7, 1)));
    assert_eq!((asked.asks(), asked.forgets()), (vec!["a-0@15".to_owned()], vec![]));
    assert_eq!(rig.told(), []);
}

#[test]
fn i9_trouble_at_a_replica_goes_back_to_the_leader_without_a_reset() {
    for code in [ErrorCode::OffsetOutOfRange, ErrorCode::NotLeaderOrFollower, ErrorCode::ReplicaNotAvailable]
    {
        let (mut rig, asked) = at_replica();
        rig.answer(&asked, response(8, vec![("a", vec![error(0, code)])]));
        assert_eq!(rig.told(), [], "a follower's {code} is no reason to reset");
        let asked = rig.ask();
        assert_eq!(
            (asked.broker, asked.session(), asked.asks()),
            (BrokerId(1), (7, 1), vec![]),
            "which knows what"
        );
    }
    let (mut rig, asked) = at_replica();
    rig.fail(&asked);
    assert_eq!(rig.ask().broker, BrokerId(1), "nor is a connection that ended");
    let (mut rig, _) = at_replica();
    rig.cluster.brokers.remove(&BrokerId(2));
    rig.show();
    assert_eq!(rig.ask().broker, BrokerId(1), "nor a replica that is gone");
}

/// The leader prefers itself: that changes nothing, and its answer about the position is a leader's.
#[test]
fn i9_the_leader_is_read_on_where_it_prefers_itself() {
    let mut rig = Rig::with(Config { rack: Some("rack1".to_owned()), ..Default::default() }).topic("a", &[1]);
    rig.start("a", 0, 10);
    let asked = rig.ask();
    rig.answer_late(&asked, response(7, vec![("a", vec![preferring(1)])]));
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.session(), asked.asks()), (BrokerId(1), (7, 1), vec![]));
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
    let position = Position { offset: 10, epoch: None };
    assert_eq!(rig.told(), [Event::OutOfRange { partition: tp("a", 0), token: TOKEN, position }]);
}

/// Brokers have swapped addresses: the leader answers at the replica's former address, as responses do not
/// identify the broker.
#[test]
fn i9_a_replica_that_names_a_preferred_replica_is_left_for_the_leader() {
    for named in [2, 3] {
        let (mut rig, asked) = at_replica();
        rig.answer(&asked, response(8, vec![("a", vec![preferring(named)])]));
        assert!(rig.events().contains(&Event::RefreshMetadata), "the view of the cluster is wrong");
        rig.pass(Duration::from_secs(2));
        assert_eq!(rig.ask().broker, BrokerId(1), "back to the leader");
    }
}

#[test]
fn i9_a_leader_that_keeps_sending_us_away_must_serve_us_itself() {
    for replica in [2, 99] {
        let mut rig = Rig::with(Config { rack: Some("r".to_owned()), ..Default::default() }).topic("a", &[1]);
        rig.start("a", 0, 10);
        let mut requests = 0;
        let served = loop {
            rig.pass_ms(10);
            let Some(asked) = rig.sent() else { continue };
            requests += 1;
            assert!(requests < 12, "stranded");
            if asked.broker == BrokerId(2) {
                rig.answer(&asked, response(8, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
            } else if asked.request.rack_id.is_empty() {
                break asked;
            } else {
                rig.answer(&asked, response(7, vec![("a", vec![preferring(replica)])]));
            }
        };
        rig.answer(&served, response(7, vec![("a", vec![data(0, batch(10, 1))])]));
        assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10])]);
        let asked = rig.ask();
        rig.answer_late(&asked, response(7, vec![]));
        rig.pass(Duration::from_secs(2));
        assert_eq!(rig.ask().request.rack_id, "r", "and after a while it is told our rack again");
    }
}

/// Broker 1 leads "a-0", and topics have no ids, as before Kafka 2.8. The partition is requested, and refused
/// this many times.
fn refused_by_epoch(times: usize) -> (Rig, Vec<Event>) {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.topic_mut("a").id = Uuid::ZERO;
    rig.show();
    rig.start("a", 0, 10);
    let mut told = Vec::new();
    for _ in 0..times {
        let asked = rig.ask();
        let refused = named(7, vec![("a", vec![error(0, ErrorCode::UnknownLeaderEpoch)])]);
        rig.answer(&asked, refused);
        told.extend(rig.events());
        rig.pass_ms(2_000);
    }
    (rig, told)
}

#[test]
fn b3_without_ids_a_leader_and_the_metadata_together_say_that_the_log_is_gone() {
    let (mut rig, told) = refused_by_epoch(3);
    assert_eq!(told, [Event::RefreshMetadata]);
    rig.show();
    assert_eq!(rig.told(), [], "the metadata has said nothing yet");
    rig.lead("a", 0, 2, 0);
    rig.show();
    assert_eq!(rig.told(), [Event::LogGone { partition: tp("a", 0), token: TOKEN }]);
    rig.silent();
    rig.show();
    assert_eq!(rig.told(), [], "once");
    // As after a seek: nothing is known of the old log any more.
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(0));
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.asks()), (BrokerId(2), vec!["a-0@0".to_owned()]));
    assert_eq!(asked.request.topics[0].partitions[0].current_leader_epoch, 0);
}

#[test]
fn b3_b2_without_ids_an_older_view_alone_is_only_followed_to_its_leader() {
    let (mut rig, _) = refused_by_epoch(2);
    rig.lead("a", 0, 2, 0);
    rig.show();
    assert_eq!(rig.told(), []);
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.asks()), (BrokerId(2), vec!["a-0@10".to_owned()]));
    assert_eq!(asked.request.topics[0].partitions[0].current_leader_epoch, 5, "a leader of before is fenced");
    rig.answer_late(&asked, named(8, vec![("a", vec![nothing(0)])]));
    for _ in 0..2 {
        let asked = rig.ask();
        rig.answer(&asked, named(8, vec![("a", vec![error(0, ErrorCode::UnknownLeaderEpoch)])]));
        rig.pass_ms(2_000);
    }
    rig.show();
    assert_eq!(rig.told(), [], "three times in a row, that is");
}

#[test]
fn b3_k2_a_leader_that_never_learns_our_epoch_is_reported_once() {
    let (_, told) = refused_by_epoch(30);
    let reports = told.iter().filter(|event| matches!(event, Event::PartitionFailed { .. })).count();
    assert_eq!(reports, 1, "{told:?}");
    assert!(told.iter().filter(|event| **event == Event::RefreshMetadata).count() > 20);
}

#[test]
fn a_partition_that_waits_for_its_start_asks_for_no_leader() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start_as("a", 0, TOKEN, Position { offset: 10, epoch: Some(5) });
    rig.ask();
    rig.lead("a", 0, -1, 6);
    rig.show();
    rig.lead("a", 0, 2, 7);
    rig.show();
    rig.events();
    let mut wishes = 0;
    for _ in 0..1000 {
        rig.pass_ms(100);
        rig.silent();
        rig.show();
        wishes += rig.events().len();
    }
    assert!(wishes <= 1, "{wishes} in 100 s, though every partition has a leader"); // the request is not answered
}

/// The application hears that it fails, and would never hear the end of it.
#[test]
fn i6_a_broker_that_left_the_cluster_is_not_failing_any_more() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    let mut told = Vec::new();
    for _ in 0..4 {
        let asked = rig.ask();
        rig.fail(&asked);
        told.extend(rig.told());
        rig.pass(Duration::from_secs(2));
    }
    assert!(matches!(told[..], [Event::BrokerFailing { .. }]), "{told:?}");
    rig.lead("a", 0, 2, 6);
    rig.cluster.brokers.remove(&BrokerId(1));
    rig.show();
    assert_eq!(rig.told(), [Event::BrokerRecovered { broker: BrokerId(1) }]);
}

#[test]
fn safe15_hints_that_never_end_cause_no_busy_loop() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 10);
    let mut requests = 0;
    for epoch in 6..1000 {
        let Some(asked) = rig.sent() else { break };
        requests += 1;
        let moved = PartitionData {
            current_leader: Some(LeaderIdAndEpoch { leader_id: 1, leader_epoch: epoch }),
            ..error(0, ErrorCode::NotLeaderOrFollower)
        };
        rig.answer(&asked, response(7, vec![("a", vec![moved])]));
        rig.lead("a", 0, 1, epoch);
        rig.show();
    }
    assert!(requests < 100, "{requests} requests at the same moment");
}

#[test]
fn safe15_i9_a_leader_that_sends_us_away_without_our_rack_causes_no_busy_loop() {
    let mut rig = Rig::with(Config { rack: Some("r".to_owned()), ..Default::default() }).topic("a", &[1]);
    rig.start("a", 0, 10);
    let mut requests = 0;
    while let Some(asked) = rig.sent() {
        requests += 1;
        assert!(requests < 100, "{requests} requests at the same moment");
        if asked.broker == BrokerId(2) {
            rig.answer(&asked, response(8, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
        } else {
            rig.answer(&asked, response(7, vec![("a", vec![preferring(2)])]));
        }
    }
}

/// A `replica.selector.class` that does not decide by rack; the replica fails for five seconds.
#[test]
fn i9_a_replica_that_is_named_for_another_reason_than_the_rack_is_read_when_it_is_back() {
    for rack in [None, Some("r".to_owned())] {
        let mut rig = Rig::with(Config { rack, ..Default::default() }).topic("a", &[1]);
        rig.start("a", 0, 10);
        let down = rig.now + Duration::from_secs(5);
        let read = (0..60_000).any(|_| {
            rig.pass_ms(10);
            let Some(asked) = rig.sent() else { return false };
            rig.events();
            if asked.broker == BrokerId(1) {
                rig.answer(&asked, response(7, vec![("a", vec![preferring(2)])]));
            } else if rig.now < down {
                rig.answer(&asked, response(8, vec![("a", vec![error(0, ErrorCode::NotLeaderOrFollower)])]));
            } else {
                return true;
            }
            false
        });
        assert!(read, "not in 10 minutes");
    }
}

#[test]
fn i5_a_new_leader_is_asked_at_once_however_often_the_former_one_has_failed() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 10);
    for _ in 0..5 {
        let asked = loop {
            if let Some(asked) = rig.sent() {
                break asked;
            }
            rig.pass_ms(1);
        };
        rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::KafkaStorageError)])]));
        rig.show();
        rig.events();
    }
    rig.lead("a", 0, 2, 6);
    rig.show();
    assert_eq!(rig.ask().broker, BrokerId(2));
}
