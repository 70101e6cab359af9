//! What was asked for several things at once, and what became of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use crate::attempts::{AttemptError, Retry};
use offtake_client::{Error, Result};

/// Things of which some are done, some refused for good, and the others left to be asked for again.
#[derive(Debug)]
pub(super) struct Outcomes<K> {
    left: BTreeSet<K>,
    completed: BTreeMap<K, Result<()>>,
    /// What the last attempt met, of those that are left.
    failures: BTreeMap<K, AttemptError>,
}

impl<K: Ord + Clone + Display> Outcomes<K> {
    pub(super) fn of(all: impl IntoIterator<Item = K>) -> Self {
        Self { left: all.into_iter().collect(), completed: BTreeMap::new(), failures: BTreeMap::new() }
    }

    /// Those that the next attempt is about.
    pub(super) fn left(&mut self) -> Vec<K> {
        self.failures.clear();
        self.left.iter().cloned().collect()
    }

    /// What became of one; of one that is not left, or was not asked for, it changes nothing.
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

    /// The same became of all that are left.
    pub(super) fn complete_all(&mut self, became: impl Fn(&K) -> Result<(), AttemptError>) {
        for one in self.left() {
            let became = became(&one);
            self.complete(one, became);
        }
    }

    /// Whether the attempt completed all of them; else what stands in the way. `what` completes "cannot …".
    pub(super) fn attempted(&self, what: &str) -> Result<(), AttemptError> {
        // Where one of them passes by itself there is another attempt, and the others are in it.
        let passes = self.failures.values().find(|failure| failure.retry == Retry::UntilDeadline);
        match (passes.or_else(|| self.failures.values().next()), self.left.first()) {
            (Some(failure), _) => Err(AttemptError { error: failure.error.clone(), retry: failure.retry }),
            (None, Some(one)) => {
                Err(AttemptError::malformed(what, &format!("the coordinator's answer leaves {one} out")))
            }
            (None, None) => Ok(()),
        }
    }

    /// The end of all attempts; what is left failed for its own reason, or for the one that ended them.
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
    fn what_passes_is_asked_for_again_and_what_does_not_keeps_its_reason() {
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
    fn what_the_answer_leaves_out_is_not_done() {
        let mut each = Outcomes::of(["a", "b"]);
        each.complete("a", Ok(()));
        let failure = each.attempted("x").unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Malformed);
        assert!(failure.error.to_string().contains("leaves b out"), "{}", failure.error);
        let ended = each.ended(Err(failure.error));
        assert!(ended["a"].is_ok() && ended["b"].is_err());
    }
}
