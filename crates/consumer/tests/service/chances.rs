//! Applications that do one thing after another at random, beside faults drawn at random.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::{Builder, Consumer, Listener, ListenerFuture, Rebalance, StartAt, TopicPartition};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use tokio::time::sleep;

use crate::support::{A_MOMENT, cluster, member, virtually};

/// Pseudo-random numbers: xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn seconds(&mut self, below: u64) -> Duration {
        Duration::from_secs(self.below(below))
    }
}

// ---- memory ------------------------------------------------------------------------------------------------------------

const PARTITIONS: i32 = 6;

/// What is read, and how far.
struct Reading {
    random: Random,
    cluster: Cluster,
    consumer: Consumer,
    /// Partitions below this number are assigned.
    owned: i32,
    paused: BTreeSet<i32>,
    ends: Vec<i64>,
    /// The largest record.
    most: u64,
}

impl Reading {
    async fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let brokers = random.one_of(&[1, 2, 3]);
        let cluster = Cluster::builder().in_memory().brokers(brokers).topic("orders", PARTITIONS);
        let cluster = cluster.start().await.unwrap();
        let nth = usize::try_from(seed % 3).unwrap();
        let (most, budget) =
            (random.one_of(&[200, 2_000, 20_000]), random.one_of(&[2_000, 10_000, 40_000, 200_000]));
        let builder = Consumer::builder(cluster.bootstrap())
            .dial(offtake::dial::InMemory::new(cluster.connector()))
            .spawn_on(tokio::runtime::Handle::current())
            .property("auto.offset.reset", "earliest")
            .configure(|config| {
                config.fetch_buffer_max_bytes = budget;
                config.max_poll_records = [1, 5, 500][nth];
                config.max_partition_fetch_bytes = [500, 5_000, 1 << 20][nth];
            });
        let consumer = builder.build().await.unwrap();
        let (owned, ends) = (PARTITIONS, vec![0; PARTITIONS as usize]);
        let mut reading = Self { random, cluster, consumer, owned, paused: BTreeSet::new(), ends, most };
        for partition in 0..PARTITIONS {
            for _ in 0..reading.random.below(120) {
                reading.produce(partition);
            }
        }
        reading.assign(PARTITIONS).await;
        reading
    }

    fn produce(&mut self, partition: i32) {
        let value = vec![7; self.random.below(self.most) as usize];
        self.cluster.produce("orders", partition, None, Some(&value)).unwrap();
        self.ends[partition as usize] += 1;
    }

    async fn assign(&mut self, owned: i32) {
        self.owned = owned;
        self.paused.retain(|partition| *partition < owned);
        let all: Vec<_> = (0..owned).map(|partition| ("orders", partition, 0)).collect();
        self.consumer.assign(all).await.unwrap();
    }

    /// One of the things that an application does. True if it may have to wait for records after it.
    async fn act(&mut self) -> bool {
        let partition = self.random.below(self.owned as u64) as i32;
        match self.random.below(14) {
            0 | 1 => {
                self.consumer.pause([("orders", partition)]).unwrap();
                self.paused.insert(partition);
            }
            2 | 3 => {
                self.consumer.resume([("orders", partition)]).unwrap();
                self.paused.remove(&partition);
            }
            4 => {
                let to = self.random.below(self.ends[partition as usize] as u64 + 1) as i64;
                self.consumer.seek(("orders", partition), StartAt::Offset(to.into())).await.unwrap();
            }
            5 => {
                let owned = 1 + self.random.below(PARTITIONS as u64) as i32;
                self.assign(owned).await;
            }
            6 => {
                sleep(Duration::from_millis(self.random.below(2000))).await;
                return false;
            }
            7 => {
                self.produce(partition);
                return false;
            }
            _ => return false,
        }
        true
    }

    /// The partitions that have records to hand out.
    fn behind(&self) -> Vec<i32> {
        let is_behind = |partition: &i32| {
            let position = self.consumer.position(("orders", *partition));
            position.is_none_or(|at| at < self.ends[*partition as usize])
        };
        (0..self.owned).filter(|it| !self.paused.contains(it)).filter(is_behind).collect()
    }
}

