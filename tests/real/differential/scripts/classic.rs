//! Groups of the classic protocol.

use std::time::Duration;

use kafka_protocol::messages::*;

use super::verbs::*;
use crate::differential::talk::{Talk, s};

pub(crate) fn find_coordinator(talk: &mut Talk) {
    let line = talk.connect("a");
    coordinator(talk, line, "first", 0);
    coordinator(talk, line, "first", 1);
    for version in 0..=6 {
        for kind in [0, 1, 2, 7] {
            for keys in [&["find"][..], &[""], &["a", "b"], &["a", "a"], &[]] {
                if version < 4 {
                    let [key] = keys else { continue };
                    let request = FindCoordinatorRequest::default().with_key(s(key));
                    if version > 0 {
                        talk.ask(line, version, request.with_key_type(kind));
                    } else if kind == 0 {
                        talk.ask(line, version, request);
                    }
                } else {
                    let keys = keys.iter().map(|key| s(key)).collect();
                    talk.ask(
                        line,
                        version,
                        FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(keys),
                    );
                }
            }
        }
    }
}

pub(crate) fn one_member(talk: &mut Talk) {
    let line = talk.connect("a");
    coordinator(talk, line, "one", 0);
    topic(talk, line, "one", 2, &[]);
    for version in 0..=9 {
        let group = format!("one-{version}");
        let group = group.as_str();
        talk.ask(line, 5, describing(group));
        let adapt = |request: JoinGroupRequest| {
            if version == 0 { request.with_rebalance_timeout_ms(-1) } else { request }
        };
        let mut member = talk.ask(line, version, adapt(joining(group, ""))).member_id.to_string();
        // A member that was only given an id does not reliably make a visible group: it depends on what else was
        // written to the partition of __consumer_offsets.
        if version < 4 {
            talk.ask(line, 5, describing(group));
        }
        if version >= 4 {
            talk.ask(line, version, adapt(joining(group, "stranger")));
            talk.ask(line, 3, beating(group, 0, &member));
            talk.ask(line, 3, syncing(group, 0, &member, &[]));
            talk.ask(line, 7, committing(group, 0, &member, "one", 1));
            member = talk.ask(line, version, adapt(joining(group, &member))).member_id.to_string();
        }
        talk.ask(line, 5, describing(group));
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
        talk.ask(line, sync, named(syncing(group, 2, &member, &[])));
        talk.ask(line, sync, named(syncing(group, 1, "stranger", &[])));
        talk.ask(line, 4, beating(group, 1, &member));
        talk.ask(line, 7, committing(group, 1, &member, "one", 1));
        if sync == 5 {
            talk.ask(line, 5, named(syncing(group, 1, &member, &[])).with_protocol_name(Some(s("sticky"))));
            talk.ask(line, 5, named(syncing(group, 1, &member, &[])).with_protocol_type(Some(s("connect"))));
            talk.ask(line, 5, syncing(group, 1, &member, &[]));
        }
        talk.ask(line, sync, named(syncing(group, 1, &member, &[(&member, b"yours"), ("stranger", b"its")])));
        talk.ask(line, sync, named(syncing(group, 1, &member, &[])));
        talk.ask(line, 5, describing(group));
        for beat in 0..=4 {
            talk.ask(line, beat, beating(group, 1, &member));
            talk.ask(line, beat, beating(group, 0, &member));
            talk.ask(line, beat, beating(group, 2, &member));
            talk.ask(line, beat, beating(group, 1, "stranger"));
            talk.ask(line, beat, beating("nobody", 1, &member));
            talk.ask(line, beat, beating("", 1, &member));
        }
        // Joining again with the same metadata returns the same generation or, from the leader, begins another.
        talk.ask(line, version, adapt(joining(group, &member)));
        talk.ask(line, 4, beating(group, 2, &member));
        talk.ask(line, 4, beating(group, 1, &member));
        talk.ask(line, sync, named(syncing(group, 2, &member, &[(&member, b"again")])));
        if version < 3 {
            let leave = |group: &str, member: &str| {
                LeaveGroupRequest::default().with_group_id(s(group)).with_member_id(s(member))
            };
            talk.ask(line, version.min(2), leave(group, "stranger"));
            talk.ask(line, version.min(2), leave("nobody", &member));
            talk.ask(line, version.min(2), leave("", &member));
            talk.ask(line, version.min(2), leave(group, &member));
            talk.ask(line, version.min(2), leave(group, &member));
        } else {
            let leave = version.min(5);
            talk.ask(line, leave, leaving(group, &[("stranger", None)]));
            talk.ask(line, leave, leaving("nobody", &[(&member, None)]));
            talk.ask(line, leave, leaving("", &[(&member, None)]));
            talk.ask(line, leave, leaving(group, &[]));
            talk.ask(line, leave, leaving(group, &[("", Some("nobody")), (&member, Some("nobody"))]));
            talk.ask(line, leave, leaving(group, &[("stranger", None), (&member, None)]));
            talk.ask(line, leave, leaving(group, &[(&member, None)]));
        }
        talk.ask(line, 4, beating(group, 2, &member));
        talk.ask(line, 5, describing(group));
    }
}

