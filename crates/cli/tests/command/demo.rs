//! `offtake demo` from outside: the embedded cluster, the real consumer, the printed summary.

use std::{
    io,
    process::{Command, Output},
};

use serde_json::Value;

fn demo(options: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_offtake")).args(["demo", "--seconds", "4"]).args(options).output()
}

fn told(output: &Output) -> (Vec<String>, String) {
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    (lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn nothing_is_lost_while_members_come_and_go() {
    let output = demo(&["--json"]).unwrap();
    let (lines, trouble) = told(&output);
    assert!(output.status.success(), "{trouble}");
    let last = lines.last().expect("a summary");
    let summary: Value = serde_json::from_str(last).expect("JSON");
    let keys: Vec<_> = summary.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["produced", "processed", "dead_lettered", "retried", "repeated", "lost", "rebalances"]);
    let number = |key: &str| summary[key].as_u64().expect("a number");
    assert!(number("produced") > 1000, "{last}");
    assert_eq!(number("produced"), number("processed") + number("dead_lettered"), "{last}");
    assert_eq!(number("lost"), 0, "{last}");
    // How many there are within these seconds depends on the machine.
    assert!(number("retried") > 0 && number("rebalances") > 0, "{last}");
    let members = |line: &String| {
        let progress: Value = serde_json::from_str(line).expect("JSON");
        progress["members"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(lines.iter().map(members).max(), Some(3), "a third member came");
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let output = demo(&[]).unwrap();
    let (lines, trouble) = told(&output);
    assert!(output.status.success(), "{trouble}");
    assert!(lines.iter().any(|line| line.ends_with("member-3 joins the group")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "no colour in a pipe");
    assert!(lines.last().is_some_and(|line| line.ends_with("none lost")), "{lines:?}");
}
