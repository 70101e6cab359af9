//! Errors that only a consumer has.

pub(crate) use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::TopicPartition;

/// The text for a commit that the coordinator does not answer.
pub(crate) const NOT_COMMITTED: &str = "the coordinator did not confirm the last commit in time: records finished since the previous commit may be read again";

/// The error for a partition that is not owned by this consumer.
pub(crate) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::NotOwned, format!("{partition} is not assigned to this consumer"))
        .with_partition(partition.clone())
}

/// The error for a call to a closed consumer.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer is closed")
}

/// The error if the engine has ended although the consumer was not closed.
pub(crate) fn engine_ended() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the consumer's engine has ended although nobody closed the consumer: the runtime that it was spawned on is gone, or it has panicked (which is a bug; the panic's message is on stderr); build another consumer",
    )
}
