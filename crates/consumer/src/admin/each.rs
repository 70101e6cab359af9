//! What was asked for several things at once, and what became of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use super::trouble::{Again, Trouble};
use crate::error::{Error, Result};

/// Things of which some are done, some refused for good, and the others left to be asked for again.
#[derive(Debug)]
pub(super) struct Each<K> {
    left: BTreeSet<K>,
    settled: BTreeMap<K, Result<()>>,
    /// What the last attempt met, of those that are left.
    troubles: BTreeMap<K, Trouble>,
}

impl<K: Ord + Clone + Display> Each<K> {
    pub(super) fn of(all: impl IntoIterator<Item = K>) -> Self {
        Self { left: all.into_iter().collect(), settled: BTreeMap::new(), troubles: BTreeMap::new() }
    }

    /// Those that the next attempt is about.
    pub(super) fn left(&mut self) -> Vec<K> {
        self.troubles.clear();
        self.left.iter().cloned().collect()
    }

    /// What became of one; of one that is not left, or was not asked for, it changes nothing.
    pub(super) fn settle(&mut self, one: K, became: Result<(), Trouble>) {
        if !self.left.contains(&one) {
            return;
        }
        let ended = match became {
            Ok(()) => Ok(()),
            Err(Trouble { error, again: Again::Never }) => Err(error),
            Err(trouble) => {
                self.troubles.insert(one, trouble);
                return;
            }
        };
        self.left.remove(&one);
        self.settled.insert(one, ended);
    }

    /// The same became of all that are left.
    pub(super) fn settle_all(&mut self, became: impl Fn(&K) -> Result<(), Trouble>) {
        for one in self.left() {
            let became = became(&one);
            self.settle(one, became);
        }
    }

    /// Whether the attempt settled all of them; else what stands in the way. `what` completes "cannot …".
    pub(super) fn attempted(&self, what: &str) -> Result<(), Trouble> {
        // Where one of them passes by itself there is another attempt, and the others are in it.
        let passes = self.troubles.values().find(|trouble| trouble.again == Again::Yes);
        match (passes.or_else(|| self.troubles.values().next()), self.left.first()) {
            (Some(trouble), _) => Err(Trouble { error: trouble.error.clone(), again: trouble.again }),
            (None, Some(one)) => {
                Err(Trouble::malformed(what, &format!("the coordinator's answer leaves {one} out")))
            }
            (None, None) => Ok(()),
        }
    }

    /// The end of all attempts; what is left failed for its own reason, or for the one that ended them.
    pub(super) fn ended(mut self, ended: Result<()>) -> BTreeMap<K, Result<()>> {
        let Err(last) = ended else { return self.settled };
        for one in self.left {
            let own: Option<Error> = self.troubles.remove(&one).map(|trouble| trouble.error);
            self.settled.insert(one, Err(own.unwrap_or_else(|| last.clone())));
        }
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use offtake_wire::ErrorCode;

    use super::*;
    use crate::error::ErrorKind;

    fn refused(code: ErrorCode) -> Result<(), Trouble> {
        Err(Trouble::code("x", code, None))
    }

    #[test]
    fn what_passes_is_asked_for_again_and_what_does_not_keeps_its_reason() {
        let mut each = Each::of(["a", "b", "c"]);
        assert_eq!(each.left(), ["a", "b", "c"]);
        each.settle("a", Ok(()));
        each.settle("b", refused(ErrorCode::UnknownTopicOrPartition));
        each.settle("c", refused(ErrorCode::CoordinatorLoadInProgress));
        each.settle("nobody asked", Ok(()));
        assert_eq!(each.attempted("x").unwrap_err().again, Again::Yes);
        assert_eq!(each.left(), ["b", "c"]);
        each.settle("b", refused(ErrorCode::UnknownTopicOrPartition));
        each.settle("c", refused(ErrorCode::NonEmptyGroup));
        let trouble = each.attempted("x").unwrap_err();
        assert_eq!(trouble.again, Again::Soon);
        let ended = each.ended(Err(trouble.error));
        let codes = ended.values().map(|one| one.as_ref().err().and_then(Error::code));
        let expected = [None, Some(ErrorCode::UnknownTopicOrPartition), Some(ErrorCode::NonEmptyGroup)];
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_the_answer_leaves_out_is_not_done() {
        let mut each = Each::of(["a", "b"]);
        each.settle("a", Ok(()));
        let trouble = each.attempted("x").unwrap_err();
        assert_eq!(trouble.error.kind(), ErrorKind::Malformed);
        assert!(trouble.error.to_string().contains("leaves b out"), "{}", trouble.error);
        let ended = each.ended(Err(trouble.error));
        assert!(ended["a"].is_ok() && ended["b"].is_err());
    }
}
