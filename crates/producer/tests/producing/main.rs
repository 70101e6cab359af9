//! A producer against a cluster in this process, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // tests have tasks and deadlines of their own

mod bounds;
mod closing;
mod faults;
mod sending;
mod support;
mod transactions;
