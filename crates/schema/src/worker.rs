//! Typed handlers for [`offtake_worker`]: what cannot be decoded is poison.

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
    payload::{Part, Payload},
};

/// What handlers return.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A schema that is not known is asked for this long at a time.
const PATIENCE: Duration = Duration::from_secs(30);
/// And so long a record keeps its place at the handlers meanwhile, from the beginning of the question on.
const AT_HANDLER: Duration = Duration::from_secs(1);
/// An answer is of no account when nobody has come for it so long after its question began.
const STALE: Duration = Duration::from_secs(60);

/// A handler for [`Worker::run`](offtake_worker::Worker::run) that is given a record's value, decoded. A value that cannot be decoded is poison: the
/// record goes to the dead letters with its bytes and the reason. A registry that does not answer is none of the record's fault: the record waits for it,
/// however long that takes, with what is behind it in its order, and no [attempt](offtake_worker::Retry::attempts) is counted. (It keeps its place at the
/// handlers for 1 s of that, or half of [`Worker::timeout`](offtake_worker::Worker::timeout) where that is less; then it waits
/// [longer each time](Failure::without_attempt), while the registry is asked for 30 s at a time.) The registry's own [events](crate::RegistryEvent) say
/// that it is down. Where it answers, but with no schema ([`RegistrySetup`](DecodeErrorKind::RegistrySetup)), the attempt fails and counts: no schema that is
/// too large stops a partition for ever. Where credentials may be wrong for a while, retry without a bound
/// ([`unlimited`](offtake_worker::Retry::unlimited)), or with a [breaker](offtake_worker::Breaker).
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
    let shared = Arc::new((Questions::new(deserializer), handle));
    move |record, attempt| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (questions, handle) = &*shared;
            let value = questions.decode(&record, &attempt).await.map_err(|error| {
                let (partition, offset) = (record.topic_partition(), record.offset());
                failure(error.at(format_args!("value of {partition} at offset {offset}")))
            })?;
            handle(value, record, attempt).await
        })
    }
}

/// Questions for schemas, which go on while the records that need them are not at a handler.
struct Questions<D> {
    by: Arc<D>,
    open: Mutex<HashMap<SchemaId, Question>>,
}

type Answer = Option<Result<Prepared, DecodeError>>;

/// A question that was not answered yet, or whose answer nobody has had.
struct Question {
    began: Instant,
    answer: watch::Receiver<Answer>,
    /// It ends with the question.
    _task: JoinSet<()>,
}

impl<D: Deserializer> Questions<D> {
    fn new(by: D) -> Self {
        Self { by: Arc::new(by), open: Mutex::default() }
    }

    async fn decode<V: DeserializeOwned>(
        &self,
        record: &OwnedRecord,
        attempt: &Attempt,
    ) -> Result<V, DecodeError> {
        let missing = self.by.missing(&Payload::of_owned(Part::Value, record));
        let _prepared = match missing {
            Some(id) => Some(self.prepared(id, attempt).await?),
            None => None,
        };
        self.by.deserialize(&Payload::of_owned(Part::Value, record))
    }

    /// What is needed to decode by a schema. Where that takes long it is none of the attempt's, which ends in time for another.
    async fn prepared(&self, id: SchemaId, attempt: &Attempt) -> Result<Prepared, DecodeError> {
        let (began, mut answer) = self.question(id);
        let half = attempt.limit().map(|limit| clock::after(limit / 2));
        let until = clock::later(began, AT_HANDLER);
        let until = half.map_or(until, |half| half.min(until));
        let told = clock::timeout_at(until, answer.wait_for(Option::is_some)).await;
        let told = told.map(|told| told.ok().and_then(|answer| answer.clone()));
        if told.is_some() {
            // There may be another question by now.
            self.open().retain(|_, question| !question.answer.same_channel(&answer));
        }
        let (kind, reason) = match told {
            Some(Some(told)) => return told,
            Some(None) => {
                (DecodeErrorKind::RegistrySetup, format!("the question for schema {id} has panicked"))
            }
            None => (DecodeErrorKind::Unavailable, format!("the registry has not told schema {id} yet")),
        };
        Err(DecodeError::new(kind, reason))
    }

    /// The question for a schema, and when it began.
    fn question(&self, id: SchemaId) -> (Instant, watch::Receiver<Answer>) {
        let began = clock::now();
        let mut open = self.open();
        open.retain(|_, question| began < clock::later(question.began, STALE));
        let question = open.entry(id).or_insert_with(|| {
            let (tells, answer) = watch::channel(None);
            let by = Arc::clone(&self.by);
            let mut task = JoinSet::new();
            task.spawn(async move {
                let told = by.prepare(id, PATIENCE).await;
                tells.send_replace(Some(told));
            });
            Question { began, answer, _task: task }
        });
        (question.began, question.answer.clone())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SchemaId, Question>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
