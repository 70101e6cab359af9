//! How a transaction ends, and what its caller is told of that.

use std::{collections::VecDeque, mem, time::Instant};

use offtake_client::{Error, ErrorKind};

use super::Event;

/// How a transaction is to end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) commits: bool,
    pub(super) asked: Asked,
    caller: Caller,
    /// What the coordinator said last.
    pub(super) trouble: Option<String>,
}

/// What may have become of EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It may not be sent yet: something that was sent of the transaction has no outcome.
    NotBefore,
    /// It was not carried out.
    No,
    /// It is on its way. `before`: one before may have been carried out.
    InFlight { before: bool },
    /// No answer said whether it was carried out.
    Unanswered,
}

/// Whoever asked for the end.
#[derive(Clone, Copy, Debug)]
enum Caller {
    /// `until`: as long as that, once all that was sent has an outcome.
    Waits { until: Option<Instant> },
    /// It knows all that it will be told.
    Told,
}

impl Asked {
    /// It is sent.
    pub(super) fn sent(self) -> Self {
        Self::InFlight { before: self.may_be_done() }
    }

    /// It was answered: not carried out.
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
        Self { commits, asked: Asked::NotBefore, caller: Caller::Waits { until: None }, trouble: None }
    }

    /// Whether something that was sent has no outcome yet.
    pub(super) fn awaits_records(&self) -> bool {
        self.asked == Asked::NotBefore
    }

    /// All that was sent has an outcome: it can end, and its caller waits until then.
    pub(super) fn on_records_settled(&mut self, until: Instant) {
        if self.awaits_records() {
            self.asked = Asked::No;
        }
        if let Caller::Waits { until: waits } = &mut self.caller {
            *waits = Some(until);
        }
    }

    /// It was sent, and there is no answer that says whether it was carried out.
    pub(super) fn is_unanswered(&mut self) {
        if self.asked.may_be_done() {
            self.asked = Asked::Unanswered;
        }
    }

    /// How long its caller waits.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        match self.caller {
            Caller::Waits { until } => until,
            Caller::Told => None,
        }
    }

    /// Says how it ended, once.
    pub(super) fn tell(&mut self, events: &mut VecDeque<Event>, result: Result<(), Error>) {
        if let Caller::Waits { .. } = mem::replace(&mut self.caller, Caller::Told) {
            events.push_back(Event::Ended(result));
        }
    }
}

/// Why a transaction is aborted, as its caller is told.
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

/// Nobody knows whether a transaction was committed.
pub(super) fn unknown(why: &str) -> Error {
    let text = format!(
        "whether the transaction was committed is not known; it may be: {why}. The next transaction waits until that is decided"
    );
    Error::new(ErrorKind::OutcomeUnknown, text)
}
