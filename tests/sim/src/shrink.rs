//! Shrinks a failing plan: fewer faults, fewer members, fewer records, while the same rule still breaks.

use crate::{
    plan::{Kind, Plan},
    run,
};

/// The smallest plan found that breaks `rule`, after at most `tries` runs.
pub(crate) fn shrink(plan: &Plan, rule: &str, mut tries: u32) -> Plan {
    let mut best = plan.clone();
    let mut breaks = |plan: &Plan| {
        tries = tries.saturating_sub(1);
        tries > 0 && run::guarded(plan).violations.first().is_some_and(|violation| violation.rule == rule)
    };
    loop {
        let before = size(&best);
        fewer_faults(&mut best, &mut breaks);
        for candidate in simpler(&best) {
            if breaks(&candidate) {
                best = candidate;
            }
        }
        if size(&best) >= before {
            return best;
        }
    }
}

fn size(plan: &Plan) -> u64 {
    let records: u64 = plan.producers.iter().map(|producer| producer.batches * producer.records).sum();
    let faults = u64::try_from(plan.faults.len()).unwrap_or(0);
    let members = u64::try_from(plan.members.len()).unwrap_or(0);
    let quirks: u64 = plan
        .members
        .iter()
        .map(|member| member.drops.min(1) + member.pauses.min(1) + member.listener.0.min(1))
        .sum();
    faults * 1_000_000 + members * 100_000 + records * 100 + plan.calm / 100 + quirks * 10
}

/// Leaves out halves, quarters, … of the faults in turn.
fn fewer_faults(best: &mut Plan, breaks: &mut impl FnMut(&Plan) -> bool) {
    let mut chunk = best.faults.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < best.faults.len() {
            let mut candidate = best.clone();
            candidate.faults.drain(from..(from + chunk).min(candidate.faults.len()));
            if breaks(&candidate) {
                *best = candidate;
            } else {
                from += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
}

fn simpler(plan: &Plan) -> Vec<Plan> {
    let mut candidates = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        candidates.push(candidate);
    };
    // The last member goes first: faults name members by number.
    let count = plan.members.len();
    let named = plan.faults.iter().filter_map(|fault| fault.what.member()).max().map_or(0, |last| last + 1);
    if count > named.max(1) {
        with(&|plan| drop(plan.members.pop()));
    }
    for number in 0..plan.producers.len() {
        with(&|plan| plan.producers[number].batches /= 2);
        with(&|plan| plan.producers[number].records = 1);
        with(&|plan| plan.producers[number].kind = Kind::Plain);
    }
    for number in 0..count {
        with(&|plan| plan.members[number].drops = 0);
        with(&|plan| plan.members[number].pauses = 0);
        with(&|plan| plan.members[number].listener = (0, 0));
        with(&|plan| plan.members[number].leaves = None);
        with(&|plan| plan.members[number].processing = (0, 0));
        with(&|plan| plan.members[number].instance_id = false);
        with(&|plan| plan.members[number].resubscribes.clear());
    }
    let last = plan.faults.iter().map(|fault| fault.at).max().unwrap_or(0);
    with(&|plan| plan.calm = (plan.calm / 2).max(last + 500));
    candidates
}
