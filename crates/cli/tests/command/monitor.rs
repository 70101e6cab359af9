//! `offtake monitor` and `offtake top` from outside, against the embedded broker.
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch processes from outside, and wait for what these do"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::operator::{At, done, offtake};

/// The limit of each single wait; the test fails if it is exceeded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running monitor.
struct Monitor {
    child: Child,
    address: String,
    stderr: BufReader<ChildStderr>,
}

impl Monitor {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut monitor =
            Self { stderr: BufReader::new(child.stderr.take().unwrap()), child, address: String::new() };
        let line = monitor.line("the monitor is at");
        monitor.address = line.rsplit("//").next().unwrap().trim().to_owned();
        monitor
    }

    /// The next line on stderr that contains this text.
    fn line(&mut self, says: &str) -> String {
        let mut line = String::new();
        while !line.contains(says) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended without saying {says:?}");
        }
        line
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Waits until the page is as wanted, and returns it.
    #[track_caller]
    fn wait(&self, path: &str, mut wanted: impl FnMut(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (status, body) = self.get(path);
            if wanted(status, &body) {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {status} {body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn ended(mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None // it goes on
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster with a group that has read three of ten records of each partition of `orders`.
async fn behind() -> At {
    let at = At::start().await;
    let done = at.run("groups reset audit --topic orders --to-offset 3 --execute");
    assert_eq!(done.code, Some(0), "{done:?}");
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_serves_the_lag_of_groups_and_ends_with_a_signal() {
    let at = behind().await;
    let mut monitor =
        Monitor::start(&mut at.command("monitor --listen 127.0.0.1:0 --interval 100ms --cluster-name east"));
    monitor.wait("/readyz", |status, _| status == 200);
    let metrics = monitor.get("/metrics").1;
    for line in [
        r#"kafka_consumergroup_group_lag{cluster_name="east",group="audit",topic="orders",partition="1",member_host="",consumer_id="",client_id=""} 7"#,
        r#"kafka_consumergroup_group_offset{cluster_name="east",group="audit",topic="orders",partition="0"} 3"#,
        r#"kafka_consumer_group_lag_sum{group="audit"} 14"#,
        r#"kafka_partition_latest_offset{cluster_name="east",topic="orders",partition="0"} 10"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nis not in\n{metrics}");
    }
    let one: Value = serde_json::from_str(&monitor.get("/api/groups/audit").1).unwrap();
    let rows = at.run("lag audit --json").json();
    for (of_api, of_command) in one["partitions"].as_array().unwrap().iter().zip(&rows) {
        for (key, value) in of_command.as_object().unwrap() {
            if key != "lag_seconds" && key != "status" {
                assert_eq!(&of_api[key], value, "{key}"); // these two change with time
            }
        }
    }
    at.run("groups delete audit");
    monitor.wait("/metrics", |_, body| !body.contains("audit"));
    assert_eq!(monitor.get("/api/groups/audit").0, 404);
    monitor.signal("TERM");
    let mut rest = String::new();
    monitor.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!((monitor.ended(), rest.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_it_goes_on_trying_and_is_not_ready() {
    let line = "monitor --listen 127.0.0.1:0 --interval 100ms -b 127.0.0.1:1";
    let monitor = Monitor::start(&mut offtake(line));
    monitor.wait("/api/status", |_, body| body.contains("127.0.0.1:1"));
    assert_eq!((monitor.get("/healthz").0, monitor.get("/readyz").0), (200, 503));
    assert_eq!(monitor.get("/api/groups").0, 503);
    monitor.signal("INT");
    assert_eq!(monitor.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_makes_it_unready() {
    let at = behind().await;
    let monitor = Monitor::start(&mut at.command("monitor --listen 127.0.0.1:0 --interval 100ms"));
    monitor.wait("/readyz", |status, _| status == 200);
    at.cluster.shutdown().await;
    monitor.wait("/readyz", |status, _| status == 503);
    monitor.wait("/metrics", |_, body| !body.contains("audit") && body.contains("offtake_monitor_up 0"));
    monitor.signal("TERM");
    assert_eq!(monitor.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_read_from_a_file_and_anew_with_sighup() {
    let at = behind().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor.properties");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write("interval = 100ms\nlisten = 127.0.0.1:0\nnames = kminion\n");
    let line = format!("monitor --settings {}", path.display());
    let mut monitor = Monitor::start(at.command(&line).env("OFFTAKE_MONITOR_CLUSTER_NAME", "west"));
    let metrics = monitor.wait("/metrics", |_, body| body.contains("group=\"audit\""));
    assert!(metrics.contains("kminion_") && metrics.contains(r#"cluster_name="west""#), "{metrics}");
    write("interval = 100ms\nlisten = 127.0.0.1:0\nnames = kafka-exporter\ngroup = ^nobody$\n");
    monitor.signal("HUP");
    monitor.line("settings reloaded");
    let metrics = monitor.wait("/metrics", |_, body| !body.contains("group=\"audit\""));
    assert!(!metrics.contains("kminion_") && metrics.contains("kafka_topic_partitions"), "{metrics}");
    write("intervall = 1s\n");
    monitor.signal("HUP");
    assert!(monitor.line("settings not reloaded").contains("--intervall"));
    assert_eq!(monitor.get("/healthz").0, 200);
    monitor.signal("TERM");
    assert_eq!(monitor.ended(), Some(0));
    let refused = done(&mut offtake(&line));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("monitor.properties") && refused.stderr.contains("--intervall"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_survives_a_kill_and_belongs_to_one() {
    let at = behind().await;
    let folder = tempfile::tempdir().unwrap();
    let line = format!("monitor --listen 127.0.0.1:0 --interval 100ms --history {}", folder.path().display());
    let query = "/api/history?group=audit&points=1000&partitions=0";
    let points = |monitor: &Monitor, least: usize| {
        let body = monitor.wait(query, |_, body| {
            let answer: Value = serde_json::from_str(body).unwrap();
            answer["at"].as_array().unwrap().len() >= least
        });
        serde_json::from_str::<Value>(&body).unwrap()["at"][0].as_i64().unwrap()
    };
    let first = Monitor::start(&mut at.command(&line));
    let began = points(&first, 3);
    let second = done(&mut at.command(&line));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("in use by another process"), "{second:?}");
    first.signal("KILL");
    drop(first);
    let again = Monitor::start(&mut at.command(&line));
    assert_eq!(points(&again, 1), began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_files_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (tokens, empty) = (file("tokens", "\none\n two \n"), file("empty", "\n\n"));
    let line = format!("monitor --listen 127.0.0.1:0 -b 127.0.0.1:1 --token-file {tokens}");
    let monitor = Monitor::start(&mut offtake(&line));
    assert_eq!((monitor.get("/metrics").0, monitor.get("/healthz").0), (401, 200));
    for (options, says) in [
        (format!("--token-file {empty}"), "no secret"),
        (format!("--password-file {tokens}"), "NAME:PASSWORD"),
        ("--tls-key nowhere.pem".to_owned(), "--tls-cert"),
        ("--webhook ftp://x".to_owned(), "https://host/path"),
        ("--history-size 1k".to_owned(), "64KiB"),
        ("--threshold 5m,1m,10s".to_owned(), "rise"),
        ("--interval 1ms".to_owned(), "100ms"),
        ("--group (".to_owned(), "unclosed group"),
        ("--names burrow".to_owned(), "kminion"),
    ] {
        let refused = done(&mut offtake(&format!("monitor --listen 127.0.0.1:0 -b 127.0.0.1:1 {options}")));
        assert_eq!(refused.code, Some(2), "{options}: {refused:?}");
        assert!(refused.stderr.contains(says), "{options}: {refused:?}");
    }
    let missing = done(&mut offtake("monitor --listen 127.0.0.1:0 --token-file /nowhere/tokens"));
    assert_eq!(missing.code, Some(1), "{missing:?}");
    let taken = format!("monitor -b 127.0.0.1:1 --listen {}", monitor.address);
    let taken = done(&mut offtake(&taken));
    assert!(taken.code == Some(1) && taken.stderr.contains("--listen"), "{taken:?}");
}

#[test]
fn the_shipped_rules_and_the_dashboard_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    let written = done(&mut offtake(&format!("monitor --alerts {}", path.display())));
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""), "{written:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("KafkaDataLossImminent"));
    let printed = done(&mut offtake("monitor --alerts -"));
    assert_eq!(printed.stdout, fs::read_to_string(&path).unwrap());
    let dashboard: Value = serde_json::from_str(&done(&mut offtake("monitor --dashboard -")).stdout).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    let nowhere = done(&mut offtake("monitor --alerts /nowhere/rules.yml"));
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_needs_a_terminal_and_its_picture_does_not() {
    let at = behind().await;
    let refused = at.run("top");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("needs a terminal") && refused.stderr.contains("offtake lag --watch"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("top.svg");
    let drawn = at.run(&format!("top --interval 100ms --rounds 2 --press + --screenshot {}", path.display()));
    assert_eq!(drawn.code, Some(0), "{drawn:?}");
    let picture = fs::read_to_string(&path).unwrap().replace('\u{a0}', " ");
    assert!(picture.contains("audit · partitions (2)") && picture.contains("orders-1"), "{picture}");
}

/// `script` gives the command a terminal of its own.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_gives_the_terminal_back_when_it_is_left_and_when_it_is_ended() {
    if !Path::new("/usr/bin/script").exists() {
        return; // util-linux is installed nearly everywhere
    }
    let at = behind().await;
    for end in ["q", "\u{3}", "TERM"] {
        let command = at.command("top --interval 100ms");
        let line: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let line: Vec<_> = line.iter().map(|part| part.to_str().unwrap()).collect();
        let mut child = Command::new("/usr/bin/script")
            .args(["-qefc", &format!("stty rows 40 cols 120; exec {}", line.join(" ")), "/dev/null"])
            .env("TERM", "xterm")
            .env("OFFTAKE_CONFIG", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A terminal that shows nothing is waited for as long as its process exists.
        let watched = child.id().to_string();
        let (has_ended, ends) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").arg(&watched).status();
            }
        });
        let (mut seen, mut piece) = (String::new(), [0; 4096]);
        let mut is_asked = false;
        loop {
            let read = stdout.read(&mut piece).unwrap_or(0);
            if read == 0 {
                break;
            }
            seen.push_str(&String::from_utf8_lossy(&piece[..read]));
            if !is_asked && seen.contains("audit") {
                is_asked = true;
                if end == "TERM" {
                    let of = child.id().to_string();
                    let killed = Command::new("pkill").args(["-TERM", "-P", &of]).status();
                    assert!(killed.unwrap().success());
                } else {
                    stdin.write_all(end.as_bytes()).unwrap();
                }
            }
        }
        drop(has_ended);
        watchdog.join().unwrap();
        let last: String = seen.chars().skip(seen.chars().count().saturating_sub(200)).collect();
        assert!(is_asked, "{end:?}: {last:?}");
        assert!(child.wait().unwrap().success(), "{end:?}: {last:?}");
        assert!(seen.contains("\u{1b}[?1049h") && seen.contains("\u{1b}[?1049l"), "{end:?}: {last:?}");
    }
}

/// The groups that a monitor shows.
fn groups(monitor: &Monitor) -> Vec<String> {
    let groups: Value = serde_json::from_str(&monitor.get("/api/groups").1).unwrap_or_default();
    let names = groups.as_array().into_iter().flatten();
    names.map(|group| group["group"].as_str().unwrap().to_owned()).collect()
}

/// Both monitors show each of their groups once. When one is killed, the other shows all groups once that one's
/// session is over; and at once when it is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_monitors_share_the_groups_and_one_takes_over_from_the_other() {
    let at = behind().await;
    for nth in 0..20 {
        let done = at.run(&format!("groups reset group-{nth} --topic orders --to-offset 3 --execute"));
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let all = groups_of(21);
    let start = || {
        let line = "monitor --listen 127.0.0.1:0 --interval 100ms --shard-group monitors -X session.timeout.ms=6000 -X heartbeat.interval.ms=500";
        Monitor::start(&mut at.command(line))
    };
    let first = start();
    first.wait("/readyz", |status, _| status == 200);
    first.wait("/api/groups", |_, _| groups(&first) == all);
    let second = start();
    second.wait("/readyz", |status, _| status == 200);
    second.wait("/metrics", |_, _| {
        let (one, two) = (groups(&first), groups(&second));
        !one.is_empty() && !two.is_empty() && one.len() + two.len() == all.len()
    });
    let shard = |monitor: &Monitor| -> u32 {
        let metrics = monitor.get("/metrics").1;
        let line =
            metrics.lines().find(|line| line.starts_with("offtake_monitor_shard_partitions ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(shard(&first) + shard(&second), 50);
    first.signal("KILL");
    let killed = Instant::now();
    second.wait("/api/groups", |_, _| groups(&second) == all);
    assert!(
        killed.elapsed() > Duration::from_secs(3),
        "not before its session is over: {:?}",
        killed.elapsed()
    );
    // A monitor that is stopped leaves the group.
    let third = start();
    third.wait("/api/groups", |_, _| !groups(&third).is_empty() && groups(&second).len() < all.len());
    second.signal("TERM");
    assert_eq!(second.ended(), Some(0));
    third.wait("/api/groups", |_, _| groups(&third) == all);
}

/// The names of `audit` and of numbered groups, `many` in all.
fn groups_of(many: usize) -> Vec<String> {
    let mut all: Vec<_> = (0..many - 1).map(|nth| format!("group-{nth}")).collect();
    all.push("audit".to_owned());
    all.sort();
    all
}

/// A password in a file of its own, and one in the settings file itself, are both read anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_of_the_cluster_is_read_anew_with_sighup() {
    let cluster = offtake_broker::Cluster::builder()
        .topic("orders", 1)
        .sasl_user(offtake_broker::SaslMechanism::Plain, "alice", "right")
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.properties");
    let write = |password: &str| {
        let text = format!(
            "bootstrap.servers={}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=alice\nsasl.password={password}\n",
            cluster.bootstrap()
        );
        fs::write(&path, text).unwrap();
    };
    write("wrong");
    let line = format!("monitor --listen 127.0.0.1:0 --interval 100ms --config {}", path.display());
    let mut monitor = Monitor::start(&mut offtake(&line));
    monitor.wait("/api/status", |_, body| body.contains("alice") || body.contains("uthenticat"));
    assert_eq!(monitor.get("/readyz").0, 503);
    write("right");
    monitor.signal("HUP");
    monitor.line("settings reloaded");
    monitor.wait("/readyz", |status, _| status == 200);
    monitor.signal("TERM");
    assert_eq!(monitor.ended(), Some(0));
}
