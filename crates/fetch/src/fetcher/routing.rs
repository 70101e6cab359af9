//! Chooses the broker from which to fetch a partition: its leader, a nearby replica, or none for the moment.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake_machine::{Backoff, BackoffConfig, BrokerId, Cluster, TopicPartition};

use super::{Fetcher, request::size, response::REPORT_AFTER};
use crate::{
    Event,
    node::Node,
    partition::{Partition, State},
};

/// After this many consecutive failures of preferred replicas, requests to the leader omit the rack.
const MAX_REPLICA_FAILURES: u32 = 3;
/// How long the rack is omitted the first time; four times as long each time after, until a replica serves
/// records, and at most for the replica lease. (A replica that was just added may not have caught up.)
const FIRST_WITHOUT_RACK: Duration = Duration::from_secs(2);

/// How many pauses in a row a new leader ends. Brokers that send a partition from one to the next for longer do not serve it.
const MAX_MOVES: u32 = 5;

/// How many full responses each partition may hold, however many partitions there are: usually few of them
/// have records to read.
const MAX_BUFFERED_RESPONSES: usize = 4;

/// The partitions without a broker to fetch from: their broker has not been looked up yet, or they have no
/// leader.
#[derive(Debug)]
pub(super) struct Routing {
    /// The brokers of the newest metadata.
    brokers: BTreeSet<BrokerId>,
    /// Started partitions whose broker has not been looked up yet.
    unrouted: BTreeSet<TopicPartition>,
    /// How many lookups there were in total.
    lookups: u64,
    /// Partitions without a known leader.
    leaderless: BTreeSet<TopicPartition>,
    backoff: Backoff,
    /// When to request metadata again, while a partition has no leader.
    refresh_at: Option<Instant>,
}

impl Routing {
    pub(super) fn new(backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            brokers: BTreeSet::new(),
            unrouted: BTreeSet::new(),
            lookups: 0,
            leaderless: BTreeSet::new(),
            backoff: Backoff::new(backoff, seed),
            refresh_at: None,
        }
    }

    /// Marks the partition's broker as not looked up.
    pub(super) fn add(&mut self, tp: TopicPartition) {
        self.unrouted.insert(tp);
    }

    /// Forgets a partition that is no longer fetched.
    pub(super) fn forget(&mut self, tp: &TopicPartition) {
        self.unrouted.remove(tp);
        self.leaderless.remove(tp);
    }

    pub(super) fn has_unrouted(&self) -> bool {
        !self.unrouted.is_empty()
    }

    fn next_unrouted(&mut self) -> Option<TopicPartition> {
        let next = self.unrouted.pop_first()?;
        self.lookups = self.lookups.saturating_add(1);
        Some(next)
    }

    /// Learns the brokers, if no metadata was handled before.
    pub(super) fn learn_first_brokers(&mut self, cluster: &Cluster) {
        if self.brokers.is_empty() {
            self.learn_brokers(cluster);
        }
    }

    fn learn_brokers(&mut self, cluster: &Cluster) {
        self.brokers = cluster.brokers.keys().copied().collect();
    }

    /// Whether the newest metadata contains this broker.
    pub(super) fn knows(&self, broker: BrokerId) -> bool {
        self.brokers.contains(&broker)
    }

    /// All brokers have been looked up. Returns whether to request metadata now, as a partition has no leader
    /// (FAILURES B1, B5).
    fn looked_up(&mut self, now: Instant) -> bool {
        if self.leaderless.is_empty() {
            self.refresh_at = None;
            self.backoff.reset();
            return false;
        }
        let is_first = self.refresh_at.is_none();
        if is_first {
            self.refresh_at = Some(now + self.backoff.next_wait());
        }
        is_first
    }

    /// Whether to request metadata again: after a growing pause, for as long as a partition has no leader.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.refresh_at.is_some_and(|at| at <= now);
        if is_due {
            self.refresh_at = Some(now + self.backoff.next_wait());
        }
        is_due
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.refresh_at
    }

    /// Ends fetching.
    pub(super) fn end(&mut self) {
        self.refresh_at = None;
    }
}

