//! Members of both protocols in one group.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
        JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, TopicName,
        consumer_protocol_assignment::TopicPartition as Assigned,
        consumer_protocol_subscription::TopicPartition as Owned,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
    },
    protocol::{Decodable, Encodable},
};

use super::{
    Consumer,
    migrate::{MigratingMember, Migration},
    tests::{Sim, beat, group, join, of, text},
};
use crate::request::Context;

impl Sim {
    fn context(&self, key: ApiKey, version: i16) -> Context {
        Context {
            connection: self.connection,
            broker: 1,
            key,
            version,
            correlation: 0,
            client_id: Some(text("old")),
            host: text("10.0.0.8"),
        }
    }

    fn classic_join(&mut self, member: &str, owned: &[i32]) -> JoinGroupResponse {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscribes(owned));
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(member))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(60_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.model.classic_join_to_consumer(&self.context(ApiKey::JoinGroup, 9), &request)
    }

    /// The partitions that a sync gives, or its error code.
    fn classic_sync(&mut self, member: &str, generation: i32) -> Result<Vec<i32>, i16> {
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(member))
            .with_generation_id(generation)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")));
        let context = self.context(ApiKey::SyncGroup, 5);
        let mut answer = self.model.classic_sync_to_consumer(&context, &request);
        if answer.error_code != 0 {
            return Err(answer.error_code);
        }
        let version = answer.assignment.get_i16();
        let assignment = ConsumerProtocolAssignment::decode(&mut answer.assignment, version).unwrap();
        Ok(assignment.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect())
    }

    fn classic_beat(&mut self, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(member))
            .with_generation_id(generation);
        let context = self.context(ApiKey::Heartbeat, 4);
        self.model.classic_heartbeat_to_consumer(&context, &request).error_code
    }
}

fn subscribes(owned: &[i32]) -> Bytes {
    let owned = Owned::default().with_topic(TopicName(text("t"))).with_partitions(owned.to_vec());
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![text("t")])
        .with_owned_partitions(vec![owned])
        .with_generation_id(-1);
    embedded(&subscription)
}

fn embedded<T: Encodable>(message: &T) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(3);
    message.encode(&mut bytes, 3).unwrap();
    bytes.freeze()
}

#[test]
fn a_classic_member_of_a_consumer_group_is_led_by_its_joins() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    let first = sim.classic_join("", &[]);
    assert_eq!(first.error_code, E::MemberIdRequired.code());
    let id = first.member_id.to_string();
    let joined = sim.classic_join(&id, &[]);
    assert_eq!((joined.error_code, joined.generation_id), (0, 3));
    assert_eq!(
        (joined.protocol_type.as_deref(), joined.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!(sim.classic_sync(&id, 2), Err(E::IllegalGeneration.code()));
    assert_eq!(sim.classic_sync(&id, 3), Ok(vec![]));
    assert_eq!(sim.classic_beat(&id, 3), 0, "what it waits for is still held");

    let (epoch, told) = sim.told(&beat("a", 2));
    let keeps = told.unwrap()[0].1;
    assert_eq!(epoch, 2);
    let kept = sim.owned(&[("t", keeps)]);
    sim.told(&beat("a", 2).with_topic_partitions(kept));
    assert_eq!(sim.classic_beat(&id, 3), E::RebalanceInProgress.code());
    assert_eq!(sim.classic_join(&id, &[]).generation_id, 3);
    assert_eq!(sim.classic_sync(&id, 3), Ok(vec![1 - keeps]));
    assert_eq!(sim.classic_beat(&id, 3), 0);

    let described = sim.describe();
    let old = described.members.iter().find(|member| member.member_id.as_str() == id).unwrap();
    assert_eq!((old.member_type, old.client_host.as_str()), (0, "/10.0.0.8"));
    assert_eq!(described.group_state.as_str(), "Stable");
    assert_eq!(sim.classic_beat("a", 3), E::UnknownMemberId.code(), "it does not speak the classic protocol");

    let identity = |id: &str| MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(None);
    let leave =
        LeaveGroupRequest::default().with_group_id(group()).with_members(vec![identity(&id), identity("z")]);
    let context = sim.context(ApiKey::LeaveGroup, 5);
    let left = sim.model.classic_leave_to_consumer(&context, &leave);
    let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, E::UnknownMemberId.code()]);
    assert_eq!(sim.told(&beat("a", 3)), (4, of("t", &[0, 1])));
}

