//! What was handed out, and what of it is finished.
//!
//! The application finishes records by calling `poll` again (`enable.auto.offset.store`, the default), or by saying so
//! (`store`, `commit`). The snapshot that a commit takes is made here, on the application's own task, so that it can
//! never run ahead of it (FAILURES H3, bugs 1 and 2).

use std::collections::BTreeMap;

use offtake_machine::{Position, Token, TopicPartition};

use crate::records::{Records, Spot};

#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Handed out by the last `poll`.
    handed: Vec<Spot>,
    finished: BTreeMap<TopicPartition, (Token, Position)>,
    /// Finished since it was last reported.
    news: bool,
}

impl Progress {
    /// The last `poll` hands these out.
    pub(crate) fn hand_out(&mut self, records: &Records) {
        for part in &records.parts {
            let place = Spot { partition: part.partition.clone(), token: part.token, next: part.next };
            // A partition's later run supersedes its earlier one.
            match self.handed.last_mut().filter(|last| last.partition == place.partition) {
                Some(last) => *last = place,
                None => self.handed.push(place),
            }
        }
    }

    /// Everything handed out so far is finished.
    pub(crate) fn finish_handed(&mut self) {
        for place in std::mem::take(&mut self.handed) {
            self.finish(place);
        }
    }

    /// What was handed out is not finished by the next `poll`: the application will say so itself.
    pub(crate) fn forget_handed(&mut self) {
        self.handed.clear();
    }

    /// Everything up to here is finished.
    pub(crate) fn finish(&mut self, place: Spot) {
        let Spot { partition, token, next } = place;
        match self.finished.get_mut(&partition) {
            // Later tokens win; under the same one it only grows.
            Some((held, position)) if *held > token || (*held == token && position.offset >= next.offset) => {
            }
            Some(held) => {
                *held = (token, next);
                self.news = true;
            }
            None => {
                self.finished.insert(partition, (token, next));
                self.news = true;
            }
        }
    }

    /// No longer ours: nothing of it will be committed.
    pub(crate) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.finished.remove(partition);
        }
        self.handed.retain(|place| !partitions.contains(&place.partition));
    }

    /// The position moved: what was finished before it is not what will be committed next.
    pub(crate) fn sought(&mut self, partition: &TopicPartition) {
        self.forget(std::slice::from_ref(partition));
    }

    /// What is finished, if that is news.
    pub(crate) fn report(&mut self) -> Option<Vec<(TopicPartition, Token, Position)>> {
        if !std::mem::take(&mut self.news) {
            return None;
        }
        Some(
            self.finished
                .iter()
                .map(|(partition, (token, position))| (partition.clone(), *token, *position))
                .collect(),
        )
    }
}
