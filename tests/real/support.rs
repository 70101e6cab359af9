//! Tests of the support code itself: brokers boot and restart, and Java's tool reads what it wrote.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use offtake_tests::{
    AnswerFault, Api, FaultRule, JavaMember, JavaTool, Kafka, MemberBuilder, Offtake, RecordSpec, V2_8_2,
    V3_9_1, V4_3_0, Version, brokers_known_to, shared, three_brokers, unique,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn a_record_goes_in_and_comes_out(version: Version) {
    let at = shared(version);
    let topic = at.tool.create_topic(&unique("orders"), 2, &[]);
    let first = RecordSpec::to(&topic).partition(0).timestamp(1_700_000_000_000).key("k").value("v");
    let second = RecordSpec::to(&topic).partition(1).timestamp(1_700_000_000_001).value([0xff]);
    let offsets = at.tool.produce(&[first.header("h", "x").header("h", [0xfe]).null_header("n"), second]);
    assert_eq!(offsets, [0, 0]);
    assert_eq!(
        at.tool.read(&[&topic], "read_uncommitted"),
        [
            json!({
                "topic": topic, "partition": 0, "offset": 0, "timestamp": 1_700_000_000_000_i64,
                "timestamp_type": "create", "key": "k", "value": "v",
                "headers": [["h", "x"], ["h", {"base64": "/g=="}], ["n", null]],
            }),
            json!({
                "topic": topic, "partition": 1, "offset": 0, "timestamp": 1_700_000_000_001_i64,
                "timestamp_type": "create", "key": null, "value_base64": "/w==", "headers": [],
            }),
        ]
    );
}

#[test]
fn kafka_4_3_boots_and_java_reads_what_it_wrote() {
    a_record_goes_in_and_comes_out(V4_3_0);
}

#[test]
fn kafka_3_9_boots_and_java_reads_what_it_wrote() {
    a_record_goes_in_and_comes_out(V3_9_1);
}

#[test]
fn kafka_2_8_boots_with_its_zookeeper_and_java_reads_what_it_wrote() {
    a_record_goes_in_and_comes_out(V2_8_2);
}

#[test]
fn a_killed_broker_comes_back_at_its_port_and_the_cluster_serves_meanwhile() {
    let at = three_brokers();
    let topic = at.tool.create_topic(&unique("orders"), 3, &[]);
    let victim = at.tool.leader(&topic, 0);
    let port = at.kafka.broker(victim).port();
    at.kafka.broker(victim).kill9();
    assert!(!at.kafka.broker(victim).is_running());
    let spec = |text: &str| RecordSpec::to(&topic).partition(0).value(text);
    at.tool.produce(&[spec("while it is away")]);
    assert_ne!(at.tool.leader(&topic, 0), victim);
    at.kafka.broker(victim).start();
    assert_eq!(at.kafka.broker(victim).port(), port);
    at.tool.move_leader(&topic, 0, victim);
    at.tool.produce(&[spec("when it is back")]);
    let values: Vec<Value> =
        at.tool.read(&[&topic], "read_uncommitted").iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, ["while it is away", "when it is back"]);
}

#[test]
fn a_stopped_broker_hands_over_and_a_paused_one_answers_nothing() {
    let at = three_brokers();
    at.kafka.broker(2).stop();
    assert!(brokers_known_to(at.kafka.broker(1).port()).is_ok_and(|known| known.len() == 2));
    at.kafka.broker(2).start();
    at.kafka.broker(3).pause();
    assert!(brokers_known_to(at.kafka.broker(3).port()).is_err(), "its time stands still");
    at.kafka.broker(3).resume();
    assert!(brokers_known_to(at.kafka.broker(3).port()).is_ok());
}

#[test]
fn a_broker_with_zookeeper_comes_back_after_kill_9() {
    let kafka = Kafka::builder().version(V2_8_2).start();
    let tool = JavaTool::start(&kafka);
    tool.create_topic("orders", 1, &[]);
    kafka.broker(1).kill9();
    kafka.broker(1).start();
    assert_eq!(tool.produce(&[RecordSpec::to("orders").value("v")]), [0]);
}

