//! LIVE6: a member sends its heartbeats on time, whatever its application does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Complaints, liveness::HARMLESS};
use crate::{
    clock::ms,
    events::{Event, What, Who},
    plan::Plan,
};

/// JoinGroup and SyncGroup: the coordinator counts them as heartbeats, and so does the member.
const JOIN: i16 = 11;
const SYNC: i16 = 14;
/// The heartbeat interval that the cluster gives members of KIP-848.
pub(crate) const CONSUMER_INTERVAL: u64 = 1_000;
/// Allowed beside the interval and the round trip to the coordinator, after which the next interval begins.
const SLACK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    members: BTreeMap<String, Who>,
    /// The last heartbeat of each member of the group, or the last answer of the coordinator that counts as one.
    last: BTreeMap<Who, Duration>,
    /// Members whose consumer was dropped: it still sends that it leaves, which is a heartbeat too (KIP-848).
    dropped: BTreeSet<Who>,
}

impl Heartbeats {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        // Where brokers answer late or not at all, only the session counts (SAFE6).
        if plan.has_strikes() || !plan.faults.iter().all(|fault| HARMLESS.contains(&fault.what.class())) {
            return;
        }
        match &event.what {
            What::Named { who, member } => {
                self.members.insert(member.clone(), *who);
            }
            // A client that is not a member, as another process has its `group.instance.id`, may retry at any time (KIP-848).
            What::HeartbeatSent { who } if plan.has_a_twin(who.member) && !self.last.contains_key(who) => {}
            What::HeartbeatSent { who } if self.dropped.contains(who) => {}
            What::HeartbeatSent { who } => {
                let since = self.last.insert(*who, event.at);
                self.judge(plan, *who, since, event.at, complaints);
            }
            What::GroupAssigned { member, .. } => {
                if let Some(who) = self.members.get(member) {
                    self.last.entry(*who).or_insert(event.at);
                }
            }
            What::Request { api: JOIN | SYNC, client, .. } => {
                if let Some(last) = Who::parse(client).and_then(|who| self.last.get_mut(&who)) {
                    *last = event.at;
                }
            }
            What::Failed { who, fatal: true, .. } => {
                self.last.remove(who);
            }
            // Its application polls too seldom: it is no member until the application polls again.
            What::StepsOut { who } => {
                self.last.remove(who);
            }
            What::MemberGone { member, .. } => {
                if let Some(who) = self.members.get(member) {
                    self.last.remove(who);
                }
            }
            What::Crashed { who } => {
                self.dropped.insert(*who);
                self.last.remove(who);
            }
            What::CloseBegins { who, .. } | What::CloseEnds { who } => {
                self.last.remove(who);
            }
            What::Quiet => {
                // A member that sent none until now is as late as one that sends it now.
                for (who, since) in std::mem::take(&mut self.last) {
                    self.judge(plan, who, Some(since), event.at, complaints);
                    self.last.insert(who, since);
                }
            }
            _ => {}
        }
    }

    fn judge(
        &self,
        plan: &Plan,
        who: Who,
        since: Option<Duration>,
        at: Duration,
        complaints: &mut Complaints,
    ) {
        let member = &plan.members[who.member];
        let interval = if member.consumer_protocol { CONSUMER_INTERVAL } else { plan.heartbeat_interval };
        let most = ms(interval + 2 * plan.latency.1) + SLACK;
        if let Some(gap) = since.map(|since| at - since).filter(|gap| *gap > most) {
            let text = format!(
                "{who} sent no heartbeat for {} ms, and the interval is {interval} ms",
                gap.as_millis()
            );
            complaints.add("LIVE6", at, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0};
    use crate::{events::What, plan::FaultKind};

    fn beats(forged: Forged, after: u64) -> Forged {
        forged.wait(after).tell(What::HeartbeatSent { who: M0 })
    }

    #[test]
    fn live6_heartbeats_come_on_time() {
        let joined = || Forged::new().joins(M0, 1);
        beats(beats(joined(), 1_000), 1_000).holds();
        beats(beats(joined(), 1_000), 1_200).is_found("LIVE6");
        beats(joined(), 1_200).is_found("LIVE6");
        // No heartbeat at all.
        joined().wait(5_000).tell(What::Quiet).is_found("LIVE6");
    }

    #[test]
    fn live6_a_dropped_member_leaves_and_sends_nothing_more() {
        // The plan of seed 6009371: it had not joined yet, so no member is removed.
        let quiet = |forged: Forged| beats(forged, 10).wait(5_000).tell(What::Quiet);
        quiet(Forged::new().starts(M0).tell(What::Crashed { who: M0 })).holds();
        quiet(Forged::new().starts(M0)).is_found("LIVE6");
    }

    #[test]
    fn live6_a_member_that_stepped_out_sends_no_heartbeats_until_its_application_is_back() {
        let out = || beats(Forged::new().joins(M0, 1), 1_000).tell(What::StepsOut { who: M0 });
        beats(out(), 5_000).holds();
        out().wait(5_000).tell(What::Quiet).holds();
        // It has returned.
        beats(beats(out(), 5_000), 1_200).is_found("LIVE6");
    }

    #[test]
    fn live6_a_client_whose_instance_id_is_taken_may_ask_at_any_time() {
        let static_member = |forged: Forged| {
            forged.planned(|plan| {
                plan.members[0].consumer_protocol = true;
                plan.members.iter_mut().for_each(|member| member.instance_id = true);
            })
        };
        let twin = || static_member(Forged::new()).planned(|plan| plan.members[1].twin_of = Some(0));
        beats(beats(twin().starts(M0), 0), 1_500).holds();
        beats(beats(static_member(Forged::new()).starts(M0), 0), 1_500).is_found("LIVE6");
        // It is a member now.
        beats(beats(twin().starts(M0), 0).granted(M0, 1), 1_500).is_found("LIVE6");
        // It was told that it is no longer a member.
        let (kind, message) = ("Fenced".to_owned(), "forged".to_owned());
        let fenced = What::Failed { who: M0, call: "event", kind, message, fatal: true };
        let other = What::Request { broker: 1, api: 68, client: "m1.0".to_owned() };
        beats(twin().joins(M0, 1).tell(other).tell(fenced), 5_000).holds();
    }

    #[test]
    fn live6_also_while_it_joins_but_not_where_brokers_are_late() {
        let asks = |api| What::Request { broker: 1, api, client: M0.to_string() };
        for api in [11, 14] {
            let joins = || Forged::new().joins(M0, 1).wait(900).tell(asks(api));
            beats(joins(), 1_000).holds();
            beats(joins(), 1_200).is_found("LIVE6");
        }
        let slow = FaultKind::Late { api: 12, by: 3_000, times: 1 };
        beats(Forged::new().fault(1, slow).joins(M0, 1), 5_000).holds();
    }
}
