//! Requests: SAFE15 no hot loop, SAFE16 no request that a broker would call invalid.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Complaints,
    ledger::{Ledger, Log},
    records::most_partitions,
};
use crate::{
    events::{Event, What, Who},
    plan::{Commits, Kind, Plan},
};

const FETCH: i16 = 1;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
/// The Fetch requests to a broker that a second may have without new offsets: without records a long poll takes half a second, but changes of
/// the assignment, pauses and faults end it.
const FETCHES: usize = 40;
/// However many offsets there are, a round trip takes its time.
const MOST_FETCHES: usize = 1_000;
/// The commits of a second beside those after polls.
const COMMITS: usize = 15;
/// The requests of a second of each other kind.
const OTHERS: usize = 60;
/// Not an API of Kafka: a dial.
const DIAL: i16 = -1;
/// Not an API of Kafka: a Fetch that was answered without records. There are few, however long the logs are.
const FETCHED_NOTHING: i16 = -2;

#[derive(Debug, Default)]
pub(super) struct Requests {
    recent: BTreeMap<(String, i32, i16), VecDeque<Duration>>,
    idle: Option<Duration>,
    /// When each was last handed a record, or began: a member that reads again what others have read is not idle yet, nor is one whose
    /// listener has not ended.
    reads: BTreeMap<Who, Duration>,
    /// The most offsets that all logs had together: those of a topic that was deleted may just have been fetched.
    offsets: usize,
    /// When each polled in the last second.
    polls: BTreeMap<Who, VecDeque<Duration>>,
    /// When a transaction of each was aborted in the last second, so that it went back.
    backs: BTreeMap<Who, VecDeque<Duration>>,
}

impl Requests {
    pub(super) fn feed(
        &mut self,
        (plan, ledger): (&Plan, &Ledger),
        event: &Event,
        complaints: &mut Complaints,
    ) {
        let at = event.at;
        match &event.what {
            What::Request { broker, api, client } if Who::parse(client).is_some() => {
                self.count((plan, ledger), at, (client.clone(), *broker, *api), complaints);
            }
            What::FetchedNothing { broker, client } if Who::parse(client).is_some() => {
                self.count((plan, ledger), at, (client.clone(), *broker, FETCHED_NOTHING), complaints);
            }
            What::Dialled { who, broker, .. } => {
                self.count((plan, ledger), at, (who.to_string(), *broker, DIAL), complaints)
            }
            What::Delivered { who, .. } | What::HandlerBegan { who, .. } => {
                self.reads.insert(*who, at);
            }
            What::Assigned { who, places, .. } if !places.is_empty() => {
                self.reads.insert(*who, at);
            }
            What::PollEnds { who, .. } => note(self.polls.entry(*who).or_default(), at),
            What::WentBack { who, .. } => note(self.backs.entry(*who).or_default(), at),
            What::Quiet => self.idle = Some(at),
            What::CloseBegins { .. } => self.idle = None,
            What::Refused { broker, api, code, client } if INVALID.contains(code) => {
                let text = format!("broker {broker} refused request {api} of {client} with code {code}");
                complaints.add("SAFE16", at, text);
            }
            _ => {}
        }
    }

    fn count(
        &mut self,
        (plan, ledger): (&Plan, &Ledger),
        at: Duration,
        key: (String, i32, i16),
        complaints: &mut Complaints,
    ) {
        let who = Who::parse(&key.0);
        let commits = who.map(|who| plan.members[who.member].commits);
        let read = who.and_then(|who| self.reads.get(&who).copied());
        let idle = self.idle.map(|idle| read.map_or(idle, |read| idle.max(read)));
        let is_idle = plan.producers.iter().all(|producer| producer.kind == Kind::Plain)
            && idle.is_some_and(|idle| at > idle + Duration::from_secs(2));
        let polls = who.and_then(|who| self.polls.get(&who)).map_or(0, |polls| since(polls, at));
        let backs = who.and_then(|who| self.backs.get(&who)).map_or(0, |backs| since(backs, at));
        let per_second = match key.2 {
            // Whoever goes back asks once what is committed, and once whether that is still in the log.
            OFFSET_FETCH | OFFSET_FOR_LEADER_EPOCH => backs + OTHERS,
            FETCH | FETCHED_NOTHING => FETCHES,
            // After each poll one for each partition at most, and those that are tried again or made in a listener.
            OFFSET_COMMIT if matches!(commits, Some(Commits::Sync | Commits::Async | Commits::Listener)) => {
                polls * usize::try_from(most_partitions(plan, at)).unwrap_or(usize::MAX) + COMMITS
            }
            OFFSET_COMMIT if commits == Some(Commits::Worker) => 160,
            _ => OTHERS,
        };
        let is_fetch = key.2 == FETCH;
        self.offsets = self.offsets.max(offsets(ledger));
        let recent = self.recent.entry(key.clone()).or_default();
        note(recent, at);
        let count = recent.len();
        // Whoever goes back reads again.
        let readings = backs.saturating_add(1);
        if count <= per_second || (is_fetch && !is_idle && count <= FETCHES + self.offsets * readings) {
            return;
        }
        let (client, broker, api) = &key;
        let text = format!("{client} sent {count} requests of kind {api} to broker {broker} within a second");
        complaints.add("SAFE15", at, text);
        self.recent.remove(&key);
    }
}

