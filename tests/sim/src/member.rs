//! A member: a typical application around a consumer, and its lives.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use offtake::{
    Builder, CloseOptions, Consumer, Error, ErrorKind, Event, GroupMembership, Handle, Handover, Headers,
    Listener, ListenerFuture, Next, OffsetAndMetadata, OwnedRecord, Position, Rebalance, Records, StartAt,
    SubscriptionPattern, TopicPartition,
};

use tokio::sync::Notify;

use crate::{
    clock::{self, ms},
    copying::{Copier, Readiness, Stepper, Turn},
    events::{Call, Place, What, Who},
    plan::{self, Blow, Commits, Leave, Plan, Reset, Resubscribe},
    producer::ID,
    random::Random,
    working,
    world::{Direct, Road, World},
};

/// The time for the last commit and for leaving.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);

/// The instructions to all members.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The run is over: close.
    pub(crate) stop: AtomicBool,
    /// No more faults: applications no longer pause partitions either.
    pub(crate) calm: AtomicBool,
    /// The application's own store, which all members share.
    kept: Mutex<BTreeMap<Place, Kept>>,
    /// Workers that have to stop, how, and after how long they start again.
    pub(crate) halts: Mutex<BTreeMap<usize, (Blow, u64)>>,
    pub(crate) halted: Notify,
}

/// The progress in a partition, which an application stores in one transaction with its results.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The leader epoch of the last record.
    epoch: i32,
    offset: i64,
    id: u64,
}

impl Orders {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Place, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of a life.
#[derive(Clone)]
pub(crate) struct MemberRun {
    pub(crate) world: World,
    pub(crate) plan: Arc<Plan>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) who: Who,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As planned, or with the run.
    Left,
    /// The consumer has failed for good.
    Failed,
    /// It was stopped, and is started again after this many milliseconds.
    Again(u64),
}

impl MemberRun {
    pub(crate) fn member(&self) -> &plan::Member {
        &self.plan.members[self.who.member]
    }

    pub(crate) fn tell(&self, what: What) {
        self.world.log.tell(what);
    }

    pub(crate) fn random(&self, stream: u64) -> Random {
        let who = u64::try_from(self.who.member).unwrap_or(0) << 32 | u64::from(self.who.life);
        Random::new(self.plan.seed ^ who.wrapping_mul(0x5851_F42D_4C95_7F2D), stream)
    }

    async fn build(&self) -> Result<Consumer, Error> {
        let watch = Watch { life: self.clone(), random: Mutex::new(self.random(7)) };
        self.builder().listener(watch).build().await
    }

    /// Its consumer, without the listener.
    pub(crate) fn builder(&self) -> Builder {
        let (plan, member, who) = (&self.plan, self.member(), self.who);
        let set = |yes: bool| if yes { "true" } else { "false" };
        let mut builder = Consumer::builder(crate::world::BOOTSTRAP)
            .group(plan.group_of(who.member))
            .property("client.id", who)
            .property("max.poll.interval.ms", plan.max_poll_interval)
            .property("max.poll.records", member.max_poll_records)
            .property("fetch.max.bytes", member.fetch_max_bytes)
            .property(
                "isolation.level",
                if member.read_committed { "read_committed" } else { "read_uncommitted" },
            )
            .property("auto.offset.reset", if plan.reset == Reset::Earliest { "earliest" } else { "latest" })
            .property(
                "enable.auto.commit",
                set(matches!(member.commits, Commits::Auto | Commits::Store | Commits::Each)),
            )
            .property("enable.auto.offset.store", set(member.commits != Commits::Store))
            .property("auto.commit.interval.ms", member.auto_commit_interval)
            .property("metadata.max.age.ms", plan.metadata_max_age)
            .property("request.timeout.ms", "10000")
            .property("default.api.timeout.ms", "20000");
        builder = if member.consumer_protocol {
            builder.property("group.protocol", "consumer")
        } else {
            builder
                .property("heartbeat.interval.ms", plan.heartbeat_interval)
                .property("session.timeout.ms", plan.session_timeout)
                .property("partition.assignment.strategy", &member.assignors)
        };
        if plan.opens_ahead {
            builder = builder.replay_ahead(self.random(5).next());
        }
        if plan.racks {
            let near = i32::try_from(who.member).unwrap_or(0) % plan.brokers;
            builder = builder.property("client.rack", crate::run::rack(near + 1));
        }
        if member.instance_id {
            let first = member.twin_of.unwrap_or(who.member);
            builder = builder.property("group.instance.id", format!("i{first}"));
        }
        if member.commits == Commits::Each {
            builder = builder.finish_each();
        }
        let (world, index, seed) = (self.world.clone(), who.member, self.random(0).next());
        let told = self.clone();
        builder = if plan.connections {
            builder.dial(Arc::new(Road { world: self.world.clone(), who, produces: false }))
        } else {
            builder.carrier(Box::new(Direct::new(self.world.clone(), who, plan.brokers)))
        };
        builder
            .replay(seed, self.plan.wall_clock(who.life))
            .spawn_with(move |engine| drop(world.spawn(index, engine)))
            .events(move |event| told.event(event))
    }

