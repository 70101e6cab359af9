//! Typed handlers for [`offtake_worker`]: records that cannot be decoded are poison.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use offtake::OwnedRecord;
use offtake_client::clock;
use offtake_worker::{Attempt, Failure};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    deserializer::{Deserializer, Prepared},
    error::{DecodeError, DecodeErrorKind},
    id::SchemaId,
    typed::decode_with,
};

/// The future of a handler.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The timeout of one request for an unknown schema.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a record keeps its place at the handlers meanwhile, from the start of the request on.
const AT_HANDLER: Duration = Duration::from_secs(1);
/// A deserializer that exceeds its limit is abandoned after this time.
const NO_LONGER: Duration = Duration::from_secs(60);
/// How long a result is kept for records that have not returned for it.
const KEPT: Duration = Duration::from_secs(60);
/// How long a failure is kept, which may be corrected meanwhile: longer than the 10 s that a record waits before it returns.
const FAILURE_KEPT: Duration = Duration::from_secs(15);

/// A handler for [`Worker::run`](offtake_worker::Worker::run) that gets a record's decoded value. A value that cannot be decoded
/// is poison: the record goes to the dead letters with its bytes and the reason. If the registry does not respond, that is not
/// the record's fault: the record waits, without a limit, together with the records ordered after it, and no
/// [attempt](offtake_worker::Retry::attempts) is counted. (It keeps its place at the handlers for the first second, or half of
/// [`Worker::timeout`](offtake_worker::Worker::timeout) if that is less; then it waits [longer each
/// time](Failure::without_attempt), while the registry is queried for 30 s at a time.) The registry's own
/// [events](crate::RegistryEvent) report the outage. If the registry responds, but without a schema
/// ([`RegistrySetup`](DecodeErrorKind::RegistrySetup)), the attempt fails and counts, so that for example an oversized schema
/// does not stop a partition for ever. (With several URLs, this holds only while each of them responds.) If credentials may be
/// wrong for a while, retry without a limit ([`unlimited`](offtake_worker::Retry::unlimited)), or use a
/// [breaker](offtake_worker::Breaker).
///
/// The type has to own its data, because handlers outlive the fetched bytes.
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
    let shared = Arc::new((SchemaRequests::new(deserializer), handle));
    move |record, attempt| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (requests, handle) = &*shared;
            let prepare = |id| requests.prepared(id, attempt.limit());
            let value = decode_with(&*requests.by, &record, prepare).await.map_err(failure)?;
            handle(value, record, attempt).await
        })
    }
}

/// Requests for schemas, which continue while the records that need them are not at a handler. There are no more than the records
/// waiting at the worker, and those whose records were given up recently.
struct SchemaRequests<D> {
    by: Arc<D>,
    open: Arc<Open>,
}

type Open = Mutex<HashMap<SchemaId, SchemaRequest>>;

/// A request without a result, or whose result was not used yet.
struct SchemaRequest {
    began: Instant,
    answer: Receiver,
    /// Ends with the request, and removes it when its result is no longer kept.
    _task: JoinSet<()>,
}

type Receiver = watch::Receiver<Option<Answer>>;

struct Answer {
    told: Result<Prepared, DecodeError>,
    kept_until: Instant,
}

impl<D: Deserializer> SchemaRequests<D> {
    fn new(by: D) -> Self {
        Self { by: Arc::new(by), open: Arc::default() }
    }

    /// The data for decoding with a schema. If that takes long, the time does not count as the attempt's, which ends in time for
    /// another record.
    async fn prepared(&self, id: SchemaId, limit: Option<Duration>) -> Result<Prepared, DecodeError> {
        let (began, mut answer) = self.request(id);
        let half = limit.map(|limit| clock::after(limit / 2));
        let until = clock::later(began, AT_HANDLER);
        let until = half.map_or(until, |half| half.min(until));
        let told = clock::timeout_at(until, answer.wait_for(Option::is_some)).await;
        let told = told.and_then(|told| told.ok()?.as_ref().map(|answer| answer.told.clone()));
        if told.is_some() {
            close(&self.open, id, &answer);
        }
        told.unwrap_or_else(|| Err(not_told(id)))
    }

    /// The request for a schema, and its start.
    fn request(&self, id: SchemaId) -> (Instant, Receiver) {
        let now = clock::now();
        let mut open = lock(&self.open);
        if let Some(request) = open.get(&id)
            && request.answer.borrow().as_ref().is_none_or(|answer| now < answer.kept_until)
        {
            return (request.began, request.answer.clone());
        }
        let (tells, answer) = watch::channel(None);
        let (by, own, among) = (Arc::clone(&self.by), answer.clone(), Arc::downgrade(&self.open));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let told = told(by, id).await;
            let kept_until = clock::after(if told.is_ok() { KEPT } else { FAILURE_KEPT });
            tells.send_replace(Some(Answer { told, kept_until }));
            let _ = clock::timeout_at(kept_until, std::future::pending::<()>()).await;
            if let Some(open) = among.upgrade() {
                close(&open, id, &own);
            }
        });
        let before = open.insert(id, SchemaRequest { began: now, answer: answer.clone(), _task: task });
        drop(open);
        drop(before);
        (now, answer)
    }
}

