//! The nemesis: carries out the faults of a plan, and ends them when their time is over.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    messages::{
        ApiKey, GroupId, OffsetCommitRequest, OffsetDeleteRequest, RequestKind, ResponseKind, TopicName,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    },
    protocol::StrBytes,
};
use offtake_broker::{Corrupt, Fault as Does, FaultRule, Model, Rewrite, RuleId};

use crate::{
    clock::{self, ms},
    copying,
    events::{Place, What, Who},
    legacy,
    plan::{FaultKind, Odd, Plan},
    run::Cast,
    working,
    world::{GROUP, Obstacle, State, Trouble, World},
};

/// How long a coordinator loads its groups.
pub(crate) const LOADS: Duration = Duration::from_millis(800);

/// How long a broker lags behind after a topic was created again.
pub(crate) const LAGS_BEHIND: Duration = Duration::from_secs(2);

/// Creates the topics of a plan.
pub(crate) fn create_topics(model: &mut Model, plan: &Plan) {
    for topic in &plan.topics {
        create_topic(model, plan, topic);
    }
    copying::prepare(model, plan);
    working::prepare(model, plan);
}

fn create_topic(model: &mut Model, plan: &Plan, topic: &crate::plan::Topic) {
    let mut configs = Vec::new();
    if topic.compacted {
        configs.push(("cleanup.policy", "compact"));
    }
    if !topic.compression.is_empty() {
        configs.push(("compression.type", topic.compression.as_str()));
    }
    let replicas = i16::try_from(plan.brokers).unwrap_or(1);
    let created = model.create_topic(&topic.name, topic.partitions, replicas, &configs);
    debug_assert!(created.is_ok(), "{created:?}");
}

/// Carries out each fault at its time; then heals all.
pub(crate) async fn run(world: World, plan: Arc<Plan>, cast: Cast) {
    let start = clock::now();
    let mut ends: Vec<(Instant, End)> = Vec::new();
    let mut faults = plan.faults.iter().peekable();
    loop {
        let next_fault = faults.peek().map(|fault| start + ms(fault.at));
        let next_end = ends.iter().map(|(at, _)| *at).min();
        let Some(next) = [next_fault, next_end].into_iter().flatten().min() else { break };
        clock::sleep_until(next).await;
        while let Some(at) = ends.iter().position(|(at, _)| *at <= clock::now()) {
            let (_, end) = ends.remove(at);
            world.with(|state, now| end.carry_out(state, now));
        }
        while let Some(fault) = faults.next_if(|fault| start + ms(fault.at) <= clock::now()) {
            let class = fault.what.class();
            let (waits, text) = (waits(&fault.what), format!("{:?}", fault.what));
            world.log.tell(What::Fault { class, waits, text });
            if let FaultKind::Crash { member, returns } = fault.what {
                cast.kill(member, returns);
                continue;
            }
            let strike = Strike { plan: &plan, log: &world };
            if let Some((after, end)) =
                world.clone().with(|state, now| strike.carry_out(state, now, &fault.what))
            {
                ends.push((clock::now() + after, end));
            }
        }
    }
    clock::sleep_until(start + ms(plan.calm)).await;
    world.with(|state, now| {
        for (class, rule) in std::mem::take(&mut state.armed) {
            if state.model.hits(rule) > 0 {
                state.log.tell(What::Struck { class });
            }
            state.model.release(now, rule);
        }
        state.model.withdraw_all();
        state.troubles.clear();
        for broker in 1..=plan.brokers {
            state.model.resume(now, broker);
            state.model.restart(now, broker);
        }
        for (member, process) in &mut state.processes {
            if process.frozen.is_some() {
                state.log.tell(What::Thawed { who: Who { member: *member, life: 0 } });
                process.thaw();
            }
        }
    });
    cast.orders.calm.store(true, std::sync::atomic::Ordering::Relaxed);
    world.log.tell(What::Healed);
}

