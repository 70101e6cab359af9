//! Withdrawn calls: before they are written, and too late.

use offtake_machine::{CallError, Target};
use offtake_net::{Lane, Net};
use offtake_wire::{ApiKey, MetadataResponse};
use tokio::time::{Instant, timeout};

use crate::{
    peer::{Speaks, broker, cluster, config, empty, fetch, heartbeat, metadata, secs},
    pipes::World,
};

/// Withdraws `tag`: its completion arrives at once, and only once.
async fn withdraw(net: &mut Net, tag: u64) {
    let (begin, left) = (Instant::now(), net.in_flight() - 1);
    net.withdraw(tag);
    let done = net.next().await;
    assert_eq!((done.tag, done.result.unwrap_err()), (tag, CallError::Withdrawn));
    assert_eq!((begin.elapsed(), net.in_flight()), (secs(0), left));
}

async fn is_silent(net: &mut Net) {
    assert_eq!(net.in_flight(), 0);
    assert!(timeout(secs(120), net.next()).await.is_err(), "a second answer");
}

#[tokio::test(start_paused = true)]
async fn safe1_a_call_that_waits_for_its_connection_is_never_written() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.ask(1, Target::Any, metadata(), secs(10));
    net.ask(2, Target::Any, heartbeat(), secs(10));
    let mut peer = peers.recv().await.unwrap();
    withdraw(&mut net, 1).await;
    peer.greet().await;
    let (header, request) = peer.request().await.unwrap();
    assert_eq!(request.api_key(), ApiKey::Heartbeat);
    peer.answer(&header, empty(&request)).await;
    assert_eq!(net.next().await.tag, 2);
    is_silent(&mut net).await;
}

#[tokio::test(start_paused = true)]
async fn safe1_a_call_that_waits_for_a_throttle_is_never_written() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        let (header, _) = peer.request().await.unwrap();
        peer.answer(&header, MetadataResponse { throttle_time_ms: 2000, ..Default::default() }).await;
        let (header, request) = peer.request().await.unwrap();
        peer.answer(&header, empty(&request)).await;
        (request.api_key(), peer)
    });
    net.call(Target::Any, metadata()).await.unwrap();
    let begin = Instant::now();
    net.ask(1, Target::Any, fetch(), secs(10));
    net.ask(2, Target::Any, metadata(), secs(10));
    withdraw(&mut net, 1).await;
    assert_eq!(net.next().await.tag, 2);
    assert_eq!(begin.elapsed(), secs(2), "the throttle is heeded all the same");
    assert_eq!(peer.await.unwrap().0, ApiKey::Metadata);
    is_silent(&mut net).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_written_is_answered_although_it_is_withdrawn() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.ask(1, Target::Any, metadata(), secs(10));
    let mut peer = peers.recv().await.unwrap();
    peer.greet().await;
    let (header, request) = peer.request().await.unwrap();
    net.withdraw(1);
    peer.answer(&header, empty(&request)).await;
    let done = net.next().await;
    assert!(done.tag == 1 && done.result.is_ok(), "{done:?}");
    net.withdraw(1);
    is_silent(&mut net).await;
}

/// Seed 9327750 of the arena: a broker lost a JoinGroup and said nothing on that connection any more, and the next JoinGroup stood behind it for
/// five minutes.
#[tokio::test(start_paused = true)]
async fn a_join_that_was_written_and_is_withdrawn_takes_its_connection_with_it() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let begin = Instant::now();
    net.ask_on(Lane::Join, 1, Target::Any, metadata(), secs(305));
    let mut silent = peers.recv().await.unwrap();
    silent.greet().await;
    silent.request().await.unwrap();
    net.withdraw(1);
    // Whatever is sent next, over another connection.
    net.ask_on(Lane::Join, 2, Target::Any, heartbeat(), secs(305));
    let mut next = peers.recv().await.unwrap();
    next.greet().await;
    let (header, request) = next.request().await.unwrap();
    assert_eq!(request.api_key(), ApiKey::Heartbeat);
    next.answer(&header, empty(&request)).await;
    for _ in 0..2 {
        let done = net.next().await;
        match done.tag {
            1 => assert!(matches!(done.result, Err(CallError::Disconnected { .. })), "{done:?}"),
            _ => assert!(done.result.is_ok(), "{done:?}"),
        }
    }
    assert!(begin.elapsed() < secs(1), "{:?}", begin.elapsed());
    assert!(silent.request().await.is_none(), "nothing more comes over the first one");
    is_silent(&mut net).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_connection_has_failed_is_withdrawn_before_it_goes_elsewhere() {
    let world = World::new();
    world.hole(1);
    world.broker(2);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092)]));
    net.ask(1, broker(1), metadata(), secs(60));
    net.ask(2, broker(1), heartbeat(), secs(60));
    assert!(timeout(secs(1), net.next()).await.is_err(), "it is being dialled");
    // Its connection is retired, and returns both calls, to be sent to the new address.
    net.update_brokers(&cluster(&[(1, "10.0.0.2", 9092)]));
    withdraw(&mut net, 1).await;
    assert_eq!(net.next().await.tag, 2);
    is_silent(&mut net).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_withdrawn_is_not_told_that_it_is_late() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.ask(1, Target::Any, metadata(), secs(2));
    let _silent = peers.recv().await.unwrap();
    withdraw(&mut net, 1).await;
    // The tag is free again, and the new call has its own timeout.
    net.ask(1, Target::Any, metadata(), secs(4));
    let begin = Instant::now();
    let done = net.next().await;
    assert!(matches!(done.result, Err(CallError::Unreachable { .. })), "{done:?}");
    assert_eq!(begin.elapsed(), secs(4), "{done:?}");
    is_silent(&mut net).await;
}
