//! What an answer means: for the session, for the broker, and for each partition in it.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use offtake_machine::{Answer, Broker, BrokerId, Call, CallError, CallId, Topic, TopicPartition};
use offtake_wire::{
    ErrorCode, Response,
    messages::fetch::{FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData},
    records::AbortedTransactions,
};

use crate::{
    BrokerError, Event, Fetcher, PartitionError, Watermarks,
    memory::Frame,
    node::Flight,
    partition::{Replica, State},
    session::Entry,
};

/// After so many failures in a row the engine is told.
pub(crate) const TELLING: u32 = 3;

/// What an error of one partition asks of us.
enum Remedy {
    /// `offsets` must find another position.
    Reset,
    /// Somebody else leads, or nobody knows who does.
    FindLeader,
    /// It passes.
    Wait,
    /// It may pass; the application is told when it does not.
    Doubt,
    /// Only somebody outside can mend it: the application is told at once.
    Refused,
}

fn remedy(code: ErrorCode) -> Remedy {
    match code {
        ErrorCode::OffsetOutOfRange => Remedy::Reset,
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::NewLeaderElected
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::KafkaStorageError
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId
        | ErrorCode::FetchSessionTopicIdError => Remedy::FindLeader,
        // The broker is behind our view, or its watermark behind its own log.
        ErrorCode::UnknownLeaderEpoch | ErrorCode::OffsetNotAvailable => Remedy::Wait,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::InvalidTopicException
        | ErrorCode::UnsupportedCompressionType => Remedy::Refused,
        _ => Remedy::Doubt,
    }
}

/// A response to a Fetch that is being read.
#[derive(Clone, Copy, Debug)]
struct Reply<'a> {
    now: Instant,
    broker: BrokerId,
    endpoints: &'a [NodeEndpoint],
    frame: Frame,
}

/// What a partition takes of a response beside its records, in bytes, and a topic: more in some versions, less in others.
const PARTITION_HEADER: usize = 64;

/// The memory that a response keeps at the least.
fn least_memory(response: &FetchResponse) -> usize {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let bytes =
        partitions.map(|data| data.records.as_ref().map_or(0, Bytes::len).saturating_add(PARTITION_HEADER));
    bytes.fold(0, usize::saturating_add)
}

