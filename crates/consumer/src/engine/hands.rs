//! The loop's hands: connections, or what a simulation puts in their place.

use std::{future::poll_fn, time::Instant};

use offtake_machine::{BrokerId, Cluster, Transmit};
use offtake_net::{Carrier, Completion, Lane, Net};

use super::rooms::NetParts;

/// What hands are made of; they are made on the runtime that they run on.
pub(super) enum HandsParts {
    Net(Box<NetParts>),
    Given(Box<dyn Carrier>),
}

pub(super) enum Hands {
    Net(Box<Net>),
    Given(Box<dyn Carrier>),
}

impl HandsParts {
    pub(super) fn make(self) -> Hands {
        match self {
            Self::Net(parts) => Hands::Net(Box::new(parts.make())),
            Self::Given(carrier) => Hands::Given(carrier),
        }
    }
}

impl Hands {
    pub(super) fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        match self {
            Self::Net(net) => net.send(tag, lane, transmit),
            Self::Given(carrier) => carrier.send(tag, lane, transmit),
        }
    }

    pub(super) fn withdraw(&mut self, tag: u64) {
        match self {
            Self::Net(net) => net.withdraw(tag),
            Self::Given(carrier) => carrier.withdraw(tag),
        }
    }

    pub(super) async fn next(&mut self) -> Completion {
        match self {
            Self::Net(net) => net.next().await,
            Self::Given(carrier) => poll_fn(|cx| carrier.poll_next(cx)).await,
        }
    }

    pub(super) fn update_brokers(&mut self, cluster: &Cluster) {
        match self {
            Self::Net(net) => net.update_brokers(cluster),
            Self::Given(carrier) => carrier.update_brokers(cluster),
        }
    }

    pub(super) fn learn_broker(&mut self, id: BrokerId, host: &str, port: u16) {
        match self {
            Self::Net(net) => net.learn_broker(id, host, port),
            Self::Given(carrier) => carrier.learn_broker(id, host, port),
        }
    }

    pub(super) fn forget_brokers(&mut self) {
        match self {
            Self::Net(net) => net.forget_brokers(),
            Self::Given(carrier) => carrier.forget_brokers(),
        }
    }

    pub(super) async fn close(self, deadline: Instant) {
        match self {
            Self::Net(net) => net.close(deadline).await,
            Self::Given(carrier) => drop(carrier),
        }
    }
}
