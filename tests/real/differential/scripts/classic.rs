//! Groups of the classic protocol.

use std::time::Duration;

use kafka_protocol::messages::*;

use super::verbs::*;
use crate::differential::conversation::{Conversation, s};

pub(crate) fn find_coordinator(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "first", 0);
    coordinator(conversation, line, "first", 1);
    for version in 0..=6 {
        for kind in [0, 1, 2, 7] {
            for keys in [&["find"][..], &[""], &["a", "b"], &["a", "a"], &[]] {
                if version < 4 {
                    let [key] = keys else { continue };
                    let request = FindCoordinatorRequest::default().with_key(s(key));
                    if version > 0 {
                        conversation.ask(line, version, request.with_key_type(kind));
                    } else if kind == 0 {
                        conversation.ask(line, version, request);
                    }
                } else {
                    let keys = keys.iter().map(|key| s(key)).collect();
                    conversation.ask(
                        line,
                        version,
                        FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(keys),
                    );
                }
            }
        }
    }
}

pub(crate) fn one_member(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    coordinator(conversation, line, "one", 0);
    topic(conversation, line, "one", 2, &[]);
    for version in 0..=9 {
        let group = format!("one-{version}");
        let group = group.as_str();
        conversation.ask(line, 5, describing(group));
        let adapt = |request: JoinGroupRequest| {
            if version == 0 { request.with_rebalance_timeout_ms(-1) } else { request }
        };
        let mut member = conversation.ask(line, version, adapt(joining(group, ""))).member_id.to_string();
        // A member that was only given an id does not reliably make a visible group: it depends on what else was
        // written to the partition of __consumer_offsets.
        if version < 4 {
            conversation.ask(line, 5, describing(group));
        }
        if version >= 4 {
            conversation.ask(line, version, adapt(joining(group, "stranger")));
            conversation.ask(line, 3, beating(group, 0, &member));
            conversation.ask(line, 3, syncing(group, 0, &member, &[]));
            conversation.ask(line, 7, committing(group, 0, &member, "one", 1));
            member = conversation.ask(line, version, adapt(joining(group, &member))).member_id.to_string();
        }
        conversation.ask(line, 5, describing(group));
        let sync = match version {
            0..=5 => 0,
            6..=8 => 4,
            _ => 5,
        };
        let named = |request: SyncGroupRequest| {
            if sync < 5 {
                request
            } else {
                request.with_protocol_type(Some(s("consumer"))).with_protocol_name(Some(s("range")))
            }
        };
        conversation.ask(line, sync, named(syncing(group, 2, &member, &[])));
        conversation.ask(line, sync, named(syncing(group, 1, "stranger", &[])));
        conversation.ask(line, 4, beating(group, 1, &member));
        conversation.ask(line, 7, committing(group, 1, &member, "one", 1));
        if sync == 5 {
            conversation.ask(
                line,
                5,
                named(syncing(group, 1, &member, &[])).with_protocol_name(Some(s("sticky"))),
            );
            conversation.ask(
                line,
                5,
                named(syncing(group, 1, &member, &[])).with_protocol_type(Some(s("connect"))),
            );
            conversation.ask(line, 5, syncing(group, 1, &member, &[]));
        }
        conversation.ask(
            line,
            sync,
            named(syncing(group, 1, &member, &[(&member, b"yours"), ("stranger", b"its")])),
        );
        conversation.ask(line, sync, named(syncing(group, 1, &member, &[])));
        conversation.ask(line, 5, describing(group));
        for beat in 0..=4 {
            conversation.ask(line, beat, beating(group, 1, &member));
            conversation.ask(line, beat, beating(group, 0, &member));
            conversation.ask(line, beat, beating(group, 2, &member));
            conversation.ask(line, beat, beating(group, 1, "stranger"));
            conversation.ask(line, beat, beating("nobody", 1, &member));
            conversation.ask(line, beat, beating("", 1, &member));
        }
        // Joining again with the same metadata returns the same generation or, from the leader, begins another.
        conversation.ask(line, version, adapt(joining(group, &member)));
        conversation.ask(line, 4, beating(group, 2, &member));
        conversation.ask(line, 4, beating(group, 1, &member));
        conversation.ask(line, sync, named(syncing(group, 2, &member, &[(&member, b"again")])));
        if version < 3 {
            let leave = |group: &str, member: &str| {
                LeaveGroupRequest::default().with_group_id(s(group)).with_member_id(s(member))
            };
            conversation.ask(line, version.min(2), leave(group, "stranger"));
            conversation.ask(line, version.min(2), leave("nobody", &member));
            conversation.ask(line, version.min(2), leave("", &member));
            conversation.ask(line, version.min(2), leave(group, &member));
            conversation.ask(line, version.min(2), leave(group, &member));
        } else {
            let leave = version.min(5);
            conversation.ask(line, leave, leaving(group, &[("stranger", None)]));
            conversation.ask(line, leave, leaving("nobody", &[(&member, None)]));
            conversation.ask(line, leave, leaving("", &[(&member, None)]));
            conversation.ask(line, leave, leaving(group, &[]));
            conversation.ask(line, leave, leaving(group, &[("", Some("nobody")), (&member, Some("nobody"))]));
            conversation.ask(line, leave, leaving(group, &[("stranger", None), (&member, None)]));
            conversation.ask(line, leave, leaving(group, &[(&member, None)]));
        }
        conversation.ask(line, 4, beating(group, 2, &member));
        conversation.ask(line, 5, describing(group));
    }
}

