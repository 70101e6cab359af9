//! [`Misses`]: the failed requests for schemas, and the times of retries.
//!
//! A state machine: time is passed in as `now`, and nothing waits. An id that the registry does not have is retried with growing
//! pauses, because another replica may have registered it a moment ago; after that time it is absent, and requested rarely. A
//! registry that does not respond gets no requests during a pause that doubles. Always true:
//! - at most [`MOST_MISSING`] ids are remembered;
//! - an id that was absent at the end of its time is not waited for again, until it was found or not requested for
//!   [`FORGOTTEN_AFTER`];
//! - an outage begins with one event and ends with one, however many requests fail in between.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use offtake_client::clock::later;

use super::{
    RegistryConfig, RegistryEvent,
    error::{RegistryError, RegistryErrorKind},
};
use crate::id::SchemaId;

/// The most ids that are remembered as unknown to the registry.
const MOST_MISSING: usize = 10_000;
/// The time after which an absent id that was not requested counts as new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// If the end of a waiting time was not noticed for this long, the waiting time begins again.
const UNSEEN_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Misses {
    wait: Duration,
    ttl: Duration,
    backoff: Duration,
    backoff_max: Duration,
    missing: HashMap<SchemaId, Miss>,
    /// In the order of their arrival.
    order: VecDeque<SchemaId>,
    outage: Option<Outage>,
}

/// An id that the registry does not have, or only in an unusable form.
#[derive(Debug)]
struct Miss {
    state: MissState,
    error: RegistryError,
}

#[derive(Debug)]
enum MissState {
    /// It may appear yet, and is requested again.
    Awaited { since: Instant, times: u32, not_before: Instant },
    /// It is not requested until this time, and not waited for afterwards.
    Absent { until: Instant },
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u32,
    not_before: Instant,
    last: RegistryError,
}

/// The next step for an unknown id.
#[derive(Debug, PartialEq)]
pub(super) enum NextStep {
    /// Request it from the registry.
    Ask,
    /// Return this result of an earlier request.
    Refuse(RegistryError),
    /// The registry does not respond, or may have the id later: wait until this time. Includes the reason.
    Wait(Instant, RegistryError),
}

impl Misses {
    pub(super) fn new(config: &RegistryConfig) -> Self {
        let backoff = config.backoff.max(Duration::from_millis(1));
        Self {
            wait: config.missing_wait,
            ttl: config.missing_ttl,
            backoff,
            backoff_max: config.backoff_max.max(backoff),
            missing: HashMap::new(),
            order: VecDeque::new(),
            outage: None,
        }
    }

    pub(super) fn next_step(&self, now: Instant, id: SchemaId) -> NextStep {
        match self.missing.get(&id) {
            Some(Miss { state: MissState::Absent { until }, error }) if now < *until => {
                return NextStep::Refuse(error.clone());
            }
            Some(Miss { state: MissState::Awaited { not_before, .. }, error }) if now < *not_before => {
                return NextStep::Wait(*not_before, error.clone());
            }
            _ => {}
        }
        match &self.outage {
            Some(outage) if now < outage.not_before => NextStep::Wait(outage.not_before, outage.last.clone()),
            _ => NextStep::Ask,
        }
    }

    /// Why the id is unknown, as far as known. While the registry does not respond, that is the reason, whatever the earlier
    /// result was.
    pub(super) fn reason(&self, id: SchemaId) -> Option<&RegistryError> {
        let outage = self.outage.as_ref().map(|outage| &outage.last);
        outage.or_else(|| self.missing.get(&id).map(|miss| &miss.error))
    }

    /// Notes that a request was not answered in time. Returns the reason, as far as known. From now on, an earlier result that
    /// the id was missing no longer counts.
    pub(super) fn overdue(&mut self, now: Instant, id: SchemaId) -> RegistryError {
        let overdue = || {
            let reason = format!("the registry has not returned schema {id} yet");
            RegistryError::new(RegistryErrorKind::Unavailable, reason)
        };
        if let Some(miss) = self.missing.get_mut(&id) {
            let is_so = match miss.state {
                MissState::Awaited { since, .. } => now < later(since, self.wait),
                MissState::Absent { until } => now < until,
            };
            if !is_so {
                miss.error = overdue();
            }
        }
        self.reason(id).cloned().unwrap_or_else(overdue)
    }

