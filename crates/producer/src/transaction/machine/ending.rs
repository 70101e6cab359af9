//! The end of a transaction, and what is reported to its caller.

use std::{collections::VecDeque, mem, time::Instant};

use offtake_client::{Error, ErrorKind};

use super::Event;

/// The intended end of a transaction.
#[derive(Debug)]
pub(super) struct End {
    pub(super) commits: bool,
    pub(super) progress: EndTxnProgress,
    caller: Caller,
    /// The last error of the coordinator.
    pub(super) last_error: Option<String>,
}

/// The progress of EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndTxnProgress {
    /// It may not be sent yet: a record of the transaction has no outcome.
    NotBefore,
    /// It was not carried out.
    No,
    /// It is in flight. `before`: an earlier attempt may have been carried out.
    InFlight { before: bool },
    /// No response said whether it was carried out.
    Unanswered,
}

/// The caller that requested the end.
#[derive(Clone, Copy, Debug)]
enum Caller {
    /// `until`: its timeout, set once all records have outcomes.
    Waits { until: Option<Instant> },
    /// It got its result.
    Informed,
}

impl EndTxnProgress {
    /// The progress after sending EndTxn.
    pub(super) fn sent(self) -> Self {
        Self::InFlight { before: self.may_be_done() }
    }

    /// The progress after a response that refused EndTxn.
    pub(super) fn refused(self) -> Self {
        match self {
            Self::InFlight { before: true } | Self::Unanswered => Self::Unanswered,
            Self::InFlight { before: false } | Self::No => Self::No,
            Self::NotBefore => Self::NotBefore,
        }
    }

    /// Whether any attempt may have been carried out.
    pub(super) fn may_be_done(self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::Unanswered)
    }
}

impl End {
    pub(super) fn new(commits: bool) -> Self {
        Self {
            commits,
            progress: EndTxnProgress::NotBefore,
            caller: Caller::Waits { until: None },
            last_error: None,
        }
    }

    /// Whether a record has no outcome yet.
    pub(super) fn awaits_records(&self) -> bool {
        self.progress == EndTxnProgress::NotBefore
    }

    /// Notes that all records have outcomes, so that the end can be requested. The caller waits until then.
    pub(super) fn on_records_settled(&mut self, until: Instant) {
        if self.awaits_records() {
            self.progress = EndTxnProgress::No;
        }
        if let Caller::Waits { until: waits } = &mut self.caller {
            *waits = Some(until);
        }
    }

    /// Notes that EndTxn was sent, and no response said whether it was carried out.
    pub(super) fn is_unanswered(&mut self) {
        if self.progress.may_be_done() {
            self.progress = EndTxnProgress::Unanswered;
        }
    }

    /// When the caller's wait times out.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        match self.caller {
            Caller::Waits { until } => until,
            Caller::Informed => None,
        }
    }

    /// Reports the result to the caller, once.
    pub(super) fn tell(&mut self, events: &mut VecDeque<Event>, result: Result<(), Error>) {
        if let Caller::Waits { .. } = mem::replace(&mut self.caller, Caller::Informed) {
            events.push_back(Event::Ended(result));
        }
    }
}

/// The error that reports an abort to the caller.
pub(super) fn aborted(why: &Error) -> Error {
    if why.kind() == ErrorKind::TransactionAborted {
        return why.clone();
    }
    let text = format!("the transaction is aborted, nothing of it is committed: {why}");
    let mut error = Error::new(ErrorKind::TransactionAborted, text).caused_by(why.clone());
    if let Some(code) = why.code() {
        error = error.with_code(code);
    }
    if let Some(partition) = why.partition() {
        error = error.with_partition(partition.clone());
    }
    error
}

/// The error for a transaction whose outcome is unknown.
pub(super) fn unknown(why: &str) -> Error {
    let text = format!(
        "whether the transaction was committed is not known; it may be: {why}. The next transaction waits until that is decided"
    );
    Error::new(ErrorKind::OutcomeUnknown, text)
}
