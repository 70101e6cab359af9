//! What cannot be done is said in one sentence, soon, and costs nothing while it is waited for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use offtake_tests::{Finished, JavaMember, Offtake, V4_3_0, free_port, shared, unique};
use serde_json::json;

/// Time for a debug build to start and end beside others.
const MARGIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that listens and is no broker; ends with the test process. Its port.
fn listen(talk: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let port = free_port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port can be bound");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let talk = talk.clone();
            std::thread::spawn(move || talk(client));
        }
    });
    port
}

/// Answers the first thing that a client says, and closes.
fn answering(answer: &'static [u8]) -> u16 {
    listen(move |mut client| {
        let mut asked = [0; 1024];
        if client.read(&mut asked).is_ok_and(|read| read > 0) {
            client.write_all(answer).ok();
        }
    })
}

fn silent() -> u16 {
    listen(|mut client| {
        let mut asked = [0; 1024];
        while client.read(&mut asked).is_ok_and(|read| read > 0) {}
    })
}

/// Every command that talks to a broker, in a few forms.
const COMMANDS: [&[&str]; 8] = [
    &["consume", "orders"],
    &["consume", "orders", "--group", "billing"],
    &["consume", "ord.*", "--regex", "--until", "latest"],
    &["topics"],
    &["topics", "describe", "orders"],
    &["offsets", "orders"],
    &["groups", "list"],
    &["groups", "describe", "billing"],
];

/// Runs all of them at once; each fails with one sentence, within the limit. Those sentences.
fn all_fail(port: u16, limit: Duration, says: &[&str]) {
    let at = format!("127.0.0.1:{port}");
    let timeout = format!("default.api.timeout.ms={}", limit.as_millis());
    let start = |args: &&[&str]| Offtake::new(*args).args(["--brokers", &at, "-X", &timeout]).start();
    let running: Vec<_> = COMMANDS.iter().map(start).collect();
    for (args, running) in COMMANDS.iter().zip(running) {
        let finished = running.finish(PATIENCE);
        eprintln!("{:>5.1} s {:>4} ms {args:?}: {:#?}", finished.elapsed.as_secs_f32(), finished.cpu.as_millis(), finished.stderr);
        assert_refused(&finished, limit, says);
        assert!(finished.last_line().contains(&at), "it names the broker: {}", finished.last_line());
    }
}

fn assert_refused(finished: &Finished, limit: Duration, says: &[&str]) {
    assert_eq!(finished.code, Some(1), "{:#?}", finished.stderr);
    assert_eq!(finished.stdout, [""; 0]);
    let sentence = finished.last_line();
    assert!(sentence.starts_with("offtake: "), "{:#?}", finished.stderr);
    for says in says {
        assert!(sentence.contains(says), "`{says}` is not in: {sentence}");
    }
    assert!(sentence.len() < 300, "one sentence, not a heap: {sentence}");
    assert!(finished.elapsed < limit + MARGIN, "after {:?}: {sentence}", finished.elapsed);
    // A twentieth of a core, and what a debug build takes to start.
    let idle = finished.elapsed / 20 + Duration::from_millis(200);
    assert!(finished.cpu < idle, "{:?} of CPU in {:?}", finished.cpu, finished.elapsed);
}

#[test]
fn a3_nothing_listens() {
    all_fail(free_port(), Duration::from_secs(3), &[]);
}

#[test]
fn nothing_listens_and_ten_seconds_are_enough_unless_told() {
    let at = format!("127.0.0.1:{}", free_port());
    let finished = Offtake::new(["consume", "orders", "--brokers", &at]).run();
    eprintln!("{:#?}", finished);
    assert_refused(&finished, Duration::from_secs(10), &[&at]);
}

#[test]
fn a5_an_http_server() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    all_fail(answering(answer), Duration::from_secs(3), &["HTTP"]);
}

#[test]
fn a5_a_tls_port_that_answers_an_alert() {
    all_fail(answering(&[0x15, 3, 3, 0, 2, 2, 10]), Duration::from_secs(3), &["TLS"]);
}

#[test]
fn a_tls_port_that_only_closes() {
    all_fail(answering(&[]), Duration::from_secs(3), &["TLS"]);
}

#[test]
fn a2_a_port_that_says_nothing() {
    all_fail(silent(), Duration::from_secs(3), &[]);
}

#[test]
fn a8_a_name_that_is_nobodys() {
    let finished = Offtake::new(["topics", "--brokers", "nobody.invalid:9092", "-X", "default.api.timeout.ms=3000"]).run();
    eprintln!("{:#?}", finished);
    assert_refused(&finished, Duration::from_secs(3), &["nobody.invalid"]);
}

#[test]
fn a_topic_that_is_not_there() {
    let at = shared(V4_3_0);
    let topic = unique("missing");
    let present = at.tool.create_topic(&unique("orders"), 1, &[]);
    let group = unique("group");
    let commands: [&[&str]; 7] = [
        &["consume", &topic],
        &["consume", &present, &topic, "--until", "latest"],
        &["consume", &topic, "--partition", "0"],
        &["consume", &topic, "--group", &group],
        &["topics", "describe", &topic],
        &["topics", "delete", &topic],
        &["offsets", &topic],
    ];
    let limit = Duration::from_secs(3);
    let start = |args: &&[&str]| Offtake::new(*args).brokers(&at.kafka).args(["-X", "default.api.timeout.ms=3000"]).start();
    let running: Vec<_> = commands.iter().map(start).collect();
    for (args, running) in commands.iter().zip(running) {
        let finished = running.finish(PATIENCE);
        eprintln!("{:>5.1} s {:>4} ms {args:?}: {:#?}", finished.elapsed.as_secs_f32(), finished.cpu.as_millis(), finished.stderr);
        assert_refused(&finished, limit, &[&topic]);
    }
    assert!(!at.tool.list_groups().iter().any(|each| each["group"] == group), "nobody joined for it");
}

