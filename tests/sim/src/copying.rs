//! Members that read, process and write in transactions: each record is written once more, to another topic, with its number in it, and the
//! offsets are committed with that. And the reader of those copies.

mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiKey, FetchRequest, RequestKind, ResponseKind, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
    },
    protocol::StrBytes,
    records::RecordBatchDecoder,
};
use offtake::{Consumer, Error, ErrorKind, Records, StartAt, TopicPartition};
use offtake_broker::{KafkaVersion, Model};
use offtake_producer::{ProducerRecord, TransactionalProducer};

pub(crate) use self::steps::{Stepper, Turn};
use crate::{
    clock::{self, ms},
    events::{Place, Reported, What, Who},
    member::{CLOSE, MemberRun, id_of, place},
    plan::{Copies, Plan},
    random::Random,
    world::{Direct, Road, State, World},
};

/// The topic that they write to.
pub(crate) const COPIES: &str = "copies";

/// Milliseconds since 1970.
const WRITTEN_AT: i64 = 1_790_000_000_000;

/// The shares, in per cent, of transactions that the application aborts, and of those that it drops.
const ABORTED: u64 = 3;
const DROPPED: u64 = 3;

/// The client id of a member's producer. It differs from its consumer's, whose requests some rules count.
pub(crate) fn client_id(who: Who) -> String {
    format!("{who}t")
}

/// Creates the topic, and sets the brokers' transaction version.
pub(crate) fn prepare(model: &mut Model, plan: &Plan) {
    let Some(copies) = &plan.copies else { return };
    let replicas = i16::try_from(plan.brokers).unwrap_or(1);
    let created = model.create_topic(COPIES, copies.partitions, replicas, &[]);
    debug_assert!(created.is_ok(), "{created:?}");
    if let Some(vintage) = copies.vintage {
        (1..=plan.brokers).for_each(|broker| model.set_kafka_version(broker, vintage_of(vintage)));
    }
}

/// An older release of the brokers.
pub(crate) fn vintage_of(which: u8) -> KafkaVersion {
    let vintages = [KafkaVersion::V2_8, KafkaVersion::V3_3, KafkaVersion::V3_9, KafkaVersion::V4_0];
    vintages[usize::from(which) % vintages.len()]
}

/// Whether the application may continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Poll,
    /// Not yet: the outcome of the previous transaction, or the position to go back to, is not known.
    Wait,
    /// The producer or the consumer has failed for good.
    Over,
}

/// What a copying member has beside its consumer.
pub(crate) struct Copier {
    life: MemberRun,
    random: Random,
    producer: TransactionalProducer,
    transactions: u64,
    /// The positions before the previous transaction, unless that is committed.
    uncommitted: BTreeMap<TopicPartition, i64>,
}

impl Copier {
    pub(crate) async fn build(life: &MemberRun, copies: &Copies) -> Result<Self, Error> {
        let producer = producer(life, copies).await?;
        let (random, uncommitted) = (life.random(22), BTreeMap::new());
        Ok(Self { life: life.clone(), random, producer, transactions: 0, uncommitted })
    }

    /// Goes back to the committed offsets if the previous transaction was not committed, once they are decided.
    pub(crate) async fn go_back(&mut self, consumer: &mut Consumer) -> Readiness {
        if self.uncommitted.is_empty() {
            return Readiness::Poll;
        }
        match self.producer.begin().await {
            Ok(nothing) => drop(nothing),
            Err(error) => {
                self.life.producer_failed("begin", &error);
                return if error.kind() == ErrorKind::Timeout { Readiness::Wait } else { Readiness::Over };
            }
        }
        while let Some((partition, first)) = self.uncommitted.first_key_value() {
            let from = StartAt::committed_or(StartAt::offset(*first));
            let since = self.life.world.log.now();
            match consumer.seek(partition, from).await {
                Ok(()) => {
                    let (who, at) = (self.life.who, place(partition));
                    self.life.tell(What::WentBack { who, at, since, otherwise: *first });
                }
                // The new owner begins at the committed offset.
                Err(error) if error.kind() == ErrorKind::NotOwned => {}
                Err(error) => {
                    let _ = self.life.failed("seek", &error);
                    clock::sleep(ms(100)).await;
                    return if error.is_fatal() { Readiness::Over } else { Readiness::Wait };
                }
            }
            self.uncommitted.pop_first();
        }
        Readiness::Poll
    }

