//! The state machine of the breaker: closed, open, half-open.
//!
//! A closed breaker looks at the last outcomes. An open one lets nothing through until its pause ends. A half-open one lets one
//! attempt through at a time, a probe: enough successful probes close it, and one that fails opens it again. Outcomes of attempts
//! that began before it opened change nothing while it is not closed.
//!
//! A probe that fails with a record that had failed before gives no new information, because the record itself may be at fault.
//! It opens the breaker for another pause, but the earlier successes still count. Otherwise a record that always fails would keep
//! the breaker open when other records arrive one by one, because it has its turn after each of them.

use std::{collections::VecDeque, time::Instant};

use crate::{Breaker, BreakerState, clock};

#[derive(Debug)]
pub(crate) struct BreakerMachine {
    config: Breaker,
    state: State,
}

#[derive(Debug)]
enum State {
    /// For each of the last outcomes, whether it was a failure; and the number of failures.
    Closed {
        outcomes: VecDeque<bool>,
        failed: usize,
    },
    Open {
        until: Instant,
        /// Successful probes that still count.
        succeeded: usize,
    },
    HalfOpen {
        succeeded: usize,
        probe: Probe,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    Running,
}

impl State {
    fn closed() -> Self {
        Self::Closed { outcomes: VecDeque::new(), failed: 0 }
    }
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A record that had never failed before has failed.
    Failed,
    /// A record that had failed before has failed again.
    FailedAgain,
}

/// The kind of attempt that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Attempt,
    Probe,
    Nothing,
}

