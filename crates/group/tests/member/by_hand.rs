//! Transcripts of single members: the exact requests, and the effect of each response.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use offtake_group::{BuiltIn as Assignor, Config, Event, GroupError, GroupMembership, Member, RevocationId};
use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, Identity, PartitionInfo, PromptAnswer, Target, Topic,
    TopicInfo, TopicPartition,
};
use offtake_wire::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, ErrorCode, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, Request, Response, SyncGroupRequest,
    SyncGroupResponse, TopicPartition as OfTopic, Uuid, messages::join_group::JoinGroupResponseMember,
};

const COORDINATOR: BrokerId = BrokerId(3);
/// Replaces every revocation id.
const ANY: RevocationId = RevocationId(0);

/// The time between heartbeats with default settings, in milliseconds: fifteen intervals end just after a
/// session does.
const BEAT: u64 = 3_007;

struct Hand {
    member: Member,
    now: Instant,
    cluster: Cluster,
    /// A JoinGroup, SyncGroup or LeaveGroup.
    step: Option<CallId>,
    /// A heartbeat, which may be outstanding beside it.
    heartbeat: Option<CallId>,
    open: VecDeque<RevocationId>,
}

impl Hand {
    fn new(config: Config) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let now = Instant::now();
        let mut hand = Self {
            member: Member::new(config).unwrap(),
            now,
            cluster: cluster(&[("a", 3)]),
            step: None,
            heartbeat: None,
            open: VecDeque::new(),
        };
        hand.member.subscribe(now, topics(&["a"]));
        hand
    }

    /// The next request, a JoinGroup, SyncGroup or LeaveGroup first; a heartbeat sent with it is only noted.
    fn sends(&mut self) -> Option<Request> {
        let first = self.transmits()?;
        let is_heartbeat = |request: &Request| matches!(request, Request::Heartbeat(_));
        if let Some(second) = self.transmits() {
            assert!(!is_heartbeat(&first) && is_heartbeat(&second), "one of a kind: {first:?}, {second:?}");
            assert!(self.transmits().is_none(), "two at a time");
        }
        Some(first)
    }

    fn transmits(&mut self) -> Option<Request> {
        let transmit = self.member.poll_transmit(self.now, Some(COORDINATOR), &self.cluster)?;
        assert_eq!(transmit.to, Target::Broker(COORDINATOR));
        match transmit.request {
            Request::Heartbeat(_) => self.heartbeat = Some(transmit.id),
            _ => self.step = Some(transmit.id),
        }
        Some(transmit.request)
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.member.handle_timeout(self.now);
    }

    fn waits_and_polls(&mut self, millis: u64) {
        self.member.on_poll(self.now + Duration::from_millis(millis));
        self.wait(millis);
    }

    fn hears(&mut self, response: impl Into<Response>) {
        let response = response.into();
        let id = match response {
            Response::Heartbeat(_) => self.heartbeat.take(),
            _ => self.step.take(),
        };
        let answer = Answer { from: Some(COORDINATOR), version: 9, memory: 0, response };
        self.member.handle_answer(self.now, id.unwrap(), Ok(answer));
    }

    /// The connection of a JoinGroup, SyncGroup or LeaveGroup breaks, or else that of a heartbeat.
    fn hears_nothing(&mut self) {
        let id = self.step.take().or_else(|| self.heartbeat.take()).unwrap();
        self.disconnected(id);
    }

    fn disconnected(&mut self, id: CallId) {
        let error = CallError::Disconnected { address: "b:9092".into(), reason: "gone".into() };
        self.member.handle_answer(self.now, id, Err(error));
    }

    /// The events for the application; their revocation ids are kept for [`releases`](Self::releases).
    fn events(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = std::iter::from_fn(|| self.member.poll_event()).collect();
        events.retain(|event| !matches!(event, Event::Withdraw(_)));
        self.open.extend(events.iter().filter_map(Event::revocation));
        for event in &mut events {
            if let Event::Revoke { id, .. } | Event::Lost { id, .. } = event {
                *id = ANY;
            }
        }
        events
    }

    /// The application has completed the first open revocation.
    fn releases(&mut self) {
        let id = self.open.pop_front().unwrap();
        self.member.revocation_done(self.now, id);
    }

    fn joins(&mut self) -> JoinGroupRequest {
        match self.sends() {
            Some(Request::JoinGroup(join)) => join,
            other => panic!("{other:?}"),
        }
    }

    fn syncs(&mut self) -> SyncGroupRequest {
        match self.sends() {
            Some(Request::SyncGroup(sync)) => sync,
            other => panic!("{other:?}"),
        }
    }

    /// Joins as a follower, up to owning `partitions` of "a".
    fn settles_with(&mut self, generation: i32, partitions: &[i32]) {
        self.joins();
        self.hears(joined(generation, "leader", "me", vec![]));
        self.syncs();
        self.hears(assigned(partitions));
        assert_eq!(self.member.state_name(), "stable");
        self.events();
    }
}

fn topics(names: &[&str]) -> BTreeSet<Topic> {
    names.iter().map(|name| Topic::from(*name)).collect()
}

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let partition = PartitionInfo::new(None, None);
    let info = |count: i32| TopicInfo {
        id: Uuid::ZERO,
        error: if count > 0 { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition },
        internal: false,
        partitions: (0..count).map(|p| (p, partition.clone())).collect(),
    };
    Cluster {
        topics: topics.iter().map(|(t, n)| (Topic::from(*t), info(*n))).collect(),
        ..Cluster::default()
    }
}

fn config(assignor: Assignor) -> Config {
    Config { assignors: vec![assignor.into()], ..Config::new("group") }
}

fn joined(
    generation: i32,
    leader: &str,
    me: &str,
    members: Vec<JoinGroupResponseMember>,
) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: generation,
        protocol_name: Some("cooperative-sticky".into()),
        leader: leader.into(),
        member_id: me.into(),
        members,
        ..Default::default()
    }
}

fn assigned(partitions: &[i32]) -> SyncGroupResponse {
    let of = OfTopic { topic: "a".into(), partitions: partitions.to_vec() };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: vec![of], user_data: None };
    SyncGroupResponse { assignment: assignment.encode_versioned(3).unwrap(), ..Default::default() }
}

fn beat(error_code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { error_code, ..Default::default() }
}

fn member(id: &str, metadata: Bytes) -> JoinGroupResponseMember {
    JoinGroupResponseMember { member_id: id.into(), group_instance_id: None, metadata }
}

fn subscription(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    ConsumerProtocolSubscription { topics, ..Default::default() }.encode_versioned(3).unwrap()
}

fn tps(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|p| TopicPartition::new("a", *p)).collect()
}

fn given(sync: &SyncGroupRequest, member: &str) -> Vec<OfTopic> {
    let found = sync.assignments.iter().find(|given| given.member_id == member).unwrap();
    ConsumerProtocolAssignment::decode_versioned(found.assignment.clone()).unwrap().assigned_partitions
}

