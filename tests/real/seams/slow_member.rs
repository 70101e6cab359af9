//! Beside a slow member: partitions that stay with the others flow, their commits are accepted, and revoked partitions
//! are read again as soon as the slow one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::{Consumer, Listener, ListenerFuture, Rebalance, Records};
use offtake_tests::{Oversleep, Shared, V4_3_0, shared, unique};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{PATIENCE, all, member};
use crate::library::program;

const PARTITIONS: i32 = 12;
/// One record for each partition every 20 ms.
const RATE: u64 = 600;
/// More than three sessions.
const SLOW: Duration = Duration::from_secs(20);
const SESSION: Duration = Duration::from_secs(6);
/// How long a partition that stays may rest, beyond its rest for a reader without a group; a tenth of the cost of a
/// session's end. The bench has the figure itself.
const REST: Duration = Duration::from_secs(1);
/// Within this time after the slow member is done, everything is read.
const AGAIN: Duration = Duration::from_secs(3);

/// The number of the reader without a group.
const WITNESS: usize = usize::MAX;

/// Deliveries and commits: by which member, of which partition, when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Read(i32),
    Committed,
    Refused,
}

type Entry = (Instant, usize, What);

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Entry>>>);

impl Diary {
    fn note(&self, who: usize, what: What) {
        self.0.lock().unwrap().push((Instant::now(), who, what));
    }

    fn note_read(&self, who: usize, records: &Records) {
        let read: BTreeSet<i32> = records.iter().map(|record| record.partition()).collect();
        read.into_iter().for_each(|partition| self.note(who, What::Read(partition)));
    }

    /// Who read each partition, from when on, in seconds since `began`: for the message of a failure.
    fn readers(&self, began: Instant) -> BTreeMap<i32, Vec<(f64, usize)>> {
        let mut readers: BTreeMap<i32, Vec<(f64, usize)>> = BTreeMap::new();
        for (at, who, what) in self.all() {
            let What::Read(partition) = what else { continue };
            let readers = readers.entry(partition).or_default();
            if readers.last().is_none_or(|(_, last)| *last != who) {
                readers.push(((at - began).as_secs_f64(), who));
            }
        }
        readers
    }

