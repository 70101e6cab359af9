//! Members that join, stop and die, with brokers and handlers that fail: random schedules from seeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use offtake_worker::{Event, Failure, Order, Retry, dead_letters::Origin};

use crate::support::*;

/// Pseudo-random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The records that were handled, or are in the dead letters.
fn finished(cluster: &Cluster, ledger: &Ledger) -> BTreeSet<(i32, i64)> {
    let mut finished: BTreeSet<_> = ledger.done().into_keys().collect();
    for letter in letters(cluster) {
        let headers = letter.headers.iter();
        let headers =
            headers.map(|(key, value)| offtake::Header { key: key.as_bytes(), value: value.as_deref() });
        let origin = Origin::read(headers).unwrap();
        finished.insert((origin.partition.unwrap(), origin.offset.unwrap()));
    }
    finished
}

struct Arena {
    cluster: Cluster,
    ledger: Ledger,
    protocol: &'static str,
    seed: u64,
    /// Commits that passed unfinished records.
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Arena {
    /// Starts another member. Its handlers take their time, fail, panic or hang; some records are poison.
    fn member(&self, nth: u64, order: Order) -> Running {
        let seed = self.seed;
        let handler = self.ledger.around(move |record, attempt| async move {
            let at = record.offset().unsigned_abs() * 31 + u64::from(attempt.number()) * 7 + nth;
            let mut random = Random(at.wrapping_mul(seed + 1));
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            match (record.offset(), random.below(20)) {
                (offset, _) if offset % 17 == 5 => Err(Failure::poison("never")),
                (_, 0 | 1) => Err(Failure::retry("not now")),
                (_, 2) => panic!("no"),
                (_, 3) => std::future::pending().await,
                _ => Ok(()),
            }
        });
        let inside = self.cluster.clone();
        let builder = offtake::Consumer::builder(self.cluster.bootstrap())
            .group("job")
            .spawn_on(tokio::runtime::Handle::current())
            .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
            .property("auto.offset.reset", "earliest")
            .property("request.timeout.ms", 2000);
        let builder = match self.protocol {
            "consumer" => builder.property("group.protocol", "consumer"),
            assignor => builder
                .property("partition.assignment.strategy", assignor)
                .property("session.timeout.ms", 6000),
        };
        let letters_to = dead_letters(&self.cluster).property("delivery.timeout.ms", 600_000);
        let worker = worker_of(builder)
            .order(order)
            .concurrency(4)
            .queue(20)
            .timeout(secs(2))
            .grace(secs(3))
            .revoke_grace(secs(3))
            .retry(Retry::fixed(Duration::from_millis(200)).unlimited())
            .dead_letters(letters_to);
        let (cluster, ledger, wrong) = (self.cluster.clone(), self.ledger.clone(), Arc::clone(&self.wrong));
        Running::start_told(worker, handler, move |event| {
            let Event::Committed { offsets } = event else { return };
            let finished = finished(&cluster, &ledger);
            for (partition, offset) in offsets {
                let passed = (0..*offset).find(|at| !finished.contains(&(partition.partition, *at)));
                if let Some(passed) = passed {
                    wrong.lock().unwrap().push(format!("{partition} at {offset} passes {passed}"));
                }
            }
        })
    }
}

/// Runs a random schedule. Returns how often each fault was applied.
async fn chaos(seed: u64) -> Vec<u64> {
    let mut random = Random(seed);
    let protocol = ["range", "cooperative-sticky", "consumer"][(seed % 3) as usize];
    let order = [Order::Key, Order::Key, Order::Partition][random.below(3) as usize];
    let cluster = cluster().await;
    let harms = [
        (ApiKey::OffsetCommit, Fault::ApplyThenLose),
        (ApiKey::OffsetCommit, Fault::Fail(14)), // COORDINATOR_LOAD_IN_PROGRESS
        (ApiKey::OffsetFetch, Fault::Late(Duration::from_millis(900))),
        (ApiKey::Heartbeat, Fault::Drop),
        (ApiKey::ConsumerGroupHeartbeat, Fault::Drop),
        (ApiKey::Produce, Fault::ApplyThenLose),
        (ApiKey::Fetch, Fault::Reset),
    ];
    let rules: Vec<_> = harms
        .into_iter()
        .map(|(api, harm)| cluster.inject(FaultRule::on(api, harm).probably(0.02 * random.below(6) as f64)))
        .collect();
    let (ledger, wrong) = (Ledger::default(), Arc::default());
    let arena = Arena { cluster: cluster.clone(), ledger: ledger.clone(), protocol, seed, wrong };
    let mut members: BTreeMap<u64, Running> = (0..2).map(|nth| (nth, arena.member(nth, order))).collect();
    for nth in 2..8 {
        tokio::time::sleep(Duration::from_millis(500 + random.below(4000))).await;
        let leaves = members.keys().copied().nth(random.below(members.len() as u64) as usize).unwrap();
        match random.below(4) {
            0 => drop(members.insert(nth, arena.member(nth, order))),
            1 => {
                let member = members.remove(&leaves).unwrap();
                drop(member.stop().await);
                members.insert(nth, arena.member(nth, order));
            }
            2 => {
                let member = members.remove(&leaves).unwrap();
                member.handle.stop_now();
                member.task.await.unwrap().unwrap();
                members.insert(nth, arena.member(nth, order));
            }
            _ => {
                let member = members.remove(&leaves).unwrap();
                member.task.abort();
                drop(member.task.await);
                members.insert(nth, arena.member(nth, order));
            }
        }
    }
    let hits = rules.iter().map(|rule| cluster.hits(*rule)).collect();
    rules.into_iter().for_each(|rule| cluster.withdraw(rule));
    let (_, first) = members.first_key_value().unwrap();
    first.until(&format!("seed {seed}: all is finished"), |_| finished(&cluster, &ledger) == all()).await;
    tokio::time::sleep(secs(60)).await;
    for (_, member) in members {
        let summary = member.stop().await;
        assert!(summary.is_clean(), "seed {seed}: {summary:?}");
    }
    assert_eq!(committed_offsets(&cluster).await, everything(), "seed {seed}");
    assert_eq!(*arena.wrong.lock().unwrap(), [""; 0], "seed {seed}");
    let letters: BTreeSet<_> = all().into_iter().filter(|(_, offset)| offset % 17 == 5).collect();
    assert!(ledger.done().keys().all(|at| !letters.contains(at)), "seed {seed}");
    ledger.check_order(&letters);
    hits
}

#[tokio::test(start_paused = true)]
async fn all_records_are_handled_in_order_while_members_come_and_go() {
    let mut hits = Vec::new();
    for seed in 0..20 {
        let struck = chaos(seed).await;
        hits.resize(struck.len(), 0);
        hits.iter_mut().zip(struck).for_each(|(sum, hits)| *sum += hits);
    }
    assert!(hits.iter().all(|hits| *hits > 0), "each fault struck: {hits:?}");
}
