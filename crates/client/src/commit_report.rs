//! [`CommitReport`]: the result of a commit that failed in part.

use std::collections::BTreeMap;

use offtake_machine::TopicPartition;

use crate::error::{Error, Result};

/// The result of each partition of a commit that failed, at least in part: [`Error::commit_report`].
#[derive(Clone, Debug)]
pub struct CommitReport {
    outcomes: BTreeMap<TopicPartition, Result<()>>,
}

impl CommitReport {
    /// Every partition, with its error if it was not committed.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, Result<(), &Error>)> {
        self.outcomes.iter().map(|(partition, outcome)| (partition, outcome.as_ref().copied()))
    }

    /// The partitions that were committed.
    pub fn committed(&self) -> impl Iterator<Item = &TopicPartition> {
        self.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(partition, _)| partition)
    }

    /// The partitions that were not committed, each with its error.
    pub fn failed(&self) -> impl Iterator<Item = (&TopicPartition, &Error)> {
        self.iter().filter_map(|(partition, outcome)| Some((partition, outcome.err()?)))
    }

    /// The result of the commit as a whole: an error if any partition failed. It is the most severe of the
    /// partitions' errors, so that a retriable one means that every failed partition is retriable.
    ///
    /// # Errors
    /// That error, with the report.
    pub fn verdict(outcomes: BTreeMap<TopicPartition, Result<()>>) -> Result<()> {
        let report = Self { outcomes };
        let weight = |error: &Error| (error.is_fatal(), !error.is_retriable());
        let mut worst: Option<&Error> = None;
        for (_, error) in report.failed() {
            if worst.is_none_or(|worst| weight(error) > weight(worst)) {
                worst = Some(error);
            }
        }
        let Some(worst) = worst.cloned() else { return Ok(()) };
        let (failed, committed) = (report.failed().count(), report.committed().count());
        Err(worst.with_report(report, failed, committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, format!("{kind:?}"))
    }

    /// A retriable error means that every failed partition is retriable.
    #[test]
    fn h5_a_commit_fails_with_what_asks_most_of_the_application_and_tells_of_each_partition() {
        let (retriable, not_owned) = (error(ErrorKind::Timeout), error(ErrorKind::NotOwned));
        assert!(retriable.is_retriable() && !not_owned.is_retriable());
        for (first, second) in [(&retriable, &not_owned), (&not_owned, &retriable)] {
            let outcomes =
                [(orders(0), Err(first.clone())), (orders(1), Ok(())), (orders(2), Err(second.clone()))];
            let failed = CommitReport::verdict(outcomes.into()).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::NotOwned);
            let report = failed.commit_report().unwrap();
            assert!(report.committed().eq([&orders(1)]));
            let failed: Vec<_> = report.failed().map(|(of, error)| (of.clone(), error.kind())).collect();
            assert_eq!(failed, [(orders(0), first.kind()), (orders(2), second.kind())]);
            assert_eq!(report.iter().count(), 3);
        }
        assert!(CommitReport::verdict([(orders(0), Ok(()))].into()).is_ok());
    }

    /// One failed partition is named; of several, none is, but their number.
    #[test]
    fn a_failed_commit_names_its_partition_and_counts_the_others() {
        let failure = |partition: i32| error(ErrorKind::Timeout).with_partition(orders(partition));
        for (also_fails, also_done, message, partition) in [
            (false, false, "Timeout", Some(orders(0))),
            (false, true, "Timeout; 1 of its partitions were committed", Some(orders(0))),
            (true, false, "Timeout (and 1 more)", None),
            (true, true, "Timeout (and 1 more); 1 of its partitions were committed", None),
        ] {
            let mut outcomes = BTreeMap::from([(orders(0), Err(failure(0)))]);
            outcomes.extend(also_fails.then(|| (orders(1), Err(failure(1)))));
            outcomes.extend(also_done.then(|| (orders(2), Ok(()))));
            let failed = CommitReport::verdict(outcomes).unwrap_err();
            assert_eq!((failed.to_string().as_str(), failed.partition()), (message, partition.as_ref()));
        }
    }
}
