//! Members of one group, ours, Java's and librdkafka's, with the same interface.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use offtake_tests::{JavaMember, Offtake, Running, Shared};
use serde_json::{Value, json};

use crate::flow::{self, PATIENCE, at};

pub(crate) type Partition = (String, i32);
pub(crate) type Partitions = BTreeSet<Partition>;

/// A live member of a group; the broker knows it by its name.
pub(crate) struct Member {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Ours(Running),
    Java(JavaMember),
    Kcat(Running),
}

/// The output of a member that has left or died.
pub(crate) struct Gone {
    pub(crate) name: String,
    pub(crate) events: Vec<Value>,
    /// The records that it read, in order.
    pub(crate) records: Vec<(Partition, i64)>,
    /// When it was killed (epoch milliseconds), if it did not leave by itself.
    pub(crate) killed: Option<i64>,
}

impl Member {
    pub(crate) fn ours(group: &str, name: &str, command: Offtake) -> Self {
        Self::ours_within(Duration::from_secs(6), group, name, command)
    }

    /// With this session timeout.
    pub(crate) fn ours_within(session: Duration, group: &str, name: &str, command: Offtake) -> Self {
        let client = format!("client.id={name}");
        let session = format!("session.timeout.ms={}", session.as_millis());
        let quick = ["-X", &session, "-X", "heartbeat.interval.ms=500", "-X", &client];
        let kind = Kind::Ours(command.args(["--group", group, "--json", "--events"]).args(quick).start());
        Self { name: name.to_owned(), kind }
    }

    pub(crate) fn java(of: &Shared, group: &str, name: &str, topics: &[&str], assignors: &[&str]) -> Self {
        let member = JavaMember::of(&of.kafka, group).topics(topics).assignors(assignors);
        Self { name: name.to_owned(), kind: Kind::Java(member.config("client.id", name).start()) }
    }

    /// The same in a JVM of its own, so that it can be killed.
    pub(crate) fn mortal_java(
        of: &Shared,
        group: &str,
        name: &str,
        topics: &[&str],
        assignors: &[&str],
    ) -> Self {
        let member = JavaMember::alone(&of.kafka, group).topics(topics).assignors(assignors);
        Self { name: name.to_owned(), kind: Kind::Java(member.config("client.id", name).start()) }
    }

    /// librdkafka's, in kcat, which writes each record before it takes the next.
    pub(crate) fn kcat(of: &Shared, group: &str, name: &str, topics: &[&str], assignor: &str) -> Self {
        let settings = [
            ("client.id", name),
            ("partition.assignment.strategy", assignor),
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
            ("auto.commit.interval.ms", "1000"),
        ];
        let settings = settings.iter().flat_map(|(key, value)| ["-X".to_owned(), format!("{key}={value}")]);
        let command =
            Offtake::new(["-b", &of.kafka.bootstrap(), "-u", "-f", "%t %p %o .\\n"]).instead("kcat");
        let kind = Kind::Kcat(command.args(settings).args(["-G", group]).args(topics).start());
        Self { name: name.to_owned(), kind }
    }

    /// In the consumer protocol (KIP-848), where the broker assigns.
    pub(crate) fn ours_modern(group: &str, name: &str, command: Offtake) -> Self {
        let client = format!("client.id={name}");
        let command =
            command.args(["--protocol", "consumer", "--group", group, "--json", "--events", "-X", &client]);
        Self { name: name.to_owned(), kind: Kind::Ours(command.start()) }
    }

    /// The same with Java's client.
    pub(crate) fn java_modern(of: &Shared, group: &str, name: &str, topics: &[&str]) -> Self {
        let member = JavaMember::of(&of.kafka, group).topics(topics).config("group.protocol", "consumer");
        Self { name: name.to_owned(), kind: Kind::Java(member.config("client.id", name).start()) }
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        match &self.kind {
            Kind::Ours(running) => flow::events(running),
            Kind::Java(member) => member.events().all(),
            Kind::Kcat(running) => told_by_kcat(&running.stderr().all()),
        }
    }

    /// The partitions that it holds, by its own account.
    pub(crate) fn owned(&self) -> Partitions {
        let events = self.events();
        let last = events.iter().rev().find(|event| event["owned"].is_array());
        last.map(|event| partitions(&event["owned"])).unwrap_or_default()
    }

