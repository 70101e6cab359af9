//! Groups of the consumer protocol (KIP-848).

use std::time::Duration;

use kafka_protocol::messages::*;

use super::verbs::*;
use crate::differential::conversation::{Conversation, Line, s};

/// The coordinator learns of a new topic a little later than Metadata shows it.
const LEARNT: Duration = Duration::from_millis(400);

fn describe(conversation: &mut Conversation, line: Line, groups: &[&str]) {
    for version in 0..=1 {
        let groups = groups.iter().map(|group| s(group)).collect();
        conversation.ask(line, version, ConsumerGroupDescribeRequest::default().with_group_ids(groups));
    }
}

pub(crate) fn wrong(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "modern-wrong", 0);
    topic(conversation, line, "modern-wrong", 2, &[]);
    conversation.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-wrong-{version}");
        let group = group.as_str();
        let good = || joining_modern(group, "m1", &["modern-wrong"]);
        conversation.ask(line, version, good().with_group_id(s("")));
        conversation.ask(line, version, good().with_group_id(s(" ")));
        conversation.ask(line, version, good().with_member_id(s("")).with_member_epoch(1));
        conversation.ask(line, version, good().with_instance_id(Some(s(""))));
        conversation.ask(line, version, good().with_instance_id(Some(s(" "))));
        conversation.ask(line, version, good().with_rack_id(Some(s(""))));
        conversation.ask(line, version, good().with_rebalance_timeout_ms(-1));
        conversation.ask(line, version, good().with_rebalance_timeout_ms(0));
        conversation.ask(line, version, good().with_subscribed_topic_names(None));
        conversation.ask(line, version, good().with_subscribed_topic_names(Some(vec![])));
        conversation.ask(line, version, good().with_topic_partitions(None));
        let nowhere = Topic { name: String::new(), id: uuid::Uuid::from_u128(1) };
        conversation.ask(line, version, good().with_topic_partitions(owning(&nowhere, &[0])));
        conversation.ask(line, version, good().with_server_assignor(Some(s("nonsense"))));
        conversation.ask(line, version, good().with_server_assignor(Some(s(""))));
        conversation.ask(line, version, good().with_member_epoch(-3));
        conversation.ask(line, version, good().with_member_epoch(-2));
        conversation.ask(line, version, good().with_member_epoch(-1));
        conversation.ask(line, version, good().with_member_epoch(5));
        conversation.ask(line, version, modern(group, "m1", 5));
        conversation.ask(line, version, modern(group, "m1", -1));
        conversation.ask(line, version, modern(group, "m1", -2));
        conversation.ask(line, version, modern(group, "m1", -2).with_instance_id(Some(s("one"))));
        if version >= 1 {
            for pattern in ["(", "[a", ""] {
                conversation.ask(line, 1, good().with_subscribed_topic_regex(Some(s(pattern))));
                conversation.ask(
                    line,
                    1,
                    good().with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(s(pattern))),
                );
            }
        }
        describe(conversation, line, &[group]);
        conversation.ask(line, version, good().with_member_id(s("")));
        describe(conversation, line, &[group, "unknown", ""]);
    }
    describe(conversation, line, &[]);
}