    fn event(&self, event: Event) {
        let who = self.who;
        let what = match event {
            Event::Assigned(change) => What::Assigned {
                who,
                places: places(&change.partitions),
                generation: change.generation.unwrap_or(-1),
            },
            Event::Revoked(change) => What::Revoked { who, places: places(&change.partitions) },
            Event::Lost(change) => What::Lost { who, places: places(&change.partitions) },
            Event::Reset { partition, from, to, reason, .. } => {
                What::Reset { who, at: place(&partition), from, to, reason: reason.to_string() }
            }
            Event::Truncated { partition, from, to, .. } => {
                What::TruncationTold { who, at: place(&partition), from, to }
            }
            Event::Error(error) => {
                let (kind, message) = (format!("{:?}", error.kind()), error.to_string());
                What::Failed { who, call: "event", kind, message, fatal: error.is_fatal() }
            }
            _ => return,
        };
        self.tell(what);
    }

    pub(crate) fn producer_failed(&self, call: &'static str, error: &Error) {
        let (kind, message) = (format!("{:?}", error.kind()), error.to_string());
        self.tell(What::ProducerFailed { who: self.who, call, kind, message });
    }

    /// Runs one life to its end.
    pub(crate) async fn live(self, until: Option<(Duration, Leave)>) -> Ended {
        if let Some(work) = self.plan.work.clone() {
            return working::live(self, work, until).await;
        }
        let steps = self.plan.copies.as_ref().filter(|copies| copies.steps);
        // The producer first: it aborts transactions that an earlier life left open.
        let copier = match self.plan.copies.as_ref().filter(|copies| !copies.steps) {
            Some(copies) => match Copier::build(&self, copies).await {
                Ok(copier) => Some(copier),
                Err(error) => {
                    self.producer_failed("build", &error);
                    return Ended::Failed;
                }
            },
            None => None,
        };
        self.tell(What::Started { who: self.who });
        let consumer = match self.build().await {
            Ok(consumer) => consumer,
            Err(error) => return self.failed("build", &error),
        };
        let mut client = match steps {
            Some(copies) => match Stepper::build(&self, copies, consumer).await {
                Ok(stepper) => Client::Steps(Box::new(stepper)),
                Err(error) => {
                    self.producer_failed("build", &error);
                    return Ended::Failed;
                }
            },
            None => Client::Polls(Box::new(consumer)),
        };
        if let Err(error) = self.subscribe(client.consumer()).await {
            return self.failed("subscribe", &error);
        }
        let end = until.map(|(after, how)| (clock::now() + after, how));
        let mut application = Application {
            random: self.random(3),
            stuck: BTreeMap::new(),
            paused: None,
            open: Vec::new(),
            turns: 0,
            changes: self.changes_to_come(),
            copier,
            life: self,
        };
        loop {
            let life = &application.life;
            if life.orders.stop.load(Ordering::Relaxed) {
                return application.leave(client, Leave::Close).await;
            }
            if let Some((_, how)) = end.filter(|(at, _)| clock::now() >= *at) {
                return application.leave(client, how).await;
            }
            life.stalls().await;
            let goes_on = application.resubscribes(client.consumer()).await
                && match &mut client {
                    Client::Polls(consumer) => application.turn(consumer).await,
                    Client::Steps(stepper) => application.step(stepper).await,
                };
            if !goes_on {
                drop(client);
                return Ended::Failed;
            }
        }
    }

