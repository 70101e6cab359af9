//! INPUT1 to INPUT6: frames.

use offtake_wire::{ApiKey, frame::correlation_id};

use crate::{
    peer::{Answer, framed},
    scene::{Outcome, Row, play_all},
};

/// The requests of a consumer before its first record.
pub(crate) const EARLY: [ApiKey; 8] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::OffsetFetch,
    ApiKey::ListOffsets,
    ApiKey::Fetch,
];

/// The requests while it reads; metadata too, when leaders move.
pub(crate) const LATER: [ApiKey; 6] = [
    ApiKey::Fetch,
    ApiKey::Heartbeat,
    ApiKey::OffsetCommit,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::Metadata,
    ApiKey::ConsumerGroupHeartbeat,
];

/// A row for each request that a consumer makes, at the time at which it makes it.
pub(crate) fn everywhere(
    name: &str,
    lie: impl Fn(&Answer) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> Vec<Row> {
    let early = EARLY.map(|api| (api, Row::on(api, name, lie.clone())));
    let later = LATER.map(|api| {
        let row = Row::on(api, format!("{name}, later"), lie.clone()).later();
        let row = if api == ApiKey::OffsetForLeaderEpoch { row.moves_leaders() } else { row };
        (api, if api == ApiKey::Metadata { row.property("metadata.max.age.ms", "3000") } else { row })
    });
    let mut rows = Vec::new();
    for (api, row) in early.into_iter().chain(later) {
        rows.push(match api {
            ApiKey::Fetch => row.of_one_broker(),
            ApiKey::ConsumerGroupHeartbeat => row.property("group.protocol", "consumer"),
            _ => row,
        });
    }
    rows
}

fn with_length(length: i32, answer: &Answer) -> Vec<u8> {
    [&length.to_be_bytes()[..], &answer.frame].concat()
}

#[test]
fn input1_a_negative_frame_length() {
    play_all(everywhere("INPUT1: length -1", |answer| with_length(-1, answer)));
}

#[test]
fn input2_a_huge_frame_length() {
    play_all(everywhere("INPUT2: length 2^31-1", |answer| with_length(i32::MAX, answer)));
}

#[test]
fn input2_another_protocol() {
    let mut rows = everywhere("INPUT2: HTTP", |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    rows.extend(everywhere("INPUT2: a TLS alert", |_| vec![0x15, 3, 3, 0, 2, 2, 40]));
    play_all(rows);
}

#[test]
fn input3_a_frame_without_a_header() {
    let mut rows = everywhere("INPUT3: length 0", |_| framed(&[]));
    rows.extend(everywhere("INPUT3: three bytes", |answer| framed(&[&answer.frame[..3]])));
    play_all(rows);
}

#[test]
fn input4_another_correlation_id() {
    play_all(everywhere("INPUT4", |answer| {
        let id = correlation_id(&answer.frame).unwrap().wrapping_add(1000);
        framed(&[&id.to_be_bytes(), &answer.frame[4..]])
    }));
}

#[test]
fn input5_an_answer_to_nothing() {
    play_all(everywhere("INPUT5: every answer twice", |answer| [answer.honest(), answer.honest()].concat()));
}

#[test]
fn input6_bytes_behind_a_message() {
    let rows = everywhere("INPUT6", |answer| framed(&[&answer.frame, b"what later versions say"]));
    play_all(rows.into_iter().map(|row| row.outcome(Outcome::Nothing)).collect());
}
