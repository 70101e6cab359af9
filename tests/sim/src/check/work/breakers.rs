//! SAFE21: breakers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{WorkScene, ended};
use crate::{
    check::Complaints,
    clock::ms,
    events::{Event, How, Place, What, Who},
    plan::Breaker as Options,
};

#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<Who, Breaker>);

#[derive(Debug, Default)]
struct Breaker {
    state: State,
    since: Duration,
    /// Attempts that ended in this state: how many, and how many of them may have been failures.
    ended: usize,
    failed: usize,
    /// The same for probes.
    probes_done: usize,
    probes_failed: usize,
    /// Probes that were done before it opened again, and still count: a probe that failed then had failed before.
    carried: usize,
    /// Whether a probe failed that had not failed before.
    has_new_failure: bool,
    /// Records that may have failed.
    failing: BTreeSet<(Place, i64)>,
    probing: BTreeSet<(Place, i64)>,
    /// Blocking probes beside which another began: they were cancelled, which their end has to show.
    doubted: BTreeSet<(Place, i64)>,
    /// Running calls of its handler: a batch's call goes on with the rest of its records.
    calls: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

impl Breakers {
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event, complaints: &mut Complaints) {
        let Some(options) = &scene.options.breaker else {
            if let What::Breaker { who, .. } = &event.what {
                complaints.add("SAFE21", event.at, format!("{who} has no breaker, and tells of one"));
            }
            return;
        };
        let wrong = match &event.what {
            What::Breaker { who, state } => {
                let to = match state.as_str() {
                    "closed" => State::Closed,
                    "open" => State::Open,
                    _ => State::HalfOpen,
                };
                let breaker = self.0.entry(*who).or_default();
                let wrong = breaker.may_not_be(options, event.at, to);
                breaker.becomes(event.at, to);
                wrong.map(|text| format!("{who}: its breaker is {state}: {text}"))
            }
            What::HandlerBegan { who, call, at, offset, probe, .. } => {
                let breaker = self.0.entry(*who).or_default();
                if !breaker.calls.insert(*call) {
                    return;
                }
                if *probe && scene.options.blocking {
                    let others = std::mem::take(&mut breaker.probing);
                    breaker.doubted.extend(others);
                }
                if *probe {
                    breaker.probing.insert((at.clone(), *offset));
                }
                let wrong = match (breaker.state, probe) {
                    (State::Closed, false) => None,
                    (State::HalfOpen, true) => (breaker.probing.len() > 1).then_some("beside another probe"),
                    (State::Closed, true) => Some("as a probe, and the breaker is closed"),
                    (State::HalfOpen, false) => Some("as no probe, and the breaker is half-open"),
                    // A probe that had been started reached its handler only now.
                    (State::Open, _) if breaker.since == event.at => None,
                    (State::Open, _) => Some("and the breaker is open"),
                };
                wrong.map(|text| format!("{who} began {at} offset {offset} {text}"))
            }
            What::HandlerEnded { who, call, at, offset, how } => {
                let breaker = self.0.entry(*who).or_default();
                breaker.calls.remove(call);
                let record = (at.clone(), *offset);
                let was_cancelled = matches!(how, How::Ignored | How::Dropped);
                let is_wrong = breaker.doubted.remove(&record) && !was_cancelled;
                let had_failed_elsewhere = scene.options.retry_topics().any(|(topic, _)| *at.topic == *topic);
                breaker.attempt_ended(scene.options.batch, record, *how, had_failed_elsewhere);
                is_wrong.then(|| format!("{who} tried {at} offset {offset} beside another probe"))
            }
            what => {
                if let Some(who) = ended(what) {
                    self.0.remove(&who);
                }
                None
            }
        };
        if let Some(text) = wrong {
            complaints.add("SAFE21", event.at, text);
        }
    }
}

impl Breaker {
    /// When a batch fails as a whole, the records that its handler did not reach have failed too, which may be all of them.
    fn attempt_ended(&mut self, batch: usize, record: (Place, i64), how: How, had_failed_elsewhere: bool) {
        // A dropped attempt may have timed out; an ignored one may have ended before.
        let may_have_failed = matches!(how, How::Failed | How::Panicked | How::Dropped | How::Ignored);
        let is_probe = self.probing.remove(&record);
        if may_have_failed {
            let is_new = self.failing.insert(record) && batch == 1 && !had_failed_elsewhere;
            self.has_new_failure |= is_probe && is_new && matches!(how, How::Failed | How::Panicked);
        }
        if is_probe {
            self.probes_done += usize::from(matches!(how, How::Done | How::Poison));
            self.probes_failed += usize::from(may_have_failed);
        }
        self.ended += batch;
        self.failed += if may_have_failed { batch } else { 0 };
    }

    /// Why the breaker may not change to this state, if it may not.
    fn may_not_be(&self, options: &Options, now: Duration, to: State) -> Option<String> {
        match (self.state, to) {
            (State::Closed, State::Open) => {
                let share = u64::try_from(self.failed * 100).unwrap_or(u64::MAX);
                let least = options.share * u64::try_from(options.window).unwrap_or(0);
                let enough = self.ended >= options.window && share >= least;
                (!enough).then(|| format!("{} of {} attempts have failed", self.failed, self.ended))
            }
            (State::Open, State::HalfOpen) => {
                let waited = now.saturating_sub(self.since);
                (waited < ms(options.pause)).then(|| format!("after {} ms", waited.as_millis()))
            }
            (State::HalfOpen, State::Closed) => {
                let done = self.carried + self.probes_done;
                (done < options.probes).then(|| format!("after {done} probes"))
            }
            (State::HalfOpen, State::Open) => (self.probes_failed == 0).then(|| "no probe failed".to_owned()),
            (from, _) => Some(format!("it was {from:?}")),
        }
    }

    fn becomes(&mut self, now: Duration, state: State) {
        let carried = match (self.state, state) {
            (State::HalfOpen, State::Open) if !self.has_new_failure => self.carried + self.probes_done,
            (State::Open, State::HalfOpen) => self.carried,
            _ => 0,
        };
        let Self { failing, probing, doubted, calls, .. } = std::mem::take(self);
        *self = Self { state, since: now, carried, failing, probing, doubted, calls, ..Self::default() };
    }
}
