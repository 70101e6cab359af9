//! [`OffsetsTopic`]: reads the commits of groups from `__consumer_offsets` instead of requesting them, and divides the groups
//! among several monitors.

mod log;
mod reader;
mod shard;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use offtake::{Builder, Handle};
use offtake_admin::TopicPartition;
use offtake_client::clock;
use tokio::{sync::Notify, task::JoinHandle};

use self::log::CommitLog;
pub use self::shard::Shard;
pub(crate) use self::shard::partition_of;

/// The name of the topic.
pub(crate) const TOPIC: &str = "__consumer_offsets";

/// The timeout for leaving the group.
const LEAVING: Duration = Duration::from_secs(2);

/// The purposes for which `__consumer_offsets` is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetsTopicConfig {
    /// Whether committed offsets are read from it. Otherwise nothing is read: it only divides the groups.
    pub commits: bool,
    /// The group of the replicas that share its partitions, if there are several. Each replica watches the groups whose commits
    /// are in its partitions. Without it, all partitions are read.
    pub shard_group: Option<String>,
}

/// A consumer of `__consumer_offsets`, in a task of its own that ends with this value.
///
/// Partitions are read from their beginning: the topic is compacted, so that it contains every commit. Until a partition is read
/// to its end, and whenever that takes more than a second, for example after a hanging transaction, a
/// [`Collector`](crate::Collector) requests the commits of that partition's groups, as it does without this.
///
/// Requires `READ` on the topic, and with [`shard_group`](OffsetsTopicConfig::shard_group) also on that group. The brokers have
/// to store commits in that topic as Kafka does; otherwise nothing would be learnt.
#[derive(Debug)]
pub struct OffsetsTopic {
    shared: Arc<Shared>,
    config: OffsetsTopicConfig,
    task: JoinHandle<()>,
}

/// The state shared by the task and the collector, behind a short lock.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signals that something was read, or that the assignment changed.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    log: CommitLog,
    /// The assigned partitions; `None` while the consumer is no member of its group.
    assigned: Option<BTreeSet<i32>>,
    /// The last error.
    failure: Option<String>,
    handle: Option<Handle>,
}

impl OffsetsTopic {
    /// Begins to read. `consumer` returns a builder, for which this sets isolation, group and commits according to the purposes.
    /// It is called again when a consumer fails for good. This does not wait for anything.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub fn start(config: OffsetsTopicConfig, consumer: impl Fn() -> Builder + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let reading = reader::run(Arc::clone(&shared), config.clone(), consumer);
        #[expect(
            clippy::disallowed_methods,
            reason = "the task is the loop of this consumer, and ends with it"
        )]
        let task = tokio::spawn(reading);
        Self { shared, config, task }
    }

    /// Leaves the group, so that others take over at once.
    pub async fn close(self) {
        let handle = self.shared.lock().handle.take();
        if let Some(handle) = handle {
            // If that takes longer, the session timeout ends the membership.
            let _ = handle.close(LEAVING).await;
        }
    }

    pub(crate) fn config(&self) -> &OffsetsTopicConfig {
        &self.config
    }

    /// The partitions assigned to this replica; an error explains why the assignment is unknown.
    pub(crate) fn assigned(&self) -> Result<BTreeSet<i32>, String> {
        let state = self.shared.lock();
        state.assigned.clone().ok_or_else(|| {
            let group = self.config.shard_group.as_deref().unwrap_or_default();
            let why = state.failure.as_ref().map_or(String::new(), |failure| format!(": {failure}"));
            format!(
                "this replica is not a member of the group `{group}`, so the groups that it watches are not known{why}"
            )
        })
    }

    /// The last error.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Waits until these partitions are read to these ends, or the time has ended. Returns those that are.
    pub(crate) async fn read_to(&self, ends: &BTreeMap<i32, i64>, limit: Duration) -> BTreeSet<i32> {
        let read = || {
            let state = self.shared.lock();
            let read = ends.iter().filter(|(partition, end)| state.log.is_read(**partition, **end));
            read.map(|(partition, _)| *partition).collect::<BTreeSet<_>>()
        };
        let all = async {
            loop {
                let progress = self.shared.progress.notified();
                if read().len() == ends.len() {
                    return;
                }
                progress.await;
            }
        };
        let _ = clock::timeout(limit, all).await;
        read()
    }

    /// The committed offsets of a group in that partition, as far as they were read.
    pub(crate) fn committed(&self, partition: i32, group: &str) -> BTreeMap<TopicPartition, i64> {
        self.shared.lock().log.committed(partition, group)
    }
}

impl Drop for OffsetsTopic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
