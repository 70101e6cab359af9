//! The errors that the application is told, and the end of those that last.

use offtake_machine::{Token, TopicPartition};

use super::Engine;
use crate::{error::Error, event::Event, inbox::Control};

/// Who has refused us, so that every `poll` fails until it accepts us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) by_cluster: bool,
    pub(super) by_coordinator: bool,
}

impl Engine {
    /// Makes every `poll` fail with this for now. Logs once what to do about it.
    pub(super) fn fail_fatally(&mut self, error: Error, then: &str) {
        tracing::error!("{error}; {then}");
        self.fail(error);
    }

    /// A broker of the cluster responds again. If the coordinator still refuses us, it is told again.
    pub(super) fn cluster_recovered(&mut self) {
        if self.refused.by_cluster {
            self.refused.by_cluster = false;
            self.recovered();
            if let Some(coordinator) = self.coordinator.as_mut().filter(|_| self.refused.by_coordinator) {
                coordinator.report_again();
            }
        }
    }

    /// A broker has named the coordinator. If no other one lets us in, that is told again.
    pub(super) fn coordinator_recovered(&mut self) {
        if self.refused.by_coordinator {
            self.refused.by_coordinator = false;
            self.recovered();
            if self.refused.by_cluster {
                self.reachability.tell_again();
            }
        }
    }

    /// The fatal error ends, unless it was the group's.
    fn recovered(&mut self) {
        if !self.group_failed {
            self.outbox.control(Control::Recovered);
        }
    }

    /// Reports an error to the application, from `poll`; nothing stops.
    pub(super) fn fail(&mut self, error: Error) {
        tracing::debug!(%error, "error reported to the application");
        self.reporter.report(|| Event::Error(error.clone()));
        self.outbox.control(Control::Failed(error));
    }

    /// Reports an error of a partition to the application; if the partition stops, after all that was fetched
    /// of it before.
    pub(super) fn partition_failed(
        &mut self,
        partition: TopicPartition,
        token: Token,
        error: Error,
        stops: bool,
    ) {
        if !stops {
            self.fail(error);
            return;
        }
        self.reporter.report(|| Event::Error(error.clone()));
        self.outbox.failed(partition, token, error);
    }
}
