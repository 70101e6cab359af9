//! Members of the classic protocol.

use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        GroupId, JoinGroupRequest, LeaveGroupRequest, ResponseKind, leave_group_request::MemberIdentity,
    },
};

use super::*;

fn static_member(instance: &str, id: &str) -> JoinGroupRequest {
    subscribing(id).with_group_instance_id(Some(text(instance)))
}

/// Makes a group of one static member, which leads. Returns its id.
fn static_alone(sim: &mut Sim, from: ConnectionId) -> String {
    let joined = sim.join(from, 9, static_member("printer", ""));
    let id = joined.member_id.as_str().to_owned();
    let sync = syncing(&id, 1)
        .with_group_instance_id(Some(text("printer")))
        .with_assignments(vec![gives(&id, &[0])]);
    sim.send(from, 5, sync);
    assert_eq!(sim.synced(from).unwrap().error_code, 0);
    id
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    let a = sim.introduce(one);
    assert!(a.starts_with("app-") && a.len() == 4 + 36, "{a}");
    let joined = sim.joined(one).unwrap();
    assert_eq!((joined.generation_id, joined.leader.as_str()), (1, a.as_str()));
    assert_eq!(joined.members.len(), 1, "the leader sees who is there");
    sim.send(one, 5, syncing(&a, 1).with_assignments(vec![gives(&a, &[0, 1])]));
    assert_eq!(sim.synced(one).unwrap().protocol_name, Some(text("range")));
    assert_eq!(sim.heartbeat(one, &a, 1), 0);

    let b = sim.introduce(two);
    assert_eq!(sim.joined(two), None, "the first has not joined again");
    assert_eq!(sim.heartbeat(one, &a, 1), E::RebalanceInProgress.code());
    sim.send(one, 9, subscribing(&a));
    let (first, second) = (sim.joined(one).unwrap(), sim.joined(two).unwrap());
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0), "only the leader sees who is there");

    sim.send(two, 5, syncing(&b, 2));
    assert_eq!(sim.synced(two), None, "the leader has not spoken");
    sim.send(one, 5, syncing(&a, 2).with_assignments(vec![gives(&a, &[0]), gives(&b, &[1])]));
    assert_eq!(sim.synced(one).unwrap().assignment, gives(&a, &[0]).assignment);
    assert_eq!(sim.synced(two).unwrap().assignment, gives(&b, &[1]).assignment);
    let assigned = sim.seen.iter().any(|event| {
        matches!(event, Observed::Assigned { member, generation: 2, partitions, .. }
            if *member == b && *partitions == [("orders".to_owned(), 1)])
    });
    assert!(assigned);
    let refused = sim.seen.iter().any(|event| matches!(event, Observed::Refused { .. }));
    assert!(!refused, "nobody did anything wrong");
}

