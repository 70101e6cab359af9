//! Committed offsets as a group coordinator writes them to `__consumer_offsets` (`OffsetCommitKey` and `OffsetCommitValue`).
//! Under keys of other versions, the topic also contains the groups and their members, which are not decoded here.
//!
//! A version above the highest known one is an error, because its layout may be different.

use bytes::Bytes;

use crate::{DecodeError, Message, Reader, Uuid, message::message};

message! {
    0..=1;

    /// The group and the partition of the offset.
    pub struct OffsetCommitKey {
        group: String,
        topic: String,
        partition: i32,
    }
}

message! {
    0..=4, flexible 4..;

    /// The committed offset and its metadata.
    pub struct OffsetCommitValue {
        offset: i64,
        /// The leader epoch (KIP-320); -1 if unknown.
        leader_epoch: i32 [ignorable 3..] = -1,
        metadata: String,
        commit_timestamp: i64,
        /// When it expires; -1 if `offsets.retention.minutes` decides.
        expire_timestamp: i64 [ignorable 1..=1] = -1,
        /// The topic's id at that time (KIP-848).
        topic_id: Uuid [ignorable 4.., tag 0],
    }
}

impl OffsetCommitKey {
    /// Decodes the version, then the fields of that version. Returns `None` for other kinds of keys.
    pub fn decode_versioned(bytes: Bytes) -> Result<Option<Self>, DecodeError> {
        let mut r = Reader::new(bytes);
        r.set_context(Self::NAME);
        let version = r.i16()?;
        if version > Self::VERSIONS.max {
            return Ok(None);
        }
        let key = Self::decode(&mut r, version)?;
        r.finish()?;
        Ok(Some(key))
    }
}

impl OffsetCommitValue {
    /// Decodes the version, then the fields of that version.
    pub fn decode_versioned(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.set_context(Self::NAME);
        let version = r.i16()?;
        let value = Self::decode(&mut r, version)?;
        r.finish()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<_> = hex.bytes().map(|digit| char::from(digit).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The bytes were written by Kafka 4.3's own classes.
    #[test]
    fn every_version_is_read_as_kafka_writes_it() {
        let key = "00010005617564697400066f726465727300000007";
        let audit = OffsetCommitKey { group: "audit".to_owned(), topic: "orders".to_owned(), partition: 7 };
        assert_eq!(OffsetCommitKey::decode_versioned(bytes(key)).unwrap(), Some(audit));
        let (offset, at) = ("000000000000002a", "0000018bcfe56800");
        let plain = OffsetCommitValue {
            offset: 42,
            metadata: "m".to_owned(),
            commit_timestamp: 1_700_000_000_000,
            ..OffsetCommitValue::default()
        };
        let epoch = OffsetCommitValue { leader_epoch: 5, ..plain.clone() };
        let versions = [
            (format!("0000{offset}00016d{at}"), plain.clone()),
            (
                format!("0001{offset}00016d{at}0000000000000009"),
                OffsetCommitValue { expire_timestamp: 9, ..plain.clone() },
            ),
            (format!("0002{offset}00016d{at}"), plain),
            (format!("0003{offset}0000000500016d{at}"), epoch.clone()),
            (
                format!("0004{offset}00000005026d{at}01001000000000000000010000000000000002"),
                OffsetCommitValue {
                    topic_id: Uuid(1_u128.wrapping_shl(64).wrapping_add(2).to_be_bytes()),
                    ..epoch
                },
            ),
        ];
        for (hex, expected) in versions {
            assert_eq!(OffsetCommitValue::decode_versioned(bytes(&hex)).unwrap(), expected, "{hex}");
        }
    }

    #[test]
    fn another_record_kind_is_no_error_and_a_newer_version_is() {
        assert_eq!(OffsetCommitKey::decode_versioned(bytes("000200056175646974")).unwrap(), None, "a group");
        assert_eq!(OffsetCommitKey::decode_versioned(bytes("7fff")).unwrap(), None);
        assert!(OffsetCommitValue::decode_versioned(bytes("0005000000000000002a")).is_err());
        for hex in ["", "00", "0001", "ffff", "000100ff61"] {
            assert!(OffsetCommitKey::decode_versioned(bytes(hex)).is_err(), "{hex}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in -1..6_i16) {
            let mut versioned = version.to_be_bytes().to_vec();
            versioned.extend(&bytes);
            for bytes in [bytes, versioned] {
                let _ = OffsetCommitKey::decode_versioned(Bytes::from(bytes.clone()));
                let _ = OffsetCommitValue::decode_versioned(Bytes::from(bytes));
            }
        }
    }
}
