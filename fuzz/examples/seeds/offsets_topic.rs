//! Records of `__consumer_offsets`, for the target of this name.

use offtake_wire::{
    Message, Uuid, Writer,
    offsets_topic::{OffsetCommitKey, OffsetCommitValue},
};

use crate::Corpora;

pub(crate) fn records(corpora: &mut Corpora) {
    let key = OffsetCommitKey { group: "audit".into(), topic: "orders".into(), partition: 7 };
    let key = versioned(&key, 1);
    let mut add = |name: &str, key: &[u8], value: &[u8]| {
        let length = [u8::try_from(key.len()).expect("keys are short here")];
        corpora.add("offsets_topic", name, &[&length, key, value]);
    };
    for version in 0..=4_i16 {
        let value = OffsetCommitValue {
            offset: 42,
            leader_epoch: if version < 3 { -1 } else { 5 },
            metadata: "m".into(),
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: if version == 1 { 9 } else { -1 },
            topic_id: if version == 4 { Uuid([7; 16]) } else { Uuid::default() },
        };
        add(&format!("version-{version}"), &key, &versioned(&value, version));
    }
    let plain = versioned(&OffsetCommitValue::default(), 3);
    add("tombstone", &key, &[]);
    add("group-metadata", b"\0\x02\0\x05audit", b"\0\x03\0\x08consumer");
    add("input50-later-version", &key, &[&[0, 9], &plain[2..]].concat());
    add("input50-negative-version", &[&[0xff, 0xff], &key[2..]].concat(), &plain);
    add(
        "input50-length-beyond-the-end",
        b"\0\x01\x7f\xffaudit",
        b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\0\xff\xff\xff\xff\x0f",
    );
    add("input50-negative-length", b"\0\x01\xff\xff", &plain[..10]);
    add("input50-negative-offset", &key, &[&[0, 3], [0xff; 8].as_slice(), &plain[10..]].concat());
}

fn versioned<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Writer::new();
    w.i16(version);
    message.encode(&mut w, version).expect("it is small");
    w.into_bytes().to_vec()
}
