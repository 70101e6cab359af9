//! Bounds in time: LIVE4 few rebalances and LIVE6 steady heartbeats where there is no fault, LIVE7 `poll` and `close` return when they
//! should; SAFE15 nothing is left running; SAFE17 no panics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Complaints, spoken::Spoken};
use crate::{
    clock::ms,
    events::{Event, What, Who},
    plan::{FaultKind, Plan, Protocol},
};

/// Faults that are no reason to lose a member.
pub(super) const HARMLESS: &[&str] = &[
    "compaction",
    "retention",
    "truncation",
    "partitions added",
    "leader moved",
    "fetch sessions evicted",
    "application stalls",
];

/// This long after the last fault all connections work again, and no request is unanswered.
const SETTLED: Duration = Duration::from_secs(15);
/// How long the last commit of a partition whose topic was deleted is repeated: it may be created again.
const LAST_COMMIT_REPEATS: Duration = Duration::from_secs(5);
/// The longest wait before a coordinator that has moved is looked up again (`retry.backoff.max.ms`).
const BACKOFF: Duration = Duration::from_secs(1);
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const SYNC_GROUP: i16 = 14;
/// The requests for which `close` waits in turn.
const CLOSE_TRIPS: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Liveness {
    polls: BTreeMap<Who, (Duration, Duration)>,
    closes: BTreeMap<Who, (Duration, Duration)>,
    /// While a process was stopped, no time passed for it.
    frozen: BTreeMap<usize, Duration>,
    listening: BTreeMap<Who, Duration>,
    /// When each sent a SyncGroup that is not answered yet: until all members of the generation are there, no commit is accepted.
    syncing: BTreeMap<Who, Duration>,
    members: BTreeMap<String, Who>,
    ended: BTreeSet<Who>,
    /// Members whose generation is not that of the classic group which their group became.
    outdated: BTreeSet<Who>,
    /// Joins and ends of members, each of which may cause a rebalance.
    changes: i32,
    /// When the last fault was over.
    healed: Option<Duration>,
    /// Whether a topic was deleted for good: the last commit of its partitions is repeated, as it may be created again.
    is_topic_gone: bool,
}

