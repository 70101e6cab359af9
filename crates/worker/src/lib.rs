#![doc = include_str!("../README.md")]

mod breaker;
mod clock;
pub mod dead_letters;
mod error;
mod event;
mod failure;
mod handle;
mod handler;
mod machine;
mod metrics;
mod order;
mod output;
mod producing;
mod retry;
mod run;
mod summary;
mod trace;
mod transactions;
mod worker;

pub use breaker::{Breaker, BreakerState};
pub use dead_letters::{DeadLetterHeaders, DeadLetters};
pub use error::Error;
pub use event::{Event, StopReason, StoppedPartition};
pub use failure::{Failure, FailureKind};
pub use handle::WorkerHandle;
pub use handler::{Attempt, Batch, FirstFailure, Handled};
pub use metrics::{Histogram, Metrics, PartitionMetrics};
pub use offtake_producer::ProducerRecord;
pub use order::Order;
pub use retry::Retry;
pub use summary::Summary;
pub use trace::TraceContext;
pub use transactions::Transactions;
pub use worker::Worker;