    /// Subscribes as it last did in its previous life, if it had one; otherwise to all topics.
    async fn subscribe(&self, consumer: &mut Consumer) -> Result<(), Error> {
        let now = self.world.log.now();
        match self.member().resubscribes.iter().rfind(|change| ms(change.at) <= now) {
            Some(change) => self.subscribe_to(consumer, &change.topics, change.patterns).await,
            None => {
                let all: Vec<_> = (0..self.plan.topics.len()).collect();
                self.subscribe_to(consumer, &all, self.member().patterns).await
            }
        }
    }

    async fn subscribe_to(
        &self,
        consumer: &mut Consumer,
        topics: &[usize],
        patterns: bool,
    ) -> Result<(), Error> {
        let topics: Vec<_> = topics.iter().map(|topic| self.plan.topics[*topic].name.as_str()).collect();
        match self.member() {
            plan::Member { by_hand: true, .. } => self.assign(consumer, &topics).await,
            _ if !patterns => consumer.subscribe(topics).await,
            plan::Member { consumer_protocol: true, .. } => {
                consumer.subscribe_pattern(SubscriptionPattern::new(topics.join("|"))).await
            }
            _ => consumer.subscribe_patterns(topics).await,
        }
    }

    /// Assigns all partitions with which these topics were created.
    async fn assign(&self, consumer: &mut Consumer, topics: &[&str]) -> Result<(), Error> {
        let topics = self.plan.topics.iter().filter(|topic| topics.contains(&topic.name.as_str()));
        let partitions: Vec<_> = topics
            .flat_map(|topic| {
                (0..topic.partitions).map(|number| TopicPartition::new(topic.name.as_str(), number))
            })
            .collect();
        let before = consumer.assignment();
        let gone: Vec<_> = before.into_iter().filter(|held| !partitions.contains(held)).collect();
        let assigned = consumer.assign(partitions).await;
        self.tell(What::Revoked { who: self.who, places: places(&gone) });
        match assigned {
            // The assignment takes effect all the same.
            Err(error) if !error.is_fatal() => {
                let _ = self.failed("assign", &error);
                Ok(())
            }
            assigned => assigned,
        }
    }

    fn changes_to_come(&self) -> VecDeque<Resubscribe> {
        let now = self.world.log.now();
        self.member().resubscribes.iter().filter(|change| ms(change.at) > now).cloned().collect()
    }

    pub(crate) async fn stalls(&self) {
        let time = self.stalled();
        if !time.is_zero() {
            clock::sleep(time).await;
        }
    }

    /// How long the application remains stalled.
    pub(crate) fn stalled(&self) -> Duration {
        let until = self.world.lock().processes.get(&self.who.member).and_then(|process| process.stalled);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(clock::now()))
    }

    pub(crate) fn failed(&self, call: &'static str, error: &Error) -> Ended {
        let (message, fatal) = (error.to_string(), error.is_fatal());
        let kind = format!("{:?}", error.kind());
        self.tell(What::Failed { who: self.who, call, kind, message, fatal });
        Ended::Failed
    }
}

/// The client of a member.
enum Client {
    Polls(Box<Consumer>),
    /// A consumer with a producer, in transactions.
    Steps(Box<Stepper>),
}

