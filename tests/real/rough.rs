//! A rough world: brokers that restart, die and sleep, leaders and coordinators that move, connections that break in
//! the middle of an answer. Reading continues, nothing is lost or read twice, nothing is reset, no member loses a
//! partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use offtake_tests::{JavaTool, Kafka, Lease, Running, V3_9_1, V4_3_0, three_brokers, unique};
use serde_json::Value;

use crate::flow::{self, Log, PATIENCE, Printed, Production, printed, wait_in_sync};

/// Longer than Kafka takes to notice a dead broker (four seconds here) and to have another take over.
const SESSION: Duration = Duration::from_secs(15);
const PARTITIONS: i32 = 6;

/// A topic that grows all the time; two cooperative members of a group and one hand-assigned reader of all of it.
struct World {
    tool: JavaTool,
    topic: String,
    group: String,
    production: Production,
    members: [Running; 2],
    reader: Running,
    /// When all were reading, and the faults began.
    began: i64,
}

impl World {
    fn begin(kafka: &Kafka, tool: &JavaTool, session: Duration) -> Self {
        let topic = tool.create_topic(&unique("orders"), PARTITIONS, &[]);
        let group = unique("group");
        let production = Production::start(tool, &topic, PARTITIONS);
        let member = || flow::member(kafka, &topic, &group, "cooperative-sticky", session);
        let members = [member(), member()];
        let reader = flow::consume(kafka, &topic).start();
        let [one, two] = &members;
        flow::wait_settled(&[one, two], PARTITIONS, 3);
        let mut world = Self { tool: tool.clone(), topic, group, production, members, reader, began: 0 };
        wait_in_sync(&world.tool, &world.topic);
        wait_in_sync(&world.tool, "__consumer_offsets");
        world.wait_fresh("everybody reads");
        world.began = flow::now();
        world
    }

    fn coordinator(&self) -> i32 {
        let id = self.tool.describe_group(&self.group)["coordinator"].as_i64().expect("a coordinator");
        i32::try_from(id).expect("a node id")
    }

    /// Waits until the reader and the group have printed a record of every partition produced from now on, and prints
    /// how long that took.
    fn wait_fresh(&self, what: &str) {
        self.wait_fresh_in(what, &(0..PARTITIONS).collect());
    }

