//! The invariants of a history (`docs/failures.md`). All of it happened on one machine, so there is one clock.

use std::collections::BTreeMap;

use super::history::{Commit, End, Gone, History, Hold, ProcessHistory};
use super::{IN_HAND, Protocol, SESSION};
use crate::flow;

/// The time between two heartbeats (less in the consumer protocol), and the delay that a busy machine adds to sending
/// and receiving.
const HEARTBEAT: i64 = 1000;
const NOISE: i64 = 500;
/// Lines are read from a pipe within this time, and events of the same members took at most this long.
const READING: i64 = 300;
/// Within this time a resumed member has learned that it was removed.
const KNOWN: i64 = 10_000;
/// LIVE3: how long a rebalance may take beyond the session that it waits for.
const REBALANCING: i64 = 5000;

/// The result of the check.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) wrong: Vec<String>,
    pub(super) figures: String,
}

/// `(when it arrived, at which member)` for each delivery, by partition and offset.
type Deliveries = BTreeMap<(i32, i64), Vec<(i64, usize)>>;

pub(super) fn check(history: &History) -> Found {
    let mut wrong = Vec::new();
    let holds: Vec<Hold> = history.lives.iter().flat_map(|life| life.holds(&mut wrong)).collect();
    let mut deliveries = Deliveries::new();
    for life in &history.lives {
        for (record, came) in &life.records {
            deliveries.entry((record.partition, record.offset)).or_default().push((*came, life.name));
        }
    }
    deliveries.values_mut().for_each(|of| of.sort_unstable());

    nothing_lost(history, &deliveries, &mut wrong);
    one_owner(history, &holds, &mut wrong);
    in_order(history, &mut wrong);
    let repeats = repeats(history, &holds, &deliveries, &mut wrong);
    commits(history, &holds, &deliveries, &mut wrong);
    nothing_stale(history, &holds, &mut wrong);
    told(history, &mut wrong);
    let takeovers = takeovers(history, &holds, &mut wrong);

    let generation = holds.iter().map(|hold| hold.generation).max().unwrap_or(0);
    let lost = holds.iter().filter(|hold| hold.gone == Gone::Lost).count();
    let errors = history.lives.iter().map(|life| life.named("error").count()).max().unwrap_or(0);
    let figures = format!(
        "{} records, {repeats} repeated, {} members, generation {generation}, {lost} holds lost, {errors} errors told at most by one, \
         takeovers after kill -9 {takeovers:?} ms, settled after each round in {:?} ms",
        history.log.len(),
        history.lives.len(),
        history.settled,
    );
    Found { wrong, figures }
}

fn life(history: &History, name: usize) -> &ProcessHistory {
    history.lives.iter().find(|life| life.name == name).expect("who held has lived")
}

/// SAFE1: every acknowledged record was delivered, unchanged.
fn nothing_lost(history: &History, deliveries: &Deliveries, wrong: &mut Vec<String>) {
    let missing: Vec<_> = history.log.keys().filter(|at| !deliveries.contains_key(at)).collect();
    if !missing.is_empty() {
        let some: Vec<_> = missing.iter().take(10).collect();
        wrong.push(format!("SAFE1: {} of {} records are lost: {some:?}", missing.len(), history.log.len()));
    }
    for (record, _) in history.lives.iter().flat_map(|life| &life.records) {
        match history.log.get(&(record.partition, record.offset)) {
            Some(value) if *value == record.value => {}
            other => wrong.push(format!("SAFE1: {record:?} was delivered where {other:?} was produced")),
        }
    }
}

/// SAFE5, SAFE6: no partition is given to a member while another has it. A sleeping member has it no longer than its session.
fn one_owner(history: &History, holds: &[Hold], wrong: &mut Vec<String>) {
    let session = i64::try_from(SESSION.as_millis()).expect("a few seconds");
    for (at, one) in holds.iter().enumerate() {
        for other in holds.iter().skip(at + 1) {
            if one.partition != other.partition || one.member == other.member {
                continue;
            }
            if one.generation == other.generation {
                wrong.push(format!("SAFE5: two were given it in one generation: {one:?}, {other:?}"));
            }
            let (first, second) = if one.from <= other.from { (one, other) } else { (other, one) };
            if second.from >= first.to {
                continue;
            }
            let slept = |(from, to): &(i64, i64)| {
                second.from >= from + session - HEARTBEAT - NOISE && *from <= first.to && first.to >= *to
            };
            let excused = first.gone == Gone::Lost
                && (first.to - second.from <= NOISE || life(history, first.member).stops.iter().any(slept));
            if !excused {
                wrong.push(format!("SAFE6: {first:?} was still on when {second:?} began"));
            }
        }
    }
}

