//! [`DemoRun`]: a producer, members that join and leave, and a group that shares the work among them.
//!
//! One loop owns all state (ledger and dashboard). Members send it notes.

use std::time::{Duration, Instant};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use super::{
    DEAD_LETTERS, ORDERS, PARTITIONS,
    dashboard::{Dashboard, MemberStatus},
    display::Display,
    ledger::{Ledger, Outcome},
    member::{Member, Note},
    orders::{Orders, digest},
    script::{Action, Script},
    source::{Letter, Source},
    text::grouped,
    verify,
};
use crate::{clock::now, failure::Failure, stop::Stop};

/// How often orders are written and the display is drawn.
const TICK: Duration = Duration::from_millis(50);
/// How long after the last order the remaining ones may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the final screen is shown.
const LAST_LOOK: Duration = Duration::from_millis(300);

enum Phase {
    Producing,
    /// Waits until everything is handled, or the time is up.
    Draining {
        until: Duration,
    },
    /// The members commit and leave.
    Closing,
}

/// The result of a run.
pub(super) struct Ending {
    pub(super) dashboard: Dashboard,
    pub(super) ledger: Ledger,
    /// Records beyond the group's committed offsets.
    pub(super) behind: u64,
}

/// The demo while it runs.
pub(super) struct DemoRun {
    source: Source,
    script: Script,
    orders: Orders,
    ledger: Ledger,
    dashboard: Dashboard,
    crew: JoinSet<(usize, Result<(), Failure>)>,
    /// Asks each member to leave; by member.
    stops: Vec<watch::Sender<bool>>,
    tell: mpsc::UnboundedSender<Note>,
    notes: mpsc::UnboundedReceiver<Note>,
    begun: Instant,
    phase: Phase,
    /// The user pressed Ctrl-C.
    cut_short: bool,
    /// When orders were last written, and the fraction of one that is still due.
    produced: (Duration, f64),
}

impl DemoRun {
    /// Starts a cluster with a topic that has some records.
    pub(super) async fn begin(length: Duration) -> Result<Self, Failure> {
        let source = Source::start().await?;
        source.create_topic(ORDERS, PARTITIONS)?;
        source.create_topic(DEAD_LETTERS, 1)?;
        let partitions = usize::try_from(PARTITIONS).unwrap_or(0);
        let dashboard = Dashboard::new(partitions, length, source.bootstrap());
        let (tell, notes) = mpsc::unbounded_channel();
        let mut run = Self {
            source,
            script: Script::new(length),
            orders: Orders::seeded(0x0ff7_a4e5),
            ledger: Ledger::new(partitions),
            dashboard,
            crew: JoinSet::new(),
            stops: Vec::new(),
            tell,
            notes,
            begun: now(),
            phase: Phase::Producing,
            cut_short: false,
            produced: (Duration::ZERO, 0.0),
        };
        let first = run.script.first_orders();
        run.produce(first)?;
        run.dashboard.begin(&run.ledger);
        let filled = format!("`{ORDERS}` has {} records in {PARTITIONS} partitions", grouped(first.into()));
        run.dashboard.say(None, filled);
        Ok(run)
    }

    pub(super) async fn run(mut self, display: &mut Display, stop: &mut Stop) -> Result<Ending, Failure> {
        self.begun = now();
        let mut ticks = ticks();
        loop {
            tokio::select! {
                biased;
                () = stop.asked(), if !self.cut_short => self.cut_short = true,
                Some(note) = self.notes.recv() => {
                    self.dashboard.at = self.at();
                    self.on_note(note);
                }
                Some(left) = self.crew.join_next() => {
                    let (member, left) = left.map_err(|error| Failure::failed(format!("a member broke down: {error}")))?;
                    left?;
                    self.dashboard.set_status(member, MemberStatus::Gone);
                }
                _ = ticks.tick() => {
                    let at = self.at();
                    self.dashboard.at = at;
                    let done = self.step(at)?;
                    self.dashboard.update(at, &self.ledger);
                    display.show(&self.dashboard)?;
                    if done {
                        break;
                    }
                }
            }
        }
        while let Ok(note) = self.notes.try_recv() {
            self.on_note(note);
        }
        let behind = verify::read_back(&self.source.bootstrap(), &mut self.ledger).await?;
        self.dashboard.update(self.dashboard.at, &self.ledger);
        Ok(Ending { dashboard: self.dashboard, ledger: self.ledger, behind })
    }

