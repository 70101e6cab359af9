//! Produce.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ProduceRequest, ProduceResponse, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
            TopicProduceResponse,
        },
    },
    protocol::StrBytes,
};

use super::{
    append::Appended,
    batch::{Batch, CorruptBatch, split},
    replica::number,
    validate::{Refusal, Rules},
};
use crate::{
    fetch::Acks,
    model::{Model, millis},
    observe::Observed,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_produce(&mut self, context: &Context, request: ProduceRequest) -> Reply {
        if let Err((code, message)) = check_whole(&request) {
            self.refused(context, code);
            return refuse_all(&request, code, message);
        }
        let mut acks = Acks::default();
        let mut endpoints = BTreeMap::new();
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let place = (response.responses.len(), answers.len());
                answers.push(self.produce_to(
                    context,
                    &request,
                    topic,
                    data,
                    place,
                    &mut acks,
                    &mut endpoints,
                ));
            }
            response.responses.push(answer_for(topic, answers));
        }
        response.node_endpoints = endpoints.into_values().collect();
        if request.acks == 0 {
            // The client expects no answer, so closing the connection is the only way to report an error.
            let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            return if answers.any(|answer| answer.error_code != 0) { Reply::Close } else { Reply::Nothing };
        }
        if request.acks == -1 && !acks.is_empty() {
            return self.await_acks(context, response, acks, millis(request.timeout_ms));
        }
        response.into()
    }

    #[expect(clippy::too_many_arguments, reason = "one partition of one request, and what all of them share")]
    fn produce_to(
        &mut self,
        context: &Context,
        request: &ProduceRequest,
        topic: &TopicProduceData,
        data: &PartitionProduceData,
        place: (usize, usize),
        acks: &mut Acks,
        endpoints: &mut BTreeMap<i32, NodeEndpoint>,
    ) -> PartitionProduceResponse {
        let mut answer = PartitionProduceResponse::default().with_index(data.index).with_base_offset(-1);
        let name = if context.version < 13 {
            topic.name.to_string()
        } else if let Some(name) = self.topics.name_of(topic.topic_id) {
            name.to_owned()
        } else {
            return answer.with_error_code(ResponseError::UnknownTopicId.code());
        };
        match self.produce_batch(context, request, &name, data) {
            Ok((appended, log_append_time, log_start)) => {
                answer.base_offset = appended.first;
                answer.log_append_time_ms = appended.duplicate.unwrap_or(log_append_time);
                answer.log_start_offset = log_start;
                if request.acks == -1 {
                    acks.wait_for(place, (&name, data.index), appended.last + 1);
                }
            }
            Err((refusal, log_start)) => {
                self.refused(context, refusal.code);
                answer.error_code = refusal.code.code();
                answer.log_start_offset = log_start;
                answer.error_message = refusal.message.map(StrBytes::from_static_str);
                answer.record_errors = refusal.records.into_iter().map(record_error).collect();
                if refusal.code == ResponseError::NotLeaderOrFollower && context.version >= 10 {
                    let (leader, epoch) = self.current_leader(&name, data.index);
                    answer.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
                    if let Some(endpoint) = self.endpoint(leader) {
                        endpoints.insert(leader, endpoint);
                    }
                }
            }
        }
        answer
    }

    /// Appends the batch sent to one partition. Returns its position, the time of appending if the topic stores that,
    /// and the log's start. A refusal includes the log's start where Kafka returns it.
    fn produce_batch(
        &mut self,
        context: &Context,
        request: &ProduceRequest,
        name: &str,
        data: &PartitionProduceData,
    ) -> Result<(Appended, i64, i64), (Refusal, i64)> {
        let bare = |code: ResponseError| (Refusal::from(code), -1);
        if self.topics.partition(name, data.index).is_none() {
            return Err(bare(ResponseError::UnknownTopicOrPartition));
        }
        let batch = check_records(context.version, data.records.as_ref()).map_err(bare)?;
        if !matches!(request.acks, -1..=1) {
            return Err(bare(ResponseError::InvalidRequiredAcks));
        }
        let topic = self.topics.all.get(name).ok_or_else(|| bare(ResponseError::UnknownTopicOrPartition))?;
        if topic.internal && context.client_id.as_deref() != Some("__admin_client") {
            return Err(bare(ResponseError::InvalidTopicException));
        }
        let rules = Rules::of(topic, self.config.max_message_bytes);
        let min_isr = number(topic, "min.insync.replicas", 1);

        let header = batch.header;
        let found = self.replica(context.broker, (name, data.index), -1, true).map_err(bare)?;
        let log_start = found.log.start();
        let ongoing = found.log.in_transaction(header.producer_id, header.producer_epoch);
        let in_sync = found.isr.len() as i64;
        // From version 12 on a transactional write itself adds its partition to the transaction (KIP-890).
        let implicit = context.version >= 12 && header.is_transactional();
        if header.is_transactional() && header.has_producer() && !ongoing {
            let id = request.transactional_id.as_ref().map_or("", |id| id.0.as_str());
            let (producer, epoch) = (header.producer_id, header.producer_epoch);
            self.verify_transaction(id, producer, epoch, name, data.index, implicit)
                .map_err(|code| (unverified(code, context.version), -1))?;
        }
        if request.acks == -1 && in_sync < min_isr {
            return Err((ResponseError::NotEnoughReplicas.into(), log_start));
        }
        let now = self.wall_ms();
        let batch = rules.admit(batch, now).map_err(|refusal| {
            let silent = matches!(
                refusal.code,
                ResponseError::MessageTooLarge
                    | ResponseError::RecordListTooLarge
                    | ResponseError::CorruptMessage
            );
            (refusal, if silent { -1 } else { log_start })
        })?;
        let found = self.replica(context.broker, (name, data.index), -1, true).map_err(bare)?;
        let epoch = found.leader_epoch;
        let appended =
            found.log.append(&batch, epoch, implicit).map_err(|code| (Refusal::from(code), log_start))?;
        if appended.duplicate.is_none() {
            self.appended(name, data.index, appended.first, appended.last);
        }
        Ok((appended, if rules.log_append_time { now } else { -1 }, log_start))
    }

    /// Reports an appended batch to the fetches that wait for it and to observers.
    pub(super) fn appended(&mut self, topic: &str, partition: i32, first: i64, last: i64) {
        self.observe(|at| Observed::Appended { at, topic: topic.to_owned(), partition, first, last });
        self.wake_fetches(topic, partition);
    }

    /// Reports a refusal that a correct client never causes.
    pub(crate) fn refused(&mut self, context: &Context, code: ResponseError) {
        use ResponseError as E;
        if matches!(
            code,
            E::CorruptMessage | E::InvalidFetchSessionEpoch | E::InvalidRequest | E::InvalidRecord
        ) {
            self.observe(|at| Observed::Refused {
                at,
                broker: context.broker,
                api: context.key as i16,
                code: code.code(),
                client: context.client_id.as_deref().unwrap_or_default().to_owned(),
            });
        }
    }

    /// The address of a broker, if it is up.
    fn endpoint(&self, broker: i32) -> Option<NodeEndpoint> {
        let node = self.nodes.all.get(&broker).filter(|node| node.up)?;
        let endpoint = NodeEndpoint::default()
            .with_node_id(broker.into())
            .with_host(StrBytes::from_string(node.host.clone()))
            .with_port(i32::from(node.port))
            .with_rack(node.rack.clone().map(StrBytes::from_string));
        Some(endpoint)
    }
}