#[test]
fn three_brokers_with_zookeeper_know_each_other() {
    let kafka = Kafka::builder().version(V2_8_2).brokers(3).start();
    let tool = JavaTool::start(&kafka);
    tool.create_topic("orders", 3, &[]);
    tool.move_leader("orders", 0, 3);
    assert_eq!(tool.leader("orders", 0), 3);
}

#[test]
fn read_committed_ends_at_the_last_stable_offset() {
    for version in Version::ALL {
        let at = shared(version);
        let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
        let spec = |text: &str| [RecordSpec::to(&topic).partition(0).value(text)];
        let [committed, aborted, open] = ["committed", "aborted", "open"].map(unique);
        at.tool.begin(&committed);
        at.tool.produce_within(&committed, &spec("committed"));
        at.tool.commit(&committed);
        at.tool.begin(&aborted);
        at.tool.produce_within(&aborted, &spec("aborted"));
        at.tool.abort(&aborted);
        at.tool.begin(&open);
        at.tool.produce_within(&open, &spec("open"));
        at.tool.produce(&spec("after"));
        let values = |isolation: &str| -> Vec<Value> {
            at.tool.read(&[&topic], isolation).iter().map(|record| record["value"].clone()).collect()
        };
        assert_eq!(values("read_committed"), ["committed"]);
        assert_eq!(values("read_uncommitted"), ["committed", "aborted", "open", "after"]);
        assert_eq!(at.tool.list_offsets(&topic, "latest", "read_committed"), [4]);
        assert_eq!(at.tool.list_offsets(&topic, "latest", "read_uncommitted"), [6]);
    }
}

#[test]
fn a_compacted_topic_keeps_the_last_of_each_key() {
    for version in Version::ALL {
        let at = shared(version);
        let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
        let spec = |key: &str, value: &str| RecordSpec::to(&topic).partition(0).key(key).value(value);
        let gone = RecordSpec::to(&topic).partition(0).key("c");
        at.tool.produce(&[
            spec("a", "1"),
            spec("b", "1"),
            spec("c", "1"),
            spec("a", "2"),
            gone,
            spec("b", "2"),
        ]);
        at.tool.compact(&topic, true);
        let left: Vec<(i64, Value)> = at
            .tool
            .read(&[&topic], "read_uncommitted")
            .iter()
            .filter(|record| record["key"] != "roll")
            .map(|record| (record["offset"].as_i64().unwrap(), record["value"].clone()))
            .collect();
        assert_eq!(left, [(3, json!("2")), (5, json!("2"))], "{version:?}");
    }
}

#[test]
fn java_members_share_a_topic_and_one_that_is_killed_is_replaced() {
    let at = shared(V4_3_0);
    let (topic, group) = (at.tool.create_topic(&unique("orders"), 4, &[]), unique("group"));
    let member =
        |builder: MemberBuilder| builder.topics(&[&topic]).assignors(&["cooperative-sticky"]).start();
    let first = member(JavaMember::of(&at.kafka, &group));
    first.wait_owned(PATIENCE, |owned| owned.len() == 4);
    let second = member(JavaMember::alone(&at.kafka, &group));
    second.wait_owned(PATIENCE, |owned| owned.len() == 2);
    first.wait_owned(PATIENCE, |owned| owned.len() == 2);
    assert!(first.owned().is_disjoint(&second.owned()));
    let same = |event: &Value| event["generation"].as_i64().is_some_and(|of| Some(of) == second.generation());
    assert!(first.events().wait_for(PATIENCE, same).is_some(), "both come to the same generation");
    at.tool.fill(&topic, 4, 40, 10, json!({}));
    for each in [&first, &second] {
        each.wait_records(PATIENCE, |records| records.values().map(Vec::len).sum::<usize>() == 20);
    }
    // Polled records are reported before they are committed.
    let committed =
        |event: &Value| event["event"] == "committed" && event.to_string().matches(",10]").count() == 2;
    assert!(second.events().wait_for(PATIENCE, committed).is_some(), "{:?}", second.events().all());
    second.kill9();
    first.wait_owned(PATIENCE, |owned| owned.len() == 4);
    let group_now = at.tool.describe_group(&group);
    assert_eq!(group_now["members"].as_array().map(Vec::len), Some(1));
    first.stop();
    assert_eq!(at.tool.committed(&group).values().sum::<i64>(), 40);
}

