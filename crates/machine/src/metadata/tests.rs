use std::time::{Duration, Instant};

use offtake_wire::{MetadataResponse, Request, Uuid};

use super::*;

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
fn only_what_is_wanted_is_asked_for_and_kept() {
    let mut sim = Sim::wanting(&["orders"]);
    let Request::Metadata(request) = sim.ask().request else { panic!("a metadata request") };
    let names: Vec<_> = request.topics.unwrap().into_iter().map(|topic| topic.name.unwrap()).collect();
    assert_eq!(names, ["orders"]);
    sim.now += TIMEOUT * 2;
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("other", 2, &[(1, 0)])]));
    assert!(sim.metadata.cluster().topic("other").is_none());
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
fn b2_an_older_leader_epoch_changes_nothing_and_an_unknown_one_keeps_the_known() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    sim.told(cluster(vec![topic("orders", 1, &[(1, 6)])]));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(7))), "a lagging broker");
    sim.told(cluster(vec![topic("orders", 1, &[(1, -1)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(7))), "fencing stays possible");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 8)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(8))));
}

#[test]
fn b3_a_topic_created_again_starts_its_epochs_anew() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    sim.told(cluster(vec![topic("orders", 2, &[(1, 0)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(0))));
}

#[test]
fn b6_no_error_and_no_partitions_is_no_topic() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[])]));
    assert!(sim.metadata.cluster().topic("orders").is_none());
    assert!(sim.next_in() < Duration::from_secs(2), "it is asked for again");
}

#[test]
fn b9_a_passing_error_keeps_what_was_known_and_a_lasting_absence_is_believed() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    for _ in 0..10 {
        sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
        assert!(sim.metadata.cluster().topic("orders").is_some());
    }
    // To leave it out says the same as to call it unknown.
    for absence in [vec![refused("orders", ErrorCode::UnknownTopicOrPartition)], vec![]] {
        for left in [true, true, false] {
            sim.told(cluster(absence.clone()));
            assert_eq!(sim.metadata.cluster().topic("orders").is_some(), left);
            assert!(sim.next_in() < Duration::from_secs(2), "asked again in {:?}", sim.next_in());
        }
        assert!(sim.metadata.cluster().topics.contains_key("orders"), "it was asked for, and is not there");
        sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
        assert_eq!(sim.leader("orders", 0), Some((1, Some(0))));
    }
}

#[test]
fn b9_a_topic_that_is_kept_over_an_error_is_asked_for_again_soon() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
    assert!(sim.next_in() < Duration::from_secs(2), "not in five minutes: {:?}", sim.next_in());
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

#[test]
fn a_listing_counts_as_full_only_if_all_topics_were_asked_for() {
    let mut sim = Sim::wanting(&["orders"]);
    let id = sim.ask().id;
    sim.metadata.want_all(sim.now, BTreeSet::new());
    let answer = Answer {
        from: None,
        version: 13,
        memory: 0,
        response: cluster(vec![topic("orders", 1, &[(1, 0)])]).into(),
    };
    sim.metadata.handle_answer(sim.now, id, Ok(answer));
    assert!(!sim.metadata.cluster().lists_all, "it was under way before");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("returns", 2, &[(1, 0)])]));
    assert!(sim.metadata.cluster().lists_all);
    assert!(sim.metadata.cluster().topic("returns").is_some());
}

/// After all topics were listed, a topic that the listing lacks is requested, as it is without the listing.
#[test]
fn b1_a_topic_that_the_last_listing_did_not_have_is_asked_for() {
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.now += Duration::from_secs(1);
    sim.metadata.want_topics(sim.now, [Topic::from("new")].into());
    assert!(sim.next_in() < Duration::from_secs(2), "not for {:?}", sim.next_in());
}

/// The leader of a group lists all topics for its pattern; another member names one.
#[test]
fn b1_a_topic_named_besides_all_topics_is_known_at_once_not_to_exist() {
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.now += Duration::from_secs(1);
    let named: BTreeSet<Topic> = ["new".into(), "orders".into()].into();
    sim.metadata.want_all(sim.now, named.clone());
    assert!(sim.next_in() < Duration::from_secs(2), "the listing may be old: not for {:?}", sim.next_in());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    let info = sim.metadata.cluster().topics.get(&Topic::from("new")).expect("it is said of it");
    assert_eq!(info.error, ErrorCode::UnknownTopicOrPartition);
    assert!(sim.metadata.cluster().lists_all);
    sim.metadata.want_all(sim.now, named);
    assert_eq!(sim.next_in(), MAX_AGE, "once");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("new", 2, &[(1, 0)])]));
    assert_eq!(sim.metadata.cluster().topic("new").map(|info| info.partitions.len()), Some(1));
}

