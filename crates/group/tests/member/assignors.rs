//! Properties of every assignment, whatever the members subscribe to and claim.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use offtake_group::{
    BuiltIn, Strategy as Voted,
    assignor::{
        Assignment, Assignor, MemberAssignment, MemberSubscription, Members, Partitions, Racks,
        RebalanceProtocol,
    },
};
use offtake_machine::{Topic, TopicPartition};
use proptest::prelude::*;

fn topic(n: u8) -> Topic {
    Topic::from(format!("t{n}"))
}

fn racks(of: impl IntoIterator<Item = u8>) -> Racks {
    Arc::new(of.into_iter().map(|rack| format!("r{rack}")).collect())
}

/// Topics with and without partitions; replicas in none, some or all of three racks.
fn counts() -> impl Strategy<Value = Partitions> {
    let replicas = prop::collection::vec(prop::collection::btree_set(0u8..3, 0..4), 8);
    prop::collection::btree_map(0u8..5, (0i32..9, replicas), 0..6).prop_map(|topics| {
        let mut partitions = Partitions::default();
        for (n, (count, replicas)) in topics {
            partitions.insert_with_racks(topic(n), count, replicas.into_iter().map(racks).collect());
        }
        partitions
    })
}

/// A member; its claims may be outdated, another member's, unsubscribed or for partitions that do not exist.
fn member(alike: bool, near: bool) -> impl Strategy<Value = MemberSubscription> {
    let topics = if alike {
        Just((0..6).collect()).boxed()
    } else {
        prop::collection::btree_set(0u8..6, 0..5).boxed()
    };
    let owned = prop::collection::vec((0u8..6, -1i32..10), 0..8);
    let rack = if near { prop::option::of("r[0-3]").boxed() } else { Just(None).boxed() };
    (topics, owned, prop::option::of(0..4i32), prop::option::of("[a-c]"), rack, any::<bool>()).prop_map(
        |(topics, owned, generation, instance_id, rack, remembers)| MemberSubscription {
            topics: Arc::new(topics.into_iter().map(topic).collect::<BTreeSet<_>>()),
            owned: owned
                .into_iter()
                .filter(|_| remembers)
                .map(|(t, p)| TopicPartition::new(topic(t), p))
                .collect(),
            generation,
            instance_id,
            rack,
            user_data: None,
        },
    )
}

fn group((alike, near): (bool, bool)) -> impl Strategy<Value = Members> {
    prop::collection::btree_map("[a-z]{1,8}", member(alike, near), 1..8)
}

fn members() -> impl Strategy<Value = Members> {
    any::<(bool, bool)>().prop_flat_map(group)
}

fn all(counts: &Partitions) -> BTreeSet<TopicPartition> {
    counts.iter().flat_map(|(t, n)| (0..n).map(move |p| TopicPartition::new(t, p))).collect()
}

fn wanted(counts: &Partitions, members: &Members) -> BTreeSet<TopicPartition> {
    all(counts).into_iter().filter(|tp| members.values().any(|m| m.topics.contains(&tp.topic))).collect()
}

