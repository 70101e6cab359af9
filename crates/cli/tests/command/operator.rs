//! An operator's everyday commands, against the embedded broker.
use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule, NewRecord};
use serde_json::{Value, json};

/// A cluster, with the command directed at it.
pub(crate) struct At {
    pub(crate) cluster: Cluster,
}

impl At {
    /// A cluster with topic `orders`: two partitions of ten records, `k0` to `k9` and `v0` to `v9`.
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::start().await.unwrap();
        cluster.create_topic("orders", 2).unwrap();
        for partition in 0..2 {
            for nth in 0..10 {
                let (key, value) = (format!("k{nth}"), format!("v{nth}"));
                cluster.produce("orders", partition, Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
            }
        }
        Self { cluster }
    }

    /// A cluster with these empty topics; its clock agrees with this machine's.
    pub(crate) async fn start_with(topics: &[(&str, i32)]) -> Self {
        Self::start_of(1, topics).await
    }

    /// The same with this many brokers.
    pub(crate) async fn start_of(brokers: i32, topics: &[(&str, i32)]) -> Self {
        let cluster = today(brokers).await;
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions).unwrap();
        }
        Self { cluster }
    }

    /// The command with these arguments, separated by blanks.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = offtake(args);
        command.args(["--brokers", &self.cluster.bootstrap()]);
        command
    }

    pub(crate) fn run(&self, args: &str) -> Done {
        done(&mut self.command(args))
    }

    /// The committed offsets of the group by partition, read from a plan that changes nothing.
    pub(crate) fn committed(&self, group: &str) -> Vec<i64> {
        let plan = self.run(&format!("groups reset {group} --topic orders --to-latest --json")).json();
        plan.iter().filter_map(|row| row["from"].as_i64()).collect()
    }
}

/// A cluster whose wall clock agrees with this machine's: it rejects records from the future.
async fn today(brokers: i32) -> Cluster {
    let mut config = Config::default();
    config.brokers = brokers;
    config.wall_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
    Cluster::builder().config(config).start().await.unwrap()
}