#[test]
fn a_member_that_is_silent_is_gone_but_not_one_that_waits() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    let a = sim.alone(one);
    sim.pass(seconds(8));
    assert_eq!(sim.heartbeat(one, &a, 1), 0);
    sim.pass(seconds(8));
    let b = sim.introduce(two);
    sim.pass(seconds(1));
    assert_eq!(sim.gone(), [], "a heartbeat 9 s ago is enough");
    sim.pass(seconds(2));
    assert_eq!(sim.gone(), [(a.as_str(), "session")]);
    let joined = sim.joined(two).expect("nobody else is waited for");
    assert_eq!((joined.generation_id, joined.leader.as_str()), (2, b.as_str()));
    assert_eq!(sim.heartbeat(one, &a, 1), E::UnknownMemberId.code());

    // The second member waits for a third, which takes longer than a session, but not than a rebalance.
    sim.send(two, 5, syncing(&b, 2).with_assignments(vec![gives(&b, &[0, 1])]));
    sim.synced(two).unwrap();
    let third = sim.client();
    let c = sim.introduce(third);
    sim.send(two, 9, subscribing(&b));
    assert!(sim.joined(two).is_some() && sim.joined(third).is_some());
    sim.send(two, 5, syncing(&b, 3).with_assignments(vec![]));
    sim.send(third, 5, syncing(&c, 3));
    let fourth = sim.client();
    sim.introduce(fourth);
    sim.synced(two).unwrap();
    sim.synced(third).unwrap();
    sim.send(two, 9, subscribing(&b));
    for _ in 0..5 {
        sim.pass(seconds(5));
        assert_eq!(sim.heartbeat(third, &c, 3), E::RebalanceInProgress.code());
    }
    assert_eq!(sim.gone(), [(a.as_str(), "session")], "who waits for us does not expire");
    assert_eq!(sim.joined(two), None);
    sim.pass(seconds(9));
    assert_eq!(sim.heartbeat(third, &c, 3), E::RebalanceInProgress.code());
    sim.pass(seconds(9));
    assert_eq!(sim.heartbeat(third, &c, 3), E::RebalanceInProgress.code());
    sim.pass(seconds(9));
    assert_eq!(sim.heartbeat(third, &c, 3), E::RebalanceInProgress.code());
    sim.pass(seconds(9));
    assert_eq!(sim.gone().last(), Some(&(c.as_str(), "rebalance")), "its heartbeats do not help it");
    assert_eq!(sim.joined(two).unwrap().generation_id, 4);
}

#[test]
fn a_member_that_does_not_sync_in_time_is_removed() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    let a = sim.introduce(one);
    let b = sim.introduce(two);
    // The first member was alone in generation 1.
    sim.joined(one).unwrap();
    sim.send(one, 9, subscribing(&a));
    sim.joined(one);
    sim.joined(two);
    sim.send(one, 5, syncing(&a, 2).with_assignments(vec![]));
    sim.synced(one).unwrap();
    for _ in 0..7 {
        sim.pass(seconds(9));
        sim.heartbeat(one, &a, 2);
        sim.heartbeat(two, &b, 2);
    }
    assert_eq!(sim.gone(), [(b.as_str(), "rebalance")], "heartbeats without a sync");
    assert_eq!(sim.heartbeat(one, &a, 2), E::RebalanceInProgress.code());
}

#[test]
fn the_first_rebalance_is_delayed_and_more_so_by_newcomers() {
    let delay = seconds(3);
    let mut sim = Sim::with(Config { initial_rebalance_delay: delay, ..Config::default() });
    let (one, two) = (sim.client(), sim.client());
    sim.introduce(one);
    sim.pass(seconds(2));
    sim.introduce(two);
    sim.pass(seconds(2));
    assert_eq!(sim.joined(one), None, "extended when the second came");
    sim.pass(seconds(2));
    assert_eq!(sim.joined(one).unwrap().generation_id, 1);
    assert_eq!(sim.joined(two).unwrap().generation_id, 1);
}

#[test]
fn a_pending_member_is_awaited_and_then_forgotten() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    let a = sim.alone(one);
    let pending = sim.join(two, 4, subscribing(""));
    assert_eq!(pending.error_code, E::MemberIdRequired.code());
    assert_eq!(pending.protocol_name, Some(text("")), "null only from version 7 on");
    sim.send(one, 9, subscribing(&a));
    assert_eq!(sim.joined(one), None, "the pending one may come");
    sim.pass(seconds(11));
    assert_eq!(sim.joined(one).unwrap().generation_id, 2);
    let late = sim.join(two, 9, subscribing(&pending.member_id));
    assert_eq!(late.error_code, E::UnknownMemberId.code());
    assert_eq!((late.member_id, late.protocol_name), (pending.member_id, None));
}

