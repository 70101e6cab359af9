//! `--from` in a group: only where nothing is committed.

use offtake::{Listener, ListenerFuture, Rebalance, StartAt};

/// Moves partitions for which the group has committed nothing to where `--from` says, before their first record.
pub(crate) struct BeginAt(pub(crate) StartAt);

impl Listener for BeginAt {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let at = self.0;
        Box::pin(async move {
            let Rebalance { partitions, consumer, .. } = rebalance;
            let committed = consumer.committed(partitions.iter().cloned()).await?;
            for partition in partitions.into_iter().filter(|of| !committed.contains_key(of)) {
                consumer.seek(partition, at).await?;
            }
            Ok(())
        })
    }
}