    fn at(&self) -> Duration {
        now().saturating_duration_since(self.begun)
    }

    /// Makes one step. Returns whether the run is over.
    fn step(&mut self, at: Duration) -> Result<bool, Failure> {
        match self.phase {
            Phase::Producing if self.cut_short || at >= self.script.produce_until() => {
                let why = if self.cut_short { "Ctrl-C: no more orders" } else { "no more orders" };
                self.dashboard.say(None, format!("{why}; the rest is read"));
                self.phase = Phase::Draining { until: at + PATIENCE };
            }
            Phase::Producing => {
                while let Some(action) = self.script.action(at) {
                    self.action(action);
                }
                let (last, owed) = self.produced;
                let since = at.saturating_sub(last).min(TICK * 4); // a pause is not made up for
                let due = owed + self.orders.vary(self.script.demand(at)) * since.as_secs_f64();
                self.produced = (at, due.fract());
                self.produce(whole(due))?;
            }
            Phase::Draining { until } => {
                let drained = self.ledger.totals().waiting() == 0;
                let due = self.cut_short || at + LAST_LOOK >= self.script.length;
                if (drained && due) || at >= until {
                    self.dashboard.say(None, "members commit and leave");
                    for stop in &self.stops {
                        stop.send_replace(true);
                    }
                    self.phase = Phase::Closing;
                }
            }
            Phase::Closing => return Ok(self.crew.is_empty()),
        }
        Ok(false)
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::Join => {
                let name = format!("member-{}", self.dashboard.members.len() + 1);
                let index = self.dashboard.joins(name.clone());
                let (ask, stop) = watch::channel(false);
                self.stops.push(ask);
                let (source, notes) = (self.source.clone(), self.tell.clone());
                let member = Member { index, name, source, notes, stop };
                self.crew.spawn(async move { (index, member.run().await) });
            }
            Action::Leave => {
                let working = |status| matches!(status, MemberStatus::Working | MemberStatus::Joining);
                let eldest = self.dashboard.members.iter().position(|member| working(member.status));
                let Some(eldest) = eldest else { return };
                self.dashboard.set_status(eldest, MemberStatus::Leaving);
                if let Some(stop) = self.stops.get(eldest) {
                    stop.send_replace(true);
                }
            }
        }
    }

    /// Writes `count` orders, each to the partition of its customer.
    fn produce(&mut self, count: u32) -> Result<(), Failure> {
        for _ in 0..count {
            let order = self.orders.draw();
            let digest = digest(order.key.as_bytes(), &order.value);
            let partition = partition_of(order.key.as_bytes());
            let letter = Letter { key: order.key.into_bytes(), value: order.value };
            let offset = self.source.produce(ORDERS, partition, letter)?;
            self.ledger.produced(partition, offset, digest);
        }
        Ok(())
    }

    /// Counts one more record that a member has finished.
    fn count(&mut self, member: usize) {
        if let Some(known) = self.dashboard.members.get_mut(member) {
            known.handled.total += 1;
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Assigned { member, partitions, generation } => {
                self.dashboard.assigned(member, &partitions, generation);
            }
            Note::Revoked { member, partitions } => self.dashboard.revoked(member, &partitions),
            Note::Lost { member, partitions } => self.dashboard.lost(member, &partitions),
            Note::Processed { member, partition, offset, digest } => {
                self.count(member);
                self.ledger.handled(partition, offset, digest, Outcome::Processed);
            }
            Note::Retried => self.ledger.retried(1),
            Note::GivenUp { member, partition, offset, reason } => {
                self.count(member);
                self.ledger.count_dead_letter(partition, offset);
                self.dashboard.say(
                    Some(member),
                    format!("{ORDERS}-{partition} @{offset} goes to {DEAD_LETTERS}: {reason}"),
                );
            }
            Note::Problem { member, message } => self.dashboard.say(Some(member), message),
        }
    }
}

/// The partition of a customer.
fn partition_of(key: &[u8]) -> i32 {
    let partitions = u64::from(PARTITIONS.unsigned_abs()).max(1);
    i32::try_from(digest(key, &[]) % partitions).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few hundred at most, and never negative"
)]
fn whole(number: f64) -> u32 {
    number.max(0.0) as u32
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