/// The command without a cluster; the environment names none.
pub(crate) fn offtake(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offtake"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("OFFTAKE_") || name.starts_with("KAFKA_")) {
            command.env_remove(name);
        }
    }
    command.args(args.split_whitespace()).env("OFFTAKE_CONFIG", "").env_remove("RUST_LOG");
    command
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn done(command: &mut Command) -> Done {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Done {
    pub(crate) fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asserts that the command was refused for wrong usage, with these words.
    #[track_caller]
    pub(crate) fn refused(&self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{words}: {}", self.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seconds_are_not_taken_for_milliseconds() {
    let at = At::start().await;
    for command in [
        "groups reset audit --topic orders --to-datetime 1795346206 --execute",
        "consume orders --from @1795346206 --until latest",
        "offsets orders --at 1795346206",
    ] {
        at.run(command).refused("1970-01-21T18:42:26.206Z, so it looks like seconds: write 1795346206000");
    }
    assert!(at.committed("audit").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_without_a_group_too() {
    let at = At::start().await;
    let reads = at.cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Delay(Duration::ZERO)));
    let line = "consume orders --from latest -n 2 -f %p:%s\\n -X metadata.max.age.ms=100";
    let reading = at.command(line).stdout(Stdio::piped()).spawn().unwrap();
    while at.cluster.hits(reads) == 0 {
        std::thread::yield_now();
    }
    at.cluster.with(|model, _| model.add_partitions("orders", 3)).unwrap();
    for (partition, value) in [(2, "new"), (0, "old")] {
        at.cluster.produce("orders", partition, None, Some(value.as_bytes())).unwrap();
    }
    let output = String::from_utf8(reading.wait_with_output().unwrap().stdout).unwrap();
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0:old", "2:new"]);
}

/// It is waited for, and the others are looked at all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_gone_hides_no_partitions_that_are_added_to_another() {
    let at = At::start().await;
    at.cluster.create_topic("returns", 1).unwrap();
    let reads = at.cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Delay(Duration::ZERO)));
    let line =
        "consume orders returns --from latest -n 1 --idle-timeout 40s -f %p:%s\\n -X metadata.max.age.ms=100";
    let reading = at.command(line).stdout(Stdio::piped()).spawn().unwrap();
    while at.cluster.hits(reads) == 0 {
        std::thread::yield_now();
    }
    at.cluster.with(|model, _| model.delete_topic("returns")).unwrap();
    let listings = at.cluster.inject(FaultRule::on(ApiKey::Metadata, Fault::Delay(Duration::ZERO)));
    while at.cluster.hits(listings) < 6 {
        std::thread::yield_now(); // until the consumer knows that it is gone
    }
    at.cluster.with(|model, _| model.add_partitions("orders", 3)).unwrap();
    at.cluster.produce("orders", 2, None, Some(b"new")).unwrap();
    let output = reading.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2:new\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_measurement_moves_no_group() {
    let at = At::start().await;
    assert_eq!(at.run("consume orders -g audit --from earliest -n 7").code, Some(0));
    let before = at.committed("audit");
    assert_eq!(before.iter().sum::<i64>(), 7);
    for threads in 0..2 {
        let measured = at.run(&format!("bench consume orders -g audit --threads {threads} --json")).json();
        assert_eq!(measured[0]["records"], 13, "it reads on from where the group stands");
        assert_eq!(at.committed("audit"), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_produce_benchmark_are_in_the_topic() {
    let at = At { cluster: today(1).await };
    at.cluster.create_topic("load", 3).unwrap();
    let mut written = 0;
    for (more, records, size) in
        [("-n 20000 --size 10", 20_000, 10), ("-n 40 --rate 400", 40, 100), ("-n 0", 0, 0)]
    {
        let measured =
            &at.run(&format!("bench produce load --json -X compression.type=lz4 {more}")).json()[0];
        assert_eq!(
            (&measured["records"], &measured["bytes"]),
            (&json!(records), &json!(records * size)),
            "{more}"
        );
        let latency = ["latency_p50_ms", "latency_p99_ms"].map(|name| measured[name].as_f64());
        assert_eq!(latency.map(|ms| ms.is_some_and(|ms| ms > 0.0)), [records > 0; 2], "{measured}");
        if more.contains("--rate") {
            assert!(measured["seconds"].as_f64().unwrap() >= 39.0 / 400.0, "{measured}");
        }
        written += records;
        let read = &at.run("bench consume load --json").json()[0];
        assert_eq!((&read["records"], &read["order_errors"]), (&json!(written), &json!(0)), "{more}");
    }
    assert_eq!(at.run("consume load -n 1 -p 0 -f %S").stdout, "10");
    let refused = at.run("bench produce load -n 5 -X max.request.size=90");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(
        refused.stderr.contains("record 1: ") && refused.stderr.contains("max.request.size"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_cluster_is_may_stand_in_a_variable_or_a_file() {
    let at = At::start().await;
    let brokers = at.cluster.bootstrap();
    let topics = |set: &dyn Fn(&mut Command)| {
        let mut command = offtake("topics list --json");
        set(&mut command);
        done(&mut command)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offtake/config.properties");
    std::fs::create_dir(folder.path().join("offtake")).unwrap();
    std::fs::write(&file, format!("bootstrap.servers={brokers}\nacks=all\n")).unwrap();
    for variable in ["OFFTAKE_BROKERS", "OFFTAKE_X_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"] {
        let listed = topics(&|command| {
            command.env(variable, &brokers);
        });
        assert_eq!(listed.json()[0]["topic"], "orders", "{variable}");
    }
    let listed = topics(&|command| {
        command.env_remove("OFFTAKE_CONFIG").env("XDG_CONFIG_HOME", folder.path());
    });
    assert_eq!(listed.json()[0]["topic"], "orders");
    assert!(listed.stderr.contains("not properties of a consumer: acks"), "{listed:?}");
    let missing = topics(&|command| {
        command.env("OFFTAKE_CONFIG", folder.path().join("nosuch"));
    });
    missing.refused("nosuch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_described_with_what_it_has_committed_and_its_lag() {
    let at = At::start().await;
    at.cluster.create_topic("gone", 1).unwrap();
    at.cluster.produce("gone", 0, None, Some(b"v")).unwrap();
    assert_eq!(at.run("consume gone -g audit --from earliest -n 1").code, Some(0));
    assert_eq!(at.run("consume orders -g audit --from earliest --until latest").code, Some(0));
    at.cluster.produce("orders", 1, None, Some(b"new")).unwrap();
    let described = at.run("groups describe audit --json").json();
    let row = |topic: &str, partition: i32, numbers: [Option<i64>; 3]| {
        json!({
            "topic": topic, "partition": partition, "committed": numbers[0], "end": numbers[1], "lag": numbers[2],
            "lag_seconds": null, "member": null, "client": null, "host": null, "status": null,
            "lag_bytes": null,
        })
    };
    let [first, second] =
        [row("orders", 0, [Some(10), Some(10), Some(0)]), row("orders", 1, [Some(10), Some(11), Some(1)])];
    let expected = json!([row("gone", 0, [Some(1), Some(1), Some(0)]), first, second]);
    let without_age = |row: &Value| {
        let mut row = row.clone();
        // A lag has an age; without a lag there is none.
        let age = row["lag_seconds"].take().as_f64().unwrap();
        assert_eq!(age == 0.0, row["lag"] == 0, "{row}");
        let bytes = row["lag_bytes"].take().as_u64().unwrap();
        assert_eq!(bytes == 0, row["lag"] == 0, "{row}");
        row
    };
    let rows: Vec<_> = described[0]["offsets"].as_array().unwrap().iter().map(without_age).collect();
    assert_eq!(json!(rows), expected);

    // Real Kafka removes the offsets of a deleted topic; so a group's committed offsets may name topics that do not exist.
    assert_eq!(at.run("topics delete gone").code, Some(0));
    let described = at.run("groups describe audit --json");
    for row in described.json()[0]["offsets"].as_array().unwrap() {
        assert_eq!(row["end"].is_null(), row["topic"] == "gone", "{row}");
    }
    let table = at.run("groups describe audit").stdout;
    let row = table.lines().find(|line| line.starts_with("orders") && line.contains(" 11 ")).unwrap();
    let mut cells: Vec<_> = row.split_whitespace().collect();
    assert!(cells.remove(5).parse::<f64>().unwrap() >= 0.0, "{row}");
    assert!(cells.pop().unwrap().parse::<u64>().unwrap() > 0, "{row}");
    assert_eq!(cells, ["orders", "1", "10", "11", "1", "-", "-", "-", "-"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_offsets_are_exported_and_restored() {
    let at = At::start().await;
    assert_eq!(at.run("consume orders -g audit --from earliest -n 7").code, Some(0));
    let before = at.committed("audit");
    let export = at.run("groups reset audit --topic orders --to-current --dry-run --export");
    assert_eq!(export.code, Some(0), "{export:?}");
    assert!(export.stderr.contains("nothing was changed; add --execute"), "{export:?}");
    let line = |(partition, offset): (usize, &i64)| format!("orders,{partition},{offset}\n");
    // A partition without a committed offset is at its end.
    let expected: String = match before.as_slice() {
        [first] => ["orders,0,".to_owned() + &first.to_string(), "orders,1,10".to_owned()].join("\n") + "\n",
        both => both.iter().enumerate().map(line).collect(),
    };
    assert_eq!(export.stdout, expected);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.csv");
    std::fs::write(&file, &export.stdout).unwrap();
    assert_eq!(at.run("groups reset audit --topic orders --to-earliest --execute").code, Some(0));
    assert_eq!(at.committed("audit"), [0, 0]);
    let restored = at.run(&format!("groups reset audit --from-file {} --execute --export", file.display()));
    assert_eq!((restored.code, restored.stdout), (Some(0), expected), "{}", restored.stderr);
    assert_eq!(at.committed("audit")[..before.len()], before);
    at.run("groups reset audit --all-topics --to-current --execute --dry-run").refused("--dry-run");
    at.run("groups reset audit --all-topics --to-current --export --json").refused("--export");
    at.run("--json groups reset audit --all-topics --to-current --export").refused("--export");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_asked_for_is_printed_and_the_rest_counts_as_read() {
    let at = At::start().await;
    let traced =
        NewRecord::new("traced").header("trace", "abc").header("x", "1").timestamp(1_700_000_000_000);
    at.cluster.append("orders", 1, &[traced]).unwrap();
    let printed = |options: &str| {
        let read = at.run(&format!("consume orders --until latest -f %p:%o\\n {options}"));
        assert_eq!(read.code, Some(0), "{read:?}");
        let mut lines: Vec<_> = read.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(printed("--key-contains 3"), ["0:3", "1:3"]);
    assert_eq!(printed("--value-contains v7 --key-contains k"), ["0:7", "1:7"]);
    assert_eq!(printed("--value-contains v7 --key-contains 8"), [""; 0]);
    assert_eq!(printed("--header-contains trace"), ["1:10"]);
    assert_eq!(printed("--header-contains trace=bc"), ["1:10"]);
    assert_eq!(printed("--header-contains x=2"), [""; 0]);
    assert_eq!(printed("--value-contains v -n 3").len(), 3);
    let read = at.run("consume orders -g audit --from earliest --until latest --key-contains 3");
    assert_eq!((read.code, read.stdout.as_str()), (Some(0), "v3\nv3\n"), "{read:?}");
    assert_eq!(at.committed("audit"), [10, 11]);
    let read = at.run("consume orders -p 1 --from 10 --until latest -f %I");
    assert_eq!(read.stdout, "2023-11-14T22:13:20.000Z");
    let table = at.run("offsets orders -p 1 --at 2023-11-14T22:13:20").stdout;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["orders", "1", "0", "11", "11", "0"]);
    assert!(row[6] >= "2026-09-21T" && row[6].ends_with('Z'), "the day of the embedded broker: {row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_ends_when_nothing_comes_any_more() {
    let at = At::start().await;
    for group in ["", "-g audit"] {
        let read = at.run(&format!("consume orders --from earliest --idle-timeout 3s {group}"));
        assert_eq!((read.code, read.stdout.lines().count()), (Some(0), 20), "{group}: {read:?}");
    }
    assert_eq!(at.committed("audit"), [10, 10]);
    at.run("consume orders --idle-timeout 0s").refused("such as 10s");
}

#[test]
fn nonsense_is_told_at_once_and_in_terms_of_what_was_written() {
    for (line, words) in [
        ("--json consume orders -f %s", "'--json' cannot be used with '--format <FMT>'"),
        ("consume orders --json -f %s", "'--json' cannot be used with '--format <FMT>'"),
        ("-q consume orders -v", "'--quiet' cannot be used with '--verbose'"),
        ("consume orders -p -1", "write a number, 0 or more"),
        ("consume orders -p x", "write a number, 0 or more"),
        ("consume orders -n -1", "write 0 or more"),
        ("bench consume orders --threads 100000", "100000 is not in 0..=256"),
        ("bench produce orders --size 16777217", "at most 16777216"),
        ("consume orders -e", "`--until latest`"),
        ("-C -t orders", "`offtake consume TOPIC`"),
    ] {
        done(&mut offtake(line)).refused(words);
    }
    for line in ["consume", "topics describe", "topics delete", "offsets", "bench consume", "bench produce"] {
        done(offtake(line).arg("")).refused("<TOPIC>");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_topics_are_deleted_though_another_does_not_exist() {
    let at = At::start().await;
    for topic in ["a", "b"] {
        let created = at.run(&format!("topics create {topic} -p 3"));
        assert_eq!(created.stdout, format!("created topic {topic}: 3 partitions, replication factor 1\n"));
    }
    let deleted = at.run("topics delete a nosuch b -X default.api.timeout.ms=2000");
    assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(1), "deleted a\ndeleted b\n"), "{deleted:?}");
    assert!(deleted.stderr.lines().last().unwrap().contains("nosuch"), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_deleted_though_nobody_reads_which() {
    let at = At::start_with(&[("a", 1), ("b", 1), ("c", 1)]).await;
    let mut command = at.command("topics delete a nosuch b c --json -X default.api.timeout.ms=2000");
    let mut deleting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(deleting.stdout.take());
    let deleted = deleting.wait_with_output().unwrap();
    let stderr = String::from_utf8(deleted.stderr).unwrap();
    assert_eq!(deleted.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("nosuch"), "{stderr}");
    assert_eq!(at.run("topics --json").stdout, "");
}

/// And the others are left alone, rather than asked for in no time at all, which might delete them all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_asks_for_patience_is_waited_for_once_and_not_for_each_topic() {
    const NOT_CONTROLLER: i16 = 41;
    let at = At::start_with(&[("a", 1), ("b", 1), ("c", 1)]).await;
    let rule = at.cluster.inject(FaultRule::on(ApiKey::DeleteTopics, Fault::Fail(NOT_CONTROLLER)));
    let deleted = at.run("topics delete a b c --json -X default.api.timeout.ms=3000");
    let lines: Vec<_> = deleted.stderr.lines().collect();
    assert_eq!((deleted.code, lines.len()), (Some(1), 3), "{deleted:?}");
    assert!(
        lines[2].contains("topic `a`") && lines[2].contains("gave up after"),
        "the last line is why: {deleted:?}"
    );
    for (line, topic) in lines.iter().zip(["b", "c"]) {
        assert!(line.contains(&format!("topic `{topic}` was left alone")), "{deleted:?}");
    }
    assert_eq!(deleted.stdout.matches("\"deleted\":false").count(), 3, "{deleted:?}");
    assert!(at.cluster.hits(rule) > 1, "it is asked again for a while");
    assert_eq!(at.run("topics --json").json().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_that_ask_for_patience_are_waited_for_once_and_not_for_each_group() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let at = At::start().await;
    at.cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(COORDINATOR_NOT_AVAILABLE)));
    let groups: Vec<_> = (0..50).map(|nth| format!("g{nth:02}")).collect();
    let deleted = at.run(&format!("groups delete {} -X default.api.timeout.ms=3000", groups.join(" ")));
    let lines: Vec<_> = deleted.stderr.lines().collect();
    assert_eq!((deleted.code, lines.len()), (Some(1), 50), "{deleted:?}");
    let (left_alone, tried) = lines.split_at(30);
    for (nth, line) in left_alone.iter().enumerate() {
        assert!(line.contains(&format!("group `g{:02}` was left alone", nth + 20)), "{line}");
    }
    for line in tried {
        assert!(line.contains("gave up after") || line.contains("COORDINATOR_NOT_AVAILABLE"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "a process is watched from outside")]
async fn a_topic_that_does_not_exist_ends_the_command_soon_with_one_line() {
    let at = At::start().await;
    let began = Instant::now();
    at.run("topics");
    // On a busy machine the start alone may take longer than the second after which the command says that it waits.
    let is_slow = began.elapsed() > Duration::from_millis(500);
    let began = Instant::now();
    let read = at.run("consume nosuch");
    let waits = |line: &&str| line.contains("have not answered all questions");
    let lines: Vec<_> = read.stderr.lines().filter(|line| !(is_slow && waits(line))).collect();
    assert!(
        read.code == Some(1) && matches!(lines[..], [only] if only.contains("nosuch does not exist")),
        "{read:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_topic_that_is_waited_for_is_named_meanwhile() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // it accepts, and answers nothing
    let read = done(&mut offtake(&format!(
        "consume orders -b {} -X default.api.timeout.ms=6500",
        silent.local_addr().unwrap()
    )));
    assert_eq!(read.code, Some(1), "{read:?}");
    let waiting =
        read.stderr.lines().position(|line| line.contains("about topic orders yet; waiting up to 6.5s"));
    assert!(waiting.is_some_and(|line| line + 1 < read.stderr.lines().count()), "{read:?}");
}

#[test]
fn the_version_tells_of_the_build_and_not_of_the_machine() {
    let short = done(&mut offtake("-V"));
    assert_eq!(short.stdout, format!("offtake {}\n", env!("CARGO_PKG_VERSION")));
    let long = done(&mut offtake("--version")).stdout;
    let names: Vec<_> = long.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["offtake", "commit", "target", "profile", "rustc"]);
    assert!(long.lines().all(|line| line.split_whitespace().count() > 1), "{long}");
    assert!(!long.contains('/') && !long.contains('\\'), "no folders: {long}");
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = done(&mut offtake(&format!("completions {shell}")));
        assert_eq!(script.code, Some(0), "{script:?}");
        assert!(script.stdout.contains("idle-timeout"), "{shell}");
    }
    let complete = "source <(\"$0\" completions bash); COMP_WORDS=(offtake groups res); COMP_CWORD=2; \
                    _offtake offtake res groups; echo \"${COMPREPLY[@]}\"";
    match Command::new("bash").args(["-c", complete, env!("CARGO_BIN_EXE_offtake")]).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "reset\n", "{output:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "there is no bash here"),
    }
    done(&mut offtake("completions tcsh")).refused("tcsh");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = done(&mut offtake("man groups reset"));
    assert_eq!(page.code, Some(0), "{page:?}");
    for part in [".TH offtake-groups-reset 1", "to\\-current", "\\-X", "brokers"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    assert!(page.stdout.contains(concat!("offtake ", env!("CARGO_PKG_VERSION"))));
    assert!(done(&mut offtake("man")).stdout.contains("OFFTAKE_BROKERS"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(done(offtake("man --dir").arg(folder.path())).code, Some(0));
    for command in ["", "-consume", "-groups-reset", "-topics-create"] {
        assert!(folder.path().join(format!("offtake{command}.1")).exists(), "{command}");
    }
    done(&mut offtake("man groups nosuch")).refused("`offtake groups nosuch`");
}

/// With more descriptors a command starts, and reports what it cannot open.
#[cfg(unix)]
#[test]
fn p6_a_command_that_has_no_descriptors_for_its_runtime_says_so_in_one_line() {
    for descriptors in 4..=10 {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" topics list");
        let ended = done(Command::new("/bin/sh").args(["-c", &script, env!("CARGO_BIN_EXE_offtake")]));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{descriptors}: {ended:?}");
        assert!(ended.stderr.contains("cannot start the runtime: Too many open files"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_of_the_log_is_moved_to_its_end_in_a_group_too() {
    let at = At::start().await;
    let read = at.run("consume orders -g late --from 500 --idle-timeout 1s");
    assert_eq!((read.code, read.stdout.as_str()), (Some(0), ""), "{read:?}");
    assert!(at.committed("late").iter().all(|offset| *offset == 10));
    let read = at.run("consume orders -g inside --from 4 --until latest");
    assert_eq!((read.code, read.stdout.lines().count()), (Some(0), 12), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "a process is watched from outside")]
async fn an_offset_of_an_open_transaction_is_read_from_when_that_has_ended() {
    let at = At::start_with(&[("orders", 1)]).await;
    let builder = offtake_producer::Producer::builder(at.cluster.bootstrap());
    let mut producer = builder.property("transactional.id", "t").build_transactional().await.unwrap();
    for options in ["", "-g audit"] {
        let transaction = producer.begin().await.unwrap();
        let send = |nth: u8| transaction.send(offtake_producer::ProducerRecord::to("orders").value(&[nth]));
        let mut first = None;
        for delivery in (0..30).map(send).collect::<Vec<_>>() {
            let offset = delivery.await.unwrap().offset.unwrap();
            first.get_or_insert(offset);
        }
        let from = first.unwrap() + 20;
        let line =
            format!("consume orders {options} --from {from} --isolation read_committed -n 10 -f %o\\n");
        let reads = at.cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Delay(Duration::ZERO)));
        let reading = at.command(&line).stdout(Stdio::piped()).spawn().unwrap();
        while at.cluster.hits(reads) == 0 {
            std::thread::yield_now();
        }
        at.cluster.withdraw(reads);
        transaction.commit().await.unwrap();
        let output = reading.wait_with_output().unwrap();
        let expected: String = (from..from + 10).map(|offset| format!("{offset}\n")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{options}");
    }
}

#[test]
fn invalid_options_neither_panic_nor_reveal_a_password() {
    let refused = done(&mut offtake("broker --sasl PLAIN --user :canary"));
    refused.refused("NAME:PASSWORD");
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    done(&mut offtake("demo --screenshot nosuch.svg --screenshot-at 1e30")).refused("--screenshot-at");
    done(&mut offtake("broker -b localhost:1")).refused("the address of this one is set by --listen");
}

#[cfg(feature = "tls")]
#[test]
fn a_file_that_a_property_names_and_that_cannot_be_read_is_no_wrong_usage() {
    for (command, prefix) in [
        ("consume orders -X security.protocol=SSL", ""),
        ("produce orders -X security.protocol=SSL", ""),
        ("topics list -X security.protocol=SSL", ""),
        #[cfg(feature = "registry")]
        ("schemas list --registry https://127.0.0.1:1", "schema.registry."),
    ] {
        let truststore =
            format!("-X {prefix}ssl.truststore.type=PEM -X {prefix}ssl.truststore.location=/nosuch.pem");
        let failed = done(&mut offtake(&format!("{command} -b 127.0.0.1:1 {truststore}")));
        assert_eq!(failed.code, Some(1), "{command}: {failed:?}");
        assert!(
            failed.stderr.contains("/nosuch.pem") && failed.stderr.contains("no such file"),
            "{failed:?}"
        );
    }
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let truststore = format!("-X ssl.truststore.type=PEM -X ssl.truststore.location={other}");
    done(&mut offtake(&format!("consume orders -b 127.0.0.1:1 -X security.protocol=SSL {truststore}")))
        .refused("ssl.truststore.location");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_outside_the_log_is_said_to_be_moved() {
    let at = At::start().await;
    for (command, said) in [
        (
            "consume orders -p 0 --from 99999 --until latest",
            "orders-0: offset 99999 is after the log end; using 10\n",
        ),
        (
            "consume orders -g audit --from 99999 --until latest --idle-timeout 10s",
            "orders-1: offset 99999 is after the log end; using 10 if the group has committed nothing there\n",
        ),
    ] {
        let read = at.run(command);
        assert_eq!((read.code, read.stdout.as_str()), (Some(0), ""), "{read:?}");
        assert!(read.stderr.contains(said), "{read:?}");
    }
    let inside = at.run("consume orders -p 0 --from 10 --until latest");
    assert_eq!((inside.code, inside.stderr.as_str()), (Some(0), ""), "{inside:?}");
}