#[test]
fn a_partition_and_a_group_that_are_not_there() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 2, &[]);
    let run = |args: &[&str]| Offtake::new(args).brokers(&at.kafka).run();
    let partition = run(&["consume", &topic, "--partition", "2"]);
    eprintln!("{partition:#?}");
    assert_refused(&partition, Duration::from_secs(3), &[&topic, "2"]);
    let partition = run(&["offsets", &topic, "--partition", "2"]);
    eprintln!("{partition:#?}");
    assert_refused(&partition, Duration::from_secs(3), &[&topic, "2"]);
    let group = unique("nobody");
    let described = run(&["groups", "describe", &group]);
    eprintln!("{described:#?}");
    assert_refused(&described, Duration::from_secs(3), &[&group]);
    let regex = run(&["consume", "no-such-topic-.*", "--regex"]);
    eprintln!("{regex:#?}");
    assert_refused(&regex, Duration::from_secs(3), &["no-such-topic-.*"]);
}

#[test]
fn a_group_that_refuses_the_session_timeout() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
    for (session, heartbeat) in [("500", "100"), ("3600000", "3000")] {
        let group = unique("group");
        let finished = Offtake::new(["consume", &topic, "--group", &group])
            .brokers(&at.kafka)
            .args(["-X", &format!("session.timeout.ms={session}"), "-X", &format!("heartbeat.interval.ms={heartbeat}")])
            .run();
        eprintln!("{finished:#?}");
        assert_refused(&finished, Duration::from_secs(3), &[&group, "session.timeout.ms"]);
    }
}

#[test]
fn a_group_that_has_another_assignor() {
    let at = shared(V4_3_0);
    let (topic, group) = (at.tool.create_topic(&unique("orders"), 2, &[]), unique("group"));
    let java = JavaMember::of(&at.kafka, &group).topics(&[&topic]).assignors(&["range"]).start();
    java.wait_owned(PATIENCE, |owned| owned.len() == 2);
    let finished = Offtake::new(["consume", &topic, "--group", &group, "--assignor", "roundrobin"])
        .brokers(&at.kafka)
        .run();
    eprintln!("{finished:#?}");
    assert_refused(&finished, Duration::from_secs(3), &[&group, "assignor"]);
    assert_eq!(java.owned().len(), 2, "nobody else was disturbed");
    java.stop();
}

#[test]
fn a_member_whose_name_another_has_taken() {
    let at = shared(V4_3_0);
    let (topic, group) = (at.tool.create_topic(&unique("orders"), 2, &[]), unique("group"));
    let member = || {
        Offtake::new(["consume", &topic, "--group", &group, "--instance-id", "till-1", "--events", "--json"])
            .brokers(&at.kafka)
            .args(["-X", "heartbeat.interval.ms=500"])
            .start()
    };
    let first = member();
    first.wait_event("assigned", PATIENCE, |_| true);
    let second = member();
    second.wait_event("assigned", PATIENCE, |_| true);
    let finished = first.finish(PATIENCE);
    eprintln!("{finished:#?}");
    assert_eq!(finished.code, Some(1));
    let sentence = finished.last_line();
    assert!(sentence.starts_with("offtake: ") && sentence.contains("till-1"), "{sentence}");
    assert_eq!(finished.events("lost").len(), 1, "what it held is another's");
    second.signal("TERM");
    assert_eq!(second.finish(PATIENCE).code, Some(0));
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    let cases: [(&[&str], &str); 12] = [
        (&["consume", "orders", "-X", "fetch.min.byte=1"], "fetch.min.bytes"),
        (&["topics", "-X", "fetch.min.bytes=many"], "fetch.min.bytes"),
        (&["consume", "orders", "-X", "auto.offset.reset=first"], "auto.offset.reset"),
        (&["consume", "orders", "-g", "billing", "-X", "session.timeout.ms=1"], "session.timeout.ms"),
        (&["consume", "orders", "-g", "billing", "--assignor", "fair"], "fair"),
        (&["consume", "orders", "-g", ""], "group"),
        (&["consume", "ord(ers", "--regex"], "ord(ers"),
        (&["consume", "ord(ers", "--regex", "-g", "billing"], "ord(ers"),
        (&["consume", "orders", "--from", "yesterday"], "yesterday"),
        (&["offsets", "orders", "-b", "nowhere"], "nowhere"),
        (&["groups", "list", "-b", "localhost:http"], "localhost:http"),
        (&["groups", "list", "--config", "/nonexistent.properties"], "/nonexistent.properties"),
    ];
    for (args, says) in cases {
        let finished = Offtake::new(args).run();
        let told = finished.stderr.join("\n");
        eprintln!("{args:?} {:?} {told}", finished.code);
        assert_eq!((finished.code, finished.stdout.len()), (Some(2), 0), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
        assert!(finished.elapsed < MARGIN, "{args:?}: {:?}", finished.elapsed);
    }
}
