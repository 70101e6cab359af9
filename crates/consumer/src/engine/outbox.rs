//! The engine's output for the handle, in order; for each partition in the order of its log.

use std::collections::{BTreeMap, VecDeque};

use offtake_fetch::{Chunk, Start};
use offtake_machine::{Position, Token, TopicPartition};

use crate::{
    command::{Answer, Output},
    error::Error,
    event::Event,
    inbox::{Control, Data, Restart},
};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    /// Resets and truncations of positions, kept until the partitions start there.
    resets: Vec<(TopicPartition, Event)>,
    /// Messages about a partition that follow chunks which may still be in the fetcher.
    behind: BTreeMap<TopicPartition, VecDeque<AfterChunks>>,
}

#[derive(Debug)]
enum AfterChunks {
    /// Before the chunks of this start and later ones.
    Started { start: Start, token: Token, restart: Restart },
    /// After all chunks.
    Failed { token: Token, error: Error },
}

impl AfterChunks {
    fn of(self, partition: &TopicPartition) -> Output {
        let partition = partition.clone();
        Output::Data(match self {
            Self::Started { start: Start { position, .. }, token, restart } => {
                Data::Started { partition, token, position, restart }
            }
            Self::Failed { token, error } => Data::Failed { partition, token, error },
        })
    }
}

impl Outbox {
    pub(super) fn control(&mut self, control: Control) {
        self.outputs.push_back(Output::Control(control));
    }

    pub(super) fn data(&mut self, data: Data) {
        self.outputs.push_back(Output::Data(data));
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.outputs.push_back(Output::Answer(answer));
    }

    /// Keeps a reset until the partition starts.
    pub(super) fn push_reset(&mut self, partition: TopicPartition, event: Event) {
        self.resets.push((partition, event));
    }

    /// The resets of a partition, taken when it starts or stops.
    pub(super) fn take_resets(&mut self, partition: &TopicPartition) -> Vec<Event> {
        self.resets.extract_if(.., |(of, _)| of == partition).map(|(_, event)| event).collect()
    }

    /// Notes that the fetcher continues here.
    pub(super) fn started(
        &mut self,
        partition: TopicPartition,
        token: Token,
        start: Start,
        restart: Restart,
    ) {
        self.behind.entry(partition).or_default().push_back(AfterChunks::Started { start, token, restart });
    }

    /// Notes that the partition stops.
    pub(super) fn failed(&mut self, partition: TopicPartition, token: Token, error: Error) {
        self.behind.entry(partition).or_default().push_back(AfterChunks::Failed { token, error });
    }