    /// Processes records, and writes their copies in one transaction. False when the producer has failed for good.
    pub(crate) async fn copy(&mut self, consumer: &Consumer, records: &Records) -> bool {
        if records.is_empty() {
            return true;
        }
        for record in records {
            self.uncommitted.entry(record.topic_partition().clone()).or_insert(record.offset());
        }
        let Self { life, random, producer, transactions, uncommitted } = self;
        let who = life.who;
        let transaction = match producer.begin().await {
            Ok(transaction) => transaction,
            Err(error) => {
                life.producer_failed("begin", &error);
                return error.kind() == ErrorKind::Timeout;
            }
        };
        *transactions += 1;
        let number = *transactions;
        tell_begun(life, number, records);
        process(life, random, number, records, |copy| drop(transaction.send(copy))).await;
        let ended = |told| life.tell(What::CopyingEnded { who, transaction: number, told });
        if random.percent(DROPPED) {
            drop(transaction);
            ended(Reported::Aborted);
            return true;
        }
        let committed = async {
            if random.percent(ABORTED) {
                transaction.abort().await?;
                return Ok(Reported::Aborted);
            }
            let offsets = consumer.offsets_for_transaction(records).await?;
            transaction.send_offsets(offsets).await?;
            if random.percent(life.member().drops) {
                let patience = ms(random.between(0, 50));
                return match tokio::time::timeout(patience, transaction.commit()).await {
                    Ok(committed) => committed.map(|()| Reported::Committed),
                    Err(_) => Ok(Reported::Unknown),
                };
            }
            transaction.commit().await.map(|()| Reported::Committed)
        };
        match committed.await {
            Ok(told) => {
                ended(told);
                if told == Reported::Committed {
                    uncommitted.clear();
                }
                true
            }
            Err(error) => {
                ended(told_by(&error));
                life.producer_failed("commit", &error);
                // A refusal would repeat at once.
                clock::sleep(ms(20)).await;
                let goes_on = [
                    ErrorKind::TransactionAborted,
                    ErrorKind::OutcomeUnknown,
                    ErrorKind::NotOwned,
                    ErrorKind::Timeout,
                ];
                goes_on.contains(&error.kind())
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Err(error) = self.producer.close(CLOSE).await {
            self.life.producer_failed("close", &error);
        }
    }
}

/// The producer of a member's copies.
async fn producer(life: &MemberRun, copies: &Copies) -> Result<TransactionalProducer, Error> {
    let (plan, who, world) = (&life.plan, life.who, life.world.clone());
    let builder = TransactionalProducer::builder(crate::world::BOOTSTRAP, plan.transactional_id(who.member))
        .property("client.id", client_id(who))
        .property("transaction.timeout.ms", copies.timeout)
        .property("max.block.ms", copies.max_block)
        .property("linger.ms", copies.linger)
        .property("metadata.max.age.ms", plan.metadata_max_age)
        .property("request.timeout.ms", "10000")
        .property("delivery.timeout.ms", "20000");
    let builder = if plan.connections {
        builder.dial(Arc::new(Road { world: world.clone(), who, produces: true }))
    } else {
        builder.carrier(Box::new(Direct::of_producer(world.clone(), who, plan.brokers)))
    };
    builder
        .replay(life.random(21).next(), plan.wall_clock(who.life))
        .spawn_with(move |engine| drop(world.spawn(who.member, engine)))
        .build_transactional()
        .await
}

/// Reports which records a transaction copies.
fn tell_begun(life: &MemberRun, transaction: u64, records: &Records) {
    let ids = records.into_iter().map(|record| id_of(&record.value(), record.headers())).collect();
    life.tell(What::Copying { who: life.who, transaction, ids });
}

/// Processes records, and sends their copies.
async fn process(
    life: &MemberRun,
    random: &mut Random,
    transaction: u64,
    records: &Records,
    send: impl Fn(ProducerRecord<'_>),
) {
    let (who, (low, high)) = (life.who, life.member().processing);
    for record in records {
        let takes = random.between(low, high);
        if takes > 0 {
            clock::sleep(ms(takes)).await;
        }
        let (at, offset) = (place(record.topic_partition()), record.offset());
        let id = id_of(&record.value(), record.headers());
        let value = value(id, who, transaction);
        // A broker rejects records with a timestamp decades ahead.
        send(ProducerRecord::to(COPIES).value(&value).timestamp(WRITTEN_AT));
        life.tell(What::Processed { who, at, offset, id });
    }
}

/// The outcome that a member may report after this error. Unless the error says that it may be committed, it is not.
fn told_by(error: &Error) -> Reported {
    if error.kind() == ErrorKind::OutcomeUnknown { Reported::Unknown } else { Reported::Aborted }
}

/// The content of a copy: the record, the member and its transaction.
pub(crate) fn value(id: u64, who: Who, transaction: u64) -> Vec<u8> {
    let member = u64::try_from(who.member).unwrap_or(u64::MAX);
    [id, member, u64::from(who.life), transaction].into_iter().flat_map(u64::to_be_bytes).collect()
}

fn parse(value: &Bytes) -> Option<(u64, Who, u64)> {
    let mut numbers = value.chunks(8).map(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
    let mut number = || numbers.next().flatten();
    let (id, member, life, transaction) = (number()?, number()?, number()?, number()?);
    let who = Who { member: member.try_into().ok()?, life: life.try_into().ok()? };
    Some((id, who, transaction))
}

/// Reads the committed copies as soon as they are visible. It uses no part of Offtake.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    next: BTreeMap<i32, i64>,
    /// For each partition, the producers whose transaction at the present position is aborted.
    aborting: BTreeMap<i32, BTreeSet<i64>>,
}

impl Reader {
    /// Reports all copies that are visible by now.
    pub(crate) fn read(&mut self, world: &World, copies: &Copies) {
        for partition in 0..copies.partitions {
            world.with(|state, now| self.read_partition(state, now, partition));
        }
    }

    fn read_partition(&mut self, state: &mut State, now: Instant, partition: i32) -> Option<()> {
        let leader = state.model.leader_of(COPIES, partition)?;
        let next = self.next.entry(partition).or_default();
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(*next)
            .with_partition_max_bytes(i32::MAX);
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str(COPIES)))
            .with_partitions(vec![wanted]);
        let request =
            FetchRequest::default().with_max_bytes(i32::MAX).with_isolation_level(1).with_topics(vec![topic]);
        let answer = state.ask(now, leader, (ApiKey::Fetch, 11), &RequestKind::Fetch(request))?;
        let ResponseKind::Fetch(answer) = answer else { return None };
        let data = answer.responses.into_iter().next()?.partitions.into_iter().next()?;
        if data.error_code != 0 {
            return None;
        }
        let aborting = self.aborting.entry(partition).or_default();
        for (offset, value) in committed(data, next, aborting)? {
            let (id, by, transaction) = parse(&value)?;
            let at = Place::new(COPIES, partition);
            state.log.tell(What::Copied { at, offset, id, by, transaction });
        }
        Some(())
    }
}

/// From a partition's log up to its last stable offset, the records of committed transactions.
fn committed(data: PartitionData, next: &mut i64, aborting: &mut BTreeSet<i64>) -> Option<Vec<(i64, Bytes)>> {
    let mut aborted: Vec<_> = data.aborted_transactions.unwrap_or_default();
    aborted.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
    let sets = RecordBatchDecoder::decode_all(&mut data.records?).ok()?;
    let mut seen = Vec::new();
    for record in sets.into_iter().flat_map(|set| set.records) {
        // The first batch may begin before the requested offset.
        if record.offset < *next || record.offset >= data.last_stable_offset {
            continue;
        }
        *next = record.offset + 1;
        while let Some(one) = aborted.pop_if(|one| one.first_offset <= record.offset) {
            aborting.insert(one.producer_id.0);
        }
        if record.control {
            aborting.remove(&record.producer_id);
        } else if !aborting.contains(&record.producer_id) {
            seen.push((record.offset, record.value?));
        }
    }
    Some(seen)
}
