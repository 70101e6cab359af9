//! A machine under test, a small cluster for it, and responses.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_machine::{
    Answer, Broker, BrokerId, CallError, Cluster, GroupProtocol, Identity, IsolationLevel, PartitionInfo,
    Position, Target, Token, TopicInfo, TopicPartition, Transmit, earliest,
};
use offtake_offsets::{Config, Event, Offsets, ResetPolicy, StartAt};
use offtake_wire::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    Request, Response, Uuid,
    messages::{
        list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_fetch::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

pub(crate) const COORDINATOR: BrokerId = BrokerId(9);
pub(crate) const WALL_MS: i64 = 1_700_000_000_000;

pub(crate) fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

pub(crate) fn at(offset: i64, epoch: i32) -> Position {
    Position { offset, epoch: Some(epoch) }
}

pub(crate) fn member(generation: i32) -> Identity {
    Identity { protocol: GroupProtocol::Classic, generation, member_id: "m-1".into(), instance_id: None }
}

pub(crate) fn config(now: Instant) -> Config {
    Config {
        group: Some("g".into()),
        reset: ResetPolicy::Latest,
        isolation: IsolationLevel::ReadUncommitted,
        request_timeout: Duration::from_secs(30),
        backoff: Default::default(),
        wall: (now, WALL_MS),
        seed: 7,
    }
}

/// Two brokers; `orders` with four partitions, even ones led by broker 1, odd ones by broker 2, all in epoch 5.
pub(crate) fn cluster() -> Cluster {
    let broker = |host: &str| Broker { host: host.into(), port: 9092, rack: None };
    let partition = |index: i32| PartitionInfo::new(Some(BrokerId(1 + index % 2)), Some(5));
    let info = TopicInfo {
        id: Uuid([7; 16]),
        error: ErrorCode::None,
        internal: false,
        partitions: (0..4).map(|index| (index, partition(index))).collect(),
    };
    Cluster {
        brokers: BTreeMap::from([(BrokerId(1), broker("a")), (BrokerId(2), broker("b"))]),
        topics: BTreeMap::from([("orders".into(), info)]),
        ..Cluster::default()
    }
}

pub(crate) struct Sim {
    pub(crate) now: Instant,
    pub(crate) offsets: Offsets,
    pub(crate) cluster: Cluster,
    pub(crate) coordinator: Option<BrokerId>,
    /// `auto.commit.interval.ms`, if it is on, and when the next commit is due.
    auto_commit: Option<(Duration, Instant)>,
    /// Events that were not checked yet.
    seen: Vec<Event>,
}

impl Sim {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        #[expect(clippy::disallowed_methods, reason = "some instant to begin at; no test depends on which")]
        let now = Instant::now();
        let mut config = config(now);
        change(&mut config);
        let mut offsets = Offsets::new(config);
        offsets.set_identity(Some(member(1)));
        Self {
            now,
            offsets,
            cluster: cluster(),
            coordinator: Some(COORDINATOR),
            auto_commit: None,
            seen: vec![],
        }
    }

    /// From now on an automatic commit is due in this interval, as in the consumer.
    pub(crate) fn commit_every(&mut self, interval: Duration) {
        self.auto_commit = Some((interval, self.now + interval));
    }

    /// `orders-0` is assigned and fetched from its committed offset 10.
    pub(crate) fn flowing(change: impl FnOnce(&mut Config)) -> (Self, Token) {
        let mut sim = Self::new(change);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), 10, -1, ErrorCode::None)]));
        let token = sim.token(0);
        assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(10) }]);
        (sim, token)
    }

    pub(crate) fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        self.offsets.assign(self.now, partitions);
    }

    pub(crate) fn token(&self, partition: i32) -> Token {
        self.offsets.token_of(&orders(partition)).expect("assigned")
    }

    pub(crate) fn next_transmit(&mut self) -> Option<Transmit> {
        self.offsets.poll_transmit(self.now, self.coordinator, &self.cluster)
    }

    pub(crate) fn transmit(&mut self) -> Transmit {
        self.next_transmit().expect("something to send")
    }

    /// All requests that are due.
    pub(crate) fn transmits(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.next_transmit()).collect()
    }

    pub(crate) fn quiet(&mut self) {
        let transmit = self.next_transmit();
        assert!(transmit.is_none(), "{transmit:?}");
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.seen.extend(std::iter::from_fn(|| self.offsets.poll_event()));
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn answer(&mut self, to: &Transmit, version: i16, response: impl Into<Response>) {
        let Target::Broker(from) = to.to else { panic!("asked anybody") };
        let answer = Answer { from: Some(from), version, memory: 0, response: response.into() };
        self.offsets.handle_answer(self.now, to.id, Ok(answer));
    }

    pub(crate) fn fail(&mut self, to: &Transmit, error: CallError) {
        self.offsets.handle_answer(self.now, to.id, Err(error));
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.advance_to(self.now + by);
    }

    fn advance_to(&mut self, to: Instant) {
        self.now = to;
        self.offsets.handle_timeout(to);
        if let Some((interval, at)) = &mut self.auto_commit
            && *at <= to
        {
            *at = to + *interval;
            self.offsets.request_auto_commit(to);
        }
    }

    /// Moves the time to the machine's next timeout. Until then it must have nothing to do.
    pub(crate) fn wake(&mut self) {
        self.quiet();
        self.seen = self.events();
        let interval = self.auto_commit.map(|(_, at)| at);
        let at = earliest([self.offsets.poll_timeout(), interval]).expect("something to wait for");
        assert!(at > self.now, "wants to be woken at once, though nothing is left to do");
        self.advance_to(at);
    }

    pub(crate) fn lead(&mut self, partition: i32, leader: i32, epoch: i32) {
        let info = self.cluster.topics.get_mut("orders").unwrap().partitions.get_mut(&partition).unwrap();
        info.leader = BrokerId::known(leader);
        info.epoch = Some(epoch);
        self.offsets.handle_cluster(self.now, &self.cluster);
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.now + Duration::from_secs(60)
    }
}

