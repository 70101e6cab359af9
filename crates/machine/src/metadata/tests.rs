use std::time::{Duration, Instant};

use offtake_wire::{MetadataResponse, Request, Uuid};

use super::*;

mod doubt;
mod gone;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_secs(300);
const TRIGGER: Duration = Duration::from_secs(120);

/// A machine, its clock, and the broker that it asks.
struct Sim {
    metadata: Metadata,
    now: Instant,
    requests_sent: u32,
}

impl Sim {
    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn wanting(topics: &[&str]) -> Self {
        let now = Instant::now();
        let config = MetadataConfig {
            request_timeout: TIMEOUT,
            max_age: MAX_AGE,
            backoff: BackoffConfig::default(),
            allow_auto_topic_creation: false,
            rebootstrap_after: Some(TRIGGER),
            seed: 7,
        };
        let mut metadata = Metadata::new(now, config);
        metadata.want_topics(now, topics.iter().map(|name| Topic::from(*name)).collect());
        Self { metadata, now, requests_sent: 0 }
    }

    /// Lets time pass until the next request.
    fn ask(&mut self) -> Transmit {
        let at = self.metadata.poll_timeout().expect("there is always a next time");
        self.now = self.now.max(at);
        self.metadata.handle_timeout(self.now);
        let transmit = match self.metadata.poll_transmit(self.now) {
            Some(transmit) => transmit,
            None => {
                self.now = self.now.max(self.metadata.poll_timeout().expect("a next time"));
                self.metadata.poll_transmit(self.now).expect("a request")
            }
        };
        assert!(self.metadata.poll_transmit(self.now).is_none(), "one at a time");
        self.requests_sent += 1;
        transmit
    }

    /// Responds from another broker, if that is requested.
    fn told(&mut self, response: MetadataResponse) -> &mut Self {
        self.told_by(|to| if to == Target::Other(BrokerId(1)) { 2 } else { 1 }, response)
    }

    fn told_by(&mut self, broker: impl Fn(Target) -> i32, response: MetadataResponse) -> &mut Self {
        let Transmit { id, to, .. } = self.ask();
        self.answered(id, broker(to), response);
        self
    }

    fn answered(&mut self, id: CallId, from: i32, response: MetadataResponse) {
        let from = Some(BrokerId(from));
        let answer = Answer { from, version: 13, memory: 0, response: response.into() };
        self.metadata.handle_answer(self.now, id, Ok(answer));
    }

    fn failed(&mut self) {
        let id = self.ask().id;
        let error = CallError::Disconnected { address: "kafka:9092".to_owned(), reason: "closed".to_owned() };
        self.metadata.handle_answer(self.now, id, Err(error));
    }

    fn leader(&self, topic: &str, partition: i32) -> Option<(i32, LeaderEpochOf)> {
        let partition = self.metadata.cluster().partition(&TopicPartition::new(topic, partition))?.clone();
        Some((partition.leader?.0, partition.epoch))
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.metadata.poll_event()).collect()
    }

    fn next_in(&self) -> Duration {
        self.metadata.poll_timeout().expect("a next time") - self.now
    }
}

type LeaderEpochOf = Option<i32>;

fn names(of: &[&str]) -> BTreeSet<Topic> {
    of.iter().map(|name| Topic::from(*name)).collect()
}

fn cluster(topics: Vec<wire::MetadataResponseTopic>) -> MetadataResponse {
    let broker = |node_id| wire::MetadataResponseBroker {
        node_id,
        host: "kafka".to_owned(),
        port: 9092 + node_id,
        ..Default::default()
    };
    MetadataResponse { brokers: vec![broker(1), broker(2)], topics, ..Default::default() }
}

fn topic(name: &str, id: u8, partitions: &[(i32, i32)]) -> wire::MetadataResponseTopic {
    let partitions = partitions.iter().zip(0..).map(|((leader_id, leader_epoch), partition_index)| {
        wire::MetadataResponsePartition {
            partition_index,
            leader_id: *leader_id,
            leader_epoch: *leader_epoch,
            ..Default::default()
        }
    });
    wire::MetadataResponseTopic {
        name: Some(name.to_owned()),
        topic_id: Uuid([id; 16]),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn refused(name: &str, code: ErrorCode) -> wire::MetadataResponseTopic {
    wire::MetadataResponseTopic { name: Some(name.to_owned()), error_code: code, ..Default::default() }
}

#[test]
fn complete_metadata_is_refreshed_when_it_is_old() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 5), (2, 5)])]));
    assert_eq!(sim.leader("orders", 1), Some((2, Some(5))));
    assert_eq!(sim.next_in(), MAX_AGE);
    assert_eq!(sim.events(), [Event::Updated]);
}