impl BreakerMachine {
    pub(crate) fn new(config: Breaker) -> Self {
        Self { config, state: State::closed() }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn permit(&self) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Attempt,
            State::HalfOpen { probe: Probe::None, .. } => Permit::Probe,
            State::Open { .. } | State::HalfOpen { probe: Probe::Running, .. } => Permit::Nothing,
        }
    }

    /// When the state changes next by itself.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Ends the pause of an open breaker, if it is over.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let State::Open { until, succeeded } = self.state
            && now >= until
        {
            self.state = State::HalfOpen { succeeded, probe: Probe::None };
        }
    }

    /// Notes that a permitted probe begins.
    pub(crate) fn begin_probe(&mut self) {
        if let State::HalfOpen { probe, .. } = &mut self.state {
            *probe = Probe::Running;
        }
    }

    /// Notes that a probe was cancelled, without an outcome.
    pub(crate) fn probe_cancelled(&mut self) {
        if let State::HalfOpen { probe, .. } = &mut self.state {
            *probe = Probe::None;
        }
    }

    /// Notes the outcome of a probe.
    pub(crate) fn probe_ended(&mut self, now: Instant, outcome: Outcome) {
        let State::HalfOpen { succeeded, .. } = self.state else { return };
        self.state = match (outcome, succeeded.saturating_add(1)) {
            (Outcome::Failed, _) => self.open(now, 0),
            (Outcome::FailedAgain, _) => self.open(now, succeeded),
            (Outcome::Done, enough) if enough >= self.config.probes => State::closed(),
            (Outcome::Done, succeeded) => State::HalfOpen { succeeded, probe: Probe::None },
        };
    }

    /// Notes the outcome of any other attempt.
    pub(crate) fn attempt_ended(&mut self, now: Instant, outcome: Outcome) {
        let has_failed = outcome != Outcome::Done;
        let State::Closed { outcomes, failed } = &mut self.state else { return };
        outcomes.push_back(has_failed);
        *failed += usize::from(has_failed);
        if outcomes.len() > self.config.window && outcomes.pop_front() == Some(true) {
            *failed = failed.saturating_sub(1);
        }
        // The comparison is exact: 50 of 100 is half.
        if outcomes.len() >= self.config.window && *failed as f64 >= self.config.share * outcomes.len() as f64
        {
            self.state = self.open(now, 0);
        }
    }

    fn open(&self, now: Instant, succeeded: usize) -> State {
        State::Open { until: clock::later(now, self.config.pause), succeeded }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Outcome::{Done, Failed, FailedAgain},
        *,
    };

    const PAUSE: Duration = Duration::from_secs(30);

    fn breaker() -> (BreakerMachine, Instant) {
        let config = Breaker::open_at(0.5).of_last(4).pause(PAUSE).probes(2);
        (BreakerMachine::new(config), clock::now())
    }

    fn opened() -> (BreakerMachine, Instant) {
        let (mut breaker, now) = breaker();
        for _ in 0..4 {
            breaker.attempt_ended(now, Failed);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, now)
    }

    #[test]
    fn it_opens_at_its_share_of_a_full_window() {
        let (mut breaker, now) = breaker();
        for _ in 0..3 {
            breaker.attempt_ended(now, Failed);
            assert_eq!(breaker.permit(), Permit::Attempt, "the window is not full");
        }
        breaker.attempt_ended(now, Done);
        assert_eq!((breaker.state(), breaker.permit()), (BreakerState::Open, Permit::Nothing));
        assert_eq!(breaker.timeout(), Some(now + PAUSE));
    }

    #[test]
    fn outcomes_that_are_long_ago_do_not_count() {
        let (mut breaker, now) = breaker();
        for outcome in [Failed, Done, Done, Done, FailedAgain, Done, Done, Done] {
            breaker.attempt_ended(now, outcome);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn probes_go_one_after_the_other_and_close_it() {
        let (mut breaker, now) = opened();
        breaker.advance(now + PAUSE - Duration::from_millis(1));
        assert_eq!(breaker.permit(), Permit::Nothing);
        breaker.advance(now + PAUSE);
        assert_eq!((breaker.state(), breaker.permit()), (BreakerState::HalfOpen, Permit::Probe));
        breaker.begin_probe();
        assert_eq!(breaker.permit(), Permit::Nothing, "one at a time");
        breaker.probe_ended(now, Done);
        assert_eq!(breaker.permit(), Permit::Probe);
        breaker.begin_probe();
        breaker.probe_cancelled();
        assert_eq!(breaker.permit(), Permit::Probe, "one that was cut short says nothing");
        breaker.begin_probe();
        breaker.probe_ended(now, Done);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.attempt_ended(now, Failed);
        assert_eq!(breaker.state(), BreakerState::Closed, "its window is new");
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_another_pause() {
        let (mut breaker, now) = opened();
        let later = now + PAUSE * 2;
        breaker.advance(later);
        breaker.begin_probe();
        breaker.attempt_ended(later, Failed);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "what began before it opened says nothing");
        breaker.probe_ended(later, Failed);
        assert_eq!(breaker.timeout(), Some(later + PAUSE));
        breaker.probe_ended(later, Done);
        assert_eq!(breaker.state(), BreakerState::Open, "nor does a probe of before");
    }

    #[test]
    fn earlier_successes_count_when_a_record_fails_again_and_not_when_another_fails() {
        let (mut breaker, mut now) = opened();
        let mut probe = |breaker: &mut BreakerMachine, outcome| {
            now += PAUSE;
            breaker.advance(now);
            breaker.begin_probe();
            breaker.probe_ended(now, outcome);
            breaker.state()
        };
        assert_eq!(probe(&mut breaker, Done), BreakerState::HalfOpen);
        assert_eq!(probe(&mut breaker, FailedAgain), BreakerState::Open, "for another pause");
        assert_eq!(probe(&mut breaker, Failed), BreakerState::Open);
        assert_eq!(probe(&mut breaker, Done), BreakerState::HalfOpen, "from the beginning");
        assert_eq!(probe(&mut breaker, FailedAgain), BreakerState::Open);
        assert_eq!(probe(&mut breaker, FailedAgain), BreakerState::Open);
        assert_eq!(probe(&mut breaker, Done), BreakerState::Closed, "the second");
    }

    #[test]
    fn a_pause_without_end_is_no_overflow() {
        let mut breaker = BreakerMachine::new(Breaker::open_at(1.0).of_last(1).pause(Duration::MAX));
        let now = clock::now();
        breaker.attempt_ended(now, Failed);
        assert!(breaker.timeout().is_some_and(|until| until > now));
    }
}
