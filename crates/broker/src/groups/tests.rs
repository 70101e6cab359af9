//! Groups, tested by frames: the members' requests, and their answers.

mod classic;
mod offsets;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest,
        JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, RequestHeader, RequestKind, ResponseHeader,
        ResponseKind, SyncGroupRequest, SyncGroupResponse, TopicName,
        consumer_protocol_assignment::TopicPartition, join_group_request::JoinGroupRequestProtocol,
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use uuid::Uuid;

use crate::{
    Config, ConnectionId, Model, Observed, Output,
    log::Log,
    topics::{Partition, Topic},
};

pub(super) const GROUP: &str = "readers";

/// A cluster with the topic `orders` of two partitions, and clients that each have one connection.
pub(super) struct Sim {
    pub(super) model: Model,
    pub(super) now: Instant,
    pub(super) seen: Vec<Observed>,
    answers: BTreeMap<ConnectionId, VecDeque<Bytes>>,
    asked: BTreeMap<ConnectionId, VecDeque<(ApiKey, i16)>>,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    pub(super) fn with(config: Config) -> Self {
        let now = Instant::now();
        let model = Model::new(now, Config { observe: true, ..config });
        let mut sim = Self { model, now, seen: Vec::new(), answers: BTreeMap::new(), asked: BTreeMap::new() };
        sim.create("orders", 2);
        sim
    }

    pub(super) fn create(&mut self, name: &str, partitions: usize) {
        let partition = || Partition {
            leader: Some(1),
            leader_epoch: 0,
            replicas: vec![1],
            isr: vec![1],
            elr: Vec::new(),
            log: Log::default(),
        };
        let topic = Topic {
            id: Uuid::from_u128(name.len() as u128),
            partitions: (0..partitions).map(|_| partition()).collect(),
            configs: BTreeMap::new(),
            internal: false,
        };
        self.model.topics.all.insert(name.to_owned(), topic);
    }

    /// A client of the coordinator.
    pub(super) fn client(&mut self) -> ConnectionId {
        let broker = self.model.coordinator_of(GROUP).unwrap();
        self.client_of(broker)
    }

    pub(super) fn client_of(&mut self, broker: i32) -> ConnectionId {
        self.model.connect(self.now, broker, "10.0.0.7").unwrap()
    }