#[test]
fn a_coordinator_moves_when_told() {
    let at = three_brokers();
    let (topic, group) = (at.tool.create_topic(&unique("orders"), 1, &[]), unique("group"));
    at.tool.alter_offsets(&group, &[(&topic, 0, 0)]);
    let (from, to) = at.tool.move_coordinator(&group, None);
    assert_ne!(from, to);
    assert_eq!(at.tool.describe_group(&group)["coordinator"], to);
}

#[test]
fn javas_assignors_can_be_asked_without_a_broker() {
    let tool = &shared(V4_3_0).tool;
    let members = json!([{ "member": "a", "topics": ["t"] }, { "member": "b", "topics": ["t"] }]);
    let range = tool.assign("range", &[("t", 3)], members);
    assert_eq!(range, json!({ "a": [["t", 0], ["t", 1]], "b": [["t", 2]] }));
    let owner =
        json!({ "member": "b", "topics": ["t"], "owned": [["t", 0], ["t", 1], ["t", 2]], "generation": 3 });
    let sticky =
        tool.assign("cooperative-sticky", &[("t", 3)], json!([{ "member": "a", "topics": ["t"] }, owner]));
    assert_eq!(sticky["b"].as_array().map(Vec::len), Some(2), "{sticky}");
    assert_eq!(sticky["a"], json!([]), "what moves is first given up: {sticky}");
}

#[test]
fn a_proxy_cuts_in_the_middle_of_a_response_and_stalls() {
    let kafka = Kafka::builder().proxied().start();
    let proxy = kafka.proxy(1);
    assert_eq!(kafka.bootstrap(), format!("127.0.0.1:{}", proxy.port()));
    let through = brokers_known_to(proxy.port()).expect("it passes on what is said");
    assert_eq!(through.first().map(|node| node.port), Some(proxy.port()), "the broker advertises its proxy");

    proxy.cut_response(20, 10);
    let cut = brokers_known_to(proxy.port()).expect_err("half a response is none");
    assert_eq!((cut.kind(), proxy.cuts()), (std::io::ErrorKind::UnexpectedEof, 1));
    assert!(brokers_known_to(proxy.port()).is_ok(), "it cuts once");

    proxy.stall();
    let stalled = brokers_known_to(proxy.port()).expect_err("nothing comes");
    assert_eq!(stalled.kind(), std::io::ErrorKind::WouldBlock);
    proxy.flow();
    assert!(brokers_known_to(proxy.port()).is_ok());

    proxy.refuse();
    assert!(brokers_known_to(proxy.port()).is_err());
    proxy.admit();
    assert!(brokers_known_to(proxy.port()).is_ok());
}

#[test]
fn a_proxy_knows_what_is_answered_and_harms_what_it_is_told_to() {
    let kafka = Kafka::builder().proxied().start();
    let proxy = kafka.proxy(1);
    let ask = || {
        let began = Instant::now();
        (brokers_known_to(proxy.port()).map_err(|error| error.kind()), began.elapsed())
    };
    let quick = Duration::from_millis(900);

    // A rule for another kind of answer has no effect.
    proxy.rule(FaultRule::next(Api::FETCH, AnswerFault::Drop));
    proxy.rule(FaultRule::next(Api::METADATA, AnswerFault::Drop));
    assert_eq!(ask().0, Err(std::io::ErrorKind::WouldBlock), "the answer never comes");
    assert!(ask().0.is_ok(), "and the next one does");

    proxy.rule(FaultRule::next(Api::METADATA, AnswerFault::Delay(quick)));
    let (answer, took) = ask();
    assert!(answer.is_ok() && took >= quick, "{took:?}");

    proxy.rule(FaultRule::each(2, Api::METADATA, AnswerFault::Cut));
    let is_cut = |_| {
        let before = proxy.cuts();
        drop(ask()); // it may have had all that it reads
        proxy.cuts() > before
    };
    assert_eq!((0..4).map(is_cut).collect::<Vec<_>>(), [false, true, false, true], "every second one is cut");
    proxy.heal();
    assert!((0..4).all(|_| ask().0.is_ok()), "and none any more");

    proxy.rule(FaultRule::next(Api::METADATA, AnswerFault::Stall));
    assert_eq!(ask().0, Err(std::io::ErrorKind::WouldBlock), "this connection says nothing more");
    assert!(ask().0.is_ok(), "others do");

    // The answer has more than fifty bytes.
    proxy.bandwidth(Some(100));
    let (answer, took) = ask();
    assert!(answer.is_ok() && took >= quick / 2, "{took:?}");
    proxy.bandwidth(None);
    let done: Vec<(String, u64)> = proxy.done().into_iter().collect();
    let said: Vec<(&str, u64)> = done.iter().map(|(what, times)| (what.as_str(), *times)).collect();
    let expected = [
        ("cut Metadata", 2),
        ("delay Metadata", 1),
        ("drop Metadata", 1),
        ("slow", 1),
        ("stall Metadata", 1),
    ];
    assert_eq!((said, proxy.cuts()), (expected.to_vec(), 2));
}

