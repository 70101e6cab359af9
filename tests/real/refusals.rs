//! Impossible requests are refused in one sentence, soon, and use no processor time while the command waits.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use offtake_tests::{Finished, JavaMember, Offtake, V4_3_0, free_port, shared, unique};

/// The time for a debug build to start and end on a busy machine. The command waits for ten seconds if it is not told otherwise, which is
/// more, also with [`WAIT`] added.
const MARGIN: Duration = Duration::from_secs(6);
/// `default.api.timeout.ms`, so that the tests need not wait for the command's ten seconds.
const WAIT: Duration = Duration::from_secs(3);
/// For failures that no waiting can repair.
const AT_ONCE: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a server that is not a broker; it ends with the test process. Returns its port.
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

/// Answers the client's first bytes, and closes.
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

/// Runs these commands against that port, two at once, so that one which spins has a processor: each fails with one sentence, within the limit.
fn all_fail(commands: &[&[&str]], port: u16, limit: Duration, says: &[&str]) {
    let at = format!("127.0.0.1:{port}");
    // What is to fail at once would take a minute if it waited.
    let waits = if limit == AT_ONCE { Duration::from_secs(60) } else { limit };
    let timeout = format!("default.api.timeout.ms={}", waits.as_millis());
    let run = |args: &[&str]| {
        let finished = Offtake::new(args).args(["--brokers", &at, "-X", &timeout]).patience(PATIENCE).run();
        let (elapsed, cpu) = (finished.elapsed.as_secs_f32(), finished.cpu.as_millis());
        eprintln!("{elapsed:.1} s, CPU {cpu} ms, {args:?}: {}", finished.last_line());
        assert_refused(&finished, limit, says);
        assert!(finished.last_line().contains(&at), "it says who was asked: {}", finished.last_line());
    };
    for two in commands.chunks(2) {
        std::thread::scope(|scope| {
            for args in two {
                scope.spawn(|| run(args));
            }
        });
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
    assert!(sentence.len() < 320 && !sentence.contains("\\n"), "one sentence, not a heap: {sentence}");
    assert!(finished.elapsed < limit + MARGIN, "after {:?}: {sentence}", finished.elapsed);
    // A twentieth of a core, and the start of a debug build on a slow machine.
    let idle = finished.elapsed / 20 + Duration::from_secs(1);
    assert!(finished.cpu < idle, "{:?} of CPU in {:?}", finished.cpu, finished.elapsed);
}

#[test]
fn a3_nothing_listens() {
    all_fail(&COMMANDS, free_port(), WAIT, &["connection refused", "check the address"]);
}

#[test]
fn a5_an_http_server() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    all_fail(&COMMANDS, answering(answer), AT_ONCE, &["HTTP"]);
}

#[test]
fn a5_a_tls_port_that_answers_an_alert() {
    all_fail(&COMMANDS, answering(&[0x15, 3, 3, 0, 2, 2, 10]), AT_ONCE, &["TLS"]);
}

/// Like some TLS servers, and a broker that is shutting down, which may come back, so it is worth the wait.
#[test]
fn a5_a_port_that_only_closes() {
    all_fail(&COMMANDS, answering(&[]), WAIT, &["TLS"]);
}

#[test]
fn a2_a_port_that_says_nothing() {
    all_fail(&COMMANDS, silent(), WAIT, &["answer", "check the address"]);
}

#[test]
fn ten_seconds_are_enough_unless_told() {
    for port in [free_port(), silent()] {
        let at = format!("127.0.0.1:{port}");
        let run = |args: [&str; 2]| {
            let finished = Offtake::new(args).args(["--brokers", &at]).run();
            assert_refused(&finished, Duration::from_secs(10), &[&at]);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| run(["consume", "orders"]));
            scope.spawn(|| run(["groups", "list"]));
        });
    }
}

#[test]
fn a8_a_name_that_is_nobodys() {
    let wait = format!("default.api.timeout.ms={}", WAIT.as_millis());
    let finished = Offtake::new(["topics", "--brokers", "nobody.invalid:9092", "-X", &wait]).run();
    // A resolver may take any time.
    assert_refused(&finished, Duration::from_secs(15), &["nobody.invalid", "does not resolve"]);
}