    /// The same for these partitions only.
    fn wait_fresh_in(&self, what: &str, partitions: &BTreeSet<i32>) {
        let (since, started) = (flow::now(), Instant::now());
        let processes = self.members.iter().map(|member| ("group", member)).chain([("reader", &self.reader)]);
        let mut processes: Vec<(&str, &Running, usize)> =
            processes.map(|(who, each)| (who, each, 0)).collect();
        let mut fresh: BTreeMap<&str, BTreeMap<i32, Duration>> = BTreeMap::new();
        while fresh.values().map(BTreeMap::len).sum::<usize>() < 2 * partitions.len() {
            for (who, process, seen) in &mut processes {
                process.stdout().wait_until(Duration::ZERO, |lines| {
                    for record in printed(lines.get(*seen..).unwrap_or_default(), true) {
                        if record.timestamp >= since && partitions.contains(&record.partition) {
                            let times = fresh.entry(who).or_default();
                            times.entry(record.partition).or_insert_with(|| started.elapsed());
                        }
                    }
                    *seen = lines.len();
                    true
                });
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: after {PATIENCE:?} they go on only with {fresh:?}; {:#?}",
                processes.iter().map(|(_, process, _)| process.stderr().all()).collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        for (who, times) in fresh {
            let times: Vec<String> =
                times.values().map(|time| format!("{:.1}", time.as_secs_f32())).collect();
            eprintln!("{what}: the {who} goes on with the partitions after {} s", times.join(", "));
        }
    }

    /// Ends the run, and checks the invariants.
    fn end(self) {
        let log = self.production.stop();
        let [one, two] = &self.members;
        flow::wait_for_all(&log, &[one, two], &[]);
        flow::wait_for_all(&log, &[&self.reader], &[]);
        // From here on they leave, and may still be assigned partitions of one that left earlier.
        let ended = flow::now();
        for process in [one, two, &self.reader] {
            process.signal("TERM");
        }
        let finish = |process: Running| {
            let finished = process.finish(PATIENCE);
            let events: Vec<Value> =
                finished.stderr.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
            (printed(&finished.stdout, false), events)
        };
        let (read, told) = finish(self.reader);
        assert_in_order_and_once(&log, &read);
        let quiet = |events: &[Value]| {
            for event in events {
                let fine = match event["event"].as_str().expect("an event has a name") {
                    "committed" => true,
                    "assigned" | "revoked" => !(self.began..ended).contains(&flow::at(event)),
                    "reset" => event["from"].is_null() && flow::at(event) <= self.began,
                    "error" => event["retriable"] == true,
                    _ => false,
                };
                assert!(fine, "{event} should not have happened; all events: {events:#?}");
            }
        };
        quiet(&told);
        let mut all: Vec<Printed> = Vec::new();
        for member in self.members {
            let (printed, events) = finish(member);
            quiet(&events);
            all.extend(printed);
        }
        let times = flow::all_of(&log, &all);
        let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert_eq!(repeated, [], "nothing changed hands, so nothing is read twice");
        let committed = flow::committed(&self.tool, &self.group, &self.topic);
        assert_eq!(committed, flow::ends(&read), "everything is committed");
    }
}

/// A hand-assigned reader prints each partition from its first record, in order, without a gap.
pub(crate) fn assert_in_order_and_once(log: &Log, read: &[Printed]) {
    flow::all_of(log, read);
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for record in read {
        let next = next.entry(record.partition).or_default();
        assert_eq!(record.offset, *next, "partition {}", record.partition);
        *next += 1;
    }
}

/// Three brokers, and the world on them.
fn world() -> (Lease, World) {
    let at = three_brokers();
    let world = World::begin(&at.kafka, &at.tool, SESSION);
    (at, world)
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn c4_all_brokers_are_restarted_one_after_the_other() {
    let (at, world) = world();
    let first = world.coordinator();
    for broker in (0..3).map(|turn| at.kafka.broker((first + turn - 1) % 3 + 1)) {
        broker.stop();
        world.wait_fresh(&format!("broker {} stopped", broker.id()));
        broker.start();
        wait_in_sync(&at.tool, &world.topic);
        wait_in_sync(&at.tool, "__consumer_offsets");
        // It leads again, so its connections are needed.
        at.tool.move_leader(&world.topic, 0, broker.id());
        world.wait_fresh("it is back");
    }
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn q2_brokers_are_upgraded_from_3_9_to_4_3_one_after_the_other() {
    let kafka = Kafka::builder().version(V3_9_1).brokers(3).start();
    let tool = JavaTool::start(&kafka);
    let world = World::begin(&kafka, &tool, SESSION);
    for broker in kafka.brokers() {
        broker.upgrade(V4_3_0);
        wait_in_sync(&tool, &world.topic);
        wait_in_sync(&tool, "__consumer_offsets");
        tool.move_leader(&world.topic, 0, broker.id());
        world.wait_fresh(&format!("broker {} is of 4.3 now", broker.id()));
    }
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn c4_a_broker_is_killed_and_comes_back() {
    let (at, world) = world();
    let broker = at.kafka.broker(world.coordinator());
    broker.kill9();
    world.wait_fresh("the coordinator was killed");
    broker.start();
    world.wait_fresh("it is back");
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn leaders_move() {
    let (at, world) = world();
    for round in 1..=2 {
        for partition in 0..PARTITIONS {
            let to = at.tool.leader(&world.topic, partition) % 3 + 1;
            at.tool.move_leader(&world.topic, partition, to);
        }
        world.wait_fresh(&format!("all leaders moved, round {round}"));
    }
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn c4_the_coordinator_moves() {
    let (at, world) = world();
    for round in 1..=2 {
        let (from, to) = at.tool.move_coordinator(&world.group, None);
        assert_ne!(from, to);
        let moved = flow::now();
        for member in &world.members {
            member.wait_event("committed", PATIENCE, |event| flow::at(event) > moved + 1000);
        }
        world.wait_fresh(&format!("the coordinator moved, round {round}"));
    }
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn c4_a_broker_sleeps_for_twenty_seconds() {
    let (at, world) = world();
    let broker = at.kafka.broker(world.coordinator());
    let elsewhere = (0..PARTITIONS).filter(|of| at.tool.leader(&world.topic, *of) != broker.id()).collect();
    broker.pause();
    let asleep = Instant::now();
    // Kafka has others take over after four seconds. Its clients are not notified: connections to it are open and silent.
    for _ in 0..3 {
        world.wait_fresh_in("the coordinator sleeps", &elsewhere);
        std::thread::sleep(Duration::from_secs(6));
    }
    std::thread::sleep(Duration::from_secs(20).saturating_sub(asleep.elapsed()));
    broker.resume();
    world.wait_fresh("the coordinator woke up");
    world.end();
}

#[test]
fn a1_connections_are_cut_in_the_middle_of_an_answer() {
    let kafka = Kafka::builder().proxied().start();
    let tool = JavaTool::start(&kafka);
    let world = World::begin(&kafka, &tool, SESSION);
    let proxy = kafka.proxy(1);
    // Any answer in its first bytes, and those with records throughout.
    let small = (0..16).map(|after| (1, after));
    let large = [0, 3, 4, 5, 8, 12, 21, 34, 55, 89, 144, 233, 377, 610].map(|after| (after + 100, after));
    let mut cuts = 0;
    for (size, after) in small.chain(large) {
        proxy.cut_response(size, after);
        let deadline = Instant::now() + PATIENCE;
        cuts += 1;
        while proxy.cuts() < cuts {
            assert!(Instant::now() < deadline, "no answer of {size} bytes came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    world.wait_fresh(&format!("{cuts} cuts"));
    for all in 1..=3 {
        proxy.cut_all();
        world.wait_fresh(&format!("all connections cut, {all}"));
    }
    world.end();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn a3_waiting_for_a_broker_that_is_away_costs_nothing() {
    let kafka = Kafka::builder().proxied().start();
    let tool = JavaTool::start(&kafka);
    // The only broker boots in less time than that.
    let world = World::begin(&kafka, &tool, 3 * SESSION);
    let proxy = kafka.proxy(1);
    let all: Vec<&Running> = world.members.iter().chain([&world.reader]).collect();
    let idle = |what: &str| {
        let before: Vec<Duration> = all.iter().map(|process| process.cpu_time()).collect();
        let span = Duration::from_secs(5);
        std::thread::sleep(span);
        let used: Vec<Duration> =
            all.iter().zip(before).map(|(process, before)| process.cpu_time() - before).collect();
        eprintln!("{what}: {used:?} of CPU in {span:?}");
        assert!(used.iter().all(|used| *used < span / 20), "{what}: {used:?} of CPU in {span:?}");
    };
    proxy.refuse();
    idle("the broker turns everybody away");
    proxy.admit();
    world.wait_fresh("it lets them in");
    proxy.stall();
    idle("the broker says nothing");
    proxy.flow();
    world.wait_fresh("it speaks again");
    kafka.broker(1).kill9();
    idle("the broker is dead");
    kafka.broker(1).start();
    world.wait_fresh("it is alive");
    world.end();
}
