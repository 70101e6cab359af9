//! The loop of an application that takes its time over each poll, in Java: what ours is compared with.

use serde_json::{Value, json};

use crate::java::JavaTool;

/// What became of such a loop, in whatever language it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlowLoop {
    /// Records that were handed out.
    pub records: u64,
    /// Polls that handed out some.
    pub polls: u64,
    /// Those of them that had records of several partitions.
    pub mixed: u64,
    /// Commits that were made.
    pub commits: u64,
    /// Records between the positions and the ends.
    pub behind: i64,
    /// Processor time of the process; of use only where nothing else runs in it.
    pub cpu_ms: u64,
}

impl SlowLoop {
    /// Reads what `tests/java/Slow.java` says.
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

    /// Records a poll.
    pub fn a_poll(&self) -> f64 {
        self.records as f64 / self.polls.max(1) as f64
    }
}

impl JavaTool {
    /// One record after the other, each sent by itself, `rate` a second over all partitions in turn; waits until the last
    /// is acknowledged. How many there were, and the longest time (ms) between two acknowledgements.
    pub fn trickle(&self, topic: &str, partitions: i32, rate: u64, seconds: u64) -> (u64, u64) {
        let args = json!({ "topic": topic, "partitions": partitions, "rate": rate, "seconds": seconds });
        let done = self.call("trickle", args).unwrap_or_else(|why| panic!("java trickle {topic}: {why}")).1;
        let number = |name: &str| done[name].as_u64().unwrap_or_default();
        (number("records"), number("silence_ms"))
    }

    /// Java's consumer in a loop that works for `work` ms after each poll and then commits, for so many seconds: its
    /// figures second by second.
    pub fn slow_loop(&self, group: &str, topic: &str, work: u64, seconds: u64) -> Vec<SlowLoop> {
        let args = json!({ "group": group, "topic": topic, "work": work, "seconds": seconds });
        let rows = self.call("slow", args).unwrap_or_else(|why| panic!("java slow {topic}: {why}")).0;
        rows.iter().map(SlowLoop::of).collect()
    }
}
