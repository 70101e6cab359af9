//! [`Failure`]: the error of a handler.

use std::{error::Error, fmt, sync::Arc};

/// Why a record was not handled, and what is to follow.
///
/// Every [`std::error::Error`] converts into a failure that is retried, so that `?` works in a handler. (For that reason,
/// `Failure` itself is not an error.)
#[derive(Clone)]
pub struct Failure {
    kind: FailureKind,
    weight: Weight,
    cause: Arc<dyn Error + Send + Sync>,
}

/// How a failure that is retried counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It counts as an attempt at its record, and as an outcome for the breaker.
    Whole,
    /// It counts as an attempt only.
    Attempt,
    Nothing,
}

/// The consequence of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The record is retried, as configured by [`Retry`](crate::Retry). When its attempts are used up, it is dead-lettered or
    /// stops its partition.
    Retry,
    /// No retry can help: the record is dead-lettered at once, or stops its partition. As the error of a whole batch it does not
    /// tell which record that is: each is [tried alone](crate::Worker::run_batches) first.
    Poison,
    /// Nothing can be handled at present: the worker stops, and the record is not finished.
    Fatal,
}

impl Failure {
    /// A failure that may not happen again, for example a service that does not respond, or a row that is locked.
    pub fn retry(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Retry, why)
    }

    /// A failure that every attempt would repeat: the record does not parse, or contradicts known facts.
    pub fn poison(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Poison, why)
    }

    /// A failure that prevents all handling: the worker stops as at its shutdown, and [`run`](crate::Worker::run) returns
    /// [`Error::Fatal`](crate::Error::Fatal).
    pub fn fatal(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Fatal, why)
    }

    fn new(kind: FailureKind, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, weight: Weight::Whole, cause: Arc::from(why.into()) }
    }

    /// Keeps this failure from the [breaker](crate::Breaker). If many records fail for the same reason, for example because the
    /// connection broke that they shared, all but one of their failures should be marked so. Has an effect only on failures that
    /// are retried.
    #[must_use]
    pub fn not_counted_by_breaker(self) -> Self {
        Self { weight: Weight::Attempt, ..self }
    }

    /// Keeps this failure from the breaker, and does not count it as an attempt: the record was not tried, or not completely, for
    /// a reason that has nothing to do with it. It is retried after the delay of a first attempt, which doubles each further time
    /// in a row, up to 10 s (or the delay of a first attempt, if that is longer). Has an effect only on failures that are
    /// retried.
    #[must_use]
    pub fn without_attempt(self) -> Self {
        Self { weight: Weight::Nothing, ..self }
    }

    pub(crate) fn weight(&self) -> Weight {
        match self.kind {
            FailureKind::Retry => self.weight,
            FailureKind::Poison | FailureKind::Fatal => Weight::Whole,
        }
    }

    /// The consequence of the failure.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The error's message, followed by those of its sources unless they are already included. At most 1,000 characters.
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

/// The limit of a reason, which goes into a header and into events.
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
    fn only_what_is_retried_may_weigh_less() {
        let made = [Failure::retry, Failure::poison, Failure::fatal]
            .map(|make| make("no").without_attempt().weight());
        assert_eq!(made, [Weight::Nothing, Weight::Whole, Weight::Whole]);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let failure = Failure::poison("ä".repeat(5000));
        assert_eq!((failure.kind(), failure.reason().chars().count()), (FailureKind::Poison, 1000));
        assert_eq!(Failure::fatal("").reason(), "");
    }
}
