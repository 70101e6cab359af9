//! Plans whose members are workers.

use crate::{
    plan::{
        Blow, Breaker, Commits, Copies, FaultKind, Kind, Member, Moment, Odd, Order, Plan, Reset, Strike,
        Work,
    },
    random::Random,
};

/// The percentage of seeds whose members are workers, among those without copies.
const WORK: u64 = 15;

/// The percentage of these in which logs are cut and offsets are set, where a plan has such faults.
const CUTS: u64 = 50;
/// The percentage of these in which topics are created again.
const RECREATES: u64 = 50;
/// The percentage that work in transactions.
const TRANSACTIONAL: u64 = 30;
/// Of the others that have dead letters and no cuts, the percentage with retry topics.
const RETRIES: u64 = 50;
/// The percentages of those without batches whose handlers block their threads: in general, and among those whose logs are cut.
const BLOCKING: u64 = 30;
const BLOCKING_BESIDE_CUTS: u64 = 60;

impl Plan {
    /// Makes all members workers. Nothing happens to the logs that undoes reading, except for cuts in some plans.
    pub(super) fn draw_work(&mut self, random: &mut Random) {
        if !random.percent(WORK) || self.copies.is_some() {
            return;
        }
        self.be_one_group(random, true);
        let cuts = random.percent(CUTS);
        let more = &mut Random::new(self.seed, 34);
        let (transactional, recreates) = (more.percent(TRANSACTIONAL), more.percent(RECREATES));
        let cuts = cuts && !transactional;
        let judged_in_the_end =
            |kind: &FaultKind| is_cut(kind) && (recreates || !matches!(kind, FaultKind::Recreate { .. }));
        let nobody_sees = |kind: &FaultKind| {
            matches!(kind, FaultKind::Legacy { .. } | FaultKind::Odd { which: Odd::NoEpochs, .. })
                || kind.takes_back()
        };
        self.faults.retain(|fault| !nobody_sees(&fault.what) || (cuts && judged_in_the_end(&fault.what)));
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
        if work.blocking && work.cuts {
            // Somewhat slower than records arrive, so that some are at a handler.
            for member in &mut self.members {
                member.processing.1 = member.processing.1.max(60);
            }
            self.add_faults(&mut Random::new(self.seed, 38), (2, 6), Self::cut);
        }
        if self.faults.is_empty() {
            work.strikes.clear();
        } else {
            self.add_faults(random, (0, 6), |plan, random, left| plan.work_harm(random, left, &work));
        }
        self.work = Some(work);
        self.keep_polling();
    }

    /// All of them write copies, and no dead letters: a record without a copy is not finished.
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
            self.add_faults(random, (0, 8), Self::transaction_harm);
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
        // Without a limit of attempts, or while a breaker counts none, such a record is tried for ever.
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
            // A hanging attempt ends by its timeout alone.
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
}

impl Work {
    /// Records out of attempts are put aside for a while, once or twice.
    fn draw_retries(&mut self, random: &mut Random) {
        if !random.percent(RETRIES) {
            return;
        }
        // Without a limit of attempts no record is ever put aside.
        self.attempts = if self.attempts == 0 { *random.pick(&[1, 2]) } else { self.attempts };
        let delays = (0..random.between(1, 2)).map(|_| *random.pick(&[50, 400, 1_500, 4_000]));
        self.retries = delays.collect();
    }

    /// A blocking handler gets the same signal for a timeout and for a result that is no longer awaited. Without a timeout it is the
    /// second.
    fn draw_blocking(&mut self, random: &mut Random) {
        let share = if self.cuts { BLOCKING_BESIDE_CUTS } else { BLOCKING };
        if random.percent(share) && self.batch == 1 {
            (self.blocking, self.timeout, self.hangs) = (true, None, 0);
            // A slow one is still running when something happens to its partition.
            self.slow += if self.cuts { random.between(40, 70) } else { random.between(0, 30) };
            // With this order, every record begun beside it is in its lane.
            if self.cuts && random.percent(50) {
                self.order = Order::Partition;
            }
        }
    }
}

fn be_a_worker(member: &mut Member, read_committed: bool) {
    (member.commits, member.read_committed, member.values) = (Commits::Worker, read_committed, true);
    (member.keeps_offsets, member.pauses_assigned, member.drops, member.pauses) = (false, false, 0, 0);
    (member.listener, member.per_poll, member.poll_timeout) = ((0, 0), 0, 0);
    member.resubscribes.clear();
    // The client matches a worker's patterns.
    member.patterns &= !member.consumer_protocol;
    member.max_poll_records = member.max_poll_records.min(50);
    member.processing = (member.processing.0, member.processing.1 * 4);
}

/// Whether this fault to logs or offsets can be checked by what is left at the end.
fn is_cut(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Truncate { .. }
            | FaultKind::Elect { .. }
            | FaultKind::Recreate { .. }
            | FaultKind::ResetOffsets { .. }
            | FaultKind::DeleteOffsets { .. }
    )
}

fn strike(random: &mut Random) -> Strike {
    let steps = [
        Moment::Assigned,
        Moment::HandlerBegan,
        Moment::HandlerEnded,
        Moment::HandlerEnded,
        Moment::Retried,
        Moment::LetterSent,
        Moment::LetterTold,
        Moment::CommitSent,
        Moment::HandedOver,
        Moment::Breaker,
    ];
    let step = *random.pick(&steps);
    let most = match step {
        Moment::HandlerBegan | Moment::HandlerEnded => 200,
        Moment::Retried | Moment::CommitSent => 40,
        _ => 8,
    };
    Strike {
        step,
        nth: random.between(1, most),
        what: *random.pick(&[Blow::Kill, Blow::Kill, Blow::Stop, Blow::StopNow]),
        returns: *random.pick(&[0, 10, 500, 3_000]),
    }
}