#[test]
fn j1_a_proxy_turns_over_a_bit_and_the_checksum_catches_it() {
    let kafka = Kafka::builder().proxied().start();
    let tool = JavaTool::start(&kafka);
    let topic = tool.create_topic("orders", 1, &[]);
    let proxy = kafka.proxy(1);
    tool.produce(&[
        RecordSpec::to(&topic).partition(0).value("one"),
        RecordSpec::to(&topic).partition(0).value("two"),
    ]);
    let read = || {
        let command = Offtake::new(["consume", &topic, "--json", "--from", "earliest", "--until", "latest"]);
        command.brokers(&kafka).run()
    };
    for seed in 0..5 {
        proxy.seed(seed);
        proxy.rule(FaultRule::next(Api::FETCH, AnswerFault::Corrupt));
        let corrupted = read();
        let stdout: [&str; 0] = [];
        assert_eq!(
            (corrupted.code, corrupted.stdout.as_slice()),
            (Some(1), stdout.map(str::to_owned).as_slice()),
            "seed {seed}"
        );
        assert!(
            corrupted.last_line().contains("the partition stops there"),
            "seed {seed}: {}",
            corrupted.last_line()
        );
        assert_eq!(proxy.done().get("corrupt Fetch"), Some(&(seed + 1)), "{:?}", proxy.done());
    }
    assert_eq!(read().json().len(), 2, "what is there in truth can be read");
}

/// Not a test: the process that the next one kills.
#[test]
#[ignore = "run by the test after it"]
fn a_process_with_a_broker() {
    let at = shared(V4_3_0);
    println!("\n{} {}", at.kafka.broker(1).port(), at.kafka.folder().display());
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_killed_test_process_leaves_neither_a_broker_nor_a_folder() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "support::a_process_with_a_broker", "--nocapture"])
        .env_remove("OFFTAKE_KEEP")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let parse = |line: String| {
        line.split_once(' ').and_then(|(port, folder)| Some((port.parse().ok()?, folder.to_owned())))
    };
    let (port, folder): (u16, String) = lines.filter_map(parse).next().expect("it says where its broker is");
    assert!(brokers_known_to(port).is_ok() && Path::new(&folder).exists());
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while brokers_known_to(port).is_ok() || Path::new(&folder).exists() {
        assert!(Instant::now() < deadline, "the broker at {port} or {folder} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_command_is_watched_from_outside() {
    let script = r#"
        trap 'echo "{\"event\":\"left\"}" >&2; exit 7' TERM
        echo '{"ready":true}'
        i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done
        echo '{"counted":true}'
        while :; do sleep 0.01; done"#;
    let running = Offtake::new(["-c", script]).instead("/bin/sh").start();
    running.wait_json(PATIENCE, |line| line["ready"] == true);
    running.wait_json(PATIENCE, |line| line["counted"] == true);
    assert!(running.cpu_time() > Duration::ZERO);
    running.signal("TERM");
    let finished = running.finish(PATIENCE);
    assert_eq!((finished.code, finished.stdout.len(), finished.events("left").len()), (Some(7), 2, 1));
    assert!(finished.cpu > Duration::ZERO && finished.cpu <= finished.elapsed * 2);
    let echoed =
        Offtake::new(["-c", "cat; echo no newline | tr -d '\\n'"]).instead("/bin/sh").stdin("a\nb\n").run();
    assert_eq!(echoed.stdout, ["a", "b", "no newline"]);
    let killed = Offtake::new(["-c", "kill -9 $$"]).instead("/bin/sh").run();
    assert_eq!(killed.code, None);
}
