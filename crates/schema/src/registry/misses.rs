//! [`Misses`]: what became of questions for schemas that are not known, and when a question may be asked again.
//!
//! A machine: time comes in as `now`, nothing waits. An id that the registry does not know is not asked for again for a while; a registry
//! that does not answer is asked nothing before a wait that doubles. Always true:
//! - there are at most [`MOST_MISSING`] ids that are remembered;
//! - trouble begins with one event and ends with one, however many questions fail in between.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    RegistryEvent,
    error::{RegistryError, RegistryErrorKind},
};
use crate::id::SchemaId;

/// So many ids that a registry does not know are remembered.
const MOST_MISSING: usize = 10_000;

#[derive(Debug)]
pub(super) struct Misses {
    ttl: Duration,
    backoff: Duration,
    backoff_max: Duration,
    missing: HashMap<SchemaId, (Instant, RegistryError)>,
    /// In the order in which they came.
    order: VecDeque<SchemaId>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u32,
    not_before: Instant,
    last: RegistryError,
}

/// What is to be done about an id that is not known.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The registry is to be asked.
    Ask,
    /// It was asked, and this is the answer.
    Refuse(RegistryError),
    /// It does not answer: not before then. Why.
    Wait(Instant, RegistryError),
}

impl Misses {
    pub(super) fn new(ttl: Duration, backoff: Duration, backoff_max: Duration) -> Self {
        let backoff = backoff.max(Duration::from_millis(1));
        Self {
            ttl,
            backoff,
            backoff_max: backoff_max.max(backoff),
            missing: HashMap::new(),
            order: VecDeque::new(),
            outage: None,
        }
    }

    pub(super) fn verdict(&self, now: Instant, id: SchemaId) -> Verdict {
        if let Some((until, error)) = self.missing.get(&id)
            && now < *until
        {
            return Verdict::Refuse(error.clone());
        }
        match &self.outage {
            Some(outage) if now < outage.not_before => Verdict::Wait(outage.not_before, outage.last.clone()),
            _ => Verdict::Ask,
        }
    }

    /// Why the id is not known, as far as it is known.
    pub(super) fn reason(&self, id: SchemaId) -> Option<&RegistryError> {
        let missing = self.missing.get(&id).map(|(_, error)| error);
        missing.or_else(|| self.outage.as_ref().map(|outage| &outage.last))
    }

    /// A question has failed, at the moment `now`.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        id: SchemaId,
        error: &RegistryError,
    ) -> Option<RegistryEvent> {
        if error.kind() == RegistryErrorKind::Unavailable {
            return self.unavailable(now, error);
        }
        // A miss that has ended makes room for itself.
        if self.missing.insert(id, (later(now, self.ttl), error.clone())).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MOST_MISSING {
            if let Some(oldest) = self.order.pop_front() {
                self.missing.remove(&oldest);
            }
        }
        self.answered(now)
    }

    fn unavailable(&mut self, now: Instant, error: &RegistryError) -> Option<RegistryEvent> {
        let began = self.outage.is_none();
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: now,
            failures: 0,
            not_before: now,
            last: error.clone(),
        });
        let wait = self.backoff.saturating_mul(1 << outage.failures.min(20)).min(self.backoff_max);
        outage.failures = outage.failures.saturating_add(1);
        outage.not_before = later(now, wait);
        outage.last = error.clone();
        began.then(|| RegistryEvent::Unavailable { reason: error.to_string() })
    }

    /// The registry has answered something.
    pub(super) fn answered(&mut self, now: Instant) -> Option<RegistryEvent> {
        let outage = self.outage.take()?;
        Some(RegistryEvent::Available { after: now.saturating_duration_since(outage.since) })
    }

    /// A schema was found.
    pub(super) fn found(&mut self, now: Instant, id: SchemaId) -> Option<RegistryEvent> {
        if self.missing.remove(&id).is_some() {
            self.order.retain(|held| *held != id);
        }
        self.answered(now)
    }
}

/// The moment after that time; far away where it cannot be told.
fn later(from: Instant, wait: Duration) -> Instant {
    offtake_client::clock::later(from, wait)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
mod tests {
    use super::*;

    const ID: SchemaId = SchemaId::Id(7);

    fn error(kind: RegistryErrorKind) -> RegistryError {
        RegistryError::new(kind, "reason")
    }

    fn misses() -> (Misses, Instant) {
        let misses = Misses::new(Duration::from_secs(10), Duration::from_millis(100), Duration::from_secs(1));
        (misses, Instant::now())
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_id_that_is_not_there_is_asked_for_again_after_a_while_and_others_at_once() {
        let (mut misses, now) = misses();
        assert_eq!(misses.verdict(now, ID), Verdict::Ask);
        let gone = error(RegistryErrorKind::NotFound);
        assert_eq!(misses.failed(now, ID, &gone), None);
        assert_eq!(misses.verdict(now + ms(9_999), ID), Verdict::Refuse(gone));
        assert_eq!(misses.verdict(now, SchemaId::Id(8)), Verdict::Ask);
        assert_eq!(misses.verdict(now + ms(10_000), ID), Verdict::Ask);
        assert_eq!(misses.found(now + ms(10_000), ID), None);
        assert!(misses.order.is_empty());
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
            let Verdict::Wait(until, _) = misses.verdict(now, ID) else { panic!("it is asked at once") };
            waits.push((until - now).as_millis());
            now = until;
            assert_eq!(misses.verdict(now, ID), Verdict::Ask);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(events, [RegistryEvent::Unavailable { reason: "reason".to_owned() }]);
        assert_eq!(misses.found(now, ID), Some(RegistryEvent::Available { after: now - began }));
        assert_eq!(misses.found(now, ID), None);
        misses.failed(now, ID, &down);
        let Verdict::Wait(until, _) = misses.verdict(now, ID) else { panic!() };
        assert_eq!(until - now, ms(100), "from the beginning");
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let (mut misses, now) = misses();
        misses.failed(now, ID, &error(RegistryErrorKind::Unavailable));
        let event = misses.failed(now + ms(5), ID, &error(RegistryErrorKind::NotFound));
        assert_eq!(event, Some(RegistryEvent::Available { after: ms(5) }));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut misses, now) = misses();
        for id in 0..MOST_MISSING as u32 + 5 {
            misses.failed(now, SchemaId::Id(id), &error(RegistryErrorKind::NotFound));
        }
        assert_eq!((misses.missing.len(), misses.order.len()), (MOST_MISSING, MOST_MISSING));
        assert_eq!(misses.verdict(now, SchemaId::Id(4)), Verdict::Ask);
        assert_ne!(misses.verdict(now, SchemaId::Id(5)), Verdict::Ask);
    }

    #[test]
    fn times_without_end_and_none_are_borne() {
        let now = Instant::now();
        let mut forever = Misses::new(Duration::MAX, Duration::MAX, Duration::MAX);
        forever.failed(now, ID, &error(RegistryErrorKind::NotFound));
        assert_ne!(forever.verdict(now + ms(1_000_000_000), ID), Verdict::Ask);
        let mut never = Misses::new(Duration::ZERO, Duration::ZERO, Duration::ZERO);
        never.failed(now, ID, &error(RegistryErrorKind::NotFound));
        assert_eq!(never.verdict(now, ID), Verdict::Ask);
        never.failed(now, ID, &error(RegistryErrorKind::Unavailable));
        assert_ne!(never.verdict(now, ID), Verdict::Ask, "no busy loop");
    }
}
