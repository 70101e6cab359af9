//! Groups of the consumer protocol (KIP-848).

use std::time::Duration;

use kafka_protocol::messages::*;

use super::verbs::*;
use crate::differential::talk::{Line, Talk, s};

/// The coordinator learns of a new topic a little later than Metadata shows it.
const LEARNT: Duration = Duration::from_millis(400);

fn describe(talk: &mut Talk, line: Line, groups: &[&str]) {
    for version in 0..=1 {
        let groups = groups.iter().map(|group| s(group)).collect();
        talk.ask(line, version, ConsumerGroupDescribeRequest::default().with_group_ids(groups));
    }
}

pub(crate) fn wrong(talk: &mut Talk) {
    let line = talk.connect("a");
    coordinator(talk, line, "modern-wrong", 0);
    topic(talk, line, "modern-wrong", 2, &[]);
    talk.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-wrong-{version}");
        let group = group.as_str();
        let good = || joining_modern(group, "m1", &["modern-wrong"]);
        talk.ask(line, version, good().with_group_id(s("")));
        talk.ask(line, version, good().with_group_id(s(" ")));
        talk.ask(line, version, good().with_member_id(s("")).with_member_epoch(1));
        talk.ask(line, version, good().with_instance_id(Some(s(""))));
        talk.ask(line, version, good().with_instance_id(Some(s(" "))));
        talk.ask(line, version, good().with_rack_id(Some(s(""))));
        talk.ask(line, version, good().with_rebalance_timeout_ms(-1));
        talk.ask(line, version, good().with_rebalance_timeout_ms(0));
        talk.ask(line, version, good().with_subscribed_topic_names(None));
        talk.ask(line, version, good().with_subscribed_topic_names(Some(vec![])));
        talk.ask(line, version, good().with_topic_partitions(None));
        let nowhere = Topic { name: String::new(), id: uuid::Uuid::from_u128(1) };
        talk.ask(line, version, good().with_topic_partitions(owning(&nowhere, &[0])));
        talk.ask(line, version, good().with_server_assignor(Some(s("nonsense"))));
        talk.ask(line, version, good().with_server_assignor(Some(s(""))));
        talk.ask(line, version, good().with_member_epoch(-3));
        talk.ask(line, version, good().with_member_epoch(-2));
        talk.ask(line, version, good().with_member_epoch(-1));
        talk.ask(line, version, good().with_member_epoch(5));
        talk.ask(line, version, modern(group, "m1", 5));
        talk.ask(line, version, modern(group, "m1", -1));
        talk.ask(line, version, modern(group, "m1", -2));
        talk.ask(line, version, modern(group, "m1", -2).with_instance_id(Some(s("one"))));
        if version >= 1 {
            for pattern in ["(", "[a", ""] {
                talk.ask(line, 1, good().with_subscribed_topic_regex(Some(s(pattern))));
                talk.ask(
                    line,
                    1,
                    good().with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(s(pattern))),
                );
            }
        }
        describe(talk, line, &[group]);
        talk.ask(line, version, good().with_member_id(s("")));
        describe(talk, line, &[group, "unknown", ""]);
    }
    describe(talk, line, &[]);
}

