//! The command's options against Java's results: start and end, formats, and the output for topics, offsets and groups.

use std::collections::BTreeSet;
use std::time::Duration;

use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use offtake_tests::{JavaMember, Offtake, RecordSpec, Shared, V2_8_2, V4_3_0, Version, shared, unique};
use serde_json::{Value, json};

use crate::library::program;
use crate::records::by_partition;
use crate::specimens::THEN;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two partitions of 20 records; their timestamps rise and fall.
fn twenty_each(at: &Shared) -> String {
    let topic = at.tool.create_topic(&unique("forms"), 2, &[]);
    let spec = |nth: i64| {
        let time = THEN + [0, 3000, 1000, 4000][(nth % 4) as usize] + nth / 4 * 5000;
        let each = RecordSpec::to(&topic).key(format!("k{nth}")).value(format!("v{nth}")).timestamp(time);
        [each.clone().partition(0), each.partition(1)]
    };
    at.tool.produce_with(&(0..20).flat_map(spec).collect::<Vec<_>>(), json!({ "flush_every": 14 }));
    topic
}

fn offtake(at: &Shared, args: &str) -> Offtake {
    Offtake::new(args.split_whitespace()).brokers(&at.kafka)
}

fn offsets(records: Vec<Value>) -> [Vec<i64>; 2] {
    let all = by_partition(records);
    [0, 1].map(|partition| {
        let of = all.iter().find(|(name, _)| name.1 == partition).map(|(_, records)| records.as_slice());
        of.unwrap_or_default().iter().filter_map(|record| record["offset"].as_i64()).collect()
    })
}

#[test]
fn every_form_of_from_and_until_finds_what_java_finds() {
    for version in [V2_8_2, V4_3_0] {
        let at = shared(version);
        let topic = twenty_each(at);
        let of_time =
            |millis: i64| at.tool.list_offsets(&topic, &(THEN + millis).to_string(), "read_uncommitted")[0];
        let all: [(&str, i64, i64); 9] = [
            ("--from earliest --until latest", 0, 20),
            ("--until latest", 0, 20),
            ("--from 5 --until 8", 5, 8),
            ("--from -3 --until latest", 17, 20),
            ("--from -100 --until -15", 0, 5),
            ("--from latest --until latest", 20, 20),
            ("--from 1000 --until latest", 20, 20),
            ("--from @1700000006500 --until @1700000014000", of_time(6500), of_time(14_000)),
            ("--from @2023-11-14T22:13:29Z --until @1800000000000", of_time(9000), 20),
        ];
        for (form, from, until) in all {
            let read = offtake(at, &format!("consume {topic} --json {form}")).run().json();
            let expected: Vec<i64> = (from..until).collect();
            assert_eq!(offsets(read), [expected.clone(), expected], "{version:?}: {form}");
        }
        assert!(of_time(6500) > 4 && of_time(14_000) < 20 && of_time(6500) < of_time(14_000));
        let one = offtake(at, &format!("consume {topic} --json -p 1 --from 18 --until latest")).run().json();
        assert_eq!(offsets(one), [vec![], vec![18, 19]]);
        let seven = offsets(offtake(at, &format!("consume {topic} --json -n 7")).run().json());
        assert_eq!(seven.iter().map(Vec::len).sum::<usize>(), 7);
        assert!(seven.iter().flat_map(|of| of.iter().zip(0..)).all(|(offset, nth)| *offset == nth));
    }
}

#[test]
fn a_pattern_reads_all_topics_that_match_and_no_other() {
    let at = shared(V4_3_0);
    let name = unique("pattern");
    let topics = ["a", "b", "ab"].map(|end| at.tool.create_topic(&format!("{name}-{end}"), 1, &[]));
    for topic in &topics {
        at.tool.produce(&[RecordSpec::to(topic).partition(0).value(topic)]);
    }
    for group in ["", "-g pattern-group"] {
        let command = format!("consume --regex {name}-[ab] --json --from earliest --until latest {group}");
        let read = offtake(at, &command).run().json();
        let values: BTreeSet<_> = read.iter().map(|record| record["value"].as_str().unwrap_or("")).collect();
        assert_eq!(values, topics[..2].iter().map(String::as_str).collect(), "{command}");
        assert_eq!(read.len(), 2);
    }
}