/// SAFE3: a member prints a partition without a gap, or starts anew after a new assignment.
fn in_order(history: &History, wrong: &mut Vec<String>) {
    for life in &history.lives {
        let mut assigned: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for event in life.named("assigned") {
            for partition in flow::partitions(&event["partitions"]) {
                assigned.entry(partition).or_default().push(flow::at(event));
            }
        }
        let mut runs: BTreeMap<i32, (i64, usize)> = BTreeMap::new();
        for (record, came) in &life.records {
            let (next, begun) = runs.entry(record.partition).or_insert((-1, 0));
            if *next != record.offset {
                *begun += 1;
                let given = assigned.get(&record.partition);
                let given = given.map_or(0, |all| all.iter().filter(|at| *at <= came).count());
                // A killed member loses its unsent output.
                let unsaid = usize::from(matches!(life.end, End::Killed { .. }));
                if given + unsaid < *begun {
                    wrong.push(format!(
                        "SAFE3: member {} printed {}:{} at {came} where {next} was next; it had been assigned it {given} times",
                        life.name, record.partition, record.offset
                    ));
                }
            }
            *next = record.offset + 1;
        }
    }
}

/// SAFE2: a member that repeats records has followed one that crashed or lost the partition, and begins no earlier than
/// that one had committed.
fn repeats(history: &History, holds: &[Hold], deliveries: &Deliveries, wrong: &mut Vec<String>) -> usize {
    let mut committed: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    for (at, partition, offset) in history.lives.iter().flat_map(ProcessHistory::committed) {
        committed.entry(partition).or_default().push((at, offset));
    }
    let floor = |partition: i32, until: i64| {
        let all = committed.get(&partition).into_iter().flatten();
        all.filter(|(at, _)| *at <= until).map(|(_, offset)| *offset).max().unwrap_or(0)
    };
    let mut repeats = 0;
    for ((partition, offset), times) in deliveries {
        for pair in times.windows(2) {
            let [(before, first), (again, second)] = *pair else { continue };
            repeats += 1;
            let crashed = |hold: &&Hold| {
                hold.member == first
                    && hold.partition == *partition
                    && hold.gone != Gone::Revoked
                    && hold.from <= before
                    && before <= hold.to + NOISE
            };
            let followed = holds.iter().filter(crashed).any(|hold| {
                let until = life(history, first).awake_at(hold.to);
                *offset >= floor(*partition, until)
            });
            // A sleeper prints the records of its last poll when it wakes.
            let in_hand = life(history, second)
                .stops
                .iter()
                .any(|(_, woken)| (*woken..woken + 2 * HEARTBEAT + NOISE).contains(&again));
            if !followed && !in_hand {
                wrong.push(format!(
                    "SAFE2: {partition}:{offset} was printed by member {first} at {before} and by member {second} at {again}; \
                     committed was {} by then",
                    floor(*partition, again)
                ));
            }
        }
    }
    repeats
}

/// SAFE1, SAFE7, SAFE8: a committed record was delivered before; commits are made by the owner, and never go back.
fn commits(history: &History, holds: &[Hold], deliveries: &Deliveries, wrong: &mut Vec<String>) {
    let mut heard: Vec<(i64, i32, i64)> = Vec::new();
    for life in &history.lives {
        for event in life.named("committed") {
            let at = flow::at(event);
            for partition in flow::partitions(&event["offsets"]) {
                let own = |hold: &&Hold| hold.member == life.name && hold.partition == partition;
                if !holds.iter().filter(own).any(|hold| hold.from <= at && at <= hold.to) {
                    wrong.push(format!(
                        "SAFE7: member {} committed {partition} at {at}, and had it not",
                        life.name
                    ));
                }
            }
        }
        heard.extend(life.committed());
    }
    heard.sort_unstable();
    let mut last: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for (at, partition, offset) in heard {
        if let Some((before, had)) = last.insert(partition, (at, offset))
            && had > offset
        {
            wrong.push(format!(
                "SAFE8: {partition} was committed at {had} ({before}) and then at {offset} ({at})"
            ));
        }
    }
    // When everything below an offset had been printed.
    let mut printed: BTreeMap<i32, BTreeMap<i64, i64>> = BTreeMap::new();
    for ((partition, offset), times) in deliveries {
        let below = printed.entry(*partition).or_default();
        let before = below.last_key_value().map_or(i64::MIN, |(_, came)| *came);
        below.insert(offset + 1, times.first().map_or(before, |(came, _)| before.max(*came)));
    }
    let reading = READING + history.lives.iter().map(|life| life.late).max().unwrap_or(0);
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for Commit { at, partition, offset } in &history.commits {
        if let Some(before) = last.insert(*partition, *offset)
            && before > *offset
        {
            wrong.push(format!(
                "SAFE8: the commit of {partition} went back from {before} to {offset} at {at}"
            ));
        }
        let came = printed.get(partition).and_then(|below| below.get(offset));
        if *offset > 0 && came.is_none_or(|came| *came > at + reading) {
            wrong.push(format!(
                "SAFE1: {partition}:{offset} was committed at {at}, what is below it came by {came:?}"
            ));
        }
    }
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in history.log.keys() {
        ends.insert(*partition, offset + 1);
    }
    if last != ends {
        wrong.push(format!("SAFE8: {last:?} is committed in the end, and not {ends:?}"));
    }
}

