//! Transcripts of single members of the consumer protocol: the exact requests for patterns and for leaving,
//! and the intervals of heartbeats.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offtake_group::{Config, Event, GroupError, GroupMembership, Member, Protocol, RevocationId, Stage};
use offtake_machine::{Answer, BrokerId, CallError, CallId, Cluster, Topic, TopicInfo};
use offtake_wire::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ErrorCode, Request, Uuid,
    messages::{
        consumer_group_heartbeat::{Assignment, TopicPartitions},
        describe_configs::{
            DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, GROUP,
        },
    },
};

const COORDINATOR: BrokerId = BrokerId(3);
const INTERVAL: u64 = 5_000;

struct Hand {
    member: Member,
    now: Instant,
    cluster: Cluster,
    outstanding: Option<CallId>,
    open: VecDeque<RevocationId>,
    /// The session timeout in the group's configuration, if it can be read.
    session_ms: Option<u64>,
    /// The broker's heartbeat interval, unless a test's response sets it.
    interval_ms: Option<i32>,
    /// The configuration is returned only when the test does so.
    keeps_waiting: bool,
    describes: Option<CallId>,
    /// How often the configuration was requested.
    described: u32,
}

impl Hand {
    fn new(instance_id: Option<&str>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let now = Instant::now();
        let config = Config {
            protocol: Protocol::Consumer { remote_assignor: None },
            instance_id: instance_id.map(str::to_owned),
            ..Config::new("g")
        };
        let mut cluster = Cluster::default();
        let info = TopicInfo {
            id: id("a"),
            error: ErrorCode::None,
            internal: false,
            partitions: std::collections::BTreeMap::new(),
        };
        cluster.topics.insert("a".into(), info);
        Self {
            member: Member::new(config).unwrap(),
            now,
            cluster,
            outstanding: None,
            open: VecDeque::new(),
            session_ms: None,
            interval_ms: None,
            keeps_waiting: false,
            describes: None,
            described: 0,
        }
    }

    /// The same, with metadata.
    fn knowing(instance_id: Option<&str>) -> Self {
        let mut hand = Self::new(instance_id);
        hand.member.handle_cluster(hand.now, &hand.cluster);
        hand
    }

    fn says(&mut self) -> Option<ConsumerGroupHeartbeatRequest> {
        let transmit = self.member.poll_transmit(self.now, Some(COORDINATOR), &self.cluster)?;
        match transmit.request {
            Request::ConsumerGroupHeartbeat(beat) => {
                self.outstanding = Some(transmit.id);
                Some(beat)
            }
            Request::DescribeConfigs(asked) => {
                let of: Vec<_> =
                    asked.resources.iter().map(|of| (of.resource_type, &*of.resource_name)).collect();
                assert_eq!(of, [(GROUP, "g")]);
                self.described += 1;
                if self.keeps_waiting {
                    self.describes = Some(transmit.id);
                    return self.says();
                }
                self.member.handle_answer(self.now, transmit.id, described(self.session_ms));
                self.says()
            }
            other => panic!("{other:?}"),
        }
    }

    fn hears_in(&mut self, version: i16, response: ConsumerGroupHeartbeatResponse) {
        let answer = Answer { from: Some(COORDINATOR), version, memory: 0, response: response.into() };
        self.member.handle_answer(self.now, self.outstanding.take().unwrap(), Ok(answer));
    }

    fn fails(&mut self, error: CallError) {
        self.member.handle_answer(self.now, self.outstanding.take().unwrap(), Err(error));
    }

    fn hears(&mut self, response: ConsumerGroupHeartbeatResponse) {
        let heartbeat_interval_ms = self.interval_ms.unwrap_or(response.heartbeat_interval_ms);
        self.hears_in(1, ConsumerGroupHeartbeatResponse { heartbeat_interval_ms, ..response });
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = std::iter::from_fn(|| self.member.poll_event()).collect();
        events.retain(|event| !matches!(event, Event::Withdraw(_)));
        self.open.extend(events.iter().filter_map(Event::revocation));
        events
    }

    /// The application has completed the first open revocation.
    fn releases(&mut self) {
        let id = self.open.pop_front().unwrap();
        self.member.revocation_done(self.now, id);
    }

    /// Advances to the next heartbeat. Returns how long that took.
    fn waits(&mut self) -> u64 {
        let at = self.member.poll_timeout().unwrap();
        let waited = at - self.now;
        self.now = at;
        self.member.on_poll(self.now);
        self.member.handle_timeout(self.now);
        u64::try_from(waited.as_millis()).unwrap()
    }

    /// Joins, is assigned these partitions of "a", and has reported that it owns them.
    fn settles_with(&mut self, partitions: &[i32]) {
        self.says().unwrap();
        self.hears(beat(1, Some(partitions)));
        self.events();
        while let Some(_acknowledged) = self.says() {
            self.hears(beat(1, None));
        }
    }

