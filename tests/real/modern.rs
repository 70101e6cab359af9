//! Groups of the consumer protocol (KIP-848), with Java's members, and while a group moves from the old protocol to the new.

use std::collections::{BTreeMap, BTreeSet};

use offtake_tests::{Offtake, RecordSpec, Shared, V3_9_1, V4_3_0, Version, shared, unique};

use crate::company::{Gone, Member, Partition, assert_one_owner, assert_read_once, wait_at_rest, wait_read};
use crate::flow::Production;

struct Group {
    of: &'static Shared,
    name: String,
    topic: String,
    count: i32,
}

impl Group {
    fn new(version: Version, count: i32) -> Self {
        let of = shared(version);
        let topic = of.tool.create_topic(&unique("modern"), count, &[]);
        Self { of, name: unique("group"), topic, count }
    }

    fn consume(&self) -> Offtake {
        let consume = ["consume", &self.topic, "-X", "metadata.max.age.ms=1000"];
        Offtake::new(consume).brokers(&self.of.kafka)
    }

    fn ours(&self) -> Member {
        Member::ours_modern(&self.name, &unique("ours"), self.consume().args(["--from", "earliest"]))
    }

    fn java(&self) -> Member {
        Member::java_modern(self.of, &self.name, &unique("java"), &[&self.topic])
    }

    fn at_rest(&self, members: &[&Member]) {
        wait_at_rest(self.of, &self.name, members, &[(&self.topic, self.count)]);
    }

    fn kind(&self) -> String {
        self.of.tool.describe_group(&self.name)["type"].as_str().unwrap_or_default().to_uppercase()
    }

    /// Everything was read once, by one owner at a time, and is committed.
    fn finish(&self, gone: &[Gone], produced: BTreeSet<(i32, i64)>) {
        let mut ends = BTreeMap::new();
        let mut all: BTreeSet<(Partition, i64)> = BTreeSet::new();
        for (index, offset) in produced {
            let partition = (self.topic.clone(), index);
            ends.insert(partition.clone(), offset + 1);
            all.insert((partition, offset));
        }
        assert_read_once(gone, &all);
        assert_one_owner(gone);
        let mut committed = self.of.tool.committed(&self.name);
        committed.retain(|partition, offset| *offset > 0 || ends.contains_key(partition)); // Java commits start positions too
        assert_eq!(committed, ends);
    }
}

fn churn(version: Version) {
    let group = Group::new(version, 6);
    let production = Production::start(&group.of.tool, &group.topic, 6);
    let first = group.ours();
    group.at_rest(&[&first]);
    assert_eq!(group.kind(), "CONSUMER");
    let second = group.java();
    group.at_rest(&[&first, &second]);
    let third = group.ours();
    group.at_rest(&[&first, &second, &third]);
    assert!([&first, &second, &third].iter().all(|member| member.owned().len() == 2), "each has its share");
    let mut gone = vec![first.leave()];
    group.at_rest(&[&second, &third]);
    let (fourth, fifth) = (group.java(), group.ours());
    gone.push(second.leave());
    group.at_rest(&[&third, &fourth, &fifth]);
    gone.push(fourth.leave());
    group.at_rest(&[&third, &fifth]);
    let produced: BTreeSet<_> = production.stop().into_keys().collect();
    wait_read(&[&third, &fifth], &gone, produced.len());
    gone.extend([third.leave(), fifth.leave()]);
    group.finish(&gone, produced);
}

#[test]
fn members_come_and_go_under_steady_production_by_the_consumer_protocol() {
    churn(V4_3_0);
}

#[test]
fn q5_members_come_and_go_under_steady_production_by_the_consumer_protocol_of_kafka_3_9() {
    churn(V3_9_1);
}

#[test]
fn b4_added_partitions_are_read_from_their_first_record_by_the_consumer_protocol() {
    let mut group = Group::new(V4_3_0, 2);
    let latest = group.consume().args(["--from", "latest"]);
    let (ours, java) = (Member::ours_modern(&group.name, &unique("ours"), latest), group.java());
    group.at_rest(&[&ours, &java]);
    group.of.tool.create_partitions(&group.topic, 6);
    group.count = 6;
    let spec = |nth: i32| RecordSpec::to(&group.topic).partition(2 + nth % 4).value(nth.to_string());
    let specs: Vec<_> = (0..40).map(spec).collect();
    group.of.tool.produce(&specs);
    group.at_rest(&[&ours, &java]);
    group.of.tool.produce(&specs);
    wait_read(&[&ours, &java], &[], 80);
    let produced = (2..6).flat_map(|index| (0..20).map(move |offset| (index, offset)));
    group.finish(&[ours.leave(), java.leave()], produced.collect());
}