impl Liveness {
    pub(super) fn feed(&mut self, plan: &Plan, spoken: &Spoken, event: &Event, complaints: &mut Complaints) {
        let at = event.at;
        self.downgrades(plan, spoken, &event.what);
        if let What::GroupAssigned { member, .. } = &event.what {
            self.synced(at, self.members.get(member).copied());
        }
        match &event.what {
            What::PollBegins { who, timeout } => {
                self.polls.insert(*who, (at, *timeout));
            }
            What::PollEnds { who, .. } => self.returned(at, *who, true, complaints),
            What::Healed => self.healed = Some(at),
            What::Deleted { .. } => self.is_topic_gone = true,
            What::CloseBegins { who, timeout } => {
                let is_healed = self.healed.is_some_and(|healed| healed + SETTLED < at);
                let repeats = if self.is_topic_gone { LAST_COMMIT_REPEATS } else { Duration::ZERO };
                let needs = match is_peaceful(plan) || is_healed {
                    true => close_in_peace(plan, *timeout) + repeats,
                    false => *timeout,
                };
                self.closes.insert(*who, (at, needs.min(*timeout)));
            }
            What::CloseEnds { who } => {
                self.changes += 1;
                self.ended.insert(*who);
                self.returned(at, *who, false, complaints);
            }
            What::Request { api: SYNC_GROUP, client, .. } => {
                self.syncing.extend(Who::parse(client).map(|who| (who, at)));
            }
            What::Request { api: JOIN_GROUP, client, .. } => self.synced(at, Who::parse(client)),
            What::Request { api: FIND_COORDINATOR, client, .. } => {
                if let Some((_, needs)) = Who::parse(client).and_then(|who| self.closes.get_mut(&who)) {
                    *needs += BACKOFF;
                }
            }
            What::ListenerBegins { who, .. } => {
                self.listening.insert(*who, at);
            }
            What::ListenerEnds { who, .. } => {
                if let Some(began) = self.listening.remove(who) {
                    self.excuse(who.member, at - began);
                }
            }
            What::Frozen { who } => {
                self.frozen.insert(who.member, at);
            }
            What::Thawed { who } => {
                if let Some(since) = self.frozen.remove(&who.member) {
                    self.excuse(who.member, at - since);
                }
            }
            What::Started { .. }
            | What::Resubscribed { .. }
            | What::Grown { .. }
            | What::Recreated { .. } => self.changes += 1,
            What::Crashed { who } => {
                self.changes += 1;
                self.ended.insert(*who);
            }
            What::Named { who, member } => {
                self.members.insert(member.clone(), *who);
            }
            What::MemberGone { member, why } if is_peaceful(plan) => {
                let who = self.members.get(member).filter(|who| !self.ended.contains(who));
                let told = |who: &&Who| *why == "session" && self.outdated.contains(who);
                // While its application does not poll it does not join again; and a static member of the classic protocols then sends
                // nothing more, so that its session ends (KIP-345).
                let stalls = |who: &&Who| {
                    let mine = &plan.members[who.member];
                    let falls_silent = mine.instance_id && !mine.consumer_protocol;
                    // It learns of a rebalance from its next heartbeat.
                    let hears =
                        if *why == "rebalance" { ms(plan.heartbeat_interval) } else { Duration::ZERO };
                    (*why == "rebalance" || falls_silent) && stalls_throughout(plan, who.member, at, hears)
                };
                let who =
                    who.filter(|who| ["session", "rebalance"].contains(why) && !told(who) && !stalls(who));
                if let Some(who) = who {
                    complaints.add(
                        "LIVE6",
                        at,
                        format!("{who} was put out of the group ({why}), and nothing was wrong"),
                    );
                }
            }
            What::GroupAssigned { generation, .. }
                if plan.faults.is_empty() && *generation > 2 * self.changes + 2 =>
            {
                let text = format!("generation {generation} after {} changes of membership", self.changes);
                complaints.add("LIVE4", at, text);
            }
            What::Panicked { who, message } => {
                complaints.add("SAFE17", at, format!("{who} panicked: {message}"))
            }
            What::Over { tasks, connections } if *tasks > 0 || *connections > 0 => {
                let text =
                    format!("after all were closed, {tasks} tasks and {connections} connections were left");
                complaints.add("SAFE15", at, text);
            }
            _ => {}
        }
    }

    /// When its last member of KIP-848 leaves, a group becomes a classic one whose generation is the group's epoch. Kafka answers
    /// ILLEGAL_GENERATION to the heartbeats and commits of members that have not caught up with that. Such a member has lost all partitions (FAILURES
    /// D2), and joins again after its application was told: in its next `poll`, which may be much later.
    fn downgrades(&mut self, plan: &Plan, spoken: &Spoken, what: &What) {
        const OFFSET_COMMIT: i16 = 8;
        const HEARTBEAT: i16 = 12;
        const ILLEGAL_GENERATION: i16 = 22;
        match what {
            What::GroupAssigned { member, .. } => {
                if let Some(who) = self.members.get(member) {
                    self.outdated.remove(who);
                }
            }
            What::Refused { api: HEARTBEAT | OFFSET_COMMIT, code: ILLEGAL_GENERATION, client, .. }
                if plan.protocol == Protocol::Migrating && spoken.is_classic() =>
            {
                self.outdated.extend(Who::parse(client));
            }
            _ => {}
        }
    }

    /// A SyncGroup was answered: with an assignment, or so that the member joins again. The last commit of a close waited for that.
    fn synced(&mut self, at: Duration, who: Option<Who>) {
        let Some((who, since)) = who.and_then(|who| Some((who, self.syncing.remove(&who)?))) else { return };
        if let Some((began, needs)) = self.closes.get_mut(&who) {
            *needs += at.saturating_sub(since.max(*began));
        }
    }

    fn excuse(&mut self, member: usize, by: Duration) {
        for calls in [&mut self.polls, &mut self.closes] {
            for (_, (_, allowed)) in calls.iter_mut().filter(|(who, _)| who.member == member) {
                *allowed += by;
            }
        }
    }