    /// Whether callers that wait for this id should retry it.
    pub(super) fn may_come(&self, id: SchemaId, error: &RegistryError) -> bool {
        let awaited = |miss: &Miss| matches!(miss.state, MissState::Awaited { .. });
        error.is_retriable() || self.missing.get(&id).is_some_and(awaited)
    }

    /// Notes that a request has failed at the time `now`.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        id: SchemaId,
        error: &RegistryError,
    ) -> Option<RegistryEvent> {
        if error.kind() == RegistryErrorKind::Unavailable {
            return self.unavailable(now, error);
        }
        let state = self.next_state(now, self.missing.get(&id).map(|miss| &miss.state), error);
        // A new entry replaces one that has ended.
        if self.missing.insert(id, Miss { state, error: error.clone() }).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MOST_MISSING {
            if let Some(oldest) = self.order.pop_front() {
                self.missing.remove(&oldest);
            }
        }
        self.answered(now)
    }

    /// The next state of an id that was not found.
    fn next_state(&self, now: Instant, before: Option<&MissState>, error: &RegistryError) -> MissState {
        let absent = MissState::Absent { until: later(now, self.ttl) };
        if !error.is_absence() || self.wait.is_zero() {
            return absent;
        }
        let (since, times) = match before {
            Some(MissState::Absent { until }) if now < later(*until, FORGOTTEN_AFTER) => return absent,
            Some(MissState::Awaited { since, times, .. })
                if now < later(later(*since, self.wait), UNSEEN_FOR) =>
            {
                (*since, times.saturating_add(1))
            }
            _ => (now, 0),
        };
        let end = later(since, self.wait);
        if now >= end {
            return absent;
        }
        MissState::Awaited { since, times, not_before: later(now, self.pause(times)).min(end) }
    }

    /// The pause after this many earlier failures.
    fn pause(&self, failures: u32) -> Duration {
        self.backoff.saturating_mul(1 << failures.min(20)).min(self.backoff_max)
    }

    fn unavailable(&mut self, now: Instant, error: &RegistryError) -> Option<RegistryEvent> {
        // A registry's own pause is respected, but only up to the longest pause.
        let least = error.retry_after().unwrap_or_default().min(self.backoff_max);
        let Some(outage) = &mut self.outage else {
            let not_before = later(now, self.pause(0).max(least));
            self.outage = Some(Outage { since: now, failures: 1, not_before, last: error.clone() });
            return Some(RegistryEvent::Unavailable { reason: error.to_string() });
        };
        outage.last = error.clone();
        // A failure of a request that was sent before the last failure gives no new information.
        if now >= outage.not_before {
            let failures = outage.failures;
            outage.failures = failures.saturating_add(1);
            let not_before = later(now, self.pause(failures).max(least));
            if let Some(outage) = &mut self.outage {
                outage.not_before = not_before;
            }
        }
        None
    }

    /// Notes that the registry has responded.
    pub(super) fn answered(&mut self, now: Instant) -> Option<RegistryEvent> {
        let outage = self.outage.take()?;
        Some(RegistryEvent::Available { after: now.saturating_duration_since(outage.since) })
    }

    /// Notes that a schema was found.
    pub(super) fn found(&mut self, now: Instant, id: SchemaId) -> Option<RegistryEvent> {
        if self.missing.remove(&id).is_some() {
            self.order.retain(|held| *held != id);
        }
        self.answered(now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
mod tests {
    use super::*;

    const ID: SchemaId = SchemaId::Id(7);

    fn error(kind: RegistryErrorKind) -> RegistryError {
        RegistryError::new(kind, "reason")
    }

    /// Waits 3 s for a missing id, in steps of 100 ms to 1 s, and then does not request it for 10 s.
    fn misses() -> (Misses, Instant) {
        (with(ms(3_000), ms(10_000), ms(100), ms(1_000)), Instant::now())
    }

    fn with(wait: Duration, ttl: Duration, backoff: Duration, backoff_max: Duration) -> Misses {
        Misses::new(&RegistryConfig {
            missing_wait: wait,
            missing_ttl: ttl,
            backoff,
            backoff_max,
            ..RegistryConfig::default()
        })
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Requests the id as soon as allowed, and never finds it. Returns the milliseconds from the first request to each, until it
    /// is refused.
    fn asked(misses: &mut Misses, began: Instant) -> Vec<u128> {
        let (mut now, mut asked) = (began, Vec::new());
        loop {
            match misses.next_step(now, ID) {
                NextStep::Ask => {
                    asked.push((now - began).as_millis());
                    assert_eq!(misses.failed(now, ID, &error(RegistryErrorKind::NotFound)), None);
                }
                NextStep::Wait(until, _) => now = until,
                NextStep::Refuse(_) => return asked,
            }
        }
    }

    #[test]
    fn an_id_that_is_not_there_is_asked_for_again_for_a_while_and_then_seldom_and_not_waited_for() {
        let (mut misses, now) = misses();
        assert_eq!(asked(&mut misses, now), [0, 100, 300, 700, 1_500, 2_500, 3_000]);
        let gone = error(RegistryErrorKind::NotFound);
        let over = now + ms(3_000);
        assert_eq!(misses.next_step(over + ms(9_999), ID), NextStep::Refuse(gone.clone()));
        assert_eq!(misses.next_step(over, SchemaId::Id(8)), NextStep::Ask, "others at once");
        for nth in 1..100 {
            assert_eq!(asked(&mut misses, over + ms(nth * 10_000)), [0], "and no more");
        }
        assert!(!misses.may_come(ID, &gone));
        let much_later = over + ms(100 * 10_000) + FORGOTTEN_AFTER;
        assert_eq!(asked(&mut misses, much_later).len(), 7, "nobody has asked for it for long");
        assert_eq!(misses.found(much_later + ms(4_000), ID), None);
        assert!(misses.order.is_empty() && misses.missing.is_empty());
    }

    #[test]
    fn a_time_that_nobody_has_seen_the_end_of_begins_anew() {
        let (mut misses, now) = misses();
        let gone = error(RegistryErrorKind::NotFound);
        misses.failed(now, ID, &gone);
        assert!(misses.may_come(ID, &gone));
        assert_eq!(misses.next_step(now + ms(50), ID), NextStep::Wait(now + ms(100), gone));
        assert_eq!(asked(&mut misses, now + ms(3_000) + UNSEEN_FOR).len(), 7);
        // A caller within that time has the rest of it.
        let (mut misses, now) = self::misses();
        misses.failed(now, ID, &error(RegistryErrorKind::NotFound));
        assert_eq!(asked(&mut misses, now + ms(2_000)), [0, 200, 600, 1_000]);
    }

    #[test]
    fn only_what_is_not_there_is_waited_for_and_nothing_where_there_is_no_time_for_it() {
        let (mut misses, now) = misses();
        for kind in [RegistryErrorKind::Refused, RegistryErrorKind::Malformed, RegistryErrorKind::BadSchema] {
            misses.failed(now, ID, &error(kind));
            assert_eq!(misses.next_step(now, ID), NextStep::Refuse(error(kind)));
        }
        let lacks_a_reference = error(RegistryErrorKind::BadSchema).with_absence(true);
        misses.failed(now, SchemaId::Id(8), &lacks_a_reference);
        assert!(misses.may_come(SchemaId::Id(8), &lacks_a_reference));
        let mut at_once = with(Duration::ZERO, ms(10_000), ms(100), ms(1_000));
        assert_eq!(asked(&mut at_once, now), [0]);
    }

    #[test]
    fn a_registry_that_is_down_is_left_alone_ever_longer_and_told_of_once() {
        let (mut misses, mut now) = misses();
        let down = error(RegistryErrorKind::Unavailable);
        let began = now;
        let mut waits = Vec::new();
        let mut events = Vec::new();
        for nth in 0..6 {
            events.extend(misses.failed(now, SchemaId::Id(nth), &down));
            let NextStep::Wait(until, _) = misses.next_step(now, ID) else { panic!("it is asked at once") };
            waits.push((until - now).as_millis());
            now = until;
            assert_eq!(misses.next_step(now, ID), NextStep::Ask);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(events, [RegistryEvent::Unavailable { reason: "reason".to_owned() }]);
        assert_eq!(misses.found(now, ID), Some(RegistryEvent::Available { after: now - began }));
        assert_eq!(misses.found(now, ID), None);
        misses.failed(now, ID, &down);
        let NextStep::Wait(until, _) = misses.next_step(now, ID) else { panic!() };
        assert_eq!(until - now, ms(100), "from the beginning");
    }

    #[test]
    fn a_registry_that_says_when_it_is_to_be_asked_again_is_not_asked_before() {
        let (mut misses, now) = misses();
        let busy = |millis| error(RegistryErrorKind::Unavailable).with_retry_after(Some(ms(millis)));
        let wait = |misses: &Misses, now| match misses.next_step(now, ID) {
            NextStep::Wait(until, _) => until - now,
            other => panic!("{other:?}"),
        };
        misses.failed(now, ID, &busy(700));
        assert_eq!(wait(&misses, now), ms(700));
        let now = now + ms(700);
        misses.failed(now, ID, &busy(1));
        assert_eq!(wait(&misses, now), ms(200), "not sooner than others are");
        let now = now + ms(200);
        misses.failed(now, ID, &busy(3_600_000));
        assert_eq!(wait(&misses, now), ms(1_000), "and no longer");
    }

    #[test]
    fn questions_that_were_on_their_way_together_fail_as_one() {
        let (mut misses, now) = misses();
        let down = error(RegistryErrorKind::Unavailable);
        for nth in 0..8 {
            misses.failed(now + ms(nth), SchemaId::Id(nth as u32), &down);
        }
        let NextStep::Wait(until, _) = misses.next_step(now + ms(8), ID) else {
            panic!("it is asked at once")
        };
        assert!(until <= now + ms(107), "{:?}", until - now);
        misses.failed(until, ID, &down);
        assert_eq!(misses.next_step(until, ID), NextStep::Wait(until + ms(200), down));
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let (mut misses, now) = misses();
        misses.failed(now, ID, &error(RegistryErrorKind::Unavailable));
        let event = misses.failed(now + ms(5), ID, &error(RegistryErrorKind::NotFound));
        assert_eq!(event, Some(RegistryEvent::Available { after: ms(5) }));
    }

    #[test]
    fn remembered_misses_are_bounded() {
        let (mut misses, now) = misses();
        for id in 0..MOST_MISSING as u32 + 5 {
            misses.failed(now, SchemaId::Id(id), &error(RegistryErrorKind::NotFound));
        }
        assert_eq!((misses.missing.len(), misses.order.len()), (MOST_MISSING, MOST_MISSING));
        assert_eq!(misses.next_step(now, SchemaId::Id(4)), NextStep::Ask);
        assert_ne!(misses.next_step(now, SchemaId::Id(5)), NextStep::Ask);
    }

    #[test]
    fn times_without_end_and_none_are_borne() {
        let now = Instant::now();
        let gone = error(RegistryErrorKind::NotFound);
        let mut forever = with(Duration::MAX, Duration::MAX, Duration::MAX, Duration::MAX);
        forever.failed(now, ID, &gone);
        assert_ne!(forever.next_step(now + ms(1_000_000_000), ID), NextStep::Ask);
        let mut patient = with(Duration::MAX, ms(10_000), ms(100), ms(1_000));
        for nth in 0..100 {
            patient.failed(now + ms(nth * 1_000), ID, &gone);
        }
        assert_eq!(patient.next_step(now + ms(99_999), ID), NextStep::Wait(now + ms(100_000), gone.clone()));
        let mut never = with(Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        never.failed(now, ID, &gone);
        assert_eq!(never.next_step(now, ID), NextStep::Ask);
        assert!(!never.may_come(ID, &gone), "no busy loop");
        never.failed(now, ID, &error(RegistryErrorKind::Unavailable));
        assert_ne!(never.next_step(now, ID), NextStep::Ask, "no busy loop");
        let mut without_ttl = with(ms(3_000), Duration::ZERO, ms(100), ms(1_000));
        without_ttl.failed(now, ID, &gone);
        without_ttl.failed(now + ms(2_999), ID, &gone);
        without_ttl.failed(now + ms(3_000), ID, &gone);
        assert!(
            without_ttl.next_step(now + ms(3_000), ID) == NextStep::Ask && !without_ttl.may_come(ID, &gone)
        );
    }
}
