//! Tests of why the application does not poll, as far as the engine can find out (M1, M3, M4).

use std::sync::{Mutex, PoisonError};

use tokio::runtime;

use super::{super::poll_watch::PollWatch, *};
use crate::event::Stall;

const LIMIT: Duration = Duration::from_secs(10);
/// How long a runtime may take to run a probe.
const PROBE: Duration = Duration::from_millis(50);

/// An engine whose application was last active at `began`.
struct Silent {
    engine: Engine,
    began: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Silent {
    fn since(does: impl FnOnce(&Shared, Instant)) -> Self {
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let to = events.clone();
        let (mut engine, began) = engine(|builder| {
            let builder = builder.configure(|config| config.max_poll_interval = LIMIT);
            builder.events(move |event| to.lock().unwrap_or_else(PoisonError::into_inner).push(event))
        });
        engine.poll_watch = PollWatch::new(true);
        does(&engine.shared, began);
        Self { engine, began, events }
    }

    /// Lets it poll on this runtime.
    fn on(mut self, runtime: &runtime::Runtime) -> Self {
        self.engine.runs_on(runtime.handle().clone());
        self
    }

    fn at(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }

    /// The events since the last call.
    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// The warning after this part of the limit, with a runtime that runs other tasks or one that does not.
    fn warns(&mut self, millis: u64, runs_others: bool) -> (Duration, Stall) {
        let now = self.at(millis);
        self.engine.on_poll_interval_near(self.began);
        self.engine.warn_of_silence(now);
        assert!(self.events().is_empty(), "before the runtime had its chance");
        if self.engine.wants_probe(now).is_some() {
            assert!(self.engine.wants_probe(now).is_none(), "once");
            assert_eq!(self.engine.silence_timeout(), Some(now + PROBE));
            self.engine.warn_of_silence(now + PROBE - Duration::from_millis(1));
            assert!(self.events().is_empty(), "before the runtime had its time");
        }
        match runs_others {
            true => self.engine.probe_answered(now),
            false => self.engine.warn_of_silence(now + PROBE),
        }
        assert_eq!(self.engine.silence_timeout(), None);
        let events = self.events();
        self.engine.warn_of_silence(now + 2 * PROBE);
        assert!(self.events().is_empty(), "once");
        match &events[..] {
            [Event::PollIntervalWarning { since_poll, limit: LIMIT, stall }] => (*since_poll, *stall),
            other => panic!("{other:?}"),
        }
    }
}

fn polled(shared: &Shared, now: Instant) {
    shared.poll_runs(now);
    shared.poll_ends(now);
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn m1_a_runtime_that_runs_other_tasks_has_a_slow_handler_and_one_that_runs_none_is_blocked() {
    let runtime = runtime();
    let eight = Duration::from_secs(8);
    assert_eq!(Silent::since(polled).on(&runtime).warns(8000, true), (eight, Stall::Handler));
    assert_eq!(Silent::since(polled).on(&runtime).warns(8000, false), (eight + PROBE, Stall::Blocked));
    let runs = |shared: &Shared, now| shared.poll_runs(now);
    assert_eq!(
        Silent::since(runs).on(&runtime).warns(8000, true).1,
        Stall::Blocked,
        "a listener does not return"
    );
    let woken = |shared: &Shared, now| {
        shared.poll_runs(now);
        shared.poll_waits(now);
        shared.poll_is_woken(now);
    };
    assert_eq!(Silent::since(woken).on(&runtime).warns(8000, true).1, Stall::Starved);
    let woken_before_it_waits = |shared: &Shared, now| {
        shared.poll_runs(now);
        shared.poll_is_woken(now);
        shared.poll_waits(now);
    };
    assert_eq!(Silent::since(woken_before_it_waits).on(&runtime).warns(8000, true).1, Stall::Starved);
}

#[test]
fn m1_where_no_poll_was_on_a_runtime_nothing_is_probed() {
    let mut silent = Silent::since(|_, _| {});
    silent.engine.on_poll_interval_near(silent.began);
    assert!(silent.engine.wants_probe(silent.at(8000)).is_none());
    silent.engine.warn_of_silence(silent.at(8000));
    let events = silent.events();
    assert!(
        matches!(&events[..], [Event::PollIntervalWarning { stall: Stall::NeverPolled, .. }]),
        "{events:?}"
    );
}

#[test]
fn m1_an_application_that_polls_at_the_last_moment_is_not_warned_of() {
    let runtime = runtime();
    let mut silent = Silent::since(polled).on(&runtime);
    silent.engine.on_poll_interval_near(silent.began);
    assert!(silent.engine.wants_probe(silent.at(8000)).is_some());
    silent.engine.on_poll(silent.at(8010));
    assert_eq!(silent.engine.silence_timeout(), None);
    silent.engine.probe_answered(silent.at(8020));
    assert!(silent.events().is_empty());
}

#[test]
fn m1_no_warning_follows_an_exceeded_poll_interval() {
    let runtime = runtime();
    let mut silent = Silent::since(polled).on(&runtime);
    silent.warns(8000, true);
    // A new warning becomes due, and the timeout overtakes it.
    silent.engine.on_poll_interval_near(silent.began);
    assert!(silent.engine.wants_probe(silent.at(9990)).is_some());
    silent.engine.on_poll_interval_exceeded(silent.at(10_000));
    let told: Vec<_> = silent.events().iter().map(|event| format!("{event:?}")).collect();
    let exceeded = Event::PollIntervalExceeded { since_poll: LIMIT, limit: LIMIT, stall: Stall::Handler };
    assert_eq!(told, [format!("{exceeded:?}")]);
    silent.engine.probe_answered(silent.at(10_100));
    assert!(silent.events().is_empty(), "no warning comes behind it");
}

#[test]
fn m1_a_silence_that_nobody_was_warned_of_counts_from_the_last_poll() {
    for (polled_at, silence) in [(Some(500), 9500), (None, 10_000)] {
        let mut silent = Silent::since(polled);
        silent.engine.polled = polled_at.map(|millis| silent.at(millis));
        let told = silent.engine.on_poll_interval_exceeded(silent.at(10_000));
        let Event::PollIntervalExceeded { since_poll, .. } = told else { panic!("{told:?}") };
        assert_eq!(since_poll, Duration::from_millis(silence));
    }
}

/// M4: while the process was stopped, the application could not poll.
#[test]
fn m4_a_silence_that_is_that_long_only_as_the_process_was_stopped_says_so() {
    let runtime = runtime();
    let stopped = |own_thread, gaps: &[u64]| {
        let mut silent = Silent::since(polled).on(&runtime);
        silent.engine.poll_watch = PollWatch::new(own_thread);
        silent.engine.runs_on(runtime.handle().clone());
        for millis in gaps {
            silent.engine.on_late_wakeup(silent.at(5000), Duration::from_millis(*millis));
        }
        let told: Vec<_> = silent.events().iter().map(|event| format!("{event:?}")).collect();
        (silent, told)
    };
    let gap = |seconds| Duration::from_secs(seconds);
    let (mut silent, told) = stopped(true, &[4000]);
    assert_eq!(told, [format!("{:?}", Event::ProcessStopped { gap: gap(4) })]);
    assert_eq!(silent.warns(9000, true).1, Stall::Stopped { gap: gap(4) });
    assert_eq!(stopped(true, &[2000, 1000]).0.warns(9000, true).1, Stall::Stopped { gap: gap(3) });
    assert_eq!(
        stopped(true, &[1000]).0.warns(9000, true).1,
        Stall::Handler,
        "it was silent for 8 s beside that"
    );
    let (mut silent, told) = stopped(false, &[4000]);
    assert!(told.is_empty(), "its runtime may have been blocked: {told:?}");
    assert_eq!(silent.warns(9000, true).1, Stall::Blocked);
    let (mut silent, told) = stopped(true, &[999]);
    assert!(told.is_empty(), "a hiccup: {told:?}");
    assert_eq!(silent.warns(8500, true).1, Stall::Handler);
    // A poll after the gap restarts the time, one before it does not.
    for (polled, stall) in
        [(6000, Stall::Handler), (5000, Stall::Handler), (4999, Stall::Stopped { gap: gap(4) })]
    {
        let (mut silent, _) = stopped(true, &[4000]);
        silent.engine.on_poll(silent.at(polled));
        assert_eq!(silent.warns(9000, true).1, stall, "polled at {polled}");
    }
}