pub(crate) fn wrong_joins(talk: &mut Talk) {
    let line = talk.connect("a");
    for version in [3, 5, 9] {
        let group = format!("wrong-{version}");
        let good = || joining(&group, "");
        talk.ask(line, version, good().with_group_id(s("")));
        talk.ask(line, version, good().with_session_timeout_ms(5));
        talk.ask(line, version, good().with_session_timeout_ms(i32::MAX));
        talk.ask(line, version, good().with_protocol_type(s("")));
        talk.ask(line, version, good().with_protocols(vec![]));
        talk.ask(line, version, good().with_protocols(vec![]).with_protocol_type(s("")));
        talk.ask(line, version, joining(&group, "stranger"));
        talk.ask(line, 5, describing(&group));
        let mut member = talk.ask(line, version, good()).member_id.to_string();
        if version > 3 {
            member = talk.ask(line, version, joining(&group, &member)).member_id.to_string();
        }
        talk.ask(line, version, good().with_protocol_type(s("connect")));
        talk.ask(line, version, good().with_protocols(vec![protocol("unheard", b"")]));
        talk.ask(line, version, joining(&group, &member).with_protocol_type(s("connect")));
        talk.ask(line, version, joining(&group, &member).with_protocols(vec![protocol("unheard", b"")]));
        talk.ask(line, 5, describing(&group));
        let leave = LeaveGroupRequest::default().with_group_id(s(&group)).with_member_id(s(&member));
        talk.ask(line, 1, leave);
    }
}