#[test]
fn a_group_goes_on_after_what_was_printed() {
    let at = shared(V4_3_0);
    let (topic, group) = (twenty_each(at), unique("group"));
    let consume = |more: &str| {
        let command = format!("consume {topic} -g {group} --json {more}");
        offsets(offtake(at, &command).run().json())
    };
    // The start matters only where nothing is committed.
    let first = consume("--from -4 -n 3");
    let printed = first.iter().map(Vec::len).sum::<usize>();
    assert!(printed == 3 && first.iter().flatten().all(|offset| *offset >= 16), "{first:?}");
    let committed = at.tool.committed(&group);
    for (partition, offsets) in [0, 1].into_iter().zip(&first) {
        let expected = offsets.last().map_or(16, |last| last + 1);
        let at = committed.get(&(topic.clone(), partition)).copied().unwrap_or(16);
        assert_eq!(at, expected, "what was printed is committed, and nothing else");
    }
    let second = consume("--from -4 --until latest");
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.iter().chain(second).copied().collect::<Vec<_>>(), [16, 17, 18, 19]);
    }
    assert!(consume("--from earliest --until latest").iter().all(Vec::is_empty));
    at.tool.alter_offsets(&group, &[(&topic, 0, 3), (&topic, 1, 19)]);
    assert_eq!(consume("--until latest"), [(3..20).collect(), vec![19]], "Java's commit is honoured");
}

#[test]
fn formats_are_written_as_kcat_writes_them() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("formats"), 1, &[]);
    let full = RecordSpec::to(&topic).partition(0).timestamp(THEN).key("key").value("välue").header("h", "1");
    let null = RecordSpec::to(&topic).partition(0).timestamp(THEN + 1);
    at.tool.produce(&[full.header("h", "2").null_header("n"), null]);
    let printed = |format: &str| {
        let read =
            Offtake::new(["consume", &topic, "--until", "latest", "-f", format]).brokers(&at.kafka).run();
        assert_eq!(read.code, Some(0), "{:?}", read.stderr);
        read.stdout
    };
    assert_eq!(
        printed("%t[%p] at %o %T: %k=%s (%K,%S) {%h}%%\\n"),
        [
            format!("{topic}[0] at 0 {THEN}: key=välue (3,6) {{h=1,h=2,n=NULL}}%"),
            format!("{topic}[0] at 1 {}: = (-1,-1) {{}}%", THEN + 1),
        ]
    );
    assert_eq!(printed("%o\\t%k\\0"), ["0\tkey\u{0}1\t\u{0}"]);
    let values = offtake(at, &format!("consume {topic} --until latest")).run().stdout;
    assert_eq!(values, ["välue", ""], "a value a line unless said");
}

#[test]
fn topics_are_listed_described_created_and_deleted_as_java_sees_them() {
    for version in Version::ALL {
        let at = shared(version);
        let topic = unique("administered");
        let create = format!(
            "topics create {topic} --partitions 3 --replication-factor 1 --set retention.ms=123456789"
        );
        let created = offtake(at, &create).run();
        assert_eq!(created.code, Some(0), "{version:?}: {:?}", created.stderr);
        let java = at.tool.describe_topic(&topic);
        let described = offtake(at, &format!("topics describe {topic} --json")).run().json();
        let fields = ["partition", "leader", "replicas", "isr"];
        let ours: Vec<_> = described.iter().map(|each| fields.map(|field| each[field].clone())).collect();
        let javas = java["partitions"].as_array().cloned().unwrap_or_default();
        assert_eq!(
            ours,
            javas.iter().map(|each| fields.map(|field| each[field].clone())).collect::<Vec<_>>()
        );
        assert_eq!(ours.len(), 3);
        // Topics have ids since 2.8 with KRaft, 3.0 without.
        if java["topic_id"] != "AAAAAAAAAAAAAAAAAAAAAA" {
            assert!(described.iter().all(|each| each["id"] == java["topic_id"]), "{described:?}");
        }
        let again = offtake(at, &create).run();
        assert_eq!(again.code, Some(1), "it is there already");
        assert!(again.last_line().contains(&topic), "{}", again.last_line());
        let listed = |name: &str| {
            let all = offtake(at, "topics list --json").run().json();
            all.into_iter().find(|each| each["topic"] == name)
        };
        assert_eq!(listed(&topic).map(|each| each["partitions"].clone()), Some(json!(3)));
        assert_eq!(offtake(at, &format!("topics delete {topic}")).run().code, Some(0));
        assert!(
            at.tool.call("describe_topic", json!({ "topic": topic })).is_err(),
            "{version:?}: it is gone"
        );
        assert_eq!(listed(&topic), None);
        let gone = offtake(at, &format!("topics describe {topic} -X default.api.timeout.ms=1000")).run();
        assert!(gone.code == Some(1) && gone.last_line().contains(&topic), "{gone:?}");
    }
}

