//! The errors that the application gets. SAFE19: a consumer gives up only for a reason in the plan. SAFE20: `poll` never returns an error
//! that the client can repair, and any other once for each occurrence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Complaints, liveness::HARMLESS, records::most_partitions};
use crate::{
    clock::ms,
    events::{Event, What, Who},
    plan::{Fault, FaultKind, Odd, Plan},
};

/// Calls that a life cannot do without.
const VITAL: &[&str] = &["build", "subscribe", "store"];
/// GROUP_AUTHORIZATION_FAILED and the like: nothing else may end a consumer. No plan injects them.
const FINAL: &[i16] = &[29, 30, 31, 58];
const UNKNOWN: i16 = -1;
/// JoinGroup.
const JOIN: i16 = 11;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
/// The most errors that `poll` may return within the time below; the application waits 100 ms after each.
const MOST: usize = 20;
const WITHIN: Duration = Duration::from_secs(10);
/// The requests on which a consumer depends: FindCoordinator, and those to the coordinator of its group.
const OF_GROUP: &[i16] = &[8, 9, 10, JOIN, 12, 13, 14, CONSUMER_GROUP_HEARTBEAT];
/// The first requests of a client: Metadata, FindCoordinator, ApiVersions, DescribeConfigs.
pub(super) const FIRST: &[i16] = &[3, 10, 18, 32];
/// So long a listener has to close each connection at its first request.
const LOOKS_LIKE_SASL: Duration = Duration::from_secs(10);
/// The requests that a start position takes: ListOffsets, Metadata, OffsetFetch, FindCoordinator, OffsetForLeaderEpoch.
const OF_POSITIONS: &[i16] = &[2, 3, 9, 10, 23];
/// Once all is healed, the last call that met a fault ends within this time: `default.api.timeout.ms`, and a request that is not answered.
const OUTLASTS: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Errors {
    /// When the last fault was over.
    healed: Option<Duration>,
    /// The errors so far about damaged records.
    damaged: u32,
    recent: BTreeMap<Who, Vec<Duration>>,
    /// Members whose JoinGroup of an earlier life arrived after a later one had begun.
    overtaken: BTreeSet<Who>,
    /// When each last sent that it is a member, or wants to be.
    joined: BTreeMap<Who, Duration>,
    began: BTreeMap<Who, Duration>,
    /// For each life that sent one, when the last JoinGroup that was held up at a coordinator took effect.
    held_up: BTreeMap<Who, Duration>,
    /// When a coordinator last had only the stored state of the group.
    loaded: Option<Duration>,
    started: BTreeMap<usize, Who>,
    /// Members whose consumer was dropped: it still leaves its group, while the next life begins.
    dropped: BTreeSet<Who>,
    /// Members that have surely had an answer, as they asked for more than what a client asks for first.
    answered: BTreeSet<Who>,
}

