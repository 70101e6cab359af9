//! A member's process: it can be stopped (SIGSTOP), resumed, and killed.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::task::AbortHandle;

use super::World;

/// The world's state of a member.
#[derive(Default)]
pub(crate) struct Process {
    /// Stopped, and until when.
    pub(crate) frozen: Option<Instant>,
    /// The tasks that were woken while it was stopped.
    pub(crate) waiting: Vec<Waker>,
    /// All its tasks, which end with it.
    pub(crate) tasks: Vec<AbortHandle>,
    /// The application does nothing until then.
    pub(crate) stalled: Option<Instant>,
}

impl Process {
    /// Whether it is to resume now.
    pub(crate) fn thaws(&self, now: Instant) -> bool {
        self.frozen.is_some_and(|until| until <= now)
    }

    /// Resumes.
    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

/// A future of a member, which stands still while the process is stopped.
pub(crate) struct Freezable<F: ?Sized> {
    world: World,
    member: usize,
    inner: Pin<Box<F>>,
}

impl<F: Future + ?Sized> Freezable<F> {
    pub(crate) fn new(world: World, member: usize, inner: Pin<Box<F>>) -> Self {
        Self { world, member, inner }
    }
}

impl<F: Future + ?Sized> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.world.is_frozen(self.member, cx) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(cx)
    }
}

impl World {
    /// Whether a member's process is stopped; if so the task is woken when it resumes.
    pub(crate) fn is_frozen(&self, member: usize, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        let process = state.processes.entry(member).or_default();
        if process.frozen.is_some() {
            process.waiting.push(cx.waker().clone());
        }
        process.frozen.is_some()
    }

    /// Wraps a future so that it stands still while a member's process is stopped.
    pub(crate) fn freezable<F: Future>(&self, member: usize, future: F) -> Freezable<F> {
        Freezable::new(self.clone(), member, Box::pin(future))
    }

    /// Spawns a task as part of a member's process.
    pub(crate) fn spawn<F>(&self, member: usize, future: Pin<Box<F>>) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + ?Sized + 'static,
        F::Output: Send,
    {
        let task = Freezable::new(self.clone(), member, future);
        #[expect(clippy::disallowed_methods, reason = "the arena is the loop here")]
        let handle = tokio::spawn(task);
        self.lock().processes.entry(member).or_default().tasks.push(handle.abort_handle());
        handle
    }
}