/// Whether the fault strikes the next request of a kind, if there is one.
fn waits(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Cut { .. }
            | FaultKind::Lose { .. }
            | FaultKind::Swallow { .. }
            | FaultKind::Late { .. }
            | FaultKind::Code { .. }
            | FaultKind::Throttle { .. }
            | FaultKind::Corrupt { .. }
            | FaultKind::Odd { .. }
            | FaultKind::Drop { .. }
            | FaultKind::Held { .. }
            | FaultKind::Legacy { .. }
            | FaultKind::ResetOffsets { .. }
            | FaultKind::DeleteOffsets { .. }
    )
}

fn port_of(state: &State, broker: i32) -> Option<u16> {
    state.model.brokers().find(|(id, ..)| *id == broker).map(|(_, _, port, _)| port)
}

/// Lets a broker listen at this port from now on, or at the next that no other broker has: as random ports are drawn for
/// each by itself, two may be the same, and what one broker is asked would be answered by another.
fn move_broker(state: &mut State, now: Instant, broker: i32, port: u16) {
    let taken =
        |state: &State, port: u16| state.model.brokers().any(|(id, _, used, _)| id != broker && used == port);
    let free = (port..=u16::MAX).find(|port| !taken(state, *port)).unwrap_or(port);
    state.model.readdress(now, broker, "localhost", free);
}

/// How to end a fault.
enum End {
    Release(RuleId),
    Resume(i32),
    Restart(i32),
    /// Restarts it, listening at this port.
    Comeback(i32, u16),
    Thaw(usize),
    Nothing,
}

impl End {
    fn carry_out(self, state: &mut State, now: Instant) {
        match self {
            Self::Resume(broker) => state.model.resume(now, broker),
            Self::Restart(broker) => state.model.restart(now, broker),
            Self::Comeback(broker, port) => {
                move_broker(state, now, broker, port);
                state.model.restart(now, broker);
            }
            Self::Thaw(member) => {
                let log = state.log.clone();
                if let Some(process) = state.processes.get_mut(&member).filter(|process| process.thaws(now)) {
                    log.tell(What::Thawed { who: Who { member, life: 0 } });
                    process.thaw();
                }
            }
            Self::Release(rule) => {
                if state.model.hits(rule) > 0 {
                    state.log.tell(What::Struck { class: "request held" });
                }
                state.model.release(now, rule);
                state.model.withdraw(rule);
            }
            Self::Nothing => {}
        }
    }
}

struct Strike<'a> {
    plan: &'a Plan,
    log: &'a World,
}