#[test]
fn a_join_says_everything_that_kafka_asks_for() {
    let mut hand = Hand::new(Config {
        instance_id: Some("i".into()),
        rack: Some("r".into()),
        assignors: vec![Assignor::CooperativeSticky.into(), Assignor::Range.into()],
        ..Config::new("group")
    });
    let join = hand.joins();
    assert_eq!((join.session_timeout_ms, join.rebalance_timeout_ms), (45_000, 300_000));
    assert_eq!((join.protocol_type.as_str(), join.group_instance_id.as_deref()), ("consumer", Some("i")));
    let names: Vec<_> = join.protocols.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["cooperative-sticky", "range"]);
    let told = ConsumerProtocolSubscription::decode_versioned(join.protocols[1].metadata.clone()).unwrap();
    assert_eq!((told.topics, told.rack_id, told.generation_id), (vec!["a".to_owned()], Some("r".into()), -1));
    assert!(join.reason.is_some_and(|reason| !reason.is_empty()), "KIP-800");
}

#[test]
fn the_assignor_is_the_one_that_the_group_chose_and_known_to_members_alone() {
    let assignors = vec![Assignor::Range.into(), Assignor::CooperativeSticky.into()];
    let mut hand = Hand::new(Config { assignors, ..Config::new("group") });
    assert_eq!(hand.member.assignor(), None);
    hand.settles_with(1, &[0]);
    assert_eq!(hand.member.assignor(), Some("cooperative-sticky"));
    hand.member.leave(hand.now, "closing", GroupMembership::Default);
    assert_eq!(hand.member.assignor(), None);
}

#[test]
fn d13_the_longest_timeouts_are_said_as_what_fits_and_overflow_nothing() {
    let mut hand = Hand::new(Config {
        rebalance_timeout: Duration::MAX,
        session_timeout: Duration::MAX,
        request_timeout: Duration::MAX,
        ..config(Assignor::CooperativeSticky)
    });
    let join = hand.joins();
    assert_eq!((join.session_timeout_ms, join.rebalance_timeout_ms), (i32::MAX, i32::MAX));
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert!(hand.member.valid_until().is_some() && hand.member.poll_timeout().is_some());
}

#[test]
fn d6_a_leader_makes_the_best_of_what_others_wrote() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    let members = vec![
        member("me", subscription(&["a"])),
        member("garbage", Bytes::from_static(b"\xff\xff\xff\xff\xff")),
        member("empty", Bytes::new()),
        member("twice", subscription(&["a"])),
        member("twice", subscription(&["b"])),
    ];
    hand.hears(joined(1, "me", "me", members));
    let sync = hand.syncs();
    let mut ids: Vec<_> = sync.assignments.iter().map(|given| given.member_id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["empty", "garbage", "me", "twice"]);
    assert!(given(&sync, "garbage").is_empty() && given(&sync, "empty").is_empty());
    let shared: usize =
        ["me", "twice"].iter().flat_map(|m| given(&sync, m)).map(|of| of.partitions.len()).sum();
    assert_eq!(shared, 3);
}

#[test]
fn input50_an_assignment_that_cannot_be_read_is_asked_for_again() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(SyncGroupResponse {
        assignment: Bytes::from_static(&[0, 1, 0, 0, 0, 9]),
        ..Default::default()
    });
    assert_eq!(hand.events(), []);
    assert_eq!(hand.joins().member_id, "me");
}

#[test]
fn input50_an_assignment_of_a_million_partitions_is_asked_for_again() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&(0..1_000_000).collect::<Vec<_>>()));
    assert_eq!(hand.events(), []);
    assert_eq!(hand.joins().member_id, "me");
}

#[test]
fn f5_an_assignment_that_names_a_partition_twice_assigns_it_once() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[1, 0, 1, -4]));
    assert_eq!(hand.events(), [Event::Assigned { added: tps(&[0, 1]), owned: tps(&[0, 1]), generation: 1 }]);
}

#[test]
fn the_leader_waits_for_metadata_of_the_whole_group_but_not_for_ever() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(
        1,
        "me",
        "me",
        vec![member("me", subscription(&["a"])), member("x", subscription(&["b"]))],
    ));
    assert_eq!(hand.member.group_topics(), Some(&topics(&["a", "b"])));
    assert!(hand.sends().is_none());
    // Metadata without "b" does not end the wait.
    hand.member.handle_cluster(hand.now, &hand.cluster);
    assert!(hand.sends().is_none());
    hand.wait(1_000);
    hand.cluster = cluster(&[("a", 3), ("b", 2)]);
    hand.member.handle_cluster(hand.now, &hand.cluster);
    assert_eq!(given(&hand.syncs(), "x")[0].partitions, [0, 1]);

    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(
        1,
        "me",
        "me",
        vec![member("me", subscription(&["a"])), member("x", subscription(&["b"]))],
    ));
    assert!(hand.sends().is_none());
    let until = hand.member.poll_timeout().unwrap();
    assert!(until <= hand.now + Duration::from_secs(15));
    hand.wait(15_000);
    let sync = hand.syncs();
    assert!(given(&sync, "x").is_empty() && given(&sync, "me")[0].partitions == [0, 1, 2]);
    hand.hears(assigned(&[0, 1, 2]));
    // When it appears, all members rejoin.
    hand.cluster = cluster(&[("a", 3), ("b", 2)]);
    hand.member.handle_cluster(hand.now, &hand.cluster);
    hand.joins();
}

#[test]
fn a_leader_without_metadata_leaves_the_others_half_of_a_short_rebalance() {
    let rebalance_timeout = Duration::from_secs(10);
    let mut hand = Hand::new(Config { rebalance_timeout, ..config(Assignor::CooperativeSticky) });
    hand.joins();
    let members = vec![member("me", subscription(&["a"])), member("x", subscription(&["b"]))];
    hand.hears(joined(1, "me", "me", members));
    assert!(hand.sends().is_none());
    hand.wait(5_000);
    assert_eq!(given(&hand.syncs(), "me")[0].partitions, [0, 1, 2]);
}

#[test]
fn a_topic_that_does_not_exist_is_not_waited_for() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.cluster = cluster(&[("a", 3), ("b", 0)]);
    hand.joins();
    hand.hears(joined(1, "me", "me", vec![member("me", subscription(&["a", "b"]))]));
    hand.syncs();
}

#[test]
fn d10_refusals_end_it_with_a_sentence() {
    let cases = [
        (ErrorCode::InconsistentGroupProtocol, "give all members one they share"),
        (ErrorCode::InvalidSessionTimeout, "session.timeout.ms=45000"),
        (ErrorCode::GroupAuthorizationFailed, "needs READ"),
        (ErrorCode::FencedInstanceId, "taken over"),
        (ErrorCode::GroupMaxSizeReached, "group.max.size"),
        (ErrorCode::UnsupportedVersion, "too old"),
        (ErrorCode::InvalidGroupId, "INVALID_GROUP_ID"),
    ];
    for (error_code, hint) in cases {
        let mut hand = Hand::new(config(Assignor::CooperativeSticky));
        hand.joins();
        hand.hears(JoinGroupResponse { error_code, ..Default::default() });
        let [Event::Failed(error)] = &hand.events()[..] else { panic!("{error_code}") };
        assert!(error.to_string().contains(hint), "{error}");
        hand.wait(60_000);
        assert!(
            hand.sends().is_none()
                && hand.member.poll_timeout().is_none()
                && !hand.member.wants_coordinator()
        );
    }
}

