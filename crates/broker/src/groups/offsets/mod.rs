//! Committed offsets: those of the group, and those of transactions that have not ended yet (KIP-447).

mod commit;
mod delete;
mod fetch;

use std::{collections::BTreeMap, time::Instant};

use kafka_protocol::protocol::StrBytes;

use crate::observe::Observed;

/// The committed offsets of a group, and the pending ones of transactions.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    committed: BTreeMap<String, BTreeMap<i32, Commit>>,
    /// By producer id, topic and partition.
    pending: BTreeMap<i64, BTreeMap<(String, i32), Commit>>,
    /// The number of commits so far, pending ones included: a transaction that ends does not undo a later commit.
    commits: u64,
}

/// One offset, and its committer.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    topic: String,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    member: String,
    generation: i32,
    /// Its number among all commits of the group.
    number: u64,
}

impl Commit {
    pub(super) fn observed(self, at: Instant, group: &str) -> Observed {
        Observed::Committed {
            at,
            group: group.to_owned(),
            member: self.member,
            generation: self.generation,
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.to_string(),
        }
    }
}

impl Stored {
    fn commit(&mut self, mut commit: Commit) {
        self.commits += 1;
        commit.number = self.commits;
        self.committed.entry(commit.topic.clone()).or_default().insert(commit.partition, commit);
    }

    fn commit_in_transaction(&mut self, producer: i64, mut commit: Commit) {
        self.commits += 1;
        commit.number = self.commits;
        let at = (commit.topic.clone(), commit.partition);
        self.pending.entry(producer).or_default().insert(at, commit);
    }

    /// Ends a producer's transaction; returns the offsets that are the group's from now on.
    pub(super) fn end_transaction(&mut self, producer: i64, commit: bool) -> Vec<Commit> {
        let pending = self.pending.remove(&producer).unwrap_or_default();
        let mut done = Vec::new();
        for ((topic, partition), pending) in pending.into_iter().filter(|_| commit) {
            let partitions = self.committed.entry(topic).or_default();
            let newer = |present: &Commit| present.number > pending.number;
            if !partitions.get(&partition).is_some_and(newer) {
                partitions.insert(partition, pending.clone());
                done.push(pending);
            }
        }
        done
    }

    fn get(&self, topic: &str, partition: i32) -> Option<&Commit> {
        self.committed.get(topic)?.get(&partition)
    }

    /// Whether an open transaction has a pending offset here.
    fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        self.pending.values().any(|pending| pending.contains_key(&(topic.to_owned(), partition)))
    }

    fn forget(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.committed.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.committed.remove(topic);
            }
        }
        for pending in self.pending.values_mut() {
            pending.remove(&(topic.to_owned(), partition));
        }
    }

    /// Drops the offsets of all other topics.
    pub(super) fn keep_topics(&mut self, keep: impl Fn(&str) -> bool) {
        self.committed.retain(|topic, _| keep(topic));
        for pending in self.pending.values_mut() {
            pending.retain(|(topic, _), _| keep(topic));
        }
    }
}
