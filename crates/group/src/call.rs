//! [`CoordinatorCall`]: one call to the coordinator, when it was sent, and to which broker.

use std::time::{Duration, Instant};

use offtake_machine::{BrokerId, Call, CallId, CallIds};

/// One kind of call, of which at most one is outstanding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoordinatorCall {
    call: Call,
    sent: Option<Sent>,
}

/// When a call was sent, and to which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) to: BrokerId,
}

impl CoordinatorCall {
    /// Nothing to send.
    pub(crate) const IDLE: Self = Self { call: Call::Idle, sent: None };

    /// A call to be sent at this time.
    pub(crate) fn due(at: Instant) -> Self {
        Self { call: Call::Due(at), sent: None }
    }

    /// Starts the call if its time has come. Returns the id to send it under.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        ids: &mut CallIds,
        timeout: Duration,
        to: BrokerId,
    ) -> Option<CallId> {
        let id = self.call.start(now, ids, timeout)?;
        self.sent = Some(Sent { at: now, to });
        Some(id)
    }

    /// If `id` answers this call, it becomes idle again. Returns when it was sent.
    pub(crate) fn take(&mut self, id: CallId) -> Option<Sent> {
        if self.call.take(id) { self.sent.take() } else { None }
    }

    pub(crate) fn awaits(&self, id: CallId) -> bool {
        self.call.awaits(id)
    }

    /// When it was sent and to which broker, if the answer is outstanding.
    pub(crate) fn sent(&self) -> Option<Sent> {
        self.sent.filter(|_| self.call.is_sent())
    }

    /// Gives the call up at this time, if that is before its deadline.
    pub(crate) fn give_up_by(&mut self, at: Instant) {
        if let Call::Sent { deadline, .. } = &mut self.call {
            *deadline = at.min(*deadline);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.call, Call::Idle)
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.call.is_sent()
    }

    /// Whether it is to be sent, now or later.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.call, Call::Due(_))
    }

    /// Whether it is to be sent now.
    pub(crate) fn is_due_by(&self, now: Instant) -> bool {
        matches!(self.call, Call::Due(at) if at <= now)
    }

    /// When to send it, or to give it up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// Whether it was sent and its deadline has passed.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.call.is_overdue(now)
    }
}
