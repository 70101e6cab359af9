//! Members of a group that die, leave or sleep: the others continue from where they were, and nothing is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use offtake_tests::{
    Finished, Growing, Offtake, Oversleep, Running, Shared, V2_8_2, V3_9_1, V4_3_0, Version, shared, unique,
};
use serde_json::json;

use crate::flow::{self, Log, PATIENCE, Printed, Production, printed};

/// The shortest session timeout that Kafka allows by default.
const SESSION: Duration = Duration::from_secs(6);
/// The time that the others may take beyond that, on a busy machine; a client that waits for a request or for the poll interval
/// takes more.
const GRACE: Duration = Duration::from_secs(15);
/// The session of members that leave, and the time that the others have to notice: somebody who waits for the session's end takes longer.
const LONG_SESSION: Duration = Duration::from_secs(40);
const NOTICED: Duration = Duration::from_secs(25);
const PARTITIONS: i32 = 6;

/// Three members of a group on a topic of its own that grows all the time, settled, each with its share.
struct Story {
    at: &'static Shared,
    topic: String,
    group: String,
    production: Production,
    members: Vec<Running>,
}

impl Story {
    fn begin(version: Version, assignor: &str, session: Duration) -> Self {
        let at = shared(version);
        let topic = at.tool.create_topic(&unique("orders"), PARTITIONS, &[]);
        let group = unique("group");
        let production = Production::start(&at.tool, &topic, PARTITIONS);
        let member = |_| flow::member(&at.kafka, &topic, &group, assignor, session);
        let members: Vec<Running> = (0..3).map(member).collect();
        let story = Self { at, topic, group, production, members };
        let all: Vec<&Running> = story.members.iter().collect();
        flow::wait_settled(&all, PARTITIONS, 6 / all.len());
        story
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        flow::committed(&self.at.tool, &self.group, &self.topic)
    }

    /// Stops production; the remaining members print the rest and leave. Returns the produced records, and those that
    /// each member printed.
    fn end(self, already: &[Printed]) -> (Log, Vec<Vec<Printed>>) {
        let log = self.production.stop();
        flow::wait_for_all(&log, &self.members.iter().collect::<Vec<_>>(), already);
        for member in &self.members {
            member.signal("TERM");
        }
        let finish = |member: Running| {
            let finished = member.finish(PATIENCE);
            assert_left_well(&finished);
            printed(&finished.stdout, false)
        };
        let told = self.members.into_iter().map(finish).collect();
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, offset) in log.keys() {
            let end = ends.entry(*partition).or_default();
            *end = (*end).max(offset + 1);
        }
        let committed = flow::committed(&self.at.tool, &self.group, &self.topic);
        assert_eq!(committed, ends, "what was printed is what is committed");
        (log, told)
    }
}

fn assert_left_well(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert_eq!(finished.events("lost"), [json!(null); 0], "who leaves in time loses nothing");
    assert_eq!(finished.events("error"), [json!(null); 0]);
}

fn seconds(millis: i64) -> f64 {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default()).as_secs_f64()
}

/// Waits for this many more lines.
fn wait_for_more(lines: &Growing<String>, count: usize) {
    let enough = lines.len() + count;
    assert!(lines.wait_until(PATIENCE, |lines| lines.len() >= enough), "{} of {enough} lines", lines.len());
}