impl Errors {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        match &event.what {
            What::Started { who } => {
                self.started.insert(who.member, *who);
                self.began.insert(*who, event.at);
            }
            What::GroupLoaded => self.loaded = Some(event.at),
            What::Healed => self.healed = Some(event.at),
            What::Crashed { who } => drop(self.dropped.insert(*who)),
            What::Request { api: JOIN, client, .. } => {
                let until = plan.faults.iter().filter_map(|fault| match fault.what {
                    FaultKind::Held { api: JOIN, lasts } if ms(fault.at) <= event.at => {
                        Some(ms(fault.at + lasts))
                    }
                    _ => None,
                });
                self.held_up.extend(Who::parse(client).zip(until.max()));
                let later = Who::parse(client).and_then(|who| Some((who, *self.started.get(&who.member)?)));
                self.overtaken.extend(later.filter(|(who, now)| who.life < now.life).map(|(_, now)| now));
            }
            _ => {}
        }
        if let What::Request { api, client, .. } = &event.what
            && !FIRST.contains(api)
        {
            self.answered.extend(Who::parse(client));
        }
        if let What::Request { api: JOIN | CONSUMER_GROUP_HEARTBEAT, client, .. } = &event.what {
            self.joined.extend(Who::parse(client).map(|who| (who, event.at)));
        }
        let What::Failed { who, call, kind, message, fatal } = &event.what else { return };
        // A JoinGroup carries the instance id, and Kafka fences the previous holder of that id.
        let is_static = plan.members[who.member].instance_id;
        let fenced =
            kind == "Fenced" && is_static && (self.overtaken.contains(who) || self.is_another_s(plan, *who));
        let sasl = message.contains("expects SASL") && self.had_no_answer(plan, *who, event.at);
        if (*fatal || VITAL.contains(call)) && !self.ends(plan, event.at) && !fenced && !sasl {
            complaints.add("SAFE19", event.at, format!("{who} can do nothing more ({call}): {message}"));
        }
        if *call != "poll" {
            return;
        }
        if !fatal && !self.is_for_the_application((plan, event.at), *who, kind, message) {
            complaints.add("SAFE20", event.at, format!("{who}: poll says {kind}: {message}"));
        }
        let recent = self.recent.entry(*who).or_default();
        recent.retain(|at| *at + WITHIN > event.at);
        recent.push(event.at);
        if recent.len() > MOST {
            let text = format!("{who}: {} errors out of poll within {} s", recent.len(), WITHIN.as_secs());
            recent.clear();
            complaints.add("SAFE20", event.at, text);
        }
    }
}

impl Errors {
    /// Whether its `group.instance.id` may be in use by another, an earlier life or a twin, that has contacted the group since this one
    /// began, or that a coordinator which lost its newer state knows instead. A dropped consumer is followed by a later life while it
    /// leaves.
    fn is_another_s(&self, plan: &Plan, who: Who) -> bool {
        let began = self.began.get(&who).copied().unwrap_or_default();
        let dropped = self.dropped.contains(&who);
        let mut others = self.joined.iter().filter(|(other, _)| {
            let precedes = who.member == other.member && other.life < who.life;
            let follows = who.member == other.member && other.life > who.life && dropped;
            plan.are_twins(who.member, other.member) || precedes || follows
        });
        others.any(|(other, at)| {
            let takes_effect = self.held_up.get(other).copied().unwrap_or(*at).max(*at);
            takes_effect >= began || self.loaded >= Some(began)
        })
    }
}

/// The faults that have struck by now.
fn struck(plan: &Plan, at: Duration) -> impl Iterator<Item = &Fault> {
    plan.faults.iter().filter(move |fault| ms(fault.at) <= at)
}

impl Errors {
    /// Whether a fault may still have an effect.
    fn is_troubled(&self, at: Duration) -> bool {
        self.healed.is_none_or(|healed| at <= healed + OUTLASTS)
    }

    /// Whether each of its connections was closed at the first request, for as long as a client waits before it says that the listener
    /// expects SASL.
    fn had_no_answer(&self, plan: &Plan, who: Who, at: Duration) -> bool {
        let lost = |fault: &Fault| matches!(&fault.what, FaultKind::Lose { api, .. } if FIRST.contains(api));
        let long_ago = self.began.get(&who).is_some_and(|began| *began + LOOKS_LIKE_SASL <= at);
        long_ago && !self.answered.contains(&who) && struck(plan, at).any(lost)
    }

    /// Whether a fault that rightly ends a consumer has struck.
    fn ends(&self, plan: &Plan, at: Duration) -> bool {
        // UNKNOWN_SERVER_ERROR from FindCoordinator is final in Java too; and here, if it repeats, also from requests to the group's
        // coordinator.
        let is_final = |fault: &Fault| match &fault.what {
            FaultKind::Code { api, code, .. } => {
                OF_GROUP.contains(api) && (*code == UNKNOWN || FINAL.contains(code))
            }
            _ => false,
        };
        self.is_troubled(at) && struck(plan, at).any(is_final)
    }

