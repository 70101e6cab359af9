//! `sticky` and `cooperative-sticky`: even, and moving as little as possible.
//!
//! Where all members subscribe to the same topics, quotas decide ([`equal`]); otherwise partitions are placed and then
//! moved for as long as that evens things out ([`unequal`]).

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{TopicPartition, mutant};

use super::{Assignment, MemberSubscription, PartitionCounts, java, subscribed};

mod equal;
mod movements;
mod unequal;

/// When a partition that has an owner may go to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// At once: nobody owns anything while an eager group rebalances.
    AtOnce,
    /// In the next round, when its owner has given it up.
    AfterRelease,
}

/// The generation of a claim that names none.
const NO_GENERATION: i32 = -1;

pub(super) fn assign(
    counts: &PartitionCounts,
    members: &BTreeMap<String, MemberSubscription>,
    moves: Moves,
) -> Assignment {
    let group = Group::new(counts, members);
    let claims = Claims::settle(&group);
    let (mut plan, withheld) = if group.alike {
        equal::assign(&group, &claims)
    } else {
        let plan = unequal::assign(&group, &claims);
        let withheld = group.moving(&plan, &claims);
        (plan, withheld)
    };
    if moves == Moves::AfterRelease {
        for list in &mut plan {
            list.retain(|partition| !withheld.contains(partition));
        }
    }
    group.named(&plan)
}

/// Partitions of each member, by number.
type Plan = Vec<Vec<usize>>;

/// The group with its members, topics and partitions numbered; numbers are in order of name (and partition).
struct Group {
    members: Vec<Numbered>,
    topics: Vec<NumberedTopic>,
    /// The topic of each partition.
    partitions: Vec<(usize, TopicPartition)>,
    /// Members as Java's table lists them.
    table: Vec<usize>,
    /// Whether all of them subscribe to the same topics, existing or not.
    alike: bool,
}

struct Numbered {
    id: String,
    topics: BTreeSet<usize>,
    owned: Vec<usize>,
    generation: Option<i32>,
}

struct NumberedTopic {
    first: usize,
    count: usize,
    hash: i32,
}

impl Group {
    fn new(counts: &PartitionCounts, members: &BTreeMap<String, MemberSubscription>) -> Self {
        let mut topics = Vec::new();
        let mut partitions = Vec::new();
        let mut numbers = BTreeMap::new();
        for (topic, count) in subscribed(counts, members) {
            numbers.insert(topic, topics.len());
            let number = topics.len();
            topics.push(NumberedTopic {
                first: partitions.len(),
                count: usize::try_from(count).unwrap_or(0),
                hash: java::hash_of_str(topic.as_str()),
            });
            partitions.extend((0..count).map(|p| (number, TopicPartition::new(topic, p))));
        }
        let partition = |claimed: &TopicPartition| {
            let topic = topics.get(*numbers.get(&claimed.topic)?)?;
            let index = usize::try_from(claimed.partition).ok()?;
            (index < topic.count).then(|| topic.first + index)
        };
        let numbered = members
            .iter()
            .map(|(id, member)| Numbered {
                id: id.clone(),
                topics: member.topics.iter().filter_map(|topic| numbers.get(topic).copied()).collect(),
                owned: member
                    .owned
                    .iter()
                    .filter_map(partition)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                generation: member.generation,
            })
            .collect();
        let ids: Vec<&str> = members.keys().map(String::as_str).collect();
        let mut subscriptions = members.values().map(|member| &member.topics);
        let alike = subscriptions.next().is_none_or(|first| subscriptions.all(|other| other == first));
        Self { members: numbered, table: java::table_order(&ids), topics, partitions, alike }
    }

    fn member(&self, number: usize) -> Option<&Numbered> {
        self.members.get(number)
    }

    fn topic_of(&self, partition: usize) -> usize {
        self.partitions.get(partition).map_or(0, |(topic, _)| *topic)
    }

    fn subscribes(&self, member: usize, topic: usize) -> bool {
        self.member(member).is_some_and(|member| member.topics.contains(&topic))
    }

    /// The partitions that `plan` gives to one member although another holds them. Java overlooks one that goes to a
    /// member whose own claim to it is void: that would have two owners, so we withhold it too.
    fn moving(&self, plan: &Plan, claims: &Claims) -> BTreeSet<usize> {
        let mut gained = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for (number, (member, planned)) in self.members.iter().zip(plan).enumerate() {
            let claimed: BTreeSet<usize> = member.owned.iter().copied().collect();
            let owned: BTreeSet<usize> = claims.of(number).iter().copied().collect();
            let planned: BTreeSet<usize> = planned.iter().copied().collect();
            gained.extend(planned.difference(&owned));
            taken.extend(claimed.difference(&planned));
        }
        gained.intersection(&taken).copied().collect()
    }

    fn named(&self, plan: &Plan) -> Assignment {
        let name = |partition: &usize| self.partitions.get(*partition).map(|(_, named)| named.clone());
        self.members
            .iter()
            .zip(plan)
            .map(|(member, planned)| (member.id.clone(), planned.iter().filter_map(name).collect()))
            .collect()
    }
}

/// What each member may be taken to own: where two claim the same partition, the newer generation is right, and in the
/// same generation neither (KIP-792, FAILURES E5).
struct Claims {
    owned: Vec<Vec<usize>>,
    disputed: BTreeSet<usize>,
}

impl Claims {
    fn settle(group: &Group) -> Self {
        struct Claim {
            member: usize,
            generation: i32,
            stands: bool,
        }
        let mut latest: BTreeMap<usize, Claim> = BTreeMap::new();
        let mut disputed = BTreeSet::new();
        for &number in &group.table {
            let Some(member) = group.member(number) else { continue };
            let generation = member.generation.unwrap_or(NO_GENERATION);
            for &partition in &member.owned {
                let stands = match latest.get(&partition) {
                    None => true,
                    Some(_) if mutant!(21) => true,
                    Some(other) if other.generation < generation => true,
                    Some(other) if other.generation > generation => continue,
                    Some(_) => {
                        disputed.insert(partition);
                        false
                    }
                };
                latest.insert(partition, Claim { member: number, generation, stands });
            }
        }
        let mut owned = vec![Vec::new(); group.members.len()];
        for (partition, claim) in latest {
            if claim.stands
                && let Some(list) = owned.get_mut(claim.member)
            {
                list.push(partition);
            }
        }
        Self { owned, disputed }
    }

    fn of(&self, member: usize) -> &[usize] {
        self.owned.get(member).map_or(&[], Vec::as_slice)
    }
}
