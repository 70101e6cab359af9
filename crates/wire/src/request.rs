//! [`ApiKey`], [`Request`] and [`Response`]: all supported APIs, from one list.

use std::fmt;

use crate::{Api, DecodeError, EncodeError, Message, Reader, Shape, Versions, Writer, messages::*};

macro_rules! apis {
    ($($api:ident = $key:literal in $module:ident: $request:ident => $response:ident,)*) => {
        /// A supported API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("Key ", stringify!($key), ".")] $api = $key,)*
        }

        impl ApiKey {
            /// All supported APIs, in ascending order of their keys.
            pub const ALL: &[Self] = &[$(Self::$api),*];

            /// The API with this key, if it is supported.
            pub fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$api),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// The supported versions.
            pub fn versions(self) -> Versions {
                match self {
                    $(Self::$api => $module::$request::VERSIONS,)*
                }
            }

            /// The first flexible version (KIP-482).
            pub fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$api => $module::$request::FLEXIBLE,)*
                }
            }

            /// The fields of the request at `version`.
            pub fn request_shape(self, version: i16) -> Shape {
                match self {
                    $(Self::$api => $module::$request::shape(version),)*
                }
            }

            /// The fields of the response at `version`.
            pub fn response_shape(self, version: i16) -> Shape {
                match self {
                    $(Self::$api => $module::$response::shape(version),)*
                }
            }
        }

        /// Any request.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $(#[doc = concat!("Of [`ApiKey::", stringify!($api), "`].")] $api($module::$request),)*
        }

        impl Request {
            /// The API of the request.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            /// Encodes the body at `version`, without a header.
            pub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$api(request) => request.encode(w, version),)*
                }
            }

            /// Decodes the body at `version`, after its header.
            pub fn decode(api: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                match api {
                    $(ApiKey::$api => $module::$request::decode(r, version).map(Self::$api),)*
                }
            }
        }

        /// Any response.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response {
            $(#[doc = concat!("Of [`ApiKey::", stringify!($api), "`].")] $api($module::$response),)*
        }

        impl Response {
            /// The API of the response.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            /// Encodes the body at `version`, without a header.
            pub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$api(response) => response.encode(w, version),)*
                }
            }

            /// Decodes the body at `version`, after its header.
            pub fn decode(api: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                match api {
                    $(ApiKey::$api => $module::$response::decode(r, version).map(Self::$api),)*
                }
            }
        }

        $(
            impl Api for $module::$request {
                const KEY: ApiKey = ApiKey::$api;
                type Response = $module::$response;
            }

            impl From<$module::$request> for Request {
                fn from(request: $module::$request) -> Self {
                    Self::$api(request)
                }
            }

            impl From<$module::$response> for Response {
                fn from(response: $module::$response) -> Self {
                    Self::$api(response)
                }
            }

            impl TryFrom<Response> for $module::$response {
                type Error = Response;

                /// Returns the response itself if it belongs to another API.
                fn try_from(response: Response) -> Result<Self, Response> {
                    match response {
                        Response::$api(response) => Ok(response),
                        other => Err(other),
                    }
                }
            }
        )*
    };
}

apis! {
    Produce = 0 in produce: ProduceRequest => ProduceResponse,
    Fetch = 1 in fetch: FetchRequest => FetchResponse,
    ListOffsets = 2 in list_offsets: ListOffsetsRequest => ListOffsetsResponse,
    Metadata = 3 in metadata: MetadataRequest => MetadataResponse,
    OffsetCommit = 8 in offset_commit: OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch = 9 in offset_fetch: OffsetFetchRequest => OffsetFetchResponse,
    FindCoordinator = 10 in find_coordinator: FindCoordinatorRequest => FindCoordinatorResponse,
    JoinGroup = 11 in join_group: JoinGroupRequest => JoinGroupResponse,
    Heartbeat = 12 in heartbeat: HeartbeatRequest => HeartbeatResponse,
    LeaveGroup = 13 in leave_group: LeaveGroupRequest => LeaveGroupResponse,
    SyncGroup = 14 in sync_group: SyncGroupRequest => SyncGroupResponse,
    DescribeGroups = 15 in describe_groups: DescribeGroupsRequest => DescribeGroupsResponse,
    ListGroups = 16 in list_groups: ListGroupsRequest => ListGroupsResponse,
    SaslHandshake = 17 in sasl_handshake: SaslHandshakeRequest => SaslHandshakeResponse,
    ApiVersions = 18 in api_versions: ApiVersionsRequest => ApiVersionsResponse,
    CreateTopics = 19 in create_topics: CreateTopicsRequest => CreateTopicsResponse,
    DeleteTopics = 20 in delete_topics: DeleteTopicsRequest => DeleteTopicsResponse,
    DeleteRecords = 21 in delete_records: DeleteRecordsRequest => DeleteRecordsResponse,
    InitProducerId = 22 in init_producer_id: InitProducerIdRequest => InitProducerIdResponse,
    OffsetForLeaderEpoch = 23 in offset_for_leader_epoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse,
    AddPartitionsToTxn = 24 in add_partitions_to_txn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse,
    AddOffsetsToTxn = 25 in add_offsets_to_txn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse,
    EndTxn = 26 in end_txn: EndTxnRequest => EndTxnResponse,
    TxnOffsetCommit = 28 in txn_offset_commit: TxnOffsetCommitRequest => TxnOffsetCommitResponse,
    DescribeConfigs = 32 in describe_configs: DescribeConfigsRequest => DescribeConfigsResponse,
    DescribeLogDirs = 35 in describe_log_dirs: DescribeLogDirsRequest => DescribeLogDirsResponse,
    SaslAuthenticate = 36 in sasl_authenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
    DeleteGroups = 42 in delete_groups: DeleteGroupsRequest => DeleteGroupsResponse,
    OffsetDelete = 47 in offset_delete: OffsetDeleteRequest => OffsetDeleteResponse,
    ConsumerGroupHeartbeat = 68 in consumer_group_heartbeat:
        ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribe = 69 in consumer_group_describe:
        ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse,
}

impl ApiKey {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// The header version of a request at `version`: 2 in flexible versions, 1 in others.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The header version of a response at `version`: 1 in flexible versions, 0 in others, and always 0 for ApiVersions
    /// (KIP-511), which a client that guessed the version must be able to read.
    pub fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && self != Self::ApiVersions { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
