//! A second implementation of the protocol: the `kafka-protocol` crate reads our encoding and writes what we read, each
//! message, each version, both directions.
//!
//! Samples are generated from the shapes that `crates/wire/tests/messages/schema.rs` checks against a real broker's
//! schemas. Their encoder is generated from Kafka's message definitions, ours from our table: where both produce the
//! same bytes for the same message, neither mistakes one field for another.
use std::{fmt::Debug, process::Command};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable},
};
use offtake_wire::{
    Api, ApiKey, DecodeError, FieldShape, Kind, Message, Reader, Shape, Writer, messages as ours,
};

#[path = "../../../crates/wire/tests/messages/sample.rs"]
mod sample;
use sample::{Dice, sample};

/// The number of random samples for each message and version, besides the one with all fields set.
const SAMPLES: u64 = 40;

#[derive(Debug, Default, PartialEq)]
struct Compared {
    samples: usize,
    /// Versions that they lack: Kafka 4.3 is ahead of them.
    missing: Vec<(&'static str, i16)>,
}

fn read_ours<M: Message>(version: i16, bytes: &[u8]) -> M {
    let mut r = Reader::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut r, version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    r.finish().unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    message
}

fn written_by_us<M: Message>(version: i16, message: &M) -> Bytes {
    let mut w = Writer::new();
    message.encode(&mut w, version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    w.into_bytes()
}

/// One message in every version: they read and rewrite our encoding, and we read the same message back.
fn compare<O, T>(compared: &mut Compared)
where
    O: Message,
    T: Encodable + Decodable + Debug + theirs_message::HasVersions,
{
    for version in O::VERSIONS.min..=O::VERSIONS.max {
        if !T::has(version) {
            compared.missing.push((O::NAME, version));
            continue;
        }
        for seed in 0..=SAMPLES {
            let bytes = sample(&O::shape(version), &mut Dice(seed), seed == 0);
            let message: O = read_ours(version, &bytes);
            let bytes = written_by_us(version, &message);
            let mut left = bytes.clone();
            let read = T::decode(&mut left, version).unwrap_or_else(|error| {
                panic!("they cannot read {} {version}: {error}\n{message:#?}", O::NAME)
            });
            assert!(
                left.is_empty(),
                "they leave {} bytes of {} {version}\n{message:#?}",
                left.len(),
                O::NAME
            );
            let mut written = BytesMut::new();
            read.encode(&mut written, version).unwrap_or_else(|error| {
                panic!("they cannot write {} {version}: {error}\n{read:#?}", O::NAME)
            });
            assert_eq!(read_ours::<O>(version, &written), message, "{} {version}\n{read:#?}", O::NAME);
            // They spell out a tagged struct with default values, we omit it: both are right.
            if seed == 0 || !has_tagged_struct(&O::shape(version)) {
                assert_eq!(written.freeze(), bytes, "{} {version}, byte for byte", O::NAME);
            }
            compared.samples += 1;
        }
    }
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

mod theirs_message {
    /// Their version range, without its type, whose name is the same as one of ours.
    pub(crate) trait HasVersions {
        fn has(version: i16) -> bool;
    }

    impl<T: kafka_protocol::protocol::Message> HasVersions for T {
        fn has(version: i16) -> bool {
            (T::VERSIONS.min..=T::VERSIONS.max).contains(&version)
        }
    }
}

#[test]
fn every_message_in_every_version_is_the_same_to_both() {
    let mut compared = Compared::default();
    let mut seen = Vec::new();
    macro_rules! all {
        ($($module:ident: $request:ident, $response:ident;)*) => {$(
            seen.push(<ours::$module::$request as Api>::KEY);
            compare::<ours::$module::$request, theirs::$request>(&mut compared);
            compare::<ours::$module::$response, theirs::$response>(&mut compared);
        )*};
    }
    all! {
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
    assert_eq!(seen, ApiKey::ALL, "every API we speak is compared");
    // Once they catch up with Kafka 4.3 this list shrinks; until then the schemas are the only check for these.
    let missing = [
        ("ListOffsetsRequest", 11),
        ("ListOffsetsResponse", 11),
        ("OffsetCommitRequest", 10),
        ("OffsetFetchRequest", 10),
        ("InitProducerIdRequest", 6),
        ("DescribeLogDirsRequest", 5),
        ("DescribeLogDirsResponse", 5),
    ];
    assert_eq!(compared.missing, missing);
    assert_eq!(compared.samples, (2 * 190 - missing.len()) * (SAMPLES as usize + 1));
}

#[test]
fn the_consumer_protocol_is_the_same_to_both() {
    use offtake_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
    let mut compared = Compared::default();
    compare::<ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(&mut compared);
    compare::<ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(&mut compared);
    assert_eq!(compared, Compared { samples: 8 * (SAMPLES as usize + 1), missing: Vec::new() });
}

#[test]
fn request_headers_are_the_same_to_both() {
    for &api in ApiKey::ALL {
        let their_key = theirs::ApiKey::try_from(api.code()).unwrap();
        for version in api.versions().min..=api.versions().max {
            let header_version = api.request_header_version(version);
            assert_eq!(header_version, their_key.request_header_version(version), "{api} {version}");
            assert_eq!(
                api.response_header_version(version),
                their_key.response_header_version(version),
                "{api} {version}"
            );

            let body = sample(&api.request_shape(version), &mut Dice(5), true);
            let mut r = Reader::new(Bytes::from(body.clone()));
            let request = offtake_wire::Request::decode(api, &mut r, version).unwrap();
            let frame = offtake_wire::encode_request(41, Some("offtake"), version, &request).unwrap();
            let mut rest = frame.slice(4..);
            let header = theirs::RequestHeader::decode(&mut rest, header_version).unwrap();
            assert_eq!((header.request_api_key, header.request_api_version), (api.code(), version));
            assert_eq!((header.correlation_id, header.client_id.as_deref()), (41, Some("offtake")));
            assert_eq!(rest, body, "the body begins where they say: {api} {version}");
        }
    }
}

/// Eighteen bytes of Metadata 9: no throttling, and four billion brokers.
const HOSTILE: [u8; 18] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The same in an old version: two billion brokers.
const HOSTILE_OLD: [u8; 20] = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The reason why their codec must not read from real brokers (FAILURES INPUT12): it sizes vectors by an unchecked
/// count. This test runs itself again as a process of its own, with a memory limit, and lets them read the bytes there.
#[test]
fn input12_twenty_bytes_end_a_process_of_theirs_and_are_an_error_of_ours() {
    const NAME: &str = "oracle::input12_twenty_bytes_end_a_process_of_theirs_and_are_an_error_of_ours";
    const CHILD: &str = "OFFTAKE_ORACLE_CHILD";
    let cases: [(&[u8], i16); 2] = [(&HOSTILE, 9), (&HOSTILE_OLD, 0)];
    if let Ok(case) = std::env::var(CHILD) {
        let (bytes, version) = cases[case.parse::<usize>().unwrap()];
        let read = theirs::MetadataResponse::decode(&mut Bytes::from_static(bytes), version);
        println!("they answered: {}", if read.is_ok() { "a message" } else { "an error" });
        return;
    }
    for (case, (bytes, version)) in cases.into_iter().enumerate() {
        let mut r = Reader::new(Bytes::from_static(bytes));
        let refused = ours::metadata::MetadataResponse::decode(&mut r, version);
        assert!(
            matches!(refused, Err(DecodeError::Count { what: "MetadataResponse.brokers", .. })),
            "{refused:?}"
        );

        // 4 GiB of address space: far more than twenty bytes need, and the same on every machine.
        let child = Command::new("sh")
            .args([
                "-c",
                "ulimit -c 0; ulimit -v 4194304; exec \"$0\" --exact \"$1\" --nocapture --test-threads=1",
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env(CHILD, case.to_string())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(
            !child.status.success() && !out.contains("they answered"),
            "they have learned to count: {out}{err}"
        );
        assert!(
            err.contains("memory allocation of"),
            "ended by the allocation, not by something else: {out}{err}"
        );
    }
}