    /// The times of the following heartbeats, in milliseconds from now; nothing changes meanwhile.
    fn beats_for(&mut self, millis: u64) -> Vec<u64> {
        let (from, mut beats) = (self.now, Vec::new());
        loop {
            self.waits();
            let at = u64::try_from((self.now - from).as_millis()).unwrap();
            if at > millis {
                return beats;
            }
            if self.says().is_some() {
                beats.push(at);
                self.hears(beat(1, None));
            }
        }
    }
}

/// A broker's response to DescribeConfigs.
fn described(session_ms: Option<u64>) -> Result<Answer, CallError> {
    let Some(millis) = session_ms else {
        let (address, api) = ("b:9092".to_owned(), ApiKey::DescribeConfigs);
        return Err(CallError::Unsupported { address, api });
    };
    let setting = DescribeConfigsResourceResult {
        name: "consumer.session.timeout.ms".to_owned(),
        value: Some(millis.to_string()),
        ..Default::default()
    };
    let result = DescribeConfigsResult {
        resource_type: GROUP,
        resource_name: "g".to_owned(),
        configs: vec![setting],
        ..Default::default()
    };
    let response = DescribeConfigsResponse { results: vec![result], ..Default::default() };
    Ok(Answer { from: Some(BrokerId(1)), version: 4, memory: 0, response: response.into() })
}

fn refused(error_code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }
}

fn id(topic: &str) -> Uuid {
    Uuid([topic.as_bytes()[0]; 16])
}

fn beat(member_epoch: i32, partitions: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    let assignment = partitions.map(|partitions| Assignment {
        topic_partitions: vec![TopicPartitions { topic_id: id("a"), partitions: partitions.to_vec() }],
    });
    let heartbeat_interval_ms = i32::try_from(INTERVAL).unwrap();
    ConsumerGroupHeartbeatResponse { member_epoch, heartbeat_interval_ms, assignment, ..Default::default() }
}

fn refusal(error_code: ErrorCode, message: &str) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code,
        error_message: Some(message.to_owned()),
        ..Default::default()
    }
}

fn topics(names: &[&str]) -> BTreeSet<Topic> {
    names.iter().map(|name| Topic::from(*name)).collect()
}

fn subscribed(beat: &ConsumerGroupHeartbeatRequest) -> (Option<Vec<&str>>, Option<&str>) {
    let names = beat.subscribed_topic_names.as_ref();
    (names.map(|names| names.iter().map(String::as_str).collect()), beat.subscribed_topic_regex.as_deref())
}

#[test]
fn b7_a_pattern_is_said_when_it_is_new_and_taken_back_when_it_is_not_wanted() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe_pattern(hand.now, "a.*");
    let join = hand.says().unwrap();
    assert_eq!((join.member_epoch, subscribed(&join)), (0, (Some(vec![]), Some("a.*"))));
    hand.hears(beat(1, Some(&[0])));
    assert!(matches!(&hand.events()[..], [Event::Assigned { .. }]));
    let acknowledged = hand.says().unwrap();
    assert_eq!(subscribed(&acknowledged), (None, None), "as before");
    hand.hears(beat(1, None));
    hand.member.subscribe_pattern(hand.now, "b.*");
    assert_eq!(subscribed(&hand.says().unwrap()), (Some(vec![]), Some("b.*")));
    hand.hears(beat(1, None));
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert_eq!(subscribed(&hand.says().unwrap()), (Some(vec!["a"]), Some("")));
    hand.hears(beat(1, None));

    let mut named = Hand::knowing(None);
    named.member.subscribe(named.now, topics(&["a"]));
    assert_eq!(
        subscribed(&named.says().unwrap()),
        (Some(vec!["a"]), None),
        "older brokers know of no pattern"
    );
}

#[test]
fn f4_b7_a_topic_assigned_by_pattern_is_taken_when_its_name_is_known() {
    let mut hand = Hand::new(None);
    hand.cluster = Cluster::default();
    hand.member.subscribe_pattern(hand.now, ".*");
    hand.says().unwrap();
    hand.hears(beat(1, Some(&[0, 1])));
    assert_eq!((hand.events(), hand.member.unnamed_topic_ids()), (vec![], vec![id("a")]));
    hand.cluster = Hand::new(None).cluster;
    let cluster = hand.cluster.clone();
    hand.member.handle_cluster(hand.now, &cluster);
    let events = hand.events();
    assert!(matches!(&events[..], [Event::Assigned { added, .. }] if added.len() == 2), "{events:?}");
}

