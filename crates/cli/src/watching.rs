//! Where `top` and `monitor` have their reports from: a collector, and what of it counts as no answer.

use std::{collections::BTreeSet, time::Duration};

use offtake_admin::Admin;
use offtake_client::ClientConfig;
use offtake_lag::{Collector, Config, GroupSelection, Report};

use crate::{
    args::{Common, Watch},
    failure::Failure,
    setup,
};

/// Watches groups.
pub(crate) struct Watching {
    collector: Collector,
    limit: Duration,
    watched: Watched,
}

/// What is watched and how; of two that are equal, one will do. Values are compared, also those of secrets, which `Debug` does not show.
#[derive(Clone, PartialEq)]
pub(crate) struct Watched {
    client: ClientConfig,
    config: String,
}

impl Watching {
    /// Asks nobody yet.
    pub(crate) fn new(common: &Common, args: &Watch) -> Result<Self, Failure> {
        Self::with(setup::config(common)?.client, args)
    }

    fn with(client: ClientConfig, args: &Watch) -> Result<Self, Failure> {
        let mut config = Config::default();
        if let Some(pattern) = &args.group {
            config.groups = GroupSelection::Matching(pattern.clone());
        }
        config.window = args.window.unwrap_or(config.window);
        config.horizon = args.horizon.unwrap_or(config.horizon);
        for threshold in &args.thresholds {
            match &threshold.groups {
                Some(pattern) => config.group_thresholds.push((pattern.clone(), threshold.thresholds)),
                None => config.thresholds = threshold.thresholds,
            }
        }
        let limit = config.broker_timeout;
        let watched = Watched { client: client.clone(), config: format!("{config:?}") };
        Ok(Self { collector: Collector::new(Admin::new(client)?, config), limit, watched })
    }

    /// What is watched and how.
    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A round. Of one in which something failed, whether any broker answers: a report of what was known before is no report then.
    pub(crate) async fn round(&mut self) -> Result<Report, String> {
        let report = self.collector.round().await.map_err(|error| error.to_string())?;
        if !report.failures.is_empty() {
            let asked = self.collector.admin().survey(self.limit).cluster(Some(&BTreeSet::new())).await;
            asked.map_err(|error| error.to_string())?;
        }
        Ok(report)
    }
}
