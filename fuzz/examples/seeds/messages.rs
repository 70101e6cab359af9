//! Frames, messages, and the members' messages to one another.

use bytes::Bytes;
use offtake_fuzz::{differential, select};
use offtake_wire::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatResponse, Message, Reader,
    Request, Response, TopicPartition, encode_request, encode_response,
};

use super::{
    Corpora,
    sample::{Dice, sample},
};

/// A message with content in every field, for each version that differs from the one before.
pub(crate) fn filled(corpora: &mut Corpora) {
    for &api in ApiKey::ALL {
        let versions = api.versions();
        for version in versions.min..=versions.max {
            let old = (version - 1).max(versions.min);
            for (target, request, shape, before) in [
                ("request", true, api.request_shape(version), api.request_shape(old)),
                ("response", false, api.response_shape(version), api.response_shape(old)),
            ] {
                if version == versions.min || version == versions.max || shape != before {
                    let body = sample(&shape, &mut Dice(u64::from(version.cast_unsigned())), true);
                    let name = format!("{}-{version}", api.name());
                    corpora.add(target, &name, &[&select::prefix(api, version, request), &body]);
                }
            }
        }
    }
}

/// Bad input of `docs/failures.md` that concerns messages.
pub(crate) fn hostile(corpora: &mut Corpora) {
    use ApiKey::{
        ApiVersions, ConsumerGroupHeartbeat, Fetch, Heartbeat, JoinGroup, LeaveGroup, ListGroups, Metadata,
        SyncGroup,
    };
    const MANY: &[u8] = &[0x7f, 0xff, 0xff, 0xff];
    const MANY_COMPACT: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x0f];
    const EPOCH: &[u8] = &[1, 8, 0, 0, 0, 0, 0, 0, 0, 5];
    const NO_TAGS_YET: &[u8] = &[0, 0, 1, 0, 0, 0, 0]; // ApiVersions 3, up to its tagged fields
    let long = [&[0x81, 0x80, 2][..], &[b'x'; 700]].concat();
    let leader = [&[0; 10][..], &[2], &[0; 16], &[2], &[0; 36], &[1, 1, 9], &[0xff; 8], &[0, 0, 0]].concat();

    let responses: &[(&str, ApiKey, i16, &[&[u8]])] = &[
        ("input6-trailing", Heartbeat, 0, &[&[0, 0, 0, 0]]),
        ("input7-null-bytes", SyncGroup, 0, &[&[0, 0, 0xff, 0xff, 0xff, 0xff]]),
        ("input7-negative-bytes", SyncGroup, 0, &[&[0, 0, 0x80, 0, 0, 0]]),
        ("input7-null-array", Metadata, 0, &[&[0xff; 4]]),
        ("input7-null-compact", Metadata, 9, &[&[0; 5]]),
        ("input7-beyond-the-end", SyncGroup, 0, &[&[0, 0, 0x7f, 0xff, 0xff, 0xff, 1]]),
        ("input10-count-old", Metadata, 0, &[MANY, &[0; 16]]),
        ("input10-count-compact", Metadata, 9, &[&[0; 4], MANY_COMPACT, &[0; 9]]),
        ("input11-smallest-elements", ApiVersions, 3, &[&[0, 0], MANY_COMPACT, &[0; 40]]),
        ("input13-endless-varint", Metadata, 9, &[&[0; 4], &[0x80; 12]]),
        ("input13-overlong-varint", ApiVersions, 3, &[&[0, 0, 0x81, 0x80, 0x80, 0, 0, 0, 0, 0, 0]]),
        ("input14-varint-overflow", Metadata, 9, &[&[0; 4], &[0xff, 0xff, 0xff, 0xff, 0x7f]]),
        ("input15-tag-count", ApiVersions, 3, &[&NO_TAGS_YET[..6], MANY_COMPACT]),
        ("input16-known-tag-twice", ApiVersions, 3, &[NO_TAGS_YET, &[2], EPOCH, EPOCH]),
        (
            "input16-unknown-tags",
            ApiVersions,
            3,
            &[NO_TAGS_YET, &[4, 77, 2, 0xaa, 0xbb], EPOCH, &[9, 0, 9, 1, 0xff]],
        ),
        ("input16-largest-tag", ApiVersions, 3, &[NO_TAGS_YET, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]]),
        ("input17-tag-beyond-the-end", ApiVersions, 3, &[NO_TAGS_YET, &[1, 77, 4, 0, 0, 0]]),
        ("input17-tag-too-small", ApiVersions, 3, &[NO_TAGS_YET, &[1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 5]]),
        ("input17-tag-too-large", ApiVersions, 3, &[NO_TAGS_YET, &[1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0]]),
        ("input18-unknown-error", Heartbeat, 0, &[&1234_i16.to_be_bytes()]),
        ("input51-interval", ConsumerGroupHeartbeat, 1, &[&[0; 12], &[0x80, 0, 0, 0], &[0xff, 0]]),
        ("presence", ConsumerGroupHeartbeat, 0, &[&[0; 16], &[2, 1, 0, 0]]),
        ("null-in-an-old-version", JoinGroup, 6, &[&[0; 10], &[0, 1, 1, 1, 0]]),
        ("default-spelled-out", Fetch, 16, &[&leader]),
    ];
    for (name, api, version, parts) in responses {
        let mut all: Vec<&[u8]> = vec![];
        let prefix = select::prefix(*api, *version, false);
        all.push(&prefix);
        all.extend_from_slice(parts);
        corpora.add("response", name, &all);
    }

    let requests: &[(&str, ApiKey, i16, &[&[u8]])] = &[
        ("input7-null-string", LeaveGroup, 0, &[&[0xff, 0xff]]),
        ("input7-negative-string", LeaveGroup, 0, &[&[0x80, 0]]),
        ("input8-long-compact-string", LeaveGroup, 4, &[&long]),
        ("input9-not-utf8", LeaveGroup, 0, &[&[0, 2, 0xc3, 0x28, 0, 0]]),
        ("input9-surrogate", LeaveGroup, 0, &[&[0, 3, 0xed, 0xa0, 0x80, 0, 0]]),
        ("input10-count-old", LeaveGroup, 3, &[&[0, 0], MANY, &[0; 16]]),
        ("input10-count-compact", ListGroups, 4, &[MANY_COMPACT, &[0; 16]]),
        ("null-topics", Metadata, 1, &[&[0xff; 4]]),
    ];
    for (name, api, version, parts) in requests {
        let mut all: Vec<&[u8]> = vec![];
        let prefix = select::prefix(*api, *version, true);
        all.push(&prefix);
        all.extend_from_slice(parts);
        corpora.add("request", name, &all);
    }
}