/// A pattern matches another topic each hour: their names must not accumulate. A topic that is to be assigned
/// keeps its name.
#[test]
fn f4_the_name_of_a_topic_that_is_gone_is_forgotten_unless_it_is_to_be_assigned() {
    for (pattern, lists_all, is_known) in
        [("", false, false), ("", true, false), ("a.*", true, false), ("a.*", false, true)]
    {
        let mut hand = Hand::knowing(None);
        match pattern {
            "" => hand.member.subscribe(hand.now, topics(&["a"])),
            pattern => hand.member.subscribe_pattern(hand.now, pattern),
        }
        hand.says().unwrap();
        hand.hears(beat(1, Some(&[])));
        hand.cluster = Cluster { lists_all, ..Cluster::default() };
        let cluster = hand.cluster.clone();
        hand.member.handle_cluster(hand.now, &cluster);
        while hand.says().is_none() {
            hand.waits();
        }
        hand.hears(beat(1, Some(&[0])));
        assert_eq!(hand.member.unnamed_topic_ids().is_empty(), is_known, "{pattern:?}, {lists_all}");
    }
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    // The other member revokes one partition first; this one waits for that.
    while hand.says().is_none() {
        hand.waits();
    }
    hand.hears(beat(2, Some(&[1])));
    hand.events();
    hand.cluster = Cluster::default();
    let cluster = hand.cluster.clone();
    hand.member.handle_cluster(hand.now, &cluster);
    hand.releases();
    let events = hand.events();
    assert!(matches!(&events[..], [Event::Assigned { added, .. }] if added.len() == 1), "{events:?}");
}

#[test]
fn f11_a_pattern_that_the_broker_cannot_read_is_told_once_and_a_new_one_starts_afresh() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe_pattern(hand.now, "a(");
    hand.says().unwrap();
    hand.hears(refusal(ErrorCode::InvalidRegularExpression, "missing closing )"));
    let events = hand.events();
    let [Event::Failed(GroupError::InvalidPattern { pattern, reason, .. })] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((pattern.as_str(), reason.as_str()), ("a(", "missing closing )"));
    assert!(hand.says().is_none(), "it is not asked again");
    hand.member.subscribe_pattern(hand.now, "a");
    assert_eq!(hand.says().unwrap().member_epoch, 0);
}

#[test]
fn f11_a_member_that_turns_to_an_invalid_pattern_leaves_its_partitions_to_the_others() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.member.subscribe_pattern(hand.now, "a(");
    hand.says().unwrap();
    hand.hears(refusal(ErrorCode::InvalidRegularExpression, "missing closing )"));
    assert!(matches!(&hand.events()[..], [Event::Lost { .. }, Event::Failed(_)]));
    assert_eq!(hand.says().unwrap().member_epoch, -1);
    hand.hears(beat(-1, None));
    hand.releases();
    assert_eq!((hand.events(), hand.member.state_name()), (vec![], "failed"));
}

#[test]
fn f11_a_broker_or_a_protocol_without_patterns_is_said_so() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe_pattern(hand.now, "a");
    hand.says().unwrap();
    hand.hears_in(0, beat(1, None));
    assert!(matches!(&hand.events()[..], [Event::Failed(GroupError::UnsupportedVersion { .. })]));
    assert_eq!(hand.says().map(|leaves| leaves.member_epoch), Some(-1), "it had been taken in");

    let mut classic = Member::new(Config::new("g")).unwrap();
    classic.subscribe_pattern(hand.now, "a");
    assert!(matches!(classic.poll_event(), Some(Event::Failed(GroupError::UnsupportedVersion { .. }))));
}

#[test]
fn e8_how_a_member_leaves_is_its_own_choice() {
    use GroupMembership::{Default, Leave, Remain};
    let cases = [
        (None, Default, Some(-1)),
        (None, Leave, Some(-1)),
        (None, Remain, None),
        (Some("i"), Default, Some(-2)),
        (Some("i"), Leave, Some(-1)),
        (Some("i"), Remain, Some(-2)),
    ];
    for (instance, membership, epoch) in cases {
        let mut hand = Hand::knowing(instance);
        hand.member.subscribe(hand.now, topics(&["a"]));
        hand.settles_with(&[0]);
        hand.member.leave(hand.now, "the story says so", membership);
        let said = hand.says();
        assert_eq!(said.as_ref().map(|beat| beat.member_epoch), epoch, "{instance:?} {membership:?}");
        if said.is_some() {
            hand.hears(beat(epoch.unwrap(), None));
        }
        assert_eq!(hand.events(), [Event::Left], "{instance:?} {membership:?}");
    }
}

