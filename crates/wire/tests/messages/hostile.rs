//! The bad inputs of `docs/failures.md` that concern messages: bytes that no correct broker or group member sends. Each test is
//! named after its row.
use bytes::Bytes;
use offtake_wire::{
    ApiKey, ApiVersionsResponse, DecodeError, ErrorCode, FetchResponse, FrameError, HeartbeatResponse,
    LeaveGroupRequest, ListGroupsRequest, Message, MetadataResponse, Reader, SyncGroupResponse, Uuid, Writer,
    check_frame_len, decode_api_response, decode_response, frame::correlation_id,
    messages::heartbeat::HeartbeatRequest,
};

const CAP: usize = 100 << 20;

fn read<M: Message>(version: i16, bytes: impl AsRef<[u8]>) -> Result<M, DecodeError> {
    let mut r = Reader::new(Bytes::copy_from_slice(bytes.as_ref()));
    let message = M::decode(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

fn refusal<M: Message>(version: i16, bytes: impl AsRef<[u8]>) -> DecodeError {
    read::<M>(version, bytes).unwrap_err()
}

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

#[test]
fn input1_a_negative_frame_length_is_refused() {
    assert_eq!(check_frame_len([0xff; 4], CAP), Err(FrameError::Negative { length: -1 }));
    assert_eq!(check_frame_len([0x80, 0, 0, 0], CAP), Err(FrameError::Negative { length: i32::MIN }));
}

#[test]
fn input2_a_huge_frame_length_is_refused_before_anything_is_allocated() {
    assert_eq!(check_frame_len((CAP as u32).to_be_bytes(), CAP), Ok(CAP));
    let over = CAP + 1;
    let refused = check_frame_len((over as u32).to_be_bytes(), CAP);
    assert_eq!(refused, Err(FrameError::TooLarge { length: over, cap: CAP }));
    assert!(refused.unwrap_err().to_string().contains("104857601 bytes, 104857600 at most"));
}

#[test]
fn a5_an_http_answer_and_a_tls_record_are_called_by_their_names() {
    let says = |prefix: [u8; 4]| check_frame_len(prefix, CAP).unwrap_err().to_string();
    assert!(says(*b"HTTP").contains("speaks HTTP, not Kafka"));
    assert!(says([0x15, 0x03, 0x03, 0x00]).contains("security.protocol SSL"));
    assert!(says([0x16, 0x03, 0x01, 0x02]).contains("TLS handshake"));
    // Under a cap that allows it, this is an ordinary length.
    assert_eq!(check_frame_len(*b"HTTP", usize::MAX), Ok(0x4854_5450));
}

#[test]
fn input3_a_frame_too_short_for_a_header_is_refused() {
    for length in 0..4 {
        let refused = check_frame_len([0, 0, 0, length], CAP);
        assert_eq!(refused, Err(FrameError::TooShort { length: length.into() }));
    }
    assert_eq!(check_frame_len([0, 0, 0, 4], CAP), Ok(4));
    for length in 0..4 {
        let frame = Bytes::from(vec![0; length]);
        assert!(
            matches!(correlation_id(&frame), Err(DecodeError::Short { needed: 4, left, .. }) if left == length)
        );
        assert!(decode_response(frame, ApiKey::Heartbeat, 0).is_err());
    }
}

#[test]
fn input6_trailing_bytes_are_refused_by_the_strict_and_counted_by_the_lenient() {
    let body = [0, 0, 0, 0]; // version 0: an error code, and two bytes too many
    let left_over = DecodeError::Trailing { what: "HeartbeatResponse.error_code", left: 2 };
    assert_eq!(read::<HeartbeatResponse>(0, body), Err(left_over));

    let frame = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0]);
    let decoded = decode_api_response::<HeartbeatRequest>(frame, 0).unwrap();
    assert_eq!((decoded.correlation_id, decoded.trailing), (9, 2));
}