/// Streams: well-formed ones, and INPUT1 to INPUT5.
pub(crate) fn frames(corpora: &mut Corpora) {
    let prefix = select::prefix(ApiKey::Heartbeat, 0, false);
    let beat = encode_response(7, 0, &Response::from(HeartbeatResponse::default())).expect("it is small");
    let large = [&70_u32.to_be_bytes()[..], &[0; 70]].concat();
    let streams: &[(&str, u8, &[&[u8]])] = &[
        ("three", 0, &[&beat, &beat, &beat]),
        ("input1-negative", 0, &[&beat, &[0xff; 4]]),
        ("input2-huge", 0, &[&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]]),
        ("input2-above-the-cap", 1, &[&large]),
        ("input3-empty", 0, &[&beat, &[0, 0, 0, 0], &beat]),
        ("input3-short", 0, &[&[0, 0, 0, 3, 1, 1, 1]]),
        ("a4-cut", 0, &[&large[..60]]),
        ("a5-http", 0, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
        ("a5-tls-alert", 0, &[&[0x15, 3, 3, 0, 2, 2, 40]]),
        ("a5-tls-handshake", 0, &[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]]),
    ];
    for (name, cap, parts) in streams {
        let mut all: Vec<&[u8]> = vec![];
        let head = [&[*cap, 3][..], &prefix].concat();
        all.push(&head);
        all.extend_from_slice(parts);
        corpora.add("frame", name, &all);
    }
    for &api in ApiKey::ALL {
        let version = api.versions().max;
        let body = sample(&api.request_shape(version), &mut Dice(1), true);
        let request = Request::decode(api, &mut Reader::new(body.into()), version).expect("it is sound");
        let request = encode_request(1, Some("fuzz"), version, &request).expect("it is small");
        let body = sample(&api.response_shape(version), &mut Dice(1), true);
        let response = Response::decode(api, &mut Reader::new(body.into()), version).expect("it is sound");
        let response = encode_response(2, version, &response).expect("it is small");
        let head = [&[0, 9][..], &select::prefix(api, version, false)].concat();
        corpora.add("frame", api.name(), &[&head, &request, &response]);
    }
}

/// Subscriptions and assignments, and INPUT50.
pub(crate) fn consumer_protocol(corpora: &mut Corpora) {
    let owned = vec![TopicPartition { topic: "orders".into(), partitions: vec![0, 3] }];
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into(), "payments".into()],
        user_data: Some(Bytes::from_static(b"sticky")),
        owned_partitions: owned.clone(),
        generation_id: 4,
        rack_id: Some("a".into()),
    };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: owned, user_data: None };
    let nonsense = ConsumerProtocolAssignment {
        assigned_partitions: vec![
            TopicPartition { topic: String::new(), partitions: vec![-1, -1, i32::MAX] };
            2
        ],
        user_data: Some(Bytes::from_static(b"?")),
    };
    for version in 0..=3_i16 {
        let name = format!("version-{version}");
        let bytes = subscription.encode_versioned(version).expect("it is small");
        corpora.add("subscription", &name, &[&bytes]);
        let bytes = assignment.encode_versioned(version).expect("it is small");
        corpora.add("assignment", &name, &[&bytes]);
        let version = [version as u8];
        let body = sample(&ConsumerProtocolSubscription::shape(version[0].into()), &mut Dice(1), true);
        corpora.add(
            "differential",
            &format!("subscription-{}", version[0]),
            &[&[differential::SUBSCRIPTION], &version, &body],
        );
        let body = sample(&ConsumerProtocolAssignment::shape(version[0].into()), &mut Dice(1), true);
        corpora.add(
            "differential",
            &format!("assignment-{}", version[0]),
            &[&[differential::ASSIGNMENT], &version, &body],
        );
    }
    let latest = subscription.encode_versioned(3).expect("it is small");
    corpora.add("subscription", "input50-later-version", &[&[0, 9], &latest[2..], b"what later members say"]);
    corpora.add("subscription", "input50-negative-version", &[&[0xff, 0xff], &latest[2..]]);
    corpora.add("subscription", "input50-short", &[&[0]]);
    corpora.add("subscription", "input50-many-topics", &[&[0, 0, 0x7f, 0xff, 0xff, 0xff]]);
    corpora.add("subscription", "input50-null-topics", &[&[0, 0, 0xff, 0xff, 0xff, 0xff]]);
    corpora.add("subscription", "input50-huge-user-data", &[&[0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]]);
    corpora.add("assignment", "input50-nonsense", &[&nonsense.encode_versioned(0).expect("it is small")]);
    corpora.add(
        "assignment",
        "input50-many-partitions",
        &[&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0x7f, 0xff, 0xff, 0xff]],
    );
}
