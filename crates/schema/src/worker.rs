//! Typed handlers for [`offtake_worker`]: what cannot be decoded is poison.

use std::{pin::Pin, sync::Arc, time::Duration};

use offtake::OwnedRecord;
use offtake_worker::{Attempt, Failure};
use serde::de::DeserializeOwned;

use crate::{
    deserializer::Deserializer,
    error::{DecodeError, DecodeErrorKind},
    typed::decode,
};

/// What handlers return.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A schema that is not known is waited for this long at a time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handler for [`Worker::run`](offtake_worker::Worker::run) that is given a record's value, decoded. A value that cannot be decoded is poison: the
/// record goes to the dead letters with its bytes and the reason. A registry that does not answer is none of the record's fault: the record waits for it,
/// however long that takes, with what is behind it in its order, and no [attempt](offtake_worker::Retry::attempts) is counted. (Each time it waits 30 s
/// for the registry, and then as after a first attempt.) The registry's own [events](crate::RegistryEvent) say that it is down. Where it answers, but
/// with no schema ([`RegistrySetup`](DecodeErrorKind::RegistrySetup)), the attempt fails and counts: no schema that is too large stops a partition for
/// ever. Where credentials may be wrong for a while, retry without a bound ([`unlimited`](offtake_worker::Retry::unlimited)), or with a
/// [breaker](offtake_worker::Breaker).
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

/// What a handler of one's own ends with where a value cannot be decoded: poison, or a failure that is retried, which is
/// [no attempt](Failure::without_attempt) at the record where the registry did not answer. (`?` alone makes every error one that is retried, and counted.)
pub fn failure(error: DecodeError) -> Failure {
    match error.kind() {
        DecodeErrorKind::Unavailable => Failure::retry(error).without_attempt(),
        _ if error.is_retriable() => Failure::retry(error),
        _ => Failure::poison(error),
    }
}
