//! Changes to groups by an operator: our command beside Java's `kafka-consumer-groups`, on real Kafka and on the box.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use offtake::{Config, Error, ErrorKind, OffsetAndMetadata};
use offtake_admin::{Admin, ErrorCode, MemberToRemove};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use offtake_tests::{
    Boxed, Finished, JavaMember, JavaTool, Offtake, RecordSpec, V2_8_2, V3_9_1, V4_3_0, Version, shared,
    unique,
};
use serde_json::{Value, json};

use crate::commands::described_as_java_does;
use crate::company::{Member, wait_at_rest};
use crate::library::{at as place, program};
use crate::specimens::THEN;

const PATIENCE: Duration = Duration::from_secs(60);

/// By topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

/// A cluster of any kind.
pub(crate) struct At {
    pub(crate) bootstrap: String,
    pub(crate) tool: JavaTool,
    /// Whether its brokers know the consumer protocol (KIP-848).
    modern: bool,
    /// Whether it is Kafka itself, the newest.
    newest: bool,
}

impl At {
    pub(crate) fn offtake(&self, args: &str) -> Offtake {
        Offtake::new(args.split_whitespace()).args(["--brokers", &self.bootstrap]).patience(PATIENCE)
    }

    /// Whether it is Kafka's newest release, which has KIP-848.
    pub(crate) fn is_newest(&self) -> bool {
        self.newest
    }

    fn java(&self, args: &str) -> Finished {
        let finished = self.tool.consumer_groups(args).patience(PATIENCE).run();
        assert_eq!(finished.code, Some(0), "{args}: {:?} {:?}", finished.stdout, finished.stderr);
        finished
    }

    fn admin(&self) -> Admin {
        admin(&self.bootstrap)
    }

    /// A topic of three partitions: offsets 5 to 20 (earlier ones are deleted), 0 to 20, and one without records. The
    /// records' timestamps rise by a second each.
    pub(crate) fn topic(&self) -> String {
        let topic = self.tool.create_topic(&unique("reset"), 3, &[]);
        let record = |nth: i64| {
            let record = RecordSpec::to(&topic).value(nth.to_string()).timestamp(THEN + nth * 1000);
            [record.clone().partition(0), record.partition(1)]
        };
        self.tool.produce_with(&(0..20).flat_map(record).collect::<Vec<_>>(), json!({ "flush_every": 4 }));
        self.tool.delete_records(&topic, 0, 5);
        topic
    }

    /// The committed offsets in Java's `--describe`.
    fn described_by_java(&self, group: &str) -> Offsets {
        let cells = self.table_of_java(group, ["TOPIC", "PARTITION", "CURRENT-OFFSET"]);
        let row = |[topic, partition, offset]: [String; 3]| {
            Some(((topic, partition.parse().ok()?), offset.parse().ok()?))
        };
        cells.into_iter().filter_map(row).collect()
    }

    /// These columns of Java's `--describe`.
    pub(crate) fn table_of_java<const N: usize>(&self, group: &str, columns: [&str; N]) -> Vec<[String; N]> {
        let lines = self.java(&format!("--describe --group {group}")).stdout;
        let head = lines.iter().position(|line| line.contains("CURRENT-OFFSET")).expect("a table");
        let column = |name| lines[head].split_whitespace().position(|each| each == name).expect("a column");
        let columns = columns.map(column);
        let row = |line: &String| {
            let cells: Vec<_> = line.split_whitespace().collect();
            columns.map(|column| cells.get(column).copied().unwrap_or_default().to_owned())
        };
        lines[head + 1..].iter().filter(|line| !line.trim().is_empty()).map(row).collect()
    }
}

fn admin(bootstrap: &str) -> Admin {
    let mut config = Config::default();
    config.set("bootstrap.servers", bootstrap).unwrap();
    Admin::new(config).unwrap()
}

/// Runs the same script on every cluster; its topics and groups are its own.
fn everywhere(script: impl Fn(&At)) {
    on([V4_3_0, V2_8_2], &script);
    let boxed = Boxed::start(&[]);
    script(&At {
        bootstrap: boxed.bootstrap().to_owned(),
        tool: boxed.tool.clone(),
        modern: true,
        newest: false,
    });
}

