//! `offtake monitor` with its surroundings: Prometheus scrapes it and its rules fire, promtool checks its metrics and
//! its shipped rules, and Chromium shows its page. All three come from Debian: `apt-get install prometheus chromium`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use offtake_tests::{Offtake, Running, V4_3_0, free_port, shared, unique};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// A group that has read the first of ten records of a topic and then stopped, on real Kafka, and a monitor that
/// watches it.
struct Watched {
    group: String,
    topic: String,
    port: u16,
    _monitor: Running,
}

impl Watched {
    fn start() -> Self {
        let at = shared(V4_3_0);
        let (topic, group) = (at.tool.create_topic(&unique("monitor"), 2, &[]), unique("monitor"));
        let lines: String = (0..10).map(|nth| format!("{nth}\n")).collect();
        let produced = Offtake::new(["produce", &topic, "-p", "0"]).brokers(&at.kafka).stdin(lines).run();
        assert_eq!(produced.code, Some(0), "{:?}", produced.stderr);
        let reset =
            ["groups", "reset", &group, "--topic", &format!("{topic}:0"), "--to-offset", "1", "--execute"];
        let reset = Offtake::new(reset).brokers(&at.kafka).run();
        assert_eq!(reset.code, Some(0), "{:?}", reset.stderr);
        let port = free_port();
        let monitor = Offtake::new(["monitor", "--interval", "1s", "--window", "5s", "--listen"])
            .args([format!("127.0.0.1:{port}"), "--group".to_owned(), format!("^{group}$")])
            .brokers(&at.kafka)
            .start();
        let watched = Self { group, topic, port, _monitor: monitor };
        wait("the monitor is ready", || (get(port, "/readyz").0 == 200).then_some(()));
        watched
    }
}

/// Status and body.
fn get(port: u16, path: &str) -> (u16, String) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().unwrap_or_default(); // not listening yet
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned())
}

#[track_caller]
fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The output of a Debian tool, both streams, and whether it succeeded.
fn told(command: &mut Command, input: &str) -> (bool, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("apt-get install prometheus chromium");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/monitor/alerts")
}

#[test]
#[ignore = "needs Debian's prometheus: scripts/test full runs it"]
fn promtool_finds_the_rules_right_and_they_do_what_they_say() {
    for of in [["check", "rules", "offtake.rules.yml"], ["test", "rules", "offtake.rules.test.yml"]] {
        let (is_right, said) = told(Command::new("promtool").args(of).current_dir(rules()), "");
        assert!(is_right && said.contains("SUCCESS"), "{of:?}: {said}");
    }
}

#[test]
#[ignore = "needs Debian's prometheus: scripts/test full runs it"]
fn promtool_reads_the_metrics_and_dislikes_one_suffix() {
    let watched = Watched::start();
    let metrics = get(watched.port, "/metrics").1;
    assert!(
        metrics.contains(&format!("kafka_consumer_group_lag_sum{{group=\"{}\"}} 9", watched.group)),
        "{metrics}"
    );
    let (_, said) = told(Command::new("promtool").args(["check", "metrics"]), &metrics);
    let complaints: Vec<_> = said.lines().collect();
    let suffix =
        "kafka_consumer_group_lag_sum non-histogram and non-summary metrics should not have \"_sum\" suffix";
    assert_eq!(complaints, [suffix]);
}

#[test]
#[ignore = "needs Debian's prometheus: scripts/test full runs it"]
fn prometheus_scrapes_the_monitor_and_its_rules_fire() {
    let watched = Watched::start();
    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = prometheus(&folder, watched.port);
    let stopped = wait("an alert fires", || {
        let (_, body) = get(prometheus.port, "/api/v1/alerts");
        let answer: Value = serde_json::from_str(&body).ok()?;
        let alerts = answer["data"]["alerts"].as_array()?.clone();
        alerts.into_iter().find(|alert| {
            alert["state"] == "firing" && alert["labels"]["alertname"] == "KafkaConsumerGroupStopped"
        })
    });
    let labels = &stopped["labels"];
    assert_eq!(
        (&labels["group"], &labels["topic"]),
        (&watched.group.as_str().into(), &watched.topic.as_str().into())
    );
    let says = stopped["annotations"]["summary"].as_str().expect("a sentence");
    assert!(says.contains(&watched.group) && says.contains("has stopped committing"), "{says}");
    wait("the age of the oldest record is an alert, too", || {
        let (_, body) = get(prometheus.port, "/api/v1/alerts");
        body.contains("KafkaConsumerGroupBehind").then_some(())
    });
    let (_, targets) = get(prometheus.port, "/api/v1/targets");
    assert!(targets.contains("\"health\":\"up\""), "{targets}");
}

struct Prometheus {
    port: u16,
    _running: Running,
}

/// Starts it with the shipped rules, but without their hold times.
fn prometheus(folder: &TempDir, monitor: u16) -> Prometheus {
    let text = fs::read_to_string(rules().join("offtake.rules.yml")).expect("the rules");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("for: "));
    let at_once: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("rules.yml"), at_once).expect("rules");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
         scrape_configs: [{{ job_name: offtake, static_configs: [{{ targets: ['127.0.0.1:{monitor}'] }}] }}]\n"
    );
    let path = folder.path().join("prometheus.yml");
    fs::write(&path, config).expect("a configuration");
    let port = free_port();
    let running = Offtake::new([
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.path().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ])
    .instead("prometheus")
    .start();
    wait("Prometheus is ready", || (get(port, "/-/ready").0 == 200).then_some(()));
    Prometheus { port, _running: running }
}

#[test]
#[ignore = "needs Debian's chromium: scripts/test full runs it"]
fn the_page_shows_the_group_and_its_policy_forbids_it_nothing() {
    let watched = Watched::start();
    let folder = tempfile::tempdir().expect("a folder");
    for (path, wanted) in
        [("", "not known yet"), (&*format!("#group={}", watched.group), "nobody reads for it")]
    {
        let mut command = Command::new("chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]);
        command.arg("--virtual-time-budget=5000").arg("--dump-dom");
        command.arg(format!("--user-data-dir={}", folder.path().display()));
        command.arg(format!("http://127.0.0.1:{}/{path}", watched.port));
        let (is_content, said) = told(&mut command, "");
        assert!(is_content, "{said}");
        assert!(said.contains(&watched.group), "{said}");
        assert!(said.contains(wanted) || said.contains("stopped"), "{said}");
        let complaints: Vec<_> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
        assert_eq!(complaints, [""; 0], "{path}");
    }
}
