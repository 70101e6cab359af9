//! Where `top` and `monitor` have their reports from: a collector, and what of it counts as no answer.

use std::{collections::BTreeSet, time::Duration};

use offtake::{Config, Consumer};
use offtake_admin::Admin;
use offtake_client::ClientConfig;
use offtake_lag::{Collector, GroupSelection, OffsetsTopic, OffsetsTopicConfig, Report};

use crate::{
    args::{Common, LagIsolation as Isolation, Watch},
    failure::Failure,
    setup,
};

/// Watches groups.
pub(crate) struct Watching {
    collector: Collector,
    limit: Duration,
    watched: Watched,
    /// What is begun with the first round: one that is never asked joins no group.
    start: Option<(Config, OffsetsTopicConfig)>,
}

/// What is watched and how; of two that are equal, one will do. Values are compared, also those of secrets, which `Debug` does not show.
#[derive(Clone, PartialEq)]
pub(crate) struct Watched {
    client: ClientConfig,
    config: String,
    offsets_topic: OffsetsTopicConfig,
}

impl Watching {
    /// Asks nobody yet.
    pub(crate) fn new(
        common: &Common,
        args: &Watch,
        offsets_topic: OffsetsTopicConfig,
    ) -> Result<Self, Failure> {
        let config = setup::config(common)?;
        let client = config.client.clone();
        let lag = lag_config(args);
        let limit = lag.broker_timeout;
        let watched = Watched {
            client: client.clone(),
            config: format!("{lag:?}"),
            offsets_topic: offsets_topic.clone(),
        };
        let is_read = offsets_topic != OffsetsTopicConfig::default();
        let start = is_read.then_some((config, offsets_topic));
        Ok(Self { collector: Collector::new(Admin::new(client)?, lag), limit, watched, start })
    }

    /// Leaves the group of the replicas, and closes the connections.
    pub(crate) async fn close(self) {
        self.collector.close().await;
    }

    /// What is watched and how.
    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A round. Of one in which something failed, whether any broker answers: a report of what was known before is no report then.
    pub(crate) async fn round(&mut self) -> Result<Report, String> {
        if let Some((config, offsets_topic)) = self.start.take() {
            let consumer = move || Consumer::from_config(config.clone());
            self.collector.use_offsets_topic(OffsetsTopic::start(offsets_topic, consumer));
        }
        let report = self.collector.round().await.map_err(|error| error.to_string())?;
        if !report.failures.is_empty() {
            let asked = self.collector.admin().survey(self.limit).cluster(Some(&BTreeSet::new())).await;
            asked.map_err(|error| error.to_string())?;
        }
        Ok(report)
    }
}

fn lag_config(args: &Watch) -> offtake_lag::Config {
    let mut config = offtake_lag::Config::default();
    if let Some(pattern) = &args.group {
        config.groups = GroupSelection::Matching(pattern.clone());
    }
    config.window = args.window.unwrap_or(config.window);
    config.horizon = args.horizon.unwrap_or(config.horizon);
    config.isolation = args.isolation.map_or(config.isolation, Isolation::level);
    for threshold in &args.thresholds {
        match &threshold.groups {
            Some(pattern) => config.group_thresholds.push((pattern.clone(), threshold.thresholds)),
            None => config.thresholds = threshold.thresholds,
        }
    }
    config
}