#[test]
fn offsets_are_those_that_java_lists() {
    for version in Version::ALL {
        let at = shared(version);
        let topic = twenty_each(at);
        let open = unique("open");
        at.tool.begin(&open);
        at.tool.produce_within(&open, &[RecordSpec::to(&topic).partition(1).timestamp(THEN).value("open")]);
        at.tool.delete_records(&topic, 0, 7);
        for time in [THEN, THEN + 6500, THEN + 1_000_000] {
            let rows = offtake(at, &format!("offsets {topic} --json --at {time}")).run().json();
            let column = |field: &str| -> Vec<Value> { rows.iter().map(|row| row[field].clone()).collect() };
            let javas = |place: &str, isolation: &str| -> Vec<Value> {
                let offset = |offset| if offset < 0 { Value::Null } else { json!(offset) };
                at.tool.list_offsets(&topic, place, isolation).into_iter().map(offset).collect()
            };
            assert_eq!(column("partition"), [json!(0), json!(1)]);
            assert_eq!(column("earliest"), javas("earliest", "read_uncommitted"));
            assert_eq!(column("latest"), javas("latest", "read_uncommitted"));
            assert_eq!(column("stable"), javas("latest", "read_committed"));
            assert_eq!(column("at"), javas(&time.to_string(), "read_uncommitted"), "{version:?} at {time}");
        }
        at.tool.abort(&open);
    }
}

/// `groups describe` and `groups list` print the same about a group with this many members as Java's admin client.
pub(crate) fn described_as_java_does(at: &Shared, group: &str, members: usize) {
    let mut described = offtake(at, &format!("groups describe {group} --json")).run().json();
    let mut javas = at.tool.describe_group(group);
    let id = |member: &Value| member["member_id"].as_str().unwrap_or_default().to_owned();
    for each in described.iter_mut().chain([&mut javas]) {
        each["state"] = json!(each["state"].as_str().map(str::to_uppercase));
        each["type"] = json!(each["type"].as_str().map(str::to_uppercase));
        each["assignor"] = json!(each["assignor"].as_str().unwrap_or_default());
        each.as_object_mut().expect("an object").remove("offsets"); // compared with Kafka's command elsewhere
        each["members"].as_array_mut().expect("members").sort_by_key(id);
    }
    assert_eq!(described, [javas.clone()]);
    assert_eq!(javas["members"].as_array().map(Vec::len), Some(members));
    let listed = offtake(at, "groups list --json").run().json();
    let listed = listed.into_iter().find(|each| each["group"] == *group).expect("it is listed");
    for field in ["state", "type"] {
        let ours = listed[field].as_str().unwrap_or_default().to_uppercase();
        assert_eq!(json!(ours), javas[field], "{field}");
    }
    assert_eq!(listed["coordinator"], javas["coordinator"]);
}

#[test]
fn groups_are_listed_and_described_as_java_sees_them() {
    for version in Version::ALL {
        let at = shared(version);
        let (topic, group) = (at.tool.create_topic(&unique("orders"), 3, &[]), unique("group"));
        let java = JavaMember::of(&at.kafka, &group).topics(&[&topic]).instance("static");
        let java = java.session(Duration::from_secs(60)).start();
        java.wait_owned(PATIENCE, |owned| owned.len() == 3);
        let command = format!("consume {topic} -g {group} --assignor range --events");
        let ours = offtake(at, &command).start();
        ours.wait_event("assigned", PATIENCE, |_| true);
        java.wait_owned(PATIENCE, |owned| owned.len() < 3);
        described_as_java_does(at, &group, 2);
        ours.signal("TERM");
        assert_eq!(ours.finish(PATIENCE).code, Some(0));
        java.stop(); // a static member stays until its session ends
        described_as_java_does(at, &group, 1);
        let nosuch = offtake(at, "groups describe nosuch-group --json").run();
        assert!(nosuch.code == Some(1) && nosuch.last_line().contains("nosuch-group"), "{nosuch:?}");
    }
}

/// As with Kafka's own command its offsets can be set, since the group may not have been started yet; but its name may
/// also be misspelt.
#[test]
fn a_group_that_does_not_exist_is_said_to_be_none() {
    for version in [V2_8_2, V4_3_0] {
        let at = shared(version);
        let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
        let group = unique("group");
        let none = format!("there is no group `{group}`");
        let reset = format!("groups reset {group} --topic {topic} --to-latest");
        let doctor = |group: &str| {
            let steps = offtake(at, &format!("doctor --json --group {group}")).run().json();
            let step = steps.into_iter().find(|step| step["step"] == "group").unwrap();
            assert_eq!(step["ok"], true, "{step}");
            step["detail"].as_str().unwrap().contains("there is no such group yet")
        };
        let says = |args: &str| {
            let ended = offtake(at, args).run();
            assert_eq!((ended.code, ended.stdout.len()), (Some(0), 2), "{ended:?}");
            ended.stderr.iter().any(|line| line.contains(&none))
        };
        assert!(doctor(&group) && says(&reset) && says(&format!("{reset} --execute")), "{version:?}");
        assert!(!says(&reset) && !doctor(&group), "{version:?}: there it is");
    }
}

