//! SAFE11, exactly once: members that read, process and write in transactions. A `read_committed` reader sees one copy of each record, and
//! all copies of a transaction or none; it sees them if and only if the offsets are committed. The outcome of a transaction that a member
//! was told is the real one. SAFE19: its producer gives up only for a reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Complaints, ledger::Ledger, records::Scene};
use crate::{
    clock::ms,
    events::{Event, Place, Reported, What, Who},
    plan::{FaultKind, Plan},
};

/// A transaction of a member's life, by its number within that life.
type Name = (Who, u64);

#[derive(Debug, Default)]
pub(super) struct Copies {
    transactions: BTreeMap<Name, Transaction>,
    /// The transaction in which each record, by its number, was copied.
    seen: BTreeMap<u64, Name>,
    committed: BTreeMap<Place, i64>,
    taken: Vec<Taken>,
}

/// A commit for a partition that the coordinator had given to another member, and accepted all the same: a classic group that becomes a
/// consumer group frees partitions that its members have yet to revoke.
#[derive(Debug)]
struct Taken {
    by: Who,
    at: Place,
    offset: i64,
    /// The offset committed before, which may be larger.
    before: i64,
}

#[derive(Debug, Default)]
struct Transaction {
    ids: BTreeSet<u64>,
    told: Option<Reported>,
    seen: BTreeSet<u64>,
}