pub(crate) fn disconnected() -> CallError {
    CallError::Disconnected { address: "a:9092".into(), reason: "reset".into() }
}

// ---- responses ---------------------------------------------------------------------------------------------------

type Fetched = (TopicPartition, i64, i32, ErrorCode);

/// An OffsetFetch response, version 8 or 9.
pub(crate) fn fetched(partitions: impl IntoIterator<Item = Fetched>) -> OffsetFetchResponse {
    fetched_group(partitions, ErrorCode::None)
}

/// The same, with an error of the group.
pub(crate) fn fetched_group(
    partitions: impl IntoIterator<Item = Fetched>,
    error_code: ErrorCode,
) -> OffsetFetchResponse {
    let topics =
        partitions.into_iter().map(|(of, committed_offset, epoch, error_code)| OffsetFetchResponseTopics {
            name: of.topic.as_str().into(),
            partitions: vec![OffsetFetchResponsePartitions {
                partition_index: of.partition,
                committed_offset,
                committed_leader_epoch: epoch,
                metadata: Some(String::new()),
                error_code,
            }],
            ..Default::default()
        });
    let group = OffsetFetchResponseGroup { group_id: "g".into(), topics: topics.collect(), error_code };
    OffsetFetchResponse { groups: vec![group], ..Default::default() }
}

/// The same response in version 10.
pub(crate) fn with_ids(mut response: OffsetFetchResponse, id: Uuid) -> OffsetFetchResponse {
    for topic in response.groups.iter_mut().flat_map(|group| &mut group.topics) {
        topic.name.clear();
        topic.topic_id = id;
    }
    response
}