#[test]
fn i12_p5_however_little_memory_there_is_what_is_not_paused_is_read_on() {
    for seed in 1..=30 {
        println!("seed {seed}");
        virtually(async {
            let mut reading = Reading::begin(seed).await;
            let mut silent = 0;
            for step in 0..600 {
                let mut begins_anew = step < 400 && reading.act().await;
                if step == 400 {
                    reading.consumer.resume_all().unwrap();
                    reading.paused.clear();
                    begins_anew = true;
                }
                let wait = Duration::from_millis(1 + reading.random.below(1000));
                let count = reading.consumer.poll(wait).await.unwrap().len();
                let behind = reading.behind();
                silent = if begins_anew || count > 0 || behind.is_empty() { 0 } else { silent + 1 };
                assert!(silent < 40, "seed {seed}, step {step}: nothing of {behind:?} is read");
            }
        });
    }
}

// ---- a group -------------------------------------------------------------------------------------------------------------

const LIMIT: Duration = Duration::from_secs(20);

/// What a listener hears, and what is wrong with it.
#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    owned: BTreeSet<TopicPartition>,
    wrong: Vec<String>,
}

impl Hears {
    fn loses(&self, what: &str, of: &Rebalance) -> ListenerFuture {
        let mut heard = self.0.lock().unwrap();
        for partition in &of.partitions {
            if !heard.owned.remove(partition) {
                heard.wrong.push(format!("{what} of {partition}, which it does not have"));
            }
        }
        Box::pin(async { Ok(()) })
    }

    fn owned(&self) -> Vec<TopicPartition> {
        self.0.lock().unwrap().owned.iter().cloned().collect()
    }
}

impl Listener for Hears {
    fn assigned(&self, of: Rebalance) -> ListenerFuture {
        let mut heard = self.0.lock().unwrap();
        for partition in of.partitions {
            if !heard.owned.insert(partition.clone()) {
                heard.wrong.push(format!("{partition} is assigned twice"));
            }
        }
        Box::pin(async { Ok(()) })
    }

    fn revoked(&self, of: Rebalance) -> ListenerFuture {
        self.loses("revoked", &of)
    }

    fn lost(&self, of: Rebalance) -> ListenerFuture {
        self.loses("lost", &of)
    }
}

/// Two members of a group with four partitions.
struct Group {
    random: Random,
    cluster: Cluster,
    /// With the consumer protocol, or with an assignor of the classic one.
    assignor: Option<&'static str>,
    commits_by_itself: bool,
    members: [Consumer; 2],
    hears: [Hears; 2],
}

const NAMES: [&str; 2] = ["a", "b"];

