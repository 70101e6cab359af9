//! `offtake produce` as a process, and the records that it writes.
#![allow(clippy::disallowed_methods, reason = "a process is watched from outside")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::SystemTime,
};

use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::operator::{At, Done, done, offtake};

/// The command with these lines on its stdin.
fn fed(command: &mut Command, lines: String) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = thread::spawn(move || {
        let _ = stdin.write_all(lines.as_bytes()); // it may end before it has read all
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn lines(count: usize) -> String {
    (0..count).map(|nth| format!("v{nth}\n")).collect()
}

fn count(at: &At, topic: &str) -> usize {
    at.run(&format!("consume {topic} --until latest --isolation read_committed")).stdout.lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_committed_before_its_coordinator_would_abort_it() {
    let at = At::start_with(&[("load", 1)]).await;
    // One for all records would be open for six seconds.
    let options = "--transactional-id t --transaction-records 1000000 -X transaction.timeout.ms=4000";
    let written = fed(&mut at.command(&format!("produce load {options} --rate 10")), lines(60));
    assert_eq!(written.code, Some(0), "{written:?}");
    assert_eq!(count(&at, "load"), 60);
    // A transaction for which the rate leaves no time has one record.
    let options = options.replace("4000", "1600");
    let written = fed(&mut at.command(&format!("produce load {options} --rate 1")), lines(3));
    assert_eq!(written.code, Some(0), "{written:?}");
    assert_eq!(count(&at, "load"), 63);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_a_key_that_are_longer_than_the_lines_count() {
    let at = At::start_with(&[("load", 1)]).await;
    let long = "x".repeat(50_000);
    for options in [["-H", &format!("trace={long}")], ["-k", &long]] {
        for transactional in ["", "--transactional-id t"] {
            let mut command = at.command(&format!("produce load -X buffer.memory=1000000 {transactional}"));
            let written = fed(command.args(options), lines(100));
            assert_eq!(written.code, Some(0), "{} {transactional}: {}", options[0], written.stderr);
        }
    }
    assert_eq!(count(&at, "load"), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_does_not_wait_for_records_that_are_on_their_way() {
    let mut config = Config::default();
    config.wall_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
    let cluster = Cluster::builder().config(config).brokers(2).topic("load", 2).start().await.unwrap();
    let at = At { cluster };
    let leader = at.cluster.with(|model, _| model.leader_of("load", 1)).unwrap();
    let rule = at.cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Hold).broker(leader));
    let mut child = at
        .command("produce load --json --keep-partition --json-report")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut reports = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(b"{\"value\":\"a\",\"partition\":0}\n{\"value\":\"b\",\"partition\":1}\n").unwrap();
    let report: Value = serde_json::from_str(&reports.next().unwrap().unwrap()).unwrap();
    assert_eq!(report["partition"], 0);
    while at.cluster.hits(rule) == 0 {
        thread::yield_now();
    }
    at.cluster.withdraw(rule);
    at.cluster.release(rule);
    let report: Value = serde_json::from_str(&reports.next().unwrap().unwrap()).unwrap();
    assert_eq!(report["partition"], 1);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_read_before_an_interrupt_are_written() {
    let at = At::start_with(&[("load", 1)]).await;
    let mut child = at
        .command("produce load --rate 5 --json-report")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines(600).as_bytes()).unwrap();
    let mut reports = BufReader::new(child.stdout.take().unwrap()).lines();
    reports.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // Its stdin stays open: more lines might arrive.
    assert_eq!(reports.count(), 599);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the 600 records that were read are written, up to line 600"), "{said}");
    assert_eq!(count(&at, "load"), 600);
    drop(stdin);
}

#[test]
fn options_that_lines_leave_without_a_meaning_are_refused() {
    done(&mut offtake("produce load --json -K ,")).refused("--key-separator");
    done(&mut offtake("produce load --keep-partition")).refused("--keep-partition");
}
