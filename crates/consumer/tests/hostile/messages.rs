//! INPUT7 to INPUT22, and INPUT51: messages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake_broker::{ApiKey as Broker, Fault, FaultRule, Rewrite};
use offtake_wire::{ApiKey, Response, Writer, messages::metadata::MetadataResponseBroker};

use crate::{
    frames::everywhere,
    peer::{Answer, framed},
    scene::{Outcome, Row, play_all},
};

/// Longer than the longest accepted throttle time.
const A_WHILE: Duration = Duration::from_secs(3700);

/// Bytes that change the meaning of a length, a count or a code of any API; they are put at one place of a
/// response after the other.
fn damaged(bytes: &'static [u8]) -> impl Fn(&Answer) -> Vec<u8> + Clone + Send + Sync {
    let next = Arc::new(AtomicUsize::new(0));
    move |answer| {
        let mut body = answer.body().to_vec();
        let at = next.fetch_add(1, Relaxed) % body.len().max(1);
        for (place, byte) in body[at..].iter_mut().zip(bytes) {
            *place = *byte;
        }
        answer.with_body(&body)
    }
}

fn damage(name: &str, bytes: &'static [u8]) {
    let rows = everywhere(name, damaged(bytes)).into_iter();
    // The damage also changes throttle times and supported versions: both stay in effect for a while.
    let rows = rows.map(|row| row.outcome(Outcome::Misleads).mended_within(A_WHILE));
    play_all(rows.collect());
}

#[test]
fn input7_negative_lengths_everywhere() {
    damage("INPUT7: -1 somewhere", &[0xff; 4]);
    damage("INPUT7: -2 somewhere", &[0xff, 0xff, 0xff, 0xfe]);
}

#[test]
fn input7_input10_lengths_and_counts_beyond_the_end_everywhere() {
    damage("INPUT10: 2^31-1 somewhere", &[0x7f, 0xff, 0xff, 0xff]);
    damage("INPUT10: 2^32-2 somewhere, compact", &[0xff, 0xff, 0xff, 0xff, 0x0f]);
}

#[test]
fn input7_input17_zeros_everywhere() {
    damage("INPUT7: nothing somewhere", &[0; 4]);
}

#[test]
fn input13_input14_varints_everywhere() {
    damage("INPUT13: a varint of eleven bytes somewhere", &[0x80; 11]);
    damage("INPUT14: a varint that overflows somewhere", &[0xff, 0xff, 0xff, 0xff, 0x7f]);
}

/// Metadata that begins correctly: not throttled, then these bytes.
fn metadata(name: &'static str, body: Vec<u8>) -> [Row; 2] {
    let body = [vec![0; 4], body].concat();
    let lie = move |answer: &Answer| {
        assert!(ApiKey::Metadata.is_flexible(answer.version));
        answer.with_body(&body)
    };
    [
        Row::on(ApiKey::Metadata, name, lie.clone()),
        Row::on(ApiKey::Metadata, format!("{name}, later"), lie)
            .later()
            .property("metadata.max.age.ms", "3000"),
    ]
}

/// One broker, with this host name.
fn host(length: u32, text: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.unsigned_varint(2);
    w.i32(1);
    w.unsigned_varint(length + 1);
    w.raw(text);
    w.raw(&[0, 0, 0x23, 0x84, 0, 0]);
    w.into_bytes().to_vec()
}

#[test]
fn input7_to_input14_in_metadata() {
    let mut rows = Vec::new();
    rows.extend(metadata("INPUT7: null brokers", vec![0]));
    rows.extend(metadata("INPUT7: a null host", vec![2, 0, 0, 0, 1, 0]));
    rows.extend(metadata("INPUT7: a host beyond the end", host(20_000, b"localhost")));
    rows.extend(metadata("INPUT8", host(40_000, &[b'x'; 40_000])));
    rows.extend(metadata("INPUT9", host(2, &[0xff, 0xff])));
    rows.extend(metadata("INPUT9: half a surrogate", host(3, &[0xed, 0xa0, 0x80])));
    rows.extend(metadata("INPUT10", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]));
    rows.extend(metadata("INPUT13", vec![0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0]));
    rows.extend(metadata("INPUT14", vec![0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0]));
    play_all(rows);
}

/// A million members of four bytes each.
#[test]
fn input11_a_million_elements_that_take_next_to_nothing() {
    let lie = |answer: &Answer| {
        let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
        join.members.clear();
        let empty = answer.with(join);
        let (head, tail) = empty[4..].split_at(empty.len() - 4 - 2); // the count of members, and the tagged fields
        assert_eq!(tail, [1, 0]);
        let mut w = Writer::new();
        w.unsigned_varint(1_000_001);
        w.raw(&[1, 0, 1, 0].repeat(1_000_000));
        w.raw(&[0]);
        framed(&[head, &w.into_bytes()])
    };
    play_all(vec![Row::on(ApiKey::JoinGroup, "INPUT11", lie)]);
}