    /// Whether an error is one that only the application can deal with.
    fn is_for_the_application(
        &mut self,
        (plan, at): (&Plan, Duration),
        who: Who,
        kind: &str,
        message: &str,
    ) -> bool {
        match kind {
            // Its own listener failed.
            "Listener" => plan.members[who.member].listener.1 > 0,
            // Once for each damaged partition of an answer. It waits behind the records that were fetched before it, for as long as the
            // application takes for them.
            "Corrupt" => {
                self.damaged += 1;
                let answers = struck(plan, at).map(|fault| match fault.what {
                    FaultKind::Corrupt { times } => times,
                    _ => 0,
                });
                self.damaged <= answers.sum::<u32>() * most_partitions(plan, at)
            }
            // It retries, and reports lasting trouble: only where answers are repeatedly malformed, or error codes.
            "Unreachable" if message.contains("trying again") => {
                struck(plan, at).any(|fault| match &fault.what {
                    FaultKind::Odd { which: Odd::CommittedOmitted | Odd::NegativeOffset, .. } => {
                        self.is_troubled(at)
                    }
                    FaultKind::Code { api, .. } => OF_POSITIONS.contains(api) && self.is_troubled(at),
                    FaultKind::Delete { topic } => names(plan, *topic, message),
                    FaultKind::Recreate { topic } => {
                        names(plan, *topic, message) && has_grown(plan, *topic, fault.at)
                    }
                    _ => false,
                })
            }
            // It was told to read a topic that no longer exists.
            "UnknownTopic" => struck(plan, at).any(|fault| match &fault.what {
                FaultKind::Delete { topic } => message.contains(&plan.topics[*topic].name),
                _ => false,
            }),
            // Finished records could not be committed in time, which only the application can handle. A fault that reaches another member
            // alone counts too: while the group waits for that one, no commit is accepted.
            "Timeout" | "Unreachable" if kind == "Timeout" || message.contains("not committed in time") => {
                self.is_troubled(at) && struck(plan, at).any(|fault| !HARMLESS.contains(&fault.what.class()))
            }
            _ => false,
        }
    }
}

/// Whether a message is about a partition of this topic.
fn names(plan: &Plan, topic: usize, message: &str) -> bool {
    message.starts_with(&format!("{}-", plan.topics[topic].name))
}

