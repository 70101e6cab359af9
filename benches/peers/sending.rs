//! The cost of sending: `offtake bench produce` and its rivals, each to a topic of its own that is removed afterwards.

use serde_json::json;

use offtake_tests::unique;

use crate::reading::{Reading, read, read_sent};
use crate::rows::PARTITIONS;
use crate::sections::Bench;
use crate::settings::Section;
use crate::system::System;

/// A load to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) size: usize,
    pub(crate) codec: &'static str,
    /// With the same `linger.ms` and `batch.size` for all; else each has its own defaults.
    pub(crate) is_equal: bool,
}

impl Load {
    pub(crate) const ALL: [Self; 8] = [
        Self { size: 100, codec: "none", is_equal: false },
        Self { size: 100, codec: "lz4", is_equal: false },
        Self { size: 1024, codec: "none", is_equal: false },
        Self { size: 1024, codec: "lz4", is_equal: false },
        Self { size: 100, codec: "none", is_equal: true },
        Self { size: 100, codec: "lz4", is_equal: true },
        Self { size: 1024, codec: "none", is_equal: true },
        Self { size: 1024, codec: "lz4", is_equal: true },
    ];

    pub(crate) fn name(self) -> &'static str {
        match (self.size, self.codec, self.is_equal) {
            (100, "none", false) => "100-none",
            (100, _, false) => "100-lz4",
            (_, "none", false) => "1k-none",
            (_, _, false) => "1k-lz4",
            (100, "none", true) => "100-none-equal",
            (100, _, true) => "100-lz4-equal",
            (_, "none", true) => "1k-none-equal",
            (_, _, true) => "1k-lz4-equal",
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few millions")]
    fn count(self, scale: f64) -> u64 {
        let millions = if self.size == 100 { 3.0 } else { 0.6 };
        (millions * 1e6 * scale) as u64
    }
}

/// The job of one process.
pub(crate) struct SendJob {
    pub(crate) load: Load,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) count: u64,
}

impl Bench<'_> {
    /// All loads, by all systems; pinned or not.
    pub(crate) fn send(&mut self, section: Section) {
        let is_pinned = section == Section::SendPinned;
        let [cpu, rate, rss, cold] = if is_pinned {
            ["send-pinned-cpu", "send-pinned", "send-pinned-rss", "send-pinned-cold"]
        } else {
            ["send-cpu", "send-rate", "send-rss", "send-cold"]
        };
        for load in self.settings.loads.clone() {
            let count = load.count(self.settings.scale);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let millions = count as f64 / 1e6;
            self.alternate(section, load.name(), |bench, system| {
                let sent = bench.send_once(system, load, count, is_pinned)?;
                bench.figures.add(cpu, load.name(), system, sent.cpu / millions);
                bench.figures.add(rate, load.name(), system, 1000.0 * millions / sent.seconds);
                bench.figures.add(rss, load.name(), system, sent.rss_mib);
                if let Some((_, cpu)) = sent.cold {
                    bench.figures.add(cold, load.name(), system, cpu / millions);
                }
                Ok(())
            });
        }
        let rows: Vec<String> = self.settings.loads.iter().map(|load| load.name().to_owned()).collect();
        let how = if is_pinned { "broker and client on a core each" } else { "nothing pinned" };
        for (title, measure) in [
            ("CPU seconds a million records sent (user + sys)", cpu),
            ("The same of a process's first pass", cold),
            ("Thousand records sent a second", rate),
            ("Peak RSS of a process that sends, MiB", rss),
        ] {
            self.figures.print(&format!("{title}, {how}"), measure, &rows, self.systems);
        }
    }

    fn send_once(&self, system: System, load: Load, count: u64, is_pinned: bool) -> Result<Reading, String> {
        let configs = [("file.delete.delay.ms", "0")];
        let topic = self.tool.create_topic(&unique("send"), PARTITIONS, &configs);
        // Once each partition has a record, it has its leader.
        self.tool.fill(&topic, PARTITIONS, 10 * u64::from(PARTITIONS.unsigned_abs()), 1, json!({}));
        let before = self.records_in(&topic)?;
        let job = SendJob { load, bootstrap: self.broker.bootstrap(), topic: topic.clone(), count };
        let line = system.send_line(self.settings, &job);
        let sent = match system {
            System::Offtake => read_sent(&line, is_pinned, count),
            _ => read(&line, is_pinned, None),
        };
        let written = self.records_in(&topic)? - before;
        self.tool.delete_topic(&topic);
        let passes = if system == System::Java { 2 } else { 1 };
        if written != count * passes {
            return Err(format!("{written} of {} records are in the topic; {sent:?}", count * passes));
        }
        sent
    }

    fn records_in(&self, topic: &str) -> Result<u64, String> {
        let (_, ends) = self.tool.call("list_offsets", json!({ "topic": topic, "at": "latest" }))?;
        let ends = ends["offsets"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(ends.iter().filter_map(|end| end[1].as_u64()).sum())
    }
}
