//! The data that consumers of the classic protocol exchange through the group: their subscriptions, which the leader reads, and
//! the assignments it makes. The broker passes them on unread.
//!
//! They come from other clients, so that decoding is lenient: a version above the highest known one is read as that one, and
//! bytes after the last known field are ignored as a newer member's. Decoded values may still make no sense (negative partitions,
//! unknown topics, duplicates): the caller has to check them.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Message, Reader, Writer, message::message};

message! {
    0..=3;

    /// A member's subscription and the partitions that it owns.
    pub struct ConsumerProtocolSubscription {
        topics: Vec<String>,
        /// Data of the assignor.
        user_data: Option<Bytes>,
        /// The partitions that the member has not revoked (KIP-429).
        owned_partitions: Vec<TopicPartition> [ignorable 1..],
        /// The generation of `owned_partitions`; -1: none (KIP-792).
        generation_id: i32 [ignorable 2..] = -1,
        /// KIP-881.
        rack_id: Option<String> [ignorable 3..],
    }

    /// A member's assignment.
    pub struct ConsumerProtocolAssignment {
        assigned_partitions: Vec<TopicPartition>,
        /// Data of the assignor.
        user_data: Option<Bytes>,
    }

    /// Partitions of one topic.
    pub struct TopicPartition {
        topic: String,
        partitions: Vec<i32>,
    }
}

impl ConsumerProtocolSubscription {
    /// Decodes the version, then the fields of that version.
    pub fn decode_versioned(bytes: Bytes) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// Encodes the version, then the fields of that version.
    pub fn encode_versioned(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }
}

impl ConsumerProtocolAssignment {
    /// Decodes the version, then the fields of that version. Empty bytes, which a broker sends with an error, are an error here
    /// too.
    pub fn decode_versioned(bytes: Bytes) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// Encodes the version, then the fields of that version (the same in all versions).
    pub fn encode_versioned(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }
}

fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    r.set_context(M::NAME);
    let version = r.i16()?;
    M::decode(&mut r, version.min(M::VERSIONS.max)) // a negative version is in no table
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.i16(version);
    message.encode(&mut w, version)?;
    Ok(w.into_bytes())
}
