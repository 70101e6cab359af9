//! Compares our assignors with Java's: `data/assignments.txt` was written by `tests/java/Assign.java` of the
//! workspace with kafka-clients 4.3.0 (`java -cp kafka-clients-4.3.0.jar:slf4j-api.jar Assign.java 1 700`).
//!
//! Where Java's result depends on the order of a hash table, ours follows the same order, so whole results
//! are compared: with racks and without, with equal and different subscriptions, in the first round and in
//! later ones. The one exception is a partition that two members claim ([`without_what_two_claim`]).

use std::{collections::BTreeSet, sync::Arc};

use offtake_group::assignor::{Assignment, BuiltIn, MemberSubscription, Members, Partitions, Racks};
use offtake_machine::{Topic, TopicPartition};

/// One call of an assignor, and Java's result.
#[derive(Debug)]
struct Round {
    line: usize,
    assignor: BuiltIn,
    partitions: Partitions,
    members: Members,
    java: Assignment,
}

fn rounds(text: &str) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    for (line, words) in
        text.lines().enumerate().map(|(n, line)| (n + 1, line.split(' ').collect::<Vec<_>>()))
    {
        if let ["round", name] = words[..] {
            let assignor = BuiltIn::named(name).unwrap();
            let (partitions, members, java) = Default::default();
            rounds.push(Round { line, assignor, partitions, members, java });
            continue;
        }
        let round = rounds.last_mut().unwrap();
        match words[..] {
            ["topic", topic, count, racks] => {
                let racks = if racks == "-" { Vec::new() } else { racks.split(',').map(racks_of).collect() };
                round.partitions.insert_with_racks(topic, count.parse().unwrap(), racks);
            }
            ["member", id, instance, generation, rack, topics, owned] => {
                let member = MemberSubscription {
                    topics: Arc::new(list(topics).map(Topic::from).collect()),
                    owned: partitions(owned),
                    generation: generation.parse().ok(),
                    instance_id: (instance != "-").then(|| instance.to_owned()),
                    rack: (rack != "-").then(|| rack.to_owned()),
                    user_data: None,
                };
                round.members.insert(id.to_owned(), member);
            }
            ["gets", id, owned] => {
                round.java.insert(id.to_owned(), partitions(owned));
            }
            _ => panic!("line {line}: {words:?}"),
        }
    }
    rounds
}

fn racks_of(words: &str) -> Racks {
    Arc::new(words.split('+').filter(|word| *word != "-").map(str::to_owned).collect())
}

fn list(words: &str) -> impl Iterator<Item = &str> {
    words.split(',').filter(|word| *word != "-")
}

fn partitions(words: &str) -> Vec<TopicPartition> {
    let each = list(words).map(|word| word.split_once(':').unwrap());
    let set: BTreeSet<_> = each.map(|(topic, p)| TopicPartition::new(topic, p.parse().unwrap())).collect();
    set.into_iter().collect()
}

/// If two members claim the same partition, Java may give it at once to the one whose claim is invalid. We
/// wait until the other has revoked it.
fn without_what_two_claim(round: &Round) -> Assignment {
    let claimed =
        |tp: &TopicPartition| round.members.values().filter(|member| member.owned.contains(tp)).count();
    let keeps = |id: &String, tp: &TopicPartition| {
        round.assignor != BuiltIn::CooperativeSticky
            || !round.members[id].owned.contains(tp)
            || claimed(tp) < 2
    };
    let kept = round
        .java
        .iter()
        .map(|(id, list)| (id.clone(), list.iter().filter(|tp| keeps(id, tp)).cloned().collect()));
    kept.collect()
}

#[test]
fn every_assignment_is_the_one_that_java_makes() {
    let rounds = rounds(include_str!("data/assignments.txt"));
    let (mut differing, mut disputed) = (0, 0);
    for round in &rounds {
        let ours = round.assignor.assign(&round.partitions, &round.members);
        if ours == round.java {
            continue;
        }
        let waits = without_what_two_claim(round);
        let between = |id: &String, list: &Vec<TopicPartition>| {
            list.iter().all(|tp| round.java[id].contains(tp)) && waits[id].iter().all(|tp| list.contains(tp))
        };
        if ours.iter().all(|(id, list)| between(id, list)) {
            disputed += 1;
        } else {
            differing += 1;
            println!("line {}: {:#?}\nours {ours:#?}", round.line, round);
        }
    }
    assert_eq!(differing, 0, "of {}", rounds.len());
    println!("disputed {disputed} of {}", rounds.len());
    assert!(disputed * 50 < rounds.len(), "{disputed}");
    for assignor in BuiltIn::ALL {
        let of = || rounds.iter().filter(|round| round.assignor == assignor);
        let near = of().filter(|round| round.members.values().any(|member| member.rack.is_some()));
        assert!(of().count() > 400 && near.count() > 250, "{assignor}");
    }
}
