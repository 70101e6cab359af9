//! How a consumer is closed.

use std::time::{Duration, Instant};

pub use offtake_group::GroupMembership;

use super::{Consumer, Group};
use crate::{
    clock,
    command::{A_MOMENT, Command, LAST_SECOND, Reply},
    error::{ErrorKind, Result},
    health::MembershipState,
    ledger::Refusal,
};

/// How a consumer is closed (KIP-1092).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseOptions {
    /// How long it may take in all. 30 s unless said.
    pub timeout: Duration,
    /// What becomes of the membership. By default a dynamic member leaves and a static one keeps its place.
    pub group_membership: GroupMembership,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), group_membership: GroupMembership::Default }
    }
}

impl CloseOptions {
    /// Within this time, otherwise as by default.
    pub fn timeout(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }

    /// Leaves the group, or does not, whatever kind of member it is.
    #[must_use]
    pub fn group_membership(self, group_membership: GroupMembership) -> Self {
        Self { group_membership, ..self }
    }
}

impl Consumer {
    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, leaves the group, ends the
    /// fetch sessions and closes the connections, all within `timeout`, however long that is. The commit has nine tenths of
    /// it at most, and what comes after it the rest. A static member keeps its place in the group.
    ///
    /// Where the next `poll` would have said that the records of the last one are finished (`enable.auto.offset.store`, the
    /// default), closing says so too, as in Java: an application that failed on one of them and wants it again drops the
    /// consumer instead, or turns that off.
    ///
    /// With less than a second, also with none, the commit and the group's farewell are sent all the same, as when the consumer
    /// is dropped. Their answers are waited for no longer than `timeout`, or 50 ms if that is longer; a commit that is not
    /// confirmed by then ends in `Timeout`.
    ///
    /// Once this has ended, every call of a [`Handle`](crate::Handle) answers `Closed`.
    ///
    /// # Errors
    /// What the listener failed with, or that the last commit could not be made in time. (One that the group refuses is
    /// logged: its records are delivered again, to whoever owns them next.) `Closed` if the engine had ended before, such as with
    /// the runtime that it was [spawned on](crate::Builder::spawn_on): nothing was committed then. The consumer is closed all the
    /// same.
    pub async fn close(self, timeout: Duration) -> Result<()> {
        self.close_with(CloseOptions::timeout(timeout)).await
    }

    /// The same, and says what becomes of the membership: a static member can be made to leave for good
    /// ([`GroupMembership::Leave`]), a dynamic one to go without a rebalance, for a restart within its session
    /// ([`GroupMembership::Remain`]; it comes back as another member, so its partitions wait for its session to expire).
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_with(mut self, options: CloseOptions) -> Result<()> {
        let CloseOptions { timeout, group_membership } = options;
        let deadline = clock::after(timeout.max(A_MOMENT));
        let was_closing = self.inbox.set_closing();
        self.closing_is_a_poll();
        // Without the time to wait for it, what can be done in a second is done behind our back, as when dropped.
        let by = deadline.max(clock::after(LAST_SECOND));
        let handed_over = self.revoke_all(deadline, by, None).await;
        let closed = self.handle.ask(|reply| Command::Close { deadline: by, group_membership, reply });
        match clock::timeout_at(deadline, closed).await.unwrap_or(Ok(())) {
            // A handle was faster.
            Err(error) if was_closing && error.kind() == ErrorKind::Closed => Ok(()),
            closed => handed_over.and(closed),
        }
    }

    /// For as long as closing takes, the group does not wait for a `poll` of this member, which would be put out of it with what
    /// is being committed. One that is out of it already is not to come back.
    fn closing_is_a_poll(&self) {
        if self.handle.vitals.membership() != MembershipState::NotPolled {
            self.shared.poll_runs(clock::now());
            self.shared.poll_waits(clock::now());
        }
    }

    /// A handle closes the consumer, inside of `poll`: everything is revoked as in a rebalance, then the engine leaves.
    pub(super) fn close_for_handle(&mut self, deadline: Instant, reply: Reply<()>) {
        let group_membership = GroupMembership::Default;
        // With less than a second the commit and the group's farewell are sent all the same.
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
            let _ = self.handle.send(Command::CommitFinished { deadline: by, reply: None });
        }
        self.give_up(&partitions, Refusal::ConsumerClosed);
        if let Some(command) = command {
            let _ = self.handle.send(command);
        }
    }
}

/// A consumer that is dropped does in the background what can be done without waiting: what the application has said is
/// finished is committed if `enable.auto.commit` is on, and the group is left.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.end_poll();
        if self.commits_by_itself() {
            self.report_finished();
        }
        let _ = self.handle.send(Command::Abandon { commits: self.commits_by_itself() });
    }
}