#[test]
fn g1_a_fence_is_the_end_wherever_it_is_met() {
    let fenced = |mut hand: Hand| {
        let events = hand.events();
        assert!(
            matches!(events.last(), Some(Event::Failed(GroupError::FencedInstanceId { .. }))),
            "{events:?}"
        );
        assert!(hand.member.identity().is_none() && hand.sends().is_none());
    };
    let config = Config { instance_id: Some("i".into()), ..config(Assignor::CooperativeSticky) };
    let code = ErrorCode::FencedInstanceId;

    let mut hand = Hand::new(config.clone());
    hand.joins();
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(SyncGroupResponse { error_code: code, ..Default::default() });
    fenced(hand);

    let mut hand = Hand::new(config.clone());
    hand.settles_with(1, &[0]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(code));
    fenced(hand);

    let mut hand = Hand::new(config);
    hand.settles_with(1, &[0]);
    let identity = hand.member.identity().unwrap();
    assert_eq!(identity.instance_id.as_deref(), Some("i"));
    hand.member.on_commit_refused(hand.now, code, &identity);
    fenced(hand);
}

#[test]
fn e4_a_refused_commit_of_a_former_identity_is_ignored() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    let old = hand.member.identity().unwrap();
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.member.on_commit_refused(hand.now, ErrorCode::IllegalGeneration, &old); // the join bumped it
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.events(), [Event::Assigned { added: vec![], owned: tps(&[0]), generation: 2 }]);
    hand.member.on_commit_refused(hand.now, ErrorCode::IllegalGeneration, &old);
    assert_eq!(hand.events(), []);
    let now = hand.member.identity().unwrap();
    assert_eq!(now, Identity { generation: 2, ..old });
    hand.member.on_commit_refused(hand.now, ErrorCode::IllegalGeneration, &now);
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0]), generation: 2 }]);
}

#[test]
fn a_commit_refused_because_the_group_rebalances_is_as_good_as_a_heartbeat() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    let identity = hand.member.identity().unwrap();
    hand.member.on_commit_refused(hand.now, ErrorCode::RebalanceInProgress, &identity);
    hand.joins();
}

#[test]
fn c7_an_answer_to_a_call_that_was_given_up_changes_nothing() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.wait(BEAT);
    hand.sends();
    let late = hand.heartbeat.take().unwrap();
    hand.member.subscribe(hand.now, topics(&["a", "b"]));
    hand.joins();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    // The response belongs to the generation before.
    let answer =
        Answer { from: None, version: 4, memory: 0, response: beat(ErrorCode::IllegalGeneration).into() };
    hand.member.handle_answer(hand.now, late, Ok(answer));
    assert_eq!((hand.events(), hand.member.state_name()), (vec![], "syncing"));
}

#[test]
fn nothing_leaves_while_nobody_knows_the_coordinator_and_nobody_spins() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    assert!(hand.member.wants_coordinator());
    assert!(hand.member.poll_transmit(hand.now, None, &hand.cluster).is_none());
    assert!(hand.member.poll_timeout().is_none_or(|at| at > hand.now), "nothing to come back for at once");
    hand.joins();
}

#[test]
fn safe9_a_revoke_that_nobody_has_heard_of_is_lost_when_everything_is() {
    let mut hand = Hand::new(config(Assignor::Range));
    hand.joins();
    let join = JoinGroupResponse { protocol_name: Some("range".into()), ..joined(1, "leader", "me", vec![]) };
    hand.hears(join);
    hand.syncs();
    hand.hears(assigned(&[0, 1]));
    hand.events();
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::UnknownMemberId));
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0, 1]), generation: 1 }]);
    assert!(hand.sends().is_none(), "not before it is released");
    hand.releases();
    assert_eq!(hand.joins().member_id, "");
}

#[test]
fn safe9_partitions_being_revoked_are_not_lost_too() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0, 1]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[1]));
    assert_eq!(
        hand.events(),
        [
            Event::Revoke { id: ANY, partitions: tps(&[0]), generation: 1 },
            Event::Assigned { added: vec![], owned: tps(&[1]), generation: 2 },
        ]
    );
    assert_eq!(hand.member.owned().len(), 2);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::IllegalGeneration));
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[1]), generation: 2 }]);
    assert!(hand.member.identity().is_none() && hand.member.owned().is_empty());
    assert!(hand.sends().is_none());
    hand.releases();
    assert!(hand.sends().is_none(), "one of two");
    hand.releases();
    hand.joins();
}

/// Nothing else is lost than what is being revoked, so no event reports it; and we rejoin only when that is
/// released.
#[test]
fn h7_partitions_being_revoked_when_the_group_moves_on_are_not_committed() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[]));
    assert!(matches!(&hand.events()[..], [Event::Revoke { .. }, Event::Assigned { .. }]));
    assert!(!hand.member.is_out_until_revoked());
    let identity = hand.member.identity().unwrap();
    hand.member.on_commit_refused(hand.now, ErrorCode::IllegalGeneration, &identity);
    assert_eq!(hand.events(), []);
    assert!(hand.member.is_out_until_revoked());
    assert!(hand.sends().is_none());
    hand.releases();
    hand.joins();
    assert!(!hand.member.is_out_until_revoked());
}