impl Copies {
    pub(super) fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        let Scene { plan, ledger, spoken, ownership, .. } = scene;
        if plan.copies.is_none() {
            return;
        }
        match &event.what {
            What::Copying { who, transaction, ids } => {
                let transaction = self.transactions.entry((*who, *transaction)).or_default();
                transaction.ids.extend(ids);
            }
            What::CopyingEnded { who, transaction, told } => {
                let name = (*who, *transaction);
                let of = self.transactions.entry(name).or_default();
                of.told = Some(*told);
                if *told == Reported::Aborted
                    && let Some(id) = of.seen.first()
                {
                    complaints.add("SAFE11", event.at, is_seen_though_aborted(name, *id));
                }
            }
            What::Copied { at, offset, id, by, transaction } => {
                self.copied(scene, (at, *offset, *id), (*by, *transaction), complaints);
            }
            What::Committed { member, at, offset, .. } => {
                let before = self.committed.insert(at.clone(), *offset).unwrap_or(0);
                if ownership.was_taken(plan, spoken, member, at)
                    && let Some(by) = ownership.who(member)
                {
                    self.taken.push(Taken { by, at: at.clone(), offset: *offset, before });
                    // The partition's present owner goes on from there.
                    self.committed.insert(at.clone(), before.max(*offset));
                }
            }
            What::ProducerFailed { who, call, kind, message }
                if !is_for_the_application(plan, *who, kind, event.at) =>
            {
                let text = format!("{who}: its producer says {kind} ({call}): {message}");
                complaints.add("SAFE19", event.at, text);
            }
            What::Over { .. } => self.judge(ledger, event.at, complaints),
            _ => {}
        }
    }

    fn copied(
        &mut self,
        scene: Scene<'_>,
        (at, offset, id): (&Place, i64, u64),
        name: Name,
        complaints: &mut Complaints,
    ) {
        let now = scene.at;
        let (who, transaction) = name;
        let here = format!("{at} offset {offset}, by {who} in its transaction {transaction}");
        if let Some((other, transaction)) = self.seen.insert(id, name)
            && !self.was_taken(scene.ledger, [who, other], id)
        {
            let text = format!(
                "record {id} is copied a second time: {here}, and by {other} in its transaction {transaction}"
            );
            complaints.add("SAFE11", now, text);
        }
        let of = self.transactions.entry(name).or_default();
        if !of.ids.contains(&id) {
            complaints.add("SAFE11", now, format!("nobody copied record {id} so: {here}"));
        }
        of.seen.insert(id);
        if of.told == Some(Reported::Aborted) {
            complaints.add("SAFE11", now, is_seen_though_aborted(name, id));
        }
    }

    /// Whether one of these members committed a record that another had been given, or one of those commits went back below it.
    fn was_taken(&self, ledger: &Ledger, by: [Who; 2], id: u64) -> bool {
        self.taken.iter().any(|taken| {
            let records = ledger.log(&taken.at).into_iter().flat_map(|log| &log.records);
            let mut its = records.filter(|(_, record)| record.id == id).map(|(offset, _)| *offset);
            its.any(|offset| match offset < taken.offset {
                true => by.contains(&taken.by),
                false => offset < taken.before,
            })
        })
    }

    /// Called when no transaction is in progress any more.
    pub(super) fn judge(&self, ledger: &Ledger, now: Duration, complaints: &mut Complaints) {
        for ((who, number), of) in &self.transactions {
            let Some(missing) = of.ids.difference(&of.seen).next() else { continue };
            if of.told == Some(Reported::Committed) {
                let text = format!(
                    "{who} was told that its transaction {number} is committed, and record {missing} is not seen"
                );
                complaints.add("SAFE11", now, text);
            } else if let Some(id) = of.seen.first() {
                let text =
                    format!("of transaction {number} of {who} record {id} is seen, and {missing} is not");
                complaints.add("SAFE11", now, text);
            }
        }
        for place in ledger.places() {
            let Some(log) = ledger.log(place) else { continue };
            let committed = self.committed.get(place).copied().unwrap_or(0);
            for (offset, record) in log.records.iter().filter(|(_, record)| ledger.is_due(record)) {
                let (is_done, is_seen) = (*offset < committed, self.seen.contains_key(&record.id));
                if is_done != is_seen {
                    let (is, not) = if is_done { ("offset", "copy") } else { ("copy", "offset") };
                    let text = format!(
                        "of {place} offset {offset} the {is} is committed, and the {not} is not: {committed} is"
                    );
                    complaints.add("SAFE11", now, text);
                    break;
                }
            }
        }
    }

    /// The records without a copy or a commit: a partition, the offset of the first such record, and their number.
    pub(super) fn left(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let mut left = Vec::new();
        for place in ledger.places() {
            let Some(log) = ledger.log(place) else { continue };
            let committed = self.committed.get(place).copied().unwrap_or(0);
            let is_left = |offset: i64, id: u64| committed <= offset || !self.seen.contains_key(&id);
            let mut due = log
                .records
                .iter()
                .filter(|(offset, record)| ledger.is_due(record) && is_left(**offset, record.id));
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}

fn is_seen_though_aborted((who, transaction): Name, id: u64) -> String {
    format!(
        "{who} was told that its transaction {transaction} is aborted, and its copy of record {id} is seen"
    )
}

/// Whether the plan has a reason for an error of a producer.
fn is_for_the_application(plan: &Plan, who: Who, kind: &str, at: Duration) -> bool {
    let faults = || plan.faults.iter().filter(|fault| ms(fault.at) <= at);
    match kind {
        // The group rebalanced, or the consumer was removed from it.
        "TransactionAborted" | "NotOwned" => true,
        "Fenced" => {
            let rivals = (0..plan.members.len()).any(|other| plan.are_rivals(who.member, other));
            // The coordinator answers the same for a transaction that was open for too long. And requests of a producer that was killed, or
            // abandoned, may still arrive after the next one's.
            rivals || faults().next().is_some()
        }
        "Timeout" | "OutcomeUnknown" => faults().next().is_some(),
        "Refused" | "CommitFailed" => {
            faults().any(|fault| matches!(fault.what, FaultKind::Code { .. } | FaultKind::Corrupt { .. }))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1, orders};
    use crate::{
        events::{Place, Reported, What, Who},
        plan::{Copies, FaultKind, Plan, Protocol},
    };

    fn copying(forged: Forged, who: Who, transaction: u64, ids: &[u64]) -> Forged {
        forged.tell(What::Copying { who, transaction, ids: ids.to_vec() })
    }

    fn told(forged: Forged, who: Who, transaction: u64, told: Reported) -> Forged {
        forged.tell(What::CopyingEnded { who, transaction, told })
    }

    fn seen(forged: Forged, by: Who, transaction: u64, ids: &[u64]) -> Forged {
        ids.iter().fold(forged, |forged, id| {
            let at = Place::new("copies", 0);
            forged.tell(What::Copied { at, offset: *id as i64, id: *id, by, transaction })
        })
    }

    fn over(forged: Forged) -> Forged {
        forged.tell(What::Over { tasks: 0, connections: 0 })
    }

    /// Ten records, four of which the first member has read.
    fn begun() -> Forged {
        let copies = Copies {
            partitions: 1,
            transaction_version: 2,
            vintage: None,
            timeout: 10_000,
            max_block: 5_000,
            linger: 0,
            steps: false,
        };
        let planned = Forged::new().planned(|plan| plan.copies = Some(copies));
        planned.written(0..4, 0).joins(M0, 1).reset(M0, None, 0).reads(M0, 0..4, 0)
    }

    /// All four copied, in two transactions.
    fn done() -> Forged {
        let first = copying(begun(), M0, 1, &[0, 1]).sends(M0, 2).noted(M0, 2);
        let first = seen(told(first, M0, 1, Reported::Committed), M0, 1, &[0, 1]);
        let second = copying(first, M0, 2, &[2, 3]).sends(M0, 4).noted(M0, 4);
        seen(told(second, M0, 2, Reported::Committed), M0, 2, &[2, 3])
    }

    #[test]
    fn safe11_a_record_has_two_copies() {
        over(done()).holds();
        seen(copying(done(), M1, 1, &[3]), M1, 1, &[3]).is_found("SAFE11");
        // The second transaction was aborted: no reader sees it.
        over(told(copying(done(), M1, 1, &[3]), M1, 1, Reported::Aborted)).holds();
    }

    #[test]
    fn safe11_partitions_a_classic_member_has_yet_to_revoke_are_free_in_a_converted_consumer_group() {
        // The plan of seed 9051549. Both commits succeed, as a commit is checked only against its member's epoch.
        let twice = |is_migrating: bool| {
            let migrating = |plan: &mut Plan| {
                plan.protocol = Protocol::Migrating;
                plan.members[1].consumer_protocol = is_migrating;
            };
            let first = copying(begun().planned(migrating), M0, 1, &[0, 1]);
            let nothing = What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() };
            let taken = first.tell(nothing).joins(M1, 3);
            let theirs = copying(taken, M1, 1, &[0, 1]).sends(M1, 2).noted(M1, 2);
            seen(seen(theirs, M1, 1, &[0, 1]).sends(M0, 2).noted(M0, 2), M0, 1, &[0, 1])
        };
        twice(true).holds();
        twice(false).is_found("SAFE11");
        // The commit goes back; the partition's owner does not.
        let back = |is_migrating| {
            let theirs = twice(is_migrating).sends(M1, 4).noted(M1, 4);
            let more = seen(copying(theirs, M1, 2, &[2, 3]), M1, 2, &[2, 3]);
            over(more.sends(M0, 2).noted(M0, 2))
        };
        back(true).holds();
        // Records beyond its commit belong to the other member alone.
        let behind = seen(copying(twice(true), M1, 2, &[2]), M1, 2, &[2]);
        seen(copying(behind, M0, 2, &[2]), M0, 2, &[2]).is_found("SAFE11");
    }

    #[test]
    fn safe11_a_copy_that_nobody_wrote() {
        seen(copying(begun(), M0, 1, &[0, 1]), M0, 1, &[2]).is_found("SAFE11");
        seen(copying(begun(), M0, 1, &[0, 1]), M0, 2, &[0]).is_found("SAFE11");
        seen(copying(begun(), M0, 1, &[0, 1]), M0, 1, &[1]).holds();
    }

    #[test]
    fn safe11_an_aborted_transaction_is_seen() {
        let aborted = |forged| told(forged, M0, 1, Reported::Aborted);
        let begun = || copying(begun(), M0, 1, &[0]);
        aborted(seen(begun(), M0, 1, &[0])).is_found("SAFE11");
        seen(aborted(begun()), M0, 1, &[0]).is_found("SAFE11");
        // The outcome was unknown.
        told(seen(begun(), M0, 1, &[0]), M0, 1, Reported::Unknown).holds();
    }

    #[test]
    fn safe11_a_transaction_that_is_told_as_committed_is_not() {
        let again = |ids: &[u64]| {
            let lost = told(copying(begun(), M0, 1, &[0, 1, 2, 3]), M0, 1, Reported::Committed);
            over(seen(copying(lost, M0, 2, ids), M0, 2, ids).sends(M0, 4).noted(M0, 4))
        };
        again(&[0, 1, 2, 3]).is_found("SAFE11");
        let once = |told_of| {
            let forged = told(copying(begun(), M0, 1, &[0, 1, 2, 3]), M0, 1, told_of);
            let again = copying(forged, M0, 2, &[0, 1, 2, 3]);
            over(seen(again, M0, 2, &[0, 1, 2, 3]).sends(M0, 4).noted(M0, 4))
        };
        once(Reported::Committed).is_found("SAFE11");
        once(Reported::Unknown).holds();
        once(Reported::Aborted).holds();
    }

    #[test]
    fn safe11_half_of_a_transaction_is_seen() {
        let half = seen(copying(begun(), M0, 1, &[0, 1, 2, 3]), M0, 1, &[0, 1]);
        let rest = |name| {
            over(seen(copying(half.clone(), M0, name, &[2, 3]), M0, name, &[2, 3]).sends(M0, 4).noted(M0, 4))
        };
        rest(2).is_found("SAFE11");
        rest(1).holds();
    }

    #[test]
    fn safe11_offsets_without_copies_and_copies_without_offsets() {
        // Commits beyond the copies, and copies beyond the commits.
        let first = || seen(copying(begun(), M0, 1, &[0, 1]), M0, 1, &[0, 1]);
        over(first().sends(M0, 4).noted(M0, 4)).is_found("SAFE11");
        over(first().sends(M0, 1).noted(M0, 1)).is_found("SAFE11");
        over(first()).is_found("SAFE11");
        over(first().sends(M0, 2).noted(M0, 2)).holds();
        // Records that need not be read need no copy.
        let gone = first().tell(What::StartMoved { at: orders(), start: 4 });
        over(gone.sends(M0, 4).noted(M0, 4)).holds();
    }

    #[test]
    fn safe19_a_producer_gives_up_without_a_cause() {
        let fails = |forged: Forged, kind: &str| {
            let (kind, message) = (kind.to_owned(), "forged".to_owned());
            forged.wait(10).tell(What::ProducerFailed { who: M0, call: "commit", kind, message })
        };
        fails(begun(), "Fenced").is_found("SAFE19");
        fails(begun().planned(|plan| plan.members[1].rival_of = Some(0)), "Fenced").holds();
        fails(begun().fault(1, FaultKind::Freeze { member: 0, lasts: 20_000 }), "Fenced").holds();
        fails(begun(), "OutcomeUnknown").is_found("SAFE19");
        fails(begun().fault(1, FaultKind::Lose { api: 26, times: 1 }), "OutcomeUnknown").holds();
        fails(begun(), "TransactionAborted").holds();
        fails(begun().fault(1, FaultKind::Lose { api: 26, times: 1 }), "Misuse").is_found("SAFE19");
    }
}
