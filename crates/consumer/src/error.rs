//! Errors that only a consumer has.

pub(crate) use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::TopicPartition;

/// Of a commit that the coordinator does not answer.
pub(crate) const NOT_COMMITTED: &str = "the coordinator did not confirm the last commit in time: what was finished since the one before may be read again";

/// A call about a partition that is another member's, or nobody's.
pub(crate) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::NotOwned, format!("{partition} is not assigned to this consumer"))
        .with_partition(partition.clone())
}

/// A call of a consumer that is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer is closed")
}

/// Nobody has closed the consumer, and its engine is gone all the same.
pub(crate) fn engine_ended() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the consumer's engine has ended although nobody closed the consumer: the runtime that it was spawned on is gone, or it has panicked (which is a bug; the panic's message is on stderr); build another consumer",
    )
}