#[test]
fn input7_null_and_negative_lengths_are_refused_where_there_is_no_null() {
    let null = |what| DecodeError::Null { what };
    let negative = |what, length| DecodeError::NegativeLength { what, length };
    // LeaveGroup 0: group_id; SyncGroup 0: error_code, assignment; Metadata 0: brokers; compact: 0 is null.
    let group = "LeaveGroupRequest.group_id";
    assert_eq!(refusal::<LeaveGroupRequest>(0, [0xff, 0xff]), null(group));
    assert_eq!(refusal::<LeaveGroupRequest>(0, [0xff, 0xfe]), negative(group, -2));
    assert_eq!(refusal::<LeaveGroupRequest>(0, [0x80, 0]), negative(group, -32768));
    assert_eq!(refusal::<LeaveGroupRequest>(4, [0]), null(group));
    let assignment = "SyncGroupResponse.assignment";
    assert_eq!(refusal::<SyncGroupResponse>(0, [0, 0, 0xff, 0xff, 0xff, 0xff]), null(assignment));
    assert_eq!(refusal::<SyncGroupResponse>(0, [0, 0, 0x80, 0, 0, 0]), negative(assignment, i32::MIN.into()));
    let brokers = "MetadataResponse.brokers";
    assert_eq!(refusal::<MetadataResponse>(0, [0xff; 4]), null(brokers));
    assert_eq!(refusal::<MetadataResponse>(0, [0xff, 0xff, 0xff, 0xfe]), negative(brokers, -2));
    assert_eq!(refusal::<MetadataResponse>(9, [0, 0, 0, 0, 0]), null(brokers));
}

#[test]
fn input7_a_length_beyond_the_bytes_left_is_refused() {
    let short = |needed, left| Err(DecodeError::Short { what: "LeaveGroupRequest.group_id", needed, left });
    assert_eq!(read::<LeaveGroupRequest>(0, [0x7f, 0xff, b'g']), short(32767, 1));
    assert_eq!(read::<LeaveGroupRequest>(4, [5, b'g', b'r']), short(4, 2));
    let bytes = read::<SyncGroupResponse>(0, [0, 0, 0x7f, 0xff, 0xff, 0xff, 1]);
    let what = "SyncGroupResponse.assignment";
    assert_eq!(bytes, Err(DecodeError::Short { what, needed: i32::MAX as usize, left: 1 }));
}

#[test]
fn input8_a_compact_string_longer_than_kafkas_strings_is_refused() {
    let text = |length: u32| {
        let mut w = Writer::new();
        w.unsigned_varint(length + 1);
        w.raw(&vec![b'x'; length as usize]);
        Reader::new(w.into_bytes()).string(true)
    };
    assert_eq!(text(32767).map(|text| text.len()), Ok(32767));
    assert_eq!(text(32768), Err(DecodeError::TooLong { what: "message", length: 32768, max: 32767 }));
}

#[test]
fn input9_text_that_is_not_utf8_is_refused() {
    let not_utf8 = Err(DecodeError::NotUtf8 { what: "LeaveGroupRequest.group_id" });
    for bytes in [b"\xff\xff".as_slice(), b"\xc3", b"\xed\xa0\x80", b"ok\xf0\x9f"] {
        let mut body = vec![0, bytes.len() as u8];
        body.extend(bytes);
        assert_eq!(read::<LeaveGroupRequest>(0, body), not_utf8, "{bytes:?}");
    }
}

#[test]
fn input10_an_array_count_beyond_the_bytes_left_is_refused() {
    let refused = read::<MetadataResponse>(0, [0x7f, 0xff, 0xff, 0xff]);
    let (what, count) = ("MetadataResponse.brokers", i32::MAX as usize);
    assert_eq!(refused, Err(DecodeError::Count { what, count, min_size: 10, left: 0 }));
    // Compact and nested: one topic with the largest possible number of partitions.
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    body.extend([0; 16]);
    body.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    let refused = read::<FetchResponse>(13, &body);
    let (what, count) = ("FetchableTopicResponse.partitions", u32::MAX as usize - 1);
    assert_eq!(refused, Err(DecodeError::Count { what, count, min_size: 37, left: 0 }));
}

