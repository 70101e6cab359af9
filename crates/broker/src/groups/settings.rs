//! The configs of a single group of the consumer protocol, which override those of the cluster (KIP-848).
//!
//! Kafka bounds them by `group.consumer.min.session.timeout.ms` and the like. Here every positive number is allowed.
//! Configs of share and streams groups are stored, and have no effect.

use std::{collections::BTreeMap, time::Duration};

use crate::{groups::Groups, model::Model};

pub(crate) const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
pub(crate) const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

impl Groups {
    pub(crate) fn settings_of(&self, group: &str) -> BTreeMap<String, String> {
        self.settings.get(group).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, group: &str, settings: BTreeMap<String, String>) {
        self.settings.insert(group.to_owned(), settings);
    }

    fn setting(&self, group: &str, name: &str) -> Option<Duration> {
        let millis = self.settings.get(group)?.get(name)?.parse().ok()?;
        Some(Duration::from_millis(millis))
    }
}

impl Model {
    pub(crate) fn consumer_session_timeout(&self, group: &str) -> Duration {
        self.groups.setting(group, SESSION_TIMEOUT).unwrap_or(self.config.consumer_session_timeout)
    }

    pub(crate) fn consumer_heartbeat_interval(&self, group: &str) -> Duration {
        self.groups.setting(group, HEARTBEAT_INTERVAL).unwrap_or(self.config.consumer_heartbeat_interval)
    }

    /// Checks a group's configs, alone and together.
    pub(crate) fn check_group_settings(&self, settings: &BTreeMap<String, String>) -> Result<(), String> {
        for (name, value) in settings {
            match name.as_str() {
                SESSION_TIMEOUT | HEARTBEAT_INTERVAL
                    if value.parse::<i32>().is_ok_and(|millis| millis > 0) => {}
                SESSION_TIMEOUT | HEARTBEAT_INTERVAL => {
                    return Err(format!(
                        "Invalid value {value} for configuration {name}: not a positive number"
                    ));
                }
                other if other.starts_with("share.") || other.starts_with("streams.") => {}
                other => return Err(format!("Unknown group config name: {other}")),
            }
        }
        let millis = |name: &str, default: Duration| {
            let own = settings.get(name).and_then(|value| value.parse().ok()).map(Duration::from_millis);
            own.unwrap_or(default)
        };
        let session = millis(SESSION_TIMEOUT, self.config.consumer_session_timeout);
        if millis(HEARTBEAT_INTERVAL, self.config.consumer_heartbeat_interval) >= session {
            return Err(format!("{HEARTBEAT_INTERVAL} must be less than {SESSION_TIMEOUT}"));
        }
        Ok(())
    }
}
