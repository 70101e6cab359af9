//! Tests against real Apache Kafka and Java's own clients. `scripts/test` runs them.
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch processes from outside: they wait, and have threads for it"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says where")]

mod modern;
mod membership;
mod library;
mod partitions;
mod groups;
mod company;
mod commands;
mod death;
mod flow;
mod records;
mod specimens;
mod refusals;
mod rough;
mod support;
