//! One transaction: the effects of finished records, and the offsets that mark the records as finished.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use offtake::{
    Error, ErrorCode, ErrorKind, GroupMetadata, GroupOffsets, Handle, OffsetAndMetadata, OwnedRecord, Topic,
    TopicPartition,
};
use offtake_producer::{RecordMetadata, Transaction, TransactionDelivery, TransactionalProducer};

use crate::{
    machine::{Effect, EffectId, Written},
    output::Output,
};

/// The pause before the group's offsets are fetched again, after a transaction with an unknown outcome.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The beginning of the metadata of a transaction's offsets.
const MARK: &str = "owt1.";

/// The contents of a transaction.
pub(super) struct Content {
    /// The group metadata for committing the offsets. It was fetched before the offsets were taken, so that the group refuses
    /// offsets of partitions lost since.
    pub(super) group: GroupMetadata,
    /// The metadata of each offset, unique to this transaction. `None` if the brokers accept no metadata.
    pub(super) mark: Option<String>,
    pub(super) offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    pub(super) sent: Vec<(EffectId, Sent)>,
    pub(super) is_lost: Arc<AtomicBool>,
}

/// The records written for one handled record.
pub(super) enum Sent {
    Outputs(Arc<Effect<OwnedRecord>>),
    DeadLetter(Output),
}

impl Sent {
    fn outputs(&self) -> &[Output] {
        match self {
            Self::DeadLetter(letter) => std::slice::from_ref(letter),
            Self::Outputs(effect) => match &**effect {
                Effect::Outputs(outputs) => outputs,
                Effect::DeadLetter { .. } => &[],
            },
        }
    }

    /// The topics that they are sent to, each once for records that follow one another.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.outputs()
            .chunk_by(|one, next| one.topic == next.topic)
            .filter_map(|same| Some(same.first()?.topic.as_str()))
    }

    /// An upper bound of their size in the producer's memory.
    pub(super) fn memory(&self) -> usize {
        self.outputs().iter().map(Output::memory).fold(0, usize::saturating_add)
    }
}

/// Whether a transaction was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    Aborted,
    /// No broker confirmed it, and there is no mark by which to find out.
    Unknown,
}

/// The result of a transaction.
pub(super) struct Ended {
    /// The producer for the next transaction; `None` if it is unusable.
    pub(super) producer: Option<TransactionalProducer>,
    pub(super) fate: Fate,
    /// Why it was not committed, or an error on the way.
    pub(super) error: Option<Error>,
    /// The places of the letters.
    pub(super) letters: BTreeMap<EffectId, Written>,
    /// The effects that the brokers refused, out of `sent` effects.
    pub(super) refused: Vec<(EffectId, Error)>,
    pub(super) sent: usize,
    /// The topic whose offsets the group refused. The error has the reason.
    pub(super) refused_topic: Option<Topic>,
}

