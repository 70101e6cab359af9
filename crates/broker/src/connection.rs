//! Connections: the requests of one connection are answered one at a time and in order, as by a Kafka broker.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

/// One connection of a client to one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

/// An action on a connection that the model asks for.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes: a whole frame with its length in front, unless a rule cut it.
    Send {
        /// The receiver.
        connection: ConnectionId,
        /// The frame.
        bytes: Bytes,
    },
    /// Close it, once everything queued before is sent.
    Close(ConnectionId),
}

/// The model's state of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) broker: i32,
    pub(crate) host: StrBytes,
    /// Frames that arrived while one was being answered.
    pub(crate) waiting: VecDeque<Bytes>,
    /// A request is being answered (a long poll, a join): the next is not read until then.
    pub(crate) busy: bool,
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) open: BTreeMap<ConnectionId, Connection>,
    next: u64,
}

impl Connections {
    pub(crate) fn accept(&mut self, broker: i32, host: StrBytes) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        self.open.insert(id, Connection { broker, host, waiting: VecDeque::new(), busy: false });
        id
    }
}