impl Fetcher {
    /// The metadata has changed: partitions move to the sessions of their leaders.
    pub fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        if self.closing {
            return;
        }
        self.routing.learn_brokers(cluster);
        let changed = self.partitions.iter().filter(|(tp, partition)| self.changes(tp, partition, cluster));
        self.routing.unrouted.extend(changed.map(|(tp, _)| tp.clone()).collect::<Vec<_>>());
        self.route_all(now, cluster);
        for node in self.nodes.values_mut() {
            // Ids have become known: from now on topics may be identified by id (FAILURES I13).
            let has_id = |tp| self.partitions.get(tp).is_some_and(|partition| !partition.topic_id.is_zero());
            if node.session.by_name() && !node.wanted.is_empty() && node.wanted.iter().all(has_id) {
                node.session.restart();
            }
        }
        let (routing, events) = (&self.routing, &mut self.events);
        self.nodes.retain(|id, node| {
            let stays = node.is_active() || !node.over_share.is_empty() || routing.knows(*id);
            if !stays && node.reported {
                events.push_back(Event::BrokerRecovered { broker: *id }); // nothing is fetched from it any more
            }
            stays
        });
    }

    /// Whether the metadata has changes for the partition. Most updates have changes for few.
    fn changes(&self, tp: &TopicPartition, partition: &Partition, cluster: &Cluster) -> bool {
        let Some(info) = cluster.partition(tp) else { return false };
        let differs = |told: Option<_>, known| told.is_some_and(|told| told != known);
        cluster.leader(tp) != partition.leader
            || (info.epoch.is_some() && info.epoch != partition.leader_epoch)
            || differs(cluster.topic_id(tp.topic.as_str()), partition.topic_id)
            || partition.replica.is_some_and(|replica| !self.routing.knows(replica.broker))
    }

    /// Looks up the brokers of partitions that were started since the last time.
    pub(super) fn route_all(&mut self, now: Instant, cluster: &Cluster) {
        while let Some(tp) = self.routing.next_unrouted() {
            self.route(&tp, cluster);
        }
        self.refresh |= self.routing.looked_up(now);
    }

    fn route(&mut self, tp: &TopicPartition, cluster: &Cluster) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if matches!(partition.state, State::AwaitingStart | State::Stopped) {
            return; // it is looked up when it is started again
        }
        if let Some(info) = cluster.partition(tp) {
            if let Some(new) = cluster.topic_id(tp.topic.as_str()).filter(|id| *id != partition.topic_id) {
                let old = std::mem::replace(&mut partition.topic_id, new);
                if !old.is_zero() {
                    // Another log, since the topic was deleted and created again: `offsets` stops the
                    // partition here, and starts it anew.
                    partition.state = State::AwaitingStart;
                    self.routing.leaderless.remove(tp);
                    return self.reschedule(tp);
                }
            }
            let goes_back = info.epoch.is_some_and(|told| partition.leader_epoch > Some(told));
            if goes_back && !partition.topic_id.is_zero() {
                return; // an old view (FAILURES B2)
            }
            if goes_back && partition.unknown_epochs >= REPORT_AFTER {
                // Without topic ids (before KIP-516), this is how a topic that was deleted and created again
                // is detected.
                let token = partition.token;
                partition.state = State::AwaitingStart;
                self.routing.leaderless.remove(tp);
                self.events.push_back(Event::LogGone { partition: tp.clone(), token });
                return self.reschedule(tp);
            }
            let advanced =
                matches!((partition.leader_epoch, info.epoch), (Some(known), Some(told)) if told > known);
            let leader = cluster.leader(tp);
            let moved = leader != partition.leader;
            partition.leader = leader;
            // The highest epoch is kept, because it fences: a leader that does not know it refuses it, and
            // only then is it doubted.
            partition.leader_epoch = partition.leader_epoch.max(info.epoch);
            if advanced || moved {
                partition.no_progress_responses = 0;
            }
            if advanced {
                partition.unknown_epochs = 0;
            }
            if advanced || moved || partition.replica.is_some_and(|it| !self.routing.knows(it.broker)) {
                partition.replica = None;
            }
            if (advanced || moved) && partition.moves < MAX_MOVES {
                // The first fetch at a new leader waits for nothing (FAILURES I5).
                partition.moves += u32::from(partition.state != State::Fetching);
                partition.state = State::Fetching;
            }
            if advanced && partition.position.epoch.is_some() {
                let (token, position) = (partition.token, partition.position);
                partition.state = State::AwaitingStart;
                self.events.push_back(Event::Validate { partition: tp.clone(), token, position });
                self.routing.leaderless.remove(tp);
                return self.reschedule(tp);
            }
        }
        // Metadata that leaves the partition out says nothing about it (FAILURES B5).
        if partition.leader.is_some() {
            self.routing.leaderless.remove(tp);
        } else {
            self.routing.leaderless.insert(tp.clone());
        }
        self.reschedule(tp);
    }

    /// Handles a position that the leader refuses.
    pub(super) fn out_of_range(&mut self, tp: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        partition.state = State::AwaitingStart;
        self.events.push_back(Event::OutOfRange {
            partition: tp.clone(),
            token: partition.token,
            position: partition.position,
        });
    }

    /// Adds a partition to those requested from its broker, or removes it, as its state requires now.
    pub(super) fn reschedule(&mut self, tp: &TopicPartition) {
        let share = self.share();
        let paused = self.is_paused(tp);
        let Some(partition) = self.partitions.get(tp) else { return };
        let flows = partition.state == State::Fetching && !paused;
        let full = self.memory.load(tp) >= share;
        let source = partition.source().filter(|_| flows && !full);
        let over_share_at = partition.source().filter(|_| flows && full);
        let wakes_at = partition.wakes_at();
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if partition.timer != wakes_at {
            if let Some(at) = partition.timer {
                self.timers.remove(&(at, tp.clone()));
            }
            self.timers.extend(wakes_at.map(|at| (at, tp.clone())));
            partition.timer = wakes_at;
        }
        let over_share_before = std::mem::replace(&mut partition.over_share_at, over_share_at);
        let before = std::mem::replace(&mut partition.fetched_from, source);
        if over_share_before != over_share_at {
            if let Some(node) = over_share_before.and_then(|broker| self.nodes.get_mut(&broker)) {
                node.over_share.remove(tp);
            }
            if let Some(node) = over_share_at.map(|broker| self.node(broker)) {
                node.over_share.insert(tp.clone());
            }
        }
        if before != source {
            if let Some(node) = before.and_then(|broker| self.nodes.get_mut(&broker)) {
                node.wanted.remove(tp);
                node.dirty.insert(tp.clone());
            }
            if let Some(node) = source.map(|broker| self.node(broker)) {
                node.wanted.insert(tp.clone());
                node.fetch_now();
            }
        }
        if let Some(node) = source.and_then(|broker| self.nodes.get_mut(&broker)) {
            node.dirty.insert(tp.clone());
        }
    }

    /// How much of one partition may be held before it is omitted from requests, in bytes. Only partitions
    /// that are fetched faster than they are read reach it.
    fn share(&self) -> usize {
        let budget = self.config.budget;
        let enough =
            size(self.config.max_partition_bytes).saturating_mul(MAX_BUFFERED_RESPONSES).min(budget / 2);
        (budget / self.partitions.len().max(1)).max(enough).max(1)
    }

    fn node(&mut self, broker: BrokerId) -> &mut Node {
        let seed = self.next_seed();
        self.nodes.entry(broker).or_insert_with(|| Node::new(self.config.backoff, seed))
    }

    /// The partition's timer is due: a backoff is over, or the lease of a preferred replica.
    pub(super) fn on_timer(&mut self, now: Instant, tp: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        partition.timer = None;
        match partition.state {
            State::BackingOff { until } if until <= now => partition.state = State::Fetching,
            State::Fetching if partition.replica.is_some_and(|replica| replica.until <= now) => {
                partition.replica = None;
            }
            State::Fetching | State::BackingOff { .. } | State::AwaitingStart | State::Stopped => {}
        }
        self.reschedule(tp);
    }

    /// The partition failed: it is fetched again after a pause, or from a new leader.
    pub(super) fn back_off(&mut self, now: Instant, tp: &TopicPartition) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(tp)?;
        partition.state = State::BackingOff { until: now + partition.backoff.next_wait() };
        self.reschedule(tp);
        self.partitions.get_mut(tp)
    }

    /// A preferred replica did not serve the partition: it is fetched from the leader, without an event
    /// (FAILURES I9). If a leader keeps naming such a replica, our rack is omitted for a while, so that it
    /// sends the records itself.
    pub(super) fn back_to_leader(&mut self, now: Instant, tp: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        partition.replica = None;
        partition.replica_failures = partition.replica_failures.saturating_add(1);
        if partition.replica_failures >= MAX_REPLICA_FAILURES {
            partition.replica_failures = 0;
            let longer = 4_u32.saturating_pow(partition.without_rack_times);
            partition.without_rack_times = partition.without_rack_times.saturating_add(1);
            let leader = partition.leader;
            let until = now + FIRST_WITHOUT_RACK.saturating_mul(longer).min(self.config.replica_lease);
            if let Some(leader) = leader {
                self.node(leader).without_rack_until = Some(until);
            }
        }
        self.reschedule(tp);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use offtake_machine::{Broker, PartitionInfo, Position, Token, TopicInfo};
    use offtake_wire::{ErrorCode, Uuid};

    use super::*;
    use crate::Config;

    /// 10,000 partitions, all led by broker 1.
    fn large() -> Cluster {
        let broker = |id| (BrokerId(id), Broker { host: format!("b{id}"), port: 9092, rack: None });
        let led = PartitionInfo::new(Some(BrokerId(1)), Some(5));
        let partitions = (0..10_000).map(|index| (index, led.clone())).collect();
        let info = TopicInfo { id: Uuid([7; 16]), error: ErrorCode::None, internal: false, partitions };
        Cluster {
            brokers: [1, 2].map(broker).into(),
            topics: [("a".into(), info)].into(),
            ..Cluster::default()
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn safe15_a_view_costs_what_it_changes() {
        let now = Instant::now();
        let mut cluster = large();
        let mut fetcher = Fetcher::new(Config::default());
        for partition in 0..10_000 {
            let token = Token { assignment: 1, seek: 0 };
            fetcher.start(TopicPartition::new("a", partition), token, Position::at(0));
        }
        fetcher.handle_cluster(now, &cluster);
        let mut routed = fetcher.routing.lookups;
        assert_eq!(routed, 10_000);
        let mut costs = |fetcher: &mut Fetcher, cluster: &Cluster| {
            fetcher.handle_cluster(now, cluster);
            fetcher.routing.lookups - std::mem::replace(&mut routed, fetcher.routing.lookups)
        };
        assert_eq!(costs(&mut fetcher, &cluster), 0, "nothing has changed");
        // When a broker goes down, one metadata response reports all of this.
        let topic = cluster.topics.values_mut().next();
        for info in topic.into_iter().flat_map(|topic| topic.partitions.values_mut()).take(3_300) {
            (info.leader, info.epoch) = (Some(BrokerId(2)), Some(6));
        }
        assert_eq!(costs(&mut fetcher, &cluster), 3_300);
        assert_eq!(costs(&mut fetcher, &cluster), 0);
        let moved = fetcher.partitions.values().filter(|it| it.leader == Some(BrokerId(2))).count();
        assert_eq!(moved, 3_300);
    }
}