    fn returned(&mut self, at: Duration, who: Who, poll: bool, complaints: &mut Complaints) {
        let (calls, name, slack) =
            if poll { (&mut self.polls, "poll", 50) } else { (&mut self.closes, "close", 100) };
        if let Some((began, allowed)) = calls.remove(&who) {
            let took = at - began;
            if took > allowed + Duration::from_millis(slack) {
                let text = format!("{who}: {name} took {} ms of {}", took.as_millis(), allowed.as_millis());
                complaints.add("LIVE7", at, text);
            }
        }
    }
}

/// Whether nothing in the plan is a reason to lose a member.
fn is_peaceful(plan: &Plan) -> bool {
    !plan.has_strikes() && plan.faults.iter().all(|fault| HARMLESS.contains(&fault.what.class()))
}

/// What `close` waits for where nothing is wrong, beside a listener: that the last commit and the departure from the group are answered,
/// each perhaps after a request that is on its way already, or after its coordinator was looked up. A worker waits for its handlers too,
/// but not long for its last commit and its two clients.
fn close_in_peace(plan: &Plan, timeout: Duration) -> Duration {
    let others = plan.work.as_ref().map(|work| timeout.saturating_sub(3 * ms(work.close_timeout)));
    others.unwrap_or_default() + ms(CLOSE_TRIPS * 2 * plan.latency.1)
}

