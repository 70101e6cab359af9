//! Groups with foreign members: ours and Java's in one classic group, each as the leader in turn, settled and while
//! members join and leave.

use std::collections::{BTreeMap, BTreeSet};

use offtake_tests::{Offtake, Shared, V2_8_2, V3_9_1, V4_3_0, Version, shared, unique};
use serde_json::json;

use crate::company::{
    Gone, Member, Partition, Rest, as_java_would, assert_one_owner, assert_read_once, wait_at_rest, wait_read,
};
use crate::flow::{Log, Production};

/// One group, its topics, and its kind of members.
pub(crate) struct Group {
    pub(crate) of: &'static Shared,
    pub(crate) name: String,
    pub(crate) topics: [(String, i32); 2],
    assignor: &'static str,
    pub(crate) produced: BTreeSet<(Partition, i64)>,
}

impl Group {
    pub(crate) fn new(version: Version, assignor: &'static str) -> Self {
        let of = shared(version);
        let topics = [("orders", 5), ("payments", 3)]
            .map(|(name, count)| (of.tool.create_topic(&unique(name), count, &[]), count));
        Self { of, name: unique("group"), topics, assignor, produced: BTreeSet::new() }
    }

    pub(crate) fn topics(&self) -> [(&str, i32); 2] {
        self.topics.each_ref().map(|(topic, count)| (topic.as_str(), *count))
    }

    pub(crate) fn member(&self, ours: bool) -> Member {
        self.member_with(ours, &[self.assignor])
    }

    /// A member with other assignors than the group's.
    pub(crate) fn member_with(&self, ours: bool, assignors: &[&str]) -> Member {
        let names = self.names();
        if ours {
            let command = Offtake::new(["consume", "--assignor", &assignors.join(","), "--from", "earliest"])
                .args(names)
                .brokers(&self.of.kafka);
            Member::ours(&self.name, &unique("ours"), command)
        } else {
            Member::java(self.of, &self.name, &unique("java"), &names, assignors)
        }
    }

    pub(crate) fn mortal_java(&self) -> Member {
        Member::mortal_java(self.of, &self.name, &unique("java"), &self.names(), &[self.assignor])
    }

    pub(crate) fn kcat(&self) -> Member {
        Member::kcat(self.of, &self.name, &unique("kcat"), &self.names(), self.assignor)
    }

    fn names(&self) -> [&str; 2] {
        self.topics().map(|(topic, _)| topic)
    }

    /// Waits until the group has settled with these members.
    pub(crate) fn rests(&self, members: &[&Member]) -> Rest {
        wait_at_rest(self.of, &self.name, members, &self.topics())
    }

    /// Starts constant production to `topics[0]`.
    pub(crate) fn production(&self) -> Production {
        let [(topic, count), _] = self.topics();
        Production::start(&self.of.tool, topic, count)
    }

    pub(crate) fn produced(&mut self, log: Log) {
        let [(topic, _), _] = self.topics.clone();
        self.produced.extend(log.into_keys().map(|(index, offset)| ((topic.clone(), index), offset)));
    }

    /// Ten records more in each partition.
    fn produce(&mut self) {
        for (topic, count) in self.topics.clone() {
            let from = self.of.tool.list_offsets(&topic, "latest", "read_uncommitted");
            self.of.tool.fill(&topic, count, 10 * u64::try_from(count).expect("few"), 20, json!({}));
            for (index, from) in (0..).zip(from) {
                self.produced.extend((from..from + 10).map(|offset| ((topic.clone(), index), offset)));
            }
        }
    }

    /// The group settles with these members on Java's assignment; returns the partitions of each, by its id.
    fn settles(
        &self,
        members: &[&Member],
        before: &BTreeMap<String, BTreeSet<Partition>>,
    ) -> BTreeMap<String, BTreeSet<Partition>> {
        let rest = self.rests(members);
        let now: BTreeMap<_, _> = rest.into_values().collect();
        let held = now.keys().map(|id| (id.clone(), before.get(id).cloned().unwrap_or_default())).collect();
        let java = as_java_would(self.of, self.assignor, &self.topics(), held, 7);
        assert_eq!(now, java, "what {} made of {before:?} is not what Java makes of it", self.assignor);
        now
    }

    /// The leaders of this group in the broker's log, one per generation. Brokers before 3 do not log them.
    pub(crate) fn leaders(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.of.kafka.broker(1).log()).expect("the broker has a log");
        let end = format!(" for group {} ", self.name);
        let lines = log.lines().filter(|line| line.contains(&end));
        let told = lines.filter_map(|line| line.split_once("Assignment received from leader "));
        told.filter_map(|(_, rest)| Some(rest.split_once(&end)?.0.to_owned())).collect()
    }
}