pub(crate) fn life(talk: &mut Talk) {
    let line_a = talk.connect("a");
    let line_b = talk.connect("b");
    let topic = topic(talk, line_a, "modern", 4, &[]);
    talk.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-{version}");
        let group = group.as_str();
        talk.ask(line_a, version, joining_modern(group, "m1", &["modern"]));
        describe(talk, line_a, &[group]);
        talk.ask(line_a, 5, describing(group));
        talk.ask(line_a, 5, ListGroupsRequest::default());
        talk.ask(line_a, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
        talk.ask(line_a, version, modern(group, "m1", 1));
        talk.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1, 2, 3])),
        );
        talk.ask(line_a, version, modern(group, "m1", 1));
        describe(talk, line_a, &[group]);
        talk.ask(line_a, version, modern(group, "m1", 2));
        talk.ask(line_a, version, modern(group, "m1", 0));
        talk.ask(line_a, version, modern(group, "m2", 1));
        for commit in [2, 8, 9] {
            talk.ask(line_a, commit, committing(group, 1, "m1", "modern", 5));
            talk.ask(line_a, commit, committing(group, 0, "m1", "modern", 5));
            talk.ask(line_a, commit, committing(group, 9, "m1", "modern", 5));
            talk.ask(line_a, commit, committing(group, 1, "m9", "modern", 5));
            talk.ask(line_a, commit, committing(group, -1, "", "modern", 5));
        }
        for (member, epoch) in
            [(Some("m1"), 1), (Some("m1"), 0), (Some("m1"), 7), (Some("m9"), 1), (None, -1), (Some("m1"), -1)]
        {
            let mut request = committed(9, group, None);
            request.groups[0].member_id = member.map(s);
            request.groups[0].member_epoch = epoch;
            talk.ask(line_a, 9, request);
        }
        // The other joins.
        talk.ask(line_b, version, joining_modern(group, "m2", &["modern"]));
        describe(talk, line_a, &[group]);
        talk.ask(line_b, version, modern(group, "m2", 2));
        talk.ask(line_a, version, modern(group, "m1", 1));
        talk.ask(line_a, version, modern(group, "m1", 1));
        describe(talk, line_a, &[group]);
        talk.ask(line_b, version, modern(group, "m2", 2));
        talk.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1, 2, 3])),
        );
        talk.ask(line_a, version, modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1])));
        talk.ask(line_a, version, modern(group, "m1", 1));
        talk.ask(line_b, version, modern(group, "m2", 2));
        talk.ask(line_a, version, modern(group, "m1", 1)); // its last epoch, owning less than its assignment
        talk.ask(line_a, version, modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1])));
        describe(talk, line_a, &[group]);
        talk.ask(line_b, version, modern(group, "m2", 2).with_topic_partitions(owning(&topic, &[2, 3])));
        talk.ask(line_a, 9, committing(group, 1, "m1", "modern", 6));
        talk.ask(line_a, 9, committing(group, 2, "m1", "modern", 7));
        // A full heartbeat gets a full answer.
        let full = joining_modern(group, "m1", &["modern"])
            .with_member_epoch(2)
            .with_topic_partitions(owning(&topic, &[0, 1]));
        talk.ask(line_a, version, full);
        talk.ask(
            line_a,
            version,
            joining_modern(group, "m1", &["modern"]).with_topic_partitions(owning(&topic, &[0, 1])),
        );
        talk.ask(line_a, version, joining_modern(group, "m1", &["modern"]));
        // Another subscription, another assignor.
        talk.ask(
            line_b,
            version,
            modern(group, "m2", 2).with_subscribed_topic_names(Some(vec![s("unknown")])),
        );
        talk.ask(line_b, version, modern(group, "m2", 2).with_topic_partitions(Some(vec![])));
        talk.ask(line_b, version, modern(group, "m2", 3));
        talk.ask(line_a, version, modern(group, "m1", 2));
        talk.ask(line_a, version, modern(group, "m1", 3));
        talk.ask(line_a, version, modern(group, "m1", 3).with_server_assignor(Some(s("range"))));
        talk.ask(line_a, version, modern(group, "m1", 4));
        describe(talk, line_a, &[group]);
        talk.ask(line_a, 2, DeleteGroupsRequest::default().with_groups_names(vec![s(group)]));
        // Classic requests to the group.
        talk.ask(line_a, 3, joining(group, ""));
        talk.ask(line_a, 3, beating(group, 1, "m1"));
        talk.ask(line_a, 3, syncing(group, 1, "m1", &[]));
        talk.ask(line_a, 3, leaving(group, &[("m9", None)]));
        talk.ask(line_b, version, modern(group, "m2", -1));
        describe(talk, line_a, &[group]);
        talk.ask(line_b, version, modern(group, "m2", -1));
        talk.ask(line_a, version, modern(group, "m1", -1));
        describe(talk, line_a, &[group]);
        talk.ask(line_a, 9, committing(group, -1, "", "modern", 9));
        talk.ask(line_a, 9, committing(group, 3, "m1", "modern", 9));
        talk.ask(line_a, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
        talk.ask(line_a, 2, DeleteGroupsRequest::default().with_groups_names(vec![s(group)]));
        describe(talk, line_a, &[group]);
    }
}

pub(crate) fn static_members(talk: &mut Talk) {
    let line = talk.connect("a");
    let topic = topic(talk, line, "modern-static", 2, &[]);
    talk.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-static-{version}");
        let group = group.as_str();
        let join =
            |member: &str| joining_modern(group, member, &["modern-static"]).with_instance_id(Some(s("one")));
        let beat = |member: &str, epoch: i32| modern(group, member, epoch).with_instance_id(Some(s("one")));
        talk.ask(line, version, join("m1"));
        talk.ask(line, version, beat("m1", 1).with_topic_partitions(owning(&topic, &[0, 1])));
        talk.ask(line, version, modern(group, "m1", 1));
        talk.ask(line, version, modern(group, "m1", 1).with_instance_id(Some(s("two"))));
        talk.ask(line, version, join("m2"));
        talk.ask(line, version, beat("m2", 1));
        talk.ask(line, version, beat("m1", -2));
        describe(talk, line, &[group]);
        talk.ask(line, version, beat("m1", 1));
        talk.ask(line, 9, committing(group, -2, "m1", "modern-static", 4));
        talk.ask(line, 9, committing(group, 1, "m1", "modern-static", 4));
        talk.ask(line, version, join("m3"));
        describe(talk, line, &[group]);
        talk.ask(line, version, beat("m1", 1));
        talk.ask(line, version, beat("m1", -2));
        talk.ask(line, version, beat("m1", -1));
        talk.ask(line, version, beat("m3", 1));
        talk.ask(line, version, beat("m3", -1));
        talk.ask(line, version, beat("m3", -2));
        describe(talk, line, &[group]);
    }
}