/// The most Fetch requests that a second may have for new offsets: each answer has one at least, and a rebalance may begin all of them again.
fn offsets(ledger: &Ledger) -> usize {
    let ends = ledger.places().filter_map(|place| ledger.log(place)).map(Log::end);
    usize::try_from(2 * ends.sum::<i64>()).unwrap_or(0).min(MOST_FETCHES)
}

/// Notes this time, and forgets those more than a second before it.
fn note(times: &mut VecDeque<Duration>, at: Duration) {
    times.push_back(at);
    while times.front().is_some_and(|first| at - *first > Duration::from_secs(1)) {
        times.pop_front();
    }
}

/// How many of these times are in the second before this one.
fn since(times: &VecDeque<Duration>, at: Duration) -> usize {
    times.iter().rev().take_while(|time| at - **time <= Duration::from_secs(1)).count()
}

/// INVALID_REQUEST and the like: INCONSISTENT_GROUP_PROTOCOL is not a member's bug, so only codes that no correct client ever causes.
const INVALID: &[i16] = &[42, 87];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::forge::{Forged, M0, orders};
    use crate::events::What;

    fn asks(times: u32, pause: u64) -> Forged {
        let request = || What::Request { broker: 1, api: 3, client: M0.to_string() };
        (0..times).fold(Forged::new(), |forged, _| forged.wait(pause).tell(request()))
    }

    #[test]
    fn safe15_no_hot_loop() {
        asks(100, 5).is_found("SAFE15");
        asks(100, 20).holds();
    }

    #[test]
    fn safe15_a_member_that_starts_over_reads_again_before_its_listener_has_ended() {
        // The plan of seed 9314886: 200 bytes an answer, of a log whose offsets were forgotten with the group.
        let request = || What::Request { broker: 1, api: super::FETCH, client: M0.to_string() };
        let fetches = |begun: Forged| (0..60).fold(begun, |forged, _| forged.wait(9).tell(request()));
        let idle = Forged::begun().tell(What::Quiet).wait(5_000);
        fetches(idle.clone()).is_found("SAFE15");
        let lost = idle.tell(What::Lost { who: M0, places: vec![orders()] });
        fetches(lost.clone()).is_found("SAFE15");
        let again = lost.granted(M0, 2).assigned(M0, 2);
        fetches(again.clone()).holds();
        fetches(again.wait(2_500)).is_found("SAFE15");
    }

    fn fetch() -> What {
        What::Request { broker: 1, api: super::FETCH, client: M0.to_string() }
    }

    #[test]
    fn safe15_each_of_many_fetches_is_for_an_offset() {
        let fetches =
            |forged: Forged, times: u32| (0..times).fold(forged, |forged, _| forged.wait(4).tell(fetch()));
        let begun = |records| Forged::new().written(0..records, 0).joins(M0, 1).reset(M0, None, 0);
        fetches(begun(80), 110).holds();
        fetches(begun(20), 110).is_found("SAFE15");
        // It reads what it had read once more, after a rebalance.
        fetches(begun(40), 110).holds();
        fetches(begun(30), 110).is_found("SAFE15");
        // The plan of seed 26033272: the topic is created again when its records have just been fetched.
        fetches(fetches(begun(40), 100).recreated(), 10).holds();
        fetches(begun(40).recreated(), 110).is_found("SAFE15");
    }

    #[test]
    fn safe15_in_a_long_log_too_few_fetches_bring_nothing() {
        let begun = Forged::new().written(0..500, 0).joins(M0, 1).reset(M0, None, 0);
        let fetches = |nothing: u32| {
            let answers = |forged: Forged, nth: u32| match nth < nothing {
                true => forged.tell(What::FetchedNothing { broker: 1, client: M0.to_string() }),
                false => forged,
            };
            (0..110).fold(begun.clone(), |forged, nth| answers(forged.wait(4).tell(fetch()), nth))
        };
        fetches(40).holds();
        fetches(41).is_found("SAFE15");
    }

    #[test]
    fn safe15_whoever_goes_back_asks_once_what_is_committed() {
        // The plan of seed 26087500: a member that cannot join again yet copies, and is told each time that it is no member.
        let back = || What::WentBack { who: M0, at: orders(), since: Duration::ZERO, otherwise: 0 };
        for api in [super::OFFSET_FETCH, super::OFFSET_FOR_LEADER_EPOCH] {
            let asks = || What::Request { broker: 1, api, client: M0.to_string() };
            let goes = |times| {
                (0..90).fold(Forged::begun(), |forged, nth| match nth < times {
                    true => forged.wait(10).tell(back()).tell(asks()),
                    false => forged.wait(10).tell(asks()),
                })
            };
            goes(30).holds();
            goes(29).is_found("SAFE15");
        }
    }

    #[test]
    fn safe15_there_are_not_many_more_commits_than_polls() {
        let commits = |polls: bool| {
            let commit = || What::Request { broker: 1, api: super::OFFSET_COMMIT, client: M0.to_string() };
            let ends = |forged: Forged| {
                if polls { forged.tell(What::PollEnds { who: M0, dropped: false }) } else { forged.wait(1) }
            };
            (0..60).fold(Forged::begun(), |forged, _| ends(forged).tell(commit()))
        };
        commits(true).holds();
        commits(false).is_found("SAFE15");
    }

    #[test]
    fn safe16_nothing_that_a_broker_calls_invalid() {
        let refused = |code| What::Refused { broker: 1, api: 3, code, client: M0.to_string() };
        Forged::new().tell(refused(42)).is_found("SAFE16");
        Forged::new().tell(refused(16)).holds();
    }
}
