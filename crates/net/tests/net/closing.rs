//! Closing: everything is written, and nothing is left running.

use offtake_machine::Target;
use offtake_net::Lane;
use offtake_wire::{ApiKey, MetadataRequest, messages::metadata::MetadataRequestTopic};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    peer::{Speaks, broker, cluster, config, fetch, heartbeat, metadata, secs},
    pipes::World,
};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

fn deadline(after: std::time::Duration) -> std::time::Instant {
    (Instant::now() + after).into_std()
}

#[tokio::test(start_paused = true)]
async fn close_writes_what_was_sent_and_leaves_no_task() {
    let world = World::new();
    let mut peers = world.listen(1);
    world.hole(2);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.2", 9092)]));
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        let mut heard = Vec::new();
        while let Some((header, request)) = peer.request().await {
            heard.push(request.api_key());
            if heard.len() == 1 {
                peer.answer(&header, crate::peer::empty(&request)).await;
            }
        }
        heard
    });
    net.call(broker(1), metadata()).await.unwrap();
    net.ask(1, broker(1), fetch(), secs(30)); // a long poll that nobody waits for
    net.ask_on(Lane::Group, 2, broker(2), heartbeat(), secs(30)); // still dialling
    net.ask(3, broker(1), heartbeat(), secs(30));
    let begin = Instant::now();
    net.close(deadline(secs(5))).await;
    assert_eq!(begin.elapsed(), secs(0));
    assert_eq!(peer.await.unwrap(), [ApiKey::Metadata, ApiKey::Fetch, ApiKey::Heartbeat]);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn close_ends_at_its_deadline_when_the_other_end_does_not_read() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let stuck = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        tokio::time::sleep(secs(1000)).await;
        drop(peer);
    });
    let topic = MetadataRequestTopic { name: Some("t".repeat(30_000)), ..Default::default() };
    let topics = Some(vec![topic; 60]); // more than the pipe holds
    let large = MetadataRequest { topics, ..Default::default() };
    net.ask(1, Target::Any, large.into(), secs(900));
    assert!(tokio::time::timeout(secs(1), net.next()).await.is_err());
    let begin = Instant::now();
    net.close(deadline(secs(5))).await;
    assert_eq!(begin.elapsed(), secs(5));
    stuck.abort();
    let _ = stuck.await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_ends_all_tasks_too() {
    let world = World::new();
    world.hole(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.ask(1, Target::Any, metadata(), secs(30));
    assert_eq!(tasks(), 1);
    drop(net);
    while tasks() > 0 {
        tokio::task::yield_now().await;
    }
}