/// Waits until `members` have printed a record of each of these partitions at or after its offset.
fn wait_printed(members: &[Running], from: &BTreeMap<i32, i64>) {
    let deadline = Instant::now() + PATIENCE;
    let mut left = from.clone();
    let mut seen = vec![0; members.len()];
    while !left.is_empty() {
        for (member, seen) in members.iter().zip(&mut seen) {
            member.stdout().wait_until(Duration::ZERO, |lines| {
                for record in printed(lines.get(*seen..).unwrap_or_default(), true) {
                    left.retain(|partition, offset| {
                        *partition != record.partition || record.offset < *offset
                    });
                }
                *seen = lines.len();
                true
            });
        }
        assert!(Instant::now() < deadline, "nothing was printed from {left:?} on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn the_others_take_over_from_a_killed_member(version: Version, assignor: &str) {
    let machine = Oversleep::new();
    let mut story = Story::begin(version, assignor, SESSION);
    // The member that joined first leads the group; the death of the leader is the hardest case.
    let victim = story.members.remove(0);
    let (held, _) = flow::holds(&victim);
    // Well after a commit, so that there are records to be read again.
    victim.wait_event("committed", PATIENCE, |event| flow::partitions(&event["offsets"]) == held);
    wait_for_more(victim.stdout(), 150);
    let killed = flow::now();
    victim.signal("KILL");
    let lines = victim.stdout().clone();
    let dead = victim.finish(PATIENCE);
    assert_eq!(dead.code, None, "it had no time for anything");
    // No other member commits for its partitions before its session is over.
    let committed = story.committed();
    let last_words = printed(&dead.stdout, true);
    let said = flow::ends(&last_words);

    let others: Vec<&Running> = story.members.iter().collect();
    let taken = flow::wait_settled(&others, PARTITIONS, 2);
    let takeover = seconds(taken - killed);
    eprintln!("{assignor}: the others had its partitions {takeover:.1} s after the kill");
    assert!(taken > killed && takeover <= (SESSION + GRACE).as_secs_f64(), "{takeover} s");
    wait_printed(&story.members, &held.iter().map(|of| (*of, said.get(of).copied().unwrap_or(0))).collect());
    let reading = seconds(flow::now() - killed);
    assert!(reading <= (SESSION + GRACE).as_secs_f64(), "they read on only after {reading} s");

    let (log, told) = story.end(&last_words);
    let times = flow::all_of(&log, told.iter().flatten().chain(&last_words));
    let mut repeats = 0;
    for ((partition, offset), times) in times.into_iter().filter(|(_, times)| *times > 1) {
        let done = committed.get(&partition).copied().unwrap_or(0);
        let open = done..said.get(&partition).copied().unwrap_or(0);
        assert!(
            times == 2 && held.contains(&partition) && open.contains(&offset),
            "{partition}:{offset} was printed {times} times; the dead member held {held:?} and had printed up to \
             {said:?}, committed was {committed:?}"
        );
        repeats += 1;
    }
    eprintln!("{assignor}: {} produced, {repeats} repeated", log.len());
    // The commit interval bounds the repeats: a second, and the time that a commit takes on a busy machine.
    let recent = Duration::from_secs(3) + machine.allowance();
    let killed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(killed).unwrap());
    let came = lines.came();
    let old = last_words.iter().zip(&came).filter(|(_, came)| **came + recent < killed_at);
    let uncommitted: Vec<&Printed> = old
        .map(|(record, _)| record)
        .filter(|record| committed.get(&record.partition).is_none_or(|done| record.offset >= *done))
        .collect();
    assert_eq!(uncommitted, [] as [&Printed; 0], "printed {recent:?} before the kill, and not committed");
    for event in dead.events("committed") {
        for each in event["offsets"].as_array().into_iter().flatten() {
            let partition = i32::try_from(each[1].as_i64().expect("a partition")).expect("a partition");
            assert!(each[2].as_i64() <= committed.get(&partition).copied(), "{each} against {committed:?}");
        }
    }
}

#[test]
fn the_others_have_a_killed_members_partitions_in_time_eager() {
    the_others_take_over_from_a_killed_member(V2_8_2, "range");
}

#[test]
fn the_others_have_a_killed_members_partitions_in_time_cooperative() {
    the_others_take_over_from_a_killed_member(V4_3_0, "cooperative-sticky");
}

fn a_member_that_is_told_to_stop_repeats_nothing(version: Version, assignor: &str) {
    let mut story = Story::begin(version, assignor, LONG_SESSION);
    let mut all: Vec<Printed> = Vec::new();
    for signal in ["TERM", "INT"] {
        let leaver = story.members.remove(0);
        let (held, _) = flow::holds(&leaver);
        wait_for_more(leaver.stdout(), 50);
        leaver.signal(signal);
        let told = flow::now();
        let left = leaver.finish(PATIENCE);
        let took = seconds(flow::now() - told);
        let committed = story.committed();
        assert_left_well(&left);
        let last_words = printed(&left.stdout, false);
        let said = flow::ends(last_words.iter().filter(|record| held.contains(&record.partition)));
        let mut done: BTreeMap<i64, i64> = BTreeMap::new();
        for event in left.events("committed") {
            let offsets = event["offsets"].as_array().into_iter().flatten();
            done.extend(offsets.filter_map(|each| Some((each[1].as_i64()?, each[2].as_i64()?))));
        }
        for (partition, end) in &said {
            assert_eq!(
                done.get(&i64::from(*partition)),
                Some(end),
                "it committed what it printed of {partition}"
            );
            assert!(committed.get(partition) >= Some(end), "and so the broker has it: {committed:?}");
        }
        let others: Vec<&Running> = story.members.iter().collect();
        let taken = seconds(flow::wait_settled(&others, PARTITIONS, 6 / others.len()) - told);
        eprintln!(
            "{assignor}: SIG{signal}: ended after {took:.1} s, the others had its partitions after {taken:.1} s"
        );
        assert!(
            taken < NOTICED.as_secs_f64(),
            "it left the group, nobody had to wait for its session: {taken} s"
        );
        all.extend(last_words);
    }
    let (log, told) = story.end(&all);
    let times = flow::all_of(&log, told.iter().flatten().chain(&all));
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(repeated, [], "of {} records", log.len());
}

#[test]
fn a_member_that_is_told_to_stop_repeats_nothing_eager() {
    a_member_that_is_told_to_stop_repeats_nothing(V3_9_1, "range");
}

#[test]
fn a_member_that_is_told_to_stop_repeats_nothing_cooperative() {
    a_member_that_is_told_to_stop_repeats_nothing(V2_8_2, "cooperative-sticky");
}

/// The member that is stopped has many of these fetched and not yet printed.
const BACKLOG: u64 = 90_000;
/// `max.poll.records`: the records that the application may hold when it is stopped, and prints when it resumes.
const IN_HAND: usize = 1;

fn m4_a_member_that_slept_past_its_session_prints_and_commits_nothing_stale(assignor: &str) {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), PARTITIONS, &[]);
    let group = unique("group");
    at.tool.fill(&topic, PARTITIONS, 600, 20, json!({}));
    let member = || {
        flow::consume(&at.kafka, &topic)
            .args(["--group", &group, "--assignor", assignor])
            .args(["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500"])
            .args(["-X", "auto.commit.interval.ms=1000"])
            .args(["-X", &format!("max.poll.records={IN_HAND}")])
            .start()
    };
    let members = [member(), member()];
    let [sleeper, other] = &members;
    flow::wait_settled(&[sleeper, other], PARTITIONS, 3);
    let (held, _) = flow::holds(sleeper);
    // A stop much shorter than the session, so that there is a backlog when it resumes. A slow machine is still filling it then.
    let before = sleeper.stdout().len();
    sleeper.signal("STOP");
    let (quiet, said, committed) = std::thread::scope(|scope| {
        let filling = scope.spawn(|| at.tool.fill(&topic, PARTITIONS, BACKLOG, 20, json!({})));
        let stopped = Instant::now();
        while !filling.is_finished() && stopped.elapsed() < SESSION / 3 {
            std::thread::sleep(Duration::from_millis(20));
        }
        sleeper.signal("CONT");
        let enough = sleeper.stdout().wait_until(PATIENCE, |lines| lines.len() > before + 2000);
        sleeper.signal("STOP");
        assert!(enough, "it prints on: {:#?}", sleeper.stderr().all());
        // Lines in its pipe were written before; nothing can be added to them.
        let (mut quiet, mut since) = (sleeper.stdout().len(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(50));
            let now = sleeper.stdout().len();
            if now != quiet {
                (quiet, since) = (now, Instant::now());
            }
        }
        let said = flow::ends(&printed(&sleeper.stdout().all(), false));
        (quiet, said, flow::committed(&at.tool, &group, &topic))
    });
    let end = i64::try_from(BACKLOG / u64::try_from(PARTITIONS).expect("few")).expect("few") + 100;
    let open = held.iter().filter(|of| said.get(of).is_none_or(|said| *said < end)).count();
    assert!(open > 0, "it had printed everything before it slept: {said:?}");

    flow::wait_settled(&[other], PARTITIONS, 6);
    wait_printed(&members[1..], &held.iter().map(|of| (*of, said.get(of).copied().unwrap_or(0))).collect());
    let before = flow::committed(&at.tool, &group, &topic);
    let woken = flow::now();
    sleeper.signal("CONT");
    let lost = sleeper.wait_event("lost", PATIENCE, |event| flow::partitions(&event["partitions"]) == held);
    flow::wait_settled(&[sleeper, other], PARTITIONS, 3);
    at.tool.fill(&topic, PARTITIONS, 600, 20, json!({}));
    let after = flow::committed(&at.tool, &group, &topic);
    for (partition, offset) in &before {
        assert!(after.get(partition) >= Some(offset), "committed went back: {before:?}, then {after:?}");
    }
    let events = flow::events(sleeper);
    let again =
        events.iter().filter(|event| event["event"] == "assigned").map(flow::at).find(|at| *at >= woken);
    let again = again.expect("it was given its share again");
    let told: Vec<_> = events.iter().filter(|each| (woken..again).contains(&flow::at(each))).collect();
    eprintln!("{assignor}: it knew {} ms after it woke", flow::at(&lost) - woken);
    // The answer to a commit from before may have been waiting for it.
    for event in told.iter().filter(|event| event["event"] == "committed") {
        for each in event["offsets"].as_array().into_iter().flatten() {
            let partition = i32::try_from(each[1].as_i64().expect("a partition")).expect("a partition");
            assert!(
                each[2].as_i64() <= committed.get(&partition).copied(),
                "it committed what it had lost: {told:#?}, and had committed {committed:?}"
            );
        }
    }

    let ends: BTreeMap<i32, i64> = (0..PARTITIONS).map(|of| (of, end + 100)).collect();
    let log: Log = Log::new();
    let everything: Vec<(i32, i64)> =
        (0..PARTITIONS).flat_map(|of| (0..end + 100).map(move |at| (of, at))).collect();
    let (mut printing, mut since) = (0, Instant::now());
    let [sleeper, other] = loop {
        let lines = members.iter().map(|member| member.stdout().len()).sum::<usize>();
        if lines >= everything.len() && flow::committed(&at.tool, &group, &topic) == ends {
            break members;
        }
        if lines > printing {
            (printing, since) = (lines, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{lines} of {} lines", everything.len());
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut all = Vec::new();
    let mut late = Vec::new();
    for (member, slept) in [(sleeper, true), (other, false)] {
        member.signal("TERM");
        let finished = member.finish(PATIENCE);
        assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
        let mut records = printed(&finished.stdout, false);
        if slept {
            late = records.split_off(quiet);
        }
        all.extend(records);
    }
    let once = flow::all_of(&log, &all);
    // Records that it had printed and not committed were printed again by the other, and no others.
    for ((partition, offset), times) in once.iter().filter(|(_, times)| **times > 1) {
        let open = committed.get(partition).copied().unwrap_or(0)..said.get(partition).copied().unwrap_or(0);
        assert!(*times == 2 && held.contains(partition) && open.contains(offset), "{partition}:{offset}");
    }
    let stale: Vec<&Printed> =
        late.iter().filter(|record| once.contains_key(&(record.partition, record.offset))).collect();
    eprintln!("{assignor}: after waking it printed {} records, {} of them stale", late.len(), stale.len());
    assert!(stale.len() <= IN_HAND, "{} records of partitions it had lost: {stale:#?}", stale.len());
    let union = flow::all_of(&log, all.iter().chain(&late));
    let missing: Vec<_> = everything.iter().filter(|at| !union.contains_key(at)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn m4_a_member_that_slept_past_its_session_does_nothing_stale_eager() {
    m4_a_member_that_slept_past_its_session_prints_and_commits_nothing_stale("range");
}

#[test]
fn m4_a_member_that_slept_past_its_session_does_nothing_stale_cooperative() {
    m4_a_member_that_slept_past_its_session_prints_and_commits_nothing_stale("cooperative-sticky");
}

#[test]
fn a_closed_output_pipe_ends_the_command_silently() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
    at.tool.fill(&topic, 1, 50_000, 100, json!({}));
    let script = r#"{ "$0" "$@"; echo "status $?" >&2; } | head -n 3"#;
    for group in [None, Some(unique("group"))] {
        let group: Vec<&str> = group.iter().flat_map(|group| ["--group", group]).collect();
        let piped = Offtake::new(["-c", script])
            .instead("/bin/sh")
            .args([Offtake::path().as_os_str()])
            .args(["consume", &topic, "--json", "--from", "earliest", "--brokers", &at.kafka.bootstrap()])
            .args(&group)
            .run();
        assert_eq!((piped.stdout.len(), piped.stderr), (3, vec!["status 0".to_owned()]), "{group:?}");
        assert!(piped.elapsed < Duration::from_secs(15), "{:?}", piped.elapsed);
    }
}