/// M4: a member that wakes too late prints no more than the records of its last poll, and nothing once it knows.
fn nothing_stale(history: &History, holds: &[Hold], wrong: &mut Vec<String>) {
    let session = i64::try_from(SESSION.as_millis()).expect("a few seconds");
    for life in &history.lives {
        for (from, woken) in &life.stops {
            let known = |at: &i64| (*woken..woken + KNOWN).contains(at);
            let Some(lost) = life.named("lost").map(flow::at).find(known) else {
                // In the consumer protocol a coordinator that starts anew counts from there, and the member may not be too late.
                let held = |hold: &&Hold| hold.member == life.name && hold.from <= *from && hold.to >= *woken;
                let killed = matches!(life.end, End::Killed { at, .. } if at < woken + KNOWN);
                let expired = woken - from >= session && history.protocol != Protocol::Consumer;
                if let Some(hold) = holds.iter().find(held).filter(|_| expired && !killed) {
                    wrong.push(format!(
                        "M4: member {} slept from {from} to {woken}, and was never told that it had lost {hold:?}",
                        life.name
                    ));
                }
                continue;
            };
            let again = life.named("assigned").map(flow::at).find(|at| *at >= lost).unwrap_or(i64::MAX);
            let count =
                |from: i64| life.records.iter().filter(|(_, came)| (from + 1..again).contains(came)).count();
            // In the consumer protocol only the brokers know the session timeout: a member learns from the answer to
            // its next heartbeat that it expired, and prints its fetched records until then.
            let stale = count(*woken) > IN_HAND && history.protocol != Protocol::Consumer;
            if stale || count(lost + NOISE) > 0 {
                wrong.push(format!(
                    "M4: member {} woke up at {woken}, knew at {lost}, and printed {} records until {again}, {} of them then",
                    life.name,
                    count(*woken),
                    count(lost + NOISE)
                ));
            }
        }
    }
}

/// The errors in a member's life that no rate limits.
const ERRORS_AT_ONCE: usize = 30;

/// No position was lost, and nothing failed for good except what was broken for good. What fails for a while is not told more
/// often than once a second.
fn told(history: &History, wrong: &mut Vec<String>) {
    for life in &history.lives {
        let times = || life.events.iter().map(flow::at);
        let lived = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        let errors = life.named("error").count();
        if errors > ERRORS_AT_ONCE + usize::try_from(lived / 1000).unwrap_or(0) {
            wrong.push(format!("member {} told {errors} errors in {lived} ms", life.name));
        }
        for event in &life.events {
            let fine = match event["event"].as_str().unwrap_or_default() {
                "assigned" | "revoked" | "lost" | "committed" => true,
                "reset" => event["from"].is_null() && event["to"] == 0,
                // These concern members that were stopped, or starved by the machine.
                "process_stopped" | "poll_interval_warning" => true,
                "error" => event["retriable"] == true || life.end == End::Refused,
                _ => false,
            };
            if !fine {
                wrong.push(format!("member {} said {event}", life.name));
            }
        }
    }
}

/// LIVE5: how long after each kill the last partition of the dead member had a new owner.
fn takeovers(history: &History, holds: &[Hold], wrong: &mut Vec<String>) -> Vec<i64> {
    let session = i64::try_from(SESSION.as_millis()).expect("a few seconds");
    let mut all = Vec::new();
    for life in &history.lives {
        let End::Killed { at, held } = &life.end else { continue };
        let taken = |partition: &i32| {
            let next = holds.iter().filter(|hold| hold.partition == *partition && hold.from > *at);
            next.map(|hold| hold.from - at).min().unwrap_or(i64::MAX)
        };
        let takeover = held.iter().map(taken).max().unwrap_or(0);
        if takeover > session + REBALANCING {
            wrong.push(format!("LIVE5: {takeover} ms after member {} was killed with {held:?}", life.name));
        }
        all.push(takeover);
    }
    all
}