/// A static member that has stopped for lack of polls has left only temporarily; the broker keeps its place.
#[test]
fn e8_a_static_member_that_is_not_polled_leaves_for_good_if_it_is_told_to() {
    use GroupMembership::{Default, Leave, Remain};
    let cases = [
        (Some("i"), Leave, Some(-1)),
        (Some("i"), Default, None),
        (Some("i"), Remain, None),
        (None, Leave, None),
    ];
    for (instance, membership, epoch) in cases {
        for is_answered in [true, false] {
            let mut hand = Hand::knowing(instance);
            hand.member.subscribe(hand.now, topics(&["a"]));
            hand.settles_with(&[0]);
            let for_a_while = loop {
                hand.now = hand.member.poll_timeout().unwrap();
                hand.member.handle_timeout(hand.now);
                match hand.says() {
                    Some(beat) if beat.member_epoch < 0 => break beat.member_epoch,
                    Some(_) => hand.hears(beat(1, None)),
                    None => {}
                }
            };
            assert_eq!(for_a_while, if instance.is_some() { -2 } else { -1 });
            if is_answered {
                hand.hears(beat(for_a_while, None));
            }
            hand.events();
            hand.member.leave(hand.now, "closing", membership);
            if !is_answered {
                assert_eq!(hand.says(), None, "one at a time");
                hand.hears(beat(for_a_while, None));
            }
            let said = hand.says();
            assert_eq!(said.as_ref().map(|beat| beat.member_epoch), epoch, "{instance:?} {membership:?}");
            if said.is_some() {
                hand.hears(refused(ErrorCode::FencedInstanceId));
            }
            assert_eq!(hand.events(), [Event::Left], "{instance:?} {membership:?}");
        }
    }
}

/// The broker may have added it, although no response arrived.
#[test]
fn n1_a_member_leaves_the_group_that_its_first_heartbeat_may_have_reached() {
    for (is_sent, is_given_up) in [(false, false), (true, false), (true, true)] {
        let mut hand = Hand::knowing(None);
        hand.member.subscribe(hand.now, topics(&["a"]));
        if is_sent {
            hand.says().unwrap();
        }
        let given_up = hand.now + Config::new("g").request_timeout;
        while is_given_up && hand.now < given_up {
            hand.waits();
        }
        hand.member.leave(hand.now, "the story says so", GroupMembership::Default);
        let said = hand.says().map(|beat| beat.member_epoch);
        assert_eq!(said, is_sent.then_some(-1), "sent: {is_sent}, given up: {is_given_up}");
        if is_sent {
            assert!(hand.events().iter().all(|event| *event != Event::Left), "before the broker knows");
            hand.hears(beat(-1, None));
        }
        assert_eq!(hand.events(), [Event::Left]);
    }
}

/// A heartbeat that is not answered leaves time for another one within the session.
#[test]
fn a_members_heartbeat_waits_half_a_session_at_most() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.waits();
    let beat = hand.member.poll_transmit(hand.now, Some(COORDINATOR), &hand.cluster).unwrap();
    assert_eq!(beat.timeout, Config::new("g").session_timeout / 2);
}

/// F9: a member that has left before the first response gets `Left`, even if the broker does not support the
/// protocol at all.
#[test]
fn f9_leaving_a_broker_without_the_protocol_is_over_with_its_answer() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.member.leave(hand.now, "the story says so", GroupMembership::Default);
    assert_eq!(hand.says().map(|beat| beat.member_epoch), Some(-1));
    hand.fails(CallError::Unsupported { address: "b:9092".into(), api: ApiKey::ConsumerGroupHeartbeat });
    assert_eq!(hand.events(), [Event::Left]);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.fails(CallError::Unsupported { address: "b:9092".into(), api: ApiKey::ConsumerGroupHeartbeat });
    assert!(
        matches!(&hand.events()[..], [Event::Failed(GroupError::UnsupportedVersion { .. })]),
        "who wants to be a member is told"
    );
}

/// F2, F3: the result of a commit under an earlier epoch is ignored.
#[test]
fn f3_a_refused_commit_says_as_much_of_the_membership_as_a_heartbeat() {
    use ErrorCode::{
        FencedInstanceId, FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId,
    };
    for code in [StaleMemberEpoch, IllegalGeneration, UnknownMemberId, FencedMemberEpoch, FencedInstanceId] {
        let mut hand = Hand::knowing(None);
        hand.member.subscribe(hand.now, topics(&["a"]));
        hand.settles_with(&[0]);
        hand.beats_for(30_000);
        hand.events();
        while hand.says().is_some() {
            hand.hears(beat(1, None));
        }
        let now = hand.member.identity().unwrap();
        let earlier = offtake_machine::Identity { generation: 0, ..now.clone() };
        hand.member.on_commit_refused(hand.now, code, &earlier);
        assert!(hand.says().is_none() && hand.events().is_empty(), "{code}: an earlier epoch");
        hand.member.on_commit_refused(hand.now, code, &now);
        let (events, said) = (hand.events(), hand.says().map(|beat| beat.member_epoch));
        match code {
            StaleMemberEpoch | IllegalGeneration => assert_eq!((events, said), (vec![], Some(1)), "{code}"),
            FencedInstanceId => {
                assert!(matches!(&events[..], [Event::Lost { .. }, Event::Failed(_)]), "{code}: {events:?}");
                assert_eq!(hand.member.state_name(), "failed");
            }
            _ => {
                assert!(matches!(&events[..], [Event::Lost { .. }]), "{code}: {events:?}");
                hand.releases();
                assert_eq!(hand.says().unwrap().member_epoch, 0, "{code}: it joins again");
            }
        }
    }
}

