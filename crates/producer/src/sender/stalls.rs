//! Brokers that take nothing of what is ready for them (KIP-794, `partitioner.availability.timeout.ms`).

use std::{collections::BTreeSet, time::Instant};

use offtake_machine::{BrokerId, after, earliest};

use super::{Broker, Event, Sender};

/// Whether a broker takes what is ready for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Intake {
    #[default]
    Flows,
    /// It answers nothing while more is ready for it than it is sent, or cannot be reached: it is stalled at this moment, unless it answers before.
    Stops { stalls_at: Instant },
    /// Records that may go elsewhere do.
    Stalled,
}

impl Sender {
    /// The brokers that have taken nothing for `partitioner.availability.timeout.ms` of what was ready for them.
    pub(crate) fn stalled(&self) -> BTreeSet<BrokerId> {
        let stalled = self.brokers.iter().filter(|(_, broker)| broker.intake == Intake::Stalled);
        stalled.map(|(id, _)| *id).collect()
    }

    /// It has answered.
    pub(super) fn takes(&mut self, broker: BrokerId) {
        let Some(broker) = self.brokers.get_mut(&broker) else { return };
        if std::mem::take(&mut broker.intake) == Intake::Stalled {
            self.events.push_back(Event::StallsChanged);
        }
    }

    /// There is more for it than it takes.
    pub(super) fn does_not_take(&mut self, now: Instant, broker: BrokerId) {
        if let Some(timeout) = self.config.availability_timeout
            && let Some(broker) = self.brokers.get_mut(&broker)
            && broker.intake == Intake::Flows
        {
            broker.intake = Intake::Stops { stalls_at: after(now, timeout) };
        }
    }

    /// The clock moved. A broker for which nothing is left would not answer any more: it is tried again.
    pub(super) fn find_stalls(&mut self, now: Instant) {
        if self.config.availability_timeout.is_none() {
            return;
        }
        let partitions = &self.partitions;
        let mut any = false;
        for (id, broker) in &mut self.brokers {
            let is_left = |broker: &Broker| {
                broker.in_flight > 0
                    || partitions
                        .iter()
                        .any(|one| one.leader == Some(*id) && (one.has_more || !one.is_idle()))
            };
            let next = match broker.intake {
                Intake::Flows => continue,
                Intake::Stops { .. } | Intake::Stalled if !is_left(broker) => Intake::Flows,
                Intake::Stops { stalls_at } if stalls_at <= now => Intake::Stalled,
                as_before => as_before,
            };
            any |= (next == Intake::Stalled) != (broker.intake == Intake::Stalled);
            broker.intake = next;
        }
        if any {
            self.events.push_back(Event::StallsChanged);
        }
    }

    /// When the next broker is stalled, if it does not answer before.
    pub(super) fn next_stall(&self) -> Option<Instant> {
        earliest(self.brokers.values().map(|broker| match broker.intake {
            Intake::Stops { stalls_at } => Some(stalls_at),
            Intake::Flows | Intake::Stalled => None,
        }))
    }
}
