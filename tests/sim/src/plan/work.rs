//! Members that are workers: what their handlers do, and what is done to them.

use serde::{Deserialize, Serialize};

use super::{Commits, Copies, Fault, Harm, Kind, Member, Odd, Plan, Reset};
use crate::random::Random;

/// What the workers of a plan have in common. Times are milliseconds, shares so many in a hundred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) order: Order,
    /// Records that a handler is given at once; 1: it is no handler of batches.
    pub(crate) batch: usize,
    pub(crate) concurrency: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    /// 0: without an end.
    pub(crate) attempts: u32,
    /// Least and most.
    pub(crate) delay: (u64, u64),
    pub(crate) jitter: bool,
    /// Of the topic of dead letters; none: there are no dead letters.
    pub(crate) letters: Option<i32>,
    /// Whose names their headers have: ours, Spring's, Connect's.
    pub(crate) headers: u8,
    pub(crate) delivery_timeout: u64,
    pub(crate) timeout: Option<u64>,
    pub(crate) grace: u64,
    pub(crate) close_timeout: u64,
    pub(crate) revoke_grace: Option<u64>,
    pub(crate) commit_interval: u64,
    pub(crate) metadata_bytes: usize,
    pub(crate) breaker: Option<Breaker>,
    /// How many keys there are, and the share of the first of them; one in ten records has none.
    pub(crate) keys: u64,
    pub(crate) hot: u64,
    /// The share of records that can never be handled: the handler says so, or says that they may be tried again.
    pub(crate) poison: u64,
    pub(crate) doomed: u64,
    /// The share of attempts that fail, panic, never end, take ten times as long, until all is calm.
    pub(crate) flaky: u64,
    pub(crate) panics: u64,
    pub(crate) hangs: u64,
    pub(crate) slow: u64,
    /// Of a thousand attempts, those that say that nothing can be handled.
    pub(crate) fatal: u64,
    /// From when to when every attempt fails.
    pub(crate) outages: Vec<(u64, u64)>,
    pub(crate) strikes: Vec<Strike>,
    /// Logs may be cut (unclean elections), topics be created again, an operator set offsets: what is handled is judged at the end only, as nobody can say in
    /// between who knows what of that.
    #[serde(default)]
    pub(crate) cuts: bool,
    /// Each record is written once more, to the topic of copies, in the transaction that commits it.
    #[serde(default)]
    pub(crate) transactional: bool,
    /// How long a record waits in each retry topic that it passes through, in turn; they have as many partitions as that of dead letters.
    #[serde(default)]
    pub(crate) retries: Vec<u64>,
    /// Handlers block their threads.
    #[serde(default)]
    pub(crate) blocking: bool,
    /// How long the application lets a worker go on of which a partition has stopped, before it starts it anew.
    pub(crate) restarts_after: u64,
}

impl Work {
    /// The retry topics in turn, and how long a record waits in each.
    pub(crate) fn retry_topics(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.retries.iter().zip(1..).map(|(delay, stage)| (format!("retry.{stage}"), *delay))
    }

    /// How many topics a record of this one has been through: none before those that are subscribed to.
    pub(crate) fn stage_of(&self, topic: &str) -> usize {
        let mut topics = self.retry_topics();
        topics.position(|(name, _)| name == topic).map_or(0, |index| index + 1)
    }

