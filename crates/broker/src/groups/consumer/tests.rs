//! Groups of the consumer protocol, tested by frames: the members' requests, and their answers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeatResponse, GroupId, RequestHeader, ResponseHeader, TopicName,
        consumer_group_describe_response::DescribedGroup, consumer_group_heartbeat_request::TopicPartitions,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use uuid::Uuid;

use crate::{
    Config, ConnectionId, Model, Observed, Output,
    groups::Members,
    log::Log,
    topics::{Partition, Topic},
};

/// A cluster of one broker, and a client that sends single frames.
pub(super) struct Sim {
    pub(super) model: Model,
    pub(super) connection: ConnectionId,
    pub(super) now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "a test's time has to begin somewhere")]
fn now() -> Instant {
    Instant::now()
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::with(Config { observe: true, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let now = now();
        let mut model = Model::new(now, config);
        let connection = model.connect(now, 1, "10.0.0.7").unwrap();
        Self { model, connection, now }
    }

    pub(super) fn topic(mut self, name: &str, partitions: usize) -> Self {
        self.create(name, partitions);
        self
    }

    fn create(&mut self, name: &str, partitions: usize) {
        let id = self.model.random.uuid();
        let partition = || Partition {
            leader: Some(1),
            leader_epoch: 0,
            replicas: vec![1],
            isr: vec![1],
            elr: Vec::new(),
            log: Log::default(),
        };
        let partitions = (0..partitions).map(|_| partition()).collect();
        let topic = Topic { id, partitions, configs: BTreeMap::new(), internal: false };
        self.model.topics.all.insert(name.to_owned(), topic);
        self.model.topics.names.insert(id, name.to_owned());
        self.model.consumer_groups_topics_changed();
    }

    fn id(&self, topic: &str) -> Uuid {
        self.model.topics.all[topic].id
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.model.now = self.now;
        self.model.expire_consumer_groups();
    }

    fn call<A: Encodable, B: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &A,
    ) -> B {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        header.encode(&mut frame, key.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        self.model.receive(self.now, self.connection, frame.freeze());
        let Some(Output::Send { mut bytes, .. }) = self.model.poll_output() else { panic!("no answer") };
        bytes.advance(4);
        ResponseHeader::decode(&mut bytes, B::header_version(version)).unwrap();
        let response = B::decode(&mut bytes, version).unwrap();
        assert_eq!(bytes, Bytes::new());
        response
    }

    pub(super) fn beat(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.call(ApiKey::ConsumerGroupHeartbeat, 1, request)
    }

    /// The code and the message of a refusal.
    fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> (E, String) {
        let answer = self.beat(request);
        assert_eq!((answer.member_id, answer.member_epoch, answer.assignment), (None, 0, None));
        (E::try_from_code(answer.error_code).unwrap(), answer.error_message.unwrap_or_default().to_string())
    }

    /// The epoch, and the assignment if the answer has one.
    pub(super) fn told(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (i32, Option<Vec<(String, i32)>>) {
        let answer = self.beat(request);
        assert_eq!((answer.error_code, answer.error_message), (0, None));
        assert_eq!(answer.heartbeat_interval_ms, 5000);
        let assignment = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.iter();
            let mut all: Vec<(String, i32)> = topics
                .flat_map(|topic| {
                    let name = self.model.topics.name_of(topic.topic_id).unwrap().to_owned();
                    topic.partitions.iter().map(move |one| (name.clone(), *one))
                })
                .collect();
            all.sort();
            all
        });
        (answer.member_epoch, assignment)
    }

    pub(super) fn describe(&mut self) -> DescribedGroup {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
        let mut answer: ConsumerGroupDescribeResponse = self.call(ApiKey::ConsumerGroupDescribe, 1, &request);
        answer.groups.remove(0)
    }

    pub(super) fn owned(&self, partitions: &[(&str, i32)]) -> Option<Vec<TopicPartitions>> {
        let of = |(topic, one): &(&str, i32)| {
            TopicPartitions::default().with_topic_id(self.id(topic)).with_partitions(vec![*one])
        };
        Some(partitions.iter().map(of).collect())
    }

    fn observed(&mut self) -> Vec<Observed> {
        std::iter::from_fn(|| self.model.poll_observed())
            .filter(|event| !matches!(event, Observed::Request { .. }))
            .collect()
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn group() -> GroupId {
    GroupId(text("g"))
}

pub(super) fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

pub(super) fn join(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    let names = topics.iter().map(|name| TopicName(text(name))).collect();
    beat(member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(names))
        .with_topic_partitions(Some(vec![]))
}

pub(super) fn of(topic: &str, partitions: &[i32]) -> Option<Vec<(String, i32)>> {
    Some(partitions.iter().map(|one| (topic.to_owned(), *one)).collect())
}

#[test]
fn a_request_that_is_wrong_by_itself_is_refused_in_kafkas_order_and_words() {
    let mut sim = Sim::new().topic("t", 1);
    let whole = || join("a", &["t"]);
    let cases = [
        (whole().with_member_id(text(" ")).with_group_id(GroupId(text(""))), "MemberId can't be empty."),
        (whole().with_group_id(GroupId(text(""))), "GroupId can't be empty."),
        (whole().with_instance_id(Some(text(""))), "InstanceId can't be empty."),
        (whole().with_rack_id(Some(text(""))), "RackId can't be empty."),
        (whole().with_rebalance_timeout_ms(-1), "RebalanceTimeoutMs must be provided in first request."),
        (whole().with_topic_partitions(None), "TopicPartitions must be empty when (re-)joining."),
        (
            whole().with_topic_partitions(sim.owned(&[("t", 0)])),
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            whole().with_subscribed_topic_names(None),
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (beat("a", -2), "InstanceId can't be null."),
        (beat("a", -3), "MemberEpoch is invalid."),
    ];
    for (request, message) in cases {
        assert_eq!(sim.refused(&request), (E::InvalidRequest, message.to_owned()));
    }
    let (error, message) = sim.refused(&whole().with_server_assignor(Some(text("sticky"))));
    assert_eq!(error, E::UnsupportedAssignor);
    assert_eq!(message, "ServerAssignor sticky is not supported. Supported assignors: uniform, range.");
    let mistakes = sim.observed();
    assert_eq!(mistakes.len(), 10, "an assignor is the user's choice: {mistakes:?}");
    assert!(sim.model.groups.all.is_empty(), "what is refused leaves nothing behind");
}

#[test]
fn an_old_client_gets_its_id_from_the_coordinator() {
    let mut sim = Sim::new().topic("t", 1);
    let request = join("", &["t"]);
    let answer: ConsumerGroupHeartbeatResponse = sim.call(ApiKey::ConsumerGroupHeartbeat, 0, &request);
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.member_id.unwrap().len(), 22);
    assert_eq!(answer.member_epoch, 2, "groups begin in epoch 1");
}

#[test]
fn strangers_are_refused() {
    let mut sim = Sim::new().topic("t", 1);
    let missing = "Consumer group g not found.".to_owned();
    assert_eq!(sim.refused(&beat("a", 3)), (E::GroupIdNotFound, missing));
    assert_eq!(sim.refused(&beat("a", -1)), (E::GroupIdNotFound, "Group g not found.".to_owned()));
    sim.told(&join("a", &["t"]));
    let unknown = "Member b is not a member of group g.".to_owned();
    assert_eq!(sim.refused(&beat("b", 2)), (E::UnknownMemberId, unknown.clone()));
    assert_eq!(sim.refused(&beat("b", -1)), (E::UnknownMemberId, unknown));
    let fenced = "The consumer group member has a greater member epoch (3) than the one known by the group coordinator (2). The member must abandon all its partitions and rejoin.";
    assert_eq!(sim.refused(&beat("a", 3)), (E::FencedMemberEpoch, fenced.to_owned()));
}

#[test]
fn a_partition_changes_hands_only_when_it_was_given_up() {
    let mut sim = Sim::new().topic("t", 4);
    assert_eq!(sim.told(&join("a", &["t"])), (2, of("t", &[0, 1, 2, 3])));
    assert_eq!(sim.told(&beat("a", 2)), (2, None), "nothing changed, nothing said");
    assert_eq!(sim.describe().group_state.as_str(), "Stable");

    assert_eq!(sim.told(&join("b", &["t"])), (3, of("t", &[])), "a still has it all");
    assert_eq!(sim.describe().group_state.as_str(), "Reconciling");
    assert_eq!(sim.told(&beat("a", 2)), (2, of("t", &[0, 1])), "a stays in its epoch until it has let go");
    let all = sim.owned(&[("t", 0), ("t", 1), ("t", 2), ("t", 3)]);
    assert_eq!(sim.told(&beat("a", 2).with_topic_partitions(all)), (2, None));
    assert_eq!(sim.told(&beat("b", 3)), (3, None), "not yet");

    let kept = sim.owned(&[("t", 0), ("t", 1)]);
    assert_eq!(sim.told(&beat("a", 2).with_topic_partitions(kept.clone())), (3, None));
    assert_eq!(sim.told(&beat("b", 3)), (3, of("t", &[2, 3])));
    assert_eq!(sim.describe().group_state.as_str(), "Stable");

    // The answer with epoch 3 was lost: the previous epoch is accepted as long as the member owns nothing else.
    assert_eq!(sim.told(&beat("a", 2).with_topic_partitions(kept)), (3, None));
    let more = sim.owned(&[("t", 2)]);
    assert_eq!(sim.refused(&beat("a", 2).with_topic_partitions(more)).0, E::FencedMemberEpoch);
    assert_eq!(
        sim.refused(&beat("a", 2)).0,
        E::FencedMemberEpoch,
        "who does not say what it holds may hold more"
    );
}

#[test]
fn assignments_sent_to_members_are_observed_and_no_partition_has_two_owners() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    sim.told(&join("b", &["t"]));
    sim.told(&beat("a", 2));
    let kept = sim.owned(&[("t", 0)]);
    sim.told(&beat("a", 2).with_topic_partitions(kept));
    sim.told(&beat("b", 3));
    let left = sim.beat(&beat("a", -1));
    assert_eq!((left.error_code, left.member_id.as_deref(), left.member_epoch), (0, Some("a"), -1));
    let told: Vec<(String, i32, usize)> = sim
        .observed()
        .into_iter()
        .map(|event| match event {
            Observed::Assigned { member, generation, partitions, .. } => {
                (member, generation, partitions.len())
            }
            Observed::MemberGone { member, why: "left", .. } => (member, -1, 0),
            other => panic!("{other:?}"),
        })
        .collect();
    let of = |member: &str, epoch, count| (member.to_owned(), epoch, count);
    let expected =
        [of("a", 2, 2), of("b", 3, 0), of("a", 2, 1), of("a", 3, 1), of("b", 3, 1), of("a", -1, 0)];
    assert_eq!(told, expected);
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_fenced() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    sim.told(&join("b", &["t"]));
    sim.told(&beat("a", 2));
    for _ in 0..6 {
        sim.pass(Duration::from_secs(10));
        if sim.model.groups.all["g"].members_are(&["a", "b"]) {
            sim.beat(&beat("a", 2));
        }
        sim.told(&beat("b", 3));
    }
    assert_eq!(sim.refused(&beat("a", 2)).0, E::UnknownMemberId);
    assert_eq!(sim.told(&beat("b", 4)), (4, None), "b was led on to all of it meanwhile");
    let gone = sim.observed().into_iter().find(|event| matches!(event, Observed::MemberGone { .. }));
    assert!(matches!(gone, Some(Observed::MemberGone { why: "rebalance", .. })), "{gone:?}");
}

#[test]
fn a_session_ends_and_begins_anew_at_another_coordinator() {
    let mut sim = Sim::new().topic("t", 1);
    sim.told(&join("a", &["t"]));
    sim.pass(Duration::from_secs(40));
    sim.model.reload_consumer_group("g");
    sim.pass(Duration::from_secs(40));
    assert_eq!(sim.told(&beat("a", 2)), (2, None), "state is kept, and the session began anew");
    sim.pass(Duration::from_secs(45));
    assert_eq!(sim.refused(&beat("a", 2)).0, E::UnknownMemberId);
    assert_eq!(sim.describe().group_state.as_str(), "Empty");
}

#[test]
fn a_static_member_that_is_away_gets_back_what_it_had() {
    let mut sim = Sim::new().topic("t", 4);
    let named = |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(text("i")));
    let (_, first) = sim.told(&named(join("a", &["t"])));
    sim.told(&join("x", &["t"]));
    let owned = "Static member b with instance id i cannot join the group because the instance id is owned by a member.";
    assert_eq!(sim.refused(&named(join("b", &["t"]))), (E::UnreleasedInstanceId, owned.to_owned()));

    let answer = sim.beat(&named(beat("a", -2)));
    assert_eq!((answer.error_code, answer.member_epoch, answer.heartbeat_interval_ms), (0, -2, 0));
    let (epoch, told) = sim.told(&named(join("b", &["t"])));
    assert_eq!(epoch, 3, "no new epoch for a replacement");
    assert!(told.unwrap().iter().all(|one| first.as_ref().unwrap().contains(one)));
    let fenced = "Static member a with instance id i was fenced by member b.";
    assert_eq!(sim.refused(&named(beat("a", 3))), (E::FencedInstanceId, fenced.to_owned()));
    let unknown = beat("a", 3).with_instance_id(Some(text("j")));
    assert_eq!(sim.refused(&unknown), (E::UnknownMemberId, "Instance id j is unknown.".to_owned()));
}