impl Client {
    fn consumer(&mut self) -> &mut Consumer {
        match self {
            Self::Polls(consumer) => consumer,
            Self::Steps(stepper) => stepper.consumer(),
        }
    }

    async fn close(self, how: Leave) -> Result<(), Error> {
        match self {
            Self::Polls(consumer) => {
                let group_membership =
                    if how == Leave::Remain { GroupMembership::Remain } else { GroupMembership::Default };
                let options = CloseOptions::timeout(CLOSE).group_membership(group_membership);
                consumer.close_with(options).await
            }
            Self::Steps(stepper) => stepper.close(CLOSE).await,
        }
    }

    fn close_timeout(&self) -> Duration {
        match self {
            Self::Polls(_) => CLOSE,
            // Its two clients are closed one after the other.
            Self::Steps(_) => 2 * CLOSE,
        }
    }
}

/// The application's own state.
struct Application {
    life: MemberRun,
    random: Random,
    /// Partitions that stopped with an error, and where they continue.
    stuck: BTreeMap<TopicPartition, ()>,
    paused: Option<(TopicPartition, u32)>,
    /// Handed out, and to be processed in a later turn.
    open: Vec<OwnedRecord>,
    turns: u64,
    changes: VecDeque<Resubscribe>,
    /// Writes the copies, if the member copies.
    copier: Option<Copier>,
}

impl Application {
    /// Changes its subscription when due. False when the consumer has failed for good.
    async fn resubscribes(&mut self, consumer: &mut Consumer) -> bool {
        let now = self.life.world.log.now();
        while self.changes.front().is_some_and(|change| ms(change.at) <= now) {
            let Some(change) = self.changes.pop_front() else { break };
            let name = |topic: &usize| self.life.plan.topics[*topic].name.as_str().into();
            let topics = change.topics.iter().map(name).collect();
            self.life.tell(What::Resubscribed { who: self.life.who, topics });
            if let Err(error) = self.life.subscribe_to(consumer, &change.topics, change.patterns).await {
                let _ = self.life.failed("subscribe", &error);
                return false;
            }
        }
        true
    }

    /// Polls once and handles the result. False when the consumer has failed for good.
    async fn turn(&mut self, consumer: &mut Consumer) -> bool {
        let who = self.life.who;
        if let Some(copier) = &mut self.copier {
            match copier.go_back(consumer).await {
                Readiness::Poll => {}
                Readiness::Wait => return true,
                Readiness::Over => return false,
            }
        }
        let timeout = ms(self.life.member().poll_timeout);
        self.life.tell(What::PollBegins { who, timeout });
        let began = clock::now();
        let dropped = self.random.percent(self.life.member().drops);
        let polled = if dropped {
            let patience = ms(self.random.between(0, self.life.member().poll_timeout));
            tokio::time::timeout(patience, self.life.poll(consumer, timeout)).await.ok()
        } else {
            Some(self.life.poll(consumer, timeout).await)
        };
        self.life.tell(What::PollEnds { who, dropped: polled.is_none() });
        let idle = !matches!(&polled, Some(Ok(records)) if !records.is_empty());
        match polled {
            None => {}
            Some(Ok(records)) => {
                for record in &records {
                    let at = place(record.topic_partition());
                    self.life.tell(What::Delivered {
                        who,
                        at,
                        offset: record.offset(),
                        id: id_of(&record.value(), record.headers()),
                        dated: record.timestamp(),
                    });
                }
                self.read_lags(consumer);
                if !self.process(consumer, &records).await {
                    return false;
                }
            }
            Some(Err(error)) => {
                let _ = self.life.failed("poll", &error);
                if error.is_fatal() {
                    return false;
                }
                self.notes_what_stopped(&error);
                clock::sleep(ms(100)).await;
            }
        }
        self.unstick(consumer).await;
        self.pause_and_resume(consumer);
        // An application without records waits before the next poll: otherwise most of a run would be such polls.
        let rested = clock::now().saturating_duration_since(began);
        if idle && rested < ms(20) {
            clock::sleep(ms(20) - rested).await;
        }
        true
    }

