//! Driving an engine: [`Engine`] is what a client's engine looks like to the loop, [`run`] the loop.
//!
//! An engine is a machine of machines. It owns no socket and reads no clock; what it wants done comes out of it. The loop
//! waits, and carries requests to the brokers, answers back, and what the application is to get into [`Outputs`].

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

/// A client's engine, as the loop drives it: change it (`handle_*`), drain it (`poll_output`, then what concerns brokers, until
/// nothing more comes), ask [`poll_timeout`](Self::poll_timeout) when to come back.
pub trait Engine {
    /// What the handle asks for.
    type Command;
    /// What the handle is to get.
    type Output;

    /// The handle wants something.
    fn handle_command(&mut self, now: Instant, command: Self::Command);

    /// There is no handle any more: the engine ends in its own time.
    fn handle_abandoned(&mut self, now: Instant);

    /// The result of the call that [`poll_transmit`](Self::poll_transmit) gave this tag.
    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>);

    /// This broker closed a connection soon after requests that it does not answer: it may have refused them.
    fn handle_closed_unanswered(&mut self, now: Instant, broker: BrokerId) {
        let _ = (now, broker);
    }

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// The loop woke up so much later than it should have: the process or its machine stood still. It is called each time,
    /// mostly with microseconds, before the engine hears of anything else.
    fn handle_late_wakeup(&mut self, now: Instant, by: Duration);

    /// The machine was suspended for so long, a second or more, since the loop last ran: time that no [`Instant`] has in it, and
    /// everybody else. It is called before the engine hears of anything else.
    fn handle_suspension(&mut self, now: Instant, by: Duration) {
        let _ = (now, by);
    }

    /// What the clock on the wall shows `now`, in milliseconds since 1970. It may be set at any time; it is given each time that the loop
    /// wakes up, before the engine hears of anything else.
    fn handle_wall_clock(&mut self, now: Instant, wall_ms: i64) {
        let _ = (now, wall_ms);
    }

    /// When to come back though nothing happens.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether all is done; then the loop ends.
    fn is_closed(&self) -> bool;

    /// The next thing that the handle is to get.
    fn poll_output(&mut self, now: Instant) -> Option<Self::Output>;

    /// Whether to begin again from the bootstrap servers, since the last call.
    fn take_rebootstrap(&mut self) -> bool;

    /// The newest view of the cluster, if it changed since the last call.
    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>>;

    /// A broker's address that came from elsewhere than the metadata.
    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)>;

    /// A broker that will be sent a request on this lane soon, so that the connection can be made meanwhile.
    fn poll_dial(&mut self) -> Option<(BrokerId, Lane)> {
        None
    }

    /// The tag of a call that is not to be sent any more, if it has not been sent yet.
    fn poll_withdrawal(&mut self) -> Option<u64>;

    /// The next request: its tag, which the answer will bear, and the lane that it takes.
    fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)>;

    /// A runtime that is to run a task that does nothing, so that the engine learns whether it runs any.
    fn poll_probe(&mut self, now: Instant) -> Option<runtime::Handle> {
        let _ = now;
        None
    }

    /// The runtime ran that task.
    fn handle_probe_answered(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Where an engine's outputs go.
pub trait Outputs<T> {
    /// Takes the next one. It may be kept until [`flush`](Self::flush), and what comes after it may not overtake it.
    fn push(&mut self, output: T);

    /// Hands over whatever has been kept.
    fn flush(&mut self);
}
