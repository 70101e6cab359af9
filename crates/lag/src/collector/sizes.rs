//! The sizes of logs.

use super::{
    Collector,
    brokers::{RequestKind, is_silence},
    logs::Leaders,
};
use crate::sample::{LogSample, Sample};
use offtake_client::clock;

impl Collector {
    /// Requests the sizes of the logs in the sample from their leaders. For topics in tiered storage, they would return only part
    /// of the size.
    pub(super) async fn ask_sizes(&mut self, sample: &mut Sample) {
        let mut leaders = Leaders::new();
        for (partition, log) in &sample.logs {
            let is_there =
                matches!(log, LogSample::Offsets { .. }) && !self.tiered.contains(&partition.topic);
            if let Some(leader) = self.leader(partition, RequestKind::Sizes).filter(|_| is_there) {
                leaders.entry(leader).or_default().push(partition.clone());
            }
        }
        if leaders.is_empty() {
            return;
        }
        let answers = self.survey().sizes(&leaders).await;
        self.mark(RequestKind::Sizes, leaders.keys(), &answers.failed);
        for failed in answers.failed.iter().filter(|failed| !is_silence(&failed.error)) {
            // Without permission to read sizes, only the lag in bytes is missing.
            if self.brokers.refused(failed.broker, RequestKind::Sizes, clock::now()) {
                tracing::warn!("{}; so there is no lag in bytes", failed.error);
            } else {
                tracing::debug!("{}", failed.error);
            }
        }
        for (partition, size) in answers.found {
            if let Some(LogSample::Offsets { bytes, .. }) = sample.logs.get_mut(&partition) {
                *bytes = Some(size);
            }
        }
    }
}