/// Checks the request as a whole: returns an error code and a message for every partition.
fn check_whole(request: &ProduceRequest) -> Result<(), (ResponseError, Option<&'static str>)> {
    let mut producers = BTreeSet::new();
    let mut transactional = false;
    let all = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    for records in all.filter_map(|data| data.records.as_ref()) {
        match split(records).next() {
            Some(Ok((2, bytes))) => {
                let Some(batch) = Batch::read(bytes) else {
                    return Err((ResponseError::CorruptMessage, Some("a batch is too short for its header")));
                };
                if batch.header.is_transactional() {
                    transactional = true;
                    producers.insert(batch.header.producer_id);
                }
            }
            Some(Err(CorruptBatch)) => {
                return Err((
                    ResponseError::CorruptMessage,
                    Some("a batch has an impossible length or magic"),
                ));
            }
            Some(Ok(_)) | None => {}
        }
    }
    if transactional && request.transactional_id.is_none() {
        return Err((ResponseError::TransactionalIdAuthorizationFailed, None));
    }
    if producers.len() > 1 {
        return Err((
            ResponseError::InvalidProducerIdMapping,
            Some("transactional records of more than one producer"),
        ));
    }
    Ok(())
}

fn refuse_all(request: &ProduceRequest, code: ResponseError, message: Option<&'static str>) -> Reply {
    if request.acks == 0 {
        return Reply::Close;
    }
    let refuse = |data: &PartitionProduceData| {
        PartitionProduceResponse::default()
            .with_index(data.index)
            .with_error_code(code.code())
            .with_base_offset(-1)
            .with_error_message(message.map(StrBytes::from_static_str))
    };
    let refuse_topic =
        |topic: &TopicProduceData| answer_for(topic, topic.partition_data.iter().map(refuse).collect());
    ProduceResponse::default().with_responses(request.topic_data.iter().map(refuse_topic).collect()).into()
}

