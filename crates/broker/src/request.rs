//! One request on its way through the model: its sender, and the way back for the answer.

use kafka_protocol::{
    messages::{ApiKey, ResponseKind},
    protocol::StrBytes,
};

use crate::connection::ConnectionId;

/// The sender and the receiver of a request: everything that a handler may know about it beside its body, and keeps to
/// answer later ([`Model::answer`](crate::Model::answer)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) connection: ConnectionId,
    /// The broker that received it.
    pub(crate) broker: i32,
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) client_id: Option<StrBytes>,
    /// The client's address, without its port, which Kafka shows as `client host`, there with a leading `/`.
    pub(crate) host: StrBytes,
}

/// The reply of a handler.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This answer.
    Now(Box<ResponseKind>),
    /// The handler kept the context; the answer follows by [`Model::answer`](crate::Model::answer).
    Later,
    /// Nothing is sent, and the next request is read (a Produce with `acks=0`).
    Nothing,
    /// Kafka closes the connection on such a request.
    Close,
}

impl From<ResponseKind> for Reply {
    fn from(response: ResponseKind) -> Self {
        Self::Now(Box::new(response))
    }
}

macro_rules! reply_from {
    ($($name:ident($response:ident)),* $(,)?) => {$(
        impl From<kafka_protocol::messages::$response> for Reply {
            fn from(response: kafka_protocol::messages::$response) -> Self {
                ResponseKind::$name(response).into()
            }
        }
    )*};
}

reply_from! {
    ApiVersions(ApiVersionsResponse),
    Metadata(MetadataResponse),
    Produce(ProduceResponse),
    Fetch(FetchResponse),
    ListOffsets(ListOffsetsResponse),
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    DeleteRecords(DeleteRecordsResponse),
    DescribeLogDirs(DescribeLogDirsResponse),
    FindCoordinator(FindCoordinatorResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    ListGroups(ListGroupsResponse),
    DescribeGroups(DescribeGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(ConsumerGroupDescribeResponse),
    InitProducerId(InitProducerIdResponse),
    AddPartitionsToTxn(AddPartitionsToTxnResponse),
    AddOffsetsToTxn(AddOffsetsToTxnResponse),
    EndTxn(EndTxnResponse),
    TxnOffsetCommit(TxnOffsetCommitResponse),
    DescribeProducers(DescribeProducersResponse),
    DescribeTransactions(DescribeTransactionsResponse),
    ListTransactions(ListTransactionsResponse),
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsResponse),
    DescribeConfigs(DescribeConfigsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    DescribeCluster(DescribeClusterResponse),
    DescribeTopicPartitions(DescribeTopicPartitionsResponse),
    SaslHandshake(SaslHandshakeResponse),
    SaslAuthenticate(SaslAuthenticateResponse),
}
