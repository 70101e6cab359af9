//! The brokers of the cluster: which are up, and their addresses.

use std::{collections::BTreeMap, time::Instant};

/// One broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) rack: Option<String>,
    /// Is running, or is paused and the controller has not noticed.
    pub(crate) up: bool,
    /// Accepts connections and answers nothing, as after SIGSTOP.
    pub(crate) paused: bool,
    /// When the controller moves its partitions and groups to other brokers.
    pub(crate) fails_over: Option<Instant>,
}

/// All brokers.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) all: BTreeMap<i32, Node>,
    pub(crate) controller: i32,
}

impl Nodes {
    pub(crate) fn new(count: i32, racks: &[String]) -> Self {
        let node = |id: i32| {
            let port = 9091_u16.saturating_add(u16::try_from(id).unwrap_or(0));
            let node = Node {
                host: "localhost".to_owned(),
                port,
                rack: usize::try_from(id - 1).ok().and_then(|place| racks.get(place)).cloned(),
                up: true,
                paused: false,
                fails_over: None,
            };
            (id, node)
        };
        Self { all: (1..=count.max(1)).map(node).collect(), controller: 1 }
    }

    /// Whether connections to a broker are accepted: also while it is paused, by its operating system.
    pub(crate) fn accepts(&self, broker: i32) -> bool {
        self.all.get(&broker).is_some_and(|node| node.up || node.paused)
    }

    /// Whether a broker answers requests.
    pub(crate) fn is_up(&self, broker: i32) -> bool {
        self.all.get(&broker).is_some_and(|node| node.up)
    }

    /// Whether the controller considers a broker alive: it is, or its death was not noticed yet. Clients see this state.
    pub(crate) fn believed_up(&self, broker: i32) -> bool {
        self.all.get(&broker).is_some_and(|node| node.up || node.fails_over.is_some())
    }

    /// The brokers that the controller considers alive, in order.
    pub(crate) fn known(&self) -> impl Iterator<Item = (i32, &Node)> + '_ {
        self.all.iter().filter(|(id, _)| self.believed_up(**id)).map(|(id, node)| (*id, node))
    }

    /// The controller that clients are shown; -1 when no broker is alive. (Kafka names any that is alive.)
    pub(crate) fn known_controller(&self) -> i32 {
        if self.believed_up(self.controller) {
            return self.controller;
        }
        self.known().next().map_or(-1, |(id, _)| id)
    }

    /// The brokers that are up, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = i32> + '_ {
        self.all.iter().filter(|(_, node)| node.up).map(|(id, _)| *id)
    }

    /// The broker of the partition of `__consumer_offsets` or `__transaction_state` to which a key is mapped.
    pub(crate) fn usual_coordinator_of(&self, key: &str) -> Option<i32> {
        let partition = usize::try_from(partition_of(key)).ok()?;
        self.all.keys().nth(partition % self.all.len().max(1)).copied()
    }
}

/// How many partitions `__consumer_offsets` and `__transaction_state` have.
pub(crate) const INTERNAL_PARTITIONS: usize = 50;

/// The partition of `__consumer_offsets` or `__transaction_state` to which a key is mapped, by Java's
/// `String.hashCode`.
pub(crate) fn partition_of(key: &str) -> i32 {
    let hash =
        key.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % i32::try_from(INTERNAL_PARTITIONS).unwrap_or(i32::MAX)
}
