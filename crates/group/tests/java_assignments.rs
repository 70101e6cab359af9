//! Our assignors against Java's: `data/assignments.txt` is what `tests/java/Assign.java` wrote with kafka-clients 4.3.0.

use std::collections::{BTreeMap, BTreeSet};

use offtake_group::assignor::{Assignment, Assignor, MemberSubscription, PartitionCounts};
use offtake_machine::{Topic, TopicPartition};

/// One call of an assignor, and Java's answer.
#[derive(Debug)]
struct Round {
    line: usize,
    assignor: Assignor,
    counts: PartitionCounts,
    members: BTreeMap<String, MemberSubscription>,
    java: Assignment,
}

fn rounds(text: &str) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    for (line, words) in
        text.lines().enumerate().map(|(n, line)| (n + 1, line.split(' ').collect::<Vec<_>>()))
    {
        if let ["round", name] = words[..] {
            let assignor = Assignor::named(name).unwrap();
            let (counts, members, java) = Default::default();
            rounds.push(Round { line, assignor, counts, members, java });
            continue;
        }
        let round = rounds.last_mut().unwrap();
        match words[..] {
            ["topic", topic, count] => {
                round.counts.insert(topic.into(), count.parse().unwrap());
            }
            ["member", id, instance, generation, topics, owned] => {
                let member = MemberSubscription {
                    topics: list(topics).map(Topic::from).collect(),
                    owned: partitions(owned),
                    generation: generation.parse().ok(),
                    instance_id: (instance != "-").then(|| instance.to_owned()),
                    rack: None,
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

fn list(words: &str) -> impl Iterator<Item = &str> {
    words.split(',').filter(|word| *word != "-")
}

fn partitions(words: &str) -> Vec<TopicPartition> {
    let each = list(words).map(|word| word.split_once(':').unwrap());
    let set: BTreeSet<_> = each.map(|(topic, p)| TopicPartition::new(topic, p.parse().unwrap())).collect();
    set.into_iter().collect()
}

#[test]
fn every_assignment_is_the_one_that_java_makes() {
    let rounds = rounds(include_str!("data/assignments.txt"));
    let mut differing = 0;
    for round in &rounds {
        let ours = round.assignor.assign(&round.counts, &round.members);
        if ours != round.java {
            differing += 1;
            if differing <= 3 {
                println!("line {}: {:#?}\nours {ours:#?}", round.line, round);
            }
        }
    }
    assert_eq!(differing, 0, "of {}", rounds.len());
    for assignor in Assignor::ALL {
        assert!(rounds.iter().filter(|round| round.assignor == assignor).count() > 100, "{assignor}");
    }
}
