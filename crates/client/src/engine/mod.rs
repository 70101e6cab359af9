//! Drives an engine: [`Engine`] is the interface of a client's engine to the loop, and [`run`] is the loop.
//!
//! An engine is a machine of machines. It owns no socket and reads no clock; it outputs the actions that it
//! wants. The loop waits, transfers requests to the brokers and responses back, and puts the output for the
//! application into [`Outputs`].

mod driver;
mod probe;
mod start;
mod transport;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, BrokerId, CallError, Cluster, Transmit};
use offtake_net::Lane;
use tokio::runtime;

pub use driver::run;
#[doc(hidden)] // for `builder_methods!`
pub use offtake_net::Carrier;
pub use start::{EngineFuture, Spawn, start};
pub use transport::Transport;

/// A client's engine, as the loop drives it: change it (`handle_*`), drain it (`poll_output`, then the
/// methods that concern brokers, until there is nothing more), and ask [`poll_timeout`](Self::poll_timeout)
/// when to call again.
pub trait Engine {
    /// A command of the handle.
    type Command;
    /// An output for the handle.
    type Output;

    /// Handles a command of the handle.
    fn handle_command(&mut self, now: Instant, command: Self::Command);

    /// There is no handle any more: the engine has to end by itself.
    fn handle_abandoned(&mut self, now: Instant);

    /// Handles the result of the call that [`poll_transmit`](Self::poll_transmit) gave this tag.
    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>);

    /// This broker closed a connection soon after requests that it does not answer: it may have refused them.
    fn handle_closed_unanswered(&mut self, now: Instant, broker: BrokerId) {
        let _ = (now, broker);
    }

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// The loop woke up this much later than it should have: the process or its machine stood still. It is
    /// called each time, mostly with microseconds, before any other input.
    fn handle_late_wakeup(&mut self, now: Instant, by: Duration);

    /// The machine was suspended for this time, a second or more, since the loop last ran: an [`Instant`]
    /// does not include that time, but it passed for everyone else. It is called before any other input.
    fn handle_suspension(&mut self, now: Instant, by: Duration) {
        let _ = (now, by);
    }

    /// The wall clock's time at `now`, in milliseconds since 1970. The clock may be set at any time; this is
    /// called each time the loop wakes up, before any other input.
    fn handle_wall_clock(&mut self, now: Instant, wall_ms: i64) {
        let _ = (now, wall_ms);
    }

    /// When to call again if nothing happens.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether everything is done; then the loop ends.
    fn is_closed(&self) -> bool;

    /// The next output for the handle.
    fn poll_output(&mut self, now: Instant) -> Option<Self::Output>;

    /// Whether to start again from the bootstrap servers, since the last call.
    fn take_rebootstrap(&mut self) -> bool;

    /// The newest view of the cluster, if it has changed since the last call.
    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>>;

    /// A broker's address from a source other than the metadata.
    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)>;

    /// A broker that will soon be sent a request on this lane, so that the connection can be made ahead.
    fn poll_dial(&mut self) -> Option<(BrokerId, Lane)> {
        None
    }

    /// The tag of a call that should not be sent any more, if it has not been sent yet.
    fn poll_withdrawal(&mut self) -> Option<u64>;

    /// The next request: its tag, which the answer will have, and the lane to send it on.
    fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)>;

    /// A runtime that should run a task that does nothing, so that the engine learns whether the runtime runs
    /// any task.
    fn poll_probe(&mut self, now: Instant) -> Option<runtime::Handle> {
        let _ = now;
        None
    }

    /// The runtime ran that task.
    fn handle_probe_answered(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Receives an engine's outputs.
pub trait Outputs<T> {
    /// Takes the next output. It may be kept until [`flush`](Self::flush), but later ones must not overtake
    /// it.
    fn push(&mut self, output: T);

    /// Hands over everything that has been kept.
    fn flush(&mut self);
}