pub(crate) fn two_members(talk: &mut Talk) {
    let line_a = talk.connect("a");
    let line_b = talk.connect("b");
    for version in [3, 5, 9] {
        let group = format!("two-{version}");
        let group = group.as_str();
        let join = |talk: &mut Talk, line, member: &str, protocols: &[&str]| {
            let all = protocols.iter().map(|name| protocol(name, b"what")).collect();
            talk.say(line, version, joining(group, member).with_protocols(all))
        };
        let id_of = |talk: &mut Talk, line| {
            if version < 4 {
                return String::new();
            }
            let joining = join(talk, line, "", &["range", "sticky"]);
            talk.hear(joining).member_id.to_string()
        };
        let a = id_of(talk, line_a);
        let joining_a = join(talk, line_a, &a, &["range", "sticky"]);
        let a = talk.hear(joining_a).member_id.to_string();
        talk.ask(line_a, 3, syncing(group, 1, &a, &[(&a, b"all")]));
        let b = id_of(talk, line_b);
        talk.ask(line_a, 3, beating(group, 1, &a));
        let joining_b = join(talk, line_b, &b, &["sticky", "other"]);
        talk.quiet(line_b);
        talk.ask(line_a, 3, beating(group, 1, &a));
        talk.ask(line_a, 3, syncing(group, 1, &a, &[]));
        talk.ask(line_a, 5, describing(group));
        talk.ask(line_a, 7, committing(group, 1, &a, "two", 3));
        let joining_a = join(talk, line_a, &a, &["range", "sticky"]);
        talk.hear(joining_a);
        let b = talk.hear(joining_b).member_id.to_string();
        talk.ask(line_a, 5, describing(group));
        talk.ask(line_a, 3, beating(group, 2, &a));
        talk.ask(line_a, 3, beating(group, 2, &b));
        let syncing_b = talk.say(line_b, 3, syncing(group, 2, &b, &[]));
        talk.quiet(line_b);
        talk.ask(line_a, 3, syncing(group, 2, &a, &[(&a, b"one"), (&b, b"two")]));
        talk.hear(syncing_b);
        talk.ask(line_a, 5, describing(group));
        // A follower that joins with unchanged metadata gets the present generation; with a change it begins a rebalance.
        let joining_b = join(talk, line_b, &b, &["sticky", "other"]);
        talk.hear(joining_b);
        talk.ask(line_a, 3, beating(group, 2, &a));
        let joining_b = join(talk, line_b, &b, &["sticky"]);
        talk.quiet(line_b);
        talk.ask(line_a, 3, beating(group, 2, &a));
        let joining_a = join(talk, line_a, &a, &["sticky"]);
        talk.hear(joining_a);
        talk.hear(joining_b);
        // The leader joins while the others wait for its assignment.
        let syncing_b = talk.say(line_b, 3, syncing(group, 3, &b, &[]));
        talk.quiet(line_b);
        // With unchanged metadata it gets the present generation, and the others wait on, until its session expires.
        let news: &[&str] = if version == 9 { &["sticky"] } else { &["sticky", "range"] };
        let joining_a = join(talk, line_a, &a, news);
        talk.hear(syncing_b);
        let joining_b = join(talk, line_b, &b, &["sticky"]);
        talk.hear(joining_a);
        talk.hear(joining_b);
        let syncing_b = talk.say(line_b, 3, syncing(group, 4, &b, &[]));
        talk.ask(line_a, 3, syncing(group, 4, &a, &[(&a, b"one")]));
        talk.hear(syncing_b);
        // One leaves: the other is informed.
        talk.ask(line_b, 3, leaving(group, &[(&b, None)]));
        talk.ask(line_a, 3, beating(group, 4, &a));
        talk.ask(line_b, 3, beating(group, 4, &b));
        let joining_a = join(talk, line_a, &a, &["range"]);
        talk.hear(joining_a);
        // A member that has not synced: the leader leaves.
        talk.ask(line_a, 3, leaving(group, &[(&a, None)]));
        talk.ask(line_a, 5, describing(group));
    }
}

pub(crate) fn sessions_expire(talk: &mut Talk) {
    let line_a = talk.connect("a");
    let line_b = talk.connect("b");
    let group = "expiring";
    let short =
        |member: &str| joining(group, member).with_session_timeout_ms(6000).with_rebalance_timeout_ms(3000);
    let a = talk.ask(line_a, 3, short("")).member_id.to_string();
    talk.ask(line_a, 3, syncing(group, 1, &a, &[(&a, b"all")]));
    // The other joins, the first does not: after the rebalance timeout it is removed.
    let joining_b = talk.say(line_b, 3, short(""));
    let b = talk.hear(joining_b).member_id.to_string();
    talk.ask(line_a, 3, beating(group, 1, &a));
    talk.ask(line_b, 3, syncing(group, 2, &b, &[(&b, b"all")]));
    talk.ask(line_b, 5, describing(group));
    talk.pass(Duration::from_millis(6500));
    talk.ask(line_b, 5, describing(group));
    talk.ask(line_b, 3, beating(group, 2, &b));
}

