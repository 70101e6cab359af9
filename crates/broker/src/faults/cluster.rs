//! Operations of a test on the brokers.

use std::time::Instant;

use super::KafkaVersion;
use crate::{connection::ConnectionId, kafka::ApiKey, model::Model};

impl Model {
    /// Crashes a broker, as by `kill -9`: its connections close, and dials are refused. After
    /// [`Config::failover`](crate::Config::failover) others lead its partitions and coordinate its groups.
    pub fn crash(&mut self, now: Instant, broker: i32) {
        self.now = now;
        let failover = self.config.failover;
        if let Some(node) = self.nodes.all.get_mut(&broker) {
            let known = node.up;
            (node.up, node.paused) = (false, false);
            if known && node.fails_over.is_none() {
                node.fails_over = Some(now + failover);
            }
        }
        self.close_connections_of(broker);
        self.forget_fetch_sessions(broker);
    }

    /// Restarts a broker that crashed. Partitions and groups that moved away meanwhile stay where they are; those that
    /// nobody could take are its own again. If its death was not noticed yet, it is now: the broker registers anew.
    pub fn restart(&mut self, now: Instant, broker: i32) {
        self.now = now;
        let Some(node) = self.nodes.all.get_mut(&broker) else { return };
        if node.up || node.paused {
            return;
        }
        let unnoticed = node.fails_over.take().is_some();
        if unnoticed {
            self.take_leadership_from(broker);
        }
        self.mark_alive(broker);
        self.expire_groups();
    }

    /// Pauses a broker, as by SIGSTOP: its operating system accepts connections and bytes, but it answers nothing.
    /// After [`Config::failover`](crate::Config::failover) others lead its partitions and coordinate its groups.
    pub fn pause(&mut self, now: Instant, broker: i32) {
        self.now = now;
        let failover = self.config.failover;
        if let Some(node) = self.nodes.all.get_mut(&broker).filter(|node| node.up && !node.paused) {
            node.paused = true;
            node.fails_over = Some(now + failover);
        }
    }

    /// Resumes a broker, as by SIGCONT: it sends its pending answers and reads what arrived. Partitions and groups that
    /// others took stay theirs; the broker answers the unread requests on that basis, before it counts as alive again.
    pub fn resume(&mut self, now: Instant, broker: i32) {
        self.now = now;
        let Some(node) = self.nodes.all.get_mut(&broker).filter(|node| node.paused) else { return };
        node.paused = false;
        node.fails_over = None;
        let missed = !node.up;
        for delivery in std::mem::take(&mut self.faults.frozen) {
            self.deliver(delivery); // freezes again the answers of other brokers
        }
        for connection in self.connections_of(broker) {
            self.serve(connection);
        }
        if missed {
            self.mark_alive(broker);
        }
        // Timers of groups that were paused with it run again.
        self.expire_groups();
    }

    /// Makes another broker the coordinator of this group or transactional id, while that broker is up.
    pub fn move_coordinator(&mut self, now: Instant, key: &str, to: i32) {
        self.now = now;
        if self.coordinator_of(key) != Some(to) {
            self.faults.coordinators.insert(key.to_owned(), to);
            self.reload_group(key);
        }
    }

    /// The current coordinator of this group or transactional id.
    pub fn coordinator(&self, key: &str) -> Option<i32> {
        self.coordinator_of(key)
    }

    /// Moves a broker to another address and closes its connections. Metadata reports the new address from now on.
    pub fn readdress(&mut self, now: Instant, broker: i32, host: &str, port: u16) {
        self.now = now;
        if let Some(node) = self.nodes.all.get_mut(&broker) {
            host.clone_into(&mut node.host);
            node.port = port;
            self.close_connections_of(broker);
        }
    }

    /// Gives a broker another id, at the same address: its partitions and replicas go with it. Nothing happens if the
    /// new id is taken.
    pub fn renumber(&mut self, now: Instant, from: i32, to: i32) {
        self.now = now;
        if self.nodes.all.contains_key(&to) {
            return;
        }
        let Some(node) = self.nodes.all.remove(&from) else { return };
        self.close_connections_of(from);
        self.forget_fetch_sessions(from);
        self.nodes.all.insert(to, node);
        let renamed = |id: &mut i32| {
            if *id == from {
                *id = to;
            }
        };
        renamed(&mut self.nodes.controller);
        self.faults.coordinators.values_mut().for_each(renamed);
        for partition in self.topics.all.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition
                .leader
                .iter_mut()
                .chain(&mut partition.replicas)
                .chain(&mut partition.isr)
                .chain(&mut partition.elr)
                .for_each(renamed);
        }
        let limits = std::mem::take(&mut self.faults.versions);
        self.faults.versions = limits
            .into_iter()
            .map(|((broker, api), range)| ((if broker == from { to } else { broker }, api), range))
            .collect();
        self.groups.rename_coordinator(from, to);
        self.reload_groups_of(to);
    }

    /// Makes a broker support other versions of these APIs than Kafka 4.3: lowest and highest, as far as the cluster
    /// can. With the highest below the lowest it does not know the API. Other APIs stay as they are.
    pub fn limit_versions(&mut self, broker: i32, limits: &[(ApiKey, i16, i16)]) {
        for (api, min, max) in limits {
            self.faults.versions.insert((broker, api.number()), (*min, *max));
        }
    }

    /// Makes a broker support only the versions of an older release.
    pub fn set_kafka_version(&mut self, broker: i32, version: KafkaVersion) {
        self.faults.versions.retain(|(limited, _), _| *limited != broker);
        self.limit_versions(broker, &version.limits());
    }

    /// Makes a broker forget its fetch sessions, as when its cache is full.
    pub fn evict_fetch_sessions(&mut self, broker: i32) {
        self.forget_fetch_sessions(broker);
    }

    /// Closes all connections of a broker, as when they were idle too long.
    pub fn close_connections(&mut self, now: Instant, broker: i32) {
        self.now = now;
        self.close_connections_of(broker);
    }

    /// All brokers: id, host, port, and whether dials are accepted.
    pub fn brokers(&self) -> impl Iterator<Item = (i32, &str, u16, bool)> + '_ {
        self.nodes.all.iter().map(|(id, node)| (*id, node.host.as_str(), node.port, self.nodes.accepts(*id)))
    }

    /// Counts a broker as alive again. It again coordinates the groups that it coordinated at first.
    fn mark_alive(&mut self, broker: i32) {
        let before: Vec<(String, Option<i32>)> =
            self.groups.all.keys().map(|group| (group.clone(), self.coordinator_of(group))).collect();
        if let Some(node) = self.nodes.all.get_mut(&broker) {
            node.up = true;
        }
        self.broker_returned(broker);
        for (group, coordinator) in before {
            if self.coordinator_of(&group) != coordinator {
                self.reload_group(&group);
            }
        }
    }

    fn connections_of(&self, broker: i32) -> Vec<ConnectionId> {
        let open = self.connections.open.iter().filter(|(_, open)| open.broker == broker);
        open.map(|(id, _)| *id).collect()
    }

    fn close_connections_of(&mut self, broker: i32) {
        for connection in self.connections_of(broker) {
            self.close(connection);
        }
    }
}