/// G6: this code has a meaning only for a joining member; one in the group ignores it.
#[test]
fn g6_a_member_that_hears_of_an_unreleased_instance_id_stays_and_asks_again() {
    let mut hand = Hand::knowing(Some("i"));
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.waits();
    assert_eq!(hand.says().unwrap().member_epoch, 1);
    hand.hears(refused(ErrorCode::UnreleasedInstanceId));
    hand.waits();
    let again = hand.says().unwrap();
    assert_eq!((again.member_epoch, again.topic_partitions.is_some()), (1, true), "in full, as a retry is");
    hand.hears(beat(1, None));
    assert_eq!((hand.events(), hand.member.state_name()), (vec![], "stable"));
}

#[test]
fn members_make_ids_that_differ_everywhere() {
    let id_of = |seed| {
        let mut hand = Hand::knowing(None);
        let config =
            Config { seed, protocol: Protocol::Consumer { remote_assignor: None }, ..Config::new("g") };
        hand.member = Member::new(config).unwrap();
        hand.member.subscribe(hand.now, topics(&["a"]));
        hand.says().unwrap().member_id
    };
    let (one, other) = (id_of(1), id_of(2));
    assert_eq!((one.len(), other.len()), (22, 22), "{one} {other}");
    assert_ne!(one[..8], other[..8]);
    assert_ne!(one[14..], other[14..]);
}

#[test]
fn m2_the_session_timeout_that_is_learnt_counts() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    assert_eq!(hand.member.valid_until(), Some(hand.now + Duration::from_secs(45)));

    let mut hand = Hand::knowing(None);
    hand.session_ms = Some(10_000);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    let from = hand.now;
    assert_eq!(hand.member.valid_until(), Some(from + Duration::from_secs(10)));
    hand.now = from + Duration::from_secs(10);
    hand.member.handle_timeout(hand.now);
    assert!(hand.events().iter().any(|event| matches!(event, Event::Lost { .. })));
}

#[test]
fn live3_a_new_member_heartbeats_often_for_two_intervals_and_then_as_the_broker_wants() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.hears(beat(1, Some(&[])));
    hand.events();
    let beats = hand.beats_for(30_000);
    let gaps: Vec<u64> = beats.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(beats.iter().filter(|at| **at <= 2 * INTERVAL).count() <= 22, "a bounded price: {beats:?}");
    assert!(gaps.iter().take(15).all(|gap| *gap <= 500), "{beats:?}");
    assert_eq!(gaps.last(), Some(&INTERVAL), "{beats:?}");
}

#[test]
fn live3_a_revocation_is_sent_at_once_and_followed_by_a_heartbeat_burst() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0, 1]);
    hand.beats_for(30_000);
    hand.says();
    while hand.outstanding.is_none() {
        hand.waits();
        hand.says();
    }
    hand.hears(beat(1, Some(&[0])));
    assert!(matches!(&hand.events()[..], [Event::Revoke { .. }]));
    hand.now += Duration::from_millis(70);
    hand.releases();
    let owned = hand.says().unwrap().topic_partitions.unwrap();
    assert_eq!(owned[0].partitions, [0], "without waiting for anything");
    hand.hears(beat(2, Some(&[0])));
    hand.events();
    let beats = hand.beats_for(20_000);
    let often = beats.iter().filter(|at| **at <= INTERVAL).count();
    assert!((8..=14).contains(&often), "{beats:?}");
    assert_eq!(beats.windows(2).last().map(|pair| pair[1] - pair[0]), Some(INTERVAL), "{beats:?}");
}

#[test]
fn m2_the_session_timeout_is_looked_up_each_time_that_we_join() {
    let mut hand = Hand::knowing(None);
    hand.session_ms = Some(10_000);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.beats_for(30_000);
    assert_eq!(hand.described, 1);
    while hand.says().is_none() {
        hand.waits();
    }
    hand.hears(refused(ErrorCode::UnknownMemberId));
    hand.events();
    hand.releases();
    hand.says().unwrap();
    assert_eq!(hand.described, 2, "it may have been changed");
}

/// Sends joining heartbeats, each answered with `code`, for this time or until it fails.
fn joins_in_vain(hand: &mut Hand, code: ErrorCode, lasts: Duration) -> Option<Event> {
    let until = hand.now + lasts;
    while hand.now < until {
        if hand.says().is_some() {
            hand.hears(refused(code));
        }
        if let Some(failed) = hand.events().into_iter().find(|event| matches!(event, Event::Failed(_))) {
            return Some(failed);
        }
        hand.waits();
    }
    None
}