/// Whether the application has not polled for the whole rebalance timeout, less the time until its member learns of the rebalance.
fn stalls_throughout(plan: &Plan, member: usize, at: Duration, hears: Duration) -> bool {
    plan.faults.iter().any(|fault| match fault.what {
        FaultKind::Stall { member: of, lasts } => {
            of == member && ms(fault.at + plan.max_poll_interval) <= at + hears && at <= ms(fault.at + lasts)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0};
    use crate::{
        clock::ms,
        events::{Call, What},
        plan::FaultKind,
    };

    fn polls(took: u64) -> Forged {
        let begun = Forged::begun().tell(What::PollBegins { who: M0, timeout: ms(100) });
        begun.wait(took).tell(What::PollEnds { who: M0, dropped: false })
    }

    #[test]
    fn live7_poll_and_close_return_in_time() {
        polls(120).holds();
        polls(200).is_found("LIVE7");
        let listens = |call| What::ListenerBegins { who: M0, call, places: Vec::new(), generation: 1 };
        let begun = Forged::begun().tell(What::PollBegins { who: M0, timeout: ms(100) });
        let excused = begun.tell(listens(Call::Assigned)).wait(5_000);
        let excused = excused.tell(What::ListenerEnds { who: M0, call: Call::Assigned }).wait(90);
        excused.tell(What::PollEnds { who: M0, dropped: false }).holds();
        let closes = Forged::begun().fault(1, FaultKind::PauseBroker { broker: 1, lasts: 1_000 });
        let closes = closes.tell(What::CloseBegins { who: M0, timeout: ms(1_000) });
        closes.clone().wait(1_200).tell(What::CloseEnds { who: M0 }).is_found("LIVE7");
        closes.wait(900).tell(What::CloseEnds { who: M0 }).holds();
    }

    #[test]
    fn live7_where_nothing_is_wrong_close_waits_for_answers_only() {
        let closes = |forged: Forged, took| {
            let begun = forged.tell(What::CloseBegins { who: M0, timeout: ms(10_000) });
            begun.wait(took).tell(What::CloseEnds { who: M0 })
        };
        let paused = || Forged::begun().fault(1, FaultKind::PauseBroker { broker: 1, lasts: 1_000 });
        closes(Forged::begun(), 900).is_found("LIVE7");
        closes(Forged::begun(), 90).holds();
        closes(Forged::begun().planned(|plan| plan.latency = (1, 80)), 600).holds();
        closes(paused(), 900).holds();
        closes(paused().tell(What::Healed).wait(10_000), 900).holds();
        closes(paused().tell(What::Healed).wait(20_000), 900).is_found("LIVE7");
        // The plan of seed 24004582: the last commit is repeated for a topic that is gone, but not for one that was created again.
        let orders = || "orders".into();
        let changed = |what| paused().tell(what).tell(What::Healed).wait(20_000);
        closes(changed(What::Deleted { topic: orders() }), 4_900).holds();
        closes(changed(What::Deleted { topic: orders() }), 7_000).is_found("LIVE7");
        closes(changed(What::Recreated { topic: orders() }), 900).is_found("LIVE7");
        // The plan of seed 26032481: its coordinator has moved.
        let asks = |api| What::Request { broker: 1, api, client: M0.to_string() };
        let looks_up = |api, took| {
            let begun = Forged::begun().tell(What::CloseBegins { who: M0, timeout: ms(10_000) });
            begun.wait(200).tell(asks(api)).wait(took).tell(What::CloseEnds { who: M0 })
        };
        looks_up(10, 10).holds();
        looks_up(10, 2_000).is_found("LIVE7");
        looks_up(13, 10).is_found("LIVE7");
        // The plan of seed 26161083: its last commit waits for the members that its generation lacks.
        let syncs = |api, waits, took| {
            let begun = Forged::begun().wait(500).tell(What::CloseBegins { who: M0, timeout: ms(10_000) });
            let joins = begun.tell(asks(api)).wait(waits).tell(asks(super::JOIN_GROUP));
            joins.wait(took).tell(What::CloseEnds { who: M0 })
        };
        syncs(super::SYNC_GROUP, 5_000, 50).holds();
        syncs(super::SYNC_GROUP, 50, 5_000).is_found("LIVE7");
        syncs(13, 5_000, 50).is_found("LIVE7");
        // It also waits for its listener.
        let listens =
            What::ListenerBegins { who: M0, call: Call::Revoked, places: Vec::new(), generation: 1 };
        let begun = Forged::begun().tell(What::CloseBegins { who: M0, timeout: ms(10_000) }).tell(listens);
        let ended = begun.wait(900).tell(What::ListenerEnds { who: M0, call: Call::Revoked });
        ended.clone().wait(90).tell(What::CloseEnds { who: M0 }).holds();
        ended.wait(900).tell(What::CloseEnds { who: M0 }).is_found("LIVE7");
    }

    #[test]
    fn live6_no_member_is_removed_where_nothing_is_wrong() {
        let gone = What::MemberGone { member: M0.to_string(), why: "session" };
        Forged::begun().tell(gone.clone()).is_found("LIVE6");
        Forged::begun().fault(1, FaultKind::MoveCoordinator { to: 1 }).tell(gone.clone()).holds();
        // Its application has not polled for the whole rebalance timeout.
        let out = What::MemberGone { member: M0.to_string(), why: "rebalance" };
        let stalls = |lasts| Forged::begun().fault(1, FaultKind::Stall { member: 0, lasts }).wait(65_000);
        stalls(70_000).tell(out.clone()).holds();
        stalls(50_000).tell(out.clone()).is_found("LIVE6");
        // The plan of seed 9200166: it stalls since before its member learned of the rebalance, a heartbeat after that began.
        let since = |at| {
            Forged::begun()
                .fault(at, FaultKind::Stall { member: 0, lasts: 70_000 })
                .wait(65_000)
                .tell(out.clone())
        };
        since(5_500).holds();
        since(7_000).is_found("LIVE6");
        // A static member does not leave then, and its session ends.
        stalls(70_000).tell(gone.clone()).is_found("LIVE6");
        let is_static = |lasts| stalls(lasts).planned(|plan| plan.members[0].instance_id = true);
        is_static(70_000).tell(gone.clone()).holds();
        is_static(50_000).tell(gone).is_found("LIVE6");
    }

    #[test]
    fn live4_rebalances_are_few() {
        let joins =
            |generation| What::GroupAssigned { member: M0.to_string(), generation, places: Vec::new() };
        Forged::new().starts(M0).tell(joins(9)).is_found("LIVE4");
        Forged::new().starts(M0).tell(joins(3)).holds();
    }

    #[test]
    fn safe15_safe17_nothing_is_left_and_nobody_panics() {
        Forged::begun().tell(What::Over { tasks: 1, connections: 0 }).is_found("SAFE15");
        Forged::begun().tell(What::Over { tasks: 0, connections: 0 }).holds();
        Forged::begun().tell(What::Panicked { who: M0, message: String::new() }).is_found("SAFE17");
    }
}
