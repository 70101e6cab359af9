//! Producers of the records to read. They use no network: their written records are known exactly.

use std::{sync::Arc, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId,
        RequestKind, ResponseKind, TopicName, TransactionalId,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

use crate::{
    clock::{self, ms},
    events::{Place, What},
    plan::{Kind, Plan},
    random::Random,
    working,
    world::{State, World},
};

/// One producer.
pub(crate) struct Producer {
    pub(crate) world: World,
    pub(crate) plan: Arc<Plan>,
    pub(crate) number: usize,
    random: Random,
    next_id: u64,
    /// The producer's id, epoch and the next sequence of each partition.
    session: Option<Session>,
    transactions: u64,
    /// Chooses the tombstones.
    deaths: Random,
    /// Chooses the keys of records for workers.
    keys: Random,
}

/// A record to be written.
struct Written {
    id: u64,
    key: Option<Bytes>,
    /// None is a tombstone.
    value: Option<Bytes>,
}

/// The header with a tombstone's number; other records have theirs in the value.
pub(crate) const ID: &str = "id";

#[derive(Clone, Debug, Default)]
struct Session {
    id: i64,
    epoch: i16,
    sequences: std::collections::BTreeMap<i32, i32>,
}

impl Producer {
    pub(crate) fn new(world: World, plan: Arc<Plan>, number: usize) -> Self {
        let random = Random::new(plan.seed, 100 + u64::try_from(number).unwrap_or(0));
        let next_id = u64::try_from(number + 1).unwrap_or(1) << 32;
        let deaths = Random::new(plan.seed, 200 + u64::try_from(number).unwrap_or(0));
        let keys = Random::new(plan.seed, 300 + u64::try_from(number).unwrap_or(0));
        Self { world, plan, number, random, next_id, session: None, transactions: next_id, deaths, keys }
    }

    fn me(&self) -> &crate::plan::Producer {
        &self.plan.producers[self.number]
    }

    /// Writes everything that is planned.
    pub(crate) async fn run(mut self) {
        for _ in 0..self.me().batches {
            clock::sleep(ms(self.me().every)).await;
            match self.me().kind {
                Kind::Plain => self.plain(),
                Kind::Transactional { aborts, late, .. } => self.transaction(aborts, late).await,
            }
        }
        if let Kind::Transactional { hangs: true, .. } = self.me().kind {
            self.hang();
        }
    }

    fn topic(&self) -> String {
        self.plan.topics[self.me().topic].name.clone()
    }

    fn partition(&mut self) -> i32 {
        let count = self.world.lock().model.partition_count(&self.topic()).unwrap_or(1);
        i32::try_from(self.random.below(usize::try_from(count).unwrap_or(1))).unwrap_or(0)
    }

    fn values(&mut self) -> Vec<Written> {
        let keyed = self.plan.topics[self.me().topic].compacted;
        (0..self.me().records)
            .map(|_| {
                self.next_id += 1;
                let mut value = BytesMut::new();
                value.put_u64(self.next_id);
                value.resize(usize::try_from(self.me().value_bytes.max(8)).unwrap_or(8), b'.');
                let key = keyed.then(|| Bytes::from(format!("k{}", self.random.below(5))));
                let key = key.or_else(|| self.key_for_workers());
                let dead = keyed && self.me().tombstones > 0 && self.deaths.percent(self.me().tombstones);
                Written { id: self.next_id, key, value: (!dead).then(|| value.freeze()) }
            })
            .collect()
    }

    /// One key may have most of the records, and some records have none.
    fn key_for_workers(&mut self) -> Option<Bytes> {
        let work = self.plan.work.as_ref().filter(|_| !self.keys.percent(10))?;
        let number = if self.keys.percent(work.hot) { 0 } else { self.keys.between(0, work.keys - 1) };
        Some(Bytes::from(format!("k{number}")))
    }

    fn plain(&mut self) {
        let (partition, values, topic) = (self.partition(), self.values(), self.topic());
        self.world.clone().with(|state, now| {
            if self.me().idempotent && self.session.is_none() {
                self.session = self.begin_session(state, now);
            }
            if self.append(state, now, &topic, partition, &values, 0).is_none() {
                // Its sequence numbers may belong to a log that no longer exists: another producer id begins again.
                self.session = None;
            }
        });
    }

    /// Appends a batch; its records count once the broker acknowledges them.
    fn append(
        &mut self,
        state: &mut State,
        now: Instant,
        topic: &str,
        partition: i32,
        values: &[Written],
        transaction: u64,
    ) -> Option<()> {
        let leader = state.model.leader_of(topic, partition)?;
        let numbered = transaction != 0 || self.me().idempotent;
        let session = self.session.clone().filter(|_| numbered);
        let sequence =
            session.as_ref().map_or(-1, |session| session.sequences.get(&partition).copied().unwrap_or(0));
        let records: Vec<_> = values
            .iter()
            .zip(0_i32..)
            .map(|(Written { id, key, value }, number)| Record {
                transactional: transaction != 0,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: session.as_ref().map_or(-1, |session| session.id),
                producer_epoch: session.as_ref().map_or(-1, |session| session.epoch),
                timestamp_type: TimestampType::Creation,
                offset: i64::from(number),
                sequence: sequence + number,
                timestamp: working::dated(self.world.log.now(), *id),
                key: key.clone(),
                value: value.clone(),
                headers: self.headers(*id, value.is_none()).into_iter().collect(),
            })
            .collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).ok()?;
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes.freeze()));
        let topic_data = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1000)
            .with_transactional_id((transaction != 0).then(|| self.transactional_id()))
            .with_topic_data(vec![topic_data]);
        let answer = state.ask(now, leader, (ApiKey::Produce, 9), &RequestKind::Produce(request))?;
        let ResponseKind::Produce(answer) = answer else { return None };
        let partition_answer = answer.responses.first()?.partition_responses.first()?;
        if partition_answer.error_code != 0 {
            return None;
        }
        for (Written { id, key, value }, number) in values.iter().zip(0_i64..) {
            let (at, offset) = (Place::new(topic, partition), partition_answer.base_offset + number);
            self.world.log.tell(What::Appended { at: at.clone(), offset, id: *id, transaction });
            if self.plan.work.is_some() {
                let headers = self.headers(*id, value.is_none());
                let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
                let dated = working::dated(self.world.log.now(), *id);
                let digest = working::digest(key.as_deref(), value.as_deref(), headers, Some(dated));
                let key = key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
                self.world.log.tell(What::Wrote { at, offset, key, digest });
            }
        }
        if let Some(session) = &mut self.session
            && numbered
        {
            let next = sequence + i32::try_from(values.len()).unwrap_or(0);
            session.sequences.insert(partition, next);
        }
        Some(())
    }

    /// A tombstone has its number in a header; where records may be dead-lettered, each has some unusual headers.
    fn headers(&self, id: u64, is_dead: bool) -> Vec<(StrBytes, Option<Bytes>)> {
        let name = StrBytes::from_static_str;
        let mut headers = Vec::new();
        if is_dead {
            headers.push((name(ID), Some(Bytes::copy_from_slice(&id.to_be_bytes()))));
        }
        if self.plan.work.is_some() {
            headers.push((name("kept"), Some(Bytes::from(id.to_string()))));
            headers.push((name(""), None));
            headers.push((name("\u{e4}"), Some(Bytes::from_static(b"\x00\xff"))));
        }
        headers
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(format!("t{}", self.number)))
    }

    async fn transaction(&mut self, aborts: u64, late: u64) {
        let world = self.world.clone();
        if self.session.is_none() {
            self.session = world.with(|state, now| self.begin_session(state, now));
        }
        if self.session.is_none() {
            return;
        }
        self.transactions += 1;
        let (transaction, topic) = (self.transactions, self.topic());
        let mut wrote = false;
        for _ in 0..self.random.between(1, 3) {
            let (partition, values) = (self.partition(), self.values());
            wrote |= world
                .with(|state, now| {
                    self.add(state, now, &topic, partition)?;
                    self.append(state, now, &topic, partition, &values, transaction)
                })
                .is_some();
        }
        clock::sleep(ms(late)).await;
        let commit = !self.random.percent(aborts);
        let ended = !wrote || world.with(|state, now| self.end(state, now, commit)).is_some();
        if !ended || !wrote {
            // The outcome is settled by a new session, which aborts an open transaction.
            self.session = world.with(|state, now| self.begin_session(state, now));
        }
    }

    /// Begins a transaction that is never ended (FAILURES K6).
    fn hang(&mut self) {
        self.transactions += 1;
        let (transaction, topic) = (self.transactions, self.topic());
        let (partition, values) = (self.partition(), self.values());
        self.world.clone().with(|state, now| {
            self.add(state, now, &topic, partition)?;
            self.append(state, now, &topic, partition, &values, transaction)
        });
    }

    fn coordinator(&self, state: &State) -> Option<i32> {
        state.model.coordinator(&format!("t{}", self.number))
    }

    fn begin_session(&mut self, state: &mut State, now: Instant) -> Option<Session> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id((self.me().kind != Kind::Plain).then(|| self.transactional_id()))
            .with_transaction_timeout_ms(900_000);
        let at = self.coordinator(state)?;
        for _ in 0..3 {
            let request = RequestKind::InitProducerId(request.clone());
            let answer = state.ask(now, at, (ApiKey::InitProducerId, 1), &request)?;
            if let ResponseKind::InitProducerId(answer) = answer
                && answer.error_code == 0
            {
                return Some(Session {
                    id: answer.producer_id.0,
                    epoch: answer.producer_epoch,
                    ..Session::default()
                });
            }
        }
        None
    }

    fn add(&mut self, state: &mut State, now: Instant, topic: &str, partition: i32) -> Option<()> {
        let session = self.session.clone()?;
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(session.id))
            .with_v3_and_below_producer_epoch(session.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let at = self.coordinator(state)?;
        let request = RequestKind::AddPartitionsToTxn(request);
        let answer = state.ask(now, at, (ApiKey::AddPartitionsToTxn, 3), &request)?;
        let ResponseKind::AddPartitionsToTxn(answer) = answer else { return None };
        let topic = answer.results_by_topic_v3_and_below.first()?;
        let result = topic.results_by_partition.first()?;
        if result.partition_error_code != 0 {
            return None;
        }
        state.transactions.insert(session.id, self.transactions);
        Some(())
    }

    fn end(&mut self, state: &mut State, now: Instant, commit: bool) -> Option<()> {
        let session = self.session.clone()?;
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(session.id))
            .with_producer_epoch(session.epoch)
            .with_committed(commit);
        let at = self.coordinator(state)?;
        let ResponseKind::EndTxn(answer) =
            state.ask(now, at, (ApiKey::EndTxn, 3), &RequestKind::EndTxn(request))?
        else {
            return None;
        };
        (answer.error_code == 0).then_some(())
    }
}