#[test]
fn safe6_a_heartbeat_that_is_given_up_is_withdrawn() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    let given_up = hand.outstanding.unwrap();
    assert_eq!(hand.member.poll_event(), None, "it is still waited for");
    hand.member.leave(hand.now, "closing", GroupMembership::Default);
    let withdrawn =
        std::iter::from_fn(|| hand.member.poll_event()).any(|event| event == Event::Withdraw(given_up));
    assert!(withdrawn, "the member leaves: it must not join later");
    // The lookup of the group's configuration is withdrawn, too.
    let mut hand = Hand::knowing(None);
    hand.keeps_waiting = true;
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    assert_eq!(hand.member.poll_event(), None);
    hand.member.leave(hand.now, "closing", GroupMembership::Default);
    let events: Vec<_> = std::iter::from_fn(|| hand.member.poll_event()).collect();
    for call in [hand.describes, hand.outstanding] {
        assert!(events.contains(&Event::Withdraw(call.unwrap())), "{events:?}");
    }
}

/// A coordinator that restarts between two heartbeats gives a crashed predecessor another session, without
/// reporting that. Found by the arena (5106413).
#[test]
fn g6_an_instance_id_in_use_is_waited_for_twice_as_long_as_the_session_of_this_group() {
    let mut hand = Hand::knowing(Some("i"));
    hand.session_ms = Some(300_000);
    hand.member.subscribe(hand.now, topics(&["a"]));
    let in_use = ErrorCode::UnreleasedInstanceId;
    assert_eq!(joins_in_vain(&mut hand, in_use, Duration::from_secs(590)), None);
    let failed = joins_in_vain(&mut hand, in_use, Duration::from_secs(20));
    assert!(matches!(failed, Some(Event::Failed(GroupError::UnreleasedInstanceId { .. }))), "{failed:?}");
}

/// Until then the application sees no records, so that the log has to say what it waits for.
#[test]
fn g6_the_wait_for_an_instance_id_is_reported_with_the_id() {
    let mut hand = Hand::knowing(Some("i"));
    hand.member.subscribe(hand.now, topics(&["a"]));
    let mut told = Vec::new();
    for _ in 0..6 {
        while hand.says().is_none() {
            hand.waits();
        }
        hand.hears(refused(ErrorCode::UnreleasedInstanceId));
        told.extend(hand.events());
    }
    let [Event::CoordinatorFailing(what)] = &told[..] else { panic!("{told:?}") };
    assert!(what.contains("group.instance.id i is in use"), "{what}");
}

/// The first response that a process reads after a long stop was sent before it: the owner of the id may be
/// gone since. Found by the arena (7211173).
#[test]
fn g6_an_answer_of_before_a_long_stop_does_not_end_the_wait_for_an_instance_id() {
    let in_use = ErrorCode::UnreleasedInstanceId;
    let stopped = || {
        let mut hand = Hand::knowing(Some("i"));
        hand.session_ms = Some(6_000);
        hand.member.subscribe(hand.now, topics(&["a"]));
        assert_eq!(joins_in_vain(&mut hand, in_use, Duration::from_secs(5)), None);
        while hand.says().is_none() {
            hand.waits();
        }
        hand.now += Duration::from_secs(9);
        hand.hears(refused(in_use));
        assert_eq!(hand.events(), []);
        while hand.says().is_none() {
            hand.waits();
        }
        hand
    };
    let mut hand = stopped();
    hand.hears(beat(1, Some(&[0])));
    assert_eq!(hand.member.state_name(), "stable");
    // It is still in use according to the response to a current request.
    let mut hand = stopped();
    hand.hears(refused(in_use));
    let failed = hand.events().pop();
    assert!(matches!(failed, Some(Event::Failed(GroupError::UnreleasedInstanceId { .. }))), "{failed:?}");
}

/// Its session ended here while the coordinator was down, which gave every member another session when it
/// returned.
#[test]
fn g6_a_member_that_comes_back_before_the_coordinator_misses_it_takes_its_own_place() {
    let mut hand = Hand::knowing(Some("i"));
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    while !hand.events().iter().any(|event| matches!(event, Event::Lost { .. })) {
        hand.says();
        hand.waits();
    }
    hand.releases();
    let epoch = |hand: &mut Hand| {
        loop {
            if let Some(beat) = hand.says() {
                return beat.member_epoch;
            }
            hand.waits();
        }
    };
    assert_eq!(epoch(&mut hand), 0);
    hand.hears(refused(ErrorCode::UnreleasedInstanceId));
    assert_eq!(epoch(&mut hand), -2, "it leaves for a while");
    hand.hears(refused(ErrorCode::None));
    assert_eq!(epoch(&mut hand), 0);
    // If another process still has the id, the member waits for that one.
    hand.hears(refused(ErrorCode::UnreleasedInstanceId));
    assert_eq!(epoch(&mut hand), 0);
}