    /// The records that it has read so far.
    pub(crate) fn records(&self) -> Vec<(Partition, i64)> {
        match &self.kind {
            Kind::Ours(running) => read(&running.stdout().all()),
            Kind::Java(member) => read_by_java(&member.events().all()),
            Kind::Kcat(running) => read_by_kcat(&running.stdout().all()),
        }
    }

    /// Leaves in order, after its last output.
    pub(crate) fn leave(self) -> Gone {
        match self.kind {
            Kind::Ours(running) => {
                running.signal("TERM");
                let finished = running.finish(PATIENCE);
                assert_eq!(finished.code, Some(0), "{}: {:#?}", self.name, finished.stderr);
                let parse = |line: &String| serde_json::from_str(line).ok();
                let events = finished.stderr.iter().filter_map(parse).collect();
                Gone { name: self.name, events, records: read(&finished.stdout), killed: None }
            }
            Kind::Java(member) => {
                let events = member.events().clone();
                member.stop();
                let events = events.all();
                Gone { name: self.name, records: read_by_java(&events), events, killed: None }
            }
            Kind::Kcat(running) => {
                running.signal("TERM");
                let finished = running.finish(PATIENCE);
                assert_eq!(finished.code, Some(0), "{}: {:#?}", self.name, finished.stderr);
                let events = told_by_kcat(&finished.stderr);
                Gone { name: self.name, events, records: read_by_kcat(&finished.stdout), killed: None }
            }
        }
    }

    /// `kill -9`; of Java's members only for one that is [`mortal`](Self::mortal_java).
    pub(crate) fn kill(self) -> Gone {
        let killed =
            |name: String, events, records| Gone { name, events, records, killed: Some(flow::now()) };
        match self.kind {
            Kind::Ours(running) => {
                running.signal("KILL");
                let finished = running.finish(PATIENCE);
                let parse = |line: &String| serde_json::from_str(line).ok();
                let events = finished.stderr.iter().filter_map(parse).collect();
                killed(self.name, events, read(&finished.stdout))
            }
            Kind::Java(member) => {
                member.kill9();
                member.events().wait_until(PATIENCE, |_| false); // until all its output is read
                let events = member.events().all();
                let records = read_by_java(&events);
                killed(self.name, events, records)
            }
            Kind::Kcat(running) => {
                running.signal("KILL");
                let finished = running.finish(PATIENCE);
                killed(self.name, told_by_kcat(&finished.stderr), read_by_kcat(&finished.stdout))
            }
        }
    }
}

/// `% Group NAME rebalanced (memberid ID): assigned: orders [0], orders [1]`, and in cooperation `% Group NAME
/// rebalanced: incremental revoke of 1 partition(s) (memberid ID): orders [3]`. It prints no time.
fn told_by_kcat(lines: &[String]) -> Vec<Value> {
    let mut owned = Partitions::new();
    let change = |line: &String| {
        let (event, list) = line.split_once(" rebalanced")?.1.rsplit_once(": ")?;
        let each = |named: &str| {
            let (topic, index) = named.strip_suffix(']')?.rsplit_once(" [")?;
            Some((topic.to_owned(), index.parse().ok()?))
        };
        let partitions: Partitions = list.split(", ").filter_map(each).collect();
        let revoked = event.contains("revo");
        if revoked {
            owned = owned.difference(&partitions).cloned().collect();
        } else {
            owned.extend(partitions.iter().cloned());
        }
        let event = if revoked { "revoked" } else { "assigned" };
        Some(json!({ "event": event, "partitions": partitions, "owned": owned }))
    };
    lines.iter().filter_map(change).collect()
}

fn read_by_kcat(lines: &[String]) -> Vec<(Partition, i64)> {
    let parse = |line: &String| {
        let mut words = line.strip_suffix(" .")?.split(' '); // otherwise it was killed in the middle of the line
        let topic = words.next()?.to_owned();
        Some(((topic, words.next()?.parse().ok()?), words.next()?.parse().ok()?))
    };
    lines.iter().filter_map(parse).collect()
}

fn partition(of: &Value) -> Partition {
    let index = of[1].as_i64().and_then(|index| i32::try_from(index).ok()).expect("a partition");
    (of[0].as_str().expect("a topic").to_owned(), index)
}

fn partitions(of: &Value) -> Partitions {
    of.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(partition).collect()
}

fn read(lines: &[String]) -> Vec<(Partition, i64)> {
    let parse = |line: &String| {
        let value: Value = serde_json::from_str(line).ok()?;
        let place = json!([value["topic"], value["partition"]]);
        Some((partition(&place), value["offset"].as_i64()?))
    };
    lines.iter().filter_map(parse).collect()
}

