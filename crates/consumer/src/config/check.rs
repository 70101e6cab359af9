//! Properties that exclude one another, as Java refuses them.

use std::time::Duration;

use super::{Config, ConfigError, GroupProtocol};

impl Config {
    /// Refuses what cannot be meant: combinations that exclude one another, and numbers that only make sense together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        if self.bootstrap_servers.is_empty() {
            return conflict("`bootstrap.servers` is empty: give at least one `host:port`".to_owned());
        }
        self.check_group()?;
        if self.fetch_max_wait >= self.request_timeout {
            return conflict(format!(
                "`fetch.max.wait.ms` ({}) must be less than `request.timeout.ms` ({}): every idle fetch would time out",
                self.fetch_max_wait.as_millis(),
                self.request_timeout.as_millis()
            ));
        }
        Ok(())
    }

    fn check_group(&self) -> Result<(), ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        let named = |id: &Option<String>| id.as_ref().is_some_and(|id| id.trim().is_empty());
        if named(&self.group_id) || named(&self.group_instance_id) {
            return conflict(
                "`group.id` and `group.instance.id` cannot be empty: leave them out instead".to_owned(),
            );
        }
        if self.group_id.is_none() && self.enable_auto_commit && self.is_given("enable.auto.commit") {
            return conflict("`enable.auto.commit=true` needs a `group.id` to commit for".to_owned());
        }
        if self.max_poll_records == 0 {
            return conflict("`max.poll.records` must be 1 at least".to_owned());
        }
        match self.group_protocol {
            GroupProtocol::Classic => self.check_classic(),
            GroupProtocol::Consumer => self.check_consumer(),
        }
    }

    fn check_classic(&self) -> Result<(), ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        if self.group_remote_assignor.is_some() {
            return conflict(
                "`group.remote.assignor` needs `group.protocol=consumer`; \
                 a classic group is told `partition.assignment.strategy`"
                    .to_owned(),
            );
        }
        if self.partition_assignment_strategy.is_empty() {
            return conflict(
                "`partition.assignment.strategy` is empty: name one, such as `range`".to_owned(),
            );
        }
        let least = Duration::from_millis(1);
        if self.heartbeat_interval < least || self.session_timeout < least || self.max_poll_interval < least {
            return conflict(
                "`heartbeat.interval.ms`, `session.timeout.ms` and `max.poll.interval.ms` must be 1 at least"
                    .to_owned(),
            );
        }
        if self.heartbeat_interval >= self.session_timeout {
            return conflict(format!(
                "`heartbeat.interval.ms` ({}) must be less than `session.timeout.ms` ({}), best a third of it",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            ));
        }
        Ok(())
    }

    /// The broker decides these (KIP-848).
    fn check_consumer(&self) -> Result<(), ConfigError> {
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
                "the broker's `group.consumer.session.timeout.ms`",
            ),
            (
                "heartbeat.interval.ms",
                self.heartbeat_interval != default.heartbeat_interval,
                "the broker's `group.consumer.heartbeat.interval.ms`",
            ),
        ];
        for (name, changed, instead) in decided {
            if changed || self.is_given(name) {
                return Err(ConfigError::Conflict(format!(
                    "`{name}` cannot be set with `group.protocol=consumer`: {instead} takes its place"
                )));
            }
        }
        Ok(())
    }
}