    /// Forgets pending messages of an assignment or a position that has ended.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.behind.remove(partition);
        self.resets.retain(|(of, _)| of != partition);
    }

    /// The handle has given back what it held, and the partition is read again from `to`, which lies before
    /// the chunks that were dropped: an error after them will occur again, and resets lead no further than
    /// there.
    pub(super) fn rewind(&mut self, partition: &TopicPartition, to: Position) {
        let Some(behind) = self.behind.get_mut(partition) else { return };
        behind.retain_mut(|behind| match behind {
            AfterChunks::Started { start, .. } => {
                if to.offset < start.position.offset {
                    start.position = to;
                }
                true
            }
            AfterChunks::Failed { .. } => false,
        });
    }

    /// Adds the next chunk that the fetcher had.
    pub(super) fn chunk(&mut self, chunk: Chunk) {
        if let Some(behind) = self.behind.get_mut(&chunk.partition) {
            let is_before = |next: &&AfterChunks| matches!(next, AfterChunks::Started { start, .. } if start.start_id <= chunk.start_id);
            let ready = behind.iter().take_while(is_before).count();
            self.outputs.extend(behind.drain(..ready).map(|behind| behind.of(&chunk.partition)));
        }
        self.outputs.push_back(Output::Data(Data::Records(chunk)));
    }

    /// Releases what waited for chunks that the fetcher no longer has.
    pub(super) fn release_waiting(&mut self, holds: impl Fn(&TopicPartition) -> bool) {
        if self.behind.is_empty() {
            return;
        }
        self.behind.retain(|partition, behind| {
            if !behind.is_empty() && holds(partition) {
                return true;
            }
            self.outputs.extend(behind.drain(..).map(|behind| behind.of(partition)));
            false
        });
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use offtake_fetch::{Charge, VisibleBatches};

    use super::*;
    use crate::error::ErrorKind;

    const TOKEN: Token = Token { assignment: 1, seek: 0 };

    fn orders() -> TopicPartition {
        TopicPartition::new("orders", 0)
    }

    fn chunk(start_id: u64, offset: i64) -> Chunk {
        Chunk {
            partition: orders(),
            token: TOKEN,
            start_id,
            fetch_offset: offset,
            next: Position::at(offset + 1),
            batches: VisibleBatches::default(),
            charge: Charge::unaccounted(1),
        }
    }

    fn all(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop())
            .map(|output| match output {
                Output::Data(Data::Started { position, .. }) => format!("started at {}", position.offset),
                Output::Data(Data::Records(chunk)) => format!("records from {}", chunk.fetch_offset),
                Output::Data(Data::Failed { .. }) => "failed".to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn j1_l1_a_restart_and_an_error_come_where_they_belong_among_the_chunks() {
        let mut outbox = Outbox::default();
        outbox.started(orders(), TOKEN, Start { start_id: 1, position: Position::at(0) }, Restart::default());
        outbox.release_waiting(|_| false);
        // The partition is paused, and two chunks wait in the fetcher, one for each start; then it stops.
        outbox.started(
            orders(),
            TOKEN,
            Start { start_id: 2, position: Position::at(50) },
            Restart::default(),
        );
        outbox.failed(orders(), TOKEN, Error::new(ErrorKind::Corrupt, "damaged"));
        outbox.release_waiting(|_| true);
        assert_eq!(all(&mut outbox), ["started at 0"]);
        outbox.chunk(chunk(1, 0));
        outbox.release_waiting(|_| true);
        outbox.chunk(chunk(2, 50));
        outbox.release_waiting(|_| true);
        assert_eq!(all(&mut outbox), ["records from 0", "started at 50", "records from 50"]);
        outbox.release_waiting(|_| false);
        assert_eq!(all(&mut outbox), ["failed"]);
    }

    #[test]
    fn l1_a_reset_leads_no_further_than_what_is_read_again() {
        for (to, position) in [(20, 20), (80, 50)] {
            let mut outbox = Outbox::default();
            outbox.started(
                orders(),
                TOKEN,
                Start { start_id: 2, position: Position::at(50) },
                Restart::default(),
            );
            outbox.failed(orders(), TOKEN, Error::new(ErrorKind::Corrupt, "comes again"));
            outbox.rewind(&orders(), Position::at(to));
            outbox.release_waiting(|_| false);
            assert_eq!(all(&mut outbox), [format!("started at {position}")]);
        }
    }

    #[test]
    fn i7_a_waiting_error_is_forgotten_with_its_position() {
        let mut outbox = Outbox::default();
        outbox.failed(orders(), TOKEN, Error::new(ErrorKind::Corrupt, "damaged"));
        outbox.forget(&orders());
        outbox.release_waiting(|_| false);
        assert!(outbox.is_empty());
    }

    #[test]
    fn i7_forgetting_a_partition_leaves_the_events_of_others() {
        let other = TopicPartition::new("orders", 1);
        let truncated = |from| Event::Truncated { partition: orders(), from, to: None, epoch: None };
        let from = |resets: Vec<Event>| -> Vec<i64> {
            let from = |event| match event {
                Event::Truncated { from, .. } => from,
                event => panic!("{event:?}"),
            };
            resets.into_iter().map(from).collect()
        };
        let mut outbox = Outbox::default();
        for (of, from) in [(&other, 1), (&orders(), 2), (&other, 3), (&orders(), 4)] {
            outbox.push_reset(of.clone(), truncated(from));
        }
        assert_eq!(from(outbox.take_resets(&other)), [1, 3]);
        assert!(outbox.take_resets(&other).is_empty(), "once");
        for of in [&orders(), &other] {
            outbox.push_reset(of.clone(), truncated(5));
            outbox.failed(of.clone(), TOKEN, Error::new(ErrorKind::Corrupt, "damaged"));
        }
        outbox.forget(&other);
        assert!(outbox.take_resets(&other).is_empty());
        assert_eq!(from(outbox.take_resets(&orders())), [2, 4, 5]);
        outbox.release_waiting(|_| false);
        assert_eq!(all(&mut outbox), ["failed"], "the one that was not forgotten");
    }

    #[test]
    fn j1_events_of_one_partition_do_not_wait_for_chunks_of_another() {
        let other = TopicPartition::new("orders", 1);
        let mut outbox = Outbox::default();
        outbox.failed(orders(), TOKEN, Error::new(ErrorKind::Corrupt, "damaged"));
        outbox.started(
            other.clone(),
            TOKEN,
            Start { start_id: 3, position: Position::at(70) },
            Restart::default(),
        );
        outbox.chunk(chunk(4, 50));
        outbox.release_waiting(|of| *of == orders());
        assert_eq!(all(&mut outbox), ["records from 50", "started at 70"]);
        outbox.release_waiting(|of| *of == other);
        assert_eq!(all(&mut outbox), ["failed"]);
    }
}
