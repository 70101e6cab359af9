//! Target `differential`: if a message decodes here, it is the same message to the `kafka-protocol` crate, which is
//! generated from Kafka's own message definitions.
//!
//! They size vectors by an unchecked count, so they get only input that ours has accepted. Input that they would accept
//! and we refuse is therefore not found here, but ours reads back their output.
//!
//! Known differences, each with its reason:
//!
//! | difference | why |
//! |---|---|
//!  versions that they do not have | Kafka 4.3 is ahead of them; `tests/oracle` lists them |
//!  a tag that their message has in another version only | they refuse it; Kafka, like ours, keeps it as unknown |
//! | unknown tags | we drop them; they keep them, and write some of them wrongly |
//!  a tagged struct with default values | they spell it out, we omit it |

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable},
};
use offtake_wire::{Api, ApiKey, FieldShape, Kind, Message, Reader, Shape, Writer, messages as ours};

use crate::select;

/// In place of an API: a member's subscription.
pub const SUBSCRIPTION: u8 = 0x7e;
/// In place of an API: a member's assignment.
pub const ASSIGNMENT: u8 = 0x7f;

/// `[api or request, version, body…]`
pub fn run(input: &[u8]) {
    match input {
        [SUBSCRIPTION, version, body @ ..] => {
            use offtake_wire::ConsumerProtocolSubscription;
            compare::<ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(
                (version % 4).into(),
                body,
            );
        }
        [ASSIGNMENT, version, body @ ..] => {
            use offtake_wire::ConsumerProtocolAssignment;
            compare::<ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(
                (version % 4).into(),
                body,
            );
        }
        [first, ..] => {
            let Some((api, version, body)) = select::api(input) else { return };
            message(api, version, first & select::REQUEST != 0, body);
        }
        [] => {}
    }
}

macro_rules! messages {
    ($($module:ident: $request:ident, $response:ident;)*) => {
        fn message(api: ApiKey, version: i16, request: bool, body: &[u8]) {
            $(
                if api == <ours::$module::$request as Api>::KEY {
                    return if request {
                        compare::<ours::$module::$request, theirs::$request>(version, body)
                    } else {
                        compare::<ours::$module::$response, theirs::$response>(version, body)
                    };
                }
            )*
            unreachable!("{api} is missing in the list below");
        }
    };
}

messages! {
    produce: ProduceRequest, ProduceResponse;
    fetch: FetchRequest, FetchResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    metadata: MetadataRequest, MetadataResponse;
    offset_commit: OffsetCommitRequest, OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    join_group: JoinGroupRequest, JoinGroupResponse;
    heartbeat: HeartbeatRequest, HeartbeatResponse;
    leave_group: LeaveGroupRequest, LeaveGroupResponse;
    sync_group: SyncGroupRequest, SyncGroupResponse;
    describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
    list_groups: ListGroupsRequest, ListGroupsResponse;
    sasl_handshake: SaslHandshakeRequest, SaslHandshakeResponse;
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
    init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    add_partitions_to_txn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    add_offsets_to_txn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    end_txn: EndTxnRequest, EndTxnResponse;
    txn_offset_commit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    sasl_authenticate: SaslAuthenticateRequest, SaslAuthenticateResponse;
    delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
    offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    consumer_group_describe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
}

/// Their version range, under a name that does not collide with one of ours.
trait HasVersions {
    fn has(version: i16) -> bool;
}

impl<T: kafka_protocol::protocol::Message> HasVersions for T {
    fn has(version: i16) -> bool {
        (T::VERSIONS.min..=T::VERSIONS.max).contains(&version)
    }
}

fn compare<O: Message, T: Encodable + Decodable + PartialEq + Debug + HasVersions>(
    version: i16,
    body: &[u8],
) {
    if !T::has(version) {
        return;
    }
    let raw = Bytes::copy_from_slice(body);
    let mut r = Reader::new(raw.clone());
    let Ok(message) = O::decode(&mut r, version) else { return };
    let raw = raw.slice(..r.position());
    let what = O::NAME;

    // They read what we write, and write it so that we read the same.
    let mut w = Writer::new();
    message.encode(&mut w, version).expect("what was read can be written");
    let written = w.into_bytes();
    let read = decode::<T>(&written, version)
        .unwrap_or_else(|error| panic!("{what} {version}: {error}\n{message:#?}"));
    let mut theirs = BytesMut::new();
    read.encode(&mut theirs, version)
        .unwrap_or_else(|error| panic!("{what} {version}: they cannot write {read:#?}: {error}"));
    let mut r = Reader::new(theirs.clone().freeze());
    assert_eq!(O::decode(&mut r, version).as_ref(), Ok(&message), "{what} {version}: {read:#?}");
    assert_eq!(r.remaining(), 0, "{what} {version}: {read:#?}");
    if !has_tagged_struct(&O::shape(version)) {
        assert_eq!(theirs, written, "{what} {version}, byte for byte");
    }

    // The original input, which may not have the form that either would write, means the same to them.
    if raw != written {
        match decode::<T>(&raw, version) {
            Ok(came) if has_unknown_tags(&came) => {}
            Ok(came) => assert_eq!(came, read, "{what} {version}"),
            Err(error) if error.contains("is not valid for version") => {}
            Err(error) => panic!("{what} {version}: they refuse what we accept: {error}\n{message:#?}"),
        }
    }
}

fn decode<T: Decodable>(bytes: &Bytes, version: i16) -> Result<T, String> {
    let mut left = bytes.clone();
    let read = T::decode(&mut left, version).map_err(|error| error.to_string())?;
    if left.is_empty() { Ok(read) } else { Err(format!("they leave {} bytes", left.len())) }
}

fn has_unknown_tags(message: &impl Debug) -> bool {
    let text = format!("{message:?}");
    text.split("unknown_tagged_fields: {").skip(1).any(|rest| !rest.starts_with('}'))
}

fn has_tagged_struct(shape: &Shape) -> bool {
    fn inside(kind: &Kind) -> bool {
        match kind {
            Kind::Struct { shape, .. } => has_tagged_struct(shape),
            Kind::Array { of, .. } => inside(of),
            _ => false,
        }
    }
    let is_one = |field: &FieldShape| field.tag.is_some() && matches!(field.kind, Kind::Struct { .. });
    shape.fields.iter().any(|field| is_one(field) || inside(&field.kind))
}