#[test]
fn joins_are_refused_in_kafkas_order() {
    let config = Config { group_max_size: 1, brokers: 3, ..Config::default() };
    let mut sim = Sim::with(config);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    let (client, stranger) = (sim.client(), sim.client_of(coordinator % 3 + 1));
    let mut refused = |from, request: JoinGroupRequest| {
        let answer = sim.join(from, 9, request);
        (E::try_from_code(answer.error_code).unwrap(), answer.member_id.as_str().to_owned())
    };
    let nameless = subscribing("x").with_group_id(GroupId(text(""))).with_session_timeout_ms(1);
    assert_eq!(refused(stranger, nameless), (E::InvalidGroupId, "x".to_owned()));
    let hasty = subscribing("x").with_session_timeout_ms(5_999);
    assert_eq!(refused(stranger, hasty), (E::InvalidSessionTimeout, "x".to_owned()));
    let patient = subscribing("x").with_session_timeout_ms(1_800_001);
    assert_eq!(refused(client, patient), (E::InvalidSessionTimeout, "x".to_owned()));
    assert_eq!(refused(stranger, subscribing("x")), (E::NotCoordinator, String::new()));
    assert_eq!(refused(client, subscribing("x")), (E::UnknownMemberId, "x".to_owned()));
    let vague = subscribing("").with_protocols(vec![]);
    assert_eq!(refused(client, vague), (E::InconsistentGroupProtocol, String::new()));
    // Refused or not, the join created the group.
    assert_eq!(refused(client, subscribing("x")), (E::UnknownMemberId, "x".to_owned()));

    let a = sim.alone(client);
    let mut refused = |from, request: JoinGroupRequest| {
        let answer = sim.join(from, 9, request);
        (E::try_from_code(answer.error_code).unwrap(), answer.member_id.as_str().to_owned())
    };
    assert_eq!(refused(client, subscribing("")), (E::GroupMaxSizeReached, String::new()));
    let other = subscribing(&a).with_protocols(vec![protocol("sticky")]);
    assert_eq!(refused(client, other), (E::InconsistentGroupProtocol, a.clone()));
    let other = subscribing(&a).with_protocol_type(text("connect"));
    assert_eq!(refused(client, other), (E::InconsistentGroupProtocol, a.clone()));
    assert_eq!(refused(client, static_member("printer", &a)), (E::UnknownMemberId, a));
}

#[test]
fn syncs_and_heartbeats_are_refused_in_kafkas_order() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    assert_eq!(sim.heartbeat(one, "x", 1), E::UnknownMemberId.code());
    let a = sim.alone(one);
    let mut refused = |request: SyncGroupRequest| {
        sim.send(one, 5, request);
        E::try_from_code(sim.synced(one).unwrap().error_code).unwrap()
    };
    assert_eq!(refused(syncing("x", 9).with_protocol_type(None)), E::InconsistentGroupProtocol);
    assert_eq!(refused(syncing("x", 9)), E::UnknownMemberId);
    assert_eq!(refused(syncing(&a, 9).with_protocol_name(Some(text("y")))), E::IllegalGeneration);
    assert_eq!(refused(syncing(&a, 1).with_protocol_name(Some(text("y")))), E::InconsistentGroupProtocol);
    assert_eq!(sim.heartbeat(one, "x", 9), E::UnknownMemberId.code());
    assert_eq!(sim.heartbeat(one, &a, 9), E::IllegalGeneration.code());

    // A sync that waits when the next rebalance begins, and one that arrives after.
    let b = sim.introduce(two);
    sim.send(one, 9, subscribing(&a));
    assert!(sim.joined(one).is_some() && sim.joined(two).is_some());
    sim.send(two, 5, syncing(&b, 2));
    let changed = subscribing(&a).with_protocols(vec![protocol("range"), protocol("sticky")]);
    sim.send(one, 9, changed);
    assert_eq!(sim.synced(two).unwrap().error_code, E::RebalanceInProgress.code());
    sim.send(two, 5, syncing(&b, 2));
    assert_eq!(sim.synced(two).unwrap().error_code, E::RebalanceInProgress.code());
}

