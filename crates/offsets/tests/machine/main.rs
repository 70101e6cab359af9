//! The offsets machine, driven by literal answers and by random histories. Names cite the rows of the failure catalogue.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod brokers;
mod commit;
mod histories;
mod query;
mod start;
mod support;
mod validate;