pub(crate) fn life(conversation: &mut Conversation) {
    let line_a = conversation.connect("a");
    let line_b = conversation.connect("b");
    let topic = topic(conversation, line_a, "modern", 4, &[]);
    conversation.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-{version}");
        let group = group.as_str();
        conversation.ask(line_a, version, joining_modern(group, "m1", &["modern"]));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_a, 5, describing(group));
        conversation.ask(line_a, 5, ListGroupsRequest::default());
        conversation.ask(line_a, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
        conversation.ask(line_a, version, modern(group, "m1", 1));
        conversation.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1, 2, 3])),
        );
        conversation.ask(line_a, version, modern(group, "m1", 1));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_a, version, modern(group, "m1", 2));
        conversation.ask(line_a, version, modern(group, "m1", 0));
        conversation.ask(line_a, version, modern(group, "m2", 1));
        for commit in [2, 8, 9] {
            conversation.ask(line_a, commit, committing(group, 1, "m1", "modern", 5));
            conversation.ask(line_a, commit, committing(group, 0, "m1", "modern", 5));
            conversation.ask(line_a, commit, committing(group, 9, "m1", "modern", 5));
            conversation.ask(line_a, commit, committing(group, 1, "m9", "modern", 5));
            conversation.ask(line_a, commit, committing(group, -1, "", "modern", 5));
        }
        for (member, epoch) in
            [(Some("m1"), 1), (Some("m1"), 0), (Some("m1"), 7), (Some("m9"), 1), (None, -1), (Some("m1"), -1)]
        {
            let mut request = committed(9, group, None);
            request.groups[0].member_id = member.map(s);
            request.groups[0].member_epoch = epoch;
            conversation.ask(line_a, 9, request);
        }
        // The other joins.
        conversation.ask(line_b, version, joining_modern(group, "m2", &["modern"]));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_b, version, modern(group, "m2", 2));
        conversation.ask(line_a, version, modern(group, "m1", 1));
        conversation.ask(line_a, version, modern(group, "m1", 1));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_b, version, modern(group, "m2", 2));
        conversation.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1, 2, 3])),
        );
        conversation.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1])),
        );
        conversation.ask(line_a, version, modern(group, "m1", 1));
        conversation.ask(line_b, version, modern(group, "m2", 2));
        conversation.ask(line_a, version, modern(group, "m1", 1)); // its last epoch, owning less than its assignment
        conversation.ask(
            line_a,
            version,
            modern(group, "m1", 1).with_topic_partitions(owning(&topic, &[0, 1])),
        );
        describe(conversation, line_a, &[group]);
        conversation.ask(
            line_b,
            version,
            modern(group, "m2", 2).with_topic_partitions(owning(&topic, &[2, 3])),
        );
        conversation.ask(line_a, 9, committing(group, 1, "m1", "modern", 6));
        conversation.ask(line_a, 9, committing(group, 2, "m1", "modern", 7));
        // A full heartbeat gets a full answer.
        let full = joining_modern(group, "m1", &["modern"])
            .with_member_epoch(2)
            .with_topic_partitions(owning(&topic, &[0, 1]));
        conversation.ask(line_a, version, full);
        conversation.ask(
            line_a,
            version,
            joining_modern(group, "m1", &["modern"]).with_topic_partitions(owning(&topic, &[0, 1])),
        );
        conversation.ask(line_a, version, joining_modern(group, "m1", &["modern"]));
        // Another subscription, another assignor.
        conversation.ask(
            line_b,
            version,
            modern(group, "m2", 2).with_subscribed_topic_names(Some(vec![s("unknown")])),
        );
        conversation.ask(line_b, version, modern(group, "m2", 2).with_topic_partitions(Some(vec![])));
        conversation.ask(line_b, version, modern(group, "m2", 3));
        conversation.ask(line_a, version, modern(group, "m1", 2));
        conversation.ask(line_a, version, modern(group, "m1", 3));
        conversation.ask(line_a, version, modern(group, "m1", 3).with_server_assignor(Some(s("range"))));
        conversation.ask(line_a, version, modern(group, "m1", 4));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_a, 2, DeleteGroupsRequest::default().with_groups_names(vec![s(group)]));
        // Classic requests to the group.
        conversation.ask(line_a, 3, joining(group, ""));
        conversation.ask(line_a, 3, beating(group, 1, "m1"));
        conversation.ask(line_a, 3, syncing(group, 1, "m1", &[]));
        conversation.ask(line_a, 3, leaving(group, &[("m9", None)]));
        conversation.ask(line_b, version, modern(group, "m2", -1));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_b, version, modern(group, "m2", -1));
        conversation.ask(line_a, version, modern(group, "m1", -1));
        describe(conversation, line_a, &[group]);
        conversation.ask(line_a, 9, committing(group, -1, "", "modern", 9));
        conversation.ask(line_a, 9, committing(group, 3, "m1", "modern", 9));
        conversation.ask(line_a, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
        conversation.ask(line_a, 2, DeleteGroupsRequest::default().with_groups_names(vec![s(group)]));
        describe(conversation, line_a, &[group]);
    }
}

pub(crate) fn static_members(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "modern-static", 2, &[]);
    conversation.pass(LEARNT);
    for version in 0..=1 {
        let group = format!("modern-static-{version}");
        let group = group.as_str();
        let join =
            |member: &str| joining_modern(group, member, &["modern-static"]).with_instance_id(Some(s("one")));
        let beat = |member: &str, epoch: i32| modern(group, member, epoch).with_instance_id(Some(s("one")));
        conversation.ask(line, version, join("m1"));
        conversation.ask(line, version, beat("m1", 1).with_topic_partitions(owning(&topic, &[0, 1])));
        conversation.ask(line, version, modern(group, "m1", 1));
        conversation.ask(line, version, modern(group, "m1", 1).with_instance_id(Some(s("two"))));
        conversation.ask(line, version, join("m2"));
        conversation.ask(line, version, beat("m2", 1));
        conversation.ask(line, version, beat("m1", -2));
        describe(conversation, line, &[group]);
        conversation.ask(line, version, beat("m1", 1));
        conversation.ask(line, 9, committing(group, -2, "m1", "modern-static", 4));
        conversation.ask(line, 9, committing(group, 1, "m1", "modern-static", 4));
        conversation.ask(line, version, join("m3"));
        describe(conversation, line, &[group]);
        conversation.ask(line, version, beat("m1", 1));
        conversation.ask(line, version, beat("m1", -2));
        conversation.ask(line, version, beat("m1", -1));
        conversation.ask(line, version, beat("m3", 1));
        conversation.ask(line, version, beat("m3", -1));
        conversation.ask(line, version, beat("m3", -2));
        describe(conversation, line, &[group]);
    }
}

