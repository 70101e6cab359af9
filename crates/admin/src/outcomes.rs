//! The results of one operation on several items.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use crate::attempts::{AttemptError, Retry};
use offtake_client::{Error, Result};

/// Items of which some have succeeded, some were refused for good, and the others remain to be retried.
#[derive(Debug)]
pub(super) struct Outcomes<K> {
    left: BTreeSet<K>,
    completed: BTreeMap<K, Result<()>>,
    /// The failures of the last attempt, for the remaining items.
    failures: BTreeMap<K, AttemptError>,
}

impl<K: Ord + Clone + Display> Outcomes<K> {
    pub(super) fn of(all: impl IntoIterator<Item = K>) -> Self {
        Self { left: all.into_iter().collect(), completed: BTreeMap::new(), failures: BTreeMap::new() }
    }

    /// The items of the next attempt.
    pub(super) fn left(&mut self) -> Vec<K> {
        self.failures.clear();
        self.left.iter().cloned().collect()
    }

    /// Stores the result of one item. It has no effect for an item that is not left, or not requested.
    pub(super) fn complete(&mut self, one: K, became: Result<(), AttemptError>) {
        if !self.left.contains(&one) {
            return;
        }
        let ended = match became {
            Ok(()) => Ok(()),
            Err(AttemptError { error, retry: Retry::Never }) => Err(error),
            Err(failure) => {
                self.failures.insert(one, failure);
                return;
            }
        };
        self.left.remove(&one);
        self.completed.insert(one, ended);
    }

    /// Stores the same result for all remaining items.
    pub(super) fn complete_all(&mut self, became: impl Fn(&K) -> Result<(), AttemptError>) {
        for one in self.left() {
            let became = became(&one);
            self.complete(one, became);
        }
    }

    /// Whether the attempt completed all items; otherwise the reason. `what` completes "cannot …".
    pub(super) fn attempted(&self, what: &str) -> Result<(), AttemptError> {
        // If one item has a transient error, there is another attempt, which includes the others.
        let passes = self.failures.values().find(|failure| failure.retry == Retry::UntilDeadline);
        match (passes.or_else(|| self.failures.values().next()), self.left.first()) {
            (Some(failure), _) => Err(AttemptError { error: failure.error.clone(), retry: failure.retry }),
            (None, Some(one)) => {
                Err(AttemptError::malformed(what, &format!("{one} is missing in the coordinator's response")))
            }
            (None, None) => Ok(()),
        }
    }

    /// Ends all attempts. The remaining items fail with their own error, or with the one that ended the attempts.
    pub(super) fn ended(mut self, ended: Result<()>) -> BTreeMap<K, Result<()>> {
        let Err(last) = ended else { return self.completed };
        for one in self.left {
            let own: Option<Error> = self.failures.remove(&one).map(|failure| failure.error);
            self.completed.insert(one, Err(own.unwrap_or_else(|| last.clone())));
        }
        self.completed
    }
}

#[cfg(test)]
mod tests {
    use offtake_wire::ErrorCode;

    use super::*;
    use offtake_client::ErrorKind;

    fn refused(code: ErrorCode) -> Result<(), AttemptError> {
        Err(AttemptError::code("x", code, None))
    }

    #[test]
    fn retriable_errors_are_retried_and_final_ones_keep_their_reason() {
        let mut each = Outcomes::of(["a", "b", "c"]);
        assert_eq!(each.left(), ["a", "b", "c"]);
        each.complete("a", Ok(()));
        each.complete("b", refused(ErrorCode::UnknownTopicOrPartition));
        each.complete("c", refused(ErrorCode::CoordinatorLoadInProgress));
        each.complete("nobody asked", Ok(()));
        assert_eq!(each.attempted("x").unwrap_err().retry, Retry::UntilDeadline);
        assert_eq!(each.left(), ["b", "c"]);
        each.complete("b", refused(ErrorCode::UnknownTopicOrPartition));
        each.complete("c", refused(ErrorCode::NonEmptyGroup));
        let failure = each.attempted("x").unwrap_err();
        assert_eq!(failure.retry, Retry::AFewTimes);
        let ended = each.ended(Err(failure.error));
        let codes = ended.values().map(|one| one.as_ref().err().and_then(Error::code));
        let expected = [None, Some(ErrorCode::UnknownTopicOrPartition), Some(ErrorCode::NonEmptyGroup)];
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_entry_missing_in_the_response_counts_as_failed() {
        let mut each = Outcomes::of(["a", "b"]);
        each.complete("a", Ok(()));
        let failure = each.attempted("x").unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Malformed);
        assert!(failure.error.to_string().contains("b is missing"), "{}", failure.error);
        let ended = each.ended(Err(failure.error));
        assert!(ended["a"].is_ok() && ended["b"].is_err());
    }
}
