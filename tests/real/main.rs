//! Tests against real Apache Kafka and Java's own clients, and against a second implementation of the protocol.
//! `scripts/test` runs them.
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch processes from outside: they wait, and have threads for it"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says where")]

mod acls;
mod administration;
mod assignor;
mod avro;
mod chaos;
mod commands;
mod commits;
mod company;
mod contract;
mod copying;
mod death;
mod deploy;
mod descriptors;
mod differential;
mod finishing;
mod flow;
mod groups;
mod lag;
mod library;
mod librdkafka;
mod limits;
mod losses;
mod membership;
mod mixed;
mod modern;
mod monitoring;
mod oracle;
mod partitions;
mod patience;
mod patterns;
mod piping;
mod producing;
mod records;
mod refusals;
mod replicas;
mod rough;
mod schemas;
mod seams;
mod security;
mod specimens;
mod statics;
mod strangers;
mod support;
mod transactions;
mod workers;
mod working;