pub(crate) fn static_members(talk: &mut Talk) {
    let line_a = talk.connect("a");
    let line_b = talk.connect("b");
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
        talk.ask(line_a, version, join("stranger", "one"));
        let a = talk.ask(line_a, version, join("", "one")).member_id.to_string();
        talk.ask(line_a, 4, sync(1, &a, "one", &[(&a, b"all")]));
        talk.ask(line_a, 4, beat(1, &a, "one"));
        talk.ask(line_a, 4, beat(1, &a, "two"));
        talk.ask(line_a, 4, beating(group, 1, &a));
        // The leader returns without its id, with unchanged metadata: no rebalance.
        let again = talk.ask(line_b, version, join("", "one"));
        let b = again.member_id.to_string();
        talk.ask(line_a, 4, beat(1, &a, "one"));
        talk.ask(line_a, 4, beating(group, 1, &a));
        talk.ask(line_a, 4, sync(1, &a, "one", &[]));
        talk.ask(line_a, version, join(&a, "one"));
        talk.ask(line_a, 7, committing(group, 1, &a, "t", 1).with_group_instance_id(Some(s("one"))));
        talk.ask(line_a, 4, leaving(group, &[(&a, Some("one"))]));
        talk.ask(line_b, 4, beat(again.generation_id, &b, "one"));
        talk.ask(line_b, 4, sync(again.generation_id, &b, "one", &[]));
        talk.ask(line_b, 5, describing(group));
        // With changed metadata.
        let more = vec![protocol("range", b"new")];
        let again = talk.ask(line_b, version, join("", "one").with_protocols(more));
        let b = again.member_id.to_string();
        talk.ask(line_b, 4, sync(again.generation_id, &b, "one", &[(&b, b"more")]));
        // A follower returns while the group is stable.
        let first =
            talk.say(line_a, version, join("", "two").with_protocols(vec![protocol("range", b"two")]));
        talk.quiet(line_a);
        let rejoined =
            talk.ask(line_b, version, join(&b, "one").with_protocols(vec![protocol("range", b"new")]));
        let two = talk.hear(first).member_id.to_string();
        let syncing = talk.say(line_a, 4, sync(rejoined.generation_id, &two, "two", &[]));
        talk.ask(line_b, 4, sync(rejoined.generation_id, &b, "one", &[(&b, b"one"), (&two, b"two")]));
        talk.hear(syncing);
        talk.ask(line_a, version, join("", "two").with_protocols(vec![protocol("range", b"two")]));
        talk.ask(line_b, 4, beat(rejoined.generation_id, &b, "one"));
        talk.ask(line_b, 5, describing(group));
        talk.ask(line_a, 4, leaving(group, &[("", Some("one")), ("", Some("two")), ("", Some("three"))]));
        talk.ask(line_b, 5, describing(group));
    }
}

pub(crate) fn admin(talk: &mut Talk) {
    let line = talk.connect("a");
    topic(talk, line, "admin", 1, &[]);
    let member = talk.ask(line, 3, joining("admin-live", "")).member_id.to_string();
    talk.ask(line, 3, syncing("admin-live", 1, &member, &[(&member, b"all")]));
    talk.ask(line, 7, committing("admin-offsets", -1, "", "admin", 5));
    talk.ask(line, 7, committing("admin-away", -1, "", "admin", 5));
    for version in 0..=6 {
        let mut request = describing("admin-live");
        request.groups.extend([s("admin-offsets"), s("unknown"), s("")]);
        talk.ask(line, version, request.clone());
        if version >= 3 {
            talk.ask(line, version, request.with_include_authorized_operations(true));
        }
        talk.ask(line, version, describing("unknown"));
    }
    for version in 0..=5 {
        talk.ask(line, version, ListGroupsRequest::default());
        if version >= 4 {
            for states in [&["Stable"][..], &["Empty", "stable"], &["nonsense"]] {
                let states = states.iter().map(|state| s(state)).collect();
                talk.ask(line, version, ListGroupsRequest::default().with_states_filter(states));
            }
        }
        if version == 5 {
            for types in [&["classic"][..], &["Consumer"], &["nonsense"]] {
                let types = types.iter().map(|kind| s(kind)).collect();
                talk.ask(line, version, ListGroupsRequest::default().with_types_filter(types));
            }
        }
    }
    for version in 0..=2 {
        for groups in [&["admin-live"][..], &["unknown"], &[""], &["admin-away"], &["admin-away"], &[]] {
            let names = groups.iter().map(|name| s(name)).collect();
            talk.ask(line, version, DeleteGroupsRequest::default().with_groups_names(names));
        }
        talk.ask(line, 7, committed(7, "admin-away", None));
        talk.ask(line, 7, committing("admin-away", -1, "", "admin", 5));
    }
    talk.ask(line, 3, leaving("admin-live", &[(&member, None)]));
    talk.ask(line, 2, DeleteGroupsRequest::default().with_groups_names(vec![s("admin-live"), s("unknown")]));
    talk.ask(line, 5, describing("admin-live"));
}
