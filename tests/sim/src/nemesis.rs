//! The nemesis: carries out the faults of a plan, and heals what it did when their time is over.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::messages::ApiKey;
use offtake_broker::{Corrupt, Harm as Does, Model, Rewrite, Rule, Vintage};

use crate::{
    clock::{self, ms},
    events::{Place, What, Who},
    plan::{Harm, Odd, Plan},
    run::Cast,
    world::{GROUP, Obstacle, State, Trouble, World},
};

/// The topics of a plan.
pub(crate) fn create_topics(model: &mut Model, plan: &Plan) {
    for topic in &plan.topics {
        create_topic(model, plan, topic);
    }
}

fn create_topic(model: &mut Model, plan: &Plan, topic: &crate::plan::Topic) {
    let policy: &[(&str, &str)] = if topic.compacted { &[("cleanup.policy", "compact")] } else { &[] };
    let replicas = i16::try_from(plan.brokers).unwrap_or(1);
    let created = model.create_topic(&topic.name, topic.partitions, replicas, policy);
    debug_assert!(created.is_ok(), "{created:?}");
}

/// Each fault at its time; then all is healed.
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
            world.log.tell(What::Fault { class, text: format!("{:?}", fault.what) });
            if let Harm::Crash { member, returns } = fault.what {
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
        state.model.disarm_all();
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

/// What is to be undone.
enum End {
    Resume(i32),
    Restart(i32),
    Thaw(usize),
    Nothing,
}

impl End {
    fn carry_out(self, state: &mut State, now: Instant) {
        match self {
            Self::Resume(broker) => state.model.resume(now, broker),
            Self::Restart(broker) => state.model.restart(now, broker),
            Self::Thaw(member) => {
                let log = state.log.clone();
                if let Some(process) = state.processes.get_mut(&member).filter(|process| process.thaws(now)) {
                    log.tell(What::Thawed { who: Who { member, life: 0 } });
                    process.thaw();
                }
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

    /// Does it. What is to be undone, and when, if anything is.
    fn carry_out(&self, state: &mut State, now: Instant, harm: &Harm) -> Option<(Duration, End)> {
        let model = &mut state.model;
        match *harm {
            Harm::Slow { member, broker, by, lasts } => {
                let what = Obstacle::Slow(ms(by));
                state.troubles.push(Trouble { member, broker, until: now + ms(lasts), what });
            }
            Harm::Partition { member, broker, lasts, one_way } => {
                let what = Obstacle::Wall { one_way };
                state.troubles.push(Trouble { member, broker, until: now + ms(lasts), what });
            }
            Harm::Resolve { member, lasts } => {
                let what = Obstacle::Names;
                state.troubles.push(Trouble { member, broker: 0, until: now + ms(lasts), what });
            }
            Harm::Reset { member, broker } => state.reset_lines(member, broker),
            Harm::Cut { api, after } => arm(model, api, Does::Cut(after), 1),
            Harm::Lose { api, times } => arm(model, api, Does::ApplyThenLose, times),
            Harm::Swallow { api, times } => arm(model, api, Does::Swallow, times),
            Harm::Late { api, by, times } => arm(model, api, Does::Delay(ms(by)), times),
            Harm::Code { api, code, times } => arm(model, api, Does::Fail(code), times),
            Harm::Throttle { api, by } => arm(model, api, Does::Throttle(ms(by)), 1),
            Harm::Corrupt { times } => arm(model, 1, Does::Corrupt(Corrupt::Records), times),
            Harm::Odd { which, times } => {
                let (api, rewrite) = odd(which);
                arm(model, api, Does::Rewrite(rewrite), times);
            }
            Harm::PauseBroker { broker, lasts } => {
                model.pause(now, broker);
                return Some((ms(lasts), End::Resume(broker)));
            }
            Harm::CrashBroker { broker, lasts } => {
                model.crash(now, broker);
                return Some((ms(lasts), End::Restart(broker)));
            }
            Harm::MoveCoordinator { to } => model.move_coordinator(now, GROUP, to),
            Harm::LoadGroups { broker } => model.load_groups(now, broker, ms(800)),
            Harm::ForgetGroup => {
                model.forget_group(now, GROUP);
                self.tell(What::Forgotten);
            }
            Harm::MoveLeader { topic, partition, to } => {
                // A replica that is down or behind cannot lead: then nothing happens.
                let _ = model.move_leader(&self.topic(topic).name, partition, to);
            }
            Harm::EvictSessions { broker } => model.evict_fetch_sessions(broker),
            Harm::Vintage { broker, which } => {
                let vintage = [Vintage::V2_8, Vintage::V3_3, Vintage::V3_9, Vintage::V4_0];
                model.set_vintage(broker, vintage[usize::from(which) % vintage.len()]);
                model.close_connections(now, broker);
            }
            Harm::Crash { .. } => {}
            Harm::Freeze { member, lasts } => {
                let process = state.processes.entry(member).or_default();
                if process.frozen.is_none() {
                    self.tell(What::Frozen { who: Who { member, life: 0 } });
                }
                process.frozen = process.frozen.max(Some(now + ms(lasts)));
                return Some((ms(lasts), End::Thaw(member)));
            }
            Harm::Stall { member, lasts } => {
                state.processes.entry(member).or_default().stalled = Some(now + ms(lasts));
                return Some((ms(lasts), End::Nothing));
            }
            Harm::Grow { .. }
            | Harm::Recreate { .. }
            | Harm::Truncate { .. }
            | Harm::Retain { .. }
            | Harm::Compact { .. } => self.change_log(model, harm),
        }
        None
    }

    fn change_log(&self, model: &mut Model, harm: &Harm) {
        match *harm {
            Harm::Grow { topic } => {
                let name = &self.topic(topic).name;
                let partitions = model.partition_count(name).unwrap_or(1) + 1;
                if partitions <= 6 && model.add_partitions(name, partitions).is_ok() {
                    self.tell(What::Grown { topic: name.as_str().into(), partitions });
                }
            }
            Harm::Recreate { topic } => {
                let topic = self.topic(topic);
                // With no broker up there is nobody to create it again.
                let led = model.leader_of(&topic.name, 0).is_some();
                if led && model.delete_topic(&topic.name).is_ok() {
                    self.tell(What::Recreated { topic: topic.name.as_str().into() });
                    create_topic(model, self.plan, topic);
                }
            }
            Harm::Truncate { topic, partition, by } => {
                let name = &self.topic(topic).name;
                let Some((start, _, end)) = model.offsets_of(name, partition) else { return };
                let to = (end - by).max(start);
                let Some(leader) = model.leader_of(name, partition) else { return };
                if let Some(end) = model.elect_unclean(name, partition, leader, to) {
                    self.tell(What::Truncated { at: Place::new(name, partition), end });
                }
            }
            Harm::Retain { topic, partition, keep } => {
                let name = &self.topic(topic).name;
                let Some((_, high, _)) = model.offsets_of(name, partition) else { return };
                if let Some(start) = model.delete_records_before(name, partition, (high - keep).max(0)) {
                    self.tell(What::StartMoved { at: Place::new(name, partition), start });
                }
            }
            Harm::Compact { topic, partition } if self.topic(topic).compacted => {
                let name = &self.topic(topic).name;
                let before = model.records(name, partition);
                model.compact(name, partition);
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

/// Strikes members only: their `client.id` begins with `m`.
fn arm(model: &mut Model, api: i16, does: Does, times: u32) {
    if let Ok(api) = ApiKey::try_from(api) {
        model.arm(Rule::on(api, does).client("m").times(u64::from(times)));
    }
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
    }
}
