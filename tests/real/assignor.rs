//! An application's own assignor, in groups at the broker in the box and at real Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use offtake::assignor::{MemberAssignment, Members, Partitions, RebalanceProtocol};
use offtake::{Assignor, Consumer, ErrorKind, Topic, TopicPartition};
use offtake_broker::Cluster;
use offtake_tests::{V4_3_0, shared, unique};

use crate::library::{A_MOMENT, program};

const BOUND: Duration = Duration::from_secs(30);

/// The number of assigned partitions, with the leader's user data and the generation.
type Given = (usize, Option<Bytes>, i32);

/// Assigns all to one: the member with the greatest number. Panics on request.
#[derive(Clone)]
struct Greatest {
    number: u8,
    protocol: RebalanceProtocol,
    panics: bool,
    given: Arc<Mutex<Vec<Given>>>,
}

impl Greatest {
    fn new(number: u8, protocol: RebalanceProtocol) -> Self {
        Self { number, protocol, panics: false, given: Arc::default() }
    }
}

impl Assignor for Greatest {
    fn name(&self) -> &str {
        "greatest"
    }

    fn protocol(&self) -> RebalanceProtocol {
        self.protocol
    }

    fn subscription_user_data(&self, topics: &BTreeSet<Topic>) -> Option<Bytes> {
        assert_eq!(topics.len(), 1);
        Some(Bytes::copy_from_slice(&[self.number]))
    }

    fn assign(&self, partitions: &Partitions, members: &Members) -> BTreeMap<String, MemberAssignment> {
        assert!(!self.panics, "not today");
        let greatest = members.iter().max_by_key(|(_, member)| member.user_data.clone());
        let (greatest, member) = greatest.expect("a group has members");
        let all = partitions
            .iter()
            .flat_map(|(topic, count)| (0..count).map(move |p| TopicPartition::new(topic, p)));
        let mut answer =
            BTreeMap::from([(greatest.clone(), MemberAssignment::from(all.collect::<Vec<_>>()))]);
        for id in members.keys() {
            answer.entry(id.clone()).or_default().user_data = member.user_data.clone();
        }
        answer
    }

    fn on_assignment(&self, assignment: &MemberAssignment, generation: i32) {
        let given = (assignment.partitions.len(), assignment.user_data.clone(), generation);
        self.given.lock().unwrap().push(given);
    }
}

async fn member(bootstrap: &str, group: &str, topic: &str, assignor: Greatest) -> Consumer {
    let builder = Consumer::builder(bootstrap).group(group).property("heartbeat.interval.ms", "200");
    let mut consumer = builder.assignor(assignor).build().await.unwrap();
    consumer.subscribe([topic]).await.unwrap();
    consumer
}

/// Polls both until they have this many partitions each.
async fn until(one: &mut Consumer, other: &mut Consumer, expected: (usize, usize)) {
    let has = |consumer: &Consumer| consumer.assignment().len();
    while (has(one), has(other)) != expected {
        let _ = tokio::join!(one.poll(A_MOMENT / 5), other.poll(A_MOMENT / 5));
    }
}

/// One member has all; a greater one joins and takes all; when it leaves, the first has all again.
async fn the_greatest_takes_all(bootstrap: &str, topic: &str, protocol: RebalanceProtocol) {
    let group = unique("assignor");
    let (small, great) = (Greatest::new(1, protocol), Greatest::new(9, protocol));
    let mut one = member(bootstrap, &group, topic, small.clone()).await;
    while one.assignment().len() < 4 {
        one.poll(A_MOMENT / 5).await.unwrap();
    }
    let mut other = member(bootstrap, &group, topic, great.clone()).await;
    until(&mut one, &mut other, (0, 4)).await;
    other.close(BOUND).await.unwrap();
    while one.assignment().len() < 4 {
        one.poll(A_MOMENT / 5).await.unwrap();
    }
    one.close(BOUND).await.unwrap();
    let said = |number| Some(Bytes::copy_from_slice(&[number]));
    let (small, great) = (small.given.lock().unwrap().clone(), great.given.lock().unwrap().clone());
    let words: Vec<_> = small.iter().map(|(count, user_data, _)| (*count, user_data.clone())).collect();
    assert_eq!(words.first(), Some(&(4, said(1))));
    assert!(words.contains(&(0, said(9))), "{words:?}");
    assert_eq!(words.last(), Some(&(4, said(1))));
    assert!(small.windows(2).all(|pair| pair[0].2 < pair[1].2), "generations grow: {small:?}");
    // Cooperatively it has to wait for a round: it gets only partitions that the other has revoked.
    let generation =
        |given: &[Given], of: usize| given.iter().find(|(count, ..)| *count == of).map(|given| given.2);
    let (let_go, taken) = (generation(&small, 0), generation(&great, 4));
    let in_turn = if protocol == RebalanceProtocol::Cooperative { let_go < taken } else { let_go <= taken };
    assert!(in_turn, "{small:?} {great:?}");
    assert_eq!(great.last().map(|(count, user_data, _)| (*count, user_data.clone())), Some((4, said(9))));
}

#[test]
fn e1_an_own_assignor_decides_in_the_box() {
    program(async {
        let cluster = Cluster::builder().topic("orders", 4).start().await.unwrap();
        for protocol in [RebalanceProtocol::Eager, RebalanceProtocol::Cooperative] {
            the_greatest_takes_all(&cluster.bootstrap(), "orders", protocol).await;
        }
        cluster.shutdown().await;
    });
}

#[test]
fn e1_an_own_assignor_decides_at_real_kafka() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("assignor"), 4, &[]);
        the_greatest_takes_all(&of.kafka.bootstrap(), &topic, RebalanceProtocol::Cooperative).await;
    });
}

#[test]
fn d6_a_group_goes_on_while_an_own_assignor_panics() {
    program(async {
        let cluster = Cluster::builder().topic("orders", 4).start().await.unwrap();
        let broken = Greatest { panics: true, ..Greatest::new(1, RebalanceProtocol::Cooperative) };
        let mut one = member(&cluster.bootstrap(), "g", "orders", broken.clone()).await;
        let mut other = member(&cluster.bootstrap(), "g", "orders", broken).await;
        until(&mut one, &mut other, (2, 2)).await;
        one.close(BOUND).await.unwrap();
        other.close(BOUND).await.unwrap();
        cluster.shutdown().await;
    });
}

#[test]
fn an_assignor_that_nobody_gave_is_refused_when_the_consumer_is_built() {
    program(async {
        let builder = Consumer::builder("localhost:1").group("g");
        let refused =
            builder.property("partition.assignment.strategy", "greatest").build().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.to_string().contains("names `greatest`"), "{refused}");
    });
}