/// The coordinator keeps a static member that did not rejoin in time; a later generation adds it again
/// without reporting that. Found by `tests/model`: another member had owned its partitions meanwhile, and it
/// was told to Revoke them, with a commit.
#[test]
fn e5_a_static_member_that_a_generation_has_passed_by_has_lost_what_it_held() {
    let mut hand =
        Hand::new(Config { instance_id: Some("one".into()), ..config(Assignor::CooperativeSticky) });
    hand.settles_with(3, &[0, 1]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    assert_eq!(hand.joins().member_id, "me");
    // Longer than the others wait for it: generation 4 was without this member.
    hand.waits_and_polls(301_000);
    hand.hears(joined(5, "leader", "me", vec![]));
    assert_eq!(hand.member.identity(), None, "nothing can be committed");
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0, 1]), generation: 3 }]);
    assert!(hand.sends().is_none(), "not before the application has heard of it");
    hand.releases();
    assert_eq!(hand.joins().member_id, "me");
    hand.hears(joined(6, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    let began_again = Event::Assigned { added: tps(&[0]), owned: tps(&[0]), generation: 6 };
    assert_eq!(hand.events(), [began_again]);
}

/// The coordinator lost the group and created it again; a KIP-848 coordinator adds a member of the classic
/// protocol under its old id. Found by the arena (2002074): the member kept reading what had been assigned to
/// another.
#[test]
fn c8_a_member_accepted_by_a_recreated_group_has_lost_its_partitions() {
    for (generation, keeps) in [(2, false), (3, true), (4, true)] {
        let mut hand = Hand::new(config(Assignor::CooperativeSticky));
        hand.settles_with(3, &[0, 1]);
        hand.wait(3_000);
        hand.sends();
        hand.hears(beat(ErrorCode::RebalanceInProgress));
        assert_eq!(hand.joins().member_id, "me");
        hand.hears(joined(generation, "leader", "me", vec![]));
        let lost = Event::Lost { id: ANY, partitions: tps(&[0, 1]), generation: 3 };
        let told = if keeps { vec![] } else { vec![lost] };
        assert_eq!(hand.events(), told, "generation {generation}");
        assert_eq!(hand.member.owned().is_empty(), !keeps, "generation {generation}");
    }
}

/// A KIP-848 group removes a member of the classic protocol for this, and adds it again under its old id.
/// Found by the arena (138321): it committed offsets of partitions that another member owned.
#[test]
fn f12_a_member_that_revoked_too_slowly_in_a_mixed_group_has_lost_its_partitions() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(3, &[0, 1]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.hears(joined(3, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    hand.events();
    for _ in 0..31 {
        hand.waits_and_polls(10_000);
        assert!(matches!(hand.sends(), Some(Request::Heartbeat(_))));
        hand.hears(beat(ErrorCode::RebalanceInProgress));
    }
    hand.releases();
    assert_eq!(hand.joins().member_id, "me");
    hand.hears(joined(6, "leader", "me", vec![]));
    assert_eq!(hand.member.identity(), None, "nothing can be committed");
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0]), generation: 3 }]);
}

#[test]
fn e5_a_member_that_waited_long_for_the_others_keeps_its_partitions() {
    let mut hand =
        Hand::new(Config { instance_id: Some("one".into()), ..config(Assignor::CooperativeSticky) });
    hand.settles_with(3, &[0, 1]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.waits_and_polls(301_000);
    hand.hears(joined(4, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0, 1]));
    assert_eq!(hand.events(), [Event::Assigned { added: vec![], owned: tps(&[0, 1]), generation: 4 }]);
}

/// Kafka renews a session when a generation begins, not when a member requests its assignment after that.
#[test]
fn safe7_a_session_counts_from_the_join_and_not_from_a_sync_that_was_late() {
    let config = config(Assignor::CooperativeSticky);
    let session = config.session_timeout;
    let mut hand = Hand::new(config);
    let before = hand.now;
    hand.joins();
    hand.hears(joined(3, "leader", "me", vec![]));
    hand.wait(4_000);
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.member.valid_until(), Some(before + session));
    assert!(matches!(hand.sends(), Some(Request::Heartbeat(_))), "an interval has passed");
}

/// The group continues with a static member that does not join in time: that renews the session, and no
/// JoinGroup does after that. Found by the arena (9022775), where the first JoinGroup was lost.
#[test]
fn safe6_a_static_member_that_joins_a_generation_late_does_not_renew_its_session() {
    let config = Config { instance_id: Some("one".into()), ..config(Assignor::CooperativeSticky) };
    let session = config.session_timeout;
    let mut hand = Hand::new(config);
    hand.settles_with(1, &[0]);
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    for _ in 0..98 {
        hand.waits_and_polls(BEAT);
        hand.sends();
        hand.hears(beat(ErrorCode::RebalanceInProgress));
    }
    let heard = hand.now;
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::IllegalGeneration));
    hand.waits_and_polls(4_000);
    hand.hears_nothing();
    hand.waits_and_polls(2_000);
    hand.joins();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.member.valid_until(), Some(heard + session));
}

/// The coordinator may have processed the JoinGroup whose response was lost.
#[test]
fn safe6_a_session_counts_from_the_first_join_where_that_is_sent_again() {
    let mut hand = waits_to_join();
    let (first, session) = (hand.now, config(Assignor::CooperativeSticky).session_timeout);
    hand.hears_nothing();
    hand.waits_and_polls(2_000);
    hand.joins();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.member.valid_until(), Some(first + session));
}

