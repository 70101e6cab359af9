//! Requests: SAFE15 no hot loop, SAFE16 no request that a broker would call invalid.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Complaints;
use crate::{
    events::{Event, What, Who},
    plan::{Commits, Kind, Plan},
};

const FETCH: i16 = 1;
const OFFSET_COMMIT: i16 = 8;
/// Not an API of Kafka: a dial.
const DIAL: i16 = -1;

#[derive(Debug, Default)]
pub(super) struct Requests {
    recent: BTreeMap<(String, i32, i16), VecDeque<Duration>>,
    idle: Option<Duration>,
    /// When each was last handed a record, or began: a member that reads again what others have read is not idle yet, nor is one whose
    /// listener has not ended.
    reads: BTreeMap<Who, Duration>,
}

impl Requests {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        let at = event.at;
        match &event.what {
            What::Request { broker, api, client } if Who::parse(client).is_some() => {
                self.count(plan, at, (client.clone(), *broker, *api), complaints);
            }
            What::Dialled { who, broker, .. } => {
                self.count(plan, at, (who.to_string(), *broker, DIAL), complaints)
            }
            What::Delivered { who, .. } | What::HandlerBegan { who, .. } => {
                self.reads.insert(*who, at);
            }
            What::Assigned { who, places, .. } if !places.is_empty() => {
                self.reads.insert(*who, at);
            }
            What::Quiet => self.idle = Some(at),
            What::CloseBegins { .. } => self.idle = None,
            What::Refused { broker, api, code, client } if INVALID.contains(code) => {
                let text = format!("broker {broker} refused request {api} of {client} with code {code}");
                complaints.add("SAFE16", at, text);
            }
            _ => {}
        }
    }

    fn count(&mut self, plan: &Plan, at: Duration, key: (String, i32, i16), complaints: &mut Complaints) {
        let who = Who::parse(&key.0);
        let commits = who.map(|who| plan.members[who.member].commits);
        let read = who.and_then(|who| self.reads.get(&who).copied());
        let idle = self.idle.map(|idle| read.map_or(idle, |read| idle.max(read)));
        let per_second = match key.2 {
            // Without new records, a long poll takes half a second.
            FETCH
                if plan.producers.iter().all(|producer| producer.kind == Kind::Plain)
                    && idle.is_some_and(|idle| at > idle + Duration::from_secs(2)) =>
            {
                40
            }
            FETCH => 1_000,
            OFFSET_COMMIT if matches!(commits, Some(Commits::Sync | Commits::Async | Commits::Listener)) => {
                1_000
            }
            OFFSET_COMMIT if commits == Some(Commits::Worker) => 160,
            _ => 60,
        };
        let recent = self.recent.entry(key).or_default();
        recent.push_back(at);
        while recent.front().is_some_and(|first| at - *first > Duration::from_secs(1)) {
            recent.pop_front();
        }
        if recent.len() > per_second {
            let count = recent.len();
            recent.clear();
            let (client, broker, api) = self.recent.iter().find(|(_, times)| times.is_empty()).map_or_else(
                || (String::new(), 0, 0),
                |((client, broker, api), _)| (client.clone(), *broker, *api),
            );
            let text =
                format!("{client} sent {count} requests of kind {api} to broker {broker} within a second");
            complaints.add("SAFE15", at, text);
        }
    }
}

/// INVALID_REQUEST and the like: INCONSISTENT_GROUP_PROTOCOL is not a member's bug, so only codes that no correct client ever causes.
const INVALID: &[i16] = &[42, 87];

#[cfg(test)]
mod tests {
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

    #[test]
    fn safe16_nothing_that_a_broker_calls_invalid() {
        let refused = |code| What::Refused { broker: 1, api: 3, code, client: M0.to_string() };
        Forged::new().tell(refused(42)).is_found("SAFE16");
        Forged::new().tell(refused(16)).holds();
    }
}