#[test]
fn a_join_that_is_sent_again_is_answered_instead_of_the_first() {
    let mut sim = Sim::new();
    let (one, two, again) = (sim.client(), sim.client(), sim.client());
    let a = sim.alone(one);
    let b = sim.introduce(two);
    sim.send(again, 9, subscribing(&b));
    sim.send(one, 9, subscribing(&a));
    assert_eq!(sim.joined(again).unwrap().generation_id, 2);
    assert_eq!(sim.joined(two), None);
    // Its answer was lost again: it is sent the generation once more, and no other member is disturbed.
    let third = sim.client();
    assert_eq!(sim.join(third, 9, subscribing(&b)).generation_id, 2);
}

#[test]
fn a_static_leader_that_returns_need_not_assign_again() {
    let mut sim = Sim::new();
    let (one, two, three) = (sim.client(), sim.client(), sim.client());
    let old = static_alone(&mut sim, one);
    assert!(old.starts_with("printer-"));

    let back = sim.join(two, 9, static_member("printer", ""));
    assert_eq!((back.error_code, back.generation_id, back.skip_assignment), (0, 1, true));
    assert_ne!(back.member_id.as_str(), old);
    assert_eq!((&back.leader, back.members.len()), (&back.member_id, 1));
    let beat = beating(&old, 1).with_group_instance_id(Some(text("printer")));
    let ResponseKind::Heartbeat(fenced) = sim.call(one, 4, beat) else { panic!() };
    assert_eq!(fenced.error_code, E::FencedInstanceId.code());

    // Before KIP-814 the answer names another member as leader, so that this one does not assign.
    let older = sim.join(three, 8, static_member("printer", ""));
    assert_eq!((older.leader, older.members.len()), (back.member_id, 0));
    let sync = syncing(&older.member_id, 1).with_group_instance_id(Some(text("printer")));
    sim.send(three, 5, sync);
    assert_eq!(sim.synced(three).unwrap().assignment, gives("", &[0]).assignment);
    assert_eq!(sim.gone().iter().map(|(_, why)| *why).collect::<Vec<_>>(), ["replaced", "replaced"]);
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut sim = Sim::new();
    let (one, two, three) = (sim.client(), sim.client(), sim.client());
    sim.alone(one);
    sim.send(two, 9, static_member("printer", ""));
    sim.send(three, 9, static_member("printer", ""));
    let fenced = sim.joined(two).unwrap();
    assert_eq!((fenced.error_code, fenced.generation_id), (E::FencedInstanceId.code(), -1));
    assert_eq!(sim.joined(three), None, "the dynamic one has not joined again");
}

#[test]
fn leaving_one_by_one_and_all_at_once() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(), sim.client());
    assert_eq!(sim.leave(one, "x"), E::UnknownMemberId.code());
    let a = sim.alone(one);
    sim.send(two, 9, static_member("printer", ""));
    sim.send(one, 9, subscribing(&a));
    sim.joined(one);
    let printer = sim.joined(two).unwrap();
    let pending = sim.join(two, 9, subscribing(""));

    let who = |id: &str| MemberIdentity::default().with_member_id(text(id));
    let leaving = vec![
        who("").with_group_instance_id(Some(text("printer"))),
        who("").with_group_instance_id(Some(text("nobody"))),
        who(&pending.member_id),
        who("x"),
    ];
    let request = LeaveGroupRequest::default().with_group_id(group()).with_members(leaving);
    let ResponseKind::LeaveGroup(left) = sim.call(two, 5, request) else { panic!() };
    let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    let unknown = E::UnknownMemberId.code();
    assert_eq!((left.error_code, codes), (0, vec![0, unknown, 0, unknown]));
    assert_eq!(sim.gone(), [(printer.member_id.as_str(), "left")]);
    assert_eq!(sim.heartbeat(one, &a, 2), E::RebalanceInProgress.code());
    assert_eq!(sim.leave(one, &a), 0);
    assert_eq!(sim.heartbeat(one, &a, 3), E::UnknownMemberId.code(), "the group is empty");
}