fn read_by_java(events: &[Value]) -> Vec<(Partition, i64)> {
    let told = events.iter().filter(|event| event["event"] == "records");
    let records = told.flat_map(|event| event["records"].as_array().cloned().unwrap_or_default());
    records.filter_map(|record| Some((partition(&record), record[2].as_i64()?))).collect()
}

/// The settled group: by name, each member's id and partitions, on which the broker and the members agree.
pub(crate) type Rest = BTreeMap<String, (String, Partitions)>;

/// Waits until these members, and no others, own all partitions of these topics. Fails the test if that does not happen.
pub(crate) fn wait_at_rest(of: &Shared, group: &str, members: &[&Member], topics: &[(&str, i32)]) -> Rest {
    let all: Partitions = topics
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(|index| ((*topic).to_owned(), index)))
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The group does not exist before its first member has joined.
        let group = of
            .tool
            .call("describe_group", json!({ "group": group }))
            .map_or_else(Value::from, |(_, told)| told);
        let rest: Rest = group["members"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|member| {
                let text = |field: &str| member[field].as_str().unwrap_or_default().to_owned();
                (text("client_id"), (text("member_id"), partitions(&member["partitions"])))
            })
            .collect();
        let held: usize = rest.values().map(|(_, held)| held.len()).sum();
        let union: Partitions = rest.values().flat_map(|(_, held)| held.clone()).collect();
        let agree =
            |member: &&Member| rest.get(&member.name).is_some_and(|(_, held)| *held == member.owned());
        let stable = group["state"].as_str().is_some_and(|state| state.eq_ignore_ascii_case("stable"));
        if stable
            && rest.len() == members.len()
            && members.iter().all(agree)
            && union == all
            && held == all.len()
        {
            return rest;
        }
        if Instant::now() > deadline {
            let accounts: Vec<_> = members.iter().map(|member| (&member.name, member.owned())).collect();
            let events: Vec<_> = members.iter().map(|member| (&member.name, member.events())).collect();
            panic!("after {PATIENCE:?} the broker says {group}; the members {accounts:?}; {events:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The assignment of Java's assignor for a group of these members with these partitions, after as many rounds as it
/// takes. `newest` is the generation of those partitions.
pub(crate) fn as_java_would(
    of: &Shared,
    assignor: &str,
    topics: &[(&str, i32)],
    mut held: BTreeMap<String, Partitions>,
    mut newest: i64,
) -> BTreeMap<String, Partitions> {
    let names: Vec<&str> = topics.iter().map(|(topic, _)| *topic).collect();
    for _ in 0..5 {
        let members: Vec<Value> = held
            .iter()
            .map(|(id, owned)| {
                let generation = if owned.is_empty() { json!(null) } else { json!(newest) };
                json!({ "member": id, "topics": names, "owned": owned, "generation": generation })
            })
            .collect();
        let made = of.tool.assign(assignor, topics, json!(members));
        let made: BTreeMap<String, Partitions> =
            held.keys().map(|id| (id.clone(), partitions(&made[id]))).collect();
        let settled = assignor == "range" || held.iter().all(|(id, owned)| owned.is_subset(&made[id]));
        held = made;
        newest += 1;
        if settled {
            return held;
        }
    }
    panic!("Java's {assignor} does not settle: {held:?}")
}

/// Asserts by the members' own accounts that no partition was held by two at once; kcat's accounts have no times.
pub(crate) fn assert_one_owner(gone: &[Gone]) {
    let mut changes: Vec<(i64, bool, Partition, &str)> = Vec::new();
    for member in gone.iter().filter(|member| !member.is_kcat()) {
        if let Some(killed) = member.killed {
            let last = member.events.iter().rev().find(|event| event["owned"].is_array());
            let held = last.map(|event| partitions(&event["owned"])).unwrap_or_default();
            changes
                .extend(held.into_iter().map(|partition| (killed, false, partition, member.name.as_str())));
        }
        for event in &member.events {
            let takes = match event["event"].as_str() {
                Some("assigned") => true,
                Some("revoked" | "lost") => false,
                _ => continue,
            };
            let each = partitions(&event["partitions"]).into_iter();
            changes.extend(each.map(|partition| (at(event), takes, partition, member.name.as_str())));
        }
    }
    changes.sort(); // within a millisecond, revocations come first
    let mut owner: BTreeMap<Partition, &str> = BTreeMap::new();
    for (at, takes, partition, name) in changes {
        if takes {
            let before = owner.insert(partition.clone(), name);
            assert_eq!(before, None, "{name} was given {partition:?} at {at} while another held it");
        } else {
            assert_eq!(owner.remove(&partition), Some(name), "{name} gave up {partition:?} at {at}");
        }
    }
    assert!(owner.is_empty(), "all have left, and yet {owner:?}");
}

impl Gone {
    fn is_kcat(&self) -> bool {
        self.name.starts_with("kcat")
    }

    /// Whether a record that it read may be read again: it was killed, or it is one of Java's that reports a refused
    /// commit before it reports that this record was committed. (kcat reports no commits.)
    fn leaves_repeat(&self, of: &Partition, offset: i64) -> bool {
        let refused = || self.events.iter().any(|event| event["event"] == "error");
        let excused = self.killed.is_some() || (self.name.starts_with("java") && refused());
        excused && (self.is_kcat() || self.committed(of).is_none_or(|committed| offset >= committed))
    }

    /// The highest offset of a partition that it reported as committed.
    fn committed(&self, of: &Partition) -> Option<i64> {
        let told = self.events.iter().filter(|event| event["event"] == "committed");
        let offsets = told.flat_map(|event| event["offsets"].as_array().into_iter().flatten());
        let of_it = offsets.filter(|each| each[0] == of.0.as_str() && each[1] == of.1);
        of_it.filter_map(|each| each[2].as_i64()).max()
    }
}

/// Asserts that each of these was read once, except for repeats after [dead members](Gone::leaves_repeat), and nothing
/// else; each member read each partition in order.
pub(crate) fn assert_read_once(gone: &[Gone], produced: &BTreeSet<(Partition, i64)>) {
    let mut times: BTreeMap<(Partition, i64), Vec<&str>> = BTreeMap::new();
    for member in gone {
        let mut last: BTreeMap<&Partition, i64> = BTreeMap::new();
        for (partition, offset) in &member.records {
            let before = last.insert(partition, *offset);
            assert!(before.is_none_or(|before| before < *offset), "{}: {partition:?} {offset}", member.name);
            times.entry((partition.clone(), *offset)).or_default().push(&member.name);
        }
    }
    let missing: Vec<_> = produced.iter().filter(|each| !times.contains_key(each)).collect();
    assert!(missing.is_empty(), "{} records were not read: {missing:?}", missing.len());
    let excuse = |name: &str, (of, offset): &(Partition, i64)| {
        gone.iter().any(|gone| gone.name == name && gone.leaves_repeat(of, *offset))
    };
    let allowed =
        |each: &(Partition, i64), by: &[&str]| 1 + by.iter().filter(|name| excuse(name, each)).count();
    let repeats = times.values().filter(|by| by.len() > 1).count();
    eprintln!("{} records, {repeats} of them read more than once", times.len());
    let odd: Vec<_> =
        times.iter().filter(|(each, by)| by.len() > allowed(each, by) || !produced.contains(each)).collect();
    assert!(odd.is_empty(), "{} records were read twice, or are none: {odd:?}", odd.len());
}

/// Waits until each of these was read, by the members or by those that have left. ([`assert_read_once`] checks how often.)
pub(crate) fn wait_all_read(members: &[&Member], gone: &[Gone], produced: &BTreeSet<(Partition, i64)>) {
    let already: BTreeSet<_> = gone.iter().flat_map(|gone| gone.records.iter().cloned()).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read: BTreeSet<_> = members.iter().flat_map(|member| member.records()).collect();
        let left: Vec<_> =
            produced.iter().filter(|each| !read.contains(each) && !already.contains(each)).collect();
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            let held: Vec<_> = members.iter().map(|member| (&member.name, member.owned())).collect();
            panic!(
                "after {PATIENCE:?} {} of {} are not read: {left:?}; {held:#?}",
                left.len(),
                produced.len()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the members have read this many records in all, beyond those of the ones that left.
pub(crate) fn wait_read(members: &[&Member], gone: &[Gone], count: usize) {
    let already: usize = gone.iter().map(|gone| gone.records.len()).sum();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read: Vec<usize> = members.iter().map(|member| member.records().len()).collect();
        if read.iter().sum::<usize>() + already >= count {
            return;
        }
        if Instant::now() > deadline {
            let events: Vec<_> = members.iter().map(|member| (&member.name, member.owned())).collect();
            panic!("after {PATIENCE:?} {read:?} and {already} of {count} records are read; {events:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
