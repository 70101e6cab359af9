//! Stalled brokers: those that accept nothing of what is ready for them (KIP-794, `partitioner.availability.timeout.ms`).

use std::{collections::BTreeSet, time::Instant};

use offtake_machine::{BrokerId, after, earliest};

use super::{Broker, Event, Sender};

/// Whether a broker accepts what is ready for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Intake {
    #[default]
    Flows,
    /// More is ready for the broker than it can be sent, and it has not responded or cannot be reached. It becomes stalled at
    /// this time, unless it responds before.
    Stops { stalls_at: Instant },
    /// Records without a key avoid this broker if they can.
    Stalled,
}

impl Sender {
    /// The brokers that have accepted nothing for `partitioner.availability.timeout.ms` of what was ready for them.
    pub(crate) fn stalled(&self) -> BTreeSet<BrokerId> {
        let stalled = self.brokers.iter().filter(|(_, broker)| broker.intake == Intake::Stalled);
        stalled.map(|(id, _)| *id).collect()
    }

    /// Notes that the broker has responded.
    pub(super) fn takes(&mut self, broker: BrokerId) {
        let Some(broker) = self.brokers.get_mut(&broker) else { return };
        if std::mem::take(&mut broker.intake) == Intake::Stalled {
            self.events.push_back(Event::StallsChanged);
        }
    }

    /// Notes that more is ready for the broker than it accepts.
    pub(super) fn does_not_take(&mut self, now: Instant, broker: BrokerId) {
        if let Some(timeout) = self.config.availability_timeout
            && let Some(broker) = self.brokers.get_mut(&broker)
            && broker.intake == Intake::Flows
        {
            broker.intake = Intake::Stops { stalls_at: after(now, timeout) };
        }
    }

    /// Marks brokers as stalled whose time has come. A stalled broker for which nothing is left could not prove itself by a
    /// response, so that it is tried again.
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

    /// When the next broker becomes stalled, if it does not respond before.
    pub(super) fn next_stall(&self) -> Option<Instant> {
        earliest(self.brokers.values().map(|broker| match broker.intake {
            Intake::Stops { stalls_at } => Some(stalls_at),
            Intake::Flows | Intake::Stalled => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offtake_client::clock;
    use offtake_machine::Cluster;

    use super::*;
    use crate::{
        Config,
        accumulator::{Accumulator, Shared, SlotId},
    };

    const SLOW: BrokerId = BrokerId(1);
    const OTHER: BrokerId = BrokerId(2);
    const TIMEOUT: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Two brokers with as many requests as they accept, and more ready for each.
    struct World {
        sender: Sender,
        now: Instant,
        shared: Shared,
    }

    impl World {
        fn with(timeout: Duration, is_adaptive: bool) -> Self {
            let config = Config {
                partitioner_availability_timeout: timeout,
                partitioner_adaptive: is_adaptive,
                ..Config::default()
            };
            let shared = Shared::new(Accumulator::new(&config, None, 1));
            let mut sender = Sender::new(&config, 7);
            for id in [SLOW, OTHER] {
                let broker = sender.brokers.entry(id).or_default();
                broker.in_flight = config.max_in_flight_requests;
                broker.ready.push_back(SlotId::at(0));
            }
            Self { sender, now: clock::now(), shared }
        }

        /// Lets time pass and asks for requests, as the engine does. Returns how often the set of stalled brokers changed.
        fn pass(&mut self, duration: Duration) -> usize {
            self.now += duration;
            self.sender.handle_timeout(self.now, &self.shared);
            for id in [SLOW, OTHER] {
                let next = self.sender.next_request(self.now, id, &self.shared, &Cluster::default());
                assert!(next.is_none(), "it takes no more");
            }
            let events = std::mem::take(&mut self.sender.events);
            events.into_iter().filter(|event| matches!(event, Event::StallsChanged)).count()
        }

        fn stalled(&self) -> Vec<BrokerId> {
            self.sender.stalled().into_iter().collect()
        }
    }

    #[test]
    fn a_broker_that_answers_nothing_is_stalled_after_the_timeout_until_it_answers() {
        let mut world = World::with(TIMEOUT, true);
        assert_eq!(world.pass(Duration::ZERO), 0);
        assert_eq!(world.sender.poll_timeout(), Some(world.now + TIMEOUT));
        assert_eq!(world.pass(TIMEOUT - MOMENT), 0);
        // The other broker responds now and then, which restarts its timeout.
        world.sender.takes(OTHER);
        assert_eq!((world.pass(MOMENT), world.stalled()), (1, vec![SLOW]));
        assert_eq!((world.pass(TIMEOUT - MOMENT), world.stalled()), (0, vec![SLOW]));
        world.sender.takes(OTHER);
        assert_eq!((world.pass(TIMEOUT - MOMENT), world.stalled()), (0, vec![SLOW]), "told once");
        world.sender.takes(SLOW);
        assert_eq!((world.pass(Duration::ZERO), world.stalled()), (1, vec![]));
        world.sender.takes(OTHER);
        assert_eq!(world.pass(TIMEOUT), 1, "it stalls again");
        assert_eq!(world.stalled(), [SLOW]);
    }

    /// Without a retry nothing would be sent to it, and it would stay stalled.
    #[test]
    fn a_stalled_broker_for_which_nothing_is_left_is_tried_again() {
        let mut world = World::with(TIMEOUT, true);
        world.pass(Duration::ZERO);
        world.sender.takes(OTHER);
        assert_eq!((world.pass(TIMEOUT), world.stalled()), (1, vec![SLOW]));
        if let Some(broker) = world.sender.brokers.get_mut(&SLOW) {
            broker.in_flight = 0; // the connection was cut
            broker.ready.clear();
        }
        assert_eq!((world.pass(MOMENT), world.stalled()), (1, vec![]));
    }

    #[test]
    fn one_that_cannot_be_reached_is_stalled_too() {
        let mut world = World::with(TIMEOUT, true);
        for broker in world.sender.brokers.values_mut() {
            broker.ready.clear();
        }
        world.sender.does_not_take(world.now, SLOW);
        assert_eq!((world.pass(TIMEOUT), world.stalled()), (1, vec![SLOW]));
    }

    /// As in Java: 0 disables it, and without adaptive partitioning it has no effect.
    #[test]
    fn without_a_timeout_or_adaptive_partitioning_no_broker_is_stalled() {
        for (timeout, is_adaptive) in [(Duration::ZERO, true), (TIMEOUT, false)] {
            let mut world = World::with(timeout, is_adaptive);
            for _ in 0..10 {
                assert_eq!((world.pass(TIMEOUT * 100), world.stalled()), (0, vec![]));
            }
            assert_eq!(world.sender.poll_timeout(), None);
        }
        let mut patient = World::with(Duration::MAX, true);
        patient.pass(Duration::ZERO);
        assert_eq!((patient.pass(TIMEOUT * 1_000_000), patient.stalled()), (0, vec![]), "however long");
    }
}