/// A broker that has just started lists few topics, or none: the members of a group whose leader asked it
/// would lose them.
#[test]
fn b9_a_topic_is_gone_when_several_listings_in_a_row_lack_it() {
    for named in [BTreeSet::new(), BTreeSet::from(["orders".into()])] {
        let mut sim = Sim::wanting(&[]);
        sim.metadata.want_all(sim.now, named.clone());
        let orders = || cluster(vec![topic("orders", 1, &[(1, 0)])]);
        sim.told(orders());
        for listing in [cluster(vec![]), orders(), cluster(vec![]), cluster(vec![])] {
            sim.told(listing);
            assert!(sim.metadata.cluster().topic("orders").is_some());
        }
        assert!(sim.next_in() < Duration::from_secs(2), "asked again in {:?}", sim.next_in());
        sim.told(cluster(vec![]));
        assert!(sim.metadata.cluster().topic("orders").is_none());
        assert_eq!(sim.metadata.cluster().topics.len(), named.len(), "what is named is said not to exist");
        assert_eq!(sim.next_in(), MAX_AGE);
        sim.told(orders());
        sim.told(cluster(vec![]));
        assert!(sim.metadata.cluster().topic("orders").is_some(), "counted anew");
    }
}

/// Without topic ids, only the epochs indicate it; and a broker that lags behind sends the same.
#[test]
fn b3_b2_without_ids_older_epochs_are_believed_when_answer_after_answer_has_them() {
    let mut sim = Sim::wanting(&["orders", "returns"]);
    let view = |epoch| cluster(vec![topic("orders", 0, &[(2, epoch)]), topic("returns", 0, &[(1, 3)])]);
    sim.told(view(7));
    for _ in 1..OLDER_BEFORE_CREATED_ANEW {
        sim.told(view(0));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    sim.told(view(7));
    for _ in 1..OLDER_BEFORE_CREATED_ANEW {
        sim.told(view(0));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))), "in a row");
    }
    sim.told(view(0));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(0))));
    assert_eq!(sim.leader("returns", 0), Some((1, Some(3))), "of another topic nothing is forgotten");
    assert_eq!(sim.ask().to, Target::Any, "nothing is in doubt");
    // The epoch of a topic with an id never decreases.
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    for _ in 0..20 {
        sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    }
    assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
}

