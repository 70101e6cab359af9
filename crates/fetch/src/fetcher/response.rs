//! Handles the response to a Fetch: for the session, for the broker, and for each of its partitions.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use offtake_machine::{Answer, BrokerId, CallError, CallId, Topic, TopicPartition};
use offtake_wire::{
    ErrorCode, Response,
    messages::fetch::{FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData},
    records::AbortedTransactions,
};

use super::Fetcher;
use crate::{
    BrokerError, Event, PartitionError, Watermarks,
    memory::Frame,
    node::{InFlight, NodeCall},
    partition::{Replica, State},
    session::Entry,
};

/// After this many failures in a row the engine is notified.
pub(super) const REPORT_AFTER: u32 = 3;

/// A response to a Fetch that is being handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) now: Instant,
    pub(super) broker: BrokerId,
    pub(super) endpoints: &'a [NodeEndpoint],
    frame: Frame,
}

/// An estimate of the size of each partition in a response besides its records, in bytes.
const PARTITION_HEADER: usize = 64;

/// The least memory that a response can hold, in bytes.
fn min_memory(response: &FetchResponse) -> usize {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let bytes =
        partitions.map(|data| data.records.as_ref().map_or(0, Bytes::len).saturating_add(PARTITION_HEADER));
    bytes.fold(0, usize::saturating_add)
}