impl Group {
    async fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let cluster = cluster(4).await;
        let assignor = random.one_of(&[Some("range"), Some("cooperative-sticky"), None]);
        let commits_by_itself = random.below(3) == 0;
        let hears = [Hears::default(), Hears::default()];
        let of = |nth: usize| {
            Self::builder(&cluster, nth, assignor, commits_by_itself).listener(hears[nth].clone())
        };
        let mut members = [of(0).build().await.unwrap(), of(1).build().await.unwrap()];
        for member in &mut members {
            member.subscribe("orders").await.unwrap();
        }
        Self { random, cluster, assignor, commits_by_itself, members, hears }
    }

    fn builder(cluster: &Cluster, nth: usize, assignor: Option<&str>, commits_by_itself: bool) -> Builder {
        let builder =
            member(cluster, NAMES[nth]).max_poll_interval(LIMIT).enable_auto_commit(commits_by_itself);
        let builder = match assignor {
            Some(assignor) => builder.property("partition.assignment.strategy", assignor),
            None => builder.property("group.protocol", "consumer"),
        };
        builder.default_api_timeout(Duration::from_secs(8))
    }

    async fn poll(&mut self) {
        let [one, other] = &mut self.members;
        let _ = tokio::join!(one.poll(A_MOMENT), other.poll(A_MOMENT));
    }

    /// The next heartbeat or commit of this member goes wrong.
    fn strike(&mut self, nth: usize) {
        const UNKNOWN_MEMBER: i16 = 25;
        let is_classic = self.assignor.is_some();
        let random = &mut self.random;
        let (api, fault) = match random.below(8) {
            0..4 => match is_classic {
                true => (ApiKey::Heartbeat, Fault::Fail(random.one_of(&[UNKNOWN_MEMBER, 27, 22, 16, 15]))),
                false => (
                    ApiKey::ConsumerGroupHeartbeat,
                    Fault::Fail(random.one_of(&[UNKNOWN_MEMBER, 110, 16, 15])),
                ),
            },
            4 => {
                let of_epoch = if is_classic { 22 } else { 113 };
                (ApiKey::OffsetCommit, Fault::Fail(random.one_of(&[UNKNOWN_MEMBER, of_epoch, 16])))
            }
            5 => (ApiKey::OffsetCommit, Fault::Delay(random.seconds(7))),
            6 => (ApiKey::OffsetCommit, Fault::ApplyThenLose),
            _ => (ApiKey::OffsetCommit, Fault::Late(random.seconds(7))),
        };
        self.cluster.inject(FaultRule::on(api, fault).client(NAMES[nth]).once());
    }

    /// What the call says is committed is committed.
    async fn commit(&mut self, nth: usize) {
        let member = &mut self.members[nth];
        let owned = member.assignment();
        let positions: Vec<_> = owned.iter().map(|partition| member.position(partition.clone())).collect();
        if member.commit_finished().await.is_err() {
            return;
        }
        let Ok(committed) = member.committed(owned.clone()).await else { return };
        for (partition, position) in owned.iter().zip(positions) {
            let at = committed.get(partition).map_or(0, |committed| committed.offset);
            assert!(at >= position.unwrap_or(0), "{partition}: {at} of {position:?}");
        }
    }

    /// Closes this member, by itself or by a handle, and begins another.
    async fn replace(&mut self, nth: usize) {
        let builder = Self::builder(&self.cluster, nth, self.assignor, self.commits_by_itself);
        let new = builder.listener(self.hears[nth].clone()).build().await.unwrap();
        let mut old = std::mem::replace(&mut self.members[nth], new);
        let timeout = Duration::from_secs(5);
        let is_told = if self.random.below(2) == 0 {
            let _ = old.close(timeout).await;
            true
        } else {
            let handle = old.handle();
            let polls = async { while old.poll(A_MOMENT).await.is_ok() {} };
            tokio::join!(handle.close(timeout), polls).0.is_ok()
        };
        let owned = self.hears[nth].owned();
        assert!(!is_told || owned.is_empty(), "{owned:?} after close");
        self.hears[nth].0.lock().unwrap().owned.clear();
        self.members[nth].subscribe("orders").await.unwrap();
    }

    async fn act(&mut self) {
        let nth = self.random.one_of(&[0, 1]);
        match self.random.below(12) {
            0 | 1 => self.strike(nth),
            2 => sleep(self.random.seconds(30)).await,
            3 => {
                for partition in 0..4 {
                    self.cluster.produce("orders", partition, None, Some(b"more")).unwrap();
                }
            }
            4 => {
                let _ = self.members[nth].unsubscribe().await;
                assert_eq!(self.hears[nth].owned(), [], "after unsubscribe");
                self.members[nth].subscribe("orders").await.unwrap();
            }
            5 | 6 => self.commit(nth).await,
            7 => self.replace(nth).await,
            _ => {
                for _ in 0..self.random.below(30) {
                    self.poll().await;
                }
            }
        }
    }

    /// Polls until each member has its half, and can commit. False if that takes too long.
    async fn settles(&mut self) -> bool {
        for _ in 0..1500 {
            self.poll().await;
            if self.members.iter().all(|member| member.assignment().len() == 2)
                && self.members[0].commit_finished().await.is_ok()
                && self.members[1].commit_finished().await.is_ok()
            {
                return true;
            }
        }
        false
    }
}

#[test]
fn h2_d2_d9_what_a_commit_and_a_listener_say_is_so_whatever_happens_to_a_group() {
    for seed in 1..=40 {
        println!("seed {seed}");
        virtually(async {
            let mut group = Group::begin(seed).await;
            for _ in 0..60 {
                group.act().await;
            }
            assert!(group.settles().await, "{:?}", group.members.each_ref().map(Consumer::health));
            for (member, hears) in group.members.iter().zip(&group.hears) {
                assert_eq!(hears.0.lock().unwrap().wrong, [""; 0], "seed {seed}");
                assert_eq!(member.assignment(), hears.owned(), "seed {seed}");
            }
        });
    }
}