    /// Every partition of a retry topic.
    pub(crate) fn retry_partitions(&self) -> impl Iterator<Item = (String, i32)> + '_ {
        let partitions = self.letters.unwrap_or_default();
        self.retry_topics()
            .flat_map(move |(name, _)| (0..partitions).map(move |number| (name.clone(), number)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Key,
    Partition,
    Unordered,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    pub(crate) share: u64,
    pub(crate) window: usize,
    pub(crate) pause: u64,
    pub(crate) probes: usize,
}

/// Whoever is the `nth` to come to this step is struck there and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strike {
    pub(crate) step: Step,
    pub(crate) nth: u64,
    pub(crate) what: Blow,
    /// How long after it is gone it comes again.
    pub(crate) returns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Assigned,
    HandlerBegan,
    HandlerEnded,
    Retried,
    /// Its producer asks a broker to write a dead letter.
    LetterSent,
    LetterTold,
    CommitSent,
    HandedOver,
    Breaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Blow {
    Kill,
    Stop,
    StopNow,
}

/// In how many seeds in a hundred the members are workers, of those in which they copy nothing.
const WORK: u64 = 15;

/// In how many of these logs are cut and offsets are set, where a plan does that.
const CUTS: u64 = 50;
/// In how many of these topics are created again.
const RECREATES: u64 = 50;
/// In how many they work in transactions.
const TRANSACTIONAL: u64 = 30;
/// In how many of the others that have dead letters, and no cuts, there are retry topics.
const RETRIES: u64 = 50;
/// In how many of those without batches handlers block their threads.
const BLOCKING: u64 = 30;

/// Requests that matter to a worker: its dead letters, its commits, what was committed.
const WORK_APIS: &[i16] = &[0, 0, 0, 3, 8, 8, 8, 9, 9, 10, 12, 22, 68];

/// What brokers answer to Produce: some of it passes, some does not.
const PRODUCE_CODES: &[i16] = &[2, 3, 5, 6, 6, 7, 10, 19, 20, 29, 45, 59];

impl Plan {
    /// All members are workers. Nothing happens to the logs that takes back what was read, but cuts in some.
    pub(super) fn draw_work(&mut self, random: &mut Random) {
        if !random.percent(WORK) || self.copies.is_some() {
            return;
        }
        self.members.retain(|member| !member.by_hand);
        while self.members.len() < 2 {
            let number = u64::try_from(self.members.len()).unwrap_or(0);
            self.members.push(super::draw::member(random, number, self.protocol, self.calm, true));
        }
        let has = self.members.len();
        self.faults.retain(|fault| fault.what.member().is_none_or(|member| member < has));
        let cuts = random.percent(CUTS);
        let more = &mut Random::new(self.seed, 34);
        let (transactional, recreates) = (more.percent(TRANSACTIONAL), more.percent(RECREATES));
        let cuts = cuts && !transactional;
        let judged_in_the_end =
            |harm: &Harm| is_cut(harm) && (recreates || !matches!(harm, Harm::Recreate { .. }));
        self.faults.retain(|fault| !takes_back(&fault.what) || (cuts && judged_in_the_end(&fault.what)));
        (self.reset, self.opens_ahead) = (Reset::Earliest, false);
        let read_committed = random.percent(50);
        for member in &mut self.members {
            be_a_worker(member, read_committed);
        }
        for producer in &mut self.producers {
            producer.batches = producer.batches.min(60);
            producer.every = (self.calm / producer.batches).max(1);
            if let Kind::Transactional { hangs, .. } = &mut producer.kind {
                *hangs = false;
            }
        }
        let mut work = self.work(random);
        work.cuts = cuts && self.faults.iter().any(|fault| is_cut(&fault.what));
        if transactional {
            self.be_transactional(&mut work, more);
        } else if work.letters.is_some() && !work.cuts {
            work.draw_retries(&mut Random::new(self.seed, 35));
        }
        work.draw_blocking(&mut Random::new(self.seed, 37));
        if self.faults.is_empty() {
            work.strikes.clear();
        } else {
            for _ in 0..random.between(0, 6) {
                let at = random.between(10, self.calm.saturating_sub(500));
                let what = self.work_harm(random, self.calm - at, &work);
                self.faults.push(Fault { at, what });
            }
        }
        self.work = Some(work);
        self.keep_polling();
    }

    /// All of them write copies, and no dead letters: what has no copy is not done.
    fn be_transactional(&mut self, work: &mut Work, random: &mut Random) {
        (work.transactional, work.letters, work.poison, work.doomed) = (true, None, 0, 0);
        // Copies count too.
        (work.metadata_bytes, work.queue_bytes) = (0, work.queue_bytes.max(1 << 20));
        // Without dead letters a record that is out of attempts stops its partition.
        work.attempts = *random.pick(&[0, 3, 5]);
        self.copies = Some(Copies {
            partitions: i32::try_from(random.between(1, 3)).unwrap_or(1),
            transaction_version: *random.pick(&[0, 2, 2]),
            vintage: None,
            timeout: *random.pick(&[10_000, 10_000, 30_000, 60_000]),
            max_block: *random.pick(&[3_000, 10_000, 20_000]),
            linger: *random.pick(&[0, 0, 5, 100]),
            steps: false,
        });
        self.members.iter_mut().for_each(|member| member.read_committed = true);
        if !self.faults.is_empty() {
            for _ in 0..random.between(0, 8) {
                let at = random.between(10, self.calm.saturating_sub(500));
                let what = self.transaction_harm(random, self.calm - at);
                self.faults.push(Fault { at, what });
            }
        }
    }

    fn work(&self, random: &mut Random) -> Work {
        let breaker = random.percent(25).then(|| Breaker {
            share: *random.pick(&[20, 50, 80]),
            window: usize::try_from(random.between(3, 20)).unwrap_or(3),
            pause: random.between(200, 4_000),
            probes: usize::try_from(random.between(1, 4)).unwrap_or(1),
        });
        let letters = random.percent(88).then(|| i32::try_from(random.between(1, 3)).unwrap_or(1));
        let batch = *random.pick(&[1, 1, 1, 2, 7]);
        // A whole batch is done in time, once nothing is slow any more.
        let takes = self.members.iter().map(|member| member.processing.1).max().unwrap_or(0) * batch as u64;
        let timeout = random.percent(50).then(|| takes + random.between(100, 3_000));
        let attempts = *random.pick(&[0, 1, 2, 3, 5]);
        let least = *random.pick(&[1, 20, 100, 500]);
        let rarely = |random: &mut Random, most: u64| {
            if random.percent(50) { 0 } else { random.between(1, most) }
        };
        let never_done = |share: u64| if letters.is_some() { share } else { 0 };
        let (poison, doomed) = (rarely(random, 20), rarely(random, 8));
        // Without an end of attempts, or while a breaker counts none, such a record is tried for ever.
        let doomed = if attempts == 0 || breaker.is_some() { 0 } else { doomed };
        let calm = self.calm;
        let outages = (0..random.between(0, 2)).filter(|_| breaker.is_some() || random.percent(15));
        let outages: Vec<_> = outages.collect();
        let outages = outages.into_iter().map(|_| {
            let from = random.between(0, calm);
            (from, random.between(from, calm.min(from + 8_000)))
        });
        let outages = outages.collect();
        let strikes = (0..random.between(0, 4)).map(|_| strike(random)).collect();
        Work {
            order: *random.pick(&[Order::Key, Order::Key, Order::Key, Order::Partition, Order::Unordered]),
            batch,
            concurrency: *random.pick(&[1, 2, 4, 16]),
            queue: *random.pick(&[1, 5, 20, 100, 1_000]),
            queue_bytes: *random.pick(&[100, 4_000, 1 << 20, 1 << 20]),
            attempts,
            delay: (least, least * *random.pick(&[1, 4])),
            jitter: random.percent(50),
            letters,
            headers: u8::try_from(random.below(3)).unwrap_or(0),
            delivery_timeout: *random.pick(&[5_000, 20_000, 60_000]),
            timeout,
            grace: *random.pick(&[0, 300, 3_000, 10_000]),
            close_timeout: *random.pick(&[2_000, 5_000, 10_000]),
            revoke_grace: *random.pick(&[None, None, Some(0), Some(500), Some(4_000)]),
            commit_interval: *random.pick(&[10, 50, 200, 1_000, 5_000]),
            metadata_bytes: *random.pick(&[4_096, 4_096, 4_096, 60, 0]),
            breaker,
            keys: *random.pick(&[1, 3, 8, 100]),
            hot: *random.pick(&[0, 0, 40, 90]),
            poison: never_done(poison),
            doomed: never_done(doomed),
            flaky: rarely(random, 40),
            panics: rarely(random, 10),
            // What never ends is ended by its time alone.
            hangs: if timeout.is_some() { rarely(random, 10) } else { 0 },
            slow: rarely(random, 10),
            fatal: if random.percent(10) { random.between(1, 5) } else { 0 },
            outages,
            strikes,
            cuts: false,
            transactional: false,
            retries: Vec::new(),
            blocking: false,
            restarts_after: *random.pick(&[0, 0, 1_000, 4_000]),
        }
    }

    fn work_harm(&self, random: &mut Random, left: u64, work: &Work) -> Harm {
        let api = *random.pick(WORK_APIS);
        let broker = i32::try_from(random.between(1, u64::try_from(self.brokers).unwrap_or(1))).unwrap_or(1);
        let member = random.below(self.members.len());
        let partitions = u64::try_from(work.letters.unwrap_or(1)).unwrap_or(1);
        let partition = i32::try_from(random.between(0, partitions - 1)).unwrap_or(0);
        let few = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let short = random.between(1, left.min(3_000));
        let long = random.between(1, left.min(20_000));
        let code = |random: &mut Random, api| match api {
            0 => *random.pick(PRODUCE_CODES),
            api => super::draw::code_for(random, api),
        };
        match random.below(14) {
            0 | 1 => Harm::Lose { api, times: few },
            2 => Harm::Drop { api, times: 1 },
            3 => Harm::Held { api, lasts: left.min(8_000) },
            4 => Harm::Late { api, by: short, times: few },
            5 => Harm::Swallow { api, times: 1 },
            6 | 7 => Harm::Code { api, code: code(random, api), times: few },
            // Nobody may write there for a while.
            8 => Harm::Code { api: 0, code: 29, times: 1_000 },
            9 => Harm::MoveLetters { partition, to: broker },
            10 => Harm::Freeze { member, lasts: long },
            11 => Harm::Stall { member, lasts: short },
            _ => Harm::Crash { member, returns: Some(random.between(0, 3_000)) },
        }
    }
}

impl Work {
    /// What is out of attempts is put aside for a while, once or twice.
    fn draw_retries(&mut self, random: &mut Random) {
        if !random.percent(RETRIES) {
            return;
        }
        // Without an end of attempts nothing is ever put aside.
        self.attempts = if self.attempts == 0 { *random.pick(&[1, 2]) } else { self.attempts };
        let delays = (0..random.between(1, 2)).map(|_| *random.pick(&[50, 400, 1_500, 4_000]));
        self.retries = delays.collect();
    }

    /// Such a handler is told of two things in one way, that it has taken too long and that nobody waits for it. Without a limit it is the second.
    fn draw_blocking(&mut self, random: &mut Random) {
        if random.percent(BLOCKING) && self.batch == 1 {
            (self.blocking, self.timeout, self.hangs) = (true, None, 0);
        }
    }
}

fn be_a_worker(member: &mut Member, read_committed: bool) {
    (member.commits, member.read_committed, member.values) = (Commits::Worker, read_committed, true);
    (member.keeps_offsets, member.pauses_assigned, member.drops, member.pauses) = (false, false, 0, 0);
    (member.listener, member.per_poll, member.poll_timeout) = ((0, 0), 0, 0);
    member.resubscribes.clear();
    // A worker's patterns are matched by the client.
    member.patterns &= !member.consumer_protocol;
    member.max_poll_records = member.max_poll_records.min(50);
    member.processing = (member.processing.0, member.processing.1 * 4);
}

fn is_cut(harm: &Harm) -> bool {
    matches!(
        harm,
        Harm::Truncate { .. }
            | Harm::Elect { .. }
            | Harm::Recreate { .. }
            | Harm::ResetOffsets { .. }
            | Harm::DeleteOffsets { .. }
    )
}

/// Whether it takes back what was read or committed, or lets nobody see that it was.
fn takes_back(harm: &Harm) -> bool {
    matches!(
        harm,
        Harm::Recreate { .. }
            | Harm::Truncate { .. }
            | Harm::Elect { .. }
            | Harm::Delete { .. }
            | Harm::ResetOffsets { .. }
            | Harm::DeleteOffsets { .. }
            | Harm::ForgetGroup
            | Harm::Legacy { .. }
            | Harm::Vintage { .. }
            | Harm::Odd { which: Odd::UndefinedEpoch | Odd::NoEpochs, .. }
    )
}

fn strike(random: &mut Random) -> Strike {
    let steps = [
        Step::Assigned,
        Step::HandlerBegan,
        Step::HandlerEnded,
        Step::HandlerEnded,
        Step::Retried,
        Step::LetterSent,
        Step::LetterTold,
        Step::CommitSent,
        Step::HandedOver,
        Step::Breaker,
    ];
    let step = *random.pick(&steps);
    let most = match step {
        Step::HandlerBegan | Step::HandlerEnded => 200,
        Step::Retried | Step::CommitSent => 40,
        _ => 8,
    };
    Strike {
        step,
        nth: random.between(1, most),
        what: *random.pick(&[Blow::Kill, Blow::Kill, Blow::Stop, Blow::StopNow]),
        returns: *random.pick(&[0, 10, 500, 3_000]),
    }
}
