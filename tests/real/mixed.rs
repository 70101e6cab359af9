//! Ours, Java's and librdkafka's members in one classic group: each leads it in turn, and each dies as leader, while
//! others join and leave and records keep arriving. And a group that changes its assignors, one member after the other.

use std::collections::BTreeMap;

use offtake_tests::V4_3_0;

use crate::company::{Gone, Member, Rest, as_java_would, wait_all_read};
use crate::groups::{Group, finish};

/// In the settled group every member has its share of the eight partitions; with range the one that Java would give it.
fn assert_fair(group: &Group, assignor: &str, rest: &Rest) {
    let now: BTreeMap<_, _> = rest.values().cloned().collect();
    if assignor == "range" {
        let unheld = now.keys().map(|id| (id.clone(), Default::default())).collect();
        assert_eq!(now, as_java_would(group.of, assignor, &group.topics(), unheld, 0));
    } else {
        let counts: Vec<usize> = now.values().map(|held| held.len()).collect();
        let spread = counts.iter().max().zip(counts.iter().min()).map(|(most, least)| most - least);
        assert!(spread.is_some_and(|spread| spread <= 1), "{rest:?}");
    }
}

/// The member that was alone leads those that joined after it.
fn assert_leads(group: &Group, leader: &Member, rest: &Rest) {
    let leaders = group.leaders();
    assert_eq!(leaders.last(), rest.get(&leader.name).map(|(id, _)| id), "{}: {rest:?}", leader.name);
}

fn each_leads_in_turn(assignor: &'static str) {
    let mut group = Group::new(V4_3_0, assignor);
    let production = group.production();
    let rests = |members: &[&Member]| {
        let rest = group.rests(members);
        assert_fair(&group, assignor, &rest);
        rest
    };
    let mut gone: Vec<Gone> = Vec::new();

    let ours = group.member(true);
    rests(&[&ours]);
    let kcat = group.kcat();
    rests(&[&ours, &kcat]);
    let java = group.member(false);
    assert_leads(&group, &ours, &rests(&[&ours, &kcat, &java]));
    gone.push(ours.kill());
    rests(&[&kcat, &java]);

    gone.push(java.leave());
    rests(&[&kcat]);
    let (ours, java) = (group.member(true), group.mortal_java());
    assert_leads(&group, &kcat, &rests(&[&kcat, &ours, &java]));
    gone.push(kcat.kill());
    rests(&[&ours, &java]);

    gone.push(ours.leave());
    rests(&[&java]);
    let (kcat, ours) = (group.kcat(), group.member(true));
    assert_leads(&group, &java, &rests(&[&java, &kcat, &ours]));
    gone.push(java.kill());
    rests(&[&kcat, &ours]);

    group.produced(production.stop());
    wait_all_read(&[&kcat, &ours], &gone, &group.produced);
    gone.extend([kcat.leave(), ours.leave()]);
    finish(&group, &gone);
}

#[test]
#[ignore = "half a minute of members that die: scripts/test full runs it"]
fn ours_java_and_librdkafka_lead_and_die_in_turn_eagerly() {
    each_leads_in_turn("range");
}

#[test]
#[ignore = "half a minute of members that die: scripts/test full runs it"]
fn ours_java_and_librdkafka_lead_and_die_in_turn_cooperatively() {
    each_leads_in_turn("cooperative-sticky");
}

/// Every member is replaced at each step, one after the other, by one with the next assignors.
fn changes_its_assignors(steps: [&[&str]; 3]) {
    let mut group = Group::new(V4_3_0, "range");
    let production = group.production();
    let [before, steps @ ..] = steps;
    let mut members: Vec<(bool, Member)> = Vec::new();
    for ours in [true, false, true] {
        members.push((ours, group.member_with(ours, before)));
        group.rests(&members.iter().map(|(_, member)| member).collect::<Vec<_>>());
    }
    let mut gone = Vec::new();
    for assignors in steps {
        for _ in 0..members.len() {
            let (ours, member) = members.remove(0);
            gone.push(member.leave());
            members.push((ours, group.member_with(ours, assignors)));
            group.rests(&members.iter().map(|(_, member)| member).collect::<Vec<_>>());
        }
        // All members support it and prefer it.
        let chosen = group.of.tool.describe_group(&group.name)["assignor"].clone();
        assert_eq!(chosen.as_str(), assignors.first().copied());
    }
    group.produced(production.stop());
    let members: Vec<Member> = members.into_iter().map(|(_, member)| member).collect();
    wait_all_read(&members.iter().collect::<Vec<_>>(), &gone, &group.produced);
    gone.extend(members.into_iter().map(Member::leave));
    finish(&group, &gone);
}

#[test]
fn e6_a_group_is_upgraded_from_eager_to_cooperative_one_member_after_the_other() {
    changes_its_assignors([&["range"], &["cooperative-sticky", "range"], &["cooperative-sticky"]]);
}

#[test]
fn e6_a_group_is_taken_back_from_cooperative_to_eager_one_member_after_the_other() {
    changes_its_assignors([&["cooperative-sticky"], &["range", "cooperative-sticky"], &["range"]]);
}