/// Members of both protocols in one group, while it changes from one to the other and back (FAILURES F12). `ours`:
/// whether the first to use the other protocol is ours, both times; while the group is classic, each leads in turn.
fn migration(ours: bool, assignor: &str) {
    let group = Group::new(V4_3_0, 4);
    let production = Production::start(&group.of.tool, &group.topic, 4);
    let classic = |ours: bool| {
        if ours {
            let command = group.consume().args(["--from", "earliest", "--assignor", assignor]);
            Member::ours(&group.name, &unique("ours-classic"), command)
        } else {
            let name = unique("java-classic");
            Member::java(group.of, &group.name, &name, &[&group.topic], &[assignor])
        }
    };
    let modern = |ours: bool| if ours { group.ours() } else { group.java() };
    let [first, second] = [classic(!ours), classic(ours)];
    group.at_rest(&[&first, &second]);
    assert_eq!(group.kind(), "CLASSIC");
    let third = modern(ours);
    group.at_rest(&[&first, &second, &third]);
    assert_eq!(group.kind(), "CONSUMER");
    let mut gone = vec![first.leave()];
    group.at_rest(&[&second, &third]);
    let fourth = modern(!ours);
    group.at_rest(&[&second, &third, &fourth]);
    gone.push(second.leave());
    group.at_rest(&[&third, &fourth]);
    // And back: the last member with the new protocol leaves, and the group is classic again.
    let fifth = classic(ours);
    group.at_rest(&[&third, &fourth, &fifth]);
    assert_eq!(group.kind(), "CONSUMER");
    gone.push(third.leave());
    group.at_rest(&[&fourth, &fifth]);
    let sixth = classic(!ours);
    group.at_rest(&[&fourth, &fifth, &sixth]);
    gone.push(fourth.leave());
    group.at_rest(&[&fifth, &sixth]);
    assert_eq!(group.kind(), "CLASSIC");
    // A member that is alone leads those that join.
    gone.push(fifth.leave());
    group.at_rest(&[&sixth]);
    let seventh = classic(ours);
    group.at_rest(&[&sixth, &seventh]);
    let produced: BTreeSet<_> = production.stop().into_keys().collect();
    wait_read(&[&sixth, &seventh], &gone, produced.len());
    gone.extend([sixth.leave(), seventh.leave()]);
    group.finish(&gone, produced);
}

#[test]
fn f12_a_group_moves_to_the_consumer_protocol_and_back_with_ours_first() {
    migration(true, "cooperative-sticky");
}

#[test]
fn f12_a_group_moves_to_the_consumer_protocol_and_back_with_java_first() {
    migration(false, "range");
}

/// The notes that a static leader stores in its assignment (FAILURES G3) must not count as user data in Kafka: user
/// data would indicate a custom assignor, and keep every member of the other protocol out.
#[test]
fn f12_a_group_that_a_static_member_leads_takes_members_of_the_consumer_protocol() {
    for assignor in ["cooperative-sticky", "range"] {
        let group = Group::new(V4_3_0, 4);
        let production = Production::start(&group.of.tool, &group.topic, 4);
        let fixed = ["--from", "earliest", "--assignor", assignor, "-X", "group.instance.id=one"];
        let leader = Member::ours(&group.name, &unique("ours-static"), group.consume().args(fixed));
        group.at_rest(&[&leader]);
        let (ours, java) = (group.ours(), group.java());
        group.at_rest(&[&leader, &ours, &java]);
        assert_eq!(group.kind(), "CONSUMER", "{assignor}");
        let produced: BTreeSet<_> = production.stop().into_keys().collect();
        wait_read(&[&leader, &ours, &java], &[], produced.len());
        group.finish(&[leader.leave(), ours.leave(), java.leave()], produced);
    }
}
