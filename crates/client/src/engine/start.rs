//! Starts the loop: on a thread of its own, or where the application chooses.

use std::{pin::Pin, thread};

use tokio::runtime::Runtime;

use crate::error::{Error, ErrorKind, Result};

/// A running engine: ends when its client is closed or dropped.
pub type EngineFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Passes an engine to the code that runs it.
pub type Spawn = Box<dyn FnOnce(EngineFuture) + Send>;

/// Runs the loop by `spawn`, or on a thread with this name and a small runtime.
///
/// # Errors
/// The runtime or the thread cannot be created.
pub fn start(
    spawn: Option<Spawn>,
    thread: &str,
    engine: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let Some(spawn) = spawn else { return start_thread(thread, engine) };
    spawn(Box::pin(engine));
    Ok(())
}

fn start_thread(name: &str, engine: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let cannot = |what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Closed, format!("cannot start the engine's {what}: {error}")).caused_by(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot("runtime", error))?;
    // If there is no thread, it is dropped here, in the caller's own runtime.
    let runtime = InAnyContext(Some(runtime));
    thread::Builder::new()
        .name(name.to_owned())
        // As a task among those of the connections it runs as soon as one of these has an answer. What `block_on` itself runs would
        // only do so after a look at all sockets.
        .spawn(move || {
            if let Some(runtime) = &runtime.0 {
                drop(runtime.block_on(runtime.spawn(engine)));
            }
        })
        .map_err(|error| cannot("thread", error))?;
    Ok(())
}

/// A runtime that may be dropped anywhere. (By itself it panics within another one.)
struct InAnyContext(Option<Runtime>);

impl Drop for InAnyContext {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where no thread can be made, its runtime is dropped in the one that the application builds its client in.
    #[tokio::test]
    async fn a_runtime_that_gets_no_thread_is_dropped_within_another_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        drop(InAnyContext(runtime.ok()));
    }
}