#[test]
fn b1_a_topic_without_leaders_is_asked_for_again_with_growing_pauses() {
    let mut sim = Sim::wanting(&["orders"]);
    let begun = sim.now;
    for _ in 0..50 {
        sim.told(cluster(vec![topic("orders", 1, &[(-1, -1)])]));
    }
    assert!(sim.now - begun > Duration::from_secs(30), "no tight loop: {:?}", sim.now - begun);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(0))));
    assert_eq!(sim.next_in(), MAX_AGE);
}

#[test]
fn b10_a_refresh_that_nobody_answers_is_given_up_and_asked_again() {
    let mut sim = Sim::wanting(&["orders"]);
    let stuck = sim.ask().id;
    sim.now += TIMEOUT * 2;
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    let late = Answer {
        from: None,
        version: 13,
        memory: 0,
        response: cluster(vec![topic("orders", 1, &[(2, 9)])]).into(),
    };
    sim.metadata.handle_answer(sim.now, stuck, Ok(late));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(0))), "the late answer changes nothing");
}

#[test]
fn a7_brokers_that_stay_silent_for_long_are_given_up_for_the_bootstrap_servers() {
    let mut sim = Sim::wanting(&[]);
    let begun = sim.now;
    while !sim.events().contains(&Event::Rebootstrap) {
        sim.failed();
        assert!(sim.now - begun < TRIGGER * 2);
    }
    assert!(sim.now - begun >= TRIGGER);
    let rebootstrap = MetadataResponse { error_code: ErrorCode::RebootstrapRequired, ..Default::default() };
    sim.told(rebootstrap);
    assert_eq!(sim.events(), [Event::Rebootstrap], "KIP-1102: a broker may ask for it");
}

#[test]
fn input20_input21_entries_that_cannot_be_are_dropped() {
    let mut sim = Sim::wanting(&["orders"]);
    let mut response = cluster(vec![topic("orders", 1, &[(1, 0)])]);
    for (node_id, host, port) in
        [(3, "kafka", 0), (4, "", 9092), (-5, "kafka", 9092), (6, "kafka", 65_536), (1, "another", 9092)]
    {
        response.brokers.push(wire::MetadataResponseBroker {
            node_id,
            host: host.to_owned(),
            port,
            ..Default::default()
        });
    }
    for partition_index in [-1, i32::MIN, i32::MAX, 1_000_000] {
        response.topics[0].partitions.push(wire::MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            ..Default::default()
        });
    }
    sim.told(response);
    let brokers = &sim.metadata.cluster().brokers;
    let brokers: Vec<_> = brokers.iter().map(|(id, at)| (id.0, at.host.as_str(), at.port)).collect();
    assert_eq!(brokers, [(1, "kafka", 9093), (2, "kafka", 9094)], "the first that has an id keeps it");
    assert_eq!(sim.metadata.cluster().topic("orders").unwrap().partitions.len(), 1);
}

#[test]
fn i5_a_leader_told_in_passing_is_taken_only_if_it_is_newer() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 3)])]));
    let of = TopicPartition::new("orders", 0);
    assert!(!sim.metadata.learn_leader(sim.now, &of, BrokerId(2), 3, None), "the same epoch is no news");
    assert_eq!(sim.next_in(), MAX_AGE);
    let at = Broker { host: "kafka".to_owned(), port: 9101, rack: None };
    assert!(sim.metadata.learn_leader(sim.now, &of, BrokerId(9), 4, Some(at)));
    assert_eq!(sim.leader("orders", 0), Some((9, Some(4))));
    assert_eq!(sim.next_in(), MAX_AGE);
}