impl Fetcher {
    /// The response to a Fetch, or the error.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let mut nodes = self.nodes.iter_mut();
        let taken = nodes.find_map(|(broker, node)| Some((*broker, node.call.take(id)?)));
        let Some((broker, in_flight)) = taken else { return };
        if self.closing {
            self.nodes.remove(&broker);
            return;
        }
        match answer {
            Ok(Answer { response: Response::Fetch(response), memory, .. }) => {
                let frame = self.memory.frame(memory.max(min_memory(&response)));
                self.on_fetch_response(now, broker, in_flight, frame, response);
            }
            Ok(_) => self.broker_failed(now, broker, BrokerError::UnexpectedResponse),
            Err(error) => match error {
                CallError::TooLarge { size, limit, .. } => self.too_large(now, broker, error, size, limit),
                error => self.broker_failed(now, broker, BrokerError::Call(error)),
            },
        }
    }

    /// Gives up calls that were never answered.
    pub(super) fn give_up_overdue(&mut self, now: Instant) {
        let overdue: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.call.in_flight().is_some_and(|in_flight| in_flight.deadline <= now))
            .map(|(broker, _)| *broker)
            .collect();
        for broker in overdue {
            if self.closing {
                self.nodes.remove(&broker);
                continue;
            }
            let error = CallError::TimedOut {
                address: broker.to_string(),
                api: offtake_wire::ApiKey::Fetch,
                after: self.config.request_timeout,
            };
            self.broker_failed(now, broker, BrokerError::Call(error));
        }
    }

    /// A request failed as a whole: positions stay, the session starts anew (FAILURES A1), and the broker is
    /// asked again after a pause. Leaders may have changed.
    fn broker_failed(&mut self, now: Instant, broker: BrokerId, error: BrokerError) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        node.session.restart();
        node.idle_answers = 0;
        node.call = NodeCall::not_before(now + node.backoff.next_wait());
        if node.backoff.failures() >= REPORT_AFTER && !node.reported {
            node.reported = true;
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

    fn on_fetch_response(
        &mut self,
        now: Instant,
        broker: BrokerId,
        in_flight: InFlight,
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
                // The broker no longer knows the topics' ids, or knows new ones: a topic may have been
                // created again meanwhile, and only the metadata shows that.
                self.refresh |= code == ErrorCode::FetchSessionTopicIdError;
                // A session may be lost at any time: a full request follows at once (FAILURES I1), but only once.
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
        node.session.accept(response.session_id);
        node.refusals = 0;
        if node.oversize_candidates.pop_front().is_some() {
            // This partition's batch fits; the oversized one is another's.
            node.session.restart();
            self.on_topics(&reply, response.responses);
            return;
        }
        node.backoff.reset();
        if std::mem::take(&mut node.reported) {
            self.events.push_back(Event::BrokerRecovered { broker });
        }
        let (answered, has_news) = self.on_topics(&reply, response.responses);
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        if full && answered < asked {
            // The broker's session does not contain what we requested.
            node.session.restart();
        }
        if has_news {
            node.on_news();
        } else if !node.over_share.is_empty() && !in_flight.may_wait {
            return node.back_off_idle(now);
        }
        let waited = now.saturating_duration_since(in_flight.sent);
        let early = in_flight.may_wait && waited < self.config.max_wait / 2;
        if early && !has_news {
            // Brokers wait when they have nothing: one that does not wait must not make us spin (FAILURES
            // SAFE15).
            node.call = NodeCall::not_before(now + node.empty_backoff.next_wait());
        } else {
            node.empty_backoff.reset();
        }
    }

    /// Returns how many of the requested partitions were in the response, and whether any had news.
    fn on_topics(&mut self, reply: &Reply<'_>, topics: Vec<FetchableTopicResponse>) -> (usize, bool) {
        let broker = reply.broker;
        let mut seen = BTreeSet::new();
        let mut has_news = false;
        for topic in topics {
            let Some(name) = self.topic_name(broker, &topic) else { continue };
            for data in topic.partitions {
                let tp = TopicPartition::new(&name, data.partition_index);
                let Some(entry) = self.nodes.get(&broker).and_then(|node| node.session.entry(&tp)) else {
                    continue; // not asked for (FAILURES I3)
                };
                if !entry.topic_id.is_zero() && !topic.topic_id.is_zero() && entry.topic_id != topic.topic_id
                {
                    continue; // the topic that had this name before
                }
                if let Some(ends) = Watermarks::of(&data).filter(|_| data.error_code.is_ok())
                    && let Some(node) = self.nodes.get_mut(&broker)
                {
                    // Also for a partition that is no longer fetched, because the broker does not repeat its
                    // watermarks.
                    node.session.learn_watermarks(&tp, ends);
                }
                if seen.insert(tp.clone()) {
                    if data.records.as_ref().is_some_and(|records| !records.is_empty())
                        && let Some(node) = self.nodes.get_mut(&broker)
                    {
                        node.session.note_records(&tp);
                    }
                    has_news |= self.on_partition(reply, &tp, entry, data); // a second time it is a repeat (FAILURES I4)
                }
            }
        }
        (seen.len(), has_news)
    }

    fn topic_name(&self, broker: BrokerId, topic: &FetchableTopicResponse) -> Option<Topic> {
        if topic.topic_id.is_zero() {
            Some(Topic::from(topic.topic.as_str()))
        } else {
            self.nodes.get(&broker)?.session.named(topic.topic_id).cloned()
        }
    }

    /// Handles one partition of the response. Returns whether it had news.
    fn on_partition(
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
            return true; // asked for before a seek, a revoke, a new leader (FAILURES I7, I8, E3)
        };
        if !data.error_code.is_ok() {
            self.on_partition_error(reply, tp, entry, &data);
            return true;
        }
        (partition.unknown_epochs, partition.moves) = (0, 0);
        if let Some(watermarks) = Watermarks::of(&data)
            && partition.watermarks.replace(watermarks) != Some(watermarks)
        {
            let token = partition.token;
            self.events.push_back(Event::Watermarks { partition: tp.clone(), token, watermarks });
        }
        if data.diverging_epoch.as_ref().is_some_and(|end| end.end_offset >= 0) {
            partition.state = State::AwaitingStart;
            partition.send_epoch = false;
            self.events.push_back(Event::Diverged {
                partition: tp.clone(),
                token: partition.token,
                position: partition.position,
            });
            self.reschedule(tp);
            return true;
        }
        let from_leader = partition.leader == Some(broker);
        let records = data.records.clone().filter(|records| !records.is_empty());
        let mut has_news = false;
        if let Some(records) = records {
            has_news = true;
            self.on_records(reply, tp, &records, &data);
        } else {
            partition.backoff.reset();
            partition.reported = false;
        }
        match BrokerId::known(data.preferred_read_replica) {
            Some(replica) if from_leader && replica != broker => {
                has_news = true;
                self.prefer_replica(now, tp, replica);
            }
            // Only a leader names a preferred replica, so this broker is not the expected replica. It might
            // answer like this, without records, for as long as the lease lasts.
            Some(_) if !from_leader && self.is_fetching(tp) => {
                self.refresh = true;
                self.back_to_leader(now, tp);
                self.back_off(now, tp);
            }
            _ => {}
        }
        has_news
    }

    fn is_fetching(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_some_and(|partition| partition.state == State::Fetching)
    }

    /// The leader names a preferred read replica (KIP-392).
    fn prefer_replica(&mut self, now: Instant, tp: &TopicPartition, broker: BrokerId) {
        let Some(partition) = self.partitions.get_mut(tp).filter(|it| it.state == State::Fetching) else {
            return;
        };
        let leader = partition.leader.and_then(|leader| self.nodes.get(&leader));
        let without_rack = leader.is_some_and(|leader| leader.without_rack_until.is_some());
        if self.routing.knows(broker) {
            partition.replica = Some(Replica { broker, until: now + self.config.replica_lease });
            self.reschedule(tp);
            if without_rack {
                // It has failed, and is named for another reason than our rack, which the leader was not told: it is tried
                // again, with pauses.
                self.back_off(now, tp);
            }
        } else {
            // The metadata does not contain it yet; until then the leader is asked.
            self.refresh = true;
            self.back_to_leader(now, tp);
            self.back_off(now, tp);
        }
    }

    fn on_records(&mut self, reply: &Reply<'_>, tp: &TopicPartition, records: &Bytes, data: &PartitionData) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        let from = partition.position;
        let listed = data.aborted_transactions.iter().flatten().map(|it| (it.producer_id, it.first_offset));
        let outcome = self.reader.read(from, records, data.high_watermark, AbortedTransactions::new(listed));
        let moved = outcome.next.offset > from.offset;
        if moved {
            partition.backoff.reset();
            partition.reported = false;
            partition.send_epoch = true;
            partition.no_progress_responses = 0;
            partition.replica_failures = 0;
            if partition.replica.is_some() {
                partition.without_rack_times = 0;
            }
            // A visible batch keeps the whole records field in memory; without one nothing is kept.
            let bytes = if outcome.visible.is_empty() { 0 } else { records.len() };
            let chunk = partition.chunk(tp, outcome.next, outcome.visible);
            partition.position = outcome.next;
            self.store(from, chunk, reply.frame, bytes);
        }
        match outcome.error {
            // The records that follow are requested from here, with a new watermark.
            Some(error) if error.is_beyond_the_end() && moved => {}
            // A batch that is cut short is an error only if it is the first: otherwise it is requested again
            // (KIP-74).
            Some(error) if error.is_cut_short() => {
                self.failed(tp, PartitionError::NoProgress { offset: from.offset });
            }
            Some(error) if error.is_beyond_the_end() => {
                // A follower's watermark may be late (KIP-392); the next response has a new one (FAILURES
                // INPUT39).
                self.fail_after_retries(reply.now, tp, PartitionError::Records(error));
            }
            Some(error) => self.failed(tp, PartitionError::Records(error)),
            None if moved => {}
            None => {
                // There are only batches from before the position (FAILURES INPUT27).
                self.fail_after_retries(reply.now, tp, PartitionError::NoProgress { offset: from.offset });
            }
        }
        self.reschedule(tp);
    }
}