pub(crate) fn by_pattern(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let one = topic(conversation, line, "pattern-one", 2, &[]);
    conversation.pass(LEARNT);
    let by = |member: &str, pattern: &str| {
        modern("pattern", member, 0)
            .with_rebalance_timeout_ms(30_000)
            .with_subscribed_topic_regex(Some(s(pattern)))
            .with_topic_partitions(Some(Vec::new()))
    };
    conversation.ask(line, 1, by("m1", "pattern-(one|two)"));
    // A real broker resolves patterns in the background.
    let beat = |epoch: i32| modern("pattern", "m1", epoch);
    conversation.pass(Duration::from_millis(500));
    conversation.ask(line, 1, beat(1));
    conversation.ask(line, 1, beat(2));
    describe(conversation, line, &["pattern"]);
    conversation.ask(line, 1, beat(2).with_topic_partitions(owning(&one, &[0, 1])));
    let two = topic(conversation, line, "pattern-two", 1, &[]);
    // Patterns are resolved again at most every ten seconds.
    conversation.pass(Duration::from_secs(11));
    conversation.until(line, 1, beat(2), |answer| answer.member_epoch == 3);
    describe(conversation, line, &["pattern"]);
    let mut both = owning(&one, &[0, 1]).unwrap();
    both.extend(owning(&two, &[0]).unwrap());
    conversation.ask(line, 1, beat(3).with_topic_partitions(Some(both)));
    conversation.ask(line, 1, beat(3).with_subscribed_topic_regex(Some(s("other.*"))));
    conversation
        .until(line, 1, beat(3).with_topic_partitions(Some(vec![])), |answer| answer.member_epoch == 4);
    conversation.ask(line, 1, beat(4));
    describe(conversation, line, &["pattern"]);
    conversation.ask(line, 1, beat(-1));
}

pub(crate) fn from_one_protocol_to_the_other(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "convert", 2, &[]);
    conversation.pass(LEARNT);
    // An empty group may be converted, either way.
    conversation.ask(line, 8, committing("convert", -1, "", "convert", 3));
    conversation.ask(line, 1, joining_modern("convert", "m1", &["convert"]));
    conversation.ask(line, 8, committed(8, "convert", None));
    let first = conversation.ask(line, 3, joining("convert", "")).member_id.to_string();
    conversation.ask(line, 1, modern("convert", "m1", -1));
    conversation.ask(line, 3, leaving("convert", &[(&first, None)]));
    let member = conversation.ask(line, 3, joining("convert", "")).member_id.to_string();
    conversation.ask(line, 3, syncing("convert", 1, &member, &[(&member, b"all")]));
    conversation.ask(line, 5, describing("convert"));
    conversation.ask(line, 5, ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
    conversation.ask(line, 1, joining_modern("convert", "m1", &["convert"]));
    describe(conversation, line, &["convert"]);
    conversation.ask(line, 3, leaving("convert", &[(&member, None)]));
    conversation.ask(line, 8, committed(8, "convert", None));
}

/// When the last member of KIP-848 leaves, a shared group becomes a classic one, whose generation is the group's epoch:
/// a member that has not caught up with it is told so at its next heartbeat.
pub(crate) fn back_to_the_classic_protocol(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let behind = conversation.connect("b");
    coordinator(conversation, line, "back", 0);
    topic(conversation, line, "back", 2, &[]);
    conversation.pass(LEARNT);
    let classic =
        |member: &str| joining("back", member).with_protocols(vec![protocol_for("range", "back", b"")]);
    conversation.ask(line, 1, joining_modern("back", "m1", &["back"]));
    let joined = conversation.ask(behind, 3, classic(""));
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    conversation.ask(behind, 3, syncing("back", generation, &member, &[]));
    conversation.ask(behind, 3, beating("back", generation, &member));
    conversation.ask(line, 1, joining_modern("back", "m2", &["back"]));
    conversation.ask(behind, 3, beating("back", generation, &member));
    conversation.ask(line, 1, modern("back", "m2", -1));
    conversation.ask(line, 1, modern("back", "m1", -1));
    for known in [generation, generation + 1, generation + 2, generation + 3] {
        conversation.ask(behind, 3, beating("back", known, &member));
    }
    let joined = conversation.ask(behind, 3, classic(&member));
    conversation.ask(behind, 3, syncing("back", joined.generation_id, &member, &[(&member, b"all")]));
    conversation.ask(behind, 3, beating("back", joined.generation_id, &member));
    conversation.ask(line, 5, describing("back"));
    conversation.ask(behind, 3, leaving("back", &[(&member, None)]));
}