    /// The same with the loop of `offtake-exactly-once`.
    async fn step(&mut self, stepper: &mut Stepper) -> bool {
        let began = clock::now();
        match stepper.turn().await {
            Turn::Over => return false,
            Turn::Copied => self.read_lags(stepper.consumer()),
            Turn::Idle => {
                self.read_lags(stepper.consumer());
                let rested = clock::now().saturating_duration_since(began);
                clock::sleep(ms(20).saturating_sub(rested)).await;
            }
            Turn::Failed(error) => {
                self.notes_what_stopped(&error);
                clock::sleep(ms(100)).await;
            }
        }
        self.unstick(stepper.consumer()).await;
        self.pause_and_resume(stepper.consumer());
        true
    }

    /// Notes a partition that stopped, for a seek. Where the client retries by itself, a seek would only lose its knowledge of the cut.
    fn notes_what_stopped(&mut self, error: &Error) {
        let stops = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge | ErrorKind::NoOffset);
        if let Some(partition) = error.partition().filter(|_| stops) {
            self.stuck.insert(partition.clone(), ());
        }
    }

    /// Reads the lag now and then, whatever was handed out (SAFE14).
    fn read_lags(&mut self, consumer: &Consumer) {
        self.turns += 1;
        if !self.turns.is_multiple_of(8) {
            return;
        }
        for (partition, lag) in consumer.lags() {
            if let Some(lag) = lag {
                self.life.tell(What::LagRead { who: self.life.who, at: place(&partition), lag });
            }
        }
    }

    async fn process(&mut self, consumer: &mut Consumer, records: &offtake::Records) -> bool {
        let (who, commits) = (self.life.who, self.life.member().commits);
        if let Some(copier) = &mut self.copier {
            return copier.copy(consumer, records).await;
        }
        if commits == Commits::Each {
            self.process_in_any_order(consumer, records, 20).await;
            return true;
        }
        let (low, high) = self.life.member().processing;
        for record in records {
            let takes = self.random.between(low, high);
            if takes > 0 {
                clock::sleep(ms(takes)).await;
            }
            let at = place(record.topic_partition());
            let (offset, id) = (record.offset(), id_of(&record.value(), record.headers()));
            self.life.keeps(&at, record.leader_epoch(), offset, id);
            self.life.tell(What::Processed { who, at, offset, id });
            if commits == Commits::Store
                && let Err(error) = consumer.store(&record)
                && error.kind() != ErrorKind::NotOwned
            {
                return self.life.failed("store", &error) != Ended::Failed;
            }
        }
        if records.is_empty() {
            return true;
        }
        if self.life.member().per_poll > 0 {
            clock::sleep(ms(self.life.member().per_poll)).await;
        }
        let committed = match commits {
            Commits::Sync => {
                let patience = ms(self.random.between(0, 50));
                if self.random.percent(self.life.member().drops) {
                    tokio::time::timeout(patience, consumer.commit(records)).await.unwrap_or(Ok(()))
                } else {
                    consumer.commit(records).await
                }
            }
            Commits::Async => consumer.commit_async(records).map(drop),
            Commits::Listener if self.random.percent(20) => consumer.commit_finished().await,
            _ => Ok(()),
        };
        match committed {
            Ok(()) => true,
            Err(error) => {
                let _ = self.life.failed("commit", &error);
                !error.is_fatal()
            }
        }
    }

    /// Processes records like a pool of workers: in any order, and some of them turns later.
    async fn process_in_any_order(&mut self, consumer: &Consumer, records: &Records, later_percent: u64) {
        let (who, (low, high)) = (self.life.who, self.life.member().processing);
        self.open.extend(records.into_iter().map(|record| record.detach()));
        let owned = consumer.assignment();
        self.open.retain(|record| owned.contains(record.topic_partition()));
        let mut later = Vec::new();
        while !self.open.is_empty() {
            let record = self.open.swap_remove(self.random.below(self.open.len()));
            if self.random.percent(later_percent) {
                later.push(record);
                continue;
            }
            let takes = self.random.between(low, high);
            if takes > 0 {
                clock::sleep(ms(takes)).await;
            }
            let at = place(record.topic_partition());
            self.life.tell(What::Processed {
                who,
                at,
                offset: record.offset(),
                id: id_of(&record.value(), record.headers()),
            });
            // Refused if the partition was revoked or rewound since: then the record is delivered again.
            let _ = record.finish();
        }
        self.open = later;
    }

    /// Continues a partition that stopped with an error from where it stopped: nothing is skipped.
    async fn unstick(&mut self, consumer: &mut Consumer) {
        if !self.stuck.is_empty() && self.life.member().commits == Commits::Each {
            // A seek confirms that all earlier records are finished.
            self.process_in_any_order(consumer, &Records::default(), 0).await;
        }
        for partition in std::mem::take(&mut self.stuck).into_keys() {
            let Some(position) = consumer.position(&partition) else { continue };
            let (who, at) = (self.life.who, place(&partition));
            match consumer.seek(partition, StartAt::Offset(Position::at(position))).await {
                Ok(()) => self.life.tell(What::Sought { who, at, to: position, epoch: -1 }),
                Err(error) => drop(self.life.failed("seek", &error)),
            }
        }
    }

    fn pause_and_resume(&mut self, consumer: &mut Consumer) {
        let calm = self.life.orders.calm.load(Ordering::Relaxed);
        if self.life.member().pauses_assigned && self.turns.is_multiple_of(3) {
            let held_back = consumer.paused();
            let held_back = held_back
                .into_iter()
                .filter(|partition| self.paused.as_ref().is_none_or(|(paused, _)| paused != partition));
            for partition in held_back {
                self.life.tell(What::Resumed { who: self.life.who, at: place(&partition) });
                let _ = consumer.resume([partition]);
            }
        }
        if let Some((partition, turns)) = self.paused.take() {
            if turns > 0 && !calm {
                self.paused = Some((partition, turns - 1));
            } else {
                self.life.tell(What::Resumed { who: self.life.who, at: place(&partition) });
                let _ = consumer.resume([partition]);
            }
        } else if self.random.percent(self.life.member().pauses) && !calm {
            let owned = consumer.assignment();
            if !owned.is_empty() {
                let partition = self.random.pick(&owned).clone();
                if consumer.pause([partition.clone()]).is_ok() {
                    self.life.tell(What::Paused { who: self.life.who, at: place(&partition) });
                    self.paused = Some((partition, 5));
                }
            }
        }
    }

    async fn leave(self, mut client: Client, how: Leave) -> Ended {
        let who = self.life.who;
        let consumer = client.consumer();
        if self.life.orders.stop.load(Ordering::Relaxed) {
            let owned = consumer.assignment();
            for partition in owned {
                if let Some(lag) = consumer.lag(&partition) {
                    self.life.tell(What::LagRead { who, at: place(&partition), lag });
                }
            }
        }
        match how {
            Leave::Drop => {
                self.life.tell(What::Crashed { who });
                drop(client);
            }
            Leave::Unsubscribe | Leave::Close | Leave::Remain => {
                if how == Leave::Unsubscribe
                    && let Err(error) = consumer.unsubscribe().await
                {
                    let _ = self.life.failed("unsubscribe", &error);
                }
                if let Some(copier) = self.copier {
                    copier.close().await;
                }
                self.life.tell(What::CloseBegins { who, timeout: client.close_timeout() });
                let of_producer = matches!(client, Client::Steps(_));
                match client.close(how).await {
                    Err(error) if of_producer && working::is_of_transactions(&error) => {
                        self.life.producer_failed("close", &error);
                    }
                    Err(error) => drop(self.life.failed("close", &error)),
                    Ok(()) => {}
                }
                self.life.tell(What::CloseEnds { who });
            }
        }
        Ended::Left
    }
}

