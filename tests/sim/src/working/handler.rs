//! The behaviour of the workers' handlers: they take their time, fail, panic, hang. All of it is drawn from the seed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use offtake::OwnedRecord;
use offtake_worker::{Attempt, Batch, Failure, Handled, ProducerRecord, dead_letters::Origin};

use super::baton;
use crate::{
    clock::{self, ms},
    copying,
    events::{How, Place, Reported, What, Who},
    member::{MemberRun, id_of, place},
    plan::{Order, Work},
    random::Random,
};

/// The handler of one worker.
#[derive(Clone)]
pub(super) struct Handler {
    life: MemberRun,
    work: Arc<Work>,
    calls: Arc<AtomicU64>,
    copies: Arc<AtomicU64>,
}

/// The fate of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Fails,
    Poison,
    Fatal,
    Panics,
    Hangs,
}

impl Handler {
    pub(super) fn new(life: &MemberRun, work: Work) -> Self {
        Self { life: life.clone(), work: Arc::new(work), calls: Arc::default(), copies: Arc::default() }
    }

    /// Handles one record.
    pub(super) async fn one(self, record: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (world, member) = (self.life.world.clone(), self.life.who.member);
        let work = async move {
            let handling = self.begin(call, &record, &attempt)?;
            let fate = self.works(call, handling.id).await;
            let result = outcome(self.life.who, call, fate);
            handling.end(&result);
            result
        };
        world.freezable(member, work).await
    }

    /// Handles one record on a thread of its own, which it blocks. Some check in between whether their result is still awaited.
    pub(super) fn blocks(self, record: &OwnedRecord, attempt: &Attempt) -> Result<(), Failure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut handling = self.begin(call, record, attempt)?;
        let (fate, takes) = self.draws(call, handling.id);
        let takes = self.life.stalled().saturating_add(takes);
        let steps: u32 = if call.is_multiple_of(2) { 1 } else { 4 };
        for _ in 0..steps {
            if !baton::block(takes / steps) {
                return Err(Failure::retry("the process is dead"));
            }
            if attempt.cancelled() {
                handling.told(How::Ignored);
                return Err(Failure::retry("nobody waits for it"));
            }
        }
        let result = outcome(self.life.who, call, fate);
        handling.end(&result);
        result
    }

    /// Handles several records. After a failure, the rest of that record's lane is left for the next time.
    pub(super) async fn batch(self, batch: Batch) -> Result<Handled, Failure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (world, member) = (self.life.world.clone(), self.life.who.member);
        let work = async move {
            let (mut handled, mut failed) = (Vec::new(), BTreeSet::new());
            for (record, attempt) in batch.attempts() {
                let lane = self.lane(record);
                if lane.as_ref().is_some_and(|lane| failed.contains(lane)) {
                    handled.push((None, Err(Failure::retry("it is behind one that failed"))));
                    continue;
                }
                let handling = self.begin(call, record, attempt)?;
                let fate = self.works(call, handling.id).await;
                let result = outcome(self.life.who, call, fate);
                if result.is_err() {
                    failed.extend(lane);
                }
                handled.push((Some(handling), result));
                if fate == Fate::Fatal {
                    return Err(all_failed(handled, &Failure::fatal("nothing can be handled")));
                }
            }
            let is_whole = Random::new(self.life.plan.seed ^ call, 33).percent(self.work.flaky / 4);
            if is_whole && !self.is_calm() {
                return Err(all_failed(handled, &Failure::retry("the whole batch fails")));
            }
            let results = handled.into_iter().map(|(handling, result)| {
                if let Some(handling) = handling {
                    handling.end(&result);
                }
                result
            });
            Ok(Handled::Each(results.collect()))
        };
        world.freezable(member, work).await
    }

    fn begin(&self, call: u64, record: &OwnedRecord, attempt: &Attempt) -> Result<Handling, Failure> {
        let mut handling = Handling::begin(&self.life, call, record, attempt);
        if self.work.transactional {
            let (who, id) = (self.life.who, handling.id);
            let copy = self.copies.fetch_add(1, Ordering::Relaxed);
            handling.copy = Some(copy);
            // Reported whatever the outcome: the copy of a failed attempt must not be visible.
            self.life.tell(What::Copying { who, transaction: copy, ids: vec![id] });
            let value = copying::value(id, who, copy);
            attempt.send(ProducerRecord::to(copying::COPIES).value(&value))?;
        }
        Ok(handling)
    }

    fn is_calm(&self) -> bool {
        self.life.orders.calm.load(Ordering::Relaxed)
    }

    /// The lane of a record.
    fn lane(&self, record: &OwnedRecord) -> Option<Vec<u8>> {
        match self.work.order {
            Order::Key => record.key().map(|key| key[..].to_vec()),
            Order::Partition => Some(Vec::new()),
            Order::Unordered => None,
        }
    }

    /// Takes its time.
    async fn works(&self, call: u64, id: u64) -> Fate {
        self.life.stalls().await;
        let (fate, takes) = self.draws(call, id);
        if !takes.is_zero() {
            clock::sleep(takes).await;
        }
        match fate {
            Fate::Hangs => std::future::pending().await,
            fate => fate,
        }
    }

    fn draws(&self, call: u64, id: u64) -> (Fate, Duration) {
        const SPREAD: u64 = 0x9E6C_63D0_876A_9A35;
        let (work, seed) = (&self.work, self.life.plan.seed);
        // The same for each attempt, by any worker.
        let nature = Random::new(seed ^ id.wrapping_mul(SPREAD), 31).next() % 100;
        let random =
            &mut Random::new(self.life.random(32).next() ^ (id ^ call << 40).wrapping_mul(SPREAD), 32);
        let (low, high) = self.life.member().processing;
        let takes = random.between(low, high);
        let takes = if random.percent(work.slow) && !self.is_calm() { takes * 10 + 100 } else { takes };
        let fate = if nature < work.poison {
            Fate::Poison
        } else if nature < work.poison + work.doomed {
            Fate::Fails
        } else if self.is_calm() {
            Fate::Done
        } else {
            let now = u64::try_from(self.life.world.log.now().as_millis()).unwrap_or(u64::MAX);
            let is_out = work.outages.iter().any(|(from, to)| (*from..*to).contains(&now));
            match () {
                () if random.next() % 1_000 < work.fatal => Fate::Fatal,
                () if is_out || random.percent(work.flaky) => Fate::Fails,
                () if random.percent(work.panics) => Fate::Panics,
                () if random.percent(work.hangs) => Fate::Hangs,
                () => Fate::Done,
            }
        };
        (fate, ms(takes))
    }
}