impl Fetcher {
    /// The answer to a Fetch, or why there is none.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let Some((&broker, node)) = self.nodes.iter_mut().find(|(_, node)| node.call.awaits(id)) else {
            return;
        };
        node.call = Call::Idle;
        let flight = node.flight.take();
        if self.closing {
            self.nodes.remove(&broker);
            return;
        }
        match answer {
            Ok(Answer { response: Response::Fetch(response), memory, .. }) => {
                let frame = self.memory.frame(memory.max(least_memory(&response)));
                self.fetched(now, broker, flight, frame, response);
            }
            Ok(_) => self.broker_failed(now, broker, BrokerError::UnexpectedResponse),
            Err(error) => match error {
                CallError::TooLarge { size, limit, .. } => self.too_large(now, broker, error, size, limit),
                error => self.broker_failed(now, broker, BrokerError::Call(error)),
            },
        }
    }

    /// Calls that the loop never answered.
    pub(crate) fn give_up_overdue(&mut self, now: Instant) {
        let overdue: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.call.is_overdue(now))
            .map(|(broker, _)| *broker)
            .collect();
        for broker in overdue {
            if self.closing {
                self.nodes.remove(&broker);
                continue;
            }
            if let Some(node) = self.nodes.get_mut(&broker) {
                node.flight = None;
            }
            let error = CallError::TimedOut {
                address: broker.to_string(),
                api: offtake_wire::ApiKey::Fetch,
                after: self.config.request_timeout,
            };
            self.broker_failed(now, broker, BrokerError::Call(error));
        }
    }

    /// There is no answer, or none to use: positions stay, the session starts anew (A1), and after a pause we ask
    /// again. Who leads may have changed.
    fn broker_failed(&mut self, now: Instant, broker: BrokerId, error: BrokerError) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        node.session.restart();
        node.idle_answers = 0;
        node.call = Call::Due(now + node.backoff.next_wait());
        if node.backoff.failures() >= TELLING && !node.announced {
            node.announced = true;
            self.events.push_back(Event::BrokerFailing { broker, error });
        }
        self.refresh = true;
        let visitors: Vec<_> = node
            .wanted
            .iter()
            .filter(|tp| self.partitions.get(tp).is_some_and(|partition| partition.leader != Some(broker)))
            .cloned()
            .collect();
        for tp in visitors {
            self.back_to_leader(now, &tp);
        }
    }

    fn fetched(
        &mut self,
        now: Instant,
        broker: BrokerId,
        flight: Option<Flight>,
        frame: Frame,
        response: FetchResponse,
    ) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        match response.error_code {
            ErrorCode::None => {}
            code @ (ErrorCode::FetchSessionIdNotFound
            | ErrorCode::InvalidFetchSessionEpoch
            | ErrorCode::FetchSessionTopicIdError) => {
                match code {
                    ErrorCode::FetchSessionIdNotFound => node.session.forget(),
                    _ => node.session.restart(),
                }
                // A session may be lost at any time: say everything again at once (I1). Not for ever.
                node.refusals = node.refusals.saturating_add(1);
                if node.refusals > 1 {
                    self.broker_failed(now, broker, BrokerError::Refused(code));
                }
                return;
            }
            code => return self.broker_failed(now, broker, BrokerError::Refused(code)),
        }
        let reply = Reply { now, broker, endpoints: &response.node_endpoints, frame };
        let full = node.session.was_full();
        let asked = node.session.len();
        node.session.accepted(response.session_id);
        node.refusals = 0;
        if node.suspects.pop_front().is_some() {
            // This partition's batch fits; the oversized one is another's.
            node.session.restart();
            self.topics(&reply, response.responses);
            return;
        }
        node.backoff.reset();
        if std::mem::take(&mut node.announced) {
            self.events.push_back(Event::BrokerRecovered { broker });
        }
        let (answered, news) = self.topics(&reply, response.responses);
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        if full && answered < asked {
            // The broker's session is not the one that we asked for.
            node.session.restart();
        }
        if news {
            node.sent_something();
        } else if !node.left_out.is_empty() && flight.is_some_and(|flight| !flight.waits) {
            return node.back_off_idle(now);
        }
        let early = flight.is_some_and(|flight| {
            flight.waits && now.saturating_duration_since(flight.sent) < self.config.max_wait / 2
        });
        if early && !news {
            // Brokers wait when they have nothing: one that does not must not make us spin (S15).
            node.call = Call::Due(now + node.empty.next_wait());
        } else {
            node.empty.reset();
        }
    }

    /// How many partitions were answered that had been asked for, and whether there was anything to an answer.
    fn topics(&mut self, reply: &Reply<'_>, topics: Vec<FetchableTopicResponse>) -> (usize, bool) {
        let broker = reply.broker;
        let mut seen = BTreeSet::new();
        let mut news = false;
        for topic in topics {
            let Some(name) = self.name(broker, &topic) else { continue };
            for data in topic.partitions {
                let tp = TopicPartition::new(&name, data.partition_index);
                let Some(entry) = self.nodes.get(&broker).and_then(|node| node.session.entry(&tp)) else {
                    continue; // not asked for (I3)
                };
                if !entry.topic_id.is_zero() && !topic.topic_id.is_zero() && entry.topic_id != topic.topic_id
                {
                    continue; // the topic that had this name before
                }
                if let Some(ends) = Watermarks::of(&data).filter(|_| data.error_code.is_ok())
                    && let Some(node) = self.nodes.get_mut(&broker)
                {
                    // Whoever has it now: it is not said twice.
                    node.session.told(&tp, ends);
                }
                if seen.insert(tp.clone()) {
                    if data.records.as_ref().is_some_and(|records| !records.is_empty())
                        && let Some(node) = self.nodes.get_mut(&broker)
                    {
                        node.session.served(&tp);
                    }
                    news |= self.partition(reply, &tp, entry, data); // the second time it is a repeat (I4)
                }
            }
        }
        (seen.len(), news)
    }

    fn name(&self, broker: BrokerId, topic: &FetchableTopicResponse) -> Option<Topic> {
        if topic.topic_id.is_zero() {
            Some(Topic::from(topic.topic.as_str()))
        } else {
            self.nodes.get(&broker)?.session.named(topic.topic_id).cloned()
        }
    }

    /// One partition's answer; whether there was anything to it.
    fn partition(
        &mut self,
        reply: &Reply<'_>,
        tp: &TopicPartition,
        entry: Entry,
        data: PartitionData,
    ) -> bool {
        let Reply { now, broker, .. } = *reply;
        let Some(partition) =
            self.partitions.get_mut(tp).filter(|partition| partition.awaits(&entry, broker))
        else {
            return true; // asked for before a seek, a revoke, a new leader (I7, I8, E3)
        };
        if !data.error_code.is_ok() {
            self.refused(reply, tp, entry, &data);
            return true;
        }
        if let Some(watermarks) = Watermarks::of(&data)
            && partition.watermarks.replace(watermarks) != Some(watermarks)
        {
            let token = partition.token;
            self.events.push_back(Event::Watermarks { tp: tp.clone(), token, watermarks });
        }
        if let Some(end) = data.diverging_epoch.as_ref().filter(|end| end.end_offset >= 0) {
            partition.state = State::Parked;
            partition.tell_epoch = false;
            self.events.push_back(Event::Diverged {
                tp: tp.clone(),
                token: partition.token,
                position: partition.position,
                epoch: Some(end.epoch).filter(|epoch| *epoch >= 0),
                end_offset: end.end_offset,
            });
            self.reschedule(tp);
            return true;
        }
        let from_leader = partition.leader == Some(broker);
        let records = data.records.clone().filter(|records| !records.is_empty());
        let mut news = false;
        if let Some(records) = records {
            news = true;
            self.records(reply, tp, &records, &data);
        } else {
            partition.backoff.reset();
            partition.announced = false;
        }
        match BrokerId::known(data.preferred_read_replica) {
            Some(replica) if from_leader && replica != broker => {
                news = true;
                self.prefer(now, tp, replica);
            }
            // Only a leader names a replica. Who was asked as one is another broker than the metadata says: it may answer so
            // for as long as the lease lasts, without a record.
            Some(_) if !from_leader && self.flows(tp) => {
                self.refresh = true;
                self.back_to_leader(now, tp);
                self.pause_after_trouble(now, tp);
            }
            _ => {}
        }
        news
    }

    fn flows(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_some_and(|partition| partition.state == State::Flowing)
    }

    /// The leader says that a replica is nearer to us (KIP-392).
    fn prefer(&mut self, now: Instant, tp: &TopicPartition, broker: BrokerId) {
        let known = self.brokers.contains(&broker);
        let Some(partition) = self.partitions.get_mut(tp).filter(|it| it.state == State::Flowing) else {
            return;
        };
        if known {
            partition.replica = Some(Replica { broker, until: now + self.config.replica_lease });
            self.reschedule(tp);
        } else {
            // Nobody we could ask; metadata may know it soon, and if not, the leader has to do.
            self.refresh = true;
            self.back_to_leader(now, tp);
            self.pause_after_trouble(now, tp);
        }
    }

    fn records(&mut self, reply: &Reply<'_>, tp: &TopicPartition, records: &Bytes, data: &PartitionData) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        let from = partition.position;
        let listed = data.aborted_transactions.iter().flatten().map(|it| (it.producer_id, it.first_offset));
        let found = self.reader.read(from, records, data.high_watermark, AbortedTransactions::new(listed));
        let moved = found.next.offset > from.offset;
        if moved {
            partition.backoff.reset();
            partition.announced = false;
            partition.tell_epoch = true;
            partition.replica_failures = 0;
            if partition.replica.is_some() {
                partition.rackless_times = 0;
            }
            // What is seen of a field keeps all of it in memory; where nothing is seen nothing is kept.
            let bytes = if found.visible.is_empty() { 0 } else { records.len() };
            let chunk = partition.chunk(tp, found.next, found.visible);
            partition.position = found.next;
            self.store(from, chunk, reply.frame, bytes);
        }
        match found.error {
            // The broker has the rest of it, and sends it when asked from here (KIP-74).
            Some(error) if error.is_cut_short() && moved => {}
            Some(error) if error.is_cut_short() => {
                self.failed(tp, PartitionError::NoProgress { offset: from.offset });
            }
            Some(error) => self.failed(tp, PartitionError::Records(error)),
            None if moved => {}
            None => {
                // Only batches from before the position (§3 row 27).
                let tries = self
                    .pause_after_trouble(reply.now, tp)
                    .map_or(0, |partition| partition.backoff.failures());
                if tries >= TELLING {
                    self.failed(tp, PartitionError::NoProgress { offset: from.offset });
                }
            }
        }
        self.reschedule(tp);
    }

    /// Tells the application; and stops the partition, if asking again is of no use.
    pub(crate) fn failed(&mut self, tp: &TopicPartition, error: PartitionError) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if error.stops() {
            partition.state = State::Stopped;
        }
        self.events.push_back(Event::Failed {
            tp: tp.clone(),
            token: partition.token,
            position: partition.position,
            error,
        });
        self.reschedule(tp);
    }

    /// The broker has an error for us instead of records.
    fn refused(&mut self, reply: &Reply<'_>, tp: &TopicPartition, entry: Entry, data: &PartitionData) {
        let Reply { now, broker, endpoints, .. } = *reply;
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if partition.leader != Some(broker) {
            // Whatever is wrong at a replica, the leader knows better; above all where the log begins and ends (I9).
            return self.back_to_leader(now, tp);
        }
        match remedy(data.error_code) {
            Remedy::Reset if entry.last_fetched_epoch.is_some() => {
                // A leader that has lost the epoch of our last record says the same of a good position (L4).
                partition.tell_epoch = false;
            }
            Remedy::Reset => self.out_of_range(tp),
            Remedy::FindLeader => {
                if !self.hint(tp, data, endpoints) {
                    self.refresh = true;
                }
                self.pause_after_trouble(now, tp);
            }
            Remedy::Wait => {
                self.pause_after_trouble(now, tp);
            }
            remedy @ (Remedy::Doubt | Remedy::Refused) => {
                let tell = if matches!(remedy, Remedy::Refused) { 1 } else { TELLING };
                if let Some(partition) = self.pause_after_trouble(now, tp)
                    && partition.backoff.failures() >= tell
                    && !std::mem::replace(&mut partition.announced, true)
                {
                    self.failed(tp, PartitionError::Refused(data.error_code));
                }
                self.refresh = true;
            }
        }
        self.reschedule(tp);
    }

    /// The broker may have told who leads now (KIP-951): whether that is news.
    fn hint(&mut self, tp: &TopicPartition, data: &PartitionData, endpoints: &[NodeEndpoint]) -> bool {
        let Some(partition) = self.partitions.get(tp) else { return false };
        let Some(hint) = &data.current_leader else { return false };
        let Some(leader) = BrokerId::known(hint.leader_id) else { return false };
        if Some(hint.leader_epoch) <= partition.leader_epoch.or(Some(-1)) {
            return false;
        }
        let address =
            endpoints.iter().find(|endpoint| endpoint.node_id == hint.leader_id).and_then(|endpoint| {
                let port = u16::try_from(endpoint.port).ok().filter(|port| *port > 0)?;
                let host = Some(endpoint.host.clone()).filter(|host| !host.is_empty())?;
                Some(Broker { host, port, rack: endpoint.rack.clone() })
            });
        self.events.push_back(Event::LeaderHint {
            tp: tp.clone(),
            leader,
            epoch: hint.leader_epoch,
            address,
        });
        true
    }
}