/// The application's listener.
struct Watch {
    life: MemberRun,
    random: Mutex<Random>,
}

impl Watch {
    fn call(&self, call: Call, rebalance: Rebalance) -> ListenerFuture {
        let who = self.life.who;
        let fails =
            self.random.lock().unwrap_or_else(PoisonError::into_inner).percent(self.life.member().listener.1);
        let life = self.life.clone();
        Box::pin(async move {
            life.tell(What::ListenerBegins {
                who,
                call,
                places: places(&rebalance.partitions),
                generation: rebalance.generation,
            });
            // A listener that times out is dropped in the middle, which ends it too.
            let _ends = Ends { life: &life, call };
            life.hears(call, &rebalance.partitions, &rebalance.consumer).await;
            if call == Call::Assigned && life.member().pauses_assigned {
                life.pauses_what_it_is_given(&rebalance.partitions, &rebalance.consumer);
            }
            if call == Call::Assigned && life.member().keeps_offsets {
                life.goes_to_what_is_kept(&rebalance.partitions, &rebalance.consumer).await;
            }
            if fails { Err("the listener fails".into()) } else { Ok(()) }
        })
    }
}

impl Listener for Watch {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        self.call(Call::Assigned, rebalance)
    }

    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        self.call(Call::Revoked, rebalance)
    }

    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        self.call(Call::Lost, rebalance)
    }
}