/// Whether partitions were added to the topic by then: it has its first count again when it is created again.
fn has_grown(plan: &Plan, topic: usize, by: u64) -> bool {
    plan.faults.iter().any(|fault| fault.what == FaultKind::Grow { topic } && fault.at <= by)
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1};
    use crate::{
        events::{What, Who},
        plan::{FaultKind, Plan},
    };

    fn failed(forged: Forged, call: &'static str, kind: &str, fatal: bool) -> Forged {
        let message = "forged; trying again".to_owned();
        forged.tell(What::Failed { who: M0, call, kind: kind.to_owned(), message, fatal })
    }

    #[test]
    fn safe19_a_consumer_gives_up_without_a_cause() {
        failed(Forged::begun(), "poll", "Group", true).is_found("SAFE19");
        let refused = FaultKind::Code { api: 11, code: 30, times: 1 };
        failed(Forged::begun().fault(1, refused), "poll", "Authorization", true).holds();
        // A transient one is not a reason.
        let passing = FaultKind::Code { api: 11, code: 16, times: 1 };
        failed(Forged::begun().fault(1, passing), "poll", "Group", true).is_found("SAFE19");
        failed(Forged::begun(), "build", "Config", false).is_found("SAFE19");
    }

    #[test]
    fn safe19_a_listener_that_answers_no_first_request_looks_like_one_with_sasl() {
        // The plan of seed 20047580: each answer to the first Metadata request of one member was lost, for ten seconds.
        let lost = FaultKind::Lose { api: 3, times: 12 };
        let asks =
            |forged: Forged, api| forged.tell(What::Request { broker: 1, api, client: M1.to_string() });
        let begun = || Forged::new().tell(What::Started { who: M1 }).fault(1, lost.clone());
        let message =
            "closes each connection at the first request, as a listener does that expects SASL".to_owned();
        let ends = |forged: Forged| {
            let (kind, message) = ("Authentication".to_owned(), message.clone());
            forged.tell(What::Failed { who: M1, call: "poll", kind, message, fatal: true })
        };
        ends(asks(begun(), 3).wait(10_000)).holds();
        ends(asks(begun(), 3).wait(9_000)).is_found("SAFE19");
        // It has had an answer.
        ends(asks(asks(begun(), 3), 11).wait(10_000)).is_found("SAFE19");
        // Nothing was lost.
        ends(asks(Forged::new().tell(What::Started { who: M1 }), 3).wait(10_000)).is_found("SAFE19");
    }

    #[test]
    fn safe19_a_join_of_an_earlier_life_that_comes_late_fences_the_next() {
        let again = Who { life: 1, ..M0 };
        let fenced = |forged: Forged| {
            let message = "forged".to_owned();
            let kind = "Fenced".to_owned();
            forged.tell(What::Failed { who: again, call: "poll", kind, message, fatal: true })
        };
        let join = |who: Who| What::Request { broker: 1, api: 11, client: who.to_string() };
        let is_static = || Forged::begun().planned(|plan| plan.members[0].instance_id = true);
        fenced(is_static().tell(What::Started { who: again }).tell(join(M0))).holds();
        fenced(is_static().tell(join(M0)).tell(What::Started { who: again }).tell(join(again)))
            .is_found("SAFE19");
        // The consumer was dropped, and the next life began before it had left.
        let old = |forged: Forged| {
            let (kind, message) = ("Fenced".to_owned(), "forged".to_owned());
            forged.tell(What::Failed { who: M0, call: "event", kind, message, fatal: true })
        };
        let followed = |forged: Forged| old(forged.tell(What::Started { who: again }).tell(join(again)));
        followed(is_static().tell(What::Crashed { who: M0 })).holds();
        followed(is_static()).is_found("SAFE19");
        old(is_static().tell(What::Crashed { who: M0 })).is_found("SAFE19");
        // Without an instance id a member cannot be fenced.
        fenced(Forged::begun().tell(What::Started { who: again }).tell(join(M0))).is_found("SAFE19");
    }

    #[test]
    fn safe19_one_of_two_processes_with_one_instance_id_is_fenced() {
        let twins = |plan: &mut Plan| {
            plan.members[0].instance_id = true;
            plan.members[1].instance_id = true;
            plan.members[1].twin_of = Some(0);
        };
        let fenced = |forged: Forged| {
            let (kind, message) = ("Fenced".to_owned(), "forged".to_owned());
            forged.tell(What::Failed { who: M0, call: "poll", kind, message, fatal: true })
        };
        let join = |who: Who| What::Request { broker: 1, api: 11, client: who.to_string() };
        let begun = || Forged::begun().planned(twins);
        fenced(begun().tell(join(M1))).holds();
        // The other has not joined yet, or has another instance id.
        fenced(begun().tell(join(M0))).is_found("SAFE19");
        fenced(begun().planned(|plan| plan.members[1].twin_of = None).tell(join(M1))).is_found("SAFE19");
        // A coordinator came back without it, and knows the other.
        let before = || Forged::new().planned(twins).tell(join(M1)).joins(M0, 2);
        fenced(before()).is_found("SAFE19");
        fenced(before().tell(What::GroupLoaded)).holds();
        // A request of the other took effect only then.
        let held = |lasts| Forged::new().fault(0, FaultKind::Held { api: 11, lasts }).planned(twins);
        let held = |lasts| fenced(held(lasts).tell(join(M1)).joins(M0, 2));
        held(3_000).holds();
        held(1).is_found("SAFE19");
    }

    #[test]
    fn safe20_a_partition_that_was_added_is_gone_with_the_topic_that_had_it() {
        let says = |forged: Forged, of: &str| {
            let message = format!("{of}: cannot resolve the start offset; trying again");
            let kind = "Unreachable".to_owned();
            forged.tell(What::Failed { who: M0, call: "poll", kind, message, fatal: false })
        };
        let again = Forged::begun().fault(2, FaultKind::Recreate { topic: 0 });
        let grown = again.clone().fault(1, FaultKind::Grow { topic: 0 });
        says(grown.clone(), "orders-1").holds();
        says(grown, "bills-0").is_found("SAFE20");
        // It has as many partitions as before.
        says(again.clone(), "orders-0").is_found("SAFE20");
        // The partition was added to the new topic; or the topic will be created again only later.
        says(again.fault(3, FaultKind::Grow { topic: 0 }), "orders-1").is_found("SAFE20");
        let later = Forged::begun().fault(1, FaultKind::Grow { topic: 0 });
        says(later.fault(60_000, FaultKind::Recreate { topic: 0 }), "orders-1").is_found("SAFE20");
    }

    #[test]
    fn safe19_safe20_a_fault_excuses_nothing_before_it_strikes_nor_long_after() {
        let healed = |forged: Forged, wait| forged.tell(What::Healed).wait(wait);
        let fatal = |at, api, code| Forged::begun().fault(at, FaultKind::Code { api, code, times: 1 });
        let ends = |forged: Forged| failed(forged, "poll", "Group", true);
        ends(fatal(1, 10, -1)).holds();
        ends(fatal(60_000, 10, -1)).is_found("SAFE19");
        // No consumer depends on an answer to Fetch.
        ends(fatal(1, 1, -1)).is_found("SAFE19");
        ends(healed(fatal(1, 10, -1), 20_000)).holds();
        ends(healed(fatal(1, 10, -1), 40_000)).is_found("SAFE19");
        let paused = |at| Forged::begun().fault(at, FaultKind::PauseBroker { broker: 1, lasts: 1_000 });
        let late = |forged: Forged| failed(forged, "poll", "Timeout", false);
        late(paused(1)).holds();
        late(paused(60_000)).is_found("SAFE20");
        late(healed(paused(1), 20_000)).holds();
        late(healed(paused(1), 40_000)).is_found("SAFE20");
        let unreached = |at| {
            let message = "the offset of orders-0 was not committed: not committed in time (no)".to_owned();
            let kind = "Unreachable".to_owned();
            paused(at).tell(What::Failed { who: M0, call: "poll", kind, message, fatal: false })
        };
        unreached(1).holds();
        unreached(60_000).is_found("SAFE20");
        let unknown = |forged: Forged| failed(forged, "poll", "Unreachable", false);
        unknown(fatal(1, 9, 15)).holds();
        unknown(fatal(60_000, 9, 15)).is_found("SAFE20");
        unknown(fatal(1, 12, 15)).is_found("SAFE20");
        let deleted = |at| {
            let (kind, message) = ("UnknownTopic".to_owned(), "topic orders does not exist".to_owned());
            let forged = Forged::begun().fault(at, FaultKind::Delete { topic: 0 });
            forged.tell(What::Failed { who: M0, call: "poll", kind, message, fatal: false })
        };
        deleted(1).holds();
        deleted(60_000).is_found("SAFE20");
    }

    #[test]
    fn safe20_damaged_records_are_reported_once_for_each_partition_of_an_answer() {
        let damaged = |at, times| Forged::begun().fault(at, FaultKind::Corrupt { times });
        let twice =
            |forged: Forged| failed(failed(forged, "poll", "Corrupt", false), "poll", "Corrupt", false);
        twice(damaged(1, 2)).holds();
        twice(damaged(1, 1)).is_found("SAFE20");
        twice(damaged(1, 1).planned(|plan| plan.topics[0].partitions = 2)).holds();
        twice(damaged(60_000, 2)).is_found("SAFE20");
    }

    #[test]
    fn safe20_a_recoverable_error_returned_by_poll_is_found() {
        failed(Forged::begun(), "poll", "Unreachable", false).is_found("SAFE20");
        // An event is for logs.
        failed(Forged::begun(), "event", "Unreachable", false).holds();
        let corrupt = Forged::begun().fault(1, FaultKind::Corrupt { times: 1 });
        failed(corrupt.clone(), "poll", "Corrupt", false).holds();
        failed(Forged::begun(), "poll", "Corrupt", false).is_found("SAFE20");
        let often = (0..25).fold(corrupt, |forged, _| failed(forged.wait(100), "poll", "Corrupt", false));
        often.is_found("SAFE20");
    }
}
