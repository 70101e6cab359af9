//! Tests whether another runtime runs tasks at all.

use tokio::{runtime, sync::oneshot};

/// A task that only reports that it ran. There is one at a time: the next one replaces the last.
#[derive(Debug, Default)]
pub(super) struct Probe(Option<oneshot::Receiver<()>>);

impl Probe {
    pub(super) fn send(&mut self, runtime: &runtime::Handle) {
        let (run, was_run) = oneshot::channel();
        runtime.spawn(async move {
            let _ = run.send(());
        });
        self.0 = Some(was_run);
    }

    /// Ready when the runtime has run it; never if it does not.
    pub(super) async fn answered(&mut self) {
        let answer = match &mut self.0 {
            Some(answer) => answer.await,
            None => std::future::pending().await,
        };
        self.0 = None;
        if answer.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
