//! Target `engine`: a broker's treatment of its answers, one after the other. The format is described in
//! `crates/consumer/tests/hostile/script.rs`.

use offtake_wire::{
    ApiKey,
    records::{BatchBuilder, Compression},
};

use crate::Corpora;

/// The ways of reading: the two kinds of classic group, KIP-848, and without a group.
const READS: [&str; 4] = ["eager", "cooperative", "kip848", "assigned"];

/// The requests of a consumer, and the way of reading in which it sends each.
const ASKED: [(ApiKey, u8); 13] = [
    (ApiKey::ApiVersions, 0),
    (ApiKey::Metadata, 1),
    (ApiKey::FindCoordinator, 0),
    (ApiKey::JoinGroup, 0),
    (ApiKey::JoinGroup, 1),
    (ApiKey::SyncGroup, 1),
    (ApiKey::Heartbeat, 0),
    (ApiKey::ConsumerGroupHeartbeat, 2),
    (ApiKey::OffsetFetch, 1),
    (ApiKey::OffsetCommit, 2),
    (ApiKey::ListOffsets, 0),
    (ApiKey::Fetch, 3),
    (ApiKey::Fetch, 5), // read_uncommitted
];

/// Leaves all answers unchanged up to one of this API.
fn until(api: ApiKey) -> [u8; 2] {
    let code = ApiKey::ALL.iter().position(|one| *one == api).expect("every API is one of them");
    [9, u8::try_from(code).expect("there are few")]
}

fn sized(step: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short bytes").to_be_bytes();
    [&[step], &length[..], bytes].concat()
}

/// Scripts for the target `engine`.
pub(crate) fn scripts(corpora: &mut Corpora) {
    for (reads, name) in (0..).zip(READS) {
        for does in 0..6 {
            corpora.add("engine", &format!("honest-{name}-{does}"), &[&[reads, does]]);
        }
    }
    let steps: [(&str, Vec<u8>); 7] = [
        ("minus-one", vec![1, 0, 8, 4, 0xff, 0xff, 0xff, 0xff]),
        ("code", vec![8, 0, 4, 0, 15]),
        ("cut", vec![3, 9]),
        ("silence", vec![4]),
        ("bad-length", vec![5]),
        ("twice", vec![6]),
        ("zeros", sized(2, &[0; 24])),
    ];
    for (api, reads) in ASKED {
        for (name, step) in &steps {
            let again: Vec<u8> = [&until(api)[..], step].concat().repeat(3);
            let name = format!("{}-{reads}-{name}", api.name());
            corpora.add("engine", &name, &[&[reads, 0], &again]);
        }
    }
    records(corpora);
}

/// Records in answers to Fetch.
fn records(corpora: &mut Corpora) {
    let three = |change: fn(BatchBuilder) -> BatchBuilder| {
        let mut batch = change(BatchBuilder::new(0));
        for value in [b"a", b"b", b"c"] {
            batch.push(1_000, None, Some(value), &[]);
        }
        batch.build().expect("a batch").to_vec()
    };
    let all = [
        ("honest", three(|batch| batch)),
        ("gzip", three(|batch| batch.compression(Compression::Gzip))),
        ("zstd", three(|batch| batch.compression(Compression::Zstd))),
        ("marker", three(|batch| batch.control().transactional().producer(1, 0, -1))),
        ("input39-far", three(|batch| batch.last_offset_delta((1 << 24) - 1))),
        ("input39-farther", three(|batch| batch.last_offset_delta(i32::MAX))),
        ("none", Vec::new()),
        ("cut", three(|batch| batch)[..40].to_vec()),
    ];
    for (name, records) in all {
        let again = [&until(ApiKey::Fetch)[..], &sized(7, &records)].concat().repeat(4);
        corpora.add("engine", &format!("records-{name}"), &[&[0, 0], &again]);
    }
}