fn outcome(who: Who, call: u64, fate: Fate) -> Result<(), Failure> {
    match fate {
        Fate::Done => Ok(()),
        // Each failure is unique.
        Fate::Fails => Err(Failure::retry(format!("not now, in call {call} of {who}"))),
        Fate::Poison => Err(Failure::poison("never")),
        Fate::Fatal => Err(Failure::fatal("nothing can be handled")),
        // Not by `panic!`, as the hook reports unexpected ones.
        Fate::Panics => std::panic::resume_unwind(Box::new("the handler panics")),
        Fate::Hangs => Err(Failure::fatal("what hangs has no outcome")),
    }
}

/// Reports this failure for each record of a call that fails as a whole.
fn all_failed(handled: Vec<(Option<Handling>, Result<(), Failure>)>, failure: &Failure) -> Failure {
    for (handling, _) in handled {
        if let Some(handling) = handling {
            handling.end(&Err(failure.clone()));
        }
    }
    failure.clone()
}

/// The original record that a record of a retry topic names.
fn origin(origin: &Origin) -> Option<(Place, i64)> {
    Some((Place::new(origin.topic.as_deref()?, origin.partition?), origin.offset?))
}

/// A record at a handler: its end is reported in every case.
struct Handling {
    life: MemberRun,
    call: u64,
    at: Place,
    offset: i64,
    id: u64,
    /// The number of its copy.
    copy: Option<u64>,
    is_told: bool,
}

impl Handling {
    fn begin(life: &MemberRun, call: u64, record: &OwnedRecord, attempt: &Attempt) -> Self {
        let (at, offset) = (place(record.topic_partition()), record.offset());
        let id = id_of(&record.value(), record.headers());
        let who = life.who;
        let (number, probe) = (attempt.number(), attempt.is_probe());
        life.tell(What::HandlerBegan { who, call, at: at.clone(), offset, id, attempt: number, probe });
        let is_retry = life.plan.work.as_ref().is_some_and(|work| work.stage_of(&at.topic) > 0);
        if is_retry {
            let first = attempt.first_failure().map(|first| first.reason.clone());
            let of = attempt.origin().and_then(origin);
            life.tell(What::CameAgain { who, at: at.clone(), offset, of, first });
        }
        Self { life: life.clone(), call, at, offset, id, copy: None, is_told: false }
    }

    fn end(mut self, result: &Result<(), Failure>) {
        use offtake_worker::FailureKind::{Fatal, Poison, Retry};
        if let Err(failure) = result {
            let (who, at, offset) = (self.life.who, self.at.clone(), self.offset);
            self.life.tell(What::FailureSaid { who, at, offset, reason: failure.reason() });
        }
        self.told(match result.as_ref().map_err(Failure::kind) {
            Ok(()) => How::Done,
            Err(Retry) => How::Failed,
            Err(Poison) => How::Poison,
            Err(Fatal) => How::Fatal,
        });
    }

    fn told(&mut self, how: How) {
        self.is_told = true;
        let Self { life, call, at, offset, .. } = self;
        if let Some(transaction) = self.copy.filter(|_| how != How::Done) {
            life.tell(What::CopyingEnded { who: life.who, transaction, told: Reported::Aborted });
        }
        life.tell(What::HandlerEnded { who: life.who, call: *call, at: at.clone(), offset: *offset, how });
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if !self.is_told {
            self.told(if std::thread::panicking() { How::Panicked } else { How::Dropped });
        }
    }
}
