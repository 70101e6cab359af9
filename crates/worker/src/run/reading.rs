//! What the consumer reads: pauses, and ways back.

use offtake::{ErrorKind, TopicPartition};

use super::{Runner, Sought};
use crate::Event;

impl Runner {
    /// Has the consumer hand out nothing more of these, or again.
    pub(super) fn set_paused(&self, partitions: Vec<TopicPartition>, is_paused: bool) {
        let set = |these: Vec<TopicPartition>| match is_paused {
            true => self.consumer.pause(these),
            false => self.consumer.resume(these),
        };
        // One that was given up meanwhile needs neither: with it among them nothing is done.
        if set(partitions.clone()).is_err() {
            partitions.into_iter().for_each(|partition| drop(set(vec![partition])));
        }
    }

    /// Sends the consumer back to a record that is not due, once it has gone where it was sent before.
    pub(super) fn seek_next(&mut self) {
        while let Some((seek, partition, to)) = self.seeks.next() {
            if !self.machine.wants_seek(seek) {
                continue;
            }
            let handle = self.consumer.handle();
            self.seeks.begin(async move { (seek, handle.seek(partition, to).await) });
        }
    }

    /// The consumer has gone back to a record that is not due, or could not.
    pub(super) fn sought(&mut self, (seek, result): Sought) {
        self.machine.seek_ended(seek, result.is_ok());
        match result {
            // One that is given up needs none.
            Err(error) if error.kind() != ErrorKind::NotOwned => self.tell(Event::Error(error)),
            Ok(()) | Err(_) => {}
        }
    }
}