#[test]
fn a_pattern_is_resolved_beside_the_request_that_brings_it() {
    let mut sim = Sim::new().topic("logs-a", 1).topic("logs-b", 1).topic("my-logs-a", 1);
    let pattern = |text_of: &str| {
        join("a", &[]).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text(text_of)))
    };
    let bad = "SubscribedTopicRegex `logs-(` is not a valid regular expression: missing closing ).";
    assert_eq!(sim.refused(&pattern("logs-(")), (E::InvalidRegularExpression, bad.to_owned()));
    assert_eq!(sim.told(&pattern("logs-.*")), (1, Some(vec![])));
    let both = Some(vec![("logs-a".to_owned(), 0), ("logs-b".to_owned(), 0)]);
    assert_eq!(sim.told(&beat("a", 1)), (2, both), "whole names match");
    sim.create("logs-c", 1);
    assert_eq!(sim.told(&beat("a", 2)).1.unwrap().len(), 3);
}

#[test]
fn topics_that_grow_or_go_move_the_group() {
    let mut sim = Sim::new().topic("t", 1).topic("u", 1);
    sim.told(&join("a", &["t", "u"]));
    sim.create("t2", 1);
    assert_eq!(sim.told(&beat("a", 2)), (2, None), "not its topic");
    let id = sim.id("u");
    sim.model.topics.all.remove("u");
    let owned = Some(vec![
        TopicPartitions::default().with_topic_id(sim.id("t")).with_partitions(vec![0]),
        TopicPartitions::default().with_topic_id(id).with_partitions(vec![0]),
    ]);
    assert_eq!(sim.told(&beat("a", 2).with_topic_partitions(owned)), (2, of("t", &[0])));
    let kept = sim.owned(&[("t", 0)]);
    assert_eq!(sim.told(&beat("a", 2).with_topic_partitions(kept)), (3, None));
}