    pub(super) fn send(&mut self, from: ConnectionId, version: i16, request: impl Into<RequestKind>) {
        let request = request.into();
        let key = key_of(&request);
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("app")))
            .encode(&mut frame, key.request_header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        self.asked.entry(from).or_default().push_back((key, version));
        self.model.receive(self.now, from, frame.freeze());
        self.settle();
    }

    /// Handles everything that is due now.
    fn settle(&mut self) {
        while self.model.poll_timeout().is_some_and(|at| at <= self.now) {
            self.model.handle_timeout(self.now);
        }
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Send { connection, bytes } => {
                    self.answers.entry(connection).or_default().push_back(bytes);
                }
                Output::Close(connection) => panic!("{connection:?} was closed"),
            }
        }
        while let Some(event) = self.model.poll_observed() {
            self.seen.push(event);
        }
    }

    /// Lets time pass, in the steps that the model asks for.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.model.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.model.handle_timeout(self.now);
        }
        self.now = until;
        self.settle();
    }

    pub(super) fn answer(&mut self, to: ConnectionId) -> Option<ResponseKind> {
        let mut bytes = self.answers.get_mut(&to)?.pop_front()?.slice(4..);
        let (key, version) = self.asked.get_mut(&to)?.pop_front()?;
        ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
        let response = ResponseKind::decode(key, &mut bytes, version).unwrap();
        assert!(bytes.is_empty(), "the answer is longer than it should be");
        Some(response)
    }

    pub(super) fn call(
        &mut self,
        from: ConnectionId,
        version: i16,
        request: impl Into<RequestKind>,
    ) -> ResponseKind {
        self.send(from, version, request);
        self.answer(from).expect("an answer at once")
    }

    // ---- a member's requests -------------------------------------------------------------------------------------

    pub(super) fn join(
        &mut self,
        from: ConnectionId,
        version: i16,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        self.send(from, version, request);
        self.joined(from).expect("a join that is answered at once")
    }

    pub(super) fn joined(&mut self, to: ConnectionId) -> Option<JoinGroupResponse> {
        match self.answer(to)? {
            ResponseKind::JoinGroup(response) => Some(response),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn synced(&mut self, to: ConnectionId) -> Option<SyncGroupResponse> {
        match self.answer(to)? {
            ResponseKind::SyncGroup(response) => Some(response),
            other => panic!("{other:?}"),
        }
    }

    /// The id of a dynamic member that is about to join.
    pub(super) fn introduce(&mut self, from: ConnectionId) -> String {
        let response = self.join(from, 9, subscribing(""));
        assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
        let id = response.member_id.as_str().to_owned();
        self.send(from, 9, subscribing(&id));
        id
    }

    /// Makes a group of one member that owns both partitions.
    pub(super) fn alone(&mut self, from: ConnectionId) -> String {
        let id = self.introduce(from);
        let joined = self.joined(from).unwrap();
        self.send(from, 5, syncing(&id, joined.generation_id).with_assignments(vec![gives(&id, &[0, 1])]));
        assert_eq!(self.synced(from).unwrap().error_code, 0);
        id
    }

    pub(super) fn heartbeat(&mut self, from: ConnectionId, id: &str, generation: i32) -> i16 {
        match self.call(from, 4, beating(id, generation)) {
            ResponseKind::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, from: ConnectionId, id: &str) -> i16 {
        let request = LeaveGroupRequest::default().with_group_id(group()).with_member_id(text(id));
        match self.call(from, 2, request) {
            ResponseKind::LeaveGroup(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The members that were removed, each with the reason, in order.
    pub(super) fn gone(&self) -> Vec<(&str, &'static str)> {
        let gone = |event: &'_ Observed| matches!(event, Observed::MemberGone { .. });
        self.seen
            .iter()
            .filter(|event| gone(event))
            .filter_map(|event| match event {
                Observed::MemberGone { member, why, .. } => Some((member.as_str(), *why)),
                _ => None,
            })
            .collect()
    }
}

fn key_of(request: &RequestKind) -> ApiKey {
    use RequestKind as R;
    match request {
        R::JoinGroup(_) => ApiKey::JoinGroup,
        R::SyncGroup(_) => ApiKey::SyncGroup,
        R::Heartbeat(_) => ApiKey::Heartbeat,
        R::LeaveGroup(_) => ApiKey::LeaveGroup,
        R::OffsetCommit(_) => ApiKey::OffsetCommit,
        R::OffsetFetch(_) => ApiKey::OffsetFetch,
        R::OffsetDelete(_) => ApiKey::OffsetDelete,
        R::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
        R::FindCoordinator(_) => ApiKey::FindCoordinator,
        R::ListGroups(_) => ApiKey::ListGroups,
        R::DescribeGroups(_) => ApiKey::DescribeGroups,
        R::DeleteGroups(_) => ApiKey::DeleteGroups,
        R::InitProducerId(_) => ApiKey::InitProducerId,
        other => panic!("{other:?}"),
    }
}

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(super) fn group() -> GroupId {
    GroupId(text(GROUP))
}

pub(super) fn protocol(name: &str) -> JoinGroupRequestProtocol {
    let mut metadata = BytesMut::new();
    metadata.put_i16(0);
    let subscription = ConsumerProtocolSubscription::default().with_topics(vec![text("orders")]);
    subscription.encode(&mut metadata, 0).unwrap();
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata.freeze())
}

pub(super) fn subscribing(id: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range")])
}

pub(super) fn syncing(id: &str, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(generation)
        .with_member_id(text(id))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

pub(super) fn gives(id: &str, partitions: &[i32]) -> SyncGroupRequestAssignment {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    let topic =
        TopicPartition::default().with_topic(TopicName(text("orders"))).with_partitions(partitions.to_vec());
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]);
    assignment.encode(&mut bytes, 1).unwrap();
    SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(bytes.freeze())
}

pub(super) fn beating(id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group()).with_generation_id(generation).with_member_id(text(id))
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