pub(crate) fn wrong_joins(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    for version in [3, 5, 9] {
        let group = format!("wrong-{version}");
        let good = || joining(&group, "");
        conversation.ask(line, version, good().with_group_id(s("")));
        conversation.ask(line, version, good().with_session_timeout_ms(5));
        conversation.ask(line, version, good().with_session_timeout_ms(i32::MAX));
        conversation.ask(line, version, good().with_protocol_type(s("")));
        conversation.ask(line, version, good().with_protocols(vec![]));
        conversation.ask(line, version, good().with_protocols(vec![]).with_protocol_type(s("")));
        conversation.ask(line, version, joining(&group, "stranger"));
        conversation.ask(line, 5, describing(&group));
        let mut member = conversation.ask(line, version, good()).member_id.to_string();
        if version > 3 {
            member = conversation.ask(line, version, joining(&group, &member)).member_id.to_string();
        }
        conversation.ask(line, version, good().with_protocol_type(s("connect")));
        conversation.ask(line, version, good().with_protocols(vec![protocol("unheard", b"")]));
        conversation.ask(line, version, joining(&group, &member).with_protocol_type(s("connect")));
        conversation.ask(
            line,
            version,
            joining(&group, &member).with_protocols(vec![protocol("unheard", b"")]),
        );
        conversation.ask(line, 5, describing(&group));
        let leave = LeaveGroupRequest::default().with_group_id(s(&group)).with_member_id(s(&member));
        conversation.ask(line, 1, leave);
    }
}