/// A coordinator that takes over gives every member another session, even a crashed predecessor.
#[test]
fn g6_an_instance_id_in_use_is_waited_for_anew_when_the_coordinator_changes() {
    let mut hand = Hand::knowing(Some("i"));
    hand.session_ms = Some(300_000);
    hand.member.subscribe(hand.now, topics(&["a"]));
    let in_use = ErrorCode::UnreleasedInstanceId;
    assert_eq!(joins_in_vain(&mut hand, in_use, Duration::from_secs(590)), None);
    while hand.says().is_none() {
        hand.waits();
    }
    hand.hears(refused(ErrorCode::NotCoordinator));
    assert_eq!(joins_in_vain(&mut hand, in_use, Duration::from_secs(590)), None);
    let failed = joins_in_vain(&mut hand, in_use, Duration::from_secs(20));
    assert!(matches!(failed, Some(Event::Failed(GroupError::UnreleasedInstanceId { .. }))), "{failed:?}");
}

#[test]
fn h7_partitions_being_revoked_when_fenced_are_not_committed() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    let beats = |hand: &mut Hand| {
        while hand.outstanding.is_none() {
            hand.waits();
            hand.says();
        }
    };
    beats(&mut hand);
    hand.hears(beat(1, Some(&[])));
    assert!(matches!(&hand.events()[..], [Event::Revoke { .. }, ..]));
    assert!(!hand.member.is_out_until_revoked());
    beats(&mut hand);
    hand.hears(refused(ErrorCode::FencedMemberEpoch));
    assert_eq!(hand.events(), []);
    assert!(hand.member.is_out_until_revoked());
    hand.releases();
    assert!(!hand.member.is_out_until_revoked());
}

#[test]
fn f13_a_member_that_is_fenced_again_and_again_says_so_once() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    let mut told = Vec::new();
    for _ in 0..6 {
        while hand.says().is_none() {
            hand.waits();
        }
        hand.hears(refused(ErrorCode::FencedMemberEpoch));
        told.extend(hand.events());
    }
    assert!(matches!(&told[..], [Event::CoordinatorFailing(_)]), "{told:?}");
    while hand.says().is_none() {
        hand.waits();
    }
    hand.hears(beat(1, Some(&[0])));
    assert_eq!(hand.events().first(), Some(&Event::CoordinatorRecovered));
}

#[test]
fn q4_an_error_that_the_broker_cannot_name_is_told_after_a_few_times() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    let failed = joins_in_vain(&mut hand, ErrorCode::UnknownServerError, Duration::from_secs(60));
    assert!(matches!(failed, Some(Event::Failed(GroupError::Refused { .. }))), "{failed:?}");
}

#[test]
fn live3_a_long_interval_makes_the_quick_heartbeats_no_more() {
    let mut hand = Hand::knowing(None);
    hand.session_ms = Some(24 * 3_600_000);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.interval_ms = Some(3_600_000);
    hand.hears(beat(1, Some(&[])));
    hand.events();
    let count = hand.beats_for(9_000_000).len();
    assert!((21..=26).contains(&count), "{count} heartbeats in two and a half hours");
}

#[test]
fn input50_an_assignment_of_a_million_partitions_is_not_believed() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.hears(beat(1, Some(&(0..1_000_000).collect::<Vec<_>>())));
    assert_eq!(hand.events(), []);
    hand.now += Duration::from_secs(5);
    assert!(hand.says().unwrap().topic_partitions.is_some(), "it is asked for again, in full");
    hand.hears(beat(1, Some(&[0])));
    assert!(matches!(hand.events().as_slice(), [Event::Assigned { .. }]));
}

#[test]
fn m2_a_session_timeout_that_is_told_late_counts_from_then_on() {
    let mut hand = Hand::knowing(None);
    hand.keeps_waiting = true;
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    let from = hand.now;
    assert_eq!(hand.member.valid_until(), Some(from + Duration::from_secs(45)));
    let id = hand.describes.take().unwrap();
    hand.member.handle_answer(hand.now, id, described(Some(10_000)));
    assert_eq!(hand.member.valid_until(), Some(from + Duration::from_secs(10)));
    hand.now = from + Duration::from_secs(10);
    hand.member.handle_timeout(hand.now);
    assert!(hand.events().iter().any(|event| matches!(event, Event::Lost { .. })));
}

/// The broker waits until it knows about the revocation, not until all newly assigned partitions have been
/// added.
#[test]
fn f4_a_topic_without_a_name_does_not_end_what_is_owned() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a", "b"]));
    hand.settles_with(&[0, 1]);
    hand.waits();
    hand.says().unwrap();
    let one = |topic| TopicPartitions { topic_id: id(topic), partitions: vec![0] };
    let assignment = Some(Assignment { topic_partitions: vec![one("a"), one("b")] });
    hand.hears(ConsumerGroupHeartbeatResponse { assignment, ..beat(2, None) });
    hand.events();
    hand.releases();
    let said = hand.says().unwrap();
    assert!(said.topic_partitions.is_some(), "what is left");
    hand.hears(beat(2, None));
    // The metadata is late, by more than max.poll.interval.ms.
    hand.beats_for(400_000);
    assert!(hand.member.valid_until().unwrap() > hand.now, "a-0 is still ours");
}

