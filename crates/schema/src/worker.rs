//! Typed handlers for [`offtake_worker`]: what cannot be decoded is poison.

use std::{pin::Pin, sync::Arc, time::Duration};

use offtake::OwnedRecord;
use offtake_worker::{Attempt, Failure};
use serde::de::DeserializeOwned;

use crate::{deserializer::Deserializer, error::DecodeError, typed::decode};

/// What handlers return.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A schema that is not known is waited for this long before the attempt fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handler for [`Worker::run`](offtake_worker::Worker::run) that is given a record's value, decoded. A value that cannot be decoded is poison: the
/// record goes to the dead letters with its bytes and the reason. A registry that cannot be asked is none of the record's fault: the attempt fails,
/// and is made again as [`Retry`](offtake_worker::Retry) has it. Each such attempt waits 30 s for the registry and counts: what is out of them goes to
/// the dead letters, though it is sound. Where a registry may be down for longer, retry without a bound ([`unlimited`](offtake_worker::Retry::unlimited)).
///
/// The type owns what it has, as handlers outlive what records come in.
pub fn typed<D, V, F, T>(
    deserializer: D,
    handle: F,
) -> impl Fn(OwnedRecord, Attempt) -> HandlerFuture + Send + Sync + 'static
where
    D: Deserializer,
    V: DeserializeOwned + Send + 'static,
    F: Fn(V, OwnedRecord, Attempt) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let shared = Arc::new((deserializer, handle));
    move |record, attempt| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (deserializer, handle) = &*shared;
            let value = decode(deserializer, &record, PATIENCE).await.map_err(failure)?;
            handle(value, record, attempt).await
        })
    }
}

/// What a handler of one's own ends with where a value cannot be decoded: poison, or a failure that is retried where the registry could not be
/// asked. (`?` alone makes every error one that is retried.)
pub fn failure(error: DecodeError) -> Failure {
    if error.is_retriable() { Failure::retry(error) } else { Failure::poison(error) }
}
