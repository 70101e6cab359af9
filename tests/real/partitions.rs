//! Partitions that are added to a subscribed topic, and topics that match a pattern later, are read from their first
//! record, by members that were never restarted; also with `auto.offset.reset` set to `latest` (FAILURES B4).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use offtake_tests::{Offtake, RecordSpec, Shared, V2_8_2, V4_3_0, Version, guarded, shared, unique};
use serde_json::json;

use crate::company::{Member, Partition, assert_one_owner, assert_read_once, wait_at_rest, wait_read};
use crate::flow::PATIENCE;

/// A member that refreshes its topics every second.
fn member(of: &Shared, group: &str, what: &[&str], more: &[&str]) -> Member {
    let command = Offtake::new(["consume", "-X", "metadata.max.age.ms=1000"]).args(what).args(more);
    Member::ours(group, &unique("ours"), command.brokers(&of.kafka))
}

/// Writes ten records to each partition, and returns them.
fn ten_each(of: &Shared, topic: &str, count: i32) -> BTreeSet<(Partition, i64)> {
    let from = of.tool.list_offsets(topic, "latest", "read_uncommitted");
    let specs = (0..10).flat_map(|nth| (0..count).map(move |index| (index, nth)));
    let spec = |(index, nth): (i32, i32)| RecordSpec::to(topic).partition(index).value(nth.to_string());
    of.tool.produce(&specs.map(spec).collect::<Vec<_>>());
    let range =
        |(index, from): (i32, i64)| (from..from + 10).map(move |offset| ((topic.to_owned(), index), offset));
    (0..).zip(from).flat_map(range).collect()
}

/// Produces until each of the members' partitions has returned a record: from then on all positions are known.
fn produce_until_read(of: &Shared, topic: &str, count: i32, members: &[&Member]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        ten_each(of, topic, count);
        let read: BTreeSet<_> =
            members.iter().flat_map(|member| member.records()).map(|(of, _)| of).collect();
        if read.len() == count as usize {
            return;
        }
        assert!(Instant::now() < deadline, "only {read:?} are read");
    }
}

/// The records that a member must read if it begins at the end: it may skip those before its first record of a partition.
fn seen_from(produced: BTreeSet<(Partition, i64)>, read: &[(Partition, i64)]) -> BTreeSet<(Partition, i64)> {
    let first =
        |of: &Partition| read.iter().filter(|(partition, _)| partition == of).map(|(_, at)| *at).min();
    produced.into_iter().filter(|(of, at)| first(of).is_some_and(|first| first <= *at)).collect()
}

