//! Commits through a [`Handle`].

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{Token, TopicPartition};

use super::Handle;
use crate::{
    clock,
    command::{Command, CommitBy},
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetToCommit},
    one_or_many::OneOrMany,
    records::{Delivered, RecordPosition, Records},
};

impl Handle {
    /// Commits that these records, and all before them in their partitions, are finished; retries for
    /// `default.api.timeout.ms`. The same as [`Consumer::commit`](crate::Consumer::commit), from another
    /// task; if two tasks commit records of one partition, the later call wins.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since (nothing is sent for it), `CommitFailed` if the group
    /// refused; [`Error::commit_report`] has the result of each partition. `Authorization`, at once, if the
    /// client may not use the group. `Misuse` for a consumer whose records are finished one by one.
    pub async fn commit(&self, records: &Records) -> Result<()> {
        self.commit_within(records, self.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_within(&self, records: &Records, timeout: Duration) -> Result<()> {
        let offsets = self.offsets_behind(records)?;
        let deadline = clock::after(timeout);
        self.ask(|reply| Command::CommitThese { offsets, deadline, reply: Some(reply) }).await
    }

    /// The offsets to commit if these records are finished, and if they may be committed: the last of each
    /// partition.
    pub(crate) fn offsets_behind(
        &self,
        records: &Records,
    ) -> Result<Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>> {
        self.check_up_to("commit")?;
        let last: BTreeMap<_, _> = records.parts.iter().map(|part| (&part.partition, part)).collect();
        let record_positions: Vec<_> = last.into_values().map(Delivered::record_position).collect();
        record_positions.iter().try_for_each(|record_position| self.check_not_moved_back(record_position))?;
        let offset = |record_position: RecordPosition| {
            (
                record_position.partition,
                Some(record_position.token),
                OffsetAndMetadata::from(record_position.next),
            )
        };
        Ok(record_positions.into_iter().map(offset).collect())
    }

    /// Refuses to finish everything up to a record for a consumer whose records are finished one by one.
    pub(crate) fn check_up_to(&self, call: &str) -> Result<()> {
        match &self.ledgers {
            None => Ok(()),
            Some(_) => Err(Error::misuse(format!(
                "{call} would say that all records before these are finished too, but this consumer was built with finish_each: finish them, then call commit_finished"
            ))),
        }
    }

    /// Refuses records that the cluster has lost, if their partition is read again from an earlier offset.
    pub(crate) fn check_not_moved_back(&self, record_position: &RecordPosition) -> Result<()> {
        let (partition, next) = (&record_position.partition, record_position.next.offset);
        let position =
            self.view.gauges(partition).and_then(|gauges| gauges.position_under(record_position.token));
        if position.is_none_or(|position| position >= next) {
            return Ok(());
        }
        let message =
            format!("the cluster has moved {partition} back to before offset {next}: its records come again");
        Err(Error::new(ErrorKind::NotOwned, message).with_partition(partition.clone()))
    }

    /// Commits exactly these offsets, `(&partition, 42)`, `[(("orders", 0), 42)]`, or with an [`OffsetAndMetadata`] each,
    /// retrying for `default.api.timeout.ms`.
    ///
    /// # Errors
    /// `Misuse`, with nothing sent, if an offset is beyond what `poll` has handed out since the partition was
    /// assigned, or beyond the offset of a seek: the records in between would never be processed. (To skip
    /// them on purpose, [`seek`](Self::seek) there first.) Before the first record of a partition, and without
    /// a seek, any offset is accepted, as in Java, wherever the partition starts. `NotOwned` if a partition is not assigned to this consumer (nothing is sent then),
    /// or if its topic was deleted and created again and the consumer does not know its new position yet: the
    /// offset can only belong to the former topic. `CommitFailed` if the group refused;
    /// [`Error::commit_report`] has the result of each partition. `Authorization`, at once, if the client may
    /// not use the group.
    pub async fn commit_offsets<S>(&self, offsets: impl OneOrMany<OffsetToCommit, S>) -> Result<()> {
        self.commit_offsets_within(offsets, self.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_offsets_within<S>(
        &self,
        offsets: impl OneOrMany<OffsetToCommit, S>,
        timeout: Duration,
    ) -> Result<()> {
        let offsets = self.check_offsets(offsets)?;
        let deadline = clock::after(timeout);
        self.ask(|reply| Command::CommitThese { offsets, deadline, reply: Some(reply) }).await
    }

    /// The offsets to commit, if none is beyond what the application was given.
    pub(crate) fn check_offsets<S>(
        &self,
        offsets: impl OneOrMany<OffsetToCommit, S>,
    ) -> Result<Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>> {
        let offsets = offsets.into_items();
        for OffsetToCommit { partition, offset } in &offsets {
            let known = self.view.gauges(partition).and_then(|gauges| gauges.known_position());
            let Some(position) = known.filter(|position| offset.offset > *position) else { continue };
            let message = format!(
                "offset {} of {partition} is beyond {position}, which poll hands out next: the records between would be lost; seek there first to skip them",
                offset.offset
            );
            return Err(Error::misuse(message).with_partition(partition.clone()));
        }
        let offsets = offsets.into_iter();
        Ok(offsets.map(|OffsetToCommit { partition, offset }| (partition, None, offset)).collect())
    }

    /// Commits what is finished by now for a consumer whose records are finished one by one; also from a
    /// listener, after it has waited for work in progress.
    ///
    /// # Errors
    /// As for [`Consumer::commit_finished`](crate::Consumer::commit_finished); and `Misuse` unless the consumer was built with
    /// [`finish_each`](crate::Builder::finish_each), because otherwise only the consumer itself knows what is
    /// finished.
    pub async fn commit_finished(&self) -> Result<()> {
        self.check_open()?;
        let Some(ledgers) = &self.ledgers else {
            return Err(Error::misuse(
                "commit_finished through a handle needs a consumer that was built with finish_each: call the consumer's own, or in a listener commit_offsets",
            ));
        };
        ledgers.report(|positions| drop(self.send(Command::Finished { positions })));
        let deadline = self.deadline();
        self.ask(|reply| Command::CommitFinished { deadline, by: CommitBy::Application, reply: Some(reply) })
            .await
    }
}