/// Runs the same script on real Kafka alone.
pub(crate) fn on(versions: impl IntoIterator<Item = Version>, script: impl Fn(&At)) {
    for version in versions {
        let of = shared(version);
        let newest = version == V4_3_0;
        script(&At { bootstrap: of.kafka.bootstrap(), tool: of.tool.clone(), modern: newest, newest });
    }
}

/// With a member and without; with a committed offset, without, and without records.
#[test]
fn committed_offsets_and_lag_are_those_that_java_describes() {
    everywhere(|at| {
        let (topic, group) = (at.topic(), unique("lag"));
        at.tool.alter_offsets(&group, &[(&topic, 0, 12), (&topic, 1, 3)]);
        let compare = || {
            let ours = at.offtake(&format!("groups describe {group} --json")).run().json().remove(0);
            let cell = |value: &Value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let fields = ["topic", "partition", "committed", "end", "lag", "member", "host", "client"];
            let ours = ours["offsets"].as_array().expect("a list").iter();
            let mut ours: Vec<_> = ours.map(|row| fields.map(|field| cell(&row[field]))).collect();
            let columns = [
                "TOPIC",
                "PARTITION",
                "CURRENT-OFFSET",
                "LOG-END-OFFSET",
                "LAG",
                "CONSUMER-ID",
                "HOST",
                "CLIENT-ID",
            ];
            let mut javas = at.table_of_java(&group, columns);
            for rows in [&mut ours, &mut javas] {
                rows.sort();
            }
            assert_eq!(ours, javas, "{}", at.bootstrap);
            ours
        };
        let rows = compare();
        assert_eq!(rows.iter().map(|row| row[4].as_str()).collect::<Vec<_>>(), ["8", "17"]);
        // A member that commits nothing owns a partition without a committed offset.
        let member = at
            .offtake(&format!(
                "consume {topic} -g {group} -X enable.auto.commit=false -X client.id=reader --events"
            ))
            .start();
        member.wait_event("assigned", PATIENCE, |_| true);
        let rows = compare();
        let without: Vec<_> = rows.iter().filter(|row| row[2] == "-").collect();
        assert_eq!(without.len(), 1, "{rows:?}");
        assert!(without[0][3] == "0" && without[0][4] == "-" && without[0][7] == "reader", "{rows:?}");
        member.signal("TERM");
        assert_eq!(member.finish(PATIENCE).code, Some(0));
    });
}

/// The target of each partition, from a plan printed by `--json`.
fn planned(rows: &[Value]) -> Offsets {
    let row = |row: &Value| {
        let index =
            row["partition"].as_i64().and_then(|index| i32::try_from(index).ok()).expect("a partition");
        ((row["topic"].as_str().expect("a topic").to_owned(), index), row["to"].as_i64().expect("an offset"))
    };
    rows.iter().map(row).collect()
}

/// The same from the CSV that Java's command exports.
fn exported(lines: &[String]) -> Offsets {
    let row = |line: &String| {
        let [topic, index, offset] = line.split(',').collect::<Vec<_>>().try_into().ok()?;
        Some(((topic.to_owned(), index.parse().ok()?), offset.parse().ok()?))
    };
    lines.iter().filter_map(row).collect()
}