fn grows(version: Version, assignor: &str, from: &str, with_java_leading: bool) {
    let of = shared(version);
    let (topic, group) = (of.tool.create_topic(&unique("grows"), 2, &[]), unique("group"));
    ten_each(of, &topic, 2);
    let java = with_java_leading.then(|| {
        let java = Member::java(of, &group, &unique("java"), &[&topic], &[assignor]);
        wait_at_rest(of, &group, &[&java], &[(&topic, 2)]);
        java
    });
    let ours = member(of, &group, &[&topic], &["--assignor", assignor, "--from", from]);
    let members: Vec<&Member> = java.iter().chain([&ours]).collect();
    wait_at_rest(of, &group, &members, &[(&topic, 2)]);
    produce_until_read(of, &topic, 2, &members);
    let before = ours.owned();

    // Written before any member can know that these partitions exist.
    of.tool.create_partitions(&topic, 5);
    ten_each(of, &topic, 5);
    wait_at_rest(of, &group, &members, &[(&topic, 5)]);
    ten_each(of, &topic, 5);
    let new = |read: Vec<(Partition, i64)>| read.into_iter().filter(|((_, index), _)| *index >= 2).count();
    let ends = of.tool.list_offsets(&topic, "latest", "read_uncommitted");
    let last_are_read = |read: &[Vec<(Partition, i64)>]| {
        let last = |(index, end): (i32, &i64)| ((topic.clone(), index), end - 1);
        (0..).zip(&ends).map(last).all(|last| read.iter().any(|read| read.contains(&last)))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read: Vec<_> = members.iter().map(|member| member.records()).collect();
        if read.iter().cloned().map(new).sum::<usize>() >= 60 && last_are_read(&read) {
            break;
        }
        assert!(Instant::now() < deadline, "{version:?} {assignor} {from}: {read:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let gone: Vec<_> = java.into_iter().chain([ours]).map(Member::leave).collect();
    let all = |topic: &str| -> BTreeSet<(Partition, i64)> {
        let ends = of.tool.list_offsets(topic, "latest", "read_uncommitted");
        (0..)
            .zip(ends)
            .flat_map(|(at, end)| (0..end).map(move |offset| ((topic.to_owned(), at), offset)))
            .collect()
    };
    let read: Vec<_> = gone.iter().flat_map(|gone| gone.records.clone()).collect();
    let expected = if from == "latest" { seen_from(all(&topic), &read) } else { all(&topic) };
    assert!(
        (2..5).all(|index| expected.contains(&((topic.clone(), index), 0))),
        "new ones from their first record"
    );
    assert_read_once(&gone, &expected);
    assert_one_owner(&gone);
    if assignor == "cooperative-sticky" && !with_java_leading {
        let ours = gone.last().expect("ours");
        let given_up = ours.events.iter().filter(|event| event["event"] == "revoked").count();
        assert!(
            given_up == 1 && before.len() == 2,
            "what stays is given up at the end only: {:?}",
            ours.events
        );
    }
}

#[test]
fn added_partitions_are_read_eagerly() {
    grows(V4_3_0, "range", "earliest", false);
}

#[test]
fn added_partitions_are_read_cooperatively() {
    grows(V4_3_0, "cooperative-sticky", "earliest", false);
}

#[test]
fn b4_added_partitions_are_read_from_their_first_record_though_the_policy_is_latest() {
    grows(V4_3_0, "range", "latest", false);
    grows(V4_3_0, "cooperative-sticky", "latest", false);
}

#[test]
fn b4_added_partitions_are_read_from_their_first_record_though_java_sees_them_first() {
    grows(V4_3_0, "cooperative-sticky", "latest", true);
    grows(V4_3_0, "range", "latest", true);
}

#[test]
fn added_partitions_are_read_from_kafka_2_8() {
    grows(V2_8_2, "cooperative-sticky", "latest", false);
    grows(V2_8_2, "range", "earliest", true);
}

fn pattern(from: &str) {
    let of = shared(V4_3_0);
    let (name, group) = (unique("pattern"), unique("group"));
    let [old, new] = ["old", "new"].map(|end| format!("{name}-{end}"));
    of.tool.create_topic(&old, 1, &[]);
    ten_each(of, &old, 1);
    let ours = member(of, &group, &["--regex", &format!("{name}-.*")], &["--from", from]);
    wait_at_rest(of, &group, &[&ours], &[(&old, 1)]);
    produce_until_read(of, &old, 1, &[&ours]);
    of.tool.create_topic(&new, 2, &[]);
    let mut fresh = ten_each(of, &new, 2);
    wait_at_rest(of, &group, &[&ours], &[(&old, 1), (&new, 2)]);
    fresh.extend(ten_each(of, &new, 2));
    let deadline = Instant::now() + PATIENCE;
    while ours.records().iter().filter(|((topic, _), _)| *topic == new).count() < fresh.len() {
        assert!(Instant::now() < deadline, "with {from}: {:?}; {:#?}", ours.records(), ours.events());
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut gone = ours.leave();
    gone.records.retain(|((topic, _), _)| *topic == new);
    assert_read_once(&[gone], &fresh);
}

#[test]
fn b7_a_pattern_meets_a_new_topic_and_reads_it_from_its_first_record() {
    pattern("earliest");
}

#[test]
fn b4_a_pattern_meets_a_new_topic_and_reads_it_from_its_first_record_though_the_policy_is_latest() {
    pattern("latest");
}

#[test]
fn p4_a_pattern_that_matches_nothing_costs_nothing() {
    let of = guarded();
    let (group, span) = (unique("group"), Duration::from_secs(6));
    let command = Offtake::new(["consume", "--regex", "nothing-like-it-.*", "--group", &group, "--events"]);
    let member = command.brokers(&of.kafka).start();
    let joined = || of.tool.describe_group(&group)["members"].as_array().map(Vec::len) == Some(1);
    let deadline = Instant::now() + PATIENCE;
    while !of.tool.list_groups().iter().any(|each| each["group"] == group) || !joined() {
        assert!(Instant::now() < deadline, "it does not join: {:?}", member.stderr().all());
        std::thread::sleep(Duration::from_millis(50));
    }
    let proxy = of.kafka.proxy(1);
    // Its last requests after joining.
    let (mut asked, mut since) = (proxy.answers().0, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(20));
        if proxy.answers().0 != asked {
            (asked, since) = (proxy.answers().0, Instant::now());
        }
        assert!(Instant::now() < deadline, "it goes on asking: {asked} requests");
    }
    let (before, used) = (proxy.answers().0, member.cpu_time());
    std::thread::sleep(span);
    let (asked, used) = (proxy.answers().0 - before, member.cpu_time() - used);
    eprintln!("{asked} requests and {used:?} of CPU in {span:?}");
    // A heartbeat every three seconds, and hardly anything else.
    assert!(asked <= 5 && used < span / 20, "{asked} requests and {used:?} of CPU in {span:?}");
    member.signal("TERM");
    assert_eq!(member.finish(PATIENCE).code, Some(0));
}

#[test]
fn b7_a_topic_that_goes_is_given_up_and_the_rest_is_read_on() {
    let of = shared(V4_3_0);
    let (name, group) = (unique("pattern"), unique("group"));
    let [stays, goes] = ["stays", "goes"].map(|end| of.tool.create_topic(&format!("{name}-{end}"), 1, &[]));
    let ours = member(of, &group, &["--regex", &format!("{name}-.*")], &["--from", "earliest"]);
    wait_at_rest(of, &group, &[&ours], &[(&stays, 1), (&goes, 1)]);
    of.tool.delete_topic(&goes);
    wait_at_rest(of, &group, &[&ours], &[(&stays, 1)]);
    let produced = ten_each(of, &stays, 1);
    wait_read(&[&ours], &[], 10);
    assert_eq!(ours.owned(), BTreeSet::from([(stays, 0)]), "{}", json!(ours.events()));
    assert_read_once(&[ours.leave()], &produced);
}
