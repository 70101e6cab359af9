//! Static members (`group.instance.id`) that die or stop, and return before the others notice.

use std::time::{Duration, Instant};

use offtake_tests::{Offtake, Shared, V4_3_0, shared, unique};
use serde_json::Value;

use crate::company::{Gone, Member, assert_read_once, wait_all_read, wait_at_rest};
use crate::flow::{PATIENCE, Production};

const PARTITIONS: i32 = 6;
/// Who comes back does so within it, on a busy machine too.
const SESSION: Duration = Duration::from_secs(30);

struct Group {
    of: &'static Shared,
    name: String,
    topic: String,
}

impl Group {
    fn new() -> Self {
        let of = shared(V4_3_0);
        Self { of, name: unique("group"), topic: of.tool.create_topic(&unique("statics"), PARTITIONS, &[]) }
    }

    fn consume(&self, instance: &str) -> Offtake {
        let args = ["consume", &self.topic, "--from", "earliest", "--instance-id", instance];
        Offtake::new(args).brokers(&self.of.kafka)
    }

    fn rests(&self, members: &[&Member]) {
        wait_at_rest(self.of, &self.name, members, &[(&self.topic, PARTITIONS)]);
    }

    /// The same, when each has also reported the last generation: one that gets nothing new may do so after the others have settled.
    fn rests_in_one_generation(&self, members: &[&Member]) {
        self.rests(members);
        let last = |member: &&Member| rebalances(member).last().map(|event| event["generation"].clone());
        let deadline = Instant::now() + PATIENCE;
        while !members.windows(2).all(|pair| last(&pair[0]) == last(&pair[1])) {
            assert!(
                Instant::now() < deadline,
                "generations: {:?}",
                members.iter().map(last).collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Production ends, all is read, and only the records that dead members had not committed were read again.
    fn end(&self, production: Production, members: Vec<Member>, mut gone: Vec<Gone>) {
        let log = production.stop();
        let produced = log.into_keys().map(|(index, offset)| ((self.topic.clone(), index), offset)).collect();
        wait_all_read(&members.iter().collect::<Vec<_>>(), &gone, &produced);
        gone.extend(members.into_iter().map(Member::leave));
        assert_read_once(&gone, &produced);
    }
}

/// A member's assignments and revocations so far.
fn rebalances(of: &Member) -> Vec<Value> {
    of.events().into_iter().filter(|event| event["owned"].is_array()).collect()
}

/// Each dies in turn, the leader first, and is restarted.
fn killed_and_restarted(assignor: &str) {
    let group = Group::new();
    let production = Production::start(&group.of.tool, &group.topic, PARTITIONS);
    let ours = |name: &str| {
        let command = group.consume(name).args(["--assignor", assignor]);
        Member::ours_within(SESSION, &group.name, name, command)
    };
    let names = [unique("ours"), unique("ours")];
    let mut members = Vec::new();
    for name in &names {
        members.push(ours(name));
        group.rests_in_one_generation(&members.iter().collect::<Vec<_>>());
    }
    members.push(Member::java(group.of, &group.name, &unique("java"), &[&group.topic], &[assignor]));
    group.rests_in_one_generation(&members.iter().collect::<Vec<_>>());
    let mut gone = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let victim = members.remove(index);
        let held = victim.owned();
        let others: Vec<_> = members.iter().map(rebalances).collect();
        gone.push(victim.kill());
        let back = ours(name);
        group.rests_in_one_generation(&members.iter().chain([&back]).collect::<Vec<_>>());
        assert_eq!(back.owned(), held, "{assignor}: the same partitions");
        let now: Vec<_> = members.iter().map(rebalances).collect();
        assert_eq!(now, others, "{assignor}: nobody else was asked for anything");
        members.insert(index, back);
    }
    group.end(production, members, gone);
}

#[test]
fn g2_a_static_member_that_is_killed_and_comes_back_has_its_partitions_and_nobody_else_notices() {
    killed_and_restarted("range");
    killed_and_restarted("cooperative-sticky");
}

#[test]
fn g2_a_static_member_that_stops_and_comes_back_has_its_partitions_by_the_consumer_protocol() {
    let group = Group::new();
    let production = Production::start(&group.of.tool, &group.topic, PARTITIONS);
    let ours = |name: &str| Member::ours_modern(&group.name, name, group.consume(name));
    let (name, other) = (unique("ours"), unique("ours"));
    let (stops, stays) = (ours(&name), ours(&other));
    let java = Member::java_modern(group.of, &group.name, &unique("java"), &[&group.topic]);
    group.rests(&[&stops, &stays, &java]);
    let held = stops.owned();
    let before = [rebalances(&stays), rebalances(&java)];
    let gone = vec![stops.leave()];
    let back = ours(&name);
    group.rests(&[&back, &stays, &java]);
    assert_eq!(back.owned(), held);
    assert_eq!([rebalances(&stays), rebalances(&java)], before, "nobody else was asked for anything");
    group.end(production, vec![back, stays, java], gone);
}
