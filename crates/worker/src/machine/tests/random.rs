//! Random schedules, checked against a simple model: which records are finished, and what is committed of each partition.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 60;
const POLL: usize = 8;

struct Arena {
    world: World,
    random: Random,
    /// The existing records, each with its key and its leader epoch. Some offsets have no record, and a log that is cut gets
    /// others.
    log: BTreeMap<(i32, i64), (Option<u8>, i32)>,
    /// The offsets where logs were cut below a committed offset. A member that begins there gets a notice.
    cuts: BTreeMap<i32, i64>,
    /// The fetches of commits in flight, for assigned partitions.
    loading: BTreeMap<i32, (AssignmentId, Option<FinishedBeyond>)>,
    /// Records that were handled, or dead-lettered with a report of that.
    finished: BTreeSet<(i32, i64)>,
    committed: BTreeMap<i32, (i64, String)>,
    /// The position of each assigned partition.
    positions: BTreeMap<i32, i64>,
    /// The finished records known to the member that has their partition: they do not begin again. A loss erases those that were
    /// not committed.
    known: BTreeSet<(i32, i64)>,
    seed: u64,
}

impl Arena {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let order = [Order::Key, Order::Key, Order::Partition, Order::Unordered][random.below(4) as usize];
        let options = Options {
            order,
            concurrency: 1 + random.below(5) as usize,
            queue: 5 + random.below(30) as usize,
            retry: Retry::fixed(Duration::from_millis(100)).attempts(1 + random.below(3) as u32),
            breaker: (random.below(3) == 0).then(|| breaker().of_last(6).pause(Duration::from_millis(300))),
            ..options()
        };
        let batch = [1, 1, 4][random.below(3) as usize];
        let has_dead_letters = random.below(3) > 0;
        let mut log = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for offset in 0..RECORDS {
                let key = random.below(6);
                if offset == RECORDS - 1 || random.below(4) > 0 {
                    log.insert((partition, offset), ((key > 0).then_some(key as u8), 1));
                }
            }
        }
        Self {
            world: World::with(options, batch, has_dead_letters),
            random,
            log,
            cuts: BTreeMap::new(),
            loading: BTreeMap::new(),
            finished: BTreeSet::new(),
            committed: BTreeMap::new(),
            positions: BTreeMap::new(),
            known: BTreeSet::new(),
            seed,
        }
    }

    fn assign(&mut self, index: i32) {
        let (offset, metadata) = self.committed.get(&index).cloned().unwrap_or_default();
        let before = decode(index, offset, &metadata);
        self.world.paused.remove(&partition(index));
        let id = self.world.machine.assigned(&[partition(index)])[0].0;
        self.loading.insert(index, (id, before));
        let cut = self.cuts.get(&index).copied().filter(|cut| *cut < offset);
        if let Some(cut) = cut {
            self.world.machine.rewound(&partition(index), cut);
        }
        self.positions.insert(index, cut.unwrap_or(offset));
        self.world.drain();
    }

    /// Answers the fetch of a partition's commit.
    fn load(&mut self, index: i32) {
        if let Some((id, before)) = self.loading.remove(&index) {
            self.world.machine.loaded(self.world.now, id, before);
            self.world.drain();
        }
    }

    /// Polls some records of the partitions that are not paused.
    fn poll(&mut self) {
        let readable: Vec<_> = self
            .positions
            .iter()
            .filter(|(index, at)| **at < RECORDS && !self.world.paused.contains(&partition(**index)))
            .map(|(index, at)| (*index, *at))
            .collect();
        let nth = self.random.below(readable.len() as u64) as usize;
        let Some((index, at)) = readable.get(nth).copied() else { return };
        let count = 1 + self.random.below(POLL as u64) as usize;
        let records = self.log.range((index, at)..(index, RECORDS)).take(count);
        let items: Vec<_> = records
            .map(|((_, offset), (key, epoch))| Item { epoch: Some(*epoch), ..item(index, *offset, *key) })
            .collect();
        // Sometimes it is known that no record follows.
        let last = items.last().map_or(RECORDS, |item| item.offset);
        let behind =
            self.log.range((index, last + 1)..(index, RECORDS)).next().map_or(RECORDS, |((_, at), _)| *at);
        let next = if self.random.below(2) == 0 { last + 1 } else { behind };
        self.positions.insert(index, next);
        self.world.receive_items(index, items, next);
    }

    /// Cuts the log of a partition; other records replace those that are lost.
    fn cut(&mut self, index: i32) {
        let at = self.random.below(RECORDS as u64) as i64;
        let epoch = 1 + self.log.values().map(|(_, epoch)| *epoch).max().unwrap_or_default();
        for offset in at..RECORDS {
            self.log.remove(&(index, offset));
            if offset == RECORDS - 1 || self.random.below(4) > 0 {
                let key = self.random.below(6);
                self.log.insert((index, offset), ((key > 0).then_some(key as u8), epoch));
            }
        }
        let stays = |(of, offset): &(i32, i64)| *of != index || *offset < at;
        self.finished.retain(stays);
        // The commit's metadata may no longer apply.
        self.known.retain(|(of, _)| *of != index);
        self.world.letters.retain(|(_, rec)| rec.partition != index || rec.offset < at);
        let cut = self.cuts.entry(index).or_insert(at);
        *cut = at.min(*cut);
        if let Some(position) = self.positions.get_mut(&index).filter(|position| **position > at) {
            *position = at;
            self.world.machine.rewound(&partition(index), at);
            self.world.drain();
        }
    }

    fn handler_result(&mut self, always_done: bool) -> HandlerResult {
        match self.random.below(8) {
            _ if always_done => HandlerResult::Done,
            0 => failure(Poison),
            1 | 2 => failure(Again),
            _ => HandlerResult::Done,
        }
    }

    fn end_job(&mut self, always_done: bool) {
        if self.world.running.is_empty() {
            return;
        }
        let at = self.random.below(self.world.running.len() as u64) as usize;
        let (records, ticket) = self.world.running.remove(at);
        let handler_results: Vec<_> = records.iter().map(|_| self.handler_result(always_done)).collect();
        // As the machine is expected to count: in a lane, up to the first failure.
        let mut failed_lanes = BTreeSet::new();
        for (started, handler_result) in records.iter().zip(&handler_results) {
            let rec = &started.record;
            let lane = self.lane(rec);
            if *handler_result != HandlerResult::Done {
                failed_lanes.insert(lane);
            } else if !failed_lanes.contains(&lane) {
                self.finished.insert((rec.partition, rec.offset));
                self.known.insert((rec.partition, rec.offset));
            }
        }
        self.world.machine.job_ended(self.world.now, 0, &ticket, &Results::Each(handler_results), Vec::new());
        self.world.drain();
    }

    /// The lane that a record belongs to.
    fn lane(&self, rec: &Rec) -> (i32, Option<u8>, i64) {
        match (self.world.machine.options.order, rec.key) {
            (Order::Key, Some(key)) => (rec.partition, Some(key), -1),
            (Order::Partition, _) => (rec.partition, None, -1),
            _ => (rec.partition, None, rec.offset),
        }
    }

    fn end_letter(&mut self, always_written: bool) {
        if self.world.letters.is_empty() {
            return;
        }
        let at = self.random.below(self.world.letters.len() as u64) as usize;
        let (letter, rec) = self.world.letters.remove(at);
        let written = match self.random.below(20) {
            0 if !always_written => Err(offtake::Error::new(offtake::ErrorKind::Authorization, "no")),
            1 | 2 if !always_written => Err(offtake::Error::new(offtake::ErrorKind::Timeout, "late")),
            _ => {
                self.finished.insert((rec.partition, rec.offset));
                self.known.insert((rec.partition, rec.offset));
                Ok((TopicPartition::new("dlq", 0), None))
            }
        };
        self.world.machine.letter_ended(self.world.now, letter, written);
        self.world.drain();
    }

    fn commit(&mut self, only: Option<&[TopicPartition]>, succeeds: bool) {
        let commits = self.world.machine.take_commit(self.world.now, only);
        for commit in &commits {
            let index = commit.name.partition;
            let seed = self.seed;
            let is_finished = |offset: i64| {
                self.finished.contains(&(index, offset)) || !self.log.contains_key(&(index, offset))
            };
            assert!(
                (0..commit.what.offset).all(is_finished),
                "seed {seed}: passed what is not finished: {commit:?}"
            );
            let beyond =
                decode(commit.name.partition, commit.what.offset, &commit.what.metadata).unwrap_or_default();
            // Metadata from before a cut below the position contradicts the records that are there now.
            let is_known = |offset: i64| {
                let other = self.log.get(&(index, offset)).map(|(_, epoch)| *epoch);
                is_finished(offset) || beyond.contradicts(other, i64::MIN)
            };
            assert!(
                beyond.ranges.iter().all(|(from, to)| (*from..*to).all(is_known)),
                "seed {seed}: {commit:?}"
            );
            if succeeds {
                self.committed.insert(index, (commit.what.offset, commit.what.metadata.clone()));
                self.cuts.remove(&index);
            }
        }
        self.world.machine.commit_ended(&commits, |_| succeeds);
    }

    fn revoke(&mut self, index: i32) {
        let names = [partition(index)];
        self.world.machine.revoking(&names);
        self.world.drain();
        for _ in 0..self.random.below(6) {
            self.end_job(false);
            self.end_letter(true);
            self.check();
        }
        self.world.machine.cancel(&names);
        self.world.drain();
        self.commit(Some(&names), true);
        self.forget(index);
    }

    fn lose(&mut self, index: i32) {
        let (offset, metadata) = self.committed.get(&index).cloned().unwrap_or_default();
        let beyond = decode(index, offset, &metadata).unwrap_or_default();
        // A commit from before the cut may no longer apply.
        let is_cut = self.cuts.contains_key(&index);
        let is_said = |at: i64| {
            let epoch = self.log.get(&(index, at)).map(|(_, epoch)| *epoch);
            !is_cut && (at < offset || (beyond.contains(at) && !beyond.contradicts(epoch, i64::MIN)))
        };
        self.known.retain(|(of, at)| *of != index || is_said(*at));
        self.forget(index);
    }

    fn forget(&mut self, index: i32) {
        self.world.machine.removed(&[partition(index)]);
        self.world.drain();
        // A letter in flight may be written, but the worker does not learn that.
        self.world.letters.retain(|(_, rec)| rec.partition != index);
        self.world.paused.remove(&partition(index));
        self.positions.remove(&index);
        self.loading.remove(&index);
    }

    /// Checks what has begun since the last call, and how much waits.
    fn check(&mut self) {
        let seed = self.seed;
        let mut lanes = BTreeSet::new();
        for (records, _) in &self.world.running {
            let mut in_job = BTreeMap::new();
            for started in records {
                let rec = &started.record;
                let at = (rec.partition, rec.offset);
                assert!(
                    self.positions.contains_key(&rec.partition),
                    "seed {seed}: {rec:?} runs and is not assigned"
                );
                let lane = self.lane(rec);
                if let Some(before) = in_job.insert(lane, rec.offset) {
                    assert!(before < rec.offset, "seed {seed}: out of order in a batch");
                } else {
                    assert!(lanes.insert(lane), "seed {seed}: two jobs of a lane at once: {rec:?}");
                    let earlier = (0..rec.offset).filter(|offset| {
                        let Some((key, _)) = self.log.get(&(at.0, *offset)) else { return false };
                        self.lane(&Rec { offset: *offset, key: *key, ..rec.clone() }) == lane
                    });
                    for offset in earlier {
                        assert!(
                            self.finished.contains(&(at.0, offset)),
                            "seed {seed}: {rec:?} overtook {offset}"
                        );
                    }
                }
                assert!(!self.known.contains(&at), "seed {seed}: {rec:?} is done again");
            }
        }
        let options = &self.world.machine.options;
        assert!(self.world.running.len() <= options.concurrency, "seed {seed}");
        // The second time: what cannot go on.
        let mut most = 2 * options.queue + POLL + options.concurrency * self.world.machine.batch;
        if self.world.machine.has_dead_letters {
            // What is set aside: all of that as it was when letters began to fail, and a share of each partition after that.
            most += 2 * options.queue + PARTITIONS as usize * (options.queue.max(8) / 2 + POLL);
        }
        let metrics = self.world.machine.metrics();
        assert!(metrics.queued <= most, "seed {seed}: {} wait, of {most}", metrics.queued);
        let by_partition: usize = metrics.partitions.values().map(|partition| partition.queued).sum();
        assert_eq!(metrics.queued, by_partition, "seed {seed}");
        let running: usize = self.world.running.iter().map(|(records, _)| records.len()).sum();
        assert_eq!(metrics.running, running, "seed {seed}");
        assert_eq!(metrics.queued_bytes, metrics.queued * 10, "seed {seed}");
    }

    fn step(&mut self) {
        let index = self.random.below(PARTITIONS as u64) as i32;
        if self.random.below(4) == 0 {
            self.load(index);
        }
        match self.random.below(100) {
            0..30 => self.poll(),
            30..75 => self.end_job(false),
            75..85 => self.end_letter(false),
            85..90 => self.world.pass(Duration::from_millis(60)),
            90..95 => {
                let succeeds = self.random.below(4) > 0;
                self.commit(None, succeeds);
            }
            95..98 if self.positions.contains_key(&index) => self.revoke(index),
            98 if self.positions.contains_key(&index) => self.lose(index),
            99 => self.cut(index),
            _ if !self.positions.contains_key(&index) => self.assign(index),
            _ => {}
        }
        self.check();
    }

    /// With handlers that always succeed, everything is finished in the end. Stopped partitions are assigned to another member.
    fn settle(&mut self) {
        for round in 0..4000 {
            for index in 0..PARTITIONS {
                let stopped = self.world.machine.stopped();
                if stopped.iter().any(|stopped| stopped.partition == partition(index)) {
                    self.lose(index);
                }
                if !self.positions.contains_key(&index) {
                    self.assign(index);
                }
                self.load(index);
            }
            self.poll();
            self.end_job(true);
            self.end_letter(true);
            self.world.pass(Duration::from_millis(20));
            self.check();
            if round % 10 == 0 {
                self.commit(None, true);
            }
            if self.finished.len() == (PARTITIONS as usize) * (RECORDS as usize)
                && self.world.machine.is_idle()
            {
                break;
            }
        }
        // Records that were read again have to be finished again.
        for _ in 0..2000 {
            self.poll();
            self.end_job(true);
            self.end_letter(true);
            self.world.pass(Duration::from_millis(20));
            self.check();
        }
        self.commit(None, true);
        for index in 0..PARTITIONS {
            let committed = self.committed.get(&index).map(|(offset, _)| *offset);
            assert_eq!(committed, Some(RECORDS), "seed {}: partition {index} stands still", self.seed);
        }
        assert!(self.world.paused.is_empty(), "seed {}", self.seed);
    }
}

#[test]
fn whatever_happens_nothing_is_passed_that_is_not_finished_and_all_is_finished_in_the_end() {
    for seed in 0..400 {
        let mut arena = Arena::new(seed);
        (0..PARTITIONS).for_each(|index| arena.assign(index));
        for _ in 0..300 {
            arena.step();
        }
        arena.settle();
    }
}
