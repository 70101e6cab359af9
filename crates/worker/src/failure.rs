//! [`Failure`]: what a handler ends with when a record is not done.

use std::{error::Error, fmt, sync::Arc};

/// Why a record is not done, and what is to become of it.
///
/// Every [`std::error::Error`] converts into one that is retried, so that `?` does in a handler. (That is why this is no error itself.)
#[derive(Clone)]
pub struct Failure {
    kind: FailureKind,
    weight: Weight,
    cause: Arc<dyn Error + Send + Sync>,
}

/// What a failure that is retried counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// An attempt at its record, and an outcome for the breaker.
    Whole,
    /// An attempt.
    Attempt,
    Nothing,
}

/// What is to become of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It is tried again, as [`Retry`](crate::Retry) has it; out of attempts, it is dead-lettered or stops its partition.
    Retry,
    /// No attempt can mend it: it is dead-lettered at once, or stops its partition.
    Poison,
    /// Nothing can be done as things are: the worker stops, and the record is not finished.
    Fatal,
}

impl Failure {
    /// It may go better the next time: a service that does not answer, a row that is locked.
    pub fn retry(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Retry, why)
    }

    /// It cannot be handled, however often it is tried: it does not parse, or contradicts what is known.
    pub fn poison(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Poison, why)
    }

    /// Nothing can be handled: the worker stops as at its shutdown, and [`run`](crate::Worker::run) fails with
    /// [`Error::Fatal`](crate::Error::Fatal).
    pub fn fatal(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Fatal, why)
    }

    fn new(kind: FailureKind, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, weight: Weight::Whole, cause: Arc::from(why.into()) }
    }

    /// The same, of which the [breaker](crate::Breaker) is told nothing: for all but one of the failures that have one reason, as when a connection breaks over which
    /// many records were handled. Of a failure that is retried.
    #[must_use]
    pub fn of_shared_cause(self) -> Self {
        Self { weight: Weight::Attempt, ..self }
    }

    /// The same, which is no attempt at its record, and of which the breaker is told nothing: the record was not tried, or not to its end, for a reason that it has
    /// nothing to do with. It waits as after a first attempt, and each further time in a row twice as long, up to 10 s (or what it waits after a first attempt, if that is longer). Of a failure that is retried.
    #[must_use]
    pub fn without_attempt(self) -> Self {
        Self { weight: Weight::Nothing, ..self }
    }

    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    /// What is to become of the record.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Why it is not done: the error's message, and those of its sources where it does not have them already. At most 1,000 characters.
    pub fn reason(&self) -> String {
        let mut reason = self.cause.to_string();
        let mut source = self.cause.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            source = error.source();
        }
        match reason.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => reason.get(..end).unwrap_or_default().to_owned(),
            None => reason,
        }
    }

    /// The error.
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

/// A reason goes into a header and into events.
const LONGEST_REASON: usize = 1000;

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("kind", &self.kind).field("cause", &self.cause).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number of an order")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_retried_and_its_reason_has_its_sources() {
        let failed = || -> Result<i32, Failure> { Ok("x".parse::<i32>().map_err(Outer)?) };
        let failure = failed().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Retry);
        assert_eq!(failure.reason(), "no number of an order: invalid digit found in string");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let failure = Failure::poison("ä".repeat(5000));
        assert_eq!((failure.kind(), failure.reason().chars().count()), (FailureKind::Poison, 1000));
        assert_eq!(Failure::fatal("").reason(), "");
    }
}