#[test]
#[ignore = "dozens of starts of Java's command: scripts/test full runs it"]
fn the_plan_of_every_form_is_javas() {
    everywhere(|at| {
        let (topic, other, group) = (at.topic(), at.topic(), unique("planned"));
        let committed = [(topic.as_str(), 0, 10), (&topic, 1, 3), (&topic, 2, 0), (&other, 1, 20)];
        at.tool.alter_offsets(&group, &committed);
        let before = at.tool.committed(&group);
        let file = std::env::temp_dir().join(format!("offtake-{group}-{}.csv", std::process::id()));
        std::fs::write(&file, format!("{topic},0,2\n{topic},1,15\n{other},1,1000\n")).unwrap();
        let forms = [
            "--all-topics --to-earliest".to_owned(),
            "--all-topics --to-latest".to_owned(),
            format!("--topic {topic} --to-offset 7"),
            format!("--topic {topic}:0,2 --topic {other} --to-offset 2"),
            format!("--topic {topic}:1 --to-offset 1000"),
            "--all-topics --shift-by -8".to_owned(),
            "--all-topics --shift-by 4".to_owned(),
            format!("--topic {topic} --topic {other} --to-datetime 2023-11-14T22:13:27.500"),
            format!("--topic {topic} --to-datetime 2023-11-14T23:13:38.000+01:00"),
            "--all-topics --to-datetime 2033-11-14T22:13:27.500Z".to_owned(),
            "--all-topics --by-duration PT1H".to_owned(),
            "--all-topics --by-duration P9000DT1H".to_owned(),
            format!("--from-file {}", file.display()),
            format!("--topic {topic} --topic {other} --to-current"),
        ];
        // Kafka's command takes seconds to start, so all forms are compared on the newest broker only.
        let step = if at.newest { 1 } else { 3 };
        for form in forms.iter().step_by(step) {
            let ours = at.offtake(&format!("groups reset {group} {form} --json")).run().json();
            assert!(ours.iter().all(|row| row["executed"] == false && row["group"] == *group), "{ours:?}");
            for row in &ours {
                let place =
                    (row["topic"].as_str().unwrap().to_owned(), row["partition"].as_i64().unwrap() as i32);
                assert_eq!(row["from"], json!(before.get(&place)), "{form}: what is committed is told");
            }
            let java = at.java(&format!("--reset-offsets --group {group} {form} --dry-run --export"));
            assert_eq!(planned(&ours), exported(&java.stdout), "{}: {form}", at.bootstrap);
            assert!(!ours.is_empty(), "{form}");
            let export = at.offtake(&format!("groups reset {group} {form} --dry-run --export")).run();
            assert_eq!(exported(&export.stdout), planned(&ours), "{form}: {export:?}");
        }
        std::fs::remove_file(file).unwrap();
        assert_eq!(at.tool.committed(&group), before, "a plan changes nothing");
    });
}

#[test]
fn offsets_reset_by_one_tool_are_described_by_the_other() {
    everywhere(|at| {
        let (topic, group) = (at.topic(), unique("reset"));
        let reset = |args: &str| at.offtake(&format!("groups reset {group} --json {args}")).run();
        // A group that never existed is created, as by Java.
        let created = reset(&format!("--topic {topic} --to-earliest --execute")).json();
        assert!(created.iter().all(|row| row["executed"] == true && row["from"].is_null()), "{created:?}");
        let everywhere = |offsets: [i64; 3]| -> Offsets {
            (0..).zip(offsets).map(|(index, offset)| ((topic.clone(), index), offset)).collect()
        };
        assert_eq!(at.described_by_java(&group), everywhere([5, 0, 0]));

        // Offsets beyond the ends of a log are moved to its ends, which is reported.
        let clamped = reset(&format!("--topic {topic}:0 --shift-by -3 --execute"));
        let said = clamped
            .stderr
            .iter()
            .any(|line| line.contains(&format!("{topic}-0: offset 2 is before the log start; using 5")));
        assert!(said, "{:?}", clamped.stderr);
        assert_eq!(planned(&clamped.json()), Offsets::from([((topic.clone(), 0), 5)]));

        // A plan is read back, ours from stdin and Java's export from a file.
        let plan = reset("--all-topics --shift-by 7");
        let again = at.offtake(&format!("groups reset {group} --json --execute --from-file -"));
        let done = again.stdin(plan.stdout.join("\n")).run().json();
        assert_eq!(planned(&done), planned(&plan.json()));
        assert_eq!(at.described_by_java(&group), everywhere([12, 7, 0]));
        let export = at
            .java(&format!("--reset-offsets --group {group} --topic {topic} --to-latest --export --dry-run"));
        let export = exported(&export.stdout).into_iter();
        let lines = export.map(|((topic, index), offset)| format!("{group},{topic},{index},{offset}\n"));
        let file = at.offtake(&format!("groups reset {group} --topic {topic}:0,1 --execute --from-file -"));
        let table = file.stdin(lines.collect::<String>() + "another,x,0,1\n").run();
        assert_eq!(table.code, Some(0), "{:?}", table.stderr);
        let row: Vec<_> = table.stdout[1].split_whitespace().collect();
        assert_eq!(row, [&group, &topic, "0", "12", "20", "yes"]);
        assert_eq!(at.described_by_java(&group), everywhere([20, 20, 0]));

        // Java reads what we export.
        let export =
            at.offtake(&format!("groups reset {group} --topic {topic} --shift-by -4 --export")).run();
        let file = std::env::temp_dir().join(format!("offtake-{group}-{}.csv", std::process::id()));
        std::fs::write(&file, export.stdout.join("\n") + "\n").unwrap();
        at.java(&format!("--reset-offsets --group {group} --from-file {} --execute", file.display()));
        std::fs::remove_file(file).unwrap();
        assert_eq!(at.described_by_java(&group), everywhere([16, 16, 0]));

        // And our command sees what Java resets.
        at.java(&format!("--reset-offsets --group {group} --topic {topic}:1 --to-offset 9 --execute"));
        let seen = reset("--all-topics --shift-by 0").json();
        assert_eq!(planned(&seen), everywhere([16, 9, 0]));
        assert!(seen.iter().all(|row| row["from"] == row["to"]), "{seen:?}");
    });
}

