//! Kafka's wire protocol as pure functions over bytes: frames, versions, messages, and record batches.
//!
//! The crate knows nothing of sockets, time or the meaning of a response. [`Request`] and [`Response`] contain all messages, in
//! every version supported by brokers from 2.4 to 4.3; [`frame`] encodes and decodes frames; [`records`] reads and builds record
//! batches. Each message is one table in [`messages`], written with `message!` (see [`message`]).
//!
//! Always true:
//! - bytes from outside cannot cause panics, endless loops, or memory use beyond a small multiple of their size;
//! - byte fields of a decoded message are slices of its frame;
//! - encoding a decoded message and decoding it again gives an equal message, in both directions and every version.

mod auth_bytes;
mod consumer_protocol;
mod error;
mod error_code;
mod field;
pub mod frame;
pub mod message;
pub mod messages;
pub mod offsets_topic;
mod reader;
pub mod records;
mod request;
mod shape;
mod table;
mod uuid;
mod writer;

pub use auth_bytes::AuthBytes;
pub use consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition};
pub use error::{DecodeError, EncodeError};
pub use error_code::ErrorCode;
pub use field::{Encoding, Field};
pub use frame::{
    Decoded, FrameError, RequestHeader, check_frame_len, decode_api_response, decode_request,
    decode_response, encode_api_request, encode_request, encode_request_parts, encode_response,
};
pub use message::{Api, Message, Versions};
pub use messages::{
    add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse},
    add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse},
    api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse},
    consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
    create_topics::{CreateTopicsRequest, CreateTopicsResponse},
    delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse},
    delete_records::{DeleteRecordsRequest, DeleteRecordsResponse},
    delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse},
    describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse},
    describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse},
    describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse},
    end_txn::{EndTxnRequest, EndTxnResponse},
    fetch::{FetchRequest, FetchResponse},
    find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse},
    heartbeat::{HeartbeatRequest, HeartbeatResponse},
    init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
    join_group::{JoinGroupRequest, JoinGroupResponse},
    leave_group::{LeaveGroupRequest, LeaveGroupResponse},
    list_groups::{ListGroupsRequest, ListGroupsResponse},
    list_offsets::{ListOffsetsRequest, ListOffsetsResponse},
    metadata::{MetadataRequest, MetadataResponse},
    offset_commit::{OffsetCommitRequest, OffsetCommitResponse},
    offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse},
    offset_fetch::{OffsetFetchRequest, OffsetFetchResponse},
    offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse},
    produce::{ProduceRequest, ProduceResponse},
    sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse},
    sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse},
    sync_group::{SyncGroupRequest, SyncGroupResponse},
    txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse},
};
pub use reader::Reader;
pub use request::{ApiKey, Request, Response};
pub use shape::{FieldShape, Kind, Shape};
pub use uuid::{ParseUuidError, Uuid};
pub use writer::Writer;

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