/// Checks that every member is in the assignment, and that each partition is assigned once, to one member,
/// only if it exists and its topic is subscribed to.
fn check(counts: &Partitions, members: &Members, assignment: &Assignment) -> BTreeSet<TopicPartition> {
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

/// The members' claims in the next round.
fn next(members: &Members, assignment: &Assignment, generation: i32) -> Members {
    let next = members.iter().map(|(id, member)| {
        let owned = assignment[id].clone();
        (id.clone(), MemberSubscription { owned, generation: Some(generation), ..member.clone() })
    });
    next.collect()
}

/// More rounds than any group has needed (nine, in a million runs), with and without racks.
const ROUNDS: i32 = 16;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn d7_eager_assignors_give_everything_to_somebody(counts in counts(), members in members()) {
        for assignor in [BuiltIn::Range, BuiltIn::RoundRobin, BuiltIn::Sticky] {
            let assignment = assignor.assign(&counts, &members);
            prop_assert_eq!(check(&counts, &members, &assignment), wanted(&counts, &members), "{}", assignor);
        }
    }

    #[test]
    fn e7_the_cooperative_assignor_settles_in_two_rounds(
        counts in counts(),
        (kind, before, after) in
            any::<(bool, bool)>().prop_flat_map(|kind| (Just(kind), group(kind), group(kind))),
        stays in prop::collection::vec(any::<bool>(), 8),
    ) {
        // A stable group, which some members leave and others join.
        let rest = BuiltIn::Sticky.assign(&counts, &before);
        let mut members = next(&before, &rest, 9);
        let mut stays = stays.into_iter().cycle();
        members.retain(|_, _| stays.next() == Some(true));
        for (id, member) in after {
            members.entry(id).or_insert(MemberSubscription { owned: vec![], generation: None, ..member });
        }
        // If subscriptions differ, partitions freed in the first round may cause one more move. If racks
        // matter, partitions for which no rack-local member has room are reassigned in each round, until they
        // reach a member that has it.
        let rounds = match kind {
            (true, false) => 2,
            (false, false) => 3,
            (_, true) => ROUNDS,
        };
        let mut assignment = Assignment::new();
        for round in 0..rounds {
            assignment = BuiltIn::CooperativeSticky.assign(&counts, &members);
            check(&counts, &members, &assignment);
            members = next(&members, &assignment, 10 + round);
        }
        prop_assert_eq!(check(&counts, &members, &assignment), wanted(&counts, &members));
        prop_assert_eq!(&BuiltIn::CooperativeSticky.assign(&counts, &members), &assignment);
    }

    #[test]
    fn e7_whatever_is_claimed_the_cooperative_assignor_comes_to_rest(counts in counts(), mut members in members()) {
        let mut assignment = Assignment::new();
        for generation in 0..ROUNDS {
            let before = assignment;
            assignment = BuiltIn::CooperativeSticky.assign(&counts, &members);
            let given = check(&counts, &members, &assignment);
            if assignment == before {
                prop_assert_eq!(given, wanted(&counts, &members));
                return Ok(());
            }
            members = next(&members, &assignment, 10 + generation);
        }
        prop_assert!(false, "not at rest after {ROUNDS} rounds");
    }

    #[test]
    fn e1_no_partition_goes_to_one_while_another_rightly_holds_it(counts in counts(), members in members()) {
        let assignment = BuiltIn::CooperativeSticky.assign(&counts, &members);
        let existing = all(&counts);
        for (id, member) in &members {
            for held in member.owned.iter().filter(|tp| existing.contains(tp)) {
                // This member's claim is the newest, and the only one of its generation.
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
        let assignment = BuiltIn::Sticky.assign(&counts, &members);
        for (id, partitions) in &assignment {
            for other in assignment.values().filter(|other| other.len() > partitions.len() + 1) {
                let could = other.iter().find(|tp| members[id].topics.contains(&tp.topic));
                prop_assert!(could.is_none(), "{} could have {:?}", id, could);
            }
        }
    }

    #[test]
    fn e7_the_order_of_what_is_said_decides_nothing(counts in counts(), members in members()) {
        // The same claims in reverse order and twice; no two members share the set of topics.
        let shuffled: Members = members
            .iter()
            .map(|(id, member)| {
                let owned = member.owned.iter().rev().chain(&member.owned).cloned().collect();
                let topics = Arc::new(BTreeSet::clone(&member.topics));
                (id.clone(), MemberSubscription { owned, topics, ..member.clone() })
            })
            .collect();
        for assignor in BuiltIn::ALL {
            prop_assert_eq!(assignor.assign(&counts, &members), assignor.assign(&counts, &shuffled), "{}", assignor);
        }
    }

    #[test]
    fn racks_cost_no_evenness(counts in counts(), members in any::<bool>().prop_flat_map(|alike| group((alike, true)))) {
        let nowhere: Members = members
            .iter()
            .map(|(id, member)| (id.clone(), MemberSubscription { rack: None, ..member.clone() }))
            .collect();
        for assignor in [BuiltIn::Range, BuiltIn::Sticky] {
            let near = assignor.assign(&counts, &members);
            let anywhere = assignor.assign(&counts, &nowhere);
            if assignor == BuiltIn::Range {
                for (id, partitions) in &near {
                    let of = |list: &[TopicPartition], topic| list.iter().filter(|tp| tp.topic == topic).count();
                    for n in 0..5 {
                        let (with, without) = (of(partitions, topic(n)), of(&anywhere[id], topic(n)));
                        prop_assert!(with.abs_diff(without) <= 1, "{} has {} of {}", id, with, topic(n));
                    }
                }
            }
            check(&counts, &members, &near);
        }
    }

    #[test]
    fn sticky_moves_nothing_that_need_not_move(counts in counts(), members in members()) {
        let members: Members =
            members.into_iter().map(|(id, member)| (id, MemberSubscription { rack: None, ..member })).collect();
        let first = BuiltIn::Sticky.assign(&counts, &members);
        let again = BuiltIn::Sticky.assign(&counts, &next(&members, &first, 10));
        prop_assert_eq!(again, first);
    }
}

/// A custom assignor that returns a prepared assignment.
#[derive(Clone)]
struct Told {
    protocol: RebalanceProtocol,
    answer: Option<BTreeMap<String, MemberAssignment>>,
}

impl Assignor for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn protocol(&self) -> RebalanceProtocol {
        self.protocol
    }

    fn assign(&self, _: &Partitions, _: &Members) -> BTreeMap<String, MemberAssignment> {
        self.answer.clone().expect("nothing to say")
    }
}

fn told(protocol: RebalanceProtocol, answer: &[(&str, &[(&str, i32)])]) -> Voted {
    let answer = answer.iter().map(|(id, given)| {
        let given = given.iter().map(|(topic, p)| TopicPartition::new(*topic, *p)).collect::<Vec<_>>();
        ((*id).to_owned(), given.into())
    });
    Voted::custom(Told { protocol, answer: Some(answer.collect()) })
}

fn claiming(topics: &[&str], owned: &[(&str, i32)], generation: i32) -> MemberSubscription {
    MemberSubscription {
        topics: Arc::new(topics.iter().map(|topic| Topic::from(*topic)).collect()),
        owned: owned.iter().map(|(topic, p)| TopicPartition::new(*topic, *p)).collect(),
        generation: Some(generation),
        ..MemberSubscription::default()
    }
}

fn given(assignment: &BTreeMap<String, MemberAssignment>, id: &str) -> String {
    let given = assignment[id].partitions.iter().map(ToString::to_string);
    given.collect::<Vec<_>>().join(" ")
}

fn ab(of_a: MemberSubscription, of_b: MemberSubscription) -> Members {
    [("a".to_owned(), of_a), ("b".to_owned(), of_b)].into()
}

#[test]
fn d6_mistakes_of_a_custom_assignor_are_corrected_and_reported() {
    let partitions: Partitions = [("t", 4), ("u", 1)].into_iter().collect();
    let members = ab(claiming(&["t"], &[], -1), claiming(&["t", "u"], &[], -1));
    let assignor = told(
        RebalanceProtocol::Eager,
        &[
            ("a", &[("t", 0), ("t", 1), ("t", 1), ("u", 0), ("t", 9), ("v", 0), ("t", -1)]),
            ("b", &[("t", 1), ("t", 2)]),
            ("nobody", &[("t", 3)]),
        ],
    );
    let (assignment, fault) = assignor.assign(&partitions, &members);
    assert_eq!((given(&assignment, "a"), given(&assignment, "b")), ("t-0 t-1".into(), "t-2".into()));
    assert_eq!(assignment.len(), 2);
    let fault = fault.unwrap();
    let count = [&fault.twice, &fault.misplaced, &fault.unknown, &fault.left_out].map(Vec::len);
    assert_eq!((count, fault.panicked.as_deref()), ([2, 2, 3, 2], None), "{fault:?}");
    let words = fault.to_string();
    for part in [
        "told gave 2 partitions (such as t-1) more than once",
        "3 partitions (such as t-9",
        "to nobody: nobody reads",
    ] {
        assert!(words.contains(part), "{words}");
    }
    // A correct assignment causes no fault.
    let right = told(
        RebalanceProtocol::Eager,
        &[("a", &[("t", 0), ("t", 1), ("t", 2), ("t", 3)]), ("b", &[("u", 0)])],
    );
    assert_eq!(right.assign(&partitions, &members).1, None);
}

#[test]
fn e1_a_custom_cooperative_assignor_that_ignores_ownership_gives_no_partition_two_owners() {
    let partitions: Partitions = [("t", 4)].into_iter().collect();
    let members = ab(claiming(&["t"], &[("t", 0), ("t", 1), ("t", 2)], 3), claiming(&["t"], &[("t", 2)], 1));
    // The partitions of a go to b and vice versa; the free one goes to b.
    let turn: &[(&str, &[(&str, i32)])] = &[("a", &[("t", 2)]), ("b", &[("t", 0), ("t", 1), ("t", 3)])];
    let assignor = told(RebalanceProtocol::Cooperative, turn);
    let (assignment, fault) = assignor.assign(&partitions, &members);
    assert_eq!((given(&assignment, "a"), given(&assignment, "b")), ("t-2".into(), "t-3".into()));
    assert_eq!(fault, None, "to move something is no mistake");
    // After the revocations the assignment is as the assignor wants it.
    let members = ab(claiming(&["t"], &[("t", 2)], 4), claiming(&["t"], &[("t", 3)], 4));
    let (assignment, _) = assignor.assign(&partitions, &members);
    assert_eq!((given(&assignment, "a"), given(&assignment, "b")), ("t-2".into(), "t-0 t-1 t-3".into()));
    // An eager group owns nothing while it is assigned.
    let (assignment, _) = told(RebalanceProtocol::Eager, turn).assign(&partitions, &members);
    assert_eq!(given(&assignment, "b"), "t-0 t-1 t-3");
    // A partition given to two members stays with its owner.
    let both = told(RebalanceProtocol::Cooperative, &[("a", &[("t", 3), ("t", 2)]), ("b", &[("t", 3)])]);
    let (assignment, fault) = both.assign(&partitions, &members);
    assert_eq!((given(&assignment, "a"), given(&assignment, "b")), ("t-2".into(), "t-3".into()));
    assert_eq!(fault.unwrap().twice, [TopicPartition::new("t", 3)]);
}

#[test]
fn d6_a_panic_of_an_own_assignor_costs_the_group_nothing() {
    let partitions: Partitions = [("t", 4)].into_iter().collect();
    let members = ab(claiming(&["t"], &[("t", 0), ("t", 1), ("t", 2)], 3), claiming(&["t"], &[], 3));
    for (protocol, instead) in [
        (RebalanceProtocol::Eager, BuiltIn::Sticky),
        (RebalanceProtocol::Cooperative, BuiltIn::CooperativeSticky),
    ] {
        let assignor = Voted::custom(Told { protocol, answer: None });
        let (assignment, fault) = assignor.assign(&partitions, &members);
        let assignment: Assignment =
            assignment.into_iter().map(|(id, given)| (id, given.partitions)).collect();
        assert_eq!(assignment, instead.assign(&partitions, &members));
        assert!(fault.unwrap().to_string().contains("told panicked (nothing to say)"));
    }
}

/// Assigns at random, as these numbers decide, with user data.
struct Wild(Mutex<Vec<usize>>, RebalanceProtocol);

impl Assignor for Wild {
    fn name(&self) -> &str {
        "wild"
    }

    fn protocol(&self) -> RebalanceProtocol {
        self.1
    }

    fn assign(&self, partitions: &Partitions, members: &Members) -> BTreeMap<String, MemberAssignment> {
        let mut dice = self.0.lock().unwrap();
        let mut throw = |sides: usize| dice.pop().unwrap_or(0) % sides.max(1);
        let all: Vec<TopicPartition> = all(partitions).into_iter().collect();
        let ids: Vec<&String> = members.keys().collect();
        let mut answer: BTreeMap<String, MemberAssignment> = BTreeMap::new();
        for _ in 0..throw(30) {
            let Some(partition) = all.get(throw(all.len())) else { break };
            let to = answer.entry(ids[throw(ids.len())].clone()).or_default();
            to.partitions.push(partition.clone());
            to.user_data = Some(Bytes::from_static(b"for you"));
        }
        answer
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn e1_whatever_an_own_assignor_answers_nothing_has_two_owners(
        counts in counts(),
        members in members(),
        dice in prop::collection::vec(any::<usize>(), 100),
        cooperative in any::<bool>(),
    ) {
        let protocol = if cooperative { RebalanceProtocol::Cooperative } else { RebalanceProtocol::Eager };
        let wild = Voted::custom(Wild(Mutex::new(dice), protocol));
        let (answer, _) = wild.assign(&counts, &members);
        let user_data = Some(Bytes::from_static(b"for you"));
        prop_assert!(answer.values().all(|given| given.user_data.is_none() || given.user_data == user_data));
        let assignment: Assignment = answer.into_iter().map(|(id, given)| (id, given.partitions)).collect();
        check(&counts, &members, &assignment);
        if cooperative {
            for (id, given) in &assignment {
                for partition in given {
                    let mine = members[id].generation.unwrap_or(-1);
                    let has = |member: &MemberSubscription| member.owned.contains(partition);
                    let rightly = |member: &MemberSubscription| {
                        has(member) && !(has(&members[id]) && member.generation.unwrap_or(-1) < mine)
                    };
                    let holder = members.iter().find(|(other, member)| *other != id && rightly(member));
                    prop_assert!(holder.is_none(), "{} goes to {} while {:?} has it", partition, id, holder);
                }
            }
        }
    }
}

#[test]
fn e7_racks_do_not_send_a_partition_to_and_fro_for_ever() {
    // Rack locality gives a partition to a, the balance moves it on, and j, whose rack has no replica, may
    // keep none.
    let mut counts = Partitions::default();
    let replicas = [racks([2]), racks([]), racks([]), racks([2]), racks([2])];
    counts.insert_with_racks(topic(2), 5, replicas.to_vec());
    counts.insert_with_racks(topic(4), 1, vec![racks([2])]);
    let member = |topics: &[&str], rack: Option<&str>| MemberSubscription {
        rack: rack.map(str::to_owned),
        generation: None,
        ..claiming(topics, &[], 0)
    };
    let group = [
        ("a", member(&["t2", "t4"], Some("r2"))),
        ("g", member(&["t2"], None)),
        ("j", member(&["t2"], Some("r0"))),
    ];
    let mut members: Members = group.into_iter().map(|(id, member)| (id.to_owned(), member)).collect();
    let mut last = Assignment::new();
    for generation in 0..4 {
        last = BuiltIn::CooperativeSticky.assign(&counts, &members);
        members = next(&members, &last, generation);
    }
    assert_eq!(check(&counts, &members, &last), wanted(&counts, &members));
    assert_eq!(BuiltIn::CooperativeSticky.assign(&counts, &members), last);
    assert!(last.values().all(|list| list.len() == 2), "even all the same: {last:?}");
}

/// Random changes in a group with many partitions; every round ends, and the group converges.
#[test]
fn e7_ten_thousand_partitions_come_to_rest_within_a_bound_of_steps() {
    let mut counts = Partitions::default();
    for n in 0..50u8 {
        let replicas = (0..200u8).map(|p| racks([p % 3, (p + n) % 3])).collect();
        counts.insert_with_racks(topic(n), 200, replicas);
    }
    for (alike, near) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut members: Members = (0..200usize)
            .map(|m| {
                let topics =
                    (0..50u8).filter(|t| alike || (usize::from(*t) * 7 + m * 13) % 10 < 4).map(topic);
                let rack = near.then(|| format!("r{}", m % 3));
                let topics = Arc::new(topics.collect());
                (format!("member-{m:03}"), MemberSubscription { topics, rack, ..Default::default() })
            })
            .collect();
        for generation in 0..6 {
            let assignment = BuiltIn::CooperativeSticky.assign(&counts, &members);
            check(&counts, &members, &assignment);
            members = next(&members, &assignment, generation);
            match generation {
                1 => drop(members.remove("member-042")),
                5 => {
                    let again = BuiltIn::CooperativeSticky.assign(&counts, &members);
                    assert_eq!(again, assignment, "alike {alike}, near {near}");
                    assert_eq!(assignment.values().map(Vec::len).sum::<usize>(), 10_000);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn bug26_large_unequal_groups_are_assigned_in_bounded_time() {
    let counts: Partitions = (0..60u8).map(|n| (topic(n), 50)).collect();
    let mut members = Members::new();
    for m in 0..120usize {
        let topics = (0..60u8)
            .filter(|t| (usize::from(*t) * 7 + m * 13) % 11 < 4 || usize::from(*t) == m % 60)
            .map(topic);
        let owned = all(&counts).into_iter().skip(m * 9).step_by(101).collect();
        let subscription = MemberSubscription {
            topics: Arc::new(topics.collect()),
            owned,
            generation: Some((m % 3) as i32),
            ..Default::default()
        };
        members.insert(format!("member-{m}"), subscription);
    }
    for assignor in BuiltIn::ALL {
        let assignment = assignor.assign(&counts, &members);
        check(&counts, &members, &assignment);
    }
}