/// Ended with status 1 and these words in the last line.
fn refused(finished: Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(1), "{:?} {:?}", finished.stdout, finished.stderr);
    let said = finished.last_line();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn a_group_with_live_members_is_neither_reset_nor_deleted() {
    everywhere(|at| {
        let protocols: &[&str] = if at.modern { &["classic", "consumer"] } else { &["classic"] };
        for protocol in protocols {
            let (topic, group) = (at.topic(), unique("alive"));
            let member =
                JavaMember::at(&at.tool, &group).topics(&[&topic]).config("group.protocol", protocol).start();
            member.wait_owned(PATIENCE, |owned| owned.len() == 3);
            let read = |offsets: &Offsets| offsets.get(&(topic.clone(), 1)) == Some(&20);
            let deadline = Instant::now() + PATIENCE;
            while !read(&at.tool.committed(&group)) {
                assert!(Instant::now() < deadline, "the member commits what it has read");
                std::thread::sleep(Duration::from_millis(50));
            }
            for execute in ["", "--execute"] {
                let command = format!("groups reset {group} --all-topics --to-earliest {execute}");
                refused(at.offtake(&command).run(), &[&group, "Stable and has a member", "stop its members"]);
            }
            let delete = || at.offtake(&format!("groups delete {group} --json")).run();
            refused(delete(), &[&group, "NON_EMPTY_GROUP", "stop them"]);
            program(async {
                let mut admin = at.admin();
                // After the command's own check, the coordinator refuses as well.
                let one = OffsetAndMetadata::new(1);
                let altered = admin.alter_offsets(&group, [(place(&topic, 0), one)]).await;
                let error = altered[&place(&topic, 0)].as_ref().unwrap_err();
                assert_eq!(
                    (error.kind(), error.code()),
                    (ErrorKind::Group, Some(ErrorCode::UnknownMemberId))
                );
                assert!(error.to_string().contains("the group has members: stop them"), "{error}");
                let forgotten = admin.delete_offsets(&group, [place(&topic, 0)]).await;
                let error = forgotten[&place(&topic, 0)].as_ref().unwrap_err();
                assert_eq!(
                    (error.kind(), error.code()),
                    (ErrorKind::Group, Some(ErrorCode::GroupSubscribedToTopic))
                );
                assert_eq!(error.partition(), Some(&place(&topic, 0)));
                admin.close().await;
            });
            assert!(read(&at.tool.committed(&group)), "nothing was changed");
            member.stop();
            let reset = at
                .offtake(&format!("groups reset {group} --all-topics --to-earliest --execute --json"))
                .run();
            assert_eq!(planned(&reset.json()).into_values().collect::<Vec<_>>(), [5, 0, 0], "{protocol}");
            assert_eq!(delete().json(), [json!({ "group": group, "deleted": true })]);
            let left = at.tool.list_groups();
            assert!(left.iter().all(|each| each["group"] != *group), "{left:?}");
            refused(delete(), &[&group, "there is no such group"]);
        }
    });
}

