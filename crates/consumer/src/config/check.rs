//! Properties that exclude one another, with the same conflicts as in Java.

use std::time::Duration;

use super::{Config, GroupProtocol, MAX_DECOMPRESSION_THREADS, Properties};

impl Config {
    pub(super) fn find_conflicts(&self) -> Vec<String> {
        let mut conflicts = self.client.conflicts();
        self.check_group(&mut conflicts);
        if self.fetch_max_wait >= self.client.request_timeout {
            conflicts.push(format!(
                "`fetch.max.wait.ms` ({}) must be less than `request.timeout.ms` ({}): every idle fetch would time out",
                self.fetch_max_wait.as_millis(),
                self.client.request_timeout.as_millis()
            ));
        }
        conflicts
    }

    fn check_group(&self, conflicts: &mut Vec<String>) {
        let is_blank = |id: &Option<String>| id.as_ref().is_some_and(|id| id.trim().is_empty());
        if is_blank(&self.group_id) || is_blank(&self.group_instance_id) {
            conflicts.push(
                "`group.id` and `group.instance.id` cannot be empty: leave them out instead".to_owned(),
            );
        }
        if self.group_id.is_none() && self.enable_auto_commit && self.is_given("enable.auto.commit") {
            conflicts.push("`enable.auto.commit=true` needs a `group.id` to commit for".to_owned());
        }
        if self.decompression_threads > MAX_DECOMPRESSION_THREADS {
            conflicts.push(format!("`decompression.threads` must be {MAX_DECOMPRESSION_THREADS} at most"));
        }
        if self.max_poll_records == 0 {
            conflicts.push("`max.poll.records` must be 1 at least".to_owned());
        }
        if self.group_protocol == GroupProtocol::Consumer {
            self.check_consumer(conflicts);
        } else {
            self.check_classic(conflicts);
        }
    }

    fn check_classic(&self, conflicts: &mut Vec<String>) {
        if self.group_remote_assignor.is_some() {
            conflicts.push(
                "`group.remote.assignor` needs `group.protocol=consumer`; \
                 a classic group is told `partition.assignment.strategy`"
                    .to_owned(),
            );
        }
        if self.partition_assignment_strategy.is_empty() {
            conflicts.push("`partition.assignment.strategy` is empty: name one, such as `range`".to_owned());
        }
        let least = Duration::from_millis(1);
        if self.heartbeat_interval < least || self.session_timeout < least || self.max_poll_interval < least {
            conflicts.push(
                "`heartbeat.interval.ms`, `session.timeout.ms` and `max.poll.interval.ms` must be 1 at least"
                    .to_owned(),
            );
        }
        if self.heartbeat_interval >= self.session_timeout {
            conflicts.push(format!(
                "`heartbeat.interval.ms` ({}) must be less than `session.timeout.ms` ({}), best a third of it",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            ));
        }
    }

    /// Refuses the properties that the broker decides (KIP-848).
    fn check_consumer(&self, conflicts: &mut Vec<String>) {
        let default = Self::default();
        let decided = [
            (
                "partition.assignment.strategy",
                self.partition_assignment_strategy != default.partition_assignment_strategy,
                "`group.remote.assignor`",
            ),
            (
                "session.timeout.ms",
                self.session_timeout != default.session_timeout,
                "the brokers' `group.consumer.session.timeout.ms`, or the group's `consumer.session.timeout.ms`,",
            ),
            (
                "heartbeat.interval.ms",
                self.heartbeat_interval != default.heartbeat_interval,
                "the brokers' `group.consumer.heartbeat.interval.ms`, or the group's `consumer.heartbeat.interval.ms`,",
            ),
        ];
        for (name, changed, instead) in decided {
            if changed || self.is_given(name) {
                conflicts.push(format!(
                    "`{name}` cannot be set with `group.protocol=consumer`: {instead} takes its place"
                ));
            }
        }
    }
}
