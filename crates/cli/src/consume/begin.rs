//! `--from` in a group: only where nothing is committed.

use offtake::{Listener, ListenerFuture, Rebalance, StartAt};

/// Where the group has committed nothing, begins here rather than where `auto.offset.reset` says.
pub(crate) struct BeginAt(pub(crate) StartAt);

impl Listener for BeginAt {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let at = StartAt::committed_or(self.0.clone());
        Box::pin(async move {
            let Rebalance { partitions, consumer, .. } = rebalance;
            for partition in partitions {
                consumer.seek(partition, at.clone()).await?;
            }
            Ok(())
        })
    }
}
