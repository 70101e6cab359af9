//! An application loop that is slow between polls, in Java, for comparison with ours.

use serde_json::{Value, json};

use crate::java::JavaTool;

/// The result of such a loop, in whatever language it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlowLoop {
    /// Records that were returned.
    pub records: u64,
    /// Polls that returned records.
    pub polls: u64,
    /// Those polls with records of several partitions.
    pub mixed: u64,
    /// The number of commits.
    pub commits: u64,
    /// Records between the positions and the ends.
    pub behind: i64,
    /// Processor time of the process; meaningful only where nothing else runs in it.
    pub cpu_ms: u64,
}

impl SlowLoop {
    /// Reads the output of `tests/java/Slow.java`.
    pub fn of(value: &Value) -> Self {
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        Self {
            records: number("records"),
            polls: number("polls"),
            mixed: number("mixed"),
            commits: number("commits"),
            behind: value["behind"].as_i64().unwrap_or(i64::MAX),
            cpu_ms: number("cpu_ms"),
        }
    }

    /// Records per poll.
    pub fn a_poll(&self) -> f64 {
        self.records as f64 / self.polls.max(1) as f64
    }
}

impl JavaTool {
    /// Sends single records, `rate` per second over all partitions in turn, and waits until the last is acknowledged.
    /// Returns their number, and the longest time (ms) between two acknowledgements.
    pub fn trickle(&self, topic: &str, partitions: i32, rate: u64, seconds: u64) -> (u64, u64) {
        let args = json!({ "topic": topic, "partitions": partitions, "rate": rate, "seconds": seconds });
        let done = self.call("trickle", args).unwrap_or_else(|why| panic!("java trickle {topic}: {why}")).1;
        let number = |name: &str| done[name].as_u64().unwrap_or_default();
        (number("records"), number("silence_ms"))
    }

    /// Runs Java's consumer in a loop that works for `work` ms after each poll and then commits, for this many seconds.
    /// Returns its figures second by second.
    pub fn slow_loop(&self, group: &str, topic: &str, work: u64, seconds: u64) -> Vec<SlowLoop> {
        let args = json!({ "group": group, "topic": topic, "work": work, "seconds": seconds });
        let rows = self.call("slow", args).unwrap_or_else(|why| panic!("java slow {topic}: {why}")).0;
        rows.iter().map(SlowLoop::of).collect()
    }
}
