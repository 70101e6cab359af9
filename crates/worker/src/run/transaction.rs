//! One transaction: what finished records leave behind, and the offsets that say they are finished.

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

/// What is read of a group after an outcome that nobody told is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What its metadata begins with.
const MARK: &str = "owt1.";

/// What a transaction is made of.
pub(super) struct Content {
    /// As whom the offsets are committed. It was asked for before they were taken: what this member has lost since, the group refuses.
    pub(super) group: GroupMetadata,
    /// The metadata of each offset: no other transaction has the same. `None`, where brokers take none.
    pub(super) mark: Option<String>,
    pub(super) offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    pub(super) sent: Vec<(EffectId, Sent)>,
    pub(super) is_lost: Arc<AtomicBool>,
}

/// What is written of one record.
pub(super) enum Sent {
    Outputs(Arc<Effect<OwnedRecord>>),
    Letter(Output),
}

impl Sent {
    fn outputs(&self) -> &[Output] {
        match self {
            Self::Letter(letter) => std::slice::from_ref(letter),
            Self::Outputs(effect) => match &**effect {
                Effect::Outputs(outputs) => outputs,
                Effect::Letter { .. } => &[],
            },
        }
    }

    /// What it takes of the producer's memory at most.
    pub(super) fn memory(&self) -> usize {
        self.outputs().iter().map(Output::memory).fold(0, usize::saturating_add)
    }
}

/// Whether a transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    Aborted,
    /// Nobody told, and it has no mark by which it could be found out.
    Unknown,
}

/// What became of a transaction.
pub(super) struct Ended {
    /// For the next one; none, where the producer can do nothing more.
    pub(super) producer: Option<TransactionalProducer>,
    pub(super) fate: Fate,
    /// Why it is not committed, or what went wrong on the way.
    pub(super) error: Option<Error>,
    /// Where letters were written.
    pub(super) letters: BTreeMap<EffectId, Written>,
    /// What the brokers did not take, of so many effects.
    pub(super) refused: Vec<(EffectId, Error)>,
    pub(super) sent: usize,
    /// The topic whose offsets the group does not take. The error says why.
    pub(super) refused_topic: Option<Topic>,
}

/// Makes a transaction, and waits until it is known what became of it.
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
    // Each has its outcome.
    for (nth, delivery) in deliveries {
        let Some((id, sent)) = content.sent.get(nth) else { continue };
        match delivery.await {
            Ok(RecordMetadata { partition, offset, .. }) if matches!(sent, Sent::Letter(_)) => {
                letters.insert(*id, (partition, offset));
            }
            // One effect may be of several records.
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
    // A member that lost a partition and was given it again may have the identity that it had before (KIP-848), and have read what is committed before these
    // offsets came: they are not refused, and are not committed either. From now on whoever reads what is committed waits for the end of this.
    if content.is_lost.load(Ordering::Acquire) {
        transaction.abort().await?;
        let text =
            "the transaction is aborted, nothing of it is committed: a partition of it was lost meanwhile";
        return Err(Error::new(ErrorKind::TransactionAborted, text));
    }
    transaction.commit().await
}

/// Whether it is this topic for which the group did not take the offsets.
async fn is_refused(consumer: &Handle, topic: &Topic, error: &Error) -> bool {
    match error.code() {
        Some(ErrorCode::TopicAuthorizationFailed) => true,
        // It may be that the group's coordinator has not heard of it yet.
        Some(ErrorCode::UnknownTopicOrPartition) => {
            let found = consumer.partitions_for(topic.clone()).await;
            found.is_err_and(|error| error.kind() == ErrorKind::UnknownTopic)
        }
        // Other codes are about the group or the member, whatever partition they come with.
        _ => false,
    }
}

/// Whether a transaction whose outcome nobody told was committed: then the group has its mark. Another member that has committed all of its partitions since
/// has replaced that; but then they are not this one's any more, and it finishes nothing of them.
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
                tracing::warn!(%error, "asks the group whether a transaction was committed");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What tells transactions from one another.
pub(super) struct Marks {
    /// What tells this run of a worker from every other.
    run: u64,
    /// How many there were.
    count: u64,
    /// Whether brokers take them, as far as known (`offset.metadata.max.bytes`).
    are_taken: bool,
}

impl Marks {
    pub(super) fn new(run: u64) -> Self {
        Self { run, count: 0, are_taken: true }
    }

    /// What no other transaction has: of which run of a worker it is, as which member, and the how many-th.
    pub(super) fn next(&mut self, group: &GroupMetadata) -> Option<String> {
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        (self.run, &group.group_id, &group.member_id, self.count).hash(&mut hasher);
        let hash = URL_SAFE_NO_PAD.encode(hasher.finish().to_be_bytes());
        self.are_taken.then(|| format!("{MARK}{hash}"))
    }

    /// Brokers do not take metadata of that length: there is none from here on. It costs that what a transaction had whose outcome nobody tells is handled
    /// again.
    pub(super) fn refuse(&mut self) {
        if mem::take(&mut self.are_taken) {
            tracing::warn!(
                "the brokers take no metadata of 16 bytes (`offset.metadata.max.bytes`): whether a transaction was committed of which nobody tells it \
                 cannot be found out, and its records are handled again"
            );
        }
    }
}

/// Whether this is a transaction's metadata: it says nothing about what is finished.
pub(super) fn is_mark(metadata: &str) -> bool {
    metadata.starts_with(MARK)
}

/// Whether a record was not taken for what it is, so that another attempt would end alike.
fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Authorization, Config, Corrupt, MissingCodec, Misuse, Refused, TooLarge, UnknownTopic};
    match error.kind() {
        Authorization | Config | Corrupt | MissingCodec | Misuse | TooLarge | UnknownTopic => true,
        Refused => !error.is_retriable(),
        _ => false,
    }
}
