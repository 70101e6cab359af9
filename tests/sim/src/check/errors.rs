//! What the application is told that went wrong. E1: a consumer gives up only for a reason that a plan gave it. E2: what the
//! client can mend never comes out of `poll`, and what it cannot comes out once for each time that it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Complaints, liveness::HARMLESS};
use crate::{
    events::{Event, What, Who},
    plan::{Harm, Odd, Plan},
};

/// Calls that a life cannot do without.
const VITAL: &[&str] = &["build", "subscribe", "store"];
/// GROUP_AUTHORIZATION_FAILED and its like: nothing else may end a consumer. No plan injects them.
const FINAL: &[i16] = &[29, 30, 31, 58];
const UNKNOWN: i16 = -1;
/// JoinGroup.
const JOIN: i16 = 11;
/// So many errors may come out of `poll` in so long a time; the application waits 100 ms after each.
const MOST: usize = 20;
const WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Errors {
    recent: BTreeMap<Who, Vec<Duration>>,
    /// Members of which a JoinGroup of an earlier life arrived when a later one had begun.
    overtaken: BTreeSet<Who>,
    started: BTreeMap<usize, Who>,
}

impl Errors {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        match &event.what {
            What::Started { who } => {
                self.started.insert(who.member, *who);
            }
            What::Request { api: JOIN, client, .. } => {
                let later = Who::parse(client).and_then(|who| Some((who, *self.started.get(&who.member)?)));
                self.overtaken.extend(later.filter(|(who, now)| who.life < now.life).map(|(_, now)| now));
            }
            _ => {}
        }
        let What::Failed { who, call, kind, message, fatal } = &event.what else { return };
        // With its name comes its instance id, and Kafka fences whoever has that.
        let fenced = kind == "Fenced" && plan.members[who.member].instance_id && self.overtaken.contains(who);
        if (*fatal || VITAL.contains(call)) && !ends(plan) && !fenced {
            complaints.add("E1", event.at, format!("{who} can do nothing more ({call}): {message}"));
        }
        if *call != "poll" {
            return;
        }
        if !fatal && !is_for_the_application(plan, *who, kind, message) {
            complaints.add("E2", event.at, format!("{who}: poll says {kind}: {message}"));
        }
        let recent = self.recent.entry(*who).or_default();
        recent.retain(|at| *at + WITHIN > event.at);
        recent.push(event.at);
        if recent.len() > MOST {
            let text = format!("{who}: {} errors out of poll within {} s", recent.len(), WITHIN.as_secs());
            recent.clear();
            complaints.add("E2", event.at, text);
        }
    }
}

/// Whether the plan has something that rightly ends a consumer.
fn ends(plan: &Plan) -> bool {
    // UNKNOWN_SERVER_ERROR from FindCoordinator is final for Java too, and so it is, when it comes again and again, from those
    // whom a member of the group asks.
    plan.faults.iter().any(|fault| match fault.what {
        Harm::Code { code: UNKNOWN, .. } => true,
        // What answers the first question of all with something else is no Kafka broker.
        Harm::Corrupt { .. } => true,
        Harm::Code { code, .. } => FINAL.contains(&code),
        _ => false,
    })
}

/// Whether an error is one that only the application can deal with.
fn is_for_the_application(plan: &Plan, who: Who, kind: &str, message: &str) -> bool {
    match kind {
        // Its own listener failed.
        "Misuse" if message.contains("listener") => plan.members[who.member].listener.1 > 0,
        "Corrupt" => plan.faults.iter().any(|fault| matches!(fault.what, Harm::Corrupt { .. })),
        // It tries again, and says so when trouble lasts: only where answers keep making no sense, or codes.
        "Unreachable" if message.contains("trying again") => plan.faults.iter().any(|fault| {
            matches!(
                fault.what,
                Harm::Odd { which: Odd::CommittedOmitted | Odd::NegativeOffset, .. }
                    | Harm::Code { .. }
                    | Harm::Delete { .. }
            )
        }),
        // It was told to read what is no more.
        "UnknownTopic" => plan.faults.iter().any(|fault| matches!(fault.what, Harm::Delete { .. })),
        // What was finished could not be committed in time: of use to nobody else.
        "Timeout" => plan.faults.iter().any(|fault| !HARMLESS.contains(&fault.what.class())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0};
    use crate::{
        events::{What, Who},
        plan::Harm,
    };

    fn failed(forged: Forged, call: &'static str, kind: &str, fatal: bool) -> Forged {
        let message = "forged; trying again".to_owned();
        forged.tell(What::Failed { who: M0, call, kind: kind.to_owned(), message, fatal })
    }

    #[test]
    fn e1_a_consumer_gives_up_without_a_cause() {
        failed(Forged::begun(), "poll", "Group", true).is_found("E1");
        let refused = Harm::Code { api: 11, code: 30, times: 1 };
        failed(Forged::begun().fault(1, refused), "poll", "Authorization", true).holds();
        // One that passes is none.
        let passing = Harm::Code { api: 11, code: 16, times: 1 };
        failed(Forged::begun().fault(1, passing), "poll", "Group", true).is_found("E1");
        failed(Forged::begun(), "build", "Config", false).is_found("E1");
    }

    #[test]
    fn e1_a_join_of_an_earlier_life_that_comes_late_fences_the_next() {
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
            .is_found("E1");
        // Nobody can be fenced without an instance id.
        fenced(Forged::begun().tell(What::Started { who: again }).tell(join(M0))).is_found("E1");
    }

    #[test]
    fn e2_what_the_client_can_mend_comes_out_of_poll() {
        failed(Forged::begun(), "poll", "Unreachable", false).is_found("E2");
        // An event is for logs.
        failed(Forged::begun(), "event", "Unreachable", false).holds();
        let corrupt = Forged::begun().fault(1, Harm::Corrupt { times: 1 });
        failed(corrupt.clone(), "poll", "Corrupt", false).holds();
        failed(Forged::begun(), "poll", "Corrupt", false).is_found("E2");
        let often = (0..25).fold(corrupt, |forged, _| failed(forged.wait(100), "poll", "Corrupt", false));
        often.is_found("E2");
    }
}
