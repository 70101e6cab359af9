//! Fetch.

use std::collections::BTreeMap;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        FetchRequest, FetchResponse, TopicName,
        fetch_response::{FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData},
    },
    protocol::StrBytes,
};

use super::{
    Work,
    plan::{Key, Kind, Plan, Wanted, forgotten, named, replica_of},
    read::{PartitionRead, unreadable},
};
use crate::{
    model::{Model, millis},
    observe::Observed,
    request::{Context, Reply},
};

/// The epochs of a request that begins a session, and of one that ends it.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

impl Model {
    pub(crate) fn handle_fetch(&mut self, context: &Context, request: FetchRequest) -> Reply {
        let (wanted, kind) = match self.enter_session(context, &request) {
            Ok(entered) => entered,
            Err(code) => {
                self.refused(context, code);
                self.fetched_nothing(context, replica_of(&request));
                return FetchResponse::default().with_error_code(code.code()).into();
            }
        };
        let mut plan = Plan::new(&request, context.version, self.config.fetch_max_bytes, wanted, kind);
        let (readings, enough) = self.read_plan(context, &plan);
        let patience = millis(request.max_wait_ms);
        if enough || patience.is_zero() {
            return self.finish_fetch(context, plan, readings).into();
        }
        plan.unreadable = unreadable(&readings);
        self.fetches.park(context, self.now + patience, Work::Fetch(plan));
        Reply::Later
    }

    /// Applies a request to its session, and decides which partitions to read.
    fn enter_session(
        &mut self,
        context: &Context,
        request: &FetchRequest,
    ) -> Result<(Vec<Wanted>, Kind), ResponseError> {
        let ids = context.version >= 13;
        let named = named(request, context.version, &self.topics);
        let sessions = self.fetches.sessions.entry(context.broker).or_default();
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            sessions.close(id);
            let kind = if epoch == FINAL_EPOCH { Kind::Sessionless } else { Kind::Full { ids } };
            return Ok((named, kind));
        }
        let forgotten = forgotten(request, context.version);
        match sessions.resume(id, epoch, ids, named.clone(), &forgotten, self.now)? {
            None => Ok((named, Kind::Sessionless)),
            Some(epoch) => {
                let topics = &self.topics;
                let name_of = |id| topics.name_of(id).map(str::to_owned);
                let wanted = sessions.get_mut(id).map(|session| session.wanted(name_of)).unwrap_or_default();
                Ok((wanted, Kind::Incremental { session: id, epoch }))
            }
        }
    }

    /// Reports it if the reader is a client.
    fn fetched_nothing(&mut self, context: &Context, replica: i32) {
        if replica >= 0 {
            return;
        }
        let client = context.client_id.as_deref().unwrap_or_default().to_owned();
        self.observe(|at| Observed::FetchedNothing { at, broker: context.broker, client });
    }

    /// Builds the answer to a plan, and records in its session what was sent.
    pub(super) fn finish_fetch(
        &mut self,
        context: &Context,
        plan: Plan,
        readings: Vec<PartitionRead>,
    ) -> FetchResponse {
        let mut endpoints = BTreeMap::new();
        // Partitions that could not be read at all go last.
        let (mut answered, mut unreadable) = (Vec::new(), Vec::new());
        for (wanted, reading) in plan.wanted.into_iter().zip(readings) {
            if let PartitionRead::Unreadable(code) | PartitionRead::Refused(code) = &reading {
                self.refused(context, *code);
            }
            let readable = !matches!(reading, PartitionRead::Unreadable(_));
            let mut data = reading.into_data(wanted.key.partition);
            if context.version >= 16 {
                self.name_leader(&wanted, &mut data, &mut endpoints);
            }
            if readable { &mut answered } else { &mut unreadable }.push((wanted, data));
        }
        answered.append(&mut unreadable);

        let mut response = FetchResponse::default();
        let sessions = self.fetches.sessions.entry(context.broker).or_default();
        match plan.kind {
            Kind::Sessionless => {}
            Kind::Full { ids } => {
                let first = answered
                    .iter()
                    .map(|(wanted, data)| (wanted.clone(), data.high_watermark, data.log_start_offset));
                let slots = self.config.fetch_session_slots;
                response.session_id = sessions.begin((slots, ids, self.now), &mut self.random, first);
            }
            Kind::Incremental { session: id, epoch } => {
                response.session_id = id;
                match sessions.get_mut(id) {
                    Some(session) if session.epoch != epoch => {
                        // Another request arrived for the session while this one waited.
                        let code = ResponseError::InvalidFetchSessionEpoch;
                        self.refused(context, code);
                        self.fetched_nothing(context, plan.replica);
                        return response.with_error_code(code.code());
                    }
                    Some(session) => answered.retain(|(wanted, data)| session.is_news(&wanted.key, data)),
                    // The session was closed meanwhile: its last answer is a full one.
                    None => {}
                }
            }
        }
        let is_empty = |data: &PartitionData| data.records.as_ref().is_none_or(|records| records.is_empty());
        if answered.iter().all(|(_, data)| is_empty(data)) {
            self.fetched_nothing(context, plan.replica);
        }
        // Followers know the brokers' addresses already.
        if plan.replica < 0 {
            response.node_endpoints = endpoints.into_values().collect();
        }
        response.with_responses(group(answered))
    }

    /// Names the current leader to a client that asked another broker (KIP-951).
    fn name_leader(
        &self,
        wanted: &Wanted,
        data: &mut PartitionData,
        endpoints: &mut BTreeMap<i32, NodeEndpoint>,
    ) {
        let tells = [ResponseError::NotLeaderOrFollower.code(), ResponseError::FencedLeaderEpoch.code()];
        let Some(topic) = wanted.topic.as_deref().filter(|_| tells.contains(&data.error_code)) else {
            return;
        };
        let (leader, epoch) = self.current_leader(topic, wanted.key.partition);
        data.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
        if let Some(node) = self.nodes.all.get(&leader).filter(|node| node.up) {
            let endpoint = NodeEndpoint::default()
                .with_node_id(leader.into())
                .with_host(StrBytes::from_string(node.host.clone()))
                .with_port(i32::from(node.port))
                .with_rack(node.rack.clone().map(StrBytes::from_string));
            endpoints.insert(leader, endpoint);
        }
    }
}

/// Groups partitions by topic: consecutive partitions of one topic share an entry, so a topic may have several.
fn group(answered: Vec<(Wanted, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for (Wanted { key: Key { name, id, .. }, .. }, data) in answered {
        let same = |topic: &&mut FetchableTopicResponse| topic.topic.0 == name && topic.topic_id == id;
        if let Some(topic) = topics.last_mut().filter(same) {
            topic.partitions.push(data);
        } else {
            let topic = FetchableTopicResponse::default().with_topic(TopicName(name)).with_topic_id(id);
            topics.push(topic.with_partitions(vec![data]));
        }
    }
    topics
}