#[test]
fn input10_a_count_that_fits_but_one_byte_is_the_limit() {
    // Three strings of at least one byte each; then the tagged fields.
    assert!(read::<ListGroupsRequest>(4, [4, 1, 1, 1, 0]).is_ok());
    let refused = read::<ListGroupsRequest>(4, [6, 1, 1, 1, 0]);
    let what = "ListGroupsRequest.states_filter";
    assert_eq!(refused, Err(DecodeError::Count { what, count: 5, min_size: 1, left: 4 }));
}

#[test]
fn input11_elements_that_cost_next_to_nothing_on_the_wire_are_budgeted() {
    // An empty string is one byte on the wire and a `String` here.
    let filter = |count: u32, element: &[u8]| {
        let mut w = Writer::new();
        w.unsigned_varint(count + 1);
        (0..count).for_each(|_| w.raw(element));
        w.raw(&[0]);
        read::<ListGroupsRequest>(4, w.into_bytes())
    };
    let what = "ListGroupsRequest.states_filter";
    assert_eq!(filter(1_000_000, &[1]), Err(DecodeError::Budget { what, count: 1_000_000 }));
    assert_eq!(filter(1_000_000, b"\x02a").map(|read| read.states_filter.len()), Ok(1_000_000));
    // An element of size zero would still count as a byte.
    let mut nothing = reader(&[0, 0, 1, 0, 0]);
    assert!(matches!(nothing.count(false, 0, 0), Err(DecodeError::Count { min_size: 1, left: 1, .. })));
}

#[test]
fn input11_the_budget_is_for_the_whole_message_not_for_each_array() {
    // Many lists of topics, each within the budget, but together far above it.
    let mut w = Writer::new();
    let (outer, inner) = (1_000, 1_000);
    w.unsigned_varint(outer + 1);
    for _ in 0..outer {
        w.unsigned_varint(inner + 1);
        (0..inner).for_each(|_| w.raw(&[1]));
    }
    let mut r = Reader::new(w.into_bytes());
    assert_eq!(r.count(true, 1, 24), Ok(Some(outer as usize)));
    let mut read = 0;
    let refused = loop {
        match r.count(true, 1, 24) {
            Ok(Some(count)) => drop(r.take(count).unwrap()),
            other => break other,
        }
        read += 1;
    };
    assert!(matches!(refused, Err(DecodeError::Budget { count: 1_000, .. })));
    assert!((500..900).contains(&read), "16 bytes of memory a byte of message, then no more: {read}");
}

#[test]
fn input13_a_varint_of_more_than_five_or_ten_bytes_is_refused() {
    let padded = [0x81, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(reader(&padded).unsigned_varint(), Ok(1), "longer than need be, but it fits");
    let long = [0x81, 0x80, 0x80, 0x80, 0x80, 0x00];
    let refused = |bits| DecodeError::Varint { what: "message", bits };
    assert_eq!(reader(&long).unsigned_varint(), Err(refused(32)));
    assert_eq!(reader(&long).unsigned_varlong(), Ok(1));

    let mut padded = [0x80; 10];
    padded[9] = 0;
    assert_eq!(reader(&padded).unsigned_varlong(), Ok(0));
    let mut long = [0x80; 11];
    long[10] = 0;
    assert_eq!(reader(&long).unsigned_varlong(), Err(refused(64)));
    assert!(matches!(reader(&[0x80, 0x80]).unsigned_varint(), Err(DecodeError::Short { .. })));
}

#[test]
fn input14_a_varint_whose_value_overflows_is_refused() {
    assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
    for fifth in [0x10, 0x1f, 0x7f] {
        let refused = reader(&[0xff, 0xff, 0xff, 0xff, fifth]).unsigned_varint();
        assert_eq!(refused, Err(DecodeError::Varint { what: "message", bits: 32 }), "{fifth:#x}");
    }
    let mut most = [0xff; 10];
    most[9] = 1;
    assert_eq!(reader(&most).unsigned_varlong(), Ok(u64::MAX));
    for tenth in [0x02, 0x03, 0x7f] {
        most[9] = tenth;
        let refused = reader(&most).unsigned_varlong();
        assert_eq!(refused, Err(DecodeError::Varint { what: "message", bits: 64 }), "{tenth:#x}");
    }
}

#[test]
fn zigzag_and_varints_come_back_at_their_extremes() {
    for value in [0, 1, -1, 63, -64, 64, 8191, -8192, i32::MAX, i32::MIN] {
        let mut w = Writer::new();
        w.varint(value);
        w.varlong(value.into());
        let mut r = Reader::new(w.into_bytes());
        assert_eq!((r.varint(), r.varlong(), r.finish()), (Ok(value), Ok(value.into()), Ok(())));
    }
    for value in [i64::MAX, i64::MIN, i64::from(i32::MAX) + 1] {
        let mut w = Writer::new();
        w.varlong(value);
        assert_eq!(Reader::new(w.into_bytes()).varlong(), Ok(value));
    }
    let mut w = Writer::new();
    [-1, 1, -2].into_iter().for_each(|value| w.varint(value));
    assert_eq!(w.into_bytes()[..], [1, 2, 3]);
}

#[test]
fn input15_four_billion_tags_without_a_byte_end_at_the_first() {
    let mut asked = 0;
    let end = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).tagged_fields(|_, _| {
        asked += 1;
        Ok(false)
    });
    assert!(matches!(end, Err(DecodeError::Short { .. })));
    assert_eq!(asked, 0);
    // With one byte present, it ends at the second field.
    let end = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f, 9, 0]).tagged_fields(|_, _| {
        asked += 1;
        Ok(false)
    });
    assert!(matches!(end, Err(DecodeError::Short { .. })));
    assert_eq!(asked, 1);
}