#[test]
fn a_classic_member_that_is_told_to_join_and_does_not_is_fenced() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    let id = sim.classic_join("", &[]).member_id.to_string();
    sim.classic_join(&id, &[]);
    assert_eq!(sim.classic_sync(&id, 3), Ok(vec![]));
    sim.told(&join("b", &["t"]));
    for _ in 0..3 {
        assert_eq!(sim.classic_beat(&id, 3), E::RebalanceInProgress.code());
        sim.pass(Duration::from_secs(20));
    }
    assert_eq!(sim.classic_beat(&id, 3), E::UnknownMemberId.code());
}

/// Until then its heartbeats succeed, but renew nothing.
#[test]
fn the_session_of_a_classic_member_begins_anew_when_its_consumer_group_is_loaded() {
    let mut sim = Sim::new().topic("t", 2);
    sim.told(&join("a", &["t"]));
    let id = sim.classic_join("", &[]).member_id.to_string();
    sim.classic_join(&id, &[]);
    assert_eq!(sim.classic_sync(&id, 3), Ok(vec![]));
    sim.pass(Duration::from_secs(20));
    sim.model.load_groups(sim.now, 1, Duration::from_secs(1));
    sim.pass(Duration::from_secs(15));
    assert_eq!(sim.classic_beat(&id, 3), 0);
    sim.pass(Duration::from_secs(31));
    assert_eq!(sim.classic_beat(&id, 3), E::UnknownMemberId.code());
}

#[test]
fn a_classic_group_is_taken_over_with_what_its_members_have() {
    let mut sim = Sim::new().topic("t", 2);
    let all = Assigned::default().with_topic(TopicName(text("t"))).with_partitions(vec![0, 1]);
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![all]);
    let migrating = MigratingMember {
        id: "c".to_owned(),
        session_timeout: Duration::from_secs(30),
        rebalance_timeout: Duration::from_secs(60),
        protocols: vec![("range".to_owned(), subscribes(&[]))],
        assignment: embedded(&assignment),
        ..MigratingMember::default()
    };
    let migration = Migration {
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        generation: 5,
        members: vec![migrating],
    };
    let upgrade = |migration: &Migration, size| {
        Consumer::upgrade("g", Some(migration.clone()), size, sim.now, &sim.model.topics)
    };
    let connect = Migration { protocol_type: Some("connect".to_owned()), ..migration.clone() };
    let why = upgrade(&connect, 9).unwrap_err();
    assert_eq!(why.error, E::GroupIdNotFound);
    assert_eq!(
        why.message,
        "Cannot upgrade classic group g to consumer group because the group does not use the consumer embedded protocol."
    );
    assert!(upgrade(&migration, 0).is_err());
    let taken = upgrade(&migration, 9).unwrap();
    sim.model.put_consumer_group("g", taken);

    assert_eq!(sim.told(&join("a", &["t"])), (6, of("t", &[])));
    assert_eq!(sim.classic_beat("c", 5), E::RebalanceInProgress.code());
    assert_eq!(sim.classic_join("c", &[0, 1]).generation_id, 5, "it has something to give up first");
    let kept = sim.classic_sync("c", 5).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(sim.told(&beat("a", 6)), (6, None));
    assert_eq!(sim.classic_beat("c", 5), E::RebalanceInProgress.code());
    assert_eq!(sim.classic_join("c", &kept).generation_id, 6);
    assert_eq!(sim.told(&beat("a", 6)), (6, of("t", &[1 - kept[0]])));
    assert_eq!(sim.classic_sync("c", 6), Ok(kept));
}
