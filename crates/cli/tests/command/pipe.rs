//! `offtake pipe`, with handlers in sh and Python.
#![allow(clippy::disallowed_methods, reason = "processes are watched from outside, in real time")]

use std::{fs, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    operator::At,
    piping::{Folder, Piping, ends, sh, text},
};

/// Whether these are `v0` to `v9` of each of two partitions, once each.
fn all_once(mut values: Vec<String>) -> bool {
    values.sort();
    let mut expected: Vec<_> = (0..20).map(|nth| format!("v{}", nth / 2)).collect();
    expected.sort();
    values == expected
}

const ECHO: &str = "while read -r line; do echo ok; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_of_one_line_is_enough() {
    let (at, folder) = (At::start().await, Folder::new());
    let mut piping = Piping::start(&at, &sh(&folder, "ok", ECHO), "--workers 2");
    piping.event("assigned", |event| event["partitions"].as_array().is_some_and(|of| of.len() == 2));
    piping.committed(&[10, 10]);
    let done = piping.stop();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(at.committed("pipe"), [10, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_in_any_order() {
    let (at, folder) = (At::start().await, Folder::new());
    let handler = folder.python(
        "backwards",
        "
pending = []
for line in sys.stdin:
    record = json.loads(line)
    seen(record['value'], record['attempt'], record['headers'])
    pending.append({key: record[key] for key in ('topic', 'partition', 'offset')})
    if len(pending) == 4:
        for place in reversed(pending):
            print(json.dumps({**place, 'result': 'ok'}))
        pending = []
",
    );
    let mut piping = Piping::start(&at, &handler, "--workers 1 --in-flight 4 --order none");
    piping.committed(&[10, 10]);
    assert_eq!(piping.stop().code, Some(0));
    assert!(all_once(folder.seen().iter().map(|seen| text(&seen[0])).collect()));
    assert!(folder.seen().iter().all(|seen| seen[1] == 1 && seen[2] == json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe12_failed_records_go_to_the_dead_letter_topic_with_their_reason() {
    let (at, folder) = (At::start_with(&[("orders", 1), ("dlq", 1)]).await, Folder::new());
    for nth in 0..10 {
        at.cluster.produce("orders", 0, Some(b"k"), Some(format!("v{nth}").as_bytes())).unwrap();
    }
    let script = r#"while read -r line; do
        case $line in
            *v3*) echo "retry the row is locked" ;;
            *v5*) echo "poison no such customer" ;;
            *) echo ok ;;
        esac
    done"#;
    let options = "--dlq dlq --attempts 3 --backoff 1ms..2ms --breaker 100%/1000";
    let mut piping = Piping::start(&at, &sh(&folder, "picky", script), options);
    for attempt in 1..3 {
        let retried = piping.event("retried", |_| true);
        assert_eq!((&retried["offset"], &retried["attempt"]), (&json!(3), &json!(attempt)));
        assert_eq!(retried["reason"], "the row is locked");
    }
    let dead = piping.event("dead_lettered", |event| event["offset"] == 3);
    assert_eq!((&dead["attempts"], &dead["to"][0]), (&json!(3), &json!("dlq")));
    piping.committed(&[10]);
    assert_eq!(piping.stop().code, Some(0));
    let letters = at.run("dlq show dlq --json").json();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            [&letter["value"], &letter["original_offset"], &letter["error_reason"], &letter["error_attempts"]]
        })
        .collect();
    assert_eq!(json!(told), json!([["v3", 3, "the row is locked", 3], ["v5", 5, "no such customer", 1],]));
    assert!(letters.iter().all(|letter| letter["original_group"] == "pipe" && letter["key"] == "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_dead_letters_a_record_that_is_poison_stops_its_partition_alone() {
    let (at, folder) = (At::start().await, Folder::new());
    let script = r#"while read -r line; do
        case $line in
            *'"partition":0,"offset":4,'*) echo "poison no such customer" ;;
            *) echo ok ;;
        esac
    done"#;
    let mut piping = Piping::start(&at, &sh(&folder, "picky", script), "--order partition");
    let stopped = piping.event("stopped", |_| true);
    assert_eq!((&stopped["partition"], &stopped["offset"]), (&json!(0), &json!(4)));
    piping.committed(&[4, 10]);
    let done = piping.stop();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let last = done.stderr.lines().last().unwrap();
    assert!(last.contains("orders-0 stopped at offset 4") && last.contains("no such customer"), "{last}");
    assert_eq!(at.committed("pipe"), [4, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_dies_talks_nonsense_or_sleeps_is_started_again_and_nothing_is_lost() {
    let (at, folder) = (At::start().await, Folder::new());
    // Each goes wrong when a process first sees it: on a busy machine the first attempt may end before one has started.
    let marks = folder.path("mark");
    let handler = format!(
        "env MARKS={} {}",
        marks.display(),
        folder.python(
            "fragile",
            "
for line in sys.stdin:
    record = json.loads(line)
    mark = os.environ['MARKS'] + str(record['partition']) + record['value']
    first = not os.path.exists(mark)
    open(mark, 'w').close()
    if record['value'] == 'v2' and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if record['value'] == 'v4' and first:
        sys.exit(3)
    if record['value'] == 'v6' and first:
        print('Traceback (most recent call last):')
    if record['value'] == 'v8' and first:
        time.sleep(1000)
    seen(record['value'], record['attempt'])
    print('ok')
",
        )
    );
    let options = "--workers 2 --timeout 2s --backoff 1ms..10ms --breaker 100%/1000";
    let mut piping = Piping::start(&at, &handler, options);
    piping.committed(&[10, 10]);
    let done = piping.stop();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for why in
        ["killed by signal 9", "ended with status 3", "`Traceback (most recent", "did not answer within 2s"]
    {
        assert!(
            done.stderr.lines().any(|line| line.contains("\"child\"") && line.contains(why)),
            "{why}: {}",
            done.stderr
        );
    }
    let finished = folder.seen();
    for value in (0..10).map(|nth| format!("v{nth}")) {
        let attempts: Vec<_> =
            finished.iter().filter(|seen| text(&seen[0]) == value).map(|seen| &seen[1]).collect();
        assert!(attempts.len() >= 2, "{value}: {finished:?}");
        let is_harmed = ["v2", "v4", "v8"].contains(&value.as_str());
        assert!(!is_harmed || attempts.iter().all(|attempt| **attempt != 1), "{value}: {attempts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_keys_records_come_one_after_the_other_through_retries() {
    let (at, folder) = (At::start_with(&[("orders", 1)]).await, Folder::new());
    for nth in 0..60 {
        let key = format!("k{}", nth % 4);
        at.cluster.produce("orders", 0, Some(key.as_bytes()), Some(format!("v{nth}").as_bytes())).unwrap();
    }
    let handler = folder.python(
        "moody",
        "
for line in sys.stdin:
    record = json.loads(line)
    if record['offset'] % 7 == 0 and record['attempt'] < 3:
        print('retry not yet')
        continue
    seen(record['key'], record['offset'])
    print('ok')
",
    );
    let mut piping = Piping::start(&at, &handler, "--workers 4 --backoff 1ms..5ms --breaker 100%/1000");
    piping.committed(&[60]);
    assert_eq!(piping.stop().code, Some(0));
    for key in ["k0", "k1", "k2", "k3"] {
        let offsets: Vec<_> = folder
            .seen()
            .iter()
            .filter(|seen| seen[0] == key)
            .map(|seen| seen[1].as_i64().unwrap())
            .collect();
        assert!(offsets.len() == 15 && offsets.is_sorted(), "{key}: {offsets:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_most_answers_are_retry_nothing_is_tried_but_a_few_and_nothing_is_dead_lettered() {
    let (at, folder) = (At::start_with(&[("orders", 1), ("dlq", 1)]).await, Folder::new());
    for nth in 0..20 {
        at.cluster.produce("orders", 0, Some(format!("k{nth}").as_bytes()), Some(b"v")).unwrap();
    }
    let up = folder.path("up");
    let script = format!(
        "while read -r line; do if [ -e {} ]; then echo ok; else echo retry the service is down; fi; done",
        up.display()
    );
    let options =
        "--workers 1 --dlq dlq --attempts 2 --backoff 1s..1s --breaker 50%/10 --breaker-pause 200ms";
    let mut piping = Piping::start(&at, &sh(&folder, "down", &script), options);
    let mut breaker = |state: &str| {
        let event = piping.event("breaker", |_| true);
        assert_eq!(event["state"], state, "{event}");
    };
    for _ in 0..2 {
        breaker("open");
        breaker("half_open");
    }
    breaker("open");
    fs::write(&up, "").unwrap();
    // This holds whether a probe was in flight just then or not.
    while piping.event("breaker", |_| true)["state"] != "closed" {}
    piping.committed(&[20]);
    assert_eq!(piping.stop().code, Some(0));
    assert!(at.run("dlq list dlq --json").json().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_cannot_be_run_ends_the_command_and_passes_nothing() {
    let at = At::start_with(&[("orders", 1), ("dlq", 1)]).await;
    at.cluster.produce("orders", 0, None, Some(b"v")).unwrap();
    for command in ["/nosuch/handler --fast", "/dev/null"] {
        let done = Piping::start(&at, command, "--dlq dlq").finish();
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let last = done.stderr.lines().last().unwrap();
        assert!(last.contains("cannot be run") && last.contains(command), "{last}");
        assert!(at.committed("pipe").iter().all(|offset| *offset == 0));
        assert!(at.run("dlq list dlq --json").json().is_empty());
    }
}

/// The first handler asks to retry `a` and ends. The next one gets `b`, and cannot be run any more while `a`
/// waits to be alone there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe12_a_record_that_was_kept_for_a_handler_that_cannot_be_run_loses_no_attempt() {
    let at = At::start_with(&[("orders", 1), ("dlq", 1)]).await;
    let folder = Folder::new();
    at.cluster.produce("orders", 0, Some(b"a"), Some(b"a")).unwrap();
    let handler = folder.python(
        "gone",
        "
record = json.loads(sys.stdin.readline())
seen(record['value'])
if record['value'] == 'a':
    print('retry no')
    sys.exit(0)
time.sleep(3)
sys.exit(127)
",
    );
    let options = "--workers 1 --in-flight 2 --dlq dlq --attempts 2 --backoff 2s..2s";
    let mut piping = Piping::start(&at, &handler, options);
    // In either order.
    piping.event("retried", |_| true);
    piping.has_come("child", |event| event["state"] == "ended");
    at.cluster.produce("orders", 0, Some(b"b"), Some(b"b")).unwrap();
    let done = piping.finish();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.lines().last().unwrap().contains("cannot be run"), "{}", done.stderr);
    assert!(at.run("dlq list dlq --json").json().is_empty(), "{}", done.stderr);
    assert_eq!(folder.seen(), [json!(["a"]), json!(["b"])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_come_in_frames() {
    let (at, folder) = (At::start_with(&[("orders", 1)]).await, Folder::new());
    at.cluster.produce("orders", 0, Some(b"\xff\n\0"), Some(b"\0\x80\n")).unwrap();
    at.cluster.produce("orders", 0, None, Some(b"")).unwrap();
    let handler = folder.python(
        "frames",
        "
def frame(text):
    sys.stdout.buffer.write(struct.pack('>I', len(text)) + text)
    sys.stdout.buffer.flush()
while head := sys.stdin.buffer.read(4):
    body = sys.stdin.buffer.read(struct.unpack('>I', head)[0])
    length = struct.unpack('>I', body[:4])[0]
    record = json.loads(body[4:4 + length])
    rest = body[4 + length:]
    key = rest[:record['key_length'] or 0]
    value = rest[len(key):]
    assert len(value) == record['value_length']
    seen(record['offset'], record['key_length'], key.hex(), value.hex(), record['attempt'])
    frame(json.dumps({'topic': record['topic'], 'partition': 0, 'offset': record['offset'], 'result': 'ok'}).encode())
",
    );
    let mut piping = Piping::start(&at, &handler, "--framing length --workers 1");
    piping.committed(&[2]);
    assert_eq!(piping.stop().code, Some(0));
    let mut seen = folder.seen();
    seen.sort_by_key(|seen| seen[0].as_i64());
    assert_eq!(json!(seen), json!([[0, 3, "ff0a00", "00800a", 1], [1, null, "", "", 1]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_for_each_record_with_the_value_on_its_stdin() {
    let (at, folder) = (At::start_with(&[("orders", 1), ("dlq", 1)]).await, Folder::new());
    for (key, value) in
        [(Some(b"k".as_slice()), "a"), (None, "bad"), (Some(b"\0"), "odd"), (Some(b"q"), "again")]
    {
        at.cluster.produce("orders", 0, key, Some(value.as_bytes())).unwrap();
    }
    let handler = folder.python(
        "once",
        "
value = sys.stdin.read()
env = {key[8:]: text for key, text in os.environ.items() if key.startswith('OFFTAKE_') and key != 'OFFTAKE_CONFIG'}
seen(value, env)
sys.exit({'bad': 65, 'again': 7 if env['ATTEMPT'] == '1' else 0}.get(value, 0))
",
    );
    let options = "--mode value --dlq dlq --backoff 1ms..2ms --breaker 100%/1000";
    let mut piping = Piping::start(&at, &handler, options);
    let retried = piping.event("retried", |_| true);
    assert!(text(&retried["reason"]).contains("ended with status 7"), "{retried}");
    piping.committed(&[4]);
    assert_eq!(piping.stop().code, Some(0));
    let seen = folder.seen();
    let of = |value: &str| {
        seen.iter().filter(|seen| seen[0] == value).map(|seen| seen[1].clone()).collect::<Vec<_>>()
    };
    let env = |offset: &str, attempt: &str, key: &str, is: &str| {
        let mut env = json!({"TOPIC": "orders", "PARTITION": "0", "OFFSET": offset, "ATTEMPT": attempt});
        if !key.is_empty() {
            env[key] = json!(is);
        }
        env
    };
    assert_eq!(of("a"), [env("0", "1", "KEY", "k")]);
    assert_eq!(of("bad"), [env("1", "1", "", "")]);
    assert_eq!(of("odd"), [env("2", "1", "KEY_BASE64", "AA==")]);
    assert_eq!(of("again"), [env("3", "1", "KEY", "q"), env("3", "2", "KEY", "q")]);
    assert_eq!(at.run("dlq list dlq --json").json()[0]["count"], 1);
    at.run("pipe orders -g g --exec x --mode value --in-flight 2").refused("--in-flight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_waits_for_what_is_at_a_handler_and_repeats_nothing() {
    let (at, folder) = (At::start().await, Folder::new());
    let go = folder.path("go");
    // Holds the third record until it may go on, while records of other keys are finished beyond it.
    let handler = folder.python(
        "slow",
        &format!(
            "
for line in sys.stdin:
    record = json.loads(line)
    seen('begins', record['partition'], record['offset'])
    time.sleep(0.1)
    while record['offset'] == 2 and not os.path.exists({go:?}):
        time.sleep(0.01)
    seen('ends', record['partition'], record['offset'])
    print('ok')
"
        ),
    );
    let options = "--workers 4 -X max.poll.records=5 --commit-interval 50ms";
    let mut piping = Piping::start(&at, &handler, options);
    piping.committed(&[2, 2]);
    piping.signal(Signal::TERM);
    fs::write(&go, "").unwrap();
    let done = piping.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let before = at.committed("pipe");
    assert!(before.iter().sum::<i64>() < 20 && !folder.seen().is_empty(), "it was in the middle: {before:?}");
    let mut again = Piping::start(&at, &handler, options);
    again.committed_since(before, &[10, 10]);
    assert_eq!(again.stop().code, Some(0));
    for what in ["begins", "ends"] {
        let mut places: Vec<_> = folder
            .seen()
            .iter()
            .filter(|seen| seen[0] == what)
            .map(|seen| (seen[1].as_i64(), seen[2].as_i64()))
            .collect();
        let count = places.len();
        places.sort();
        places.dedup();
        assert_eq!((count, places.len()), (20, 20), "{what}: each once, the stop in the middle or not");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handler_outlives_the_command_however_that_ends() {
    let (at, folder) = (At::start().await, Folder::new());
    // Ignores all signals that can be ignored, and so does the process that it starts.
    let handler = folder.python(
        "deaf",
        "
for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)
other = os.fork()
if other == 0:
    time.sleep(1000)
seen(os.getpid(), other)
time.sleep(1000)
",
    );
    let pids = |count: usize| {
        for _ in 0..600 {
            if folder.seen().len() >= count {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let seen = folder.seen();
        assert!(seen.len() >= count, "{seen:?}");
        let _ = fs::remove_file(folder.path("seen"));
        seen.iter()
            .flat_map(|pids| [pids[0].as_i64().unwrap(), pids[1].as_i64().unwrap()])
            .collect::<Vec<_>>()
    };
    for signals in [vec![Signal::KILL], vec![Signal::TERM], vec![Signal::INT, Signal::INT]] {
        let piping = Piping::start(&at, &handler, "--workers 2 --grace 1s");
        let pids = pids(2);
        for (nth, signal) in signals.iter().enumerate() {
            if nth > 0 {
                thread::sleep(Duration::from_millis(700));
            }
            let _ = kill_process(Pid::from_child(&piping.child), *signal);
        }
        let done = piping.finish();
        assert!(pids.iter().all(|pid| ends(*pid)), "{signals:?}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_or_option_ends_the_command_before_it_begins() {
    let at = At::start().await;
    for options in ["pipe nosuch -g g --exec cat", "pipe orders -g g --exec cat --dlq nosuch"] {
        let done = at.run(&format!("{options} -X default.api.timeout.ms=2000"));
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("nosuch"), "{done:?}");
    }
    at.run("pipe orders --exec cat").refused("--group");
    at.run("pipe orders -g g").refused("--exec");
    at.run("pipe orders -g g --exec cat --breaker 50").refused("50%/100");
}

/// Answers everything that arrived within a tenth of a second at once; but `v7` ends it with all its records.
const FATAL_V7: &str = "
import select
while True:
    records = [json.loads(sys.stdin.readline() or sys.exit(0))]
    while select.select([sys.stdin], [], [], 0.1)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        records.append(json.loads(line))
    seen([[record['value'], record['attempt']] for record in records])
    if any(record['value'] == 'v7' for record in records):
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in records:
        print('ok')
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe12_a_record_that_ends_its_handler_is_dead_lettered_alone_and_its_handler_has_failed_once_each_time()
 {
    let (at, folder) = (At::start_with(&[("orders", 1), ("dlq", 1)]).await, Folder::new());
    for nth in 0..20 {
        at.cluster.produce("orders", 0, None, Some(format!("v{nth}").as_bytes())).unwrap();
    }
    // `select` sees nothing of buffered input.
    let handler = folder.python("fatal", &format!("sys.stdin = os.fdopen(0, 'rb', 0)\n{FATAL_V7}"));
    let options = "--workers 1 --in-flight 20 --dlq dlq --attempts 4 --backoff 10ms..20ms --breaker 50%/10";
    let mut piping = Piping::start(&at, &handler, options);
    let dead = piping.event("dead_lettered", |_| true);
    assert_eq!((&dead["offset"], &dead["attempts"]), (&json!(7), &json!(4)), "{dead}");
    piping.committed(&[20]);
    let done = piping.stop();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stderr.contains("\"breaker\""), "{}", done.stderr);
    assert_eq!(at.run("dlq list dlq --json").json()[0]["count"], 1);
    let seen = folder.seen();
    assert_eq!(seen[0][0].as_array().unwrap().len(), 20, "they were at it together: {seen:?}");
    assert!(seen.iter().any(|seen| seen[0] == json!([["v7", 4]])), "the last attempt is alone: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_beside_one_that_takes_too_long_lose_no_attempt() {
    let (at, folder) = (At::start_with(&[("orders", 1), ("dlq", 1)]).await, Folder::new());
    for nth in 0..8 {
        at.cluster.produce("orders", 0, None, Some(format!("v{nth}").as_bytes())).unwrap();
    }
    let handler = folder.python(
        "slow",
        "
for line in sys.stdin:
    record = json.loads(line)
    seen(record['value'], record['attempt'])
    time.sleep(1000 if record['value'] == 'v3' else 0.5)
    print('ok')
",
    );
    // A handler that a busy machine starts late has time left for the records before `v3`.
    let options =
        "--workers 1 --in-flight 3 --order none --dlq dlq --attempts 1 --timeout 20s --breaker 100%/1000";
    let mut piping = Piping::start(&at, &handler, options);
    let dead = piping.event("dead_lettered", |_| true);
    assert_eq!((&dead["offset"], &dead["attempts"]), (&json!(3), &json!(1)), "{dead}");
    piping.committed(&[8]);
    assert_eq!(piping.stop().code, Some(0));
    assert_eq!(at.run("dlq list dlq --json").json()[0]["count"], 1, "not those that were given later");
    assert!(folder.seen().iter().all(|seen| seen[1] == 1), "{:?}", folder.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_records_pass_through_the_retry_topics_in_turn() {
    let topics = [("orders", 1), ("dlq", 1), ("pipe.retry.300ms", 1), ("later", 1)];
    let (at, folder) = (At::start_with(&topics).await, Folder::new());
    for value in ["a", "never", "b", "third"] {
        at.cluster.produce("orders", 0, Some(b"k"), Some(value.as_bytes())).unwrap();
    }
    let handler = folder.python(
        "patient",
        "
for line in sys.stdin:
    record = json.loads(line)
    seen(record['value'], record['topic'], record['attempt'])
    print('retry not yet' if record['value'] == 'never' or (record['value'] == 'third' and record['topic'] != 'later') else 'ok')
",
    );
    let options = "--dlq dlq --attempts 1 --retry-topics 300ms,later=500ms --breaker 100%/1000";
    let refused = at.run(&format!("pipe orders -g pipe --exec cat {options}"));
    refused.refused("--allow-reordering");
    let mut piping = Piping::start(&at, &handler, &format!("{options} --allow-reordering"));
    let postponed = piping.event("postponed", |_| true);
    assert_eq!((&postponed["to"][0], &postponed["delay_ms"]), (&json!("pipe.retry.300ms"), &json!(300)));
    let dead = piping.event("dead_lettered", |_| true);
    assert_eq!((&dead["topic"], &dead["attempts"]), (&json!("later"), &json!(3)));
    assert_eq!(piping.stop().code, Some(0));
    let of = |value: &str| {
        let seen = folder.seen();
        let of = seen.iter().filter(|seen| seen[0] == value);
        json!(of.map(|seen| [seen[1].clone(), seen[2].clone()]).collect::<Vec<_>>())
    };
    let turns = json!([["orders", 1], ["pipe.retry.300ms", 2], ["later", 3]]);
    assert_eq!((of("a"), of("never"), of("third")), (json!([["orders", 1]]), turns.clone(), turns));
    let letters = at.run("dlq show dlq --json").json();
    assert_eq!((&letters[0]["value"], &letters[0]["original_topic"]), (&json!("never"), &json!("orders")));
}