/// Neither JoinGroup nor SyncGroup renews the session of a member for which they change nothing. Found by the
/// arena (47002).
#[test]
fn safe7_a_member_that_rejoins_its_generation_heartbeats_before_it_owns_anything() {
    let mut hand =
        Hand::new(Config { instance_id: Some("one".into()), ..config(Assignor::CooperativeSticky) });
    hand.settles_with(3, &[0]);
    hand.waits_and_polls(60_000);
    assert!(hand.events().contains(&Event::Lost { id: ANY, partitions: tps(&[0]), generation: 3 }));
    hand.releases();
    hand.joins();
    hand.hears(joined(3, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!((hand.member.valid_until(), hand.member.identity()), (None, None));
    assert!(matches!(hand.sends(), Some(Request::Heartbeat(_))), "at once");
    hand.hears(beat(ErrorCode::None));
    assert!(hand.member.valid_until().is_some() && hand.member.identity().is_some());
}

/// The coordinator gives a static member that returns its old assignment, without a rebalance. Found by
/// `tests/model`: the partitions that it should have revoked before had no owner for good.
#[test]
fn e1_a_static_member_that_was_out_while_letting_go_still_joins_again_for_the_others() {
    let mut hand =
        Hand::new(Config { instance_id: Some("one".into()), ..config(Assignor::CooperativeSticky) });
    hand.settles_with(3, &[0, 1]);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand.hears(joined(4, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    hand.events();
    // The application is too slow to revoke partition 1.
    while hand.member.state_name() != "not polled" {
        hand.wait(10_000);
        if hand.sends().is_some() {
            hand.hears(beat(ErrorCode::None));
        }
    }
    hand.events();
    hand.releases();
    hand.releases();
    hand.member.on_poll(hand.now);
    assert_eq!(hand.joins().member_id, "");
    hand.hears(joined(4, "leader", "me again", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.joins().member_id, "me again", "or nobody would ever have 1");
    hand.hears(joined(5, "leader", "me again", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    assert_eq!(hand.member.state_name(), "stable", "once is enough");
}

#[test]
fn d3_a_member_that_is_cut_off_while_joining_keeps_its_member_id() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    assert_eq!(hand.joins().member_id, "");
    let required = JoinGroupResponse {
        error_code: ErrorCode::MemberIdRequired,
        member_id: "me".into(),
        ..Default::default()
    };
    hand.hears(required);
    assert_eq!(hand.joins().member_id, "me");
    hand.hears_nothing();
    assert_eq!(hand.events(), [Event::CoordinatorLost(COORDINATOR)]);
    assert!(hand.sends().is_none(), "not at once");
    hand.wait(200);
    assert_eq!(hand.joins().member_id, "me");
}

#[test]
fn f9_leaving_is_retried_where_that_helps_and_an_unknown_member_has_left() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.member.leave(hand.now, &"long ".repeat(100), GroupMembership::Default);
    let Some(Request::LeaveGroup(leave)) = hand.sends() else { panic!() };
    assert!(leave.members[0].reason.as_ref().is_some_and(|r| r.len() == 255));
    assert_eq!(leave.members[0].member_id, leave.member_id, "for brokers that read either");
    hand.member.leave(hand.now, "told twice", GroupMembership::Default);
    assert!(hand.sends().is_none(), "it is leaving");
    hand.hears(LeaveGroupResponse { error_code: ErrorCode::NotCoordinator, ..Default::default() });
    assert_eq!(hand.events(), [Event::CoordinatorLost(COORDINATOR)]);
    hand.wait(200);
    assert!(matches!(hand.sends(), Some(Request::LeaveGroup(_))));
    hand.hears(LeaveGroupResponse { error_code: ErrorCode::UnknownMemberId, ..Default::default() });
    assert_eq!(hand.events(), [Event::Left]);
}

/// The coordinator still has a static member that has stopped for lack of polls.
#[test]
fn e8_a_static_member_that_is_not_polled_leaves_for_good_if_it_is_told_to() {
    use GroupMembership::{Default, Leave, Remain};
    for (instance, membership, leaves) in [
        (Some("i"), Leave, true),
        (Some("i"), Default, false),
        (Some("i"), Remain, false),
        (None, Leave, false),
    ] {
        let config =
            Config { instance_id: instance.map(str::to_owned), ..config(Assignor::CooperativeSticky) };
        let mut hand = Hand::new(config);
        hand.settles_with(1, &[0]);
        while hand.member.stage() != offtake_group::Stage::Unpolled {
            hand.wait(BEAT);
            match hand.sends() {
                Some(Request::Heartbeat(_)) => hand.hears(beat(ErrorCode::None)),
                Some(Request::LeaveGroup(_)) => hand.hears(LeaveGroupResponse::default()),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        hand.events();
        hand.member.leave(hand.now, "closing", membership);
        match hand.sends() {
            Some(Request::LeaveGroup(leave)) if leaves => {
                let one = &leave.members[0];
                assert_eq!((one.member_id.as_str(), one.group_instance_id.as_deref()), ("me", instance));
                // Another process may have taken its place meanwhile.
                let fenced = ErrorCode::FencedInstanceId;
                hand.hears(LeaveGroupResponse { error_code: fenced, ..std::default::Default::default() });
            }
            None if !leaves => {}
            other => panic!("{instance:?} {membership:?}: {other:?}"),
        }
        assert_eq!(hand.events(), [Event::Left], "{instance:?} {membership:?}");
    }
}

#[test]
fn n1_leaving_before_the_member_id_is_known_leaves_no_ghost() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.member.leave(hand.now, "changed our mind", GroupMembership::Default);
    assert_eq!((hand.events(), hand.sends().is_none()), (vec![], true));
    let required = JoinGroupResponse {
        error_code: ErrorCode::MemberIdRequired,
        member_id: "me".into(),
        ..Default::default()
    };
    hand.hears(required);
    let Some(Request::LeaveGroup(leave)) = hand.sends() else { panic!() };
    assert_eq!(leave.members[0].member_id, "me");
    hand.hears(LeaveGroupResponse::default());
    assert_eq!(hand.events(), [Event::Left]);

    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.member.leave(hand.now, "changed our mind", GroupMembership::Default);
    hand.hears_nothing();
    assert_eq!(hand.events(), [Event::Left]);

    // It has its time to leave once it knows its id.
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.member.leave(hand.now, "changed our mind", GroupMembership::Default);
    hand.wait(BEAT - 1);
    let error_code = ErrorCode::MemberIdRequired;
    hand.hears(JoinGroupResponse { error_code, member_id: "me".into(), ..Default::default() });
    hand.wait(1_000);
    assert_eq!((hand.events(), hand.member.state_name()), (vec![], "leaving"));
    assert!(matches!(hand.sends(), Some(Request::LeaveGroup(_))));

    // The answer to a static member's join may wait for the others.
    for (instance, took) in [(None, BEAT), (Some("i".to_owned()), 30_000)] {
        let mut hand = Hand::new(Config { instance_id: instance, ..config(Assignor::CooperativeSticky) });
        hand.joins();
        hand.member.leave(hand.now, "changed our mind", GroupMembership::Leave);
        hand.wait(took - 1);
        assert_eq!((hand.events(), hand.member.state_name()), (vec![], "leaving"));
        hand.wait(1);
        assert_eq!((hand.events(), hand.sends().is_none()), (vec![Event::Left], true));
    }
}

#[test]
fn n1_leaving_waits_for_no_member_id_that_is_late() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.wait(20_000);
    hand.member.leave(hand.now, "changed our mind", GroupMembership::Default);
    hand.wait(0);
    assert_eq!((hand.events(), hand.sends().is_none()), (vec![Event::Left], true));
}

#[test]
fn d3_a_join_that_asks_for_a_member_id_is_answered_at_once_and_joined_again_if_not() {
    let timeouts = |hand: &mut Hand| {
        let transmit = hand.member.poll_transmit(hand.now, Some(COORDINATOR), &hand.cluster).unwrap();
        hand.step = Some(transmit.id);
        (transmit.timeout, transmit.prompt)
    };
    let prompt = PromptAnswer { since: 4, timeout: Duration::from_secs(30) };
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    let (whole, first) = timeouts(&mut hand);
    assert_eq!((whole > prompt.timeout, first), (true, Some(prompt)));
    let late =
        CallError::TimedOut { address: "b:9092".into(), api: ApiKey::JoinGroup, after: prompt.timeout };
    hand.now += prompt.timeout;
    hand.member.handle_answer(hand.now, hand.step.take().unwrap(), Err(late));
    assert!(hand.sends().is_none(), "not at once");
    hand.wait(200);
    assert_eq!(timeouts(&mut hand), (whole, Some(prompt)), "it still has no id");
    let error_code = ErrorCode::MemberIdRequired;
    hand.hears(JoinGroupResponse { error_code, member_id: "me".into(), ..Default::default() });
    assert_eq!(timeouts(&mut hand), (whole, None), "this join waits for the others");

    let of_static = Config { instance_id: Some("i".into()), ..config(Assignor::CooperativeSticky) };
    assert_eq!(timeouts(&mut Hand::new(of_static)), (whole, None));
}

#[test]
fn a_broker_without_static_members_is_refused_by_one() {
    let mut hand = Hand::new(Config { instance_id: Some("i".into()), ..config(Assignor::CooperativeSticky) });
    hand.joins();
    let answer = Answer { from: None, version: 4, memory: 0, response: joined(1, "me", "me", vec![]).into() };
    hand.member.handle_answer(hand.now, hand.step.unwrap(), Ok(answer));
    assert!(matches!(&hand.events()[..], [Event::Failed(GroupError::UnsupportedVersion { .. })]));
    // The broker has added it as a dynamic member: the others must not wait for it.
    match hand.sends() {
        Some(Request::LeaveGroup(leave)) => assert_eq!(leave.member_id, "me"),
        other => panic!("{other:?}"),
    }
    hand.hears(LeaveGroupResponse::default());
    assert_eq!((hand.events(), hand.member.state_name()), (vec![], "failed"));
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert_eq!(hand.joins().member_id, "");
}

#[test]
fn a_member_that_fails_and_is_subscribed_again_leaves_before_it_joins() {
    let mut hand = Hand::new(Config { instance_id: Some("i".into()), ..config(Assignor::CooperativeSticky) });
    hand.joins();
    let answer = Answer { from: None, version: 4, memory: 0, response: joined(1, "me", "me", vec![]).into() };
    hand.member.handle_answer(hand.now, hand.step.unwrap(), Ok(answer));
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert!(matches!(hand.sends(), Some(Request::LeaveGroup(_))));
    hand.hears(LeaveGroupResponse::default());
    assert_eq!(hand.joins().member_id, "");
}

#[test]
fn a_member_that_subscribes_to_what_it_has_makes_the_group_rebalance_no_more() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.member.subscribe(hand.now, topics(&["a"]));
    assert!(hand.sends().is_none());
    assert_eq!(hand.member.state_name(), "stable");
}

#[test]
fn m1_a_member_that_is_polled_while_it_leaves_for_that_joins_when_it_has_left() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.wait(300_000);
    assert!(matches!(hand.sends(), Some(Request::LeaveGroup(_))));
    hand.events();
    hand.releases();
    hand.member.on_poll(hand.now);
    hand.hears(LeaveGroupResponse::default());
    assert_eq!(hand.joins().member_id, "", "it waits for no second poll");
    assert_eq!(hand.events(), [], "it has not left for good");
}

#[test]
fn d11_a_join_is_given_up_no_sooner_than_other_requests() {
    let seconds = Duration::from_secs;
    for (rebalance, request, expected) in [(300, 30, 305), (10, 30, 30), (30, 30, 35)] {
        let mut hand = Hand::new(Config {
            rebalance_timeout: seconds(rebalance),
            request_timeout: seconds(request),
            ..config(Assignor::CooperativeSticky)
        });
        let join = hand.member.poll_transmit(hand.now, Some(COORDINATOR), &hand.cluster).unwrap();
        assert_eq!(join.timeout, seconds(expected));
    }
}

#[test]
fn f13_a_member_that_is_unknown_again_and_again_says_so_once() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    let mut told = Vec::new();
    for _ in 0..6 {
        hand.joins();
        hand.hears(JoinGroupResponse { error_code: ErrorCode::UnknownMemberId, ..Default::default() });
        told.extend(hand.events());
        hand.wait(2_000);
    }
    assert!(matches!(&told[..], [Event::CoordinatorFailing(_)]), "{told:?}");
}

/// For example for an assignment that is larger than the broker's log accepts.
#[test]
fn q4_a_sync_that_always_fails_at_the_broker_is_the_end_after_a_few_times() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    for generation in 1.. {
        hand.joins();
        hand.hears(joined(generation, "leader", "me", vec![]));
        hand.waits_and_polls(BEAT);
        hand.syncs();
        hand.hears(beat(ErrorCode::None));
        hand.hears(SyncGroupResponse { error_code: ErrorCode::UnknownServerError, ..Default::default() });
        let events = hand.events();
        if let Some(Event::Failed(error)) = events.last() {
            assert_eq!(generation, 6, "asked again five times");
            assert!(error.to_string().contains("UNKNOWN_SERVER_ERROR"), "{error}");
            break;
        }
        assert!(generation < 6, "{events:?}");
        hand.waits_and_polls(2_000);
    }
}

/// A member whose SyncGroup waits at the coordinator.
fn waits_for_an_assignment() -> Hand {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand
}

fn lost_coordinators(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::CoordinatorLost(_))).count()
}

