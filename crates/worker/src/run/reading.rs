//! Control of the consumer: pauses and seeks.

use offtake::{ErrorKind, TopicPartition};

use super::{Runner, Sought};
use crate::Event;

impl Runner {
    /// Pauses or resumes these partitions at the consumer.
    pub(super) fn set_paused(&self, partitions: Vec<TopicPartition>, is_paused: bool) {
        let set = |these: Vec<TopicPartition>| match is_paused {
            true => self.consumer.pause(these),
            false => self.consumer.resume(these),
        };
        // A partition that was given up meanwhile needs neither. But a call that names one changes nothing, so that the others
        // are called one by one.
        if set(partitions.clone()).is_err() {
            partitions.into_iter().for_each(|partition| drop(set(vec![partition])));
        }
    }

    /// Seeks back to a record that is not due, once the previous seek has ended.
    pub(super) fn seek_next(&mut self) {
        while let Some((seek, partition, to)) = self.seeks.next() {
            if !self.machine.wants_seek(seek) {
                continue;
            }
            let handle = self.consumer.handle();
            self.seeks.begin(async move { (seek, handle.seek(partition, to).await) });
        }
    }

    /// Handles the result of a seek back to a record that is not due.
    pub(super) fn sought(&mut self, (seek, result): Sought) {
        self.machine.seek_ended(seek, result.is_ok());
        match result {
            // A partition that was given up needs no seek.
            Err(error) if error.kind() != ErrorKind::NotOwned => self.tell(Event::Error(error)),
            Ok(()) | Err(_) => {}
        }
    }
}
