//! Errors that only a consumer has.

pub(crate) use offtake_client::{Error, ErrorKind, Result};

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