    fn all(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The readers of each partition in the last second, and after `since`.
    fn owners(&self, since: Instant) -> BTreeMap<i32, BTreeSet<usize>> {
        let mut owners: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
        for (at, who, what) in self.all().into_iter().rev() {
            if at <= since || at.elapsed() > Duration::from_secs(1) {
                break;
            }
            if let What::Read(partition) = what {
                owners.entry(partition).or_default().insert(who);
            }
        }
        owners
    }

    /// Waits until this many members share all partitions: since `since` and within the last second, each partition
    /// has been read, and by one member only.
    async fn shared_by(&self, members: usize, since: Instant) {
        let began = Instant::now();
        loop {
            let owners = self.owners(since);
            let who: BTreeSet<_> = owners.values().flatten().collect();
            let settled =
                owners.len() == PARTITIONS as usize && owners.values().all(|owners| owners.len() == 1);
            if settled && who.len() == members {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{members} members read {owners:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Takes its time in a revocation, once.
struct Slow {
    slow: bool,
    /// In milliseconds since the test began: when it began, and when it ended.
    at: Arc<[AtomicU64; 2]>,
    began: Instant,
}

impl Listener for Slow {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        let (slow, at, began) = (self.slow, Arc::clone(&self.at), self.began);
        Box::pin(async move {
            let now = || u64::try_from(began.elapsed().as_millis()).unwrap();
            if slow && at[0].load(Ordering::Relaxed) == 0 {
                at[0].store(now(), Ordering::Relaxed);
                sleep(SLOW).await;
                at[1].store(now(), Ordering::Relaxed);
            }
            Ok(())
        })
    }
}

struct Member {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Member {
    fn joins(of: &Shared, group: &str, topic: &str, who: usize, diary: &Diary, listener: Slow) -> Self {
        let builder = member(of, group)
            .property("partition.assignment.strategy", "cooperative-sticky")
            .property("session.timeout.ms", SESSION.as_millis())
            .property("heartbeat.interval.ms", "500")
            .property("enable.auto.commit", "false")
            .listener(listener);
        let stop = Arc::<AtomicBool>::default();
        let (stopped, topic, diary) = (Arc::clone(&stop), topic.to_owned(), diary.clone());
        let task = tokio::spawn(async move {
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe([topic.as_str()]).await.unwrap();
            let mut committing = tokio::task::JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
                diary.note_read(who, &records);
                if !records.is_empty() && committing.is_empty() {
                    let (commit, diary) = (consumer.commit_async(&records).unwrap(), diary.clone());
                    committing.spawn(async move {
                        let done = commit.await;
                        diary.note(who, if done.is_ok() { What::Committed } else { What::Refused });
                    });
                }
                while committing.try_join_next().is_some() {}
            }
            consumer.close(PATIENCE).await.unwrap();
        });
        Self { stop, task }
    }

    async fn leaves(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// Reads the topic without a group, beside the members. If a partition rests for this reader too, the cause is the
/// broker, the producer, or the machine.
fn witness(of: &Shared, topic: &str, diary: &Diary, until: &Arc<AtomicBool>) -> JoinHandle<()> {
    let builder = Consumer::builder(of.kafka.bootstrap());
    let (topic, diary, until) = (topic.to_owned(), diary.clone(), Arc::clone(until));
    tokio::spawn(async move {
        let mut consumer = builder.build().await.unwrap();
        consumer.assign(all(&topic, PARTITIONS)).await.unwrap();
        while !until.load(Ordering::Relaxed) {
            diary.note_read(WITNESS, &consumer.poll(Duration::from_millis(100)).await.unwrap());
        }
        consumer.close(PATIENCE).await.unwrap();
    })
}

/// SEAM11: cooperative-sticky. The first takes 20 s in its `revoked` while a third member joins; a fourth joins meanwhile.
#[test]
fn seam11_kept_partitions_flow_and_are_committed_while_another_member_revokes_slowly() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("seams"), PARTITIONS, &[]);
        let (group, diary, began) = (unique("group"), Diary::default(), Instant::now());
        let at: Arc<[AtomicU64; 2]> = Arc::default();
        let joins = |who: usize| {
            let listener = Slow { slow: who == 0, at: Arc::clone(&at), began };
            Member::joins(of, &group, &topic, who, &diary, listener)
        };
        let over = Arc::<AtomicBool>::default();
        let machine = Oversleep::new();
        let beside = Diary::default();
        let witness = witness(of, &topic, &beside, &over);
        let (tool, of_topic) = (of.tool.clone(), topic.clone());
        // Not awaited: it outlasts the test, on a topic of its own.
        std::thread::spawn(move || tool.trickle(&of_topic, PARTITIONS, RATE, 80));
        // One after the other, so that the first owns more than it keeps: then it has to revoke some.
        let mut members = vec![joins(1)];
        diary.shared_by(1, began).await;
        members.push(joins(0));
        diary.shared_by(2, began).await;
        let joined = Instant::now();
        members.push(joins(2));
        let time = |of: usize| Duration::from_millis(at[of].load(Ordering::Relaxed));
        while time(0).is_zero() {
            assert!(joined.elapsed() < PATIENCE, "nothing is revoked from the slow member");
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_secs(2)).await;
        members.push(joins(3));
        while time(1).is_zero() {
            sleep(Duration::from_millis(50)).await;
        }
        let (from, to) = (began + time(0), began + time(1));
        // What was read before says nothing: it may have to be given up.
        diary.shared_by(4, to).await;
        let settled = Instant::now();
        over.store(true, Ordering::Relaxed);
        let (late, allowance) = (machine.worst(), machine.allowance());
        let entries = diary.all();

        witness.await.unwrap();

        // Deliveries of a partition from before the join until it was over.
        let reads = |entries: &[Entry], partition: i32| -> Vec<(Instant, usize)> {
            let of_it = entries
                .iter()
                .filter(|(at, _, what)| *what == What::Read(partition) && *at > joined && *at < settled);
            of_it.map(|(at, who, _)| (*at, *who)).collect()
        };
        let longest = |reads: &[(Instant, usize)]| {
            let rests = reads.windows(2).map(|two| (two[1].0 - two[0].0, two[0].0 - began));
            rests.max().unwrap_or((SLOW, Duration::ZERO))
        };
        let witnessed = beside.all();
        let rests_anyway = (0..PARTITIONS).map(|index| longest(&reads(&witnessed, index))).max().unwrap();
        let mut rests: BTreeMap<i32, (Duration, Duration)> = BTreeMap::new();
        let mut again: BTreeMap<i32, Duration> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let reads = reads(&entries, partition);
            if reads.iter().all(|(_, who)| *who == 1) {
                rests.insert(partition, longest(&reads));
            } else {
                // A revoked partition, whoever had it, is read again soon after the slow member was done.
                let next = reads.iter().find(|(at, _)| *at > to).map_or(PATIENCE, |(at, _)| *at - to);
                again.insert(partition, next);
            }
        }
        let meanwhile = |wanted: What| {
            let (after, before) = (from + Duration::from_secs(3), to - Duration::from_secs(1));
            let of_it = entries
                .iter()
                .filter(|(at, who, what)| *who == 1 && *what == wanted && *at > after && *at < before);
            of_it.count()
        };
        let (committed, refused) = (meanwhile(What::Committed), meanwhile(What::Refused));
        eprintln!(
            "of {:?} to {:?} kept partitions rested {rests:?} (how long, and since when), for a reader without a group \
             {rests_anyway:?}; moved ones were read again {again:?} after the slow member was done; {committed} commits \
             meanwhile, {refused} refused; a thread overslept by up to {late:?}",
            time(0),
            time(1),
        );
        assert!(to - from >= SLOW);
        assert!(!rests.is_empty() && !again.is_empty(), "{rests:?} {again:?}");
        assert!(
            rests_anyway.0 < SESSION,
            "a reader without a group rests, too: nothing can be told of the members"
        );
        let bound = REST + rests_anyway.0 + allowance;
        assert!(
            rests.values().all(|(rest, _)| *rest < bound),
            "what stays rests: {rests:?}, the bound is {bound:?}; read by, since: {:?}",
            diary.readers(began)
        );
        assert!(
            again.values().all(|again| *again < AGAIN + rests_anyway.0 + allowance),
            "what moved is not read: {again:?}; read by, since: {:?}",
            diary.readers(began)
        );
        assert!(committed > 10, "Kafka takes commits while it waits for a member: {committed} were made");
        for member in members {
            member.leaves().await;
        }
    });
}