pub(crate) fn two_members(conversation: &mut Conversation) {
    let line_a = conversation.connect("a");
    let line_b = conversation.connect("b");
    for version in [3, 5, 9] {
        let group = format!("two-{version}");
        let group = group.as_str();
        let join = |conversation: &mut Conversation, line, member: &str, protocols: &[&str]| {
            let all = protocols.iter().map(|name| protocol(name, b"what")).collect();
            conversation.say(line, version, joining(group, member).with_protocols(all))
        };
        let id_of = |conversation: &mut Conversation, line| {
            if version < 4 {
                return String::new();
            }
            let joining = join(conversation, line, "", &["range", "sticky"]);
            conversation.hear(joining).member_id.to_string()
        };
        let a = id_of(conversation, line_a);
        let joining_a = join(conversation, line_a, &a, &["range", "sticky"]);
        let a = conversation.hear(joining_a).member_id.to_string();
        conversation.ask(line_a, 3, syncing(group, 1, &a, &[(&a, b"all")]));
        let b = id_of(conversation, line_b);
        conversation.ask(line_a, 3, beating(group, 1, &a));
        let joining_b = join(conversation, line_b, &b, &["sticky", "other"]);
        conversation.quiet(line_b);
        conversation.ask(line_a, 3, beating(group, 1, &a));
        conversation.ask(line_a, 3, syncing(group, 1, &a, &[]));
        conversation.ask(line_a, 5, describing(group));
        conversation.ask(line_a, 7, committing(group, 1, &a, "two", 3));
        let joining_a = join(conversation, line_a, &a, &["range", "sticky"]);
        conversation.hear(joining_a);
        let b = conversation.hear(joining_b).member_id.to_string();
        conversation.ask(line_a, 5, describing(group));
        conversation.ask(line_a, 3, beating(group, 2, &a));
        conversation.ask(line_a, 3, beating(group, 2, &b));
        let syncing_b = conversation.say(line_b, 3, syncing(group, 2, &b, &[]));
        conversation.quiet(line_b);
        conversation.ask(line_a, 3, syncing(group, 2, &a, &[(&a, b"one"), (&b, b"two")]));
        conversation.hear(syncing_b);
        conversation.ask(line_a, 5, describing(group));
        // A follower that joins with unchanged metadata gets the present generation; with a change it begins a rebalance.
        let joining_b = join(conversation, line_b, &b, &["sticky", "other"]);
        conversation.hear(joining_b);
        conversation.ask(line_a, 3, beating(group, 2, &a));
        let joining_b = join(conversation, line_b, &b, &["sticky"]);
        conversation.quiet(line_b);
        conversation.ask(line_a, 3, beating(group, 2, &a));
        let joining_a = join(conversation, line_a, &a, &["sticky"]);
        conversation.hear(joining_a);
        conversation.hear(joining_b);
        // The leader joins while the others wait for its assignment.
        let syncing_b = conversation.say(line_b, 3, syncing(group, 3, &b, &[]));
        conversation.quiet(line_b);
        // With unchanged metadata it gets the present generation, and the others wait on, until its session expires.
        let news: &[&str] = if version == 9 { &["sticky"] } else { &["sticky", "range"] };
        let joining_a = join(conversation, line_a, &a, news);
        conversation.hear(syncing_b);
        let joining_b = join(conversation, line_b, &b, &["sticky"]);
        conversation.hear(joining_a);
        conversation.hear(joining_b);
        let syncing_b = conversation.say(line_b, 3, syncing(group, 4, &b, &[]));
        conversation.ask(line_a, 3, syncing(group, 4, &a, &[(&a, b"one")]));
        conversation.hear(syncing_b);
        // One leaves: the other is informed.
        conversation.ask(line_b, 3, leaving(group, &[(&b, None)]));
        conversation.ask(line_a, 3, beating(group, 4, &a));
        conversation.ask(line_b, 3, beating(group, 4, &b));
        let joining_a = join(conversation, line_a, &a, &["range"]);
        conversation.hear(joining_a);
        // A member that has not synced: the leader leaves.
        conversation.ask(line_a, 3, leaving(group, &[(&a, None)]));
        conversation.ask(line_a, 5, describing(group));
    }
}

pub(crate) fn sessions_expire(conversation: &mut Conversation) {
    let line_a = conversation.connect("a");
    let line_b = conversation.connect("b");
    let group = "expiring";
    let short =
        |member: &str| joining(group, member).with_session_timeout_ms(6000).with_rebalance_timeout_ms(3000);
    let a = conversation.ask(line_a, 3, short("")).member_id.to_string();
    conversation.ask(line_a, 3, syncing(group, 1, &a, &[(&a, b"all")]));
    // The other joins, the first does not: after the rebalance timeout it is removed.
    let joining_b = conversation.say(line_b, 3, short(""));
    let b = conversation.hear(joining_b).member_id.to_string();
    conversation.ask(line_a, 3, beating(group, 1, &a));
    conversation.ask(line_b, 3, syncing(group, 2, &b, &[(&b, b"all")]));
    conversation.ask(line_b, 5, describing(group));
    conversation.pass(Duration::from_millis(6500));
    conversation.ask(line_b, 5, describing(group));
    conversation.ask(line_b, 3, beating(group, 2, &b));
}