fn answer_for(topic: &TopicProduceData, answers: Vec<PartitionProduceResponse>) -> TopicProduceResponse {
    TopicProduceResponse::default()
        .with_name(TopicName(topic.name.0.clone()))
        .with_topic_id(topic.topic_id)
        .with_partition_responses(answers)
}

fn record_error((at, message): (i32, &'static str)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(at)
        .with_batch_index_error_message(Some(StrBytes::from_static_str(message)))
}

/// Accepts exactly one batch, of magic 2.
fn check_records(version: i16, records: Option<&Bytes>) -> Result<Batch, ResponseError> {
    /// The number of zstd in the attributes; clients may use it from version 7 on.
    const ZSTD: i16 = 4;
    let mut batches = split(records.ok_or(ResponseError::InvalidRecord)?);
    let corrupt = |_: CorruptBatch| ResponseError::CorruptMessage;
    let (magic, bytes) = batches.next().ok_or(ResponseError::InvalidRecord)?.map_err(corrupt)?;
    if magic != 2 {
        return Err(ResponseError::InvalidRecord);
    }
    let batch = Batch::read(bytes).ok_or(ResponseError::CorruptMessage)?;
    let has_zstd = version >= 7 && cfg!(feature = "zstd");
    if batch.header.attributes & 7 == ZSTD && !has_zstd {
        return Err(ResponseError::UnsupportedCompressionType);
    }
    match batches.next() {
        None => Ok(batch),
        Some(Ok(_)) => Err(ResponseError::InvalidRecord),
        Some(Err(broken)) => Err(corrupt(broken)),
    }
}

/// The error for a producer whose transaction the coordinator did not confirm: a code that the producer retries, if it
/// may try again.
fn unverified(code: ResponseError, version: i16) -> Refusal {
    use ResponseError as E;
    let (code, message) = match code {
        E::NetworkException
        | E::CoordinatorLoadInProgress
        | E::CoordinatorNotAvailable
        | E::NotCoordinator => {
            (E::NotEnoughReplicas, Some("the transaction could not be verified with its coordinator"))
        }
        E::ConcurrentTransactions if version < 12 => {
            (E::NotEnoughReplicas, Some("the previous transaction is still ending"))
        }
        E::TransactionAbortable if version < 11 => (E::InvalidTxnState, None),
        E::InvalidTxnState => (E::InvalidTxnState, Some("the partition is not part of the transaction")),
        other => (other, None),
    };
    Refusal { message, ..code.into() }
}