/// Whether this process ignores SIGHUP, and so do the processes that it starts.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

/// `timeout` signals its child and then the whole process group; a closed terminal sends SIGHUP.
#[test]
fn signals_that_come_together_are_one_wish_and_the_group_is_left() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
    at.tool.fill(&topic, 1, 10, 20, json!({}));
    // Under `nohup` the command ignores SIGHUP, as it should.
    let wishes = [["TERM", "INT"], ["HUP", "HUP"]];
    for signals in wishes.into_iter().filter(|signals| signals[0] != "HUP" || !ignores_hangups()) {
        let group = unique("group");
        let consume = format!("consume {topic} -g {group} --from earliest --events");
        let reading = offtake(at, &consume).start();
        reading.stdout().wait_until(PATIENCE, |lines| lines.len() == 10);
        for signal in signals {
            reading.signal(signal);
        }
        assert_eq!(reading.finish(PATIENCE).code, Some(0), "{signals:?}");
        let left = offtake(at, &format!("groups describe {group} --json")).run();
        assert_eq!(left.json()[0]["state"], "Empty", "{signals:?}: {left:?}");
        let plan = offtake(at, &format!("groups reset {group} --all-topics --shift-by 0 --json")).run();
        assert_eq!(plan.json()[0]["from"], 10, "{signals:?}: what was printed is committed: {plan:?}");
    }
}

/// Whether the logs have that offset is unknown, as a request about them is not answered. The command ends like one
/// that reads: the committed offset is at most the requested start, and never the policy's, which is known by then.
#[test]
fn an_interrupt_while_it_is_asked_where_to_begin_ends_it_well_and_moves_no_start() {
    program(async {
        // The command asks for the log starts, and then for the ends; the consumer may ask for the starts, too.
        for (protocol, signal, answered) in
            [("classic", "INT", 1), ("consumer", "TERM", 1), ("classic", "HUP", 0)]
        {
            let cluster = Cluster::builder().brokers(1).topic("orders", 2).start().await.unwrap();
            for partition in [0, 1] {
                for _ in 0..10 {
                    cluster.produce("orders", partition, None, Some(b"v")).unwrap();
                }
            }
            let swallow = |nth| cluster.inject(FaultRule::on(ApiKey::ListOffsets, Fault::Swallow).nth(nth));
            let silent: Vec<_> = (answered + 1..100).map(swallow).collect();
            let brokers = cluster.bootstrap();
            let offtake = move |args: &str| {
                let args = args.split_whitespace();
                Offtake::new(args).args(["--brokers", &brokers]).patience(PATIENCE)
            };
            let consume = format!(
                "consume orders -g audit --from 5 --protocol {protocol} --events -X default.api.timeout.ms=5000"
            );
            let mut reading = offtake(&consume).start();
            let asked = async {
                while cluster.hits(silent[0]) == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, asked).await.expect("it asks");
            assert!(reading.is_running());
            reading.signal(if signal == "HUP" && ignores_hangups() { "INT" } else { signal });
            let ended = tokio::task::spawn_blocking(move || reading.finish(PATIENCE)).await.unwrap();
            assert_eq!((ended.code, ended.stdout.len()), (Some(0), 0), "{protocol}: {ended:?}");
            for rule in silent {
                cluster.withdraw(rule);
            }
            let (described, again) = tokio::task::spawn_blocking(move || {
                let described = offtake("groups describe audit --json").run();
                (described, offtake("consume orders -g audit --from 5 --until latest --json").run())
            })
            .await
            .unwrap();
            let left = described.code == Some(1) || described.json()[0]["members"] == json!([]);
            assert!(left, "{described:?}");
            for row in &described.stdout {
                let group: Value = serde_json::from_str(row).unwrap();
                let offsets = group["offsets"].as_array().unwrap();
                assert!(offsets.iter().all(|of| of["committed"] == 5), "{protocol}: {group}");
            }
            // The next one begins at its own start.
            assert_eq!(offsets(again.json()), [(5..10).collect::<Vec<i64>>(), (5..10).collect()]);
        }
    });
}

/// A reader that does not move the group.
#[test]
fn nothing_is_committed_where_that_is_turned_off() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
    at.tool.fill(&topic, 1, 10, 20, json!({}));
    let group = unique("group");
    let consume =
        format!("consume {topic} -g {group} --from earliest -n 5 --events -X enable.auto.commit=false");
    let read = offtake(at, &consume).run();
    assert_eq!((read.code, read.stdout.len()), (Some(0), 5), "{read:?}");
    assert!(read.events("committed").is_empty(), "{read:?}");
    let plan = offtake(at, &format!("groups reset {group} --all-topics --shift-by 0 --json")).run();
    assert!(plan.stdout.is_empty(), "{plan:?}");
}
