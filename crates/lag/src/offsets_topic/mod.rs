//! [`OffsetsTopic`]: what groups commit, read from `__consumer_offsets` instead of asked for; and which groups one of several monitors watches.

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

/// Kafka's name of it.
pub(crate) const TOPIC: &str = "__consumer_offsets";

/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(2);

/// What `__consumer_offsets` is read for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetsTopicConfig {
    /// What groups have committed is read from it. Else nothing is: it only divides groups.
    pub commits: bool,
    /// The group of the replicas that share its partitions, if there are several. Each watches the groups whose commits are in its
    /// partitions. Without it all partitions are read.
    pub shard_group: Option<String>,
}

/// A consumer of `__consumer_offsets`, in a task of its own that ends with this value.
///
/// Partitions are read from their beginning: the topic is compacted, so that this has every commit there is. Until a partition is read to its
/// end, and whenever that takes more than a second, as it does behind a transaction that hangs, a
/// [`Collector`](crate::Collector) asks for what the groups of that partition have committed, as it does without.
///
/// Needs `READ` on the topic; with [`shard_group`](OffsetsTopicConfig::shard_group) also on that group. Brokers have to keep commits in that topic as Kafka
/// does: of others nothing would be learnt.
#[derive(Debug)]
pub struct OffsetsTopic {
    shared: Arc<Shared>,
    config: OffsetsTopicConfig,
    task: JoinHandle<()>,
}

/// What the task and the collector share, behind a short lock.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was read, or changed hands.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    log: CommitLog,
    /// The partitions that are this consumer's; `None` while it is no member of its group.
    assigned: Option<BTreeSet<i32>>,
    /// The last thing that went wrong.
    failure: Option<String>,
    handle: Option<Handle>,
}

impl OffsetsTopic {
    /// Begins to read, with consumers that this function begins to build: what it is read for sets isolation, group and commits. One is built anew
    /// when it fails for good. Nothing is waited for.
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
            // What is not over by then is over with the session.
            let _ = handle.close(LEAVING).await;
        }
    }

    pub(crate) fn config(&self) -> &OffsetsTopicConfig {
        &self.config
    }

    /// The partitions that are this replica's; an error says why none are, not even none.
    pub(crate) fn assigned(&self) -> Result<BTreeSet<i32>, String> {
        let state = self.shared.lock();
        state.assigned.clone().ok_or_else(|| {
            let group = self.config.shard_group.as_deref().unwrap_or_default();
            let why = state.failure.as_ref().map_or(String::new(), |failure| format!(": {failure}"));
            format!(
                "this replica is no member of the group `{group}`, and is not told which groups to watch{why}"
            )
        })
    }

    /// The last thing that went wrong.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Those of these partitions that are read to these ends, when all are or the time is over.
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

    /// What a group of that partition has committed, as far as it is read.
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
