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
    description: String,
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
        let description = format!("{client:?} {config:?}");
        Ok(Self { collector: Collector::new(Admin::new(client)?, config), limit, description })
    }

    /// What is watched and how; of two that are described alike, one will do. Has no secrets in it.
    pub(crate) fn description(&self) -> &str {
        &self.description
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