#[test]
fn input15_four_billion_tagged_fields() {
    play_all(everywhere("INPUT15", |answer| {
        let endless = [0xff, 0xff, 0xff, 0xff, 0x0f];
        if answer.has_tags() {
            framed(&[&answer.frame[..4], &endless])
        } else {
            answer.with_body(&[&[0, 0, 1, 0, 0, 0, 0], &endless[..]].concat()) // ApiVersions 3 without an API
        }
    }));
}

#[test]
fn input16_a_known_tag_twice() {
    let epoch = [1, 8, 0, 0, 0, 0, 0, 0, 0, 5];
    let body = [&[0, 0, 1, 0, 0, 0, 0, 2][..], &epoch, &epoch].concat();
    let lie = move |answer: &Answer| answer.with_body(&body);
    play_all(vec![Row::on(ApiKey::ApiVersions, "INPUT16: a known tag twice", lie)]);
}

#[test]
fn input16_unknown_tags_out_of_order() {
    let rows = everywhere("INPUT16: unknown tags out of order", |answer| {
        if !answer.has_tags() {
            return answer.honest();
        }
        let tags = [3, 77, 1, 0xaa, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 1, 1];
        framed(&[&answer.frame[..4], &tags, answer.body()])
    });
    play_all(rows.into_iter().map(|row| row.outcome(Outcome::Nothing)).collect());
}

#[test]
fn input17_a_tagged_field_beyond_the_end() {
    play_all(everywhere("INPUT17", |answer| {
        if answer.has_tags() {
            framed(&[&answer.frame[..4], &[1, 77, 0xff, 0xff, 0x7f], answer.body()])
        } else {
            answer.with_body(&[0, 0, 1, 0, 0, 0, 0, 1, 77, 0xff, 0xff, 0x7f])
        }
    }));
}

#[test]
fn input18_an_unknown_error_code() {
    let apis = [
        Broker::ApiVersions,
        Broker::Metadata,
        Broker::FindCoordinator,
        Broker::JoinGroup,
        Broker::SyncGroup,
        Broker::Heartbeat,
        Broker::OffsetFetch,
        Broker::OffsetCommit,
        Broker::ListOffsets,
        Broker::Fetch,
    ];
    let mut rows = Vec::new();
    for code in [12_345, -2, i16::MIN] {
        for api in apis {
            let mut row =
                Row::rule(format!("INPUT18: {code}, {api:?}"), FaultRule::on(api, Fault::Fail(code)));
            if matches!(api, Broker::Heartbeat | Broker::OffsetCommit) {
                row = row.later();
            }
            rows.push(row);
        }
        let name = format!("INPUT18: {code}, ConsumerGroupHeartbeat");
        let row = Row::rule(name, FaultRule::on(Broker::ConsumerGroupHeartbeat, Fault::Fail(code)));
        rows.push(row.property("group.protocol", "consumer"));
    }
    play_all(rows);
}

#[test]
fn input19_not_asked_for_twice_or_missing() {
    let apis =
        [Broker::Metadata, Broker::ListOffsets, Broker::OffsetFetch, Broker::OffsetCommit, Broker::Fetch];
    let mut rows = Vec::new();
    for api in apis {
        let row = |name: &str, rewrite| {
            let row = Row::rule(format!("INPUT19: {name}, {api:?}"), FaultRule::on(api, rewrite));
            if api == Broker::OffsetCommit { row.later() } else { row }
        };
        rows.push(row("twice", Rewrite::partitions_repeated()).outcome(Outcome::Nothing));
        rows.push(row("missing", Rewrite::first_partition_omitted()));
        let unasked = row("not asked for", Rewrite::unrequested_partition(7));
        // For metadata it is one of the topic's partitions.
        rows.push(if api == Broker::Metadata { unasked } else { unasked.outcome(Outcome::Nothing) });
    }
    let metadata = |name: &str, rewrite| {
        Row::rule(format!("INPUT19: {name}"), FaultRule::on(Broker::Metadata, rewrite).topic("orders"))
    };
    rows.push(metadata("the topic is missing", Rewrite::metadata_without_topics()));
    rows.push(metadata("all partitions are missing", Rewrite::metadata_without_partitions()));
    play_all(rows);
}

fn broker(node_id: i32, host: &str, port: i32) -> MetadataResponseBroker {
    MetadataResponseBroker { node_id, host: host.to_owned(), port, rack: None }
}