#[test]
fn c5_a_coordinator_that_answers_heartbeats_is_not_lost_for_a_sync_that_waits() {
    let mut hand = waits_for_an_assignment();
    let mut events = Vec::new();
    while hand.member.state_name() == "syncing" {
        hand.waits_and_polls(BEAT);
        events.extend(hand.events());
        if let Some(Request::Heartbeat(_)) = hand.sends() {
            hand.hears(beat(ErrorCode::None));
        }
    }
    assert_eq!(lost_coordinators(&events), 0, "{events:?}");
    assert_eq!(hand.member.state_name(), "joining");
}

#[test]
fn c5_nor_when_its_connection_says_that_there_was_no_answer_in_time() {
    for heartbeat_is_answered in [true, false] {
        let mut hand = waits_for_an_assignment();
        let sync = hand.step.take().unwrap();
        hand.waits_and_polls(BEAT);
        assert!(matches!(hand.sends(), Some(Request::Heartbeat(_))));
        if heartbeat_is_answered {
            hand.hears(beat(ErrorCode::None));
        }
        hand.events();
        let after = Duration::from_millis(BEAT);
        let error = CallError::TimedOut { address: "b:9092".into(), api: ApiKey::SyncGroup, after };
        hand.member.handle_answer(hand.now, sync, Err(error));
        assert_eq!(lost_coordinators(&hand.events()), usize::from(!heartbeat_is_answered));
        assert_eq!(hand.member.state_name(), "joining");
    }
}

#[test]
fn trouble_is_told_once_when_it_starts_and_once_when_it_ends() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    let mut told = Vec::new();
    for _ in 0..6 {
        hand.wait(BEAT);
        assert!(matches!(hand.sends(), Some(Request::Heartbeat(_))));
        hand.hears_nothing();
        told.extend(hand.events().into_iter().filter(|event| matches!(event, Event::CoordinatorFailing(_))));
    }
    assert_eq!(told.len(), 1);
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::None));
    assert_eq!(hand.events(), [Event::CoordinatorRecovered]);
}

#[test]
fn unsupported_by_the_broker_is_the_end() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    let error = CallError::Unsupported { address: "b:9092".into(), api: ApiKey::JoinGroup };
    hand.member.handle_answer(hand.now, hand.step.unwrap(), Err(error));
    assert!(matches!(&hand.events()[..], [Event::Failed(GroupError::UnsupportedVersion { .. })]));
}

/// A member of generation 1 with partition 0 that rejoins, with a JoinGroup that waits for slower members.
fn waits_to_join() -> Hand {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.settles_with(1, &[0]);
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.joins();
    hand
}

