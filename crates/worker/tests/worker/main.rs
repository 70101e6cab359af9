//! Whole workers against an embedded cluster, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // tests have tasks and deadlines of their own

mod chaos;
mod dead_letters;
mod exactly_once;
mod examples;
mod first_day;
mod handlers;
mod in_place;
mod memory;
mod options;
mod outcomes;
mod rebalances;
mod retry_topics;
mod stops;
mod support;
mod transactional;
