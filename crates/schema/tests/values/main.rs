//! Typed consumers and handlers on an embedded cluster, in virtual time; and the registry's client on sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "tests have tasks and deadlines of their own")]

mod corpus;
mod gate;
mod hostile;
mod http;
mod secured;
mod serializer;
mod support;
#[cfg(feature = "worker")]
mod workers;
