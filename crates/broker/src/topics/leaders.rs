//! Partition leaders: elections when brokers die, return, or are asked to hand over.

use kafka_protocol::error::ResponseError;

use super::{Partition, settings};
use crate::model::Model;

impl Model {
    /// Gives the partitions that a broker leads to other live replicas, each in a new leader epoch, and takes it out of
    /// every ISR. A partition without another replica in its ISR has no leader until one returns.
    pub(crate) fn take_leadership_from(&mut self, broker: i32) {
        let next = self.nodes.live().find(|other| *other != broker);
        if self.nodes.controller == broker {
            self.nodes.controller = next.unwrap_or(broker);
        }
        self.elect(|partition, min_isr, up| {
            if !partition.isr.contains(&broker) {
                return false;
            }
            partition.isr.retain(|member| *member != broker);
            if partition.isr.len() < min_isr {
                partition.elr.push(broker);
            }
            if partition.leader == Some(broker) {
                partition.lead(up);
            }
            true
        });
        self.reload_groups_of(broker);
        self.retry_markers();
    }

    /// Brings back a broker that had been down: it catches up, joins the ISRs again, and leads the partitions without a
    /// leader that it may lead. The broker must be up already.
    pub fn broker_returned(&mut self, broker: i32) {
        self.elect(|partition, min_isr, up| {
            if !partition.replicas.contains(&broker) || partition.isr.contains(&broker) {
                return false;
            }
            if partition.leader.is_none() && !partition.elr.contains(&broker) {
                return false; // it may lack records that a replica outside has
            }
            let Partition { replicas, isr, .. } = &mut *partition;
            let joined: Vec<i32> =
                replicas.iter().copied().filter(|id| isr.contains(id) || *id == broker).collect();
            partition.isr = joined;
            partition.elr.retain(|member| *member != broker);
            if partition.isr.len() >= min_isr {
                partition.elr.clear();
            }
            if partition.leader.is_none() {
                partition.lead(up);
            }
            true
        });
        // With a leader again, replicas outside the ISR can catch up too.
        let waiting: Vec<i32> = self.nodes.live().filter(|other| *other != broker).collect();
        for other in waiting {
            self.elect(|partition, min_isr, _| {
                if partition.leader != Some(broker)
                    || !partition.replicas.contains(&other)
                    || partition.isr.contains(&other)
                {
                    return false;
                }
                let Partition { replicas, isr, .. } = &mut *partition;
                let joined: Vec<i32> =
                    replicas.iter().copied().filter(|id| isr.contains(id) || *id == other).collect();
                partition.isr = joined;
                if partition.isr.len() >= min_isr {
                    partition.elr.clear();
                }
                true
            });
        }
        self.retry_markers();
    }

    /// Makes another replica lead a partition, in a new leader epoch, as a preferred election does. Fails when that
    /// replica is down or not in the ISR; does nothing when it leads already.
    ///
    /// # Errors
    /// Kafka's error code: `UNKNOWN_TOPIC_OR_PARTITION`, or `PREFERRED_LEADER_NOT_AVAILABLE`.
    pub fn move_leader(&mut self, topic: &str, partition: i32, to: i32) -> Result<(), i16> {
        let up = self.nodes.believed_up(to);
        let Some(place) = self.topics.partition_mut(topic, partition) else {
            return Err(ResponseError::UnknownTopicOrPartition.code());
        };
        if !up || !place.isr.contains(&to) {
            return Err(ResponseError::PreferredLeaderNotAvailable.code());
        }
        if place.leader != Some(to) {
            place.leader = Some(to);
            place.leader_epoch += 1;
            self.wake_fetches(topic, partition);
        }
        Ok(())
    }

    /// Makes an unclean election: a replica whose log reached only up to `offset` leads in a new epoch, and the others'
    /// records beyond it are lost. Returns the new end of the log.
    pub fn elect_unclean(&mut self, topic: &str, partition: i32, to: i32, offset: i64) -> Option<i64> {
        let end = self.truncate_to(topic, partition, offset)?;
        let place = self.topics.partition_mut(topic, partition)?;
        place.leader = Some(to);
        place.leader_epoch += 1;
        self.wake_fetches(topic, partition);
        Some(end)
    }

    /// Runs `change` over all partitions, with their `min.insync.replicas` and the brokers that are up. `change`
    /// returns whether it changed something.
    fn elect(&mut self, mut change: impl FnMut(&mut Partition, usize, &[i32]) -> bool) {
        let up: Vec<i32> = self.nodes.live().collect();
        let mut changed = Vec::new();
        for (name, topic) in &mut self.topics.all {
            let min_isr = topic.configs.get("min.insync.replicas").and_then(|value| value.parse().ok());
            let min_isr = min_isr.unwrap_or(settings::DEFAULT_MIN_ISR);
            for (number, partition) in topic.partitions.iter_mut().enumerate() {
                if change(partition, min_isr, &up) {
                    changed.push((name.clone(), i32::try_from(number).unwrap_or(i32::MAX)));
                }
            }
        }
        for (name, partition) in changed {
            self.wake_fetches(&name, partition);
        }
    }
}

impl Partition {
    /// Makes the first replica of the ISR that is up the leader, or none without one. Either way the epoch is a new one.
    fn lead(&mut self, up: &[i32]) {
        self.leader = self.isr.iter().copied().find(|member| up.contains(member));
        self.leader_epoch += 1;
    }
}
