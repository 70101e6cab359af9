//! [`PollOutput`]: the output of one poll, records or whole batches.

use super::flow::{Flow, NextOutput, Opening};
use crate::{
    batches::{Batches, RecordBatch},
    event::Event,
    ledgers::Ledgers,
    records::{Delivered, PartitionRecords, Records},
};
use offtake_machine::TopicPartition;
use offtake_wire::records::RecordError;

/// The output of one poll: parts of partitions, and the resets before them.
pub(crate) trait PollOutput: Default {
    type Part: Part;

    /// Whether batches are opened for it.
    const OPENED: bool;

    fn push(&mut self, part: Self::Part);
    fn parts(&mut self) -> &mut [Self::Part];
    fn is_empty(&self) -> bool;
    fn set_resets(&mut self, resets: Vec<Event>);
}

/// Consecutive records of one partition.
pub(crate) trait Part: Delivered + Sized {
    /// The partition of the records.
    fn topic_partition(&self) -> &TopicPartition;
    /// How many records count against `max.poll.records`.
    fn records(&self) -> usize;
    /// Enters the records into the ledgers, which from here on track which of them are finished.
    fn enter(&mut self, ledgers: &Ledgers);
    /// Takes the next part of a partition: at most `most` records, or a whole batch.
    fn next(
        flow: &mut Flow,
        partition: &TopicPartition,
        most: usize,
        opening: &mut Opening<'_>,
    ) -> Result<NextOutput<Self>, RecordError>;
}

impl PollOutput for Records {
    type Part = PartitionRecords;

    const OPENED: bool = true;

    fn push(&mut self, part: PartitionRecords) {
        Self::push(self, part);
    }

    fn parts(&mut self) -> &mut [PartitionRecords] {
        &mut self.parts
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }

    fn set_resets(&mut self, resets: Vec<Event>) {
        self.resets = resets;
    }
}

impl PollOutput for Batches {
    type Part = RecordBatch;

    const OPENED: bool = false;

    fn push(&mut self, part: RecordBatch) {
        self.parts.push(part);
    }

    fn parts(&mut self) -> &mut [RecordBatch] {
        &mut self.parts
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }

    fn set_resets(&mut self, resets: Vec<Event>) {
        self.resets = resets;
    }
}

impl Part for PartitionRecords {
    fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn records(&self) -> usize {
        self.len()
    }

    fn enter(&mut self, ledgers: &Ledgers) {
        ledgers.hand_out(self);
    }

    fn next(
        flow: &mut Flow,
        partition: &TopicPartition,
        most: usize,
        opening: &mut Opening<'_>,
    ) -> Result<NextOutput<Self>, RecordError> {
        flow.next_part(partition, most, opening)
    }
}

impl Part for RecordBatch {
    fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn records(&self) -> usize {
        self.count()
    }

    fn enter(&mut self, ledgers: &Ledgers) {
        ledgers.hand_out_unopened(self);
    }

    fn next(
        flow: &mut Flow,
        partition: &TopicPartition,
        _most: usize,
        opening: &mut Opening<'_>,
    ) -> Result<NextOutput<Self>, RecordError> {
        flow.next_batch(partition, opening)
    }
}
