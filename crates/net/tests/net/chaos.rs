//! Random peers and random calls: each call completes exactly once, at the latest soon after its deadline.

use std::{io, net::SocketAddr, sync::Arc};

use offtake_machine::{BrokerId, Target};
use offtake_net::{ByteStream, Config, Dial, DialFuture, Lane, Net};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    peer::{Peer, Speaks, broker, cluster, config, encoded, fetch, heartbeat, metadata, ms, secs},
    pipes::World,
};

/// SplitMix64.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// Answers late or not, incompletely or not, wrongly or not, or hangs up.
async fn misbehave(mut peer: Peer, mut dice: Dice) {
    match dice.roll(8) {
        0 => return,
        1 => return peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        2 => return sleep(secs(20)).await,
        _ => peer.greet().await,
    }
    while let Some((mut header, request)) = peer.request().await {
        match dice.roll(12) {
            0 => return,
            1 => sleep(secs(dice.roll(8))).await,
            2 => header.correlation_id += 1,
            3 => return peer.raw(&encoded(&header, crate::peer::empty(&request))[..6]).await,
            4 => peer.raw(&[0, 0, 0, 5, 0, 0, 0, 1, 9]).await,
            _ => {}
        }
        peer.answer(&header, crate::peer::empty(&request)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_is_answered_exactly_once_whatever_happens() {
    for seed in 0..40 {
        let world = World::new();
        let mut dice = Dice(seed);
        for host in 1..=3 {
            let mut peers = world.listen(host);
            let mut dice = Dice(dice.roll(u64::MAX));
            tokio::spawn(async move {
                while let Some(peer) = peers.recv().await {
                    tokio::spawn(misbehave(peer, Dice(dice.roll(u64::MAX))));
                }
            });
        }
        let mut net = world.net(Config { seed, max_idle: secs(3), ..config() }, &[("10.0.0.3", 9092)]);
        let mut open = std::collections::BTreeMap::new();
        let mut tag = 0;
        for _ in 0..400 {
            match dice.roll(20) {
                0 => net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092), (2, "10.0.0.2", 9092)])),
                1 => net.update_brokers(&cluster(&[(1, "10.0.0.2", 9092), (2, "10.0.0.1", 9092)])),
                2 => net.learn_broker(BrokerId(2), "10.0.0.7", 9092),
                3 => net.forget_brokers(),
                4 => net.withdraw(dice.roll(tag + 1)),
                5..=12 => {
                    tag += 1;
                    let lane = [Lane::Control, Lane::Group, Lane::Join, Lane::Fetch][dice.roll(4) as usize];
                    let to = [Target::Any, broker(1), broker(2)][dice.roll(3) as usize];
                    let request = [metadata, heartbeat, fetch][dice.roll(3) as usize]();
                    let within = ms(dice.roll(10_000));
                    open.insert(tag, Instant::now() + within);
                    net.ask_on(lane, tag, to, request, within);
                }
                _ => {
                    if let Ok(done) = timeout(ms(dice.roll(500)), net.next()).await {
                        let deadline = open.remove(&done.tag).expect("once");
                        assert!(Instant::now() <= deadline + secs(1), "seed {seed}: {done:?} too late");
                    }
                }
            }
            assert_eq!(net.in_flight(), open.len());
        }
        while !open.is_empty() {
            let done =
                timeout(secs(20), net.next()).await.unwrap_or_else(|_| panic!("seed {seed}: {open:?} left"));
            open.remove(&done.tag).expect("once");
        }
        assert_eq!(net.in_flight(), 0);
        assert!(timeout(secs(60), net.next()).await.is_err(), "seed {seed}: nothing is left to tell");
        net.close((Instant::now() + secs(1)).into_std()).await;
    }
}

/// A dialer with a bug.
#[derive(Debug)]
struct Panics;

impl Dial for Panics {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async { panic!("on purpose") })
    }
    fn connect<'a>(&'a self, _: &'a str, _: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_connection_that_panicked_are_answered_too() {
    let mut net = Net::with_dial(config(), vec![("kafka".into(), 9092)], Arc::new(Panics));
    for tag in 1..=3 {
        net.ask(tag, Target::Any, metadata(), secs(10));
    }
    for done in net.all(3).await {
        assert!(done.result.unwrap_err().to_string().contains("error in this client"));
    }
    net.call(Target::Any, metadata()).await.unwrap_err();
}
