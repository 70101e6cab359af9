//! The effect of a rebalance on the flow of records, partition by partition.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::{MS, Micros, SECOND};
use crate::load::Sent;
use crate::watch::Delivery;

/// A group has settled when nothing changed for this long.
pub(crate) const QUIET: Micros = 2 * SECOND;

/// Deliveries of each partition, in order of time.
pub(crate) type Flows = BTreeMap<i32, Vec<Delivery>>;

pub(crate) fn flows(deliveries: &[Delivery]) -> Flows {
    let mut flows = Flows::new();
    for delivery in deliveries {
        flows.entry(delivery.partition).or_default().push(*delivery);
    }
    flows.values_mut().for_each(|flow| flow.sort_by_key(|delivery| delivery.at));
    flows
}

/// Whether during [`QUIET`] all partitions flowed, each to one member, as evenly as possible to exactly `members`.
pub(crate) fn settled(deliveries: &[Delivery], now: Micros, partitions: i32, members: usize) -> bool {
    let recent = deliveries.iter().rev().take_while(|delivery| delivery.at > now - QUIET - SECOND);
    let mut owners: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
    let (mut flowing, mut early) = (BTreeSet::new(), BTreeSet::new());
    for delivery in recent {
        if delivery.at > now - SECOND {
            flowing.insert(delivery.partition);
        }
        if delivery.at > now - QUIET {
            owners.entry(delivery.partition).or_default().insert(delivery.member);
        }
        if delivery.at < now - QUIET + SECOND {
            early.insert(delivery.partition);
        }
    }
    let all = usize::try_from(partitions).unwrap_or_default();
    let mut shares: BTreeMap<usize, usize> = BTreeMap::new();
    for owner in owners.values().flatten() {
        *shares.entry(*owner).or_default() += 1;
    }
    flowing.len() == all
        && early.len() == all
        && owners.values().all(|owners| owners.len() == 1)
        && shares.len() == members
        && shares.values().all(|share| (all / members..=all.div_ceil(members)).contains(share))
}

/// One rebalance of one run. Times in microseconds.
pub(crate) struct Outcome {
    /// The longest gap of any partition just before, while nothing happened: the machine's own effect.
    pub(crate) still: Micros,
    /// The longest gap of each partition whose owner did not change.
    pub(crate) kept: Vec<Micros>,
    /// The longest gap of such a partition while another moved.
    pub(crate) meanwhile: Micros,
    /// The longest time that a record of such a partition was at the broker before it was delivered.
    pub(crate) late: Micros,
    /// For each partition that moved: from the last record at the old owner to the first at the new one.
    pub(crate) moved: Vec<Micros>,
    /// Until the first record at a member that had none before.
    pub(crate) first: Option<Micros>,
    /// Until the last partition that moved flowed again.
    pub(crate) whole: Micros,
}

/// The effects between `from` (a member joins or leaves) and `to` (the group has settled again).
pub(crate) fn outcome(flows: &Flows, sent: &Sent, from: Micros, to: Micros) -> Outcome {
    let window = to - from;
    let mut outcome = Outcome {
        still: 0,
        kept: Vec::new(),
        meanwhile: 0,
        late: 0,
        moved: Vec::new(),
        first: None,
        whole: 0,
    };
    let had: BTreeSet<usize> = flows.values().flatten().filter(|d| d.at < from).map(|d| d.member).collect();
    let (mut kept, mut moving) = (Vec::new(), Vec::new());
    for flow in flows.values() {
        let before = flow.partition_point(|delivery| delivery.at < from);
        let end = flow.partition_point(|delivery| delivery.at <= to);
        let still = gaps(flow.get(..before).unwrap_or_default());
        let still = still.filter(|(at, gap)| at - gap > from - QUIET).map(|(_, gap)| gap).max();
        outcome.still = outcome.still.max(still.unwrap_or(0));
        let (Some(last), Some(final_)) = (
            before.checked_sub(1).and_then(|at| flow.get(at)),
            end.checked_sub(1).and_then(|at| flow.get(at)),
        ) else {
            continue;
        };
        let during = flow.get(before.saturating_sub(1)..end).unwrap_or_default();
        if last.member == final_.member {
            kept.push(during);
            outcome.kept.push(gaps(during).map(|(_, gap)| gap).max().unwrap_or(window));
            let late = during.iter().filter_map(|d| Some(d.at - sent.acknowledged.get(d.sequence as usize)?));
            outcome.late = outcome.late.max(late.max().unwrap_or(window));
            continue;
        }
        let old = during.iter().rev().find(|delivery| delivery.member == last.member);
        let new = during.iter().find(|delivery| delivery.member == final_.member);
        if let (Some(old), Some(new)) = (old, new) {
            outcome.moved.push(new.at - old.at);
            moving.push((old.at, new.at));
            outcome.whole = outcome.whole.max(new.at - from);
            if !had.contains(&new.member) {
                outcome.first = Some(outcome.first.map_or(new.at - from, |first| first.min(new.at - from)));
            }
        }
    }
    let meanwhile = |at: Micros, gap: Micros| moving.iter().any(|(old, new)| at - gap < *new && at > *old);
    let then = kept.into_iter().flat_map(gaps).filter(|(at, gap)| meanwhile(*at, *gap));
    outcome.meanwhile = then.map(|(_, gap)| gap).max().unwrap_or(0);
    outcome
}