impl Strike<'_> {
    fn topic(&self, topic: usize) -> &crate::plan::Topic {
        &self.plan.topics[topic]
    }

    fn tell(&self, what: What) {
        self.log.log.tell(what);
    }

    /// Carries out the fault. Returns how and when to end it, if it has an end.
    fn carry_out(&self, state: &mut State, now: Instant, kind: &FaultKind) -> Option<(Duration, End)> {
        let class = kind.class();
        match *kind {
            FaultKind::Slow { member, broker, by, lasts } => {
                let what = Obstacle::Slow(ms(by));
                state.troubles.push(Trouble { member, broker, until: now + ms(lasts), what });
            }
            FaultKind::Partition { member, broker, lasts, one_way } => {
                let what = Obstacle::Wall { one_way };
                state.troubles.push(Trouble { member, broker, until: now + ms(lasts), what });
            }
            FaultKind::Resolve { member, lasts } => {
                let what = Obstacle::Names;
                state.troubles.push(Trouble { member, broker: 0, until: now + ms(lasts), what });
            }
            FaultKind::Reset { member, broker } => state.reset_lines(member, broker),
            FaultKind::Cut { api, after } => drop(arm(state, class, api, Does::Cut(after), 1)),
            FaultKind::Lose { api, times } => drop(arm(state, class, api, Does::ApplyThenLose, times)),
            FaultKind::Swallow { api, times } => drop(arm(state, class, api, Does::Swallow, times)),
            FaultKind::Late { api, by, times } => drop(arm(state, class, api, Does::Delay(ms(by)), times)),
            FaultKind::Code { api, code, times } => drop(arm(state, class, api, Does::Fail(code), times)),
            FaultKind::Throttle { api, by } => drop(arm(state, class, api, Does::Throttle(ms(by)), 1)),
            FaultKind::Corrupt { times } => {
                arm(state, class, 1, Does::Corrupt(Corrupt::Records), times);
            }
            FaultKind::Legacy { magic, packed, times } => {
                let rewrite = Rewrite::records("older message format", move |records| {
                    legacy::rewrite(records, magic, packed)
                });
                arm(state, class, 1, Does::Rewrite(rewrite), times);
            }
            FaultKind::Odd { which, times } => {
                let (api, rewrite) = odd(which);
                arm(state, class, api, Does::Rewrite(rewrite), times);
            }
            FaultKind::Drop { api, times } => drop(arm(state, class, api, Does::Drop, times)),
            FaultKind::Held { api, lasts } => {
                let rule = arm(state, class, api, Does::HoldRequest, 1)?;
                return Some((ms(lasts), End::Release(rule)));
            }
            FaultKind::Readdress { broker, port } => move_broker(state, now, broker, port),
            FaultKind::Comeback { broker, lasts, port } => {
                state.model.crash(now, broker);
                return Some((ms(lasts), End::Comeback(broker, port)));
            }
            FaultKind::Swap { one, other } => {
                let ports: Vec<_> =
                    [one, other].into_iter().filter_map(|broker| port_of(state, broker)).collect();
                if let [first, second] = ports[..] {
                    state.model.readdress(now, one, "localhost", second);
                    state.model.readdress(now, other, "localhost", first);
                }
            }
            FaultKind::DeleteOffsets { topic } => self.delete_offsets(state, now, topic),
            FaultKind::ResetOffsets { topic, percent } => self.reset_offsets(state, now, topic, percent),
            FaultKind::PauseBroker { broker, lasts } => {
                state.model.pause(now, broker);
                return Some((ms(lasts), End::Resume(broker)));
            }
            FaultKind::CrashBroker { broker, lasts } => {
                state.model.crash(now, broker);
                return Some((ms(lasts), End::Restart(broker)));
            }
            FaultKind::MoveCoordinator { to } => state.model.move_coordinator(now, GROUP, to),
            FaultKind::MoveTransactions { member, to } => {
                state.model.move_coordinator(now, &self.plan.transactional_id(member), to);
            }
            FaultKind::MoveCopies { partition, to } => {
                let _ = state.model.move_leader(copying::COPIES, partition, to);
            }
            FaultKind::MoveLetters { partition, to } => {
                for topic in working::topics(self.plan) {
                    let _ = state.model.move_leader(&topic, partition, to);
                }
            }
            FaultKind::HoldMarkers { lasts } => state.model.hold_markers(now + ms(lasts)),
            FaultKind::LoadGroups { broker } => state.model.load_groups(now, broker, LOADS),
            FaultKind::ForgetGroup => {
                state.model.forget_group(now, GROUP);
                self.tell(What::Forgotten);
            }
            FaultKind::MoveLeader { topic, partition, to } => {
                // A replica that is down or behind cannot lead: then nothing happens.
                let _ = state.model.move_leader(&self.topic(topic).name, partition, to);
            }
            FaultKind::EvictSessions { broker } => state.model.evict_fetch_sessions(broker),
            FaultKind::Vintage { broker, which } => {
                state.model.set_kafka_version(broker, copying::vintage_of(which));
                state.model.close_connections(now, broker);
            }
            FaultKind::Crash { .. } => {}
            FaultKind::Freeze { member, lasts } => {
                let process = state.processes.entry(member).or_default();
                if process.frozen.is_none() {
                    self.tell(What::Frozen { who: Who { member, life: 0 } });
                }
                process.frozen = process.frozen.max(Some(now + ms(lasts)));
                return Some((ms(lasts), End::Thaw(member)));
            }
            FaultKind::Stall { member, lasts } => {
                state.processes.entry(member).or_default().stalled = Some(now + ms(lasts));
                return Some((ms(lasts), End::Nothing));
            }
            FaultKind::Grow { .. }
            | FaultKind::Truncate { .. }
            | FaultKind::Elect { .. }
            | FaultKind::Delete { .. }
            | FaultKind::Retain { .. }
            | FaultKind::Compact { .. } => self.change_log(&mut state.model, kind),
            FaultKind::Recreate { topic } => self.create_again(state, now, topic),
        }
        None
    }

    fn delete_offsets(&self, state: &mut State, now: Instant, topic: usize) {
        let name = &self.topic(topic).name;
        let Some(coordinator) = state.model.coordinator(GROUP) else { return };
        let partitions = 0..state.model.partition_count(name).unwrap_or(0);
        let partitions = partitions
            .map(|partition| OffsetDeleteRequestPartition::default().with_partition_index(partition));
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.clone())))
            .with_partitions(partitions.collect());
        let request = OffsetDeleteRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str(GROUP)))
            .with_topics(vec![topic]);
        let asks = (ApiKey::OffsetDelete, 0);
        let answer = state.ask(now, coordinator, asks, &RequestKind::OffsetDelete(request));
        let Some(ResponseKind::OffsetDelete(answer)) = answer else { return };
        if answer.error_code != 0 {
            return;
        }
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            if partition.error_code == 0 {
                self.tell(What::OffsetDeleted { at: Place::new(name, partition.partition_index) });
                self.tell(What::Struck { class: "committed offsets deleted" });
            }
        }
    }

    fn reset_offsets(&self, state: &mut State, now: Instant, topic: usize, percent: i64) {
        let name = &self.topic(topic).name;
        let Some(coordinator) = state.model.coordinator(GROUP) else { return };
        for partition in 0..state.model.partition_count(name).unwrap_or(0) {
            let Some((start, high, _)) = state.model.offsets_of(name, partition) else { continue };
            let offset = start + (high - start) * percent / 100;
            let topic = OffsetCommitRequestTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_partitions(vec![
                    OffsetCommitRequestPartition::default()
                        .with_partition_index(partition)
                        .with_committed_offset(offset)
                        .with_committed_metadata(Some(StrBytes::default())),
                ]);
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(StrBytes::from_static_str(GROUP)))
                .with_topics(vec![topic]);
            let asks = (ApiKey::OffsetCommit, 8);
            let answer = state.ask(now, coordinator, asks, &RequestKind::OffsetCommit(request));
            let Some(ResponseKind::OffsetCommit(answer)) = answer else { continue };
            let codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
            if codes.map(|partition| partition.error_code).eq([0]) {
                self.tell(What::OffsetSet { at: Place::new(name, partition), offset });
                self.tell(What::Struck { class: FaultKind::ResetOffsets { topic: 0, percent }.class() });
            }
        }
    }

    /// Elects another leader, whose log ends at `end`.
    fn elect(&self, model: &mut Model, (topic, partition): (&str, i32), leader: i32, end: i64) {
        let from = model.offsets_of(topic, partition).map_or(0, |(_, high, _)| high);
        let end = model.elect_unclean(topic, partition, leader, end);
        if let Some((end, epoch)) = end.zip(model.leader_epoch_of(topic, partition)) {
            self.tell(What::Truncated { at: Place::new(topic, partition), from, end, epoch });
        }
    }

    /// For a while one of several brokers shows members the topic that was deleted: it lags behind.
    fn create_again(&self, state: &mut State, now: Instant, topic: usize) {
        let (topic, model) = (self.topic(topic), &mut state.model);
        let id = model.topic_id(&topic.name);
        // Without a live broker the topic could not be created again.
        let led = model.leader_of(&topic.name, 0).is_some();
        if !led || model.delete_topic(&topic.name).is_err() {
            return;
        }
        self.tell(What::Recreated { topic: topic.name.as_str().into() });
        create_topic(model, self.plan, topic);
        if let Some(id) = id.filter(|_| self.plan.brokers > 1) {
            let rule = FaultRule::on(
                offtake_broker::ApiKey::Metadata,
                Does::Rewrite(Rewrite::metadata_topic_id(id)),
            );
            let rule = rule.client("m").broker(self.plan.brokers).topic(topic.name.as_str());
            let rule = model.inject(rule.between(now, now + LAGS_BEHIND));
            state.armed.push(("metadata with the id of a deleted topic", rule));
        }
    }

    fn change_log(&self, model: &mut Model, kind: &FaultKind) {
        match *kind {
            FaultKind::Grow { topic } => {
                let name = &self.topic(topic).name;
                let partitions = model.partition_count(name).unwrap_or(1) + 1;
                if partitions <= 6 && model.add_partitions(name, partitions).is_ok() {
                    self.tell(What::Grown { topic: name.as_str().into(), partitions });
                }
            }
            FaultKind::Truncate { topic, partition, by } => {
                let name = &self.topic(topic).name;
                let Some((start, _, end)) = model.offsets_of(name, partition) else { return };
                let to = (end - by).max(start);
                let Some(leader) = model.leader_of(name, partition) else { return };
                self.elect(model, (name, partition), leader, to);
            }
            FaultKind::Elect { topic, partition, by, to } => {
                let name = &self.topic(topic).name;
                let Some((start, _, end)) = model.offsets_of(name, partition) else { return };
                if model.leader_of(name, partition).is_none() {
                    return;
                }
                self.elect(model, (name, partition), to, (end - by).max(start));
            }
            FaultKind::Delete { topic } => {
                let name = &self.topic(topic).name;
                if model.leader_of(name, 0).is_some() && model.delete_topic(name).is_ok() {
                    self.tell(What::Deleted { topic: name.as_str().into() });
                }
            }
            FaultKind::Retain { topic, partition, keep } => {
                let name = &self.topic(topic).name;
                let Some((_, high, _)) = model.offsets_of(name, partition) else { return };
                if let Some(start) = model.delete_records_before(name, partition, (high - keep).max(0)) {
                    self.tell(What::StartMoved { at: Place::new(name, partition), start });
                }
            }
            FaultKind::Compact { topic, partition } if self.topic(topic).compacted => {
                let name = &self.topic(topic).name;
                let before = model.records(name, partition);
                let empty = model.empty_batches(name, partition);
                model.compact(name, partition);
                if model.empty_batches(name, partition) > empty {
                    self.tell(What::Struck { class: "batch emptied by the cleaner" });
                }
                let after: BTreeSet<i64> =
                    model.records(name, partition).into_iter().map(|(offset, _)| offset).collect();
                for (offset, _) in before.iter().filter(|(offset, _)| !after.contains(offset)) {
                    self.tell(What::Compacted { at: Place::new(name, partition), offset: *offset });
                }
            }
            _ => {}
        }
    }
}