#[test]
fn i5_a_leader_that_cannot_be_asked_is_looked_up_after_a_pause() {
    // Kafka omits the address while the new leader is not up for this listener.
    for (partition, leader) in [(0, 9), (1, 2)] {
        let mut sim = Sim::wanting(&["orders"]);
        sim.told(cluster(vec![topic("orders", 1, &[(1, 3)])]));
        let of = TopicPartition::new("orders", partition);
        assert!(!sim.metadata.learn_leader(sim.now, &of, BrokerId(leader), 4, None));
        assert!(sim.next_in() <= Duration::from_millis(120), "{:?}", sim.next_in());
        assert_eq!(sim.leader("orders", 0), Some((1, Some(3))));
    }
}

#[test]
fn safe15_the_hints_of_one_answer_are_one_update() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &vec![(1, 3); 3300])]));
    sim.events();
    for partition in 0..3300 {
        let of = TopicPartition::new("orders", partition);
        assert!(sim.metadata.learn_leader(sim.now, &of, BrokerId(2), 4, None));
    }
    assert_eq!(sim.events(), [Event::Updated]);
    assert_eq!(sim.leader("orders", 3299), Some((2, Some(4))));
    assert!(sim.metadata.learn_leader(sim.now, &TopicPartition::new("orders", 0), BrokerId(1), 5, None));
    assert_eq!(sim.events(), [Event::Updated]);
}

#[test]
fn safe15_a_view_that_is_called_stale_during_a_refresh_is_refreshed_after_a_pause() {
    let mut sim = Sim::wanting(&["orders"]);
    let mut asked = 0;
    let end = sim.now + Duration::from_secs(10);
    while sim.now < end {
        let id = sim.ask().id;
        asked += 1;
        sim.metadata.refresh(sim.now);
        sim.now += Duration::from_millis(2);
        let response = cluster(vec![topic("orders", 1, &[(1, 0)])]);
        let answer = Answer { from: None, version: 13, memory: 0, response: response.into() };
        sim.metadata.handle_answer(sim.now, id, Ok(answer));
        sim.metadata.refresh(sim.now);
    }
    assert!((5..=20).contains(&asked), "{asked} requests in ten seconds");
}

#[test]
fn safe15_no_age_is_no_reason_to_ask_without_pause() {
    for (base, least) in [(100, 100), (0, 10)] {
        let mut sim = Sim::wanting(&["orders"]);
        sim.metadata.config.max_age = Duration::ZERO;
        sim.metadata.config.backoff.base = Duration::from_millis(base);
        sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
        assert_eq!(sim.next_in(), Duration::from_millis(least));
    }
}

#[test]
fn d13_endless_waits_are_long_ones() {
    let endless = BackoffConfig { base: Duration::MAX, max: Duration::MAX };
    let mut sim = Sim::wanting(&["orders"]);
    sim.metadata.config.max_age = Duration::MAX;
    sim.metadata.config.request_timeout = Duration::MAX;
    sim.metadata.config.backoff = endless;
    sim.metadata.config.rebootstrap_after = Some(Duration::MAX);
    sim.metadata.backoff = Backoff::new(endless, 7);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    assert!(sim.next_in() > MAX_AGE);
    sim.metadata.refresh(sim.now);
    sim.metadata.refresh_now(sim.now);
    sim.failed();
    assert!(sim.next_in() > MAX_AGE);
}

#[test]
fn a_new_interest_during_a_refresh_is_asked_for_right_after_it() {
    let mut sim = Sim::wanting(&["orders"]);
    let id = sim.ask().id;
    let both = ["orders", "returns"].map(Topic::from).into_iter().collect();
    sim.metadata.want_topics(sim.now, both);
    let answer = Answer {
        from: None,
        version: 13,
        memory: 0,
        response: cluster(vec![topic("orders", 1, &[(1, 0)])]).into(),
    };
    sim.metadata.handle_answer(sim.now, id, Ok(answer));
    assert_eq!(sim.next_in(), Duration::ZERO);
}

#[test]
fn many_refreshes_asked_for_at_once_are_one_and_not_before_the_pause() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    for _ in 0..20 {
        sim.metadata.refresh(sim.now);
    }
    let pause = sim.next_in();
    assert!((Duration::from_millis(80)..=Duration::from_millis(120)).contains(&pause), "{pause:?}");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    assert_eq!(sim.next_in(), MAX_AGE);
}