/// Reports the end of a change of ownership.
struct Ends<'a> {
    life: &'a MemberRun,
    call: Call,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.life.tell(What::ListenerEnds { who: self.life.who, call: self.call });
    }
}

impl MemberRun {
    /// Polls for records and for changes of ownership: through the listener, or as values.
    async fn poll(&self, consumer: &mut Consumer, timeout: Duration) -> Result<Records, Error> {
        if !self.member().values {
            return consumer.poll(timeout).await;
        }
        let until = clock::now() + timeout;
        loop {
            match tokio::time::timeout_at(until.into(), consumer.next()).await {
                Err(_) => return Ok(Records::default()),
                Ok(Ok(Next::Records(records))) => return Ok(records),
                Ok(Ok(Next::Revoking(change))) => self.takes(Call::Revoked, change).await,
                Ok(Ok(Next::Lost(change))) => self.takes(Call::Lost, change).await,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Handles a change of ownership as a value.
    async fn takes(&self, call: Call, change: Handover) {
        let (who, places, generation) = (self.who, places(&change.partitions), change.generation);
        self.tell(What::ListenerBegins { who, call, places, generation });
        // A dropped poll may drop this in the middle: that releases the partitions too, and ends the change.
        let _ends = Ends { life: self, call };
        let change = change;
        self.hears(call, &change.partitions, &change.consumer).await;
    }

    /// Takes its time, and commits if that is how it commits.
    async fn hears(&self, call: Call, partitions: &[TopicPartition], consumer: &Handle) {
        let (takes, _) = self.member().listener;
        if takes > 0 {
            clock::sleep(ms(takes)).await;
        }
        if call == Call::Revoked && self.member().commits == Commits::Listener {
            let done = self.processed_up_to(partitions);
            if !done.is_empty()
                && let Err(error) = consumer.commit_offsets(done).await
            {
                let _ = self.failed("commit in revoked", &error);
            }
        }
    }

    /// Pauses the partitions; the application resumes them in one of its next turns.
    fn pauses_what_it_is_given(&self, partitions: &[TopicPartition], consumer: &Handle) {
        for partition in partitions {
            if consumer.pause([partition.clone()]).is_ok() {
                self.tell(What::Paused { who: self.who, at: place(partition) });
            }
        }
    }

    /// Stores the progress in a partition. A late write changes nothing: epoch and offset never go back.
    fn keeps(&self, at: &Place, epoch: Option<i32>, offset: i64, id: u64) {
        // A member that assigns by hand is another application with another store.
        let Some(epoch) = epoch.filter(|_| !self.member().by_hand) else { return };
        let mut kept = self.orders.kept();
        if kept.get(at).is_none_or(|kept| (kept.epoch, kept.offset) < (epoch, offset)) {
            kept.insert(at.clone(), Kept { epoch, offset, id });
        }
    }

    /// Seeks to the stored offsets: the pattern of offsets that are kept elsewhere.
    async fn goes_to_what_is_kept(&self, partitions: &[TopicPartition], consumer: &Handle) {
        for partition in partitions {
            let (who, at) = (self.who, place(partition));
            let kept = self.orders.kept().get(&at).copied();
            let Some(Kept { epoch, offset, .. }) = kept.filter(|kept| self.is_of_this_topic(&at, *kept))
            else {
                continue;
            };
            let mut next = Position::at(offset + 1);
            next.epoch = Some(epoch);
            // Reported first: the seek takes effect before the listener, which only `poll` drives, gets the result. If it is refused, the
            // partition is gone.
            self.tell(What::Sought { who, at, to: offset + 1, epoch });
            if let Err(error) = consumer.seek(partition.clone(), StartAt::Offset(next)).await {
                let _ = self.failed("seek in assigned", &error);
            }
        }
    }

    /// Whether the stored progress is of the present topic: it is forgotten with its topic, even if another takes the name.
    fn is_of_this_topic(&self, at: &Place, kept: Kept) -> bool {
        self.world.log.read(|events| {
            let last = events.iter().rev().find_map(|event| match &event.what {
                What::Appended { id, .. } if *id == kept.id => Some(true),
                What::Recreated { topic } | What::Deleted { topic } if *topic == at.topic => Some(false),
                _ => None,
            });
            last == Some(true)
        })
    }

    /// The progress of this life in partitions since it was given them: the next offset of each.
    fn processed_up_to(&self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        self.world.log.read(|events| {
            let mut done = Vec::new();
            for partition in partitions {
                let wanted = place(partition);
                // Records of a log that no longer exists are not worth a commit, though they were processed just now.
                let begins = events.iter().rposition(|event| match &event.what {
                    What::Assigned { who, places, .. } => *who == self.who && places.contains(&wanted),
                    What::TruncationTold { who, at, .. } | What::Reset { who, at, .. } => {
                        *who == self.who && *at == wanted
                    }
                    _ => false,
                });
                let since = &events[begins.unwrap_or(0)..];
                let handed: BTreeSet<u64> = since
                    .iter()
                    .filter_map(|event| match &event.what {
                        What::Delivered { who, at, id, .. } if *who == self.who && *at == wanted => Some(*id),
                        _ => None,
                    })
                    .collect();
                let last = since.iter().rev().find_map(|event| match &event.what {
                    What::Processed { who, at, offset, id } if *who == self.who && *at == wanted => {
                        handed.contains(id).then_some(*offset)
                    }
                    _ => None,
                });
                if let Some(offset) = last {
                    done.push((partition.clone(), OffsetAndMetadata::from(Position::at(offset + 1))));
                }
            }
            done
        })
    }
}

pub(crate) fn place(partition: &TopicPartition) -> Place {
    Place::new(partition.topic.as_str(), partition.partition)
}

pub(crate) fn places(partitions: &[TopicPartition]) -> Vec<Place> {
    partitions.iter().map(place).collect()
}

/// The number of a record: its value begins with it; a tombstone has it in a header.
pub(crate) fn id_of(value: &Option<&[u8]>, headers: Headers<'_>) -> u64 {
    let number = |bytes: &[u8]| bytes.get(..8)?.try_into().ok().map(u64::from_be_bytes);
    let id = match value {
        Some(value) => number(value),
        None => headers.first(ID).and_then(|header| number(header.value?)),
    };
    id.unwrap_or(u64::MAX)
}