/// The same response in versions up to 7.
pub(crate) fn without_groups(response: OffsetFetchResponse) -> OffsetFetchResponse {
    let Some(group) = response.groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| OffsetFetchResponsePartition {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
}

pub(crate) fn listed(
    partitions: impl IntoIterator<Item = (TopicPartition, i64, i32, ErrorCode)>,
) -> ListOffsetsResponse {
    let topics =
        partitions.into_iter().map(|(of, offset, leader_epoch, error_code)| ListOffsetsTopicResponse {
            name: of.topic.as_str().into(),
            partitions: vec![ListOffsetsPartitionResponse {
                partition_index: of.partition,
                error_code,
                timestamp: -1,
                offset,
                leader_epoch,
            }],
        });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

/// A ListOffsets response with one partition.
pub(crate) fn lists(of: TopicPartition, offset: i64) -> ListOffsetsResponse {
    listed([(of, offset, 5, ErrorCode::None)])
}

pub(crate) fn ends(
    of: TopicPartition,
    leader_epoch: i32,
    end_offset: i64,
    code: ErrorCode,
) -> OffsetForLeaderEpochResponse {
    let end = EpochEndOffset { error_code: code, partition: of.partition, leader_epoch, end_offset };
    let topic = OffsetForLeaderTopicResult { topic: of.topic.as_str().into(), partitions: vec![end] };
    OffsetForLeaderEpochResponse { topics: vec![topic], ..Default::default() }
}

pub(crate) fn commits(
    partitions: impl IntoIterator<Item = (TopicPartition, ErrorCode)>,
) -> OffsetCommitResponse {
    let topics = partitions.into_iter().map(|(of, error_code)| OffsetCommitResponseTopic {
        name: of.topic.as_str().into(),
        partitions: vec![OffsetCommitResponsePartition { partition_index: of.partition, error_code }],
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

// ---- requests ----------------------------------------------------------------------------------------------------

pub(crate) fn as_fetch(transmit: &Transmit) -> &OffsetFetchRequest {
    let Request::OffsetFetch(request) = &transmit.request else { panic!("{transmit:?}") };
    request
}

pub(crate) fn as_commit(transmit: &Transmit) -> &OffsetCommitRequest {
    let Request::OffsetCommit(request) = &transmit.request else { panic!("{transmit:?}") };
    request
}

pub(crate) fn as_list(transmit: &Transmit) -> &ListOffsetsRequest {
    let Request::ListOffsets(request) = &transmit.request else { panic!("{transmit:?}") };
    request
}

pub(crate) fn as_epochs(transmit: &Transmit) -> &OffsetForLeaderEpochRequest {
    let Request::OffsetForLeaderEpoch(request) = &transmit.request else { panic!("{transmit:?}") };
    request
}

/// The partitions in an OffsetFetch request, in both of its forms.
pub(crate) fn fetch_names(transmit: &Transmit) -> Vec<TopicPartition> {
    let request = as_fetch(transmit);
    let old: Vec<_> = request
        .topics
        .iter()
        .flatten()
        .flat_map(|topic| {
            topic.partition_indexes.iter().map(|p| TopicPartition::new(topic.name.as_str(), *p))
        })
        .collect();
    let new: Vec<_> = request.groups[0]
        .topics
        .iter()
        .flatten()
        .flat_map(|topic| {
            topic.partition_indexes.iter().map(|p| TopicPartition::new(topic.name.as_str(), *p))
        })
        .collect();
    assert_eq!(old, new);
    new
}

/// The offsets in an OffsetCommit request: partition, offset, leader epoch.
pub(crate) fn commit_offsets(transmit: &Transmit) -> Vec<(TopicPartition, i64, i32)> {
    let topics = as_commit(transmit).topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                let of = TopicPartition::new(topic.name.as_str(), p.partition_index);
                (of, p.committed_offset, p.committed_leader_epoch)
            })
        })
        .collect()
}

/// The contents of a ListOffsets request: partition, current leader epoch, timestamp.
pub(crate) fn list_specs(transmit: &Transmit) -> Vec<(TopicPartition, i32, i64)> {
    let topics = as_list(transmit).topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                let of = TopicPartition::new(topic.name.as_str(), p.partition_index);
                (of, p.current_leader_epoch, p.timestamp)
            })
        })
        .collect()
}

/// The contents of an OffsetForLeaderEpoch request: partition, current leader epoch, epoch.
pub(crate) fn epoch_specs(transmit: &Transmit) -> Vec<(TopicPartition, i32, i32)> {
    let topics = as_epochs(transmit).topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                let of = TopicPartition::new(topic.topic.as_str(), p.partition);
                (of, p.current_leader_epoch, p.leader_epoch)
            })
        })
        .collect()
}