/// Sends the request in a task of its own, because a deserializer may panic.
async fn told<D: Deserializer>(by: Arc<D>, id: SchemaId) -> Result<Prepared, DecodeError> {
    let mut asking = JoinSet::new();
    asking.spawn(async move { by.prepare(id, PATIENCE).await });
    match clock::timeout(NO_LONGER, asking.join_next()).await.flatten() {
        Some(Ok(told)) => told,
        Some(Err(_)) => {
            let reason = format!("the request for schema {id} panicked");
            Err(DecodeError::new(DecodeErrorKind::RegistrySetup, reason))
        }
        None => Err(not_told(id)),
    }
}

fn not_told(id: SchemaId) -> DecodeError {
    let reason = format!("the registry has not returned schema {id} yet");
    DecodeError::new(DecodeErrorKind::Unavailable, reason)
}

/// Removes a request, unless there is a newer one for the same schema.
fn close(open: &Open, id: SchemaId, answer: &Receiver) {
    let mut open = lock(open);
    let is_this = open.get(&id).is_some_and(|request| request.answer.same_channel(answer));
    let closed = if is_this { open.remove(&id) } else { None };
    drop(open);
    drop(closed);
}

fn lock(open: &Open) -> MutexGuard<'_, HashMap<SchemaId, SchemaRequest>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The failure for custom handlers when a value cannot be decoded: poison, or a failure that is retried. If the registry did not
/// respond, it is [not counted as an attempt](Failure::without_attempt). (`?` alone would make every error one that is retried
/// and counted.)
pub fn failure(error: DecodeError) -> Failure {
    match error.kind() {
        DecodeErrorKind::Unavailable => Failure::retry(error).without_attempt(),
        _ if error.is_retriable() => Failure::retry(error),
        _ => Failure::poison(error),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{deserializer::PrepareFuture, payload::Payload};

    const ID: SchemaId = SchemaId::Id(7);

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn pass(time: Duration) {
        let _ = clock::timeout(time, std::future::pending::<()>()).await;
    }

    /// Responds after 3 s; until the schema is registered, that there is none.
    struct Slow {
        registered: Instant,
        schema: Arc<()>,
    }

    impl Slow {
        fn new(registered: u64) -> Self {
            Self { registered: clock::after(seconds(registered)), schema: Arc::default() }
        }
    }

    impl Deserializer for Slow {
        fn prepare(&self, _: SchemaId, _: Duration) -> PrepareFuture<'_> {
            Box::pin(async move {
                pass(seconds(3)).await;
                if clock::now() < self.registered {
                    return Err(DecodeError::new(DecodeErrorKind::UnknownSchema, "not there"));
                }
                Ok(Prepared::holding(Arc::clone(&self.schema)))
            })
        }

        fn deserialize<'a, V: Deserialize<'a>>(&self, _: &Payload<'a>) -> Result<V, DecodeError> {
            crate::deserializer::of_null()
        }
    }

    async fn kind<D: Deserializer>(requests: &SchemaRequests<D>) -> Result<(), DecodeErrorKind> {
        requests.prepared(ID, None).await.map(drop).map_err(|error| error.kind())
    }

    /// For example, its partition was assigned elsewhere for a while.
    #[tokio::test(start_paused = true)]
    async fn a_failure_is_no_verdict_on_a_record_that_comes_for_it_much_later() {
        let requests = SchemaRequests::new(Slow::new(10));
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable));
        pass(seconds(10)).await; // as long as a record waits at most
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::UnknownSchema));

        let requests = SchemaRequests::new(Slow::new(10));
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable));
        pass(seconds(19)).await;
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable), "it is asked for anew");
        pass(seconds(10)).await;
        assert_eq!(kind(&requests).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_is_not_collected_is_dropped_in_time() {
        let requests = SchemaRequests::new(Slow::new(0));
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable));
        pass(seconds(10)).await;
        assert_eq!(Arc::strong_count(&requests.by.schema), 2);
        pass(KEPT).await;
        assert_eq!((Arc::strong_count(&requests.by.schema), lock(&requests.open).len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collected_result_is_not_requested_again_and_ends_no_later_request() {
        let requests = SchemaRequests::new(Slow::new(0));
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable));
        pass(seconds(5)).await;
        let (_, first) = requests.request(ID);
        assert_eq!(kind(&requests).await, Ok(()));
        assert!(lock(&requests.open).is_empty());
        let (_, second) = requests.request(ID);
        close(&requests.open, ID, &first);
        assert!(!first.same_channel(&second) && lock(&requests.open).len() == 1);
    }

    /// A deserializer that panics, and one that ignores its limit.
    #[tokio::test(start_paused = true)]
    async fn a_question_that_goes_wrong_has_an_answer_also_when_nobody_waits_for_it() {
        struct Wrong {
            panics: bool,
        }
        impl Deserializer for Wrong {
            fn prepare(&self, _: SchemaId, _: Duration) -> PrepareFuture<'_> {
                Box::pin(async {
                    pass(if self.panics { seconds(3) } else { Duration::MAX }).await;
                    panic!("wrong")
                })
            }

            fn deserialize<'a, V: Deserialize<'a>>(&self, _: &Payload<'a>) -> Result<V, DecodeError> {
                crate::deserializer::of_null()
            }
        }
        let requests = SchemaRequests::new(Wrong { panics: true });
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::Unavailable));
        pass(seconds(10)).await;
        assert_eq!(kind(&requests).await, Err(DecodeErrorKind::RegistrySetup));
        let requests = SchemaRequests::new(Wrong { panics: false });
        let (began, _) = requests.request(ID);
        pass(NO_LONGER + FAILURE_KEPT + seconds(1)).await;
        assert!(lock(&requests.open).is_empty());
        assert!(requests.request(ID).0 > began, "it is asked anew");
    }
}
