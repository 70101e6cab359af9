//! A waker that notes that it was used: so the engine can tell an application that waits from one that is not run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::{clock, shared::Shared};

/// The waker of the task that polls, behind one that notes it. Made anew only when another task polls.
#[derive(Debug, Default)]
pub(crate) struct Waking(Option<(Arc<Noting>, Waker)>);

#[derive(Debug)]
struct Noting {
    shared: Arc<Shared>,
    task: Waker,
    /// Whether that task is the one that polls.
    current: AtomicBool,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.current.load(Ordering::Relaxed) {
            self.shared.poll_is_woken(clock::now());
        }
        self.task.wake_by_ref();
    }
}

impl Waking {
    /// What to poll with in place of `task`.
    pub(crate) fn of(&mut self, task: &Waker, shared: &Arc<Shared>) -> Waker {
        if let Some((noting, waker)) = &self.0 {
            if noting.task.will_wake(task) {
                return waker.clone();
            }
            noting.current.store(false, Ordering::Relaxed);
        }
        let (shared, current) = (shared.clone(), AtomicBool::new(true));
        let noting = Arc::new(Noting { shared, task: task.clone(), current });
        let waker = Waker::from(noting.clone());
        self.0 = Some((noting, waker.clone()));
        waker
    }
}
