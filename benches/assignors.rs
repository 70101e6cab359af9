//! The work of the leader of a large classic group between the JoinGroup's answer and its SyncGroup: it decodes all
//! subscriptions, runs the assignor, and encodes all assignments.
//!
//! `cargo bench -p offtake-benches --bench assignors`: 2000 members and 200 000 partitions in 200 topics. "Unequal"
//! members subscribe to two topics of five, different ones each, and few to the first topics at all. "Left" is the
//! round after one member left, "joined" the one after one joined; they differ from "fresh" for the sticky assignors
//! alone. `tests/java/AssignTime.java` times Java's assignors on the same groups.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::collections::BTreeMap;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use offtake_group::assignor::{
    BuiltIn, Members, Partitions, Strategy, Subscriptions, decode_assignment, encode_assignment,
};
use offtake_wire::{ConsumerProtocolSubscription, TopicPartition, Writer};

/// Counts allocations: the peak is the memory that a round needs.
#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const MEMBERS: usize = 2000;
const TOPICS: usize = 200;
const PARTITIONS: i32 = 1000;

/// The subscription of each member, by its id.
type MemberBytes = BTreeMap<String, Bytes>;

fn wants(member: usize, topic: usize) -> bool {
    if topic < TOPICS / 10 { (member + topic).is_multiple_of(20) } else { (topic * 7 + member * 13) % 10 < 4 }
}

fn partitions() -> Partitions {
    (0..TOPICS).map(|topic| (format!("topic-{topic:04}"), PARTITIONS)).collect()
}

fn round(strategy: &Strategy, partitions: &Partitions, encoded: &MemberBytes) -> MemberBytes {
    let mut subscriptions = Subscriptions::default();
    let members: Members = encoded
        .iter()
        .map(|(id, bytes)| (id.clone(), subscriptions.decode(strategy, None, bytes.clone()).unwrap()))
        .collect();
    let (assignment, _) = strategy.assign(partitions, &members);
    let written = assignment
        .into_iter()
        .map(|(id, given)| (id, encode_assignment(&given.partitions, given.user_data.as_ref()).unwrap()));
    written.collect()
}

/// The subscriptions of members that were given this in generation 1.
fn encode_subscriptions(assignor: BuiltIn, alike: bool, members: usize, given: &MemberBytes) -> MemberBytes {
    let encoded = (0..members).map(|member| {
        let id = format!("member-{member:05}");
        let topics = (0..TOPICS).filter(|topic| alike || wants(member, *topic));
        let had = given.get(&id).map(|bytes| owned(bytes.clone()));
        let user_data = had.as_deref().filter(|_| assignor == BuiltIn::Sticky).map(previous);
        let subscription = ConsumerProtocolSubscription {
            topics: topics.map(|topic| format!("topic-{topic:04}")).collect(),
            user_data,
            generation_id: if had.is_some() { 1 } else { -1 },
            owned_partitions: had.filter(|_| assignor == BuiltIn::CooperativeSticky).unwrap_or_default(),
            rack_id: None,
        };
        (id, subscription.encode_versioned(3).unwrap())
    });
    encoded.collect()
}

fn owned(assignment: Bytes) -> Vec<TopicPartition> {
    let given = decode_assignment(assignment).unwrap().partitions;
    given
        .chunk_by(|one, next| one.topic == next.topic)
        .map(|of| TopicPartition {
            topic: of[0].topic.as_str().to_owned(),
            partitions: of.iter().map(|each| each.partition).collect(),
        })
        .collect()
}

/// The user data of `sticky`.
fn previous(owned: &[TopicPartition]) -> Bytes {
    let mut w = Writer::new();
    w.count(false, Some(owned.len())).unwrap();
    for of in owned {
        w.string(false, &of.topic).unwrap();
        w.count(false, Some(of.partitions.len())).unwrap();
        of.partitions.iter().for_each(|partition| w.i32(*partition));
    }
    w.i32(1);
    w.into_bytes()
}

fn measure(bencher: Bencher<'_, '_>, assignor: BuiltIn, encoded: &MemberBytes) {
    let (strategy, partitions) = (Strategy::from(assignor), partitions());
    bencher
        .counter(ItemsCount::new(TOPICS * PARTITIONS as usize))
        .bench_local(|| round(black_box(&strategy), black_box(&partitions), black_box(encoded)));
}

/// Equal subscriptions, or not.
const ALIKE: [bool; 2] = [true, false];

fn fresh(bencher: Bencher<'_, '_>, assignor: BuiltIn, alike: bool) {
    measure(bencher, assignor, &encode_subscriptions(assignor, alike, MEMBERS, &MemberBytes::new()));
}

#[divan::bench(args = ALIKE)]
fn range(bencher: Bencher<'_, '_>, equal: bool) {
    fresh(bencher, BuiltIn::Range, equal);
}

#[divan::bench(args = ALIKE)]
fn roundrobin(bencher: Bencher<'_, '_>, equal: bool) {
    fresh(bencher, BuiltIn::RoundRobin, equal);
}

const STICKY: [(BuiltIn, bool); 4] = [
    (BuiltIn::Sticky, true),
    (BuiltIn::Sticky, false),
    (BuiltIn::CooperativeSticky, true),
    (BuiltIn::CooperativeSticky, false),
];

#[divan::bench(args = STICKY)]
fn sticky_fresh(bencher: Bencher<'_, '_>, (assignor, equal): (BuiltIn, bool)) {
    fresh(bencher, assignor, equal);
}

#[divan::bench(args = STICKY)]
fn sticky_left(bencher: Bencher<'_, '_>, (assignor, equal): (BuiltIn, bool)) {
    let fresh = encode_subscriptions(assignor, equal, MEMBERS, &MemberBytes::new());
    let given = round(&assignor.into(), &partitions(), &fresh);
    let mut left = encode_subscriptions(assignor, equal, MEMBERS, &given);
    left.remove(&format!("member-{:05}", MEMBERS / 2));
    measure(bencher, assignor, &left);
}

#[divan::bench(args = STICKY)]
fn sticky_joined(bencher: Bencher<'_, '_>, (assignor, equal): (BuiltIn, bool)) {
    let fresh = encode_subscriptions(assignor, equal, MEMBERS - 1, &MemberBytes::new());
    let given = round(&assignor.into(), &partitions(), &fresh);
    measure(bencher, assignor, &encode_subscriptions(assignor, equal, MEMBERS, &given));
}
