//! Closing a consumer.

use std::time::{Duration, Instant};

pub use offtake_group::GroupMembership;

use super::{Consumer, Group};
use crate::{
    clock,
    command::{Command, CommitBy, LAST_SECOND, Reply, SHORTEST_CLOSE},
    error::{ErrorKind, Result},
    health::MembershipState,
    ledger::Refusal,
};

/// How a consumer is closed (KIP-1092).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseOptions {
    /// The longest time that closing may take in all. Default: 30 s.
    pub timeout: Duration,
    /// Whether the member leaves the group. By default a dynamic member leaves and a static one stays.
    pub group_membership: GroupMembership,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), group_membership: GroupMembership::Default }
    }
}

impl CloseOptions {
    /// Sets this time limit, and the defaults otherwise.
    pub fn timeout(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }

    /// Leaves the group or stays in it, for static and dynamic members alike.
    #[must_use]
    pub fn group_membership(self, group_membership: GroupMembership) -> Self {
        Self { group_membership, ..self }
    }
}

impl Consumer {
    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, leaves the
    /// group, ends the fetch sessions and closes the connections, all within `timeout`. The commit gets at
    /// most nine tenths of that time, the other steps the rest. A static member stays in the group.
    ///
    /// If the next `poll` would have marked the records of the last one as finished
    /// (`enable.auto.offset.store`, the default), closing does so too, as in Java. An application that failed
    /// on one of them and wants it redelivered drops the consumer instead, or turns that off.
    ///
    /// With a timeout of less than a second, even zero, the commit and the LeaveGroup are still sent, as when
    /// the consumer is dropped. Their responses are awaited no longer than `timeout`, or 50 ms if that is
    /// longer; a commit that is not confirmed by then results in `Timeout`.
    ///
    /// Once this has ended, every call of a [`Handle`](crate::Handle) returns `Closed`.
    ///
    /// # Errors
    /// The listener's error, or that the last commit could not be made in time. (A commit that the group
    /// refuses is logged: its records are delivered again, to the next owner of the partition.) `Closed` if
    /// the engine had ended before, for example with the runtime that it was [spawned
    /// on](crate::Builder::spawn_on): nothing was committed then. In any case the consumer is closed.
    pub async fn close(self, timeout: Duration) -> Result<()> {
        self.close_with(CloseOptions::timeout(timeout)).await
    }

    /// The same, with a choice of what happens to the membership. A static member can leave for good
    /// ([`GroupMembership::Leave`]); a dynamic one can stop without a rebalance, for a restart within its
    /// session ([`GroupMembership::Remain`]; it returns as another member, so its partitions wait for its old
    /// session to expire).
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_with(mut self, options: CloseOptions) -> Result<()> {
        let CloseOptions { timeout, group_membership } = options;
        let deadline = clock::after(timeout.max(SHORTEST_CLOSE));
        let was_closing = self.inbox.set_closing();
        self.closing_is_a_poll();
        // If the deadline is shorter than a second, the rest is done in the background within a second, as
        // when dropped.
        let by = deadline.max(clock::after(LAST_SECOND));
        let handed_over = self.revoke_all(deadline, by, None).await;
        let closed = self.handle.ask(|reply| Command::Close { deadline: by, group_membership, reply });
        match clock::timeout_at(deadline, closed).await.unwrap_or(Ok(())) {
            // A handle closed it first.
            Err(error) if was_closing && error.kind() == ErrorKind::Closed => Ok(()),
            closed => handed_over.and(closed),
        }
    }

    /// For the duration of closing, the group does not wait for a `poll` of this member; otherwise it could
    /// be removed while its commit is in flight. A member that has already been removed must not rejoin.
    fn closing_is_a_poll(&self) {
        if self.handle.vitals.membership() != MembershipState::NotPolled {
            self.shared.poll_runs(clock::now());
            self.shared.poll_waits(clock::now());
        }
    }

    /// A handle closes the consumer, inside of `poll`: everything is revoked as in a rebalance, then the
    /// engine leaves the group.
    pub(super) fn close_for_handle(&mut self, deadline: Instant, reply: Reply<()>) {
        let group_membership = GroupMembership::Default;
        // With less than a second, the commit and the LeaveGroup are still sent.
        let by = deadline.max(clock::after(LAST_SECOND));
        let mut command = Some(Command::Close { deadline: by, group_membership, reply });
        if self.begin_to_leave(deadline, by, &mut command) {
            return;
        }
        self.group = Group::Leaving;
        let partitions: Vec<_> = self.delivery.owned().cloned().collect();
        self.log_giving_up(&partitions);
        if self.commits_by_itself() {
            self.report_finished();
            let _ = self.handle.send(Command::CommitFinished {
                deadline: by,
                by: CommitBy::Consumer,
                reply: None,
            });
        }
        self.give_up(&partitions, Refusal::ConsumerClosed);
        if let Some(command) = command {
            let _ = self.handle.send(command);
        }
    }
}

/// Dropping a consumer does in the background what needs no waiting: commits what the application has marked
/// as finished, if `enable.auto.commit` is on, and leaves the group.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.end_poll();
        if self.commits_by_itself() {
            self.report_finished();
        }
        let _ = self.handle.send(Command::Abandon { commits: self.commits_by_itself() });
    }
}
