//! Random histories: whatever members do and whichever answers are lost, no partition has two owners, and all
//! partitions are assigned in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, consumer_group_heartbeat_request::TopicPartitions,
};
use uuid::Uuid;

use super::tests::{Sim, beat, join};
use crate::random::Random;

type Held = BTreeSet<(Uuid, i32)>;

/// A member, as its client sees itself.
#[derive(Debug, Default)]
struct Client {
    epoch: i32,
    holds: Held,
    /// What it may hold: it revokes the rest later.
    assigned: Held,
}

fn owned(held: &Held) -> Option<Vec<TopicPartitions>> {
    let one = |(topic, one): &(Uuid, i32)| {
        TopicPartitions::default().with_topic_id(*topic).with_partitions(vec![*one])
    };
    Some(held.iter().map(one).collect())
}

/// One call; a lost answer changes nothing at the client.
fn call(
    sim: &mut Sim,
    clients: &mut BTreeMap<String, Client>,
    id: &str,
    request: &ConsumerGroupHeartbeatRequest,
    lost: bool,
) {
    let answer = sim.beat(request);
    if lost {
        return;
    }
    let client = clients.entry(id.to_owned()).or_default();
    if answer.error_code != 0 {
        // Fenced: it gives up all partitions and starts over.
        *client = Client::default();
        return;
    }
    client.epoch = answer.member_epoch;
    if let Some(assignment) = answer.assignment {
        let topics = assignment.topic_partitions.into_iter();
        client.assigned = topics
            .flat_map(|topic| topic.partitions.into_iter().map(move |one| (topic.topic_id, one)))
            .collect();
        // New partitions may be read at once; those no longer assigned are revoked later.
        client.holds.extend(&client.assigned);
    }
}

fn check(clients: &BTreeMap<String, Client>) {
    let mut all = Held::new();
    for (id, client) in clients {
        for one in &client.holds {
            assert!(all.insert(*one), "{id} holds {one:?} beside another: {clients:#?}");
        }
    }
}

#[test]
fn no_partition_ever_has_two_holders_and_none_is_forgotten() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut pick = |of: u64| random.next() % of;
        let mut sim = Sim::new().topic("t", 5).topic("u", 3);
        let mut clients: BTreeMap<String, Client> = BTreeMap::new();
        let subscription = |pick: &mut dyn FnMut(u64) -> u64| match pick(3) {
            0 => vec!["t"],
            1 => vec!["u"],
            _ => vec!["t", "u"],
        };
        for _ in 0..120 {
            let id = format!("m{}", pick(4));
            let lost = pick(6) == 0;
            let (epoch, holds) =
                clients.get(&id).map(|one| (one.epoch, one.holds.clone())).unwrap_or_default();
            match pick(12) {
                _ if epoch == 0 => {
                    let topics = subscription(&mut pick);
                    call(&mut sim, &mut clients, &id, &join(&id, &topics), lost);
                }
                0 => {
                    // It leaves, and has revoked everything before.
                    clients.remove(&id);
                    sim.beat(&beat(&id, -1));
                }
                1 => {
                    let names = join(&id, &subscription(&mut pick)).subscribed_topic_names;
                    let request = beat(&id, epoch).with_subscribed_topic_names(names);
                    call(&mut sim, &mut clients, &id, &request, lost);
                }
                2..=5 => {
                    if let Some(client) = clients.get_mut(&id) {
                        client.holds = client.holds.intersection(&client.assigned).copied().collect();
                    }
                }
                6..=9 => {
                    let request = beat(&id, epoch).with_topic_partitions(owned(&holds));
                    call(&mut sim, &mut clients, &id, &request, lost);
                }
                _ => {
                    call(&mut sim, &mut clients, &id, &beat(&id, epoch), lost);
                }
            }
            sim.pass(Duration::from_millis(100));
            check(&clients);
        }
        // From now on the members read both topics, revoke at once, and no answer is lost.
        for id in ["m0", "m1", "m2", "m3"] {
            clients.insert(id.to_owned(), Client::default());
            sim.beat(&beat(id, -1));
        }
        for _ in 0..12 {
            for id in ["m0", "m1", "m2", "m3"] {
                let client = clients.entry(id.to_owned()).or_default();
                client.holds = client.holds.intersection(&client.assigned).copied().collect();
                let request = match client.epoch {
                    0 => join(id, &["t", "u"]),
                    epoch => beat(id, epoch).with_topic_partitions(owned(&client.holds)),
                };
                call(&mut sim, &mut clients, id, &request, false);
                check(&clients);
            }
        }
        assert_eq!(sim.describe().group_state.as_str(), "Stable", "seed {seed}");
        let counts: Vec<usize> = clients.values().map(|client| client.holds.len()).collect();
        assert_eq!(counts, [2, 2, 2, 2], "seed {seed}");
    }
}
