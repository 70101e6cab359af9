//! The source of reports for `top` and `monitor`: a collector, with a check that brokers answer.

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
    /// The source to start with the first round: one that is never asked for a report joins no group.
    start: Option<(Config, OffsetsTopicConfig)>,
}

/// The settings of a source; two equal ones are interchangeable. Values are compared, also those of secrets,
/// which `Debug` does not show.
#[derive(Clone, PartialEq)]
pub(crate) struct Watched {
    client: ClientConfig,
    config: String,
    offsets_topic: OffsetsTopicConfig,
}

impl Watching {
    /// Creates a source, which asks no broker yet.
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

    /// Leaves the group of the monitors, and closes the connections.
    pub(crate) async fn close(self) {
        self.collector.close().await;
    }

    /// The settings of this source.
    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Makes a round. If something in it failed, checks that a broker answers at all: a report of old values
    /// does not count then.
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
