//! The targets of calls: brokers by id, any broker, names with several addresses.

use std::collections::BTreeSet;

use offtake_machine::{BrokerId, CallError, Target};
use offtake_net::{Config, Lane};
use offtake_wire::{ApiVersionsResponse, FetchRequest};

use crate::{
    peer::{Speaks, broker, cluster, config, fetch, metadata, ms, secs, versions},
    pipes::World,
};

#[tokio::test(start_paused = true)]
async fn a7_when_all_brokers_were_replaced_the_bootstrap_servers_are_asked_again() {
    let world = World::new();
    world.broker(1);
    world.broker(2);
    let mut net = world.net(config(), &[("10.0.0.9", 9092)]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.2", 9092)]));
    net.call(Target::Any, metadata()).await.unwrap();
    net.ask(5, broker(1), metadata(), secs(1));
    net.ask(6, broker(2), metadata(), secs(1));
    net.all(2).await;
    world.refuse(1);
    world.refuse(2);
    world.broker(9);
    net.forget_brokers();
    assert_eq!(net.call(broker(1), metadata()).await.unwrap_err(), CallError::UnknownBroker(BrokerId(1)));
    let answer = net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(answer.from, None, "a bootstrap server has not told its id");
}

#[tokio::test(start_paused = true)]
async fn a7_a_call_to_anybody_goes_on_to_the_bootstrap_servers_when_no_known_broker_can_be_reached() {
    let world = World::new();
    world.broker(9);
    world.hole(2);
    let mut net = world.net(config(), &[("10.0.0.9", 9092)]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.2", 9092), (3, "10.0.0.3", 9092)]));
    net.call(Target::Any, metadata()).await.unwrap();
    let dialled = world.dialled();
    assert_eq!(dialled.last(), Some(&9));
    assert_eq!(dialled.iter().collect::<BTreeSet<_>>().len(), 4, "each once: {dialled:?}");
    // The next call already has a connection.
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(world.dialled().len(), 4, "the connection is there");
}

#[tokio::test(start_paused = true)]
async fn a7_a_call_to_anybody_fails_when_all_were_tried_and_not_before() {
    let world = World::new();
    let mut net = world.net(config(), &[("10.0.0.8", 9092), ("10.0.0.9", 9092), ("nowhere", 9092)]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable { not_kafka: false, .. }), "{error}");
    assert_eq!(world.dialled().into_iter().collect::<BTreeSet<_>>(), [8, 9].into());
    assert_eq!(net.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a5_a_web_server_in_place_of_a_stopped_broker_is_retried() {
    let world = World::new();
    let mut peers = world.listen(1);
    tokio::spawn(async move {
        let mut broker = peers.recv().await.unwrap();
        broker.greet().await;
        let (header, request) = broker.request().await.unwrap();
        broker.answer(&header, crate::peer::empty(&request)).await;
        drop(broker);
        let mut web = peers.recv().await.unwrap();
        web.request().await.unwrap();
        web.raw(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        peers.recv().await.unwrap().serve().await;
    });
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.call(Target::Any, metadata()).await.unwrap();
    tokio::time::sleep(ms(1)).await; // until the client knows that the connection has ended
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("it speaks HTTP"), "{error}");
    net.call(Target::Any, metadata()).await.unwrap();
}

/// Its connections are open, and it answers none of its calls. The lane of the call has a connection, and the other broker has
/// none at all.
#[tokio::test(start_paused = true)]
async fn a2_b10_a_call_to_anybody_goes_past_a_broker_that_owes_another_answer_for_long() {
    for (max_wait_ms, answers) in [(500, 2), (20_000, 1)] {
        let world = World::new();
        let mut peers = world.listen(1);
        tokio::spawn(async move {
            tokio::spawn(peers.recv().await.unwrap().serve());
            let mut silent = peers.recv().await.unwrap();
            silent.greet().await;
            silent.until_closed().await;
        });
        world.broker(2);
        let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
        net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.2", 9092)]));
        net.call(broker(1), metadata()).await.unwrap();
        let poll = FetchRequest { max_wait_ms, ..Default::default() };
        net.ask_on(Lane::Fetch, 1, broker(1), poll.into(), secs(30));
        assert!(tokio::time::timeout(secs(7), net.next()).await.is_err());
        let answer = net.call(Target::Any, metadata()).await.unwrap();
        assert_eq!(answer.from, Some(BrokerId(answers)), "it may wait {max_wait_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_no_connection_lived_to_write_was_not_sent() {
    let world = World::new();
    let mut peers = world.listen(1);
    tokio::spawn(async move {
        while let Some(mut peer) = peers.recv().await {
            peer.greet_with(ApiVersionsResponse { throttle_time_ms: 60_000, ..versions(&[]) }).await;
            // The connection ends while the call waits for the throttle.
            tokio::time::sleep(ms(100)).await;
        }
    });
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }) && !error.may_have_arrived(), "{error}");
    assert_eq!(world.dialled(), [1, 1], "it is given to another connection once");
}

#[tokio::test(start_paused = true)]
async fn without_bootstrap_servers_a_call_to_anybody_says_so() {
    let mut net = World::new().net(config(), &[]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(error.to_string().contains("no bootstrap server"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dialled_ahead_is_there_for_the_first_call() {
    let world = World::new();
    world.broker(1);
    let mut net = world.net(config(), &[("10.0.0.9", 9092)]);
    net.dial(BrokerId(1), Lane::Control);
    assert!(tokio::time::timeout(ms(100), net.next()).await.is_err());
    assert!(world.dialled().is_empty(), "its address is not known");
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092)]));
    for _ in 0..2 {
        net.dial(BrokerId(1), Lane::Control);
        assert!(tokio::time::timeout(ms(100), net.next()).await.is_err());
        assert_eq!(world.dialled(), [1]);
    }
    net.call(broker(1), metadata()).await.unwrap();
    assert_eq!(world.dialled(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a8_a_dead_address_of_a_name_costs_its_timeout_once() {
    let world = World::new();
    world.name("kafka", &[1, 2, 3]);
    world.hole(1);
    world.broker(3);
    let mut net = world.net(config(), &[("kafka", 9092)]);
    let begin = tokio::time::Instant::now();
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(world.dialled(), [1, 2, 3]);
    assert_eq!(begin.elapsed(), secs(10));
    net.ask_on(Lane::Fetch, 1, Target::Any, fetch(), secs(30));
    net.next().await.result.unwrap();
    assert_eq!(world.dialled(), [1, 2, 3, 3], "the next connection begins with the one that worked");
}

#[tokio::test(start_paused = true)]
async fn a8_a_name_that_does_not_resolve_is_no_more_than_unreachable_and_resolves_later() {
    let world = World::new();
    world.broker(1);
    let mut net = world.net(config(), &[("kafka", 9092)]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(error.is_retriable());
    assert!(
        error.to_string().starts_with("cannot connect to kafka:9092: the name does not resolve: "),
        "{error}"
    );
    world.name("kafka", &[1]);
    net.call(Target::Any, metadata()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a9_two_brokers_behind_one_address_have_a_connection_each() {
    let world = World::new();
    world.broker(1);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.1", 9092)]));
    for id in [1, 2] {
        let answer = net.call(broker(id), metadata()).await.unwrap();
        assert_eq!(answer.from, Some(BrokerId(id)));
    }
    assert_eq!(net.stats().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn a9_a_broker_that_moved_is_found_at_its_new_address_and_what_was_under_way_is_still_answered() {
    let world = World::new();
    let mut old = world.listen(1);
    world.broker(2);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092)]));
    let moved = tokio::spawn(async move {
        let mut peer = old.recv().await.unwrap();
        peer.greet().await;
        let (header, request) = peer.request().await.unwrap();
        tokio::time::sleep(secs(3)).await;
        peer.answer(&header, crate::peer::empty(&request)).await;
        peer.until_closed().await;
    });
    net.ask(1, broker(1), fetch(), secs(30));
    assert!(tokio::time::timeout(secs(1), net.next()).await.is_err(), "a long poll");
    net.update_brokers(&cluster(&[(1, "10.0.0.2", 9092)]));
    let answer = net.call(broker(1), metadata()).await.unwrap();
    assert_eq!(answer.from, Some(BrokerId(1)));
    assert_eq!(world.dialled(), [1, 2]);
    net.next().await.result.unwrap();
    moved.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a9_calls_that_wait_for_a_dead_address_go_to_the_new_one_at_once() {
    let world = World::new();
    world.hole(1);
    world.broker(2);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092)]));
    net.ask(1, broker(1), metadata(), secs(30));
    assert!(tokio::time::timeout(secs(1), net.next()).await.is_err());
    let begin = tokio::time::Instant::now();
    net.learn_broker(BrokerId(1), "10.0.0.2", 9092);
    net.next().await.result.unwrap();
    assert_eq!(begin.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_gone_from_the_metadata_serves_until_its_connection_ends() {
    let world = World::new();
    world.broker(1);
    let mut net = world.net(Config { max_idle: secs(5), ..config() }, &[]);
    net.learn_broker(BrokerId(1), "10.0.0.1", 9092);
    net.call(broker(1), metadata()).await.unwrap();
    net.update_brokers(&cluster(&[(2, "10.0.0.2", 9092)]));
    net.call(broker(1), metadata()).await.unwrap();
    assert!(tokio::time::timeout(secs(6), net.next()).await.is_err(), "idle until it is closed");
    net.update_brokers(&cluster(&[(2, "10.0.0.2", 9092)]));
    assert_eq!(net.call(broker(1), metadata()).await.unwrap_err(), CallError::UnknownBroker(BrokerId(1)));
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_are_refused_and_each_is_still_answered() {
    let world = World::new();
    let _peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    for tag in 0..5000 {
        net.ask(tag, Target::Any, metadata(), secs(2));
    }
    let done = net.all(5000).await;
    let refused = done
        .iter()
        .filter(|done| matches!(&done.result, Err(error) if error.to_string().contains("outstanding")));
    assert_eq!(refused.count(), 5000 - 4096);
    assert_eq!(net.in_flight(), 0);
}