#[test]
fn b1_a_topic_that_is_not_there() {
    let at = shared(V4_3_0);
    let (missing, group) = (unique("missing"), unique("group"));
    let present = at.tool.create_topic(&unique("orders"), 1, &[]);
    let commands: [&[&str]; 7] = [
        &["consume", &missing],
        &["consume", &present, &missing, "--until", "latest"],
        &["consume", &missing, "--partition", "0"],
        &["consume", &missing, "--group", &group],
        &["topics", "describe", &missing],
        &["topics", "delete", &missing],
        &["offsets", &missing],
    ];
    let wait = format!("default.api.timeout.ms={}", WAIT.as_millis());
    let run = |args: &[&str]| {
        let finished = Offtake::new(args).brokers(&at.kafka).args(["-X", &wait]).patience(PATIENCE).run();
        eprintln!("{:.1} s, {args:?}: {}", finished.elapsed.as_secs_f32(), finished.last_line());
        assert_refused(&finished, WAIT, &[&missing]);
    };
    std::thread::scope(|scope| {
        for args in commands {
            scope.spawn(|| run(args));
        }
    });
    assert!(!at.tool.list_groups().iter().any(|each| each["group"] == group), "nobody joined for it");
}

#[test]
fn a_partition_a_group_and_a_pattern_that_nothing_fits() {
    let at = shared(V4_3_0);
    let (topic, group) = (at.tool.create_topic(&unique("orders"), 2, &[]), unique("nobody"));
    let refused = |args: &[&str], says: &[&str]| {
        assert_refused(&Offtake::new(args).brokers(&at.kafka).run(), AT_ONCE, says);
    };
    refused(&["consume", &topic, "--partition", "2"], &[&topic, "no partition 2"]);
    refused(&["offsets", &topic, "--partition", "2"], &[&topic, "no partition 2"]);
    refused(&["groups", "describe", &group], &[&group, "no such group"]);
    refused(&["consume", "nothing-like-.*", "--regex"], &["nothing-like-.*"]);
}

#[test]
fn a_group_that_refuses_the_session_timeout() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("orders"), 1, &[]);
    for (session, heartbeat) in [("500", "100"), ("3600000", "3000")] {
        let group = unique("group");
        let finished = Offtake::new(["consume", &topic, "--group", &group])
            .brokers(&at.kafka)
            .args([
                "-X",
                &format!("session.timeout.ms={session}"),
                "-X",
                &format!("heartbeat.interval.ms={heartbeat}"),
            ])
            .run();
        assert_refused(&finished, AT_ONCE, &[&group, "session.timeout.ms"]);
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
    assert_refused(&finished, AT_ONCE, &[&group, "assignor"]);
    assert_eq!(java.owned().len(), 2, "nobody else was disturbed");
    java.stop();
}

#[test]
fn a_member_whose_instance_id_another_has_taken_fails() {
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
    assert_eq!(finished.code, Some(1));
    let sentence = finished.last_line();
    assert!(sentence.starts_with("offtake: ") && sentence.contains("till-1"), "{sentence}");
    assert_eq!(finished.events("lost").len(), 1, "what it held is another's");
    second.signal("TERM");
    assert_eq!(second.finish(PATIENCE).code, Some(0));
}

#[test]
fn invalid_settings_are_refused_before_any_connection() {
    let cases: [(&[&str], &str); 12] = [
        (&["consume", "orders", "-X", "fetch.min.byte=1"], "fetch.min.bytes"),
        (&["topics", "-X", "fetch.min.bytes=many"], "fetch.min.bytes"),
        (&["consume", "orders", "-X", "auto.offset.reset=first"], "auto.offset.reset"),
        (&["consume", "orders", "-g", "billing", "-X", "session.timeout.ms=1"], "session.timeout.ms"),
        (&["consume", "orders", "-g", "billing", "--assignor", "fair"], "fair"),
        (&["consume", "orders", "-g", ""], "group"),
        (&["consume", "ord(ers", "--regex"], "`ord(ers` is not a valid regular expression: unclosed group"),
        (&["consume", "ord(ers", "--regex", "-g", "billing"], "`ord(ers` is not a valid regular"),
        (&["consume", "orders", "--from", "yesterday"], "yesterday"),
        (&["offsets", "orders", "-b", "nowhere"], "nowhere"),
        (&["groups", "list", "-b", "localhost:http"], "localhost:http"),
        (&["groups", "list", "--config", "/nonexistent.properties"], "/nonexistent.properties"),
    ];
    for (args, says) in cases {
        let finished = Offtake::new(args).run();
        let told = finished.stderr.join("\n");
        assert_eq!((finished.code, finished.stdout.len()), (Some(2), 0), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
        assert!(finished.elapsed < MARGIN, "{args:?}: {:?}", finished.elapsed);
    }
}
