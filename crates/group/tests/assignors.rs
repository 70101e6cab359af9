//! What every assignment must be, whatever the members subscribe to and claim.

use std::collections::{BTreeMap, BTreeSet};

use offtake_group::assignor::{Assignment, Assignor, MemberSubscription, PartitionCounts};
use offtake_machine::{Topic, TopicPartition};
use proptest::prelude::*;

type Members = BTreeMap<String, MemberSubscription>;

fn topic(n: u8) -> Topic {
    Topic::from(format!("t{n}"))
}

fn counts() -> impl Strategy<Value = PartitionCounts> {
    prop::collection::btree_map(0u8..5, 0i32..9, 0..6)
        .prop_map(|topics| topics.into_iter().map(|(n, count)| (topic(n), count)).collect())
}

/// A member; what it claims may be stale, somebody else's, unsubscribed or not exist at all.
fn member(alike: bool) -> impl Strategy<Value = MemberSubscription> {
    let topics = if alike {
        Just((0..6).collect()).boxed()
    } else {
        prop::collection::btree_set(0u8..6, 0..5).boxed()
    };
    let owned = prop::collection::vec((0u8..6, -1i32..10), 0..8);
    (topics, owned, prop::option::of(0..4i32), prop::option::of("[a-c]"), any::<bool>()).prop_map(
        |(topics, owned, generation, instance_id, remembers)| MemberSubscription {
            topics: topics.into_iter().map(topic).collect::<BTreeSet<_>>(),
            owned: owned
                .into_iter()
                .filter(|_| remembers)
                .map(|(t, p)| TopicPartition::new(topic(t), p))
                .collect(),
            generation,
            instance_id,
            rack: None,
        },
    )
}

fn group(alike: bool) -> impl Strategy<Value = Members> {
    prop::collection::btree_map("[a-z]{1,8}", member(alike), 1..8)
}

fn members() -> impl Strategy<Value = Members> {
    any::<bool>().prop_flat_map(group)
}

fn all(counts: &PartitionCounts) -> BTreeSet<TopicPartition> {
    counts.iter().flat_map(|(t, n)| (0..*n).map(move |p| TopicPartition::new(t, p))).collect()
}

fn wanted(counts: &PartitionCounts, members: &Members) -> BTreeSet<TopicPartition> {
    all(counts).into_iter().filter(|tp| members.values().any(|m| m.topics.contains(&tp.topic))).collect()
}

/// Everybody is in it, has each partition once, alone, and only of topics it wants and that exist.
fn check(counts: &PartitionCounts, members: &Members, assignment: &Assignment) -> BTreeSet<TopicPartition> {
    assert!(assignment.keys().eq(members.keys()));
    let mut given = BTreeSet::new();
    for (id, partitions) in assignment {
        assert!(partitions.is_sorted(), "canonical order (E7)");
        for partition in partitions {
            assert!(given.insert(partition.clone()), "{partition} has two owners");
            assert!(members[id].topics.contains(&partition.topic), "{id} does not want {partition}");
        }
    }
    assert!(given.is_subset(&all(counts)));
    given
}