pub(crate) fn static_members(conversation: &mut Conversation) {
    let line_a = conversation.connect("a");
    let line_b = conversation.connect("b");
    for version in [5, 8, 9] {
        let group = format!("static-{version}");
        let group = group.as_str();
        let join =
            |member: &str, instance: &str| joining(group, member).with_group_instance_id(Some(s(instance)));
        let sync = |generation: i32, member: &str, instance: &str, plan: &[(&str, &'static [u8])]| {
            syncing(group, generation, member, plan).with_group_instance_id(Some(s(instance)))
        };
        let beat = |generation: i32, member: &str, instance: &str| {
            beating(group, generation, member).with_group_instance_id(Some(s(instance)))
        };
        conversation.ask(line_a, version, join("stranger", "one"));
        let a = conversation.ask(line_a, version, join("", "one")).member_id.to_string();
        conversation.ask(line_a, 4, sync(1, &a, "one", &[(&a, b"all")]));
        conversation.ask(line_a, 4, beat(1, &a, "one"));
        conversation.ask(line_a, 4, beat(1, &a, "two"));
        conversation.ask(line_a, 4, beating(group, 1, &a));
        // The leader returns without its id, with unchanged metadata: no rebalance.
        let again = conversation.ask(line_b, version, join("", "one"));
        let b = again.member_id.to_string();
        conversation.ask(line_a, 4, beat(1, &a, "one"));
        conversation.ask(line_a, 4, beating(group, 1, &a));
        conversation.ask(line_a, 4, sync(1, &a, "one", &[]));
        conversation.ask(line_a, version, join(&a, "one"));
        conversation.ask(line_a, 7, committing(group, 1, &a, "t", 1).with_group_instance_id(Some(s("one"))));
        conversation.ask(line_a, 4, leaving(group, &[(&a, Some("one"))]));
        conversation.ask(line_b, 4, beat(again.generation_id, &b, "one"));
        conversation.ask(line_b, 4, sync(again.generation_id, &b, "one", &[]));
        conversation.ask(line_b, 5, describing(group));
        // With changed metadata.
        let more = vec![protocol("range", b"new")];
        let again = conversation.ask(line_b, version, join("", "one").with_protocols(more));
        let b = again.member_id.to_string();
        conversation.ask(line_b, 4, sync(again.generation_id, &b, "one", &[(&b, b"more")]));
        // A follower returns while the group is stable.
        let first = conversation.say(
            line_a,
            version,
            join("", "two").with_protocols(vec![protocol("range", b"two")]),
        );
        conversation.quiet(line_a);
        let rejoined = conversation.ask(
            line_b,
            version,
            join(&b, "one").with_protocols(vec![protocol("range", b"new")]),
        );
        let two = conversation.hear(first).member_id.to_string();
        let syncing = conversation.say(line_a, 4, sync(rejoined.generation_id, &two, "two", &[]));
        conversation.ask(line_b, 4, sync(rejoined.generation_id, &b, "one", &[(&b, b"one"), (&two, b"two")]));
        conversation.hear(syncing);
        conversation.ask(line_a, version, join("", "two").with_protocols(vec![protocol("range", b"two")]));
        conversation.ask(line_b, 4, beat(rejoined.generation_id, &b, "one"));
        conversation.ask(line_b, 5, describing(group));
        conversation.ask(
            line_a,
            4,
            leaving(group, &[("", Some("one")), ("", Some("two")), ("", Some("three"))]),
        );
        conversation.ask(line_b, 5, describing(group));
    }
}

pub(crate) fn admin(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "admin", 1, &[]);
    let member = conversation.ask(line, 3, joining("admin-live", "")).member_id.to_string();
    conversation.ask(line, 3, syncing("admin-live", 1, &member, &[(&member, b"all")]));
    conversation.ask(line, 7, committing("admin-offsets", -1, "", "admin", 5));
    conversation.ask(line, 7, committing("admin-away", -1, "", "admin", 5));
    for version in 0..=6 {
        let mut request = describing("admin-live");
        request.groups.extend([s("admin-offsets"), s("unknown"), s("")]);
        conversation.ask(line, version, request.clone());
        if version >= 3 {
            conversation.ask(line, version, request.with_include_authorized_operations(true));
        }
        conversation.ask(line, version, describing("unknown"));
    }
    for version in 0..=5 {
        conversation.ask(line, version, ListGroupsRequest::default());
        if version >= 4 {
            for states in [&["Stable"][..], &["Empty", "stable"], &["nonsense"]] {
                let states = states.iter().map(|state| s(state)).collect();
                conversation.ask(line, version, ListGroupsRequest::default().with_states_filter(states));
            }
        }
        if version == 5 {
            for types in [&["classic"][..], &["Consumer"], &["nonsense"]] {
                let types = types.iter().map(|kind| s(kind)).collect();
                conversation.ask(line, version, ListGroupsRequest::default().with_types_filter(types));
            }
        }
    }
    for version in 0..=2 {
        for groups in [&["admin-live"][..], &["unknown"], &[""], &["admin-away"], &["admin-away"], &[]] {
            let names = groups.iter().map(|name| s(name)).collect();
            conversation.ask(line, version, DeleteGroupsRequest::default().with_groups_names(names));
        }
        conversation.ask(line, 7, committed(7, "admin-away", None));
        conversation.ask(line, 7, committing("admin-away", -1, "", "admin", 5));
    }
    conversation.ask(line, 3, leaving("admin-live", &[(&member, None)]));
    conversation.ask(
        line,
        2,
        DeleteGroupsRequest::default().with_groups_names(vec![s("admin-live"), s("unknown")]),
    );
    conversation.ask(line, 5, describing("admin-live"));
}