/// Runs a transaction, and waits until its outcome is known.
pub(super) async fn run(mut producer: TransactionalProducer, consumer: Handle, content: Content) -> Ended {
    let (mut deliveries, mut refused_offset) = (Vec::new(), None);
    let made = make(&mut producer, &content, &mut deliveries, &mut refused_offset).await;
    let (fate, error) = match made {
        Ok(()) => (Ok(Fate::Committed), None),
        Err(error) => {
            let decided = producer.wait_until_ready().await;
            let fate = match (decided, error.kind()) {
                (Err(error), _) => Err(error),
                (Ok(()), ErrorKind::OutcomeUnknown) => asked(&consumer, &content).await,
                (Ok(()), _) => Ok(Fate::Aborted),
            };
            (fate, Some(error))
        }
    };
    let refused_topic = match (refused_offset, &error) {
        (Some(topic), Some(error)) if is_refused(&consumer, &topic, error).await => Some(topic),
        _ => None,
    };
    let (mut letters, mut refused) = (BTreeMap::new(), Vec::<(EffectId, Error)>::new());
    if fate.is_err() {
        deliveries.clear();
    }
    // Every delivery has its outcome.
    for (nth, delivery) in deliveries {
        let Some((id, sent)) = content.sent.get(nth) else { continue };
        match delivery.await {
            Ok(RecordMetadata { partition, offset, .. }) if matches!(sent, Sent::DeadLetter(_)) => {
                letters.insert(*id, (partition, offset));
            }
            // One effect may consist of several records.
            Err(error) if is_refusal(&error) => {
                if refused.last().is_none_or(|(last, _)| last != id) {
                    refused.push((*id, error));
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    let (producer, fate, error) = match fate {
        Ok(fate) => (Some(producer), fate, error),
        Err(fatal) => (None, Fate::Aborted, Some(fatal)),
    };
    Ended { producer, fate, error, letters, refused, sent: content.sent.len(), refused_topic }
}

async fn make(
    producer: &mut TransactionalProducer,
    content: &Content,
    deliveries: &mut Vec<(usize, TransactionDelivery)>,
    refused_offset: &mut Option<Topic>,
) -> Result<(), Error> {
    let transaction: Transaction<'_> = producer.begin().await?;
    for (nth, (_, sent)) in content.sent.iter().enumerate() {
        let send = |output: &Output| (nth, transaction.send(output.as_record()));
        deliveries.extend(sent.outputs().iter().map(send));
    }
    let offsets = GroupOffsets::new(content.group.clone(), content.offsets.clone());
    if let Err(error) = transaction.send_offsets(offsets).await {
        *refused_offset = error.partition().map(|partition| partition.topic.clone());
        return Err(error);
    }
    // A member that lost a partition and got it back may have the same group metadata as before (KIP-848), and may have fetched
    // committed offsets before these offsets arrived. The group then does not refuse them, but they must not be committed. From
    // now on, a fetch of committed offsets waits for the end of this transaction.
    if content.is_lost.load(Ordering::Acquire) {
        transaction.abort().await?;
        let text =
            "the transaction is aborted, nothing of it is committed: a partition of it was lost meanwhile";
        return Err(Error::new(ErrorKind::TransactionAborted, text));
    }
    transaction.commit().await
}

/// Whether this topic is the reason why the group refused the offsets.
async fn is_refused(consumer: &Handle, topic: &Topic, error: &Error) -> bool {
    match error.code() {
        Some(ErrorCode::TopicAuthorizationFailed) => true,
        // The group's coordinator may not know the topic yet.
        Some(ErrorCode::UnknownTopicOrPartition) => {
            let found = consumer.partitions_for(topic.clone()).await;
            found.is_err_and(|error| error.kind() == ErrorKind::UnknownTopic)
        }
        // Other codes are about the group or the member, whatever partition they name.
        _ => false,
    }
}

/// Finds out whether a transaction with an unknown outcome was committed: in that case the group's offsets have its mark. Another
/// member that has committed all of its partitions since would have replaced the mark; but then this member no longer owns them,
/// and finishes nothing of them.
#[expect(clippy::disallowed_methods, reason = "between two questions there is nothing but to wait")]
async fn asked(consumer: &Handle, content: &Content) -> Result<Fate, Error> {
    let Some(mark) = &content.mark else { return Ok(Fate::Unknown) };
    loop {
        let names: Vec<_> = content.offsets.keys().cloned().collect();
        match consumer.committed(names).await {
            Ok(committed) => {
                let has_mark = committed.values().any(|committed| committed.metadata == *mark);
                return Ok(if has_mark { Fate::Committed } else { Fate::Aborted });
            }
            Err(error) if error.is_retriable() => {
                tracing::warn!(%error, "asking the group whether a transaction was committed");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Creates the marks that distinguish transactions.
pub(super) struct Marks {
    /// A number that distinguishes this run of a worker from every other.
    run: u64,
    /// The number of marks created so far.
    count: u64,
    /// Whether brokers accept marks, as far as known (`offset.metadata.max.bytes`).
    are_taken: bool,
}

impl Marks {
    pub(super) fn new(run: u64) -> Self {
        Self { run, count: 0, are_taken: true }
    }

    /// Creates a unique mark: the run of the worker, the member, and a serial number.
    pub(super) fn next(&mut self, group: &GroupMetadata) -> Option<String> {
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        (self.run, &group.group_id, &group.member_id, self.count).hash(&mut hasher);
        let hash = URL_SAFE_NO_PAD.encode(hasher.finish().to_be_bytes());
        self.are_taken.then(|| format!("{MARK}{hash}"))
    }

    /// Stops using marks, because the brokers do not accept metadata of that length. Records of a transaction with an unknown
    /// outcome are then handled again.
    pub(super) fn refuse(&mut self) {
        if mem::take(&mut self.are_taken) {
            tracing::warn!(
                "the brokers take no metadata of 16 bytes (`offset.metadata.max.bytes`): whether a transaction was committed of which nobody tells it \
                 cannot be found out, and its records are handled again"
            );
        }
    }
}

/// Whether metadata is the mark of a transaction, and not a list of finished records.
pub(super) fn is_mark(metadata: &str) -> bool {
    metadata.starts_with(MARK)
}

/// Whether a record was refused for its own sake, so that another attempt would end alike.
fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Authorization, Config, Corrupt, MissingCodec, Misuse, Refused, TooLarge, UnknownTopic};
    match error.kind() {
        Authorization | Config | Corrupt | MissingCodec | Misuse | TooLarge | UnknownTopic => true,
        Refused => !error.is_retriable(),
        _ => false,
    }
}