#[test]
fn input20_impossible_brokers() {
    let strange = FaultRule::on(Broker::Metadata, Rewrite::metadata_strange_brokers());
    let mut rows = vec![Row::rule("INPUT20: brokers that cannot be", strange).outcome(Outcome::Nothing)];
    for first in [false, true] {
        let name = format!("INPUT20: an id of two brokers, the wrong one first: {first}");
        rows.push(Row::on(ApiKey::Metadata, name, move |answer| {
            let Response::Metadata(mut metadata) = answer.response() else { panic!("{}", answer.api) };
            let at = if first { 0 } else { metadata.brokers.len() };
            metadata.brokers.insert(at, broker(1, "elsewhere", 1));
            answer.with(metadata)
        }));
    }
    let all: [fn(&mut Vec<MetadataResponseBroker>); 4] = [
        Vec::clear,
        |brokers| brokers.iter_mut().for_each(|broker| broker.port = 0),
        |brokers| brokers.iter_mut().for_each(|broker| broker.node_id = -1),
        |brokers| brokers.iter_mut().for_each(|broker| broker.host.clear()),
    ];
    for (nth, change) in all.into_iter().enumerate() {
        rows.push(Row::on(
            ApiKey::Metadata,
            format!("INPUT20: no broker that can be, {nth}"),
            move |answer| {
                let Response::Metadata(mut metadata) = answer.response() else { panic!("{}", answer.api) };
                change(&mut metadata.brokers);
                answer.with(metadata)
            },
        ));
    }
    for (node_id, host, port) in [
        (-1, "localhost", 9092),
        (1, "", 9092),
        (1, "localhost", 0),
        (1, "localhost", 70_000),
        (7, "nowhere", -1),
    ] {
        let name = format!("INPUT20: the coordinator is {node_id} at {host:?}:{port}");
        rows.push(Row::on(ApiKey::FindCoordinator, name, move |answer| {
            let Response::FindCoordinator(mut found) = answer.response() else { panic!("{}", answer.api) };
            for found in &mut found.coordinators {
                (found.node_id, found.host, found.port) = (node_id, host.to_owned(), port);
            }
            answer.with(found)
        }));
    }
    play_all(rows);
}

#[test]
fn input21_impossible_partitions() {
    let rows = [-1, i32::MIN, i32::MAX].map(|index| {
        let name = format!("INPUT21: partition {index}");
        Row::rule(name, FaultRule::on(Broker::Metadata, Rewrite::unrequested_partition(index)))
            .outcome(Outcome::Nothing)
    });
    play_all(rows.into());
}

#[test]
fn input22_watermarks_in_the_wrong_order() {
    let rows =
        [(1, 9, 5), (0, 0, 0), (-1, -1, -1), (i64::MIN, i64::MAX, i64::MIN), (i64::MAX, i64::MIN, i64::MAX)]
            .map(|(high, stable, start)| {
                let name =
                    format!("INPUT22: high watermark {high}, last stable offset {stable}, log start {start}");
                Row::rule(name, FaultRule::on(Broker::Fetch, Rewrite::watermarks(high, stable, start)))
                    .later()
                    .outcome(Outcome::Nothing)
            });
    play_all(rows.into());
}

#[test]
fn input51_heartbeat_intervals() {
    let rows = [0, -1, i32::MIN, 1, i32::MAX].map(|interval| {
        let name = format!("INPUT51: a heartbeat every {interval} ms");
        let rule = FaultRule::on(Broker::ConsumerGroupHeartbeat, Rewrite::heartbeat_interval(interval));
        let row = Row::rule(name, rule).property("group.protocol", "consumer");
        row.lasts(Duration::from_secs(200)).outcome(Outcome::Nothing)
    });
    play_all(rows.into());
}

/// Sets the response's throttle time.
fn throttled(answer: &Answer, time: i32) -> Vec<u8> {
    let mut response = answer.response();
    let field = match &mut response {
        Response::ApiVersions(answer) => &mut answer.throttle_time_ms,
        Response::Metadata(answer) => &mut answer.throttle_time_ms,
        Response::FindCoordinator(answer) => &mut answer.throttle_time_ms,
        Response::JoinGroup(answer) => &mut answer.throttle_time_ms,
        Response::SyncGroup(answer) => &mut answer.throttle_time_ms,
        Response::Heartbeat(answer) => &mut answer.throttle_time_ms,
        Response::ConsumerGroupHeartbeat(answer) => &mut answer.throttle_time_ms,
        Response::OffsetFetch(answer) => &mut answer.throttle_time_ms,
        Response::OffsetCommit(answer) => &mut answer.throttle_time_ms,
        Response::OffsetForLeaderEpoch(answer) => &mut answer.throttle_time_ms,
        Response::ListOffsets(answer) => &mut answer.throttle_time_ms,
        Response::Fetch(answer) => &mut answer.throttle_time_ms,
        other => panic!("{}", other.api_key()),
    };
    *field = time;
    answer.with(response)
}

#[test]
fn input51_throttled_for_negative_times() {
    let mut rows = everywhere("INPUT51: throttled for -1 ms", |answer| throttled(answer, -1));
    rows.extend(everywhere("INPUT51: throttled for -2^31 ms", |answer| throttled(answer, i32::MIN)));
    play_all(rows.into_iter().map(|row| row.outcome(Outcome::Nothing)).collect());
}

/// Throttles for an hour at most, whatever the response contains.
#[test]
fn input51_throttled_for_weeks() {
    let rows = everywhere("INPUT51: throttled for 2^31-1 ms", |answer| throttled(answer, i32::MAX));
    let some = rows.into_iter().filter(|row| row.name.ends_with(" Fetch")); // an hour of polls takes its time
    play_all(some.map(|row| row.mended_within(A_WHILE)).collect());
}