/// ApiVersions 3: no error, no keys, no throttling, then these tagged fields.
fn api_versions(tags: &[u8]) -> Result<ApiVersionsResponse, DecodeError> {
    let mut body = vec![0, 0, 1, 0, 0, 0, 0];
    body.extend(tags);
    read::<ApiVersionsResponse>(3, body)
}

const EPOCH: [u8; 10] = [1, 8, 0, 0, 0, 0, 0, 0, 0, 5]; // tag 1, eight bytes

#[test]
fn input16_a_known_tag_twice_is_refused() {
    let twice = [&[2][..], &EPOCH, &EPOCH].concat();
    let what = "ApiVersionsResponse.finalized_features_epoch";
    assert_eq!(api_versions(&twice), Err(DecodeError::DuplicateTag { what, tag: 1 }));
}

#[test]
fn input16_unknown_tags_are_skipped_in_whatever_order() {
    let mixed = [&[5, 77, 2, 0xaa, 0xbb][..], &EPOCH, &[9, 0, 9, 1, 0xff, 3, 1, 1]].concat();
    let read = api_versions(&mixed).unwrap();
    assert_eq!((read.finalized_features_epoch, read.zk_migration_ready), (5, true));
    // The largest possible tag; and known tags out of order.
    let mixed = [&[3, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 3, 1, 1][..], &EPOCH].concat();
    assert_eq!(api_versions(&mixed), Ok(read));
}

#[test]
fn input17_a_tag_that_claims_more_than_is_left_is_refused() {
    let short = |needed, left| {
        let what = "ApiVersionsResponse.throttle_time_ms";
        Err(DecodeError::Short { what, needed, left })
    };
    assert_eq!(api_versions(&[1, 77, 4, 0, 0, 0]), short(4, 3));
    assert_eq!(api_versions(&[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]), short(u32::MAX as usize, 1));
}

