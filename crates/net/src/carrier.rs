//! [`Carrier`]: the engine's interface for sending calls.

use std::task::{Context, Poll};

use offtake_machine::{BrokerId, Cluster, Transmit};

use crate::call::{Completion, Lane};

/// Sends calls to brokers and returns their results. [`Net`](crate::Net) does so over connections; a simulation can replace it,
/// to run an engine without connections.
pub trait Carrier: Send {
    /// See [`Net::send`](crate::Net::send).
    fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit);

    /// See [`Net::withdraw`](crate::Net::withdraw).
    fn withdraw(&mut self, tag: u64);

    /// See [`Net::next`](crate::Net::next).
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Completion>;

    /// See [`Net::update_brokers`](crate::Net::update_brokers).
    fn update_brokers(&mut self, cluster: &Cluster);

    /// See [`Net::learn_broker`](crate::Net::learn_broker).
    fn learn_broker(&mut self, id: BrokerId, host: &str, port: u16);

    /// See [`Net::forget_brokers`](crate::Net::forget_brokers).
    fn forget_brokers(&mut self);
}