#[test]
fn partitions_that_cannot_be_reset_are_named() {
    everywhere(|at| {
        let (topic, group) = (at.topic(), unique("refused"));
        let reset = |args: &str| at.offtake(&format!("groups reset {group} {args}")).run();
        refused(reset("--all-topics --to-latest"), &[&group, "has committed nothing", "--topic"]);
        refused(
            reset(&format!("--topic {topic}:1,3,4 --to-latest")),
            &[&format!("{topic}-3, {topic}-4"), "has 3 partitions"],
        );
        refused(
            reset(&format!("--topic {topic} --shift-by 1")),
            &[&format!("{topic}-0, {topic}-1, {topic}-2"), "--to-earliest"],
        );
        refused(reset("--topic nosuch-topic --to-latest"), &["nosuch-topic", "no such topic"]);
        let file = at.offtake(&format!("groups reset {group} --from-file - --execute"));
        refused(file.stdin(format!("{topic},0,1\n{topic},7,1\n")).run(), &[&format!("{topic}-7")]);
        let malformed =
            at.offtake(&format!("groups reset {group} --from-file -")).stdin(format!("{topic},0\n")).run();
        assert_eq!(malformed.code, Some(2), "{:?}", malformed.stderr);
        assert!(
            malformed.last_line().contains("stdin: line 1: write topic,partition,offset"),
            "{malformed:?}"
        );
        assert_eq!(at.tool.committed(&group), Offsets::new(), "nothing was changed");
    });
}

#[test]
fn the_library_changes_what_groups_have_committed_partition_by_partition() {
    let script = |at: &At| {
        let (topic, group) = (at.topic(), unique("library"));
        program(async {
            let mut admin = at.admin();
            assert_eq!(admin.list_offsets_of_group(&group).await.unwrap(), BTreeMap::new());
            let commit = |offset: i64, epoch: Option<i32>, metadata: &str| {
                OffsetAndMetadata::new(offset).with_leader_epoch(epoch).with_metadata(metadata)
            };
            let wanted = [
                (place(&topic, 0), commit(7, Some(0), "by hand")),
                (place(&topic, 1), commit(3, None, "")),
                (place(&topic, 2), commit(-1, None, "")),
                (place(&topic, 9), commit(1, None, "")),
            ];
            let became = admin.alter_offsets(&group, wanted.clone()).await;
            let kinds: Vec<_> = became.values().map(|one| one.as_ref().err().map(Error::kind)).collect();
            assert_eq!(
                kinds,
                [None, None, Some(ErrorKind::Misuse), Some(ErrorKind::UnknownTopic)],
                "{became:?}"
            );
            let committed = admin.list_offsets_of_group(&group).await.unwrap();
            assert_eq!(committed, wanted.into_iter().take(2).collect());
            let javas = at.tool.call("committed", json!({ "group": group })).unwrap().1;
            assert_eq!(javas["offsets"], json!([[topic, 0, 7, 0, "by hand"], [topic, 1, 3, -1, ""]]));

            let forget = [place(&topic, 0), place(&topic, 2), place(&topic, 9)];
            let became = admin.delete_offsets(&group, forget).await;
            let kinds: Vec<_> = became.values().map(|one| one.as_ref().err().map(Error::kind)).collect();
            assert_eq!(kinds, [None, None, Some(ErrorKind::UnknownTopic)], "{became:?}");
            assert_eq!(at.tool.committed(&group), Offsets::from([((topic.clone(), 1), 3)]));
            let nobody = admin.delete_offsets("nosuch-group", [place(&topic, 0)]).await;
            assert_eq!(
                nobody[&place(&topic, 0)].as_ref().unwrap_err().code(),
                Some(ErrorCode::GroupIdNotFound)
            );

            let deleted = admin.delete_groups([group.as_str(), "nosuch-group"]).await;
            assert!(deleted[&group].is_ok(), "{deleted:?}");
            assert_eq!(
                deleted["nosuch-group"].as_ref().unwrap_err().code(),
                Some(ErrorCode::GroupIdNotFound)
            );
            admin.close().await;
        });
    };
    everywhere(script);
    on([V3_9_1], script);
}

