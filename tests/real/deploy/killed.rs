//! Static members that are killed and restarted within their session (FAILURES G2): the others never notice. (In the
//! consumer protocol a dead member's instance id is in use until its session ends, see `group/consumer::g6_…`.)

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offtake_tests::{Running, V4_3_0, shared, unique};
use serde_json::Value;

use super::SESSION;
use crate::flow::{self, PATIENCE, Printed, Production, printed};

const MEMBERS: usize = 3;
const PARTITIONS: i32 = 6;
const COMMIT: i64 = 1000;

/// A member's changes of ownership from this moment on.
fn changes(of: &Running, since: i64) -> Vec<Value> {
    let mut events = flow::events(of);
    events.retain(|event| event["owned"].is_array() && flow::at(event) >= since);
    events
}

fn killed_and_started_again(assignor: &str) {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("deploy"), PARTITIONS, &[]);
    let group = unique("deploy");
    let production = Production::start(&at.tool, &topic, PARTITIONS);
    let start = |nth: usize| {
        let session = format!("session.timeout.ms={SESSION}");
        flow::consume(&at.kafka, &topic)
            .args(["--group", &group, "--assignor", assignor, "--instance-id", &format!("instance-{nth}")])
            .args(["-X", &session, "-X", &format!("auto.commit.interval.ms={COMMIT}")])
            .args(["-X", "heartbeat.interval.ms=500"])
            .start()
    };
    let mut members: Vec<Running> = (0..MEMBERS).map(start).collect();
    flow::wait_settled(&members.iter().collect::<Vec<_>>(), PARTITIONS, 2);
    let mut dead: Vec<Printed> = Vec::new();
    // By partition: the offsets from the committed one at the owner's death to its last printed one.
    let mut open: BTreeMap<i32, Vec<std::ops::Range<i64>>> = BTreeMap::new();
    for nth in 0..MEMBERS {
        let victim = members.remove(nth);
        let (held, _) = flow::holds(&victim);
        let since = flow::now();
        victim.wait_event("committed", PATIENCE, |event| {
            flow::at(event) >= since && flow::partitions(&event["offsets"]) == held
        });
        victim.signal("KILL");
        let killed = flow::now();
        let words = printed(&victim.finish(PATIENCE).stdout, true);
        let committed = flow::committed(&at.tool, &group, &topic);
        for (partition, end) in flow::ends(&words) {
            let from = committed.get(&partition).copied().unwrap_or(0);
            open.entry(partition).or_default().push(from..end);
        }
        dead.extend(words);
        members.insert(nth, start(nth));
        let again = members
            .get(nth)
            .expect("it was started")
            .wait_event("assigned", PATIENCE, |event| flow::partitions(&event["owned"]) == held);
        let took = Duration::from_millis(u64::try_from(flow::at(&again) - killed).unwrap_or_default());
        eprintln!(
            "{assignor}: killed and back with {held:?} after {took:?}, in generation {}",
            again["generation"]
        );
        // It reads on, so by now the others would have noticed.
        let reading = flow::now();
        members.get(nth).expect("it was started").wait_event("committed", PATIENCE, |event| {
            flow::at(event) >= reading && flow::partitions(&event["offsets"]) == held
        });
        for (other, member) in members.iter().enumerate().filter(|(other, _)| *other != nth) {
            let told = changes(member, killed);
            assert!(told.is_empty(), "{assignor}: member {other} was not restarted, and hears {told:#?}");
        }
    }
    let generations: BTreeSet<i64> = members
        .iter()
        .flat_map(|member| changes(member, 0).into_iter().next_back())
        .filter_map(|event| event["generation"].as_i64())
        .collect();
    assert_eq!(generations.len(), 1, "all came back into the generation that they had left");
    let log = production.stop();
    flow::wait_for_all(&log, &members.iter().collect::<Vec<_>>(), &dead);
    members.iter().for_each(|member| member.signal("TERM"));
    let mut all = dead;
    for member in members {
        let finished = member.finish(PATIENCE);
        assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
        all.extend(printed(&finished.stdout, false));
    }
    let mut repeats = 0;
    for ((partition, offset), times) in flow::all_of(&log, &all).into_iter().filter(|(_, times)| *times > 1) {
        let within = |range: &&std::ops::Range<i64>| range.contains(&offset);
        let excused = open.get(&partition).map_or(0, |all| all.iter().filter(within).count());
        assert!(times <= 1 + excused, "{partition}:{offset} was printed {times} times; open was {open:?}");
        repeats += 1;
    }
    eprintln!("{assignor}: {} records, {repeats} repeated after {MEMBERS} kills", log.len());
}

#[test]
fn g2_static_members_killed_and_started_again_disturb_nobody_eager() {
    killed_and_started_again("range");
}

#[test]
fn g2_static_members_killed_and_started_again_disturb_nobody_cooperative() {
    killed_and_started_again("cooperative-sticky");
}
