//! Handlers that block their threads, in virtual time.
//!
//! Each has a thread of its own, and a task of the arena that represents it. One of the two runs: the task hands over to the thread and
//! waits for it in real time; the thread hands back where it would block, and says for how long. So the run is reproducible, and the clock,
//! which moves when all tasks wait, accounts for blocking handlers. (On the runtime's own threads for blocking work it would stand still
//! while one of them is busy.)

use std::{
    cell::RefCell,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use crate::clock;

/// The thread's end of the baton.
struct Baton {
    says: Sender<Duration>,
    goes_on: Receiver<()>,
}

thread_local! {
    static BATON: RefCell<Option<Baton>> = const { RefCell::new(None) };
}

/// The arena's end of the baton.
struct Thread {
    /// `None` when the process has died.
    go_on: Option<Sender<()>>,
    /// For how long it blocks; closed when it ends.
    blocks: Receiver<Duration>,
}

impl Thread {
    fn start(job: Box<dyn FnOnce() + Send>) -> Self {
        let (says, blocks) = channel();
        let (go_on, goes_on) = channel();
        let runtime = tokio::runtime::Handle::current();
        let begun = thread::Builder::new().spawn(move || {
            // The clock is the runtime's.
            let _inside = runtime.enter();
            if goes_on.recv().is_ok() {
                BATON.set(Some(Baton { says, goes_on }));
                job();
                // This ends it.
                BATON.take();
            }
        });
        // If no thread can be started, the handler fails at once.
        drop(begun);
        Self { go_on: Some(go_on), blocks }
    }

    /// Lets the thread run until it blocks, and returns for how long; `None` when it has ended.
    fn runs(&self) -> Option<Duration> {
        self.go_on.as_ref()?.send(()).ok()?;
        self.blocks.recv().ok()
    }
}

impl Drop for Thread {
    /// The process died: the thread's work goes no further.
    fn drop(&mut self) {
        self.go_on = None;
        while self.blocks.recv().is_ok() {}
    }
}

/// Runs something that blocks.
pub(super) async fn run(job: Box<dyn FnOnce() + Send>) {
    let thread = Thread::start(job);
    while let Some(time) = thread.runs() {
        clock::sleep(time).await;
    }
}

/// Blocks for this long. Returns false when the process is dead: the caller then returns at once.
pub(super) fn block(time: Duration) -> bool {
    BATON.with_borrow(|baton| {
        let Some(Baton { says, goes_on }) = baton else { return false };
        says.send(time).is_ok() && goes_on.recv().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::ms;

    #[tokio::test(start_paused = true)]
    async fn threads_take_turns_in_virtual_time() {
        let began = clock::now();
        let log: Arc<Mutex<Vec<(u64, &str)>>> = Arc::default();
        let job = |name: &'static str, times: [u64; 3]| {
            let log = Arc::clone(&log);
            let job = move || {
                for time in times {
                    assert!(block(ms(time)));
                    let at = clock::now().saturating_duration_since(began);
                    log.lock().unwrap().push((u64::try_from(at.as_millis()).unwrap(), name));
                }
            };
            run(Box::new(job))
        };
        tokio::join!(job("a", [10, 20, 30]), job("b", [5, 10, 40]));
        assert_eq!(*log.lock().unwrap(), [(5, "b"), (10, "a"), (15, "b"), (30, "a"), (55, "b"), (60, "a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_whose_process_dies_goes_on_no_more() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let noted = Arc::clone(&log);
        let job = Box::new(move || {
            let lives = [block(ms(10)), block(ms(10)), block(ms(10))];
            noted.lock().unwrap().extend(lives);
        });
        let died = tokio::time::timeout(ms(15), run(job)).await;
        assert!(died.is_err());
        assert_eq!(*log.lock().unwrap(), [true, false, false], "and it has ended when it is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_has_ended() {
        let job = Box::new(|| std::panic::resume_unwind(Box::new("no")));
        tokio::time::timeout(ms(10), run(job)).await.unwrap();
    }
}