fn generation_of(request: Option<Request>) -> i32 {
    match request {
        Some(Request::Heartbeat(heartbeat)) => heartbeat.generation_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d11_while_a_join_waits_heartbeats_of_the_old_generation_keep_what_is_kept() {
    let mut hand = waits_to_join();
    for _ in 0..90 {
        hand.waits_and_polls(BEAT);
        assert_eq!(generation_of(hand.sends()), 1);
        assert!(hand.sends().is_none(), "and no second JoinGroup");
        hand.hears(beat(ErrorCode::RebalanceInProgress));
        let valid = hand.member.valid_until().unwrap() - hand.now;
        assert!(valid > Duration::from_secs(20), "what is kept may be handed out: {valid:?}");
        assert_eq!(hand.member.identity().map(|we| we.generation), Some(1), "and be committed");
    }
    hand.hears(joined(2, "leader", "me", vec![]));
    assert_eq!(hand.member.identity(), None, "refused until there is an assignment");
    hand.syncs();
    for _ in 0..10 {
        hand.waits_and_polls(BEAT);
        assert_eq!(generation_of(hand.sends()), 2);
        hand.hears(beat(ErrorCode::None));
        assert!(hand.member.valid_until().unwrap() > hand.now + Duration::from_secs(40));
    }
    hand.hears(assigned(&[0]));
    assert_eq!(hand.events(), [Event::Assigned { added: vec![], owned: tps(&[0]), generation: 2 }]);
}

#[test]
fn safe6_partitions_kept_during_a_join_are_kept_no_longer_than_the_rebalance_timeout() {
    let mut hand = waits_to_join();
    let undisturbed = hand.now - Duration::from_millis(BEAT);
    for _ in 0..97 {
        hand.waits_and_polls(BEAT);
        hand.sends();
        hand.hears(beat(ErrorCode::RebalanceInProgress));
    }
    assert_eq!(hand.member.valid_until(), Some(undisturbed + Duration::from_secs(300)));
}

/// KIP-568.
#[test]
fn an_application_may_ask_for_a_rebalance() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.member.enforce_rebalance(hand.now);
    assert_eq!(hand.joins().reason.as_deref(), Some("subscribed"), "it is about to join in any case");
    hand.hears(joined(1, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(assigned(&[0]));
    hand.events();
    assert!(hand.sends().is_none());
    hand.member.enforce_rebalance(hand.now);
    assert_eq!(hand.joins().reason.as_deref(), Some("the application asked for a rebalance"));
    hand.member.enforce_rebalance(hand.now);
    assert!(hand.sends().is_none(), "it is joining already");
}

/// The JoinGroup waits for its connection, and would be sent when that broker is the coordinator again. Found
/// by the arena (6110959).
#[test]
fn safe6_a_join_that_is_given_up_is_withdrawn() {
    let mut hand = waits_to_join();
    let given_up = hand.step.unwrap();
    assert_eq!(hand.member.poll_event(), None, "it is still waited for");
    let elsewhere = hand.member.poll_transmit(hand.now, Some(BrokerId(4)), &hand.cluster).unwrap();
    assert!(matches!(elsewhere.request, Request::JoinGroup(_)));
    assert_eq!(hand.member.poll_event(), Some(Event::Withdraw(given_up)));
    assert_eq!(hand.member.poll_event(), None, "once");
    let error = CallError::Withdrawn;
    hand.member.handle_answer(hand.now, given_up, Err(error));
    hand.step = Some(elsewhere.id);
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    assert_eq!(hand.member.poll_event(), None, "what is answered is not given up");
}

/// The JoinGroup may have been answered long ago: the next rebalance waits for this member since then. Found
/// by the arena (5213095).
#[test]
fn d4_the_next_rebalance_waits_for_a_member_since_its_last_join() {
    let mut hand = waits_to_join();
    let joined_at = hand.now;
    for _ in 0..97 {
        hand.waits_and_polls(BEAT);
        hand.sends();
        hand.hears(beat(ErrorCode::RebalanceInProgress));
    }
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.hears(SyncGroupResponse { error_code: ErrorCode::RebalanceInProgress, ..assigned(&[]) });
    assert_eq!(hand.member.valid_until(), Some(joined_at + Duration::from_secs(300)));
}

#[test]
fn safe6_a_heartbeat_while_syncing_that_renews_no_session_renews_nothing() {
    let mut hand = waits_to_join();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    let before = hand.member.valid_until();
    hand.wait(BEAT);
    assert_eq!(generation_of(hand.sends()), 2);
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    assert_eq!((hand.member.valid_until(), hand.member.state_name()), (before, "syncing"));
}

#[test]
fn e4_an_old_generation_that_is_over_before_the_join_is_answered_costs_nothing() {
    for told_by_a_commit in [false, true] {
        let mut hand = waits_to_join();
        let us = hand.member.identity().unwrap();
        if told_by_a_commit {
            hand.member.on_commit_refused(hand.now, ErrorCode::IllegalGeneration, &us);
        } else {
            hand.wait(BEAT);
            hand.sends();
            hand.hears(beat(ErrorCode::IllegalGeneration));
        }
        assert_eq!((hand.events(), hand.member.state_name()), (vec![], "joining"));
        assert_eq!(hand.member.identity(), None, "nothing to commit as");
        hand.wait(5_000);
        assert!(hand.sends().is_none(), "nor a heartbeat");
        hand.hears(joined(2, "leader", "me", vec![]));
        hand.syncs();
        hand.hears(assigned(&[0]));
        assert_eq!(hand.events(), [Event::Assigned { added: vec![], owned: tps(&[0]), generation: 2 }]);
    }
}

#[test]
fn c3_a_lost_join_is_repeated_once_the_generation_is_known_to_be_over() {
    let mut hand = waits_to_join();
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::IllegalGeneration));
    hand.waits_and_polls(30_000);
    assert_eq!(hand.events(), [Event::CoordinatorLost(COORDINATOR)]);
    hand.waits_and_polls(1_000);
    assert_eq!(hand.joins().member_id, "me");
}

/// Of two answers that are lost the second is waited for as long as another member may take; unless the coordinator has removed this one meanwhile.
#[test]
fn c3_a_second_join_is_waited_for_no_longer_than_the_coordinator_knows_the_member() {
    let asks_again = || {
        let mut hand = waits_to_join();
        hand.waits_and_polls(BEAT);
        hand.sends();
        hand.hears(beat(ErrorCode::IllegalGeneration));
        hand.waits_and_polls(30_000);
        hand.events();
        hand.waits_and_polls(1_000);
        assert_eq!(hand.joins().member_id, "me");
        // It is known, and may have an answer yet.
        for known in [ErrorCode::IllegalGeneration, ErrorCode::None, ErrorCode::RebalanceInProgress] {
            hand.waits_and_polls(BEAT);
            assert_eq!(generation_of(hand.sends()), 1);
            hand.hears(beat(known));
            assert_eq!((hand.events(), hand.member.state_name()), (vec![], "joining"), "{known}");
            assert_eq!(hand.member.identity(), None, "{known}");
            assert!(hand.sends().is_none(), "{known}");
        }
        hand
    };
    let mut hand = asks_again();
    hand.waits_and_polls(BEAT);
    hand.sends();
    let late = hand.step.take().unwrap();
    hand.hears(beat(ErrorCode::UnknownMemberId));
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0]), generation: 1 }]);
    hand.releases();
    assert_eq!(hand.joins().member_id, "");
    let response = joined(2, "leader", "me", vec![]).into();
    let answer = Answer { from: Some(COORDINATOR), version: 9, memory: 0, response };
    hand.member.handle_answer(hand.now, late, Ok(answer));
    assert_eq!(hand.member.state_name(), "joining", "given up");

    // Else its answer counts.
    let mut hand = asks_again();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.waits_and_polls(BEAT);
    assert_eq!(generation_of(hand.sends()), 2);
    hand.hears(beat(ErrorCode::None));
    assert_eq!(hand.member.state_name(), "syncing");
}

