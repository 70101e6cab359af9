//! Runs one process of one system to its end, and reads its output.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use offtake_tests::{Finished, Offtake};
use serde_json::Value;

use crate::broker::CLIENT_CORE;
use crate::system::{Line, bench_consume};
use crate::topics::Topic;

/// How long one process may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// The result of one process. Times in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// From before the client was created to the last record.
    pub(crate) seconds: f64,
    /// From the first record to the last.
    pub(crate) flowing: f64,
    pub(crate) cpu: f64,
    pub(crate) rss_mib: f64,
    /// The first pass of a process that makes two: seconds and processor time.
    pub(crate) cold: Option<(f64, f64)>,
    /// Microseconds since the epoch.
    pub(crate) first_at: i64,
    /// Milliseconds: median, 99th percentile and 99.9th.
    pub(crate) late: [f64; 3],
    /// Transactions that were committed.
    pub(crate) transactions: f64,
}

/// Runs a process to its end, on one core if `pinned`; kills it after the time limit.
fn run(line: &Line, pinned: bool) -> Result<Finished, String> {
    let (program, words) = line;
    let run = if pinned {
        let head = ["-c".into(), CLIENT_CORE.to_string().into(), program.clone().into_os_string()];
        Offtake::new(head).args(words).instead("taskset")
    } else {
        Offtake::new(words).instead(program)
    };
    // A failed assertion must not end the bench.
    catch_unwind(AssertUnwindSafe(|| run.patience(PATIENCE).run()))
        .map_err(|_| format!("it has not ended within {PATIENCE:?}"))
}

/// Runs a rival, or the floor. With a topic: it must have found all its records.
pub(crate) fn read(line: &Line, pinned: bool, all_of: Option<&Topic>) -> Result<Reading, String> {
    let done = run(line, pinned)?;
    let said: Value = done.stdout.last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    if done.code != Some(0) || said["records"].is_null() {
        return Err(format!("exit status {:?}: {}", done.code, done.stderr.join("; ")));
    }
    if let Some(topic) = all_of {
        let found = ["records", "bytes", "header_bytes"].map(|name| said[name].as_u64());
        let wanted = [topic.records, topic.bytes, topic.header_bytes].map(Some);
        if found != wanted {
            return Err(format!("it reads {found:?} records, bytes and header bytes, not {wanted:?}"));
        }
    }
    let number = |name: &str| said[name].as_f64().unwrap_or_default();
    Ok(Reading {
        seconds: number("seconds"),
        flowing: number("flowing"),
        cpu: number("user") + number("sys"),
        rss_mib: number("max_rss_kb") / 1024.0,
        cold: said["cold_cpu"].as_f64().map(|cpu| (number("cold_seconds"), cpu)),
        first_at: said["first_at"].as_i64().unwrap_or_default(),
        late: ["p50", "p99", "p999"].map(|name| number(name) / 1000.0),
        transactions: number("transactions"),
    })
}

/// Runs `offtake bench consume`; measures its whole process.
pub(crate) fn read_ours(bootstrap: &str, topic: &Topic, pinned: bool) -> Result<Reading, String> {
    let line = bench_consume(bootstrap, &topic.name, topic.row.is_json());
    let done = run(&line, pinned)?;
    let said: Value =
        done.stdout.first().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    if said["records"] != topic.records || said["bytes"] != topic.bytes {
        return Err(format!("exit status {:?}: {said} {}", done.code, done.stderr.join("; ")));
    }
    timed(&done, &said)
}

/// Runs `offtake bench produce`; measures its whole process.
pub(crate) fn read_sent(line: &Line, pinned: bool, count: u64) -> Result<Reading, String> {
    let done = run(line, pinned)?;
    let said: Value =
        done.stdout.first().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    if said["records"] != count {
        return Err(format!("exit status {:?}: {said} {}", done.code, done.stderr.join("; ")));
    }
    timed(&done, &said)
}

/// The result of a process of ours, from its times and its output.
fn timed(done: &Finished, said: &Value) -> Result<Reading, String> {
    let times = done.stderr.last().map(String::as_str).unwrap_or_default();
    let times: Vec<f64> = times.split(' ').filter_map(|time| time.parse().ok()).collect();
    let [real, user, sys] = times.as_slice() else {
        return Err(format!("bash says no times: {:?}", done.stderr));
    };
    Ok(Reading {
        seconds: *real,
        flowing: said["seconds"].as_f64().unwrap_or_default(),
        cpu: user + sys,
        rss_mib: said["peak_rss_kib"].as_f64().unwrap_or_default() / 1024.0,
        ..Reading::default()
    })
}