fn strangers(version: Version, assignor: &'static str, ours_lead: bool) {
    let mut group = Group::new(version, assignor);
    let leader = group.member(ours_lead);
    let alone = group.settles(&[&leader], &BTreeMap::new());
    let second = group.member(!ours_lead);
    let two = group.settles(&[&leader, &second], &alone);
    group.produce();
    wait_read(&[&leader, &second], &[], group.produced.len());
    let third = group.member(ours_lead);
    let three = group.settles(&[&leader, &second, &third], &two);
    group.produce();
    wait_read(&[&leader, &second, &third], &[], group.produced.len());
    // In the settled group each reads its own partitions.
    for member in [&leader, &second, &third] {
        let owned = member.owned();
        let last = member.records().into_iter().rev().take(owned.len() * 10);
        assert_eq!(last.map(|(partition, _)| partition).collect::<BTreeSet<_>>(), owned, "{}", member.name);
    }
    if version != V2_8_2 {
        let first = alone.keys().next().expect("one member");
        let leaders = group.leaders();
        assert!(leaders.len() >= 3 && leaders.iter().all(|leader| leader == first), "{first}: {leaders:?}");
    }
    // The leader leaves; another takes over.
    let mut gone = vec![leader.leave()];
    group.settles(&[&second, &third], &three);
    group.produce();
    wait_read(&[&second, &third], &gone, group.produced.len());
    gone.extend([second.leave(), third.leave()]);
    finish(&group, &gone);
}

/// After all have left or died: everything was read once, by one owner at a time, and is committed.
pub(crate) fn finish(group: &Group, gone: &[Gone]) {
    assert_read_once(gone, &group.produced);
    assert_one_owner(gone);
    let mut ends: BTreeMap<Partition, i64> = BTreeMap::new();
    for (partition, offset) in &group.produced {
        ends.insert(partition.clone(), offset + 1);
    }
    let mut committed = group.of.tool.committed(&group.name);
    committed.retain(|partition, offset| *offset > 0 || ends.contains_key(partition)); // Java commits beginnings too
    assert_eq!(committed, ends, "what was read is committed, as Java sees it");
}

#[test]
fn range_with_ours_leading_on_kafka_4_3() {
    strangers(V4_3_0, "range", true);
}

#[test]
fn range_with_java_leading_on_kafka_4_3() {
    strangers(V4_3_0, "range", false);
}

#[test]
fn cooperative_sticky_with_ours_leading_on_kafka_4_3() {
    strangers(V4_3_0, "cooperative-sticky", true);
}

#[test]
fn cooperative_sticky_with_java_leading_on_kafka_4_3() {
    strangers(V4_3_0, "cooperative-sticky", false);
}

#[test]
fn both_assignors_on_kafka_3_9() {
    strangers(V3_9_1, "cooperative-sticky", true);
    strangers(V3_9_1, "range", false);
}

#[test]
fn both_assignors_on_kafka_2_8() {
    strangers(V2_8_2, "range", true);
    strangers(V2_8_2, "cooperative-sticky", false);
}

/// Members join and leave in order while records keep arriving: nothing is lost and nothing repeated, as every member
/// commits before it gives anything up.
fn churn(assignor: &'static str) {
    let mut group = Group::new(V4_3_0, assignor);
    let production = group.production();
    let rest = |members: &[&Member]| drop(group.rests(members));
    let first = group.member(true);
    rest(&[&first]);
    let second = group.member(false);
    rest(&[&first, &second]);
    let third = group.member(true);
    rest(&[&first, &second, &third]);
    let mut gone = vec![first.leave()];
    rest(&[&second, &third]);
    // Two join at once, and one leaves meanwhile.
    let (fourth, fifth) = (group.member(false), group.member(true));
    gone.push(second.leave());
    rest(&[&third, &fourth, &fifth]);
    gone.push(fourth.leave());
    rest(&[&third, &fifth]);
    group.produced(production.stop());
    wait_read(&[&third, &fifth], &gone, group.produced.len());
    gone.extend([third.leave(), fifth.leave()]);
    finish(&group, &gone);
    // Eight changes of membership; a cooperative one takes two rounds (FAILURES LIVE4).
    let generation = |gone: &Gone| gone.events.iter().filter_map(|event| event["generation"].as_i64()).max();
    let last = gone.iter().filter_map(generation).max().expect("generations are told");
    assert!(last <= 2 * 8 + 2, "{last} generations");
}

#[test]
fn members_come_and_go_under_steady_production_eagerly() {
    churn("range");
}

#[test]
fn members_come_and_go_under_steady_production_cooperatively() {
    churn("cooperative-sticky");
}
