//! A rolling deploy: twenty members, restarted one after the other while the topic grows. With static members (KIP-345)
//! the others lose no time; with dynamic ones no more than a moment.
//!
//! Unless `OFFTAKE_CHAOS=full` asks for several rounds, each static member is restarted once, and six of the dynamic ones.

mod killed;
mod service;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use offtake_tests::Oversleep;

use crate::{flow, library::within};
use service::{Entry, OBSERVER, Protocol, Service};

const MEMBERS: usize = 20;
const PARTITIONS: i32 = 20;
/// The timeout of each poll.
const POLL: Duration = Duration::from_secs(1);
/// The pause between two batches of a partition.
const PACE: Duration = Duration::from_millis(200);
/// Much longer than a restart.
const SESSION: &str = "20000";

fn is_full() -> bool {
    std::env::var("OFFTAKE_CHAOS").is_ok_and(|size| size == "full")
}

fn deploy(body: impl Future<Output = ()>) {
    within(if is_full() { Duration::from_secs(900) } else { Duration::from_secs(180) }, body);
}

/// FAILURES G2, for all members of a group.
fn static_members(protocol: Protocol) {
    deploy(async {
        let (mut service, production) = Service::begin(protocol, true).await;
        let generation = service.settle().await;
        // Counted in entries of the diary: the last event of the settling may have the same millisecond as the first stop.
        let settled = service.entries();
        let mut restarts: Vec<(std::ops::Range<usize>, usize)> = Vec::new();
        let mut longest = Duration::ZERO;
        for number in (0..if is_full() { 5 } else { 1 }).flat_map(|_| 0..MEMBERS) {
            let (began, from) = (Instant::now(), service.entries());
            service.stop(number).await;
            let started = service.entries();
            service.start(number);
            service.wait_given(number, started).await;
            restarts.push((from..service.entries(), number));
            longest = longest.max(began.elapsed());
        }
        assert_eq!(service.settle().await, generation, "no rebalance");
        let diary = service.end(production).await;
        let mut given = 0;
        for (nth, (_, member, entry)) in diary.iter().enumerate().skip(settled) {
            let own = restarts.iter().any(|(entries, who)| who == member && entries.contains(&nth));
            match entry {
                Entry::Given { .. } => given += 1,
                Entry::Told { what, generation: of, .. } => {
                    assert!(own, "member {member} was not restarted, and hears {entry:?}");
                    assert!(*what != "assigned" || *of == Some(generation), "member {member}: {entry:?}");
                }
                Entry::Failed(why) => panic!("member {member}: {why}"),
            }
        }
        eprintln!(
            "{protocol:?}: {} restarts of {MEMBERS} static members, generation {generation} throughout, {given} records; the \
             longest restart took {longest:?} from the wish to stop to the first record",
            restarts.len()
        );
    });
}

#[test]
fn g2_a_rolling_deploy_of_static_members_rebalances_nothing_cooperative() {
    static_members(Protocol::Cooperative);
}

#[test]
fn g2_a_rolling_deploy_of_static_members_rebalances_nothing_by_the_consumer_protocol() {
    static_members(Protocol::Consumer);
}

/// The longest time that a record was available and not delivered to a member that held its partition all the time:
/// from when the observer got it, or from the previous record's delivery, to its own delivery.
fn longest_gap(diary: &[(i64, usize, Entry)], from: i64, to: i64) -> i64 {
    let mut seen: BTreeMap<(i32, i64), i64> = BTreeMap::new();
    for (at, member, entry) in diary {
        if let (OBSERVER, Entry::Given { partition, offset, .. }) = (*member, entry) {
            seen.insert((*partition, *offset), *at);
        }
    }
    // The member that got the last record of each partition, and when; a handover resets it.
    let mut last: BTreeMap<i32, (usize, i64)> = BTreeMap::new();
    let mut longest = 0;
    for (at, member, entry) in diary.iter().filter(|(_, member, _)| *member != OBSERVER) {
        match entry {
            Entry::Told { partitions, .. } => last.retain(|partition, _| !partitions.contains(partition)),
            Entry::Given { partition, offset, .. } => {
                let there = seen.get(&(*partition, *offset)).copied();
                if let Some((who, before)) = last.insert(*partition, (*member, *at))
                    && who == *member
                    && (from..to).contains(at)
                {
                    longest = longest.max(at - before.max(there.unwrap_or(*at)));
                }
            }
            Entry::Failed(_) => {}
        }
    }
    longest
}

#[test]
fn e1_a_rolling_deploy_holds_up_no_partition_that_stays_for_as_long_as_a_poll() {
    deploy(async {
        let (mut service, production) = Service::begin(Protocol::Cooperative, false).await;
        service.observe();
        let first = service.settle().await;
        let restarts = if is_full() { 2 * MEMBERS } else { 6 };
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        let machine = Oversleep::new();
        // A new member has another number than the one it replaces.
        for number in (MEMBERS..).take(restarts) {
            let began = flow::now();
            let oldest = *service.members.keys().next().expect("members");
            service.stop(oldest).await;
            let started = service.entries();
            service.start(number);
            service.wait_given(number, started).await;
            service.settle().await;
            gaps.push((began, flow::now()));
        }
        let (late, allowance) = (machine.worst(), machine.allowance());
        let last = service.settle().await;
        let diary = service.end(production).await;
        let gaps: Vec<i64> = gaps.into_iter().map(|(from, to)| longest_gap(&diary, from, to)).collect();
        let gap = gaps.iter().copied().max().unwrap_or(0);
        let is_lost =
            |(_, _, entry): &&(i64, usize, Entry)| matches!(entry, Entry::Told { what: "lost", .. });
        let lost = diary.iter().filter(is_lost).count();
        eprintln!(
            "cooperative-sticky: {restarts} restarts of {MEMBERS} members, generation {first} to {last}, {lost} lost; the \
             longest that a record of a partition that stayed came after a reader without a group had it is {gap} ms (in \
             each restart: {gaps:?}); a thread overslept by up to {late:?}"
        );
        assert_eq!(lost, 0);
        let bound = i64::try_from((POLL + allowance).as_millis()).expect("seconds");
        assert!(gap < bound, "{gap} ms, and threads overslept by {late:?} at most");
    });
}