/// Each gap with the time of its end.
pub(crate) fn gaps(flow: &[Delivery]) -> impl Iterator<Item = (Micros, Micros)> {
    flow.iter().zip(flow.iter().skip(1)).map(|(a, b)| (b.at, b.at - a.at))
}

/// Records that were not delivered, and superfluous deliveries, of that many partitions.
pub(crate) fn lost_and_repeated(flows: &Flows, sent: &Sent, partitions: i32) -> (u64, u64) {
    let (mut lost, mut repeated) = (0, 0);
    for partition in 0..partitions {
        let flow = flows.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let distinct = flow.iter().map(|delivery| delivery.sequence).collect::<BTreeSet<_>>().len() as u64;
        lost += (sent.acknowledged.len() as u64).saturating_sub(distinct);
        repeated += flow.len() as u64 - distinct;
    }
    (lost, repeated)
}

/// The delay of the pipe from a member to us: median, 99th percentile and worst, for members that print when they got a record.
pub(crate) fn pipe(flows: &Flows) -> Option<[Micros; 3]> {
    let all = flows.values().flatten();
    let mut added: Vec<Micros> = all.filter_map(|d| d.said.map(|said| d.at - said)).collect();
    added.sort_unstable();
    let at = |percent: usize| added.get((added.len().saturating_sub(1)) * percent / 100).copied();
    Some([at(50)?, at(99)?, at(100)?])
}

pub(crate) fn median(values: &[Micros]) -> Option<Micros> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Milliseconds, with a decimal where it is significant.
pub(crate) fn ms(time: Micros) -> String {
    if time.abs() < 100 * MS { format!("{:.1}", time as f64 / 1000.0) } else { (time / MS).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record every 10 ms of one partition at one member.
    fn flow(partition: i32, member: usize, from: Micros, to: Micros) -> Vec<Delivery> {
        let times = (from / MS..to / MS).step_by(10);
        let delivery = |at: Micros| Delivery {
            at: at * MS,
            member,
            partition,
            sequence: (at / 10).unsigned_abs(),
            produced: at * MS,
            said: Some(at * MS - 100),
        };
        times.map(delivery).collect()
    }

    /// Partition 0 stays with member 0 except for 300 ms, 1 moves from member 1 to 2 in 500 ms.
    fn a_join() -> Vec<Delivery> {
        let parts = [
            flow(0, 0, 0, 5 * SECOND),
            flow(0, 0, 5_300 * MS, 10 * SECOND),
            flow(1, 1, 0, 6 * SECOND),
            flow(1, 2, 6_500 * MS, 10 * SECOND),
        ];
        let mut all = parts.concat();
        all.sort_by_key(|delivery| delivery.at);
        all
    }

    #[test]
    fn kept_and_moved_partitions_are_told_apart_and_timed() {
        let flows = flows(&a_join());
        let sent = Sent { acknowledged: (0..1000).map(|number| number * 10 * MS - 3 * MS).collect() };
        let outcome = outcome(&flows, &sent, 4 * SECOND, 9 * SECOND);
        assert_eq!(outcome.late, 3 * MS);
        assert_eq!(outcome.meanwhile, 10 * MS, "the gap of 310 ms was over before");
        assert_eq!(sent.longest_silence(SECOND, 2 * SECOND), 10 * MS);
        assert_eq!(outcome.kept, [310 * MS]);
        assert_eq!(outcome.moved, [510 * MS]);
        assert_eq!(outcome.first, Some(2_500 * MS));
        assert_eq!(outcome.whole, 2_500 * MS);
        assert_eq!(outcome.still, 10 * MS);
        assert_eq!(pipe(&flows), Some([100; 3]));
    }

    #[test]
    fn records_that_nobody_got_and_those_that_two_got_are_counted() {
        let mut all = a_join();
        all.extend(flow(1, 1, 7 * SECOND, 7_100 * MS));
        // 30 of partition 0 and 50 of partition 1 fell into the gaps.
        let sent = Sent { acknowledged: vec![0; 1000] };
        assert_eq!(lost_and_repeated(&flows(&all), &sent, 2), (80, 10));
    }

    #[test]
    fn a_group_is_settled_when_all_flows_evenly_and_nothing_has_changed_for_long_enough() {
        let all = a_join();
        let until =
            |now: Micros| all.iter().copied().filter(|delivery| delivery.at < now).collect::<Vec<_>>();
        let settled = |now: Micros, members| settled(&until(now), now, 2, members);
        assert!(settled(4 * SECOND, 2));
        assert!(!settled(4 * SECOND, 1), "two members have something");
        assert!(!settled(7_400 * MS, 2), "two had it");
        assert!(!settled(5_900 * MS + SECOND, 2), "one partition does not flow");
        assert!(settled(9 * SECOND, 2));
    }
}
