//! A process that runs out of file descriptors, and gets them back.

use std::process::Command;
use std::time::{Duration, Instant};

use offtake_tests::{Offtake, Proxy, Running, guarded, unique};

use crate::flow::{PATIENCE, Production, all_of, member, printed, wait_for_all};

/// How long there are none.
const SPAN: Duration = Duration::from_secs(5);

/// Limits a process to file descriptors below this number.
fn limit(of: &Running, descriptors: u32) {
    let limit = format!("--nofile={descriptors}:");
    let done = Command::new("prlimit").args(["--pid", &of.id().to_string(), &limit]).status();
    assert!(done.unwrap().success(), "prlimit of util-linux");
}

/// Waits until the member prints nothing for a second. A connection that the proxy had not accepted yet when the others
/// were cut is cut too, and what was read before that may still be on its way through the pipe.
fn wait_until_silent(member: &Running, proxy: &Proxy) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        proxy.cut_all();
        let read = member.stdout().len();
        std::thread::sleep(Duration::from_secs(1));
        if member.stdout().len() == read {
            return;
        }
        assert!(Instant::now() < deadline, "it still reads: {:#?}", member.stderr().all());
    }
}

#[test]
fn p6_without_descriptors_a_member_waits_and_says_so_and_it_reads_on_with_some() {
    let of = guarded();
    let topic = of.tool.create_topic(&unique("orders"), 3, &[]);
    let production = Production::start(&of.tool, &topic, 3);
    let member = member(&of.kafka, &topic, &unique("readers"), "cooperative-sticky", Duration::from_secs(30));
    member.wait_json(PATIENCE, |_| true);
    let proxy = of.kafka.proxy(1);

    limit(&member, 3);
    proxy.cut_all();
    let said = |line: &String| line.contains("Too many open files");
    assert!(member.stderr().wait_for(PATIENCE, said).is_some(), "{:#?}", member.stderr().all());
    wait_until_silent(&member, proxy);
    let (read, cpu, lines) = (member.stdout().len(), member.cpu_time(), member.stderr().len());
    std::thread::sleep(SPAN);
    let (cpu, lines) = (member.cpu_time() - cpu, member.stderr().len() - lines);
    println!("{cpu:?} of CPU and {lines} lines in {SPAN:?}: {:#?}", member.stderr().all());
    assert_eq!(member.stdout().len(), read, "nothing can be read");
    assert!(cpu < SPAN / 20, "it spins: {cpu:?}");
    assert!(lines < 20, "it says too much: {:#?}", member.stderr().all());

    limit(&member, 256);
    let log = production.stop();
    wait_for_all(&log, &[&member], &[]);
    member.signal("INT");
    let done = member.finish(PATIENCE);
    assert_eq!(done.code, Some(0), "{:#?}", done.stderr);
    let read = printed(&done.stdout, false);
    assert!(all_of(&log, &read).values().all(|times| *times == 1), "each is read once");
    assert!(done.events("lost").is_empty(), "{:#?}", done.stderr);
}

/// With fewer the runtime cannot even install its signal handlers.
#[test]
fn p6_a_process_with_too_few_descriptors_to_begin_ends_with_a_sentence() {
    let of = guarded();
    let topic = of.tool.create_topic(&unique("orders"), 1, &[]);
    let offtake = Offtake::path();
    let mut codes = Vec::new();
    for descriptors in 12..40 {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let run = |timeout: u64| {
            Offtake::new(["-c", &script])
                .instead("/bin/sh")
                .args([&offtake])
                .args(["consume", &topic, "--from", "earliest", "--until", "latest"])
                .args(["-X", &format!("default.api.timeout.ms={timeout}")])
                .brokers(&of.kafka)
                .run()
        };
        let mut done = run(1000);
        if done.code == Some(1) && !done.last_line().contains("Too many open files") {
            // It had enough, and a busy broker had not answered within a second.
            done = run(20_000);
        }
        let says = done.last_line().to_owned();
        println!("{descriptors}: {:?} after {:?}: {says}", done.code, done.elapsed);
        match done.code {
            Some(0) => {}
            Some(1 | 2) => {
                assert!(says.starts_with("offtake: ") && says.contains("Too many open files"), "{says}")
            }
            other => panic!("{descriptors}: {other:?}: {:#?}", done.stderr),
        }
        codes.push(done.code);
    }
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(1)), "{codes:?}");
}