/// What the members claim in the next round.
fn next(members: &Members, assignment: &Assignment, generation: i32) -> Members {
    let next = members.iter().map(|(id, member)| {
        let owned = assignment[id].clone();
        (id.clone(), MemberSubscription { owned, generation: Some(generation), ..member.clone() })
    });
    next.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn d7_eager_assignors_give_everything_to_somebody(counts in counts(), members in members()) {
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky] {
            let assignment = assignor.assign(&counts, &members);
            prop_assert_eq!(check(&counts, &members, &assignment), wanted(&counts, &members), "{}", assignor);
        }
    }

    #[test]
    fn e7_the_cooperative_assignor_settles_in_two_rounds(
        counts in counts(),
        (alike, before, after) in any::<bool>().prop_flat_map(|alike| (Just(alike), group(alike), group(alike))),
        stays in prop::collection::vec(any::<bool>(), 8),
    ) {
        // A group at rest, in which some go and others come.
        let rest = Assignor::Sticky.assign(&counts, &before);
        let mut members = next(&before, &rest, 9);
        let mut stays = stays.into_iter().cycle();
        members.retain(|_, _| stays.next() == Some(true));
        for (id, member) in after {
            members.entry(id).or_insert(MemberSubscription { owned: vec![], generation: None, ..member });
        }
        // Where subscriptions differ, what is freed in the first round may set off one move more.
        let rounds = if alike { 2 } else { 3 };
        let mut assignment = Assignment::new();
        for round in 0..rounds {
            assignment = Assignor::CooperativeSticky.assign(&counts, &members);
            check(&counts, &members, &assignment);
            members = next(&members, &assignment, 10 + round);
        }
        prop_assert_eq!(check(&counts, &members, &assignment), wanted(&counts, &members));
        prop_assert_eq!(&Assignor::CooperativeSticky.assign(&counts, &members), &assignment);
    }

    #[test]
    fn e7_whatever_is_claimed_the_cooperative_assignor_comes_to_rest(counts in counts(), mut members in members()) {
        let mut assignment = Assignment::new();
        for generation in 0..6 {
            let before = assignment;
            assignment = Assignor::CooperativeSticky.assign(&counts, &members);
            let given = check(&counts, &members, &assignment);
            if assignment == before {
                prop_assert_eq!(given, wanted(&counts, &members));
                return Ok(());
            }
            members = next(&members, &assignment, 10 + generation);
        }
        prop_assert!(false, "not at rest after six rounds");
    }

    #[test]
    fn e1_no_partition_goes_to_one_while_another_rightly_holds_it(counts in counts(), members in members()) {
        let assignment = Assignor::CooperativeSticky.assign(&counts, &members);
        let existing = all(&counts);
        for (id, member) in &members {
            for held in member.owned.iter().filter(|tp| existing.contains(tp)) {
                // The newest claim to it is this member's, and nobody else's.
                let claims = members.values().filter(|m| m.owned.contains(held)).map(|m| m.generation.unwrap_or(-1));
                let newest: Vec<i32> = claims.filter(|g| *g >= member.generation.unwrap_or(-1)).collect();
                if newest.len() == 1 {
                    let other = assignment.iter().find(|(_, given)| given.contains(held)).map(|(other, _)| other);
                    prop_assert!(other.is_none_or(|other| other == id), "{} went from {} to {:?}", held, id, other);
                }
            }
        }
    }

    #[test]
    fn d7_sticky_assignments_are_even(counts in counts(), members in members()) {
        let assignment = Assignor::Sticky.assign(&counts, &members);
        for (id, partitions) in &assignment {
            for other in assignment.values().filter(|other| other.len() > partitions.len() + 1) {
                let could = other.iter().find(|tp| members[id].topics.contains(&tp.topic));
                prop_assert!(could.is_none(), "{} could have {:?}", id, could);
            }
        }
    }

    #[test]
    fn sticky_moves_nothing_that_need_not_move(counts in counts(), members in members()) {
        let first = Assignor::Sticky.assign(&counts, &members);
        let again = Assignor::Sticky.assign(&counts, &next(&members, &first, 10));
        prop_assert_eq!(again, first);
    }
}

#[test]
fn bug_26_large_unequal_groups_are_assigned_in_bounded_time() {
    let counts: PartitionCounts = (0..60u8).map(|n| (topic(n), 50)).collect();
    let mut members = Members::new();
    for m in 0..120usize {
        let topics = (0..60u8)
            .filter(|t| (usize::from(*t) * 7 + m * 13) % 11 < 4 || usize::from(*t) == m % 60)
            .map(topic);
        let owned = all(&counts).into_iter().skip(m * 9).step_by(101).collect();
        let subscription = MemberSubscription {
            topics: topics.collect(),
            owned,
            generation: Some((m % 3) as i32),
            ..Default::default()
        };
        members.insert(format!("member-{m}"), subscription);
    }
    for assignor in Assignor::ALL {
        let assignment = assignor.assign(&counts, &members);
        check(&counts, &members, &assignment);
    }
}