#[test]
fn input17_a_tagged_value_is_confined_to_its_size() {
    let what = "ApiVersionsResponse.finalized_features_epoch";
    // Eight bytes are needed and present, but the tag declares four.
    let refused = api_versions(&[1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(refused, Err(DecodeError::Short { what, needed: 8, left: 4 }));
    // Nine are declared, eight are read.
    let refused = api_versions(&[1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0]);
    assert_eq!(refused, Err(DecodeError::Trailing { what, left: 1 }));
}

#[test]
fn input18_an_unknown_error_code_is_kept() {
    let read = read::<HeartbeatResponse>(0, 1234_i16.to_be_bytes()).unwrap();
    assert_eq!(read.error_code, ErrorCode::Unknown(1234));
    assert_eq!(
        (read.error_code.code(), read.error_code.is_ok(), read.error_code.is_retriable()),
        (1234, false, false)
    );
    assert_eq!(read.error_code.to_string(), "unknown error code 1234");
    let mut w = Writer::new();
    read.encode(&mut w, 0).unwrap();
    assert_eq!(w.into_bytes()[..], 1234_i16.to_be_bytes());
    for code in i16::MIN..=i16::MAX {
        assert_eq!(ErrorCode::from(code).code(), code);
    }
}

#[test]
fn input19_to_input22_what_is_well_formed_but_makes_no_sense_is_read_as_it_is() {
    // The caller has to check the values: the codec neither drops nor changes any.
    let mut w = Writer::new();
    w.count(false, Some(2)).unwrap();
    for (id, port) in [(-7, 0), (-7, 70_000)] {
        w.i32(id);
        w.string(false, "").unwrap();
        w.i32(port);
    }
    w.count(false, Some(1)).unwrap();
    w.i16(0);
    w.string(false, "t").unwrap();
    w.count(false, Some(1)).unwrap();
    w.i16(0);
    w.i32(i32::MIN);
    w.i32(-1);
    w.count(false, Some(0)).unwrap();
    w.count(false, Some(0)).unwrap();
    let read = read::<MetadataResponse>(0, w.into_bytes()).unwrap();
    assert_eq!(
        read.brokers.iter().map(|broker| (broker.node_id, broker.port)).collect::<Vec<_>>(),
        [(-7, 0), (-7, 70_000)]
    );
    assert_eq!(read.topics[0].partitions[0].partition_index, i32::MIN);
}

#[test]
fn input51_heartbeat_intervals_come_through_for_the_group_to_clamp() {
    use offtake_wire::ConsumerGroupHeartbeatResponse as Beat;
    for interval in [0, -1, i32::MIN, i32::MAX] {
        let sent = Beat { heartbeat_interval_ms: interval, throttle_time_ms: interval, ..Beat::default() };
        let mut w = Writer::new();
        sent.encode(&mut w, 1).unwrap();
        assert_eq!(read::<Beat>(1, w.into_bytes()), Ok(sent));
    }
}

#[test]
fn a_presence_byte_is_one_or_minus_one() {
    use offtake_wire::ConsumerGroupHeartbeatResponse as Beat;
    // throttle, error, message, member id, epoch, interval; then the assignment's presence.
    let body = |presence: &[u8]| [&[0; 16], presence].concat();
    assert_eq!(read::<Beat>(0, body(&[0xff, 0])).unwrap().assignment, None);
    assert!(read::<Beat>(0, body(&[1, 1, 0, 0])).unwrap().assignment.is_some());
    let what = "ConsumerGroupHeartbeatResponse.assignment";
    for byte in [0, 2, -2, i8::MIN] {
        let [presence] = byte.to_be_bytes();
        let refused = refusal::<Beat>(0, body(&[presence, 1, 0, 0]));
        assert_eq!(refused, DecodeError::Presence { what, byte });
    }
}

#[test]
fn null_is_refused_up_to_the_version_that_allows_it() {
    use offtake_wire::{JoinGroupResponse, MetadataRequest};
    // No error, generation, then the protocol's name; from version 7 on after throttling and protocol type.
    let old = [&[0; 6][..], &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let what = "JoinGroupResponse.protocol_name";
    assert_eq!(refusal::<JoinGroupResponse>(0, old), DecodeError::Null { what });
    let compact = |leading: usize| [&vec![0; leading][..], &[0, 1, 1, 1, 0]].concat();
    assert_eq!(refusal::<JoinGroupResponse>(6, compact(10)), DecodeError::Null { what });
    assert_eq!(read::<JoinGroupResponse>(7, compact(11)).unwrap().protocol_name, None);
    let what = "MetadataRequest.topics";
    assert_eq!(refusal::<MetadataRequest>(0, [0xff; 4]), DecodeError::Null { what });
    assert_eq!(read::<MetadataRequest>(1, [0xff; 4]).unwrap().topics, None);
}

#[test]
fn a_tagged_struct_that_spells_out_its_default_says_nothing() {
    // One topic by id, one partition of zeros except for the tag: a current leader of -1 in epoch -1.
    let leader = |id: i32| {
        let mut body = vec![0; 10]; // throttling, error, session
        body.push(2);
        body.extend([0; 16]);
        body.push(2);
        body.extend([0; 4 + 2 + 8 + 8 + 8 + 1 + 4 + 1]);
        body.extend([1, 1, 9]);
        body.extend(id.to_be_bytes());
        body.extend([0xff, 0xff, 0xff, 0xff, 0]);
        body.extend([0, 0]);
        read::<FetchResponse>(16, body).unwrap().responses[0].partitions[0].current_leader.clone()
    };
    assert_eq!(leader(-1), None);
    assert_eq!(leader(3).map(|leader| leader.leader_id), Some(3));
}

#[test]
fn a_field_that_a_version_does_not_carry_is_refused_unless_it_may_be_left_out() {
    use offtake_wire::{EncodeError, FindCoordinatorRequest, JoinGroupRequest, LeaveGroupRequest};
    let mut w = Writer::new();
    let join = |instance: Option<&str>| JoinGroupRequest {
        group_instance_id: instance.map(str::to_owned),
        reason: Some("for the log".to_owned()),
        ..Default::default()
    };
    let what = "JoinGroupRequest.group_instance_id";
    assert_eq!(join(Some("i")).encode(&mut w, 4), Err(EncodeError::NotInVersion { what, version: 4 }));
    assert_eq!(join(Some("i")).encode(&mut w, 5), Ok(()), "the reason is for people");
    assert_eq!(join(None).encode(&mut w, 0), Ok(()));

    // One field has the meaning in old versions, the other in new ones.
    let both = |key: &str, keys: &[&str]| FindCoordinatorRequest {
        key: key.to_owned(),
        coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    for version in [3, 4] {
        assert_eq!(both("g", &["g"]).encode(&mut w, version), Ok(()));
    }
    let what = "FindCoordinatorRequest.coordinator_keys";
    assert_eq!(both("", &["g"]).encode(&mut w, 3), Err(EncodeError::NotInVersion { what, version: 3 }));
    let what = "FindCoordinatorRequest.key";
    assert_eq!(both("g", &[]).encode(&mut w, 4), Err(EncodeError::NotInVersion { what, version: 4 }));
    let mut leave = LeaveGroupRequest { members: vec![Default::default()], ..Default::default() };
    let what = "LeaveGroupRequest.members";
    assert_eq!(leave.encode(&mut w, 2), Err(EncodeError::NotInVersion { what, version: 2 }));
    leave.member_id = "m".to_owned();
    assert_eq!(leave.encode(&mut w, 2), Ok(()));
}

#[test]
fn values_that_a_version_cannot_carry_are_not_written() {
    use offtake_wire::{EncodeError, JoinGroupResponse, MetadataRequest};
    let mut w = Writer::new();
    let everything = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let refused = everything.encode(&mut w, 0);
    assert_eq!(refused, Err(EncodeError::Null { what: "MetadataRequest.topics", version: 0 }));
    assert_eq!(everything.encode(&mut w, 1), Ok(()));
    let long = JoinGroupResponse { leader: "x".repeat(32768), ..JoinGroupResponse::default() };
    let refused = long.encode(&mut w, 5);
    let what = "JoinGroupResponse.leader";
    assert_eq!(refused, Err(EncodeError::TooLong { what, length: 32768, max: 32767 }));
}

#[test]
fn byte_fields_are_slices_of_the_frame() {
    let frame = Bytes::from_static(&[0, 0, 0, 0, 0, 3, b'a', b'b', b'c']);
    let mut r = Reader::new(frame.clone());
    let read = SyncGroupResponse::decode(&mut r, 0).unwrap();
    assert_eq!(read.assignment.as_ptr(), frame.slice(6..).as_ptr());
    assert_eq!(Uuid::default(), Uuid::ZERO);
}