pub(crate) fn by_pattern(talk: &mut Talk) {
    let line = talk.connect("a");
    let one = topic(talk, line, "pattern-one", 2, &[]);
    talk.pass(LEARNT);
    let by = |member: &str, pattern: &str| {
        modern("pattern", member, 0)
            .with_rebalance_timeout_ms(30_000)
            .with_subscribed_topic_regex(Some(s(pattern)))
            .with_topic_partitions(Some(Vec::new()))
    };
    talk.ask(line, 1, by("m1", "pattern-(one|two)"));
    // A real broker resolves patterns in the background.
    let beat = |epoch: i32| modern("pattern", "m1", epoch);
    talk.pass(Duration::from_millis(500));
    talk.ask(line, 1, beat(1));
    talk.ask(line, 1, beat(2));
    describe(talk, line, &["pattern"]);
    talk.ask(line, 1, beat(2).with_topic_partitions(owning(&one, &[0, 1])));
    let two = topic(talk, line, "pattern-two", 1, &[]);
    // Patterns are resolved again at most every ten seconds.
    talk.pass(Duration::from_secs(11));
    talk.until(line, 1, beat(2), |answer| answer.member_epoch == 3);
    describe(talk, line, &["pattern"]);
    let mut both = owning(&one, &[0, 1]).unwrap();
    both.extend(owning(&two, &[0]).unwrap());
    talk.ask(line, 1, beat(3).with_topic_partitions(Some(both)));
    talk.ask(line, 1, beat(3).with_subscribed_topic_regex(Some(s("other.*"))));
    talk.until(line, 1, beat(3).with_topic_partitions(Some(vec![])), |answer| answer.member_epoch == 4);
    talk.ask(line, 1, beat(4));
    describe(talk, line, &["pattern"]);
    talk.ask(line, 1, beat(-1));
}

pub(crate) fn from_one_protocol_to_the_other(talk: &mut Talk) {
    let line = talk.connect("a");
    topic(talk, line, "convert", 2, &[]);
    talk.pass(LEARNT);
    // An empty group may be converted, either way.
    talk.ask(line, 8, committing("convert", -1, "", "convert", 3));
    talk.ask(line, 1, joining_modern("convert", "m1", &["convert"]));
    talk.ask(line, 8, committed(8, "convert", None));
    let first = talk.ask(line, 3, joining("convert", "")).member_id.to_string();
    talk.ask(line, 1, modern("convert", "m1", -1));
    talk.ask(line, 3, leaving("convert", &[(&first, None)]));
    let member = talk.ask(line, 3, joining("convert", "")).member_id.to_string();
    talk.ask(line, 3, syncing("convert", 1, &member, &[(&member, b"all")]));
    talk.ask(line, 5, describing("convert"));
    talk.ask(line, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
    talk.ask(line, 1, joining_modern("convert", "m1", &["convert"]));
    describe(talk, line, &["convert"]);
    talk.ask(line, 3, leaving("convert", &[(&member, None)]));
    talk.ask(line, 8, committed(8, "convert", None));
}

/// When the last member of KIP-848 leaves, a shared group becomes a classic one, whose generation is the group's epoch:
/// a member that has not caught up with it is told so at its next heartbeat.
pub(crate) fn back_to_the_classic_protocol(talk: &mut Talk) {
    let line = talk.connect("a");
    let behind = talk.connect("b");
    coordinator(talk, line, "back", 0);
    topic(talk, line, "back", 2, &[]);
    talk.pass(LEARNT);
    let classic =
        |member: &str| joining("back", member).with_protocols(vec![protocol_for("range", "back", b"")]);
    talk.ask(line, 1, joining_modern("back", "m1", &["back"]));
    let joined = talk.ask(behind, 3, classic(""));
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    talk.ask(behind, 3, syncing("back", generation, &member, &[]));
    talk.ask(behind, 3, beating("back", generation, &member));
    talk.ask(line, 1, joining_modern("back", "m2", &["back"]));
    talk.ask(behind, 3, beating("back", generation, &member));
    talk.ask(line, 1, modern("back", "m2", -1));
    talk.ask(line, 1, modern("back", "m1", -1));
    for known in [generation, generation + 1, generation + 2, generation + 3] {
        talk.ask(behind, 3, beating("back", known, &member));
    }
    let joined = talk.ask(behind, 3, classic(&member));
    talk.ask(behind, 3, syncing("back", joined.generation_id, &member, &[(&member, b"all")]));
    talk.ask(behind, 3, beating("back", joined.generation_id, &member));
    talk.ask(line, 5, describing("back"));
    talk.ask(behind, 3, leaving("back", &[(&member, None)]));
}
