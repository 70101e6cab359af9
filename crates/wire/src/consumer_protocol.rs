//! What consumers of the classic protocol tell one another through the group: their subscriptions, which the
//! leader reads, and the assignments it makes. The broker passes them on unread.
//!
//! They come from other clients, so they are read leniently: a version above ours is read as our highest, and
//! bytes after the last field that we know are a newer member's business. What is read may still make no
//! sense (negative partitions, unknown topics, duplicates): that is for the reader of the values to judge.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Message, Reader, Writer, message::message};

message! {
    0..=3;

    /// What a member wants, and what it has.
    pub struct ConsumerProtocolSubscription {
        topics: Vec<String>,
        /// The assignor's own.
        user_data: Option<Bytes>,
        /// What the member has not given up (KIP-429).
        owned_partitions: Vec<TopicPartition> [ignorable 1..],
        /// Of `owned_partitions`; -1: none (KIP-792).
        generation_id: i32 [ignorable 2..] = -1,
        /// KIP-881.
        rack_id: Option<String> [ignorable 3..],
    }

    /// What a member is given.
    pub struct ConsumerProtocolAssignment {
        assigned_partitions: Vec<TopicPartition>,
        /// The assignor's own.
        user_data: Option<Bytes>,
    }

    /// Partitions of one topic.
    pub struct TopicPartition {
        topic: String,
        partitions: Vec<i32>,
    }
}

impl ConsumerProtocolSubscription {
    /// Reads the version and what it says follows.
    pub fn decode_versioned(bytes: Bytes) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// The version, then the fields it has.
    pub fn encode_versioned(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }
}

impl ConsumerProtocolAssignment {
    /// Reads the version and what it says follows. No bytes at all, which is what a broker sends with an
    /// error, are an error here too.
    pub fn decode_versioned(bytes: Bytes) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// The version, then the fields it has (the same in all of them).
    pub fn encode_versioned(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }
}

fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    r.set_context(M::NAME);
    let version = r.i16()?;
    M::decode(&mut r, version.min(M::VERSIONS.max)) // a negative one is in no table
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.i16(version);
    message.encode(&mut w, version)?;
    Ok(w.into_bytes())
}