#[test]
fn members_are_removed_by_instance_or_by_member_id() {
    everywhere(|at| {
        let (topic, group) = (at.topic(), unique("removed"));
        let join = |instance: &str| {
            let member = JavaMember::at(&at.tool, &group).topics(&[&topic]).session(Duration::from_secs(30));
            member.instance(instance).start()
        };
        let (first, second) = (join("first"), join("second"));
        for member in [&first, &second] {
            member.wait_owned(PATIENCE, |owned| !owned.is_empty() && owned.len() < 3);
        }
        // Static members stay in the group when they stop.
        first.stop();
        second.stop();
        program(async {
            let mut admin = at.admin();
            let described = admin.describe_group(&group).await.unwrap();
            let ids: BTreeMap<_, _> = described
                .members
                .iter()
                .map(|one| (one.instance_id.clone().unwrap(), one.member_id.clone()))
                .collect();
            assert_eq!(ids.keys().collect::<Vec<_>>(), ["first", "second"]);
            let by_instance = MemberToRemove::Instance("first".to_owned());
            let by_id = MemberToRemove::Member(ids["second"].clone());
            let nobody = MemberToRemove::Instance("nobody".to_owned());
            let became =
                admin.remove_members(&group, [by_instance.clone(), by_id.clone(), nobody.clone()]).await;
            assert!(became[&by_instance].is_ok() && became[&by_id].is_ok(), "{became:?}");
            let error = became[&nobody].as_ref().unwrap_err();
            assert!(error.kind() == ErrorKind::Group && error.to_string().contains("`nobody`"), "{error}");
            assert_eq!(admin.describe_group(&group).await.unwrap().state, "Empty");
            admin.close().await;
        });
    });
}

/// F12: while a group moves from one protocol to the other it has members of both.
#[test]
fn f12_groups_of_both_protocols_and_mixed_ones_are_described_as_java_does() {
    let of = shared(V4_3_0);
    let topic = of.tool.create_topic(&unique("described"), 4, &[]);
    let rest = |group: &str, members: &[&Member]| drop(wait_at_rest(of, group, members, &[(&topic, 4)]));
    let ours = |group: &str| {
        Member::ours_modern(group, &unique("ours"), Offtake::new(["consume", &topic]).brokers(&of.kafka))
    };
    let group = unique("modern");
    let (first, second) = (ours(&group), Member::java_modern(of, &group, &unique("java"), &[&topic]));
    rest(&group, &[&first, &second]);
    described_as_java_does(of, &group, 2);
    drop((first, second));

    let group = unique("mixed");
    let classic = Member::java(of, &group, &unique("classic"), &[&topic], &["cooperative-sticky"]);
    rest(&group, &[&classic]);
    described_as_java_does(of, &group, 1);
    let modern = ours(&group);
    rest(&group, &[&classic, &modern]);
    described_as_java_does(of, &group, 2);
    program(async {
        let mut admin = admin(&of.kafka.bootstrap());
        let described = admin.describe_group(&group).await.unwrap();
        let types: BTreeSet<_> =
            described.members.iter().filter_map(|one| one.member_type.as_deref()).collect();
        assert_eq!(
            (described.group_type.as_str(), types),
            ("consumer", BTreeSet::from(["classic", "consumer"]))
        );
        assert!(
            described.members.iter().all(|one| one.target.as_ref() == Some(&one.partitions)),
            "{described:?}"
        );
        assert!(described.members.iter().all(|one| one.epoch == described.epoch), "{described:?}");
        admin.close().await;
    });
    let shown = Offtake::new(["groups", "describe", &group]).brokers(&of.kafka).run().stdout;
    let head = shown.iter().find(|line| line.starts_with("MEMBER")).expect("a table");
    assert!(head.ends_with("TYPE"), "{shown:#?}");
}