/// The plan of seed 20077096: the application subscribes to something else while it gives up what the first target does not have.
#[test]
fn d9_a_broker_that_sends_another_target_waits_anew_for_the_revocation() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0, 1]);
    let told = |hand: &mut Hand, partitions: &[i32]| {
        hand.waits();
        let asked_at = hand.now;
        hand.says().unwrap();
        hand.now += Duration::from_millis(10);
        hand.hears(beat(1, Some(partitions)));
        asked_at + Duration::from_secs(300)
    };
    let until = told(&mut hand, &[0]);
    assert_eq!(hand.member.revoke_by(), Some(until));
    hand.events();
    hand.beats_for(100_000);
    // The same again, as in the response to a full heartbeat, is no news.
    told(&mut hand, &[0]);
    assert_eq!(hand.member.revoke_by(), Some(until));
    let until = told(&mut hand, &[]);
    assert_eq!(hand.member.revoke_by(), Some(until));
    hand.releases();
    let next = hand.events();
    assert!(matches!(&next[..], [Event::Revoke { partitions, .. }] if partitions.len() == 1), "{next:?}");
    hand.says().unwrap();
    hand.hears(beat(1, None));
    assert_eq!(hand.member.revoke_by(), Some(until), "the broker waits for the second as well");
    hand.releases();
    hand.says().unwrap();
    hand.hears(beat(2, None));
    assert_eq!(hand.member.revoke_by(), None);
}

#[test]
fn a_member_that_subscribes_to_what_it_has_says_nothing_new() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert!(hand.says().is_none());
    hand.waits();
    assert_eq!(subscribed(&hand.says().unwrap()), (None, None));
}

#[test]
fn n2_a_goodbye_that_nobody_can_be_told_ends_with_the_request_timeout() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.member.leave(hand.now, "the story says so", GroupMembership::Default);
    let (from, cluster) = (hand.now, hand.cluster.clone());
    // No coordinator is known, and the driver wakes the member only at the time that it requested.
    assert!(hand.member.poll_transmit(hand.now, None, &cluster).is_none());
    hand.now = hand.member.poll_timeout().expect("it asks to be woken");
    hand.member.handle_timeout(hand.now);
    assert_eq!((hand.events(), hand.now - from), (vec![Event::Left], Duration::from_secs(30)));
}

#[test]
fn a_member_is_stable_only_when_the_group_knows_what_it_has() {
    let mut hand = Hand::knowing(None);
    assert_eq!(hand.member.stage(), Stage::Outside);
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert_eq!(hand.member.stage(), Stage::Joining);
    hand.settles_with(&[0, 1]);
    assert_eq!(hand.member.stage(), Stage::Stable);
    hand.waits();
    hand.says().unwrap();
    hand.hears(beat(2, Some(&[0])));
    assert!(matches!(&hand.events()[..], [Event::Revoke { .. }]));
    assert_eq!(hand.member.stage(), Stage::Rebalancing, "one is still to be released");
    hand.releases();
    assert_eq!(hand.member.stage(), Stage::Stable);
}

/// A refused heartbeat is repeated after a wait, which a burst shortens, and not at once.
#[test]
fn c2_a_member_whose_heartbeat_is_refused_waits_before_the_next_one() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.waits();
    hand.says().unwrap();
    hand.hears(refused(ErrorCode::CoordinatorLoadInProgress));
    assert!(hand.says().is_none());
    // A pending change does not make the next one sooner.
    hand.member.subscribe(hand.now, topics(&["a", "b"]));
    assert!(hand.says().is_none());
    assert!(hand.waits() > 0);
    let again = hand.says().unwrap();
    assert_eq!((again.member_epoch, subscribed(&again)), (1, (Some(vec!["a", "b"]), None)));
}

/// A missing group ends a membership; a joining member has none to lose.
#[test]
fn a_missing_group_is_no_loss_for_a_member_that_has_not_joined() {
    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.says().unwrap();
    hand.hears(refused(ErrorCode::GroupIdNotFound));
    assert!(hand.says().is_none(), "no second try without a wait");

    let mut hand = Hand::knowing(None);
    hand.member.subscribe(hand.now, topics(&["a"]));
    hand.settles_with(&[0]);
    hand.waits();
    hand.says().unwrap();
    hand.hears(refused(ErrorCode::GroupIdNotFound));
    assert!(matches!(&hand.events()[..], [Event::Lost { .. }]));
}