/// Adds a rule that strikes members only: their `client.id` begins with `m`.
fn arm(state: &mut State, class: &'static str, api: i16, does: Does, times: u32) -> Option<RuleId> {
    let api = offtake_broker::ApiKey::from_number(api)?;
    let rule = state.model.inject(FaultRule::on(api, does).client("m").times(u64::from(times)));
    state.armed.push((class, rule));
    Some(rule)
}

fn odd(which: Odd) -> (i16, Rewrite) {
    match which {
        Odd::FetchTwice => (1, Rewrite::partitions_repeated()),
        Odd::FetchUnasked => (1, Rewrite::unrequested_partition(77)),
        Odd::NoSession => (1, Rewrite::no_fetch_session()),
        Odd::AbortsReversed => (1, Rewrite::aborted_unsorted()),
        Odd::CommittedOmitted => (9, Rewrite::first_partition_omitted()),
        Odd::AssignedTwice => (68, Rewrite::assignment_repeated()),
        Odd::NegativeEpoch => (68, Rewrite::member_epoch(-1)),
        Odd::NoPartitions => (3, Rewrite::metadata_without_partitions()),
        Odd::OldEpoch => (3, Rewrite::metadata_from_the_past(1)),
        Odd::NegativeOffset => (2, Rewrite::listed_offset(-1)),
        Odd::UndefinedEpoch => (23, Rewrite::undefined_end_offset()),
        Odd::NoTopics => (3, Rewrite::metadata_without_topics()),
        Odd::NoEpochs => (3, Rewrite::metadata_without_epochs()),
        Odd::StrangeBrokers => (3, Rewrite::metadata_strange_brokers()),
        Odd::AbortedTwice => (1, Rewrite::aborted_repeated()),
        Odd::AbortedElsewhere => (1, Rewrite::aborted_elsewhere(987_654, 0)),
        Odd::PreferredReplica => (1, Rewrite::preferred_replica(1)),
        Odd::NoInterval => (68, Rewrite::heartbeat_interval(0)),
        Odd::CoordinatorNowhere => (10, Rewrite::coordinator_at(77, "localhost", 9)),
    }
}