/// A SyncGroup's connection breaks, and a heartbeat that was sent before reports that the group has gone on: the JoinGroup that follows is the
/// first of its rebalance, and may be lost as well.
#[test]
fn c3_a_first_join_after_the_end_of_the_generation_is_waited_for_no_longer_either() {
    let mut hand = waits_to_join();
    hand.hears(joined(2, "leader", "me", vec![]));
    hand.syncs();
    hand.waits_and_polls(BEAT);
    assert_eq!(generation_of(hand.sends()), 2);
    hand.hears_nothing();
    hand.hears(beat(ErrorCode::IllegalGeneration));
    hand.waits_and_polls(1_000);
    hand.events();
    assert_eq!(hand.joins().member_id, "me");
    for _ in 0..20 {
        hand.waits_and_polls(BEAT);
        assert_eq!(generation_of(hand.sends()), 2);
        hand.hears(beat(ErrorCode::IllegalGeneration));
    }
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::UnknownMemberId));
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0]), generation: 1 }]);
    hand.releases();
    assert_eq!(hand.joins().member_id, "");
}

/// The next coordinator has loaded the group as it was before. To that one the generation is not over, and each heartbeat keeps the member, which
/// hands out nothing: without a JoinGroup that would last for as long as the lost one is waited for.
#[test]
fn c3_a_second_join_that_the_coordinator_has_not_got_is_sent_again() {
    let mut hand = waits_to_join();
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::IllegalGeneration));
    hand.waits_and_polls(30_000);
    hand.events();
    hand.waits_and_polls(1_000);
    hand.joins();
    for _ in 0..10 {
        hand.waits_and_polls(BEAT);
        assert_eq!(generation_of(hand.sends()), 1);
        hand.hears(beat(ErrorCode::None));
    }
    assert_eq!((hand.events(), hand.member.identity()), (vec![], None));
    assert_eq!(hand.joins().member_id, "me");
}

#[test]
fn c3_a_join_that_the_coordinator_has_not_got_is_sent_again() {
    let mut hand = waits_to_join();
    for at in 1..10 {
        hand.waits_and_polls(BEAT);
        hand.sends();
        hand.hears(beat(ErrorCode::None));
        assert!(hand.sends().is_none(), "{at}: a heartbeat may overtake it");
    }
    hand.waits_and_polls(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::None));
    hand.joins();
}

#[test]
fn d2_a_member_that_is_unknown_while_it_joins_has_lost_what_it_had() {
    let mut hand = waits_to_join();
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::UnknownMemberId));
    assert_eq!(hand.events(), [Event::Lost { id: ANY, partitions: tps(&[0]), generation: 1 }]);
    assert!(hand.sends().is_none(), "not before it is released");
    hand.releases();
    assert_eq!(hand.joins().member_id, "");
}

#[test]
fn a2_a_coordinator_that_dies_while_a_join_waits_is_noticed_by_a_heartbeat() {
    let mut hand = waits_to_join();
    hand.waits_and_polls(BEAT);
    hand.sends();
    let id = hand.heartbeat.take().unwrap();
    hand.disconnected(id);
    assert_eq!(hand.events(), [Event::CoordinatorLost(COORDINATOR)]);
    // The coordinator is still the same: the JoinGroup may wait there.
    hand.waits_and_polls(1_000);
    assert_eq!(generation_of(hand.sends()), 1);
    let id = hand.heartbeat.take().unwrap();
    hand.disconnected(id);
    hand.waits_and_polls(1_000);
    // Another broker is the coordinator now: nothing waits there yet.
    let successor = BrokerId(4);
    let transmit = hand.member.poll_transmit(hand.now, Some(successor), &hand.cluster).unwrap();
    assert_eq!(transmit.to, Target::Broker(successor));
    assert!(matches!(transmit.request, Request::JoinGroup(join) if join.member_id == "me"));
    let transmit = hand.member.poll_transmit(hand.now, Some(successor), &hand.cluster).unwrap();
    assert!(matches!(transmit.request, Request::Heartbeat(_)));
}

#[test]
fn an_answer_to_a_join_without_a_generation_is_none() {
    let mut hand = Hand::new(config(Assignor::CooperativeSticky));
    hand.joins();
    hand.hears(joined(-1, "me", "me", vec![]));
    assert!(hand.sends().is_none(), "not at once");
    hand.wait(200);
    hand.joins();
}

#[test]
fn e8_leaving_while_a_join_waits_is_said_at_once() {
    let mut hand = waits_to_join();
    hand.member.leave(hand.now, "closing", GroupMembership::Default);
    match hand.sends() {
        Some(Request::LeaveGroup(leave)) => assert_eq!(leave.member_id, "me"),
        other => panic!("{other:?}"),
    }
    assert!(hand.sends().is_none(), "and nothing else");
}

#[test]
fn safe9_a_release_that_is_not_open_changes_nothing() {
    let mut hand = Hand::new(config(Assignor::Range));
    hand.joins();
    let range = |generation| JoinGroupResponse {
        protocol_name: Some("range".into()),
        ..joined(generation, "leader", "me", vec![])
    };
    hand.hears(range(1));
    hand.syncs();
    hand.hears(assigned(&[0, 1]));
    hand.events();
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.events();
    let first = hand.open[0];
    for other in [RevocationId(first.0 + 1), RevocationId(0)] {
        hand.member.revocation_done(hand.now, other);
        assert_eq!((hand.member.state_name(), hand.member.owned().len()), ("revoking", 2), "{other:?}");
    }
    hand.releases();
    hand.joins();
    hand.hears(range(2));
    hand.syncs();
    hand.hears(assigned(&[0, 1]));
    hand.events();
    hand.wait(BEAT);
    hand.sends();
    hand.hears(beat(ErrorCode::RebalanceInProgress));
    hand.events();
    // A late confirmation of the first revocation does not confirm the second.
    hand.member.revocation_done(hand.now, first);
    assert_eq!((hand.member.state_name(), hand.member.owned().len()), ("revoking", 2));
    hand.releases();
    assert_eq!(hand.member.state_name(), "joining");
}
