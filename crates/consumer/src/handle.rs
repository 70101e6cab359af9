//! The consumer from other tasks, and from inside a listener.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use offtake_machine::TopicPartition;
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    config::Config,
    engine::command::{Command, Reply},
    error::{Error, Result},
    ledgers::Ledgers,
    offsets::{OffsetAndMetadata, StartAt},
    view::Viewer,
};

/// Speaks to a consumer's engine from any task. Cheap to clone; keeps nothing alive: once the consumer is closed or
/// dropped, every call answers [`ErrorKind::Closed`](crate::ErrorKind::Closed),
/// and there is nothing to read.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) config: Arc<Config>,
    pub(crate) view: Viewer,
    /// Of a consumer whose records are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
}

impl Handle {
    /// Sends a command and waits for its answer. Dropping the future does not undo the command.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.map_err(|_| Error::closed())?
    }

    pub(crate) fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::closed())
    }

    pub(crate) fn deadline(&self) -> std::time::Instant {
        clock::now() + self.config.default_api_timeout
    }

    /// Commits exactly these offsets, retrying for `default.api.timeout.ms`. It is not checked here whether they were
    /// handed out: what is committed too high is read by nobody.
    ///
    /// # Errors
    /// `NotOwned` if a partition is not assigned to this consumer (nothing is sent then), `CommitFailed` where the
    /// group refused; [`Error::commit_report`] tells partition by partition.
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        self.commit_offsets_within(offsets, self.config.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_offsets_within(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
        timeout: Duration,
    ) -> Result<()> {
        let offsets = offsets.into_iter().map(|(partition, offset)| (partition, None, offset)).collect();
        let deadline = clock::now() + timeout;
        self.ask(|reply| Command::CommitThese { offsets, deadline, reply: Some(reply) }).await
    }

    /// Commits what is finished by now of a consumer whose records are finished one by one; from a listener too, when
    /// those who were at work have ended.
    ///
    /// # Errors
    /// As [`commit_offsets`](Self::commit_offsets); and `Misuse` unless it was built with
    /// [`finish_each`](crate::Builder::finish_each), for otherwise only the consumer itself knows what is finished.
    pub async fn commit_finished(&self) -> Result<()> {
        let Some(ledgers) = &self.ledgers else {
            return Err(Error::misuse(
                "commit_finished through a handle needs a consumer that was built with finish_each: call the consumer's own",
            ));
        };
        ledgers.report(|positions| drop(self.send(Command::Finished { positions })));
        let deadline = self.deadline();
        self.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) }).await
    }

    /// The group's committed offsets; partitions without one are absent.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let partitions = partitions.into_iter().collect();
        let deadline = self.deadline();
        self.ask(|reply| Command::Committed { partitions, deadline, reply }).await
    }

    /// Reads on from elsewhere. Records fetched before are not handed out after.
    pub async fn seek(&self, partition: TopicPartition, at: StartAt) -> Result<()> {
        self.ask(|reply| Command::Seek { partition, at, reply }).await
    }

    /// Hands out nothing more of these until [`resume`](Self::resume); what is buffered is kept.
    pub fn pause(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.send(Command::Pause { partitions: partitions.into_iter().collect() })
    }

    /// Hands them out again.
    pub fn resume(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.send(Command::Resume { partitions: partitions.into_iter().collect() })
    }

    // Read without a message: also from a listener, and while `poll` runs.

    /// The partitions that the consumer owns, as far as `poll` has told.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.view.owned(false)
    }

    /// Those of them that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.view.owned(true)
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or the partition is not the consumer's.
    /// Of a partition that is being revoked: the offset after the last record that was handed out, until it is released.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.view.position(partition)
    }

    /// How many records of a partition are still to be handed out, as of the last fetch and under the isolation level;
    /// `None` before the first.
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.view.lag(partition)
    }

    /// Makes the running `poll`, or the next, return at once, with no records if there are none.
    pub fn wake(&self) -> Result<()> {
        self.send(Command::Wake)
    }
}