#[test]
fn the_range_assignor_gives_equal_numbers_of_equal_topics() {
    let mut sim = Sim::new().topic("t", 3).topic("u", 3);
    let range = |member: &str| join(member, &["t", "u"]).with_server_assignor(Some(text("range")));
    sim.told(&range("a"));
    sim.told(&range("b"));
    let (_, a) = sim.told(&beat("a", 2));
    let numbers = |topic: &str| {
        a.iter().flatten().filter(|(name, _)| name == topic).map(|(_, one)| *one).collect::<Vec<_>>()
    };
    assert_eq!(numbers("t"), [0, 1]);
    assert_eq!(numbers("t"), numbers("u"));
    assert_eq!(sim.describe().assignor_name.as_str(), "range");
}

#[test]
fn unlike_subscriptions_are_balanced_as_far_as_they_allow() {
    let mut sim = Sim::new().topic("t", 4).topic("u", 2);
    sim.told(&join("a", &["t", "u"]));
    sim.told(&join("b", &["t"]));
    let members = sim.describe().members;
    let mut counts: Vec<usize> = members
        .iter()
        .map(|member| {
            member.target_assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum()
        })
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [3, 3]);
}

#[test]
fn a_group_is_described_with_what_is_still_being_given_up() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]).with_rack_id(Some(text("r"))));
    sim.told(&join("b", &["t"]));
    sim.told(&beat("a", 2));
    let group = sim.describe();
    assert_eq!((group.error_code, group.group_epoch, group.assignment_epoch), (0, 3, 3));
    assert_eq!((group.assignor_name.as_str(), group.authorized_operations), ("uniform", i32::MIN));
    let a = &group.members[0];
    assert_eq!((a.member_id.as_str(), a.member_epoch, a.member_type), ("a", 2, 1));
    assert_eq!((a.client_id.as_str(), a.client_host.as_str()), ("test", "/10.0.0.7"));
    assert_eq!((a.rack_id.as_deref(), a.subscribed_topic_regex.as_deref()), (Some("r"), Some("")));
    assert_eq!(a.assignment.topic_partitions[0].partitions, [0, 1]);
    assert_eq!(a.target_assignment.topic_partitions[0].partitions, [0]);
    assert_eq!(a.target_assignment.topic_partitions[0].topic_name.as_str(), "t");
}