/// KIP-932. Neither DescribeGroups nor ConsumerGroupDescribe knows such groups, so they seem not to exist.
#[test]
fn a_share_group_is_refused_as_what_it_is() {
    const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let of = shared(V4_3_0);
    let (topic, group) = (of.tool.create_topic(&unique("shared"), 1, &[]), unique("share"));
    let args = format!("--bootstrap-server {} --topic {topic} --group {group}", of.kafka.bootstrap());
    let member = of.tool.program(CONSUMER, &args).start();
    let offtake = |args: &str| Offtake::new(args.split_whitespace()).brokers(&of.kafka).run();
    let deadline = Instant::now() + PATIENCE;
    let listed =
        |group: &str| offtake("groups list --json").json().into_iter().find(|each| each["group"] == group);
    while listed(&group).is_none() {
        assert!(Instant::now() < deadline, "{:?}", member.stderr().all());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(listed(&group).unwrap()["type"], "share");
    refused(offtake(&format!("groups describe {group}")), &[&group, "it is a share group"]);
    let reset = format!("groups reset {group} --topic {topic} --to-latest --execute");
    refused(offtake(&reset), &[&group, "it is a share group"]);
}

/// A cluster in a box with these faults, and our admin client on it.
async fn armed(rules: impl IntoIterator<Item = FaultRule>) -> (Cluster, Admin) {
    let cluster = Cluster::builder().brokers(3).topic("orders", 2).start().await.unwrap();
    for rule in rules {
        cluster.inject(rule);
    }
    let admin = admin(&cluster.bootstrap());
    (cluster, admin)
}

const LOADING: i16 = 14;
const NOT_COORDINATOR: i16 = 16;

#[test]
fn a_coordinator_that_loads_or_has_moved_is_waited_for() {
    program(async {
        let apis = [
            ApiKey::OffsetCommit,
            ApiKey::OffsetFetch,
            ApiKey::OffsetDelete,
            ApiKey::DescribeGroups,
            ApiKey::ConsumerGroupDescribe,
            ApiKey::DeleteGroups,
        ];
        let (cluster, mut admin) = armed([]).await;
        let rules = apis.map(|api| {
            let loads = cluster.inject(FaultRule::on(api, Fault::Fail(LOADING)).times(4));
            (loads, cluster.inject(FaultRule::on(api, Fault::Fail(NOT_COORDINATOR)).nth(5)))
        });
        let partition = place("orders", 1);
        let one = OffsetAndMetadata::new(0).with_metadata("x");
        let altered = admin.alter_offsets("g", [(partition.clone(), one.clone())]).await;
        assert!(altered[&partition].is_ok(), "{altered:?}");
        let committed = admin.list_offsets_of_group("g").await.unwrap();
        assert_eq!(committed, BTreeMap::from([(partition.clone(), one)]));
        assert_eq!(admin.describe_group("g").await.unwrap().state, "Empty");
        assert!(admin.delete_offsets("g", [partition.clone()]).await[&partition].is_ok());
        assert!(admin.list_offsets_of_group("g").await.unwrap().is_empty());
        assert!(admin.delete_groups(["g"]).await["g"].is_ok());
        let hits = rules.map(|(loads, moved)| (cluster.hits(loads), cluster.hits(moved)));
        assert_eq!(hits, [(4, 1); 6], "each of them was in the way");
        admin.close().await;
        cluster.shutdown().await;
    });
}

#[test]
fn a_deletion_whose_answer_is_lost_has_happened() {
    program(async {
        let lost = FaultRule::on(ApiKey::DeleteGroups, Fault::ApplyThenLose).once();
        let (cluster, mut admin) = armed([lost]).await;
        let one = OffsetAndMetadata::new(0);
        assert!(admin.alter_offsets("g", [(place("orders", 0), one)]).await[&place("orders", 0)].is_ok());
        // An answer that never arrives is given up after request.timeout.ms.
        let mut config = Config::default();
        config.set("bootstrap.servers", &cluster.bootstrap()).unwrap();
        config.set("request.timeout.ms", "1000").unwrap();
        let mut hurried = Admin::new(config).unwrap();
        let deleted = hurried.delete_groups(["g"]).await;
        assert!(deleted["g"].is_ok(), "{deleted:?}");
        assert_eq!(admin.describe_group("g").await.unwrap_err().code(), Some(ErrorCode::GroupIdNotFound));
        hurried.close().await;
        admin.close().await;
        cluster.shutdown().await;
    });
}

/// Operations that do not complete in time are reported one by one, each with the obstacle.
#[test]
fn operations_that_time_out_are_reported_one_by_one() {
    program(async {
        let (cluster, mut admin) = armed([FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(LOADING))]).await;
        admin.within(Duration::from_secs(2));
        let one = OffsetAndMetadata::new(0);
        let wanted = [0, 1].map(|index| (place("orders", index), one.clone()));
        for (partition, became) in admin.alter_offsets("g", wanted).await {
            let error = became.unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::CoordinatorLoadInProgress));
            assert!(error.is_retriable() && error.to_string().contains(&partition.to_string()), "{error}");
        }
        admin.close().await;
        cluster.shutdown().await;
    });
}