#[test]
fn the_protocol_that_most_like_best_is_chosen() {
    let mut sim = Sim::new();
    let clients: Vec<ConnectionId> = (0..3).map(|_| sim.client()).collect();
    let likes = |id: &str, first: &str, second: &str| {
        subscribing(id).with_protocols(vec![protocol(first), protocol(second)])
    };
    let votes = [("range", "sticky"), ("sticky", "range"), ("sticky", "range")];
    let mut ids = Vec::new();
    for (client, (first, second)) in clients.iter().zip(votes) {
        let id = sim.join(*client, 9, likes("", first, second)).member_id.as_str().to_owned();
        sim.send(*client, 9, likes(&id, first, second));
        ids.push(id);
    }
    assert_eq!(sim.joined(clients[0]).unwrap().protocol_name, Some(text("range")), "alone");
    sim.send(clients[0], 9, likes(&ids[0], "range", "sticky"));
    assert_eq!(sim.joined(clients[2]).unwrap().protocol_name, Some(text("sticky")));
}

#[test]
fn another_coordinator_knows_what_was_stored() {
    // C4, C5: the pending requests are lost, not the members.
    let mut sim = Sim::with(Config { brokers: 2, ..Config::default() });
    let (one, two) = (sim.client(), sim.client());
    let a = sim.alone(one);
    sim.introduce(two);
    sim.model.groups.loading_time = seconds(5);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    sim.model.reload_groups_of(coordinator);
    sim.settle();
    assert_eq!(sim.joined(two).unwrap().error_code, E::NotCoordinator.code());
    assert_eq!(sim.heartbeat(one, &a, 1), 0, "a heartbeat while loading is let pass");
    sim.send(one, 5, syncing(&a, 1));
    assert_eq!(sim.synced(one).unwrap().error_code, E::CoordinatorLoadInProgress.code());
    sim.pass(seconds(5));
    sim.send(one, 5, syncing(&a, 1));
    assert_eq!(sim.synced(one).unwrap().assignment, gives(&a, &[0, 1]).assignment);
    sim.pass(seconds(4));
    assert_eq!(sim.gone(), []);
    sim.pass(seconds(7));
    assert_eq!(sim.gone(), [(a.as_str(), "session")], "sessions began anew when it was loaded");
}

#[test]
fn a_heartbeat_that_is_let_pass_while_loading_costs_nobody_the_session() {
    let mut sim = Sim::new();
    let one = sim.client();
    let a = sim.alone(one);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    sim.pass(seconds(5));
    sim.model.load_groups(sim.now, coordinator, seconds(1));
    assert_eq!(sim.heartbeat(one, &a, 1), 0);
    sim.pass(seconds(10));
    assert_eq!(sim.gone(), [], "the session began anew when the group was loaded");
    sim.pass(seconds(2));
    assert_eq!(sim.gone(), [(a.as_str(), "session")]);
}

#[test]
fn a_dead_coordinators_groups_move_and_nobody_expires_meanwhile() {
    let mut sim = Sim::with(Config { brokers: 2, ..Config::default() });
    let one = sim.client();
    let a = sim.alone(one);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    let fails_over = sim.now + seconds(60);
    let node = sim.model.nodes.all.get_mut(&coordinator).unwrap();
    (node.up, node.fails_over) = (false, Some(fails_over));
    sim.pass(seconds(59));
    assert_eq!(sim.gone(), [], "nobody counts");
    sim.pass(seconds(2));
    let other = sim.client();
    assert_ne!(sim.model.coordinator_of(GROUP), Some(coordinator));
    assert_eq!(sim.heartbeat(other, &a, 1), 0);
    sim.model.forget_group(sim.now, GROUP);
    assert_eq!(sim.heartbeat(other, &a, 1), E::UnknownMemberId.code(), "C8");
}