#[test]
fn commits_of_an_older_epoch_are_good_for_what_was_held_then() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    sim.told(&join("b", &["t"]));
    sim.told(&beat("a", 2));
    let kept = sim.owned(&[("t", 0)]);
    sim.told(&beat("a", 2).with_topic_partitions(kept));
    sim.told(&beat("b", 3));
    let id = sim.id("t");
    let Members::Consumer(group) = &sim.model.groups.all["g"].members else { panic!() };
    assert_eq!(group.check_commit("a", 3, 9), Ok(()));
    assert_eq!(group.check_commit("a", 3, 8), Err(E::UnsupportedVersion));
    assert_eq!(group.check_commit("a", 4, 9), Err(E::StaleMemberEpoch));
    assert_eq!(group.check_commit("z", 3, 9), Err(E::UnknownMemberId));
    assert_eq!(group.check_commit("", -1, 9), Err(E::UnknownMemberId), "only into a group without members");
    assert_eq!(group.check_commit_of("a", 2, id, 0), Ok(()), "kept since epoch 2");
    assert_eq!(group.check_commit_of("a", 2, id, 1), Err(E::StaleMemberEpoch), "given up");
    assert_eq!(group.check_commit_of("b", 2, id, 1), Err(E::StaleMemberEpoch), "not its own yet in epoch 2");
    assert_eq!(group.check_fetch(None, -1), Ok(()));
    assert_eq!(group.check_fetch(Some("a"), 2), Err(E::StaleMemberEpoch));
}

#[test]
fn an_assignment_is_kept_for_its_interval() {
    let interval = Duration::from_secs(1);
    let mut sim =
        Sim::with(Config { consumer_assignment_interval: interval, ..Config::default() }).topic("t", 2);
    sim.told(&join("a", &["t"]));
    assert_eq!(sim.told(&join("b", &["t"])), (2, Some(vec![])), "there is no newer assignment yet");
    assert_eq!(sim.describe().group_state.as_str(), "Assigning");
    sim.pass(interval);
    assert_eq!(sim.told(&beat("a", 2)), (2, of("t", &[0])));
}

impl crate::groups::Group {
    fn members_are(&self, ids: &[&str]) -> bool {
        let Members::Consumer(group) = &self.members else { return false };
        group.members.keys().eq(ids)
    }
}