/// It has the old epochs for as long as it is cut off from the controller, but clients can still reach it.
#[test]
fn b2_b3_without_ids_one_broker_that_lags_behind_is_not_believed_for_as_long_as_another_can_be_asked() {
    let view = |epoch| cluster(vec![topic("orders", 0, &[(2, epoch)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(7));
    for _ in 0..20 {
        let asked = sim.ask();
        // A request to any broker is answered by the one with an open connection.
        let from = if asked.to == Target::Other(BrokerId(1)) { 2 } else { 1 };
        let response = view(if from == 1 { 3 } else { 7 }).into();
        let answer = Answer { from: Some(BrokerId(from)), version: 9, memory: 0, response };
        sim.metadata.handle_answer(sim.now, asked.id, Ok(answer));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    // The other does not respond.
    for _ in 0..20 {
        sim.told_by(|_| 1, view(3));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    sim.told_by(|_| 2, view(3));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(3))), "two say so");

    let mut alone = Sim::wanting(&["orders"]);
    let view = |epoch| MetadataResponse {
        brokers: cluster(Vec::new()).brokers.into_iter().take(1).collect(),
        ..view(epoch)
    };
    alone.told_by(|_| 1, view(7));
    for _ in 0..OLDER_BEFORE_CREATED_ANEW {
        alone.told_by(|_| 1, view(0));
    }
    let of = TopicPartition::new("orders", 0);
    assert_eq!(
        alone.metadata.cluster().partition(&of).and_then(|info| info.epoch),
        Some(0),
        "there is no other"
    );
}

/// A broker that lags behind shows the id of a topic as it was before it was deleted and created again: the topic would count as created again
/// twice, and positions in it would be reset each time.
#[test]
fn b3_an_id_that_was_replaced_comes_back_only_when_answer_after_answer_has_it() {
    let view = |id, epoch| cluster(vec![topic("orders", id, &[(1, epoch)]), topic("returns", 9, &[(1, 3)])]);
    let mut sim = Sim::wanting(&["orders", "returns"]);
    let id = |sim: &Sim| sim.metadata.cluster().topic_id("orders").map(|id| id.0[0]);
    sim.told_by(|_| 1, view(1, 5));
    sim.told_by(|_| 1, view(2, 0));
    assert_eq!(id(&sim), Some(2), "a new id is believed at once");
    for _ in 0..20 {
        sim.told_by(|_| 2, view(1, 5));
        assert_eq!((id(&sim), sim.leader("orders", 0)), (Some(2), Some((1, Some(0)))));
        assert_eq!(sim.leader("returns", 0), Some((1, Some(3))));
        assert!(sim.next_in() < Duration::from_secs(2), "another is asked in {:?}", sim.next_in());
    }
    assert_eq!(sim.ask().to, Target::Other(BrokerId(2)));
    // Nor if answers without the topic came between, before the new id or after it.
    for times in 1..=LISTINGS_BEFORE_DELETED {
        let mut sim = Sim::wanting(&["orders", "returns"]);
        sim.told_by(|_| 1, view(1, 5));
        for _ in 0..times {
            sim.told_by(|_| 1, cluster(vec![]));
        }
        sim.told_by(|_| 1, view(2, 0));
        assert_eq!(id(&sim), Some(2));
        for _ in 1..times {
            sim.told_by(|_| 1, cluster(vec![]));
        }
        sim.told_by(|_| 2, view(1, 5));
        assert_eq!(id(&sim), Some(2), "after {times} answers without it");
    }
    // What was first learned may have been the old state.
    let mut sim = Sim::wanting(&["orders", "returns"]);
    sim.told_by(|_| 1, view(2, 0));
    sim.told_by(|_| 2, view(1, 5));
    assert_eq!(id(&sim), Some(1));
    for answer in 1..=OLDER_BEFORE_CREATED_ANEW {
        assert_eq!(id(&sim), Some(1));
        sim.told_by(|_| if answer == 1 { 3 } else { 1 }, view(2, 0));
    }
    assert_eq!((id(&sim), sim.leader("orders", 0)), (Some(2), Some((1, Some(0)))), "two say so, and again");
    assert_eq!(sim.next_in(), MAX_AGE, "nothing is in doubt");
    // A third one is new.
    sim.told_by(|_| 1, view(3, 0));
    assert_eq!(id(&sim), Some(3));
}

#[test]
fn b2_an_id_that_was_not_known_for_a_moment_is_no_id_from_before() {
    let view = |id, leader, epoch| cluster(vec![topic("orders", id, &[(leader, epoch)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(1, 1, 5));
    sim.told_by(|_| 2, view(0, 1, 5));
    sim.told_by(|_| 1, view(1, 2, 6));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(6))), "the leader has moved");
}

#[test]
fn b8_a_topic_that_is_refused_while_its_id_is_in_doubt_is_not_asked_for_all_the_time() {
    let view = |id| cluster(vec![topic("orders", id, &[(1, 5)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(1));
    sim.told_by(|_| 1, view(2));
    sim.told_by(|_| 2, view(1));
    let mut asked = 0;
    let until = sim.now + Duration::from_secs(600);
    while sim.now < until {
        sim.told_by(|_| 1, cluster(vec![refused("orders", ErrorCode::TopicAuthorizationFailed)]));
        asked += 1;
    }
    assert!(asked <= 5, "asked {asked} times in 10 minutes");
}

#[test]
fn b3_one_broker_that_is_cut_off_does_not_outweigh_two_that_are_not() {
    let answer = |from: i32| {
        let (id, epoch) = if from == 2 { (1, 5) } else { (2, 0) };
        let mut all = cluster(vec![topic("orders", id, &[(1, epoch)])]);
        let third = wire::MetadataResponseBroker { node_id: 3, port: 9095, ..all.brokers[0].clone() };
        all.brokers.push(third);
        all
    };
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, answer(1));
    sim.told_by(|_| 2, answer(2));
    let began = sim.now;
    let mut rotation = 0;
    while sim.metadata.cluster().topic_id("orders") != Some(Uuid([2; 16])) {
        assert!(sim.now < began + Duration::from_secs(300), "the wrong id for 5 minutes");
        sim.now += Duration::from_millis(1000);
        sim.metadata.refresh(sim.now); // the leader refuses the id
        let Transmit { id, to, .. } = sim.ask();
        rotation += 1;
        // Three connected brokers take turns.
        let turns = (0..3).map(|turn| 1 + (rotation + turn) % 3);
        let from = turns.into_iter().find(|broker| to != Target::Other(BrokerId(*broker))).unwrap();
        let response = answer(from).into();
        let answer = Answer { from: Some(BrokerId(from)), version: 13, memory: 0, response };
        sim.metadata.handle_answer(sim.now, id, Ok(answer));
    }
}
/// It lags behind for a moment, or for long: two others agree, and the metadata are as old as they may be.
#[test]
fn b3_a_doubt_ends_when_two_brokers_agree_with_what_is_known() {
    let view = |id| {
        let mut all = cluster(vec![topic("orders", id, &[(1, 0)])]);
        let third = wire::MetadataResponseBroker { node_id: 3, port: 9095, ..all.brokers[0].clone() };
        all.brokers.push(third);
        all
    };
    let mut sim = Sim::wanting(&["orders"]);
    for (broker, id) in [(1, 1), (1, 2), (2, 1)] {
        sim.told_by(|_| broker, view(id));
    }
    sim.told_by(|_| 1, view(2));
    assert!(sim.next_in() < Duration::from_secs(2), "it may be the one that lags behind");
    sim.told_by(|_| 3, view(2));
    assert_eq!((sim.next_in(), sim.ask().to), (MAX_AGE, Target::Any));
    assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([2; 16])));
}

#[test]
fn b9_a_response_says_nothing_about_topics_that_its_request_did_not_name() {
    let orders = || topic("orders", 1, &[(1, 0)]);
    for others in [topic("others", 2, &[(1, 0)]), refused("others", ErrorCode::TopicAuthorizationFailed)] {
        let others = || others.clone();
        let mut sim = Sim::wanting(&["orders", "others"]);
        sim.told(cluster(vec![orders(), others()]));
        for _ in 0..=LISTINGS_BEFORE_DELETED {
            let known = sim.metadata.cluster().topics.clone();
            sim.metadata.want_topics(sim.now, names(&["orders"]));
            sim.metadata.refresh(sim.now);
            let asked = sim.ask().id; // for orders alone
            sim.metadata.want_topics(sim.now, names(&["orders", "others"]));
            sim.answered(asked, 1, cluster(vec![orders()]));
            assert_eq!(sim.metadata.cluster().topics, known);
            assert_eq!(sim.next_in(), Duration::ZERO, "it is asked for");
        }
        // Nor one that named some while all are wanted since.
        let known = sim.metadata.cluster().topics.clone();
        sim.metadata.want_topics(sim.now, names(&["orders"]));
        let asked = sim.ask().id;
        sim.metadata.want_all(sim.now, names(&["others"]));
        sim.answered(asked, 1, cluster(vec![orders()]));
        assert_eq!(sim.metadata.cluster().topics, known);
        assert!(!sim.metadata.cluster().lists_all);
        // One that listed all says that the others do not exist.
        sim.told(cluster(vec![orders()])).told(cluster(vec![orders()]));
        sim.metadata.refresh_now(sim.now);
        let asked = sim.ask().id;
        sim.metadata.want_topics(sim.now, names(&["others"]));
        sim.answered(asked, 1, cluster(vec![orders()]));
        let shown = sim.metadata.cluster().topics.get("others").map(|info| info.error);
        assert_eq!(shown, Some(ErrorCode::UnknownTopicOrPartition));
    }
}

#[test]
fn b9_only_answers_in_a_row_are_a_deletion() {
    let gone = || cluster(vec![refused("orders", ErrorCode::UnknownTopicOrPartition)]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    for _ in 0..5 {
        sim.told(gone()).told(gone());
        sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
        assert!(sim.metadata.cluster().topic("orders").is_some(), "it is there, without a leader");
    }
}

#[test]
fn b3_listing_all_an_id_from_before_a_deletion_is_not_believed_at_once_either() {
    let view = |id, epoch| cluster(vec![topic("orders", id, &[(1, epoch)])]);
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told_by(|_| 1, view(1, 5));
    for _ in 0..LISTINGS_BEFORE_DELETED {
        sim.told_by(|_| 1, cluster(vec![]));
    }
    assert!(sim.metadata.cluster().topics.is_empty());
    sim.told_by(|_| 1, view(2, 0));
    for _ in 0..20 {
        sim.told_by(|_| 2, view(1, 5)); // cut off since before the deletion
        assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([2; 16])));
    }
}

#[test]
fn what_is_remembered_of_topics_that_are_gone_is_bounded() {
    let mut sim = Sim::wanting(&[]);
    for n in 0..1_000 {
        let name = format!("job-{n}");
        sim.metadata.want_topics(sim.now, names(&[&name]));
        sim.told(cluster(vec![topic(&name, 1, &[(1, 0)])]));
        for _ in 0..n % 4 {
            sim.told(cluster(vec![refused(&name, ErrorCode::UnknownTopicOrPartition)]));
        }
    }
    sim.metadata.want_topics(sim.now, names(&[]));
    sim.told(cluster(vec![]));
    let Metadata { unknown, older, known_ids, .. } = &sim.metadata;
    assert_eq!((unknown.len(), older.len()), (0, 0));
    assert!((1..=REMEMBERED_TOPICS).contains(&known_ids.len()), "{}", known_ids.len());
}
