//! The measurements of each system, in turn, so that other load on the machine affects all alike.

use std::time::{Duration, Instant};

use offtake_tests::{JavaTool, unique};

use crate::broker::{BROKER_CORE, Broker};
use crate::clock::micros;
use crate::figures::Figures;
use crate::load::Load;
use crate::reading::{Reading, read, read_ours};
use crate::rows::{PARTITIONS, Row};
use crate::settings::{Section, Settings};
use crate::system::{Job, System};
use crate::topics::Topic;

/// The three ways to the first record.
const STARTS: [&str; 3] = ["start-assign", "start-classic", "start-consumer"];
/// The topics of sections that use only two.
const TWO: [Row; 2] = [Row::Plain, Row::JsonLz4];
/// Applications that sleep: milliseconds after as many thousand records, and the topic.
const RHYTHMS: [(&str, &str, Row); 5] = [
    ("1k-none, 1 ms", "sleep-1", Row::Plain),
    ("1k-none, 5 ms", "sleep-5", Row::Plain),
    ("1k-many, 5 ms", "sleep-5", Row::Many),
    ("json-lz4, 1 ms", "sleep-1", Row::JsonLz4),
    ("json-lz4, 5 ms", "sleep-5", Row::JsonLz4),
];
/// Records per second, to one partition at a time, while latencies are measured.
const RATE: u32 = 1000;

pub(crate) struct Bench<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) broker: &'a Broker,
    pub(crate) tool: &'a JavaTool,
    pub(crate) systems: &'a [System],
    pub(crate) figures: Figures,
    pub(crate) topics: Vec<Topic>,
}

impl Bench<'_> {
    pub(crate) fn measure(&mut self, section: Section) -> Result<(), String> {
        match section {
            Section::Cost => self.cost(),
            Section::Pinned => self.pinned(),
            Section::Overlap => self.overlap(),
            Section::Latency => self.latency(),
            Section::Start => self.start(),
            Section::Waste => self.waste(),
            Section::Send => {
                self.send(section);
                Ok(())
            }
            Section::SendPinned => self.on_own_cores(|bench| bench.send(section)),
            Section::Transactions => {
                self.transact();
                Ok(())
            }
        }
    }

    /// The topic of a row, filled at its first use.
    fn topic(&mut self, row: Row) -> Result<Topic, String> {
        if let Some(topic) = self.topics.iter().find(|topic| topic.row == row) {
            return Ok(topic.clone());
        }
        let topic = Topic::prepare(self.settings, self.broker, self.tool, row)?;
        topic.verify(self.broker)?;
        eprintln!("peers: {} is full: {} MB of log", topic.name, topic.log_bytes / 1_000_000);
        self.topics.push(topic.clone());
        Ok(topic)
    }

    /// Runs `once` for each participating system, for all runs in turn; a failure is reported and does not count.
    pub(crate) fn alternate(
        &mut self,
        section: Section,
        what: &str,
        mut once: impl FnMut(&mut Self, System) -> Result<(), String>,
    ) {
        for run in 1..=self.settings.runs {
            for system in self.systems.iter().copied().filter(|system| system.takes_part(section, what)) {
                eprintln!("peers: {} {what}, run {run}: {system}", section.name());
                if let Err(why) = once(self, system) {
                    println!("# {} {what} {system}: {why}", section.name());
                }
            }
        }
    }

    fn job(&self, mode: &'static str, settings: &'static str, topic: &str, count: u64) -> Job {
        let bootstrap = self.broker.bootstrap();
        Job { mode, settings, bootstrap, topic: topic.to_owned(), partitions: PARTITIONS, count }
    }

    /// Reads everything from the beginning.
    fn all_of(&mut self, system: System, topic: &Topic, pinned: bool) -> Result<Reading, String> {
        let mut job = self.job("read", "tuned", &topic.name, topic.records);
        job.partitions = topic.row.partitions();
        match system {
            System::Offtake => read_ours(&job.bootstrap, topic, pinned),
            System::Floor => {
                let mut with = |checksum| {
                    job.settings = checksum;
                    read(&system.line(self.settings, &job), pinned, Some(topic))
                };
                let (one, other) = (with("crc32c")?, with("crc-fast")?);
                let name = if one.cpu <= other.cpu { "crc32c" } else { "crc-fast" };
                eprintln!("peers: the floor takes {name}: {:.3} s and {:.3} s", one.cpu, other.cpu);
                Ok(if one.cpu <= other.cpu { one } else { other })
            }
            _ => read(&system.line(self.settings, &job), pinned, Some(topic)),
        }
    }

    fn cost(&mut self) -> Result<(), String> {
        for row in self.settings.rows.clone() {
            let topic = self.topic(row)?;
            let (name, millions) = (row.name(), millions(topic.records));
            self.alternate(Section::Cost, name, |bench, system| {
                let reading = bench.all_of(system, &topic, false)?;
                bench.figures.add("cpu", name, system, reading.cpu / millions);
                bench.figures.add("seconds", name, system, reading.seconds / millions);
                bench.figures.add("rss", name, system, reading.rss_mib);
                if let Some((seconds, cpu)) = reading.cold {
                    bench.figures.add("cold_cpu", name, system, cpu / millions);
                    bench.figures.add("cold_seconds", name, system, seconds / millions);
                }
                Ok(())
            });
        }
        let rows = names(&self.settings.rows);
        self.figures.print("CPU seconds a million records (user + sys)", "cpu", &rows, self.systems);
        self.figures.print("The same of a process's first pass", "cold_cpu", &rows, self.systems);
        self.figures.print("Seconds a million records, nothing pinned", "seconds", &rows, self.systems);
        self.figures.print("Peak RSS, MiB", "rss", &rows, self.systems);
        Ok(())
    }

    /// Runs `work` with the broker on a core of its own, and the clients on another.
    fn on_own_cores(&mut self, work: impl FnOnce(&mut Self)) -> Result<(), String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores < 2 {
            return Err("pinned: broker and client need a core each".into());
        }
        self.broker.pin(&BROKER_CORE.to_string())?;
        work(self);
        self.broker.pin(&format!("0-{}", cores - 1))
    }

    fn pinned(&mut self) -> Result<(), String> {
        for row in self.settings.rows.clone() {
            let topic = self.topic(row)?;
            let (name, millions) = (row.name(), millions(topic.records));
            self.on_own_cores(|bench| {
                bench.alternate(Section::Pinned, name, |bench, system| {
                    let reading = bench.all_of(system, &topic, true)?;
                    bench.figures.add("pinned", name, system, 1000.0 * millions / reading.seconds);
                    bench.figures.add("pinned-flowing", name, system, 1000.0 * millions / reading.flowing);
                    Ok(())
                });
            })?;
        }
        let rows = names(&self.settings.rows);
        self.figures.print(
            "Thousand records a second, broker and client on a core each",
            "pinned",
            &rows,
            self.systems,
        );
        Ok(())
    }

    fn overlap(&mut self) -> Result<(), String> {
        let rows = &self.settings.rows;
        let rhythms: Vec<_> = RHYTHMS.into_iter().filter(|(.., row)| rows.contains(row)).collect();
        for (name, mode, row) in rhythms.iter().copied() {
            let topic = self.topic(row)?;
            let millions = millions(topic.records);
            self.alternate(Section::Overlap, name, |bench, system| {
                let mut job = bench.job(mode, "tuned", &topic.name, topic.records);
                job.partitions = row.partitions();
                let reading = read(&system.line(bench.settings, &job), false, Some(&topic))?;
                bench.figures.add("overlap", name, system, 1000.0 * millions / reading.seconds);
                bench.figures.add("overlap-flowing", name, system, 1000.0 * millions / reading.flowing);
                Ok(())
            });
        }
        let title =
            "Thousand records a second, for an application that sleeps so long after as many thousand";
        let names: Vec<_> = rhythms.iter().map(|(name, ..)| (*name).to_owned()).collect();
        self.figures.print(title, "overlap", &names, self.systems);
        Ok(())
    }

    fn latency(&mut self) -> Result<(), String> {
        let rows = ["p50", "p99", "p99.9"];
        self.alternate(Section::Latency, "1,000 records/s", |bench, system| {
            let topic = bench.tool.create_topic(&unique("latency"), PARTITIONS, &[]);
            let load = Load::start(bench.broker.kafka().broker(1).port(), &topic, PARTITIONS, RATE);
            let job = bench.job("latency", "default", &topic, bench.settings.records);
            let reading = read(&system.line(bench.settings, &job), false, None);
            load.stop()?;
            bench.tool.delete_topic(&topic);
            for (row, late) in rows.iter().zip(reading?.late) {
                bench.figures.add("latency", row, system, late);
            }
            Ok(())
        });
        let title = "From produce to poll at 1,000 records a second, ms";
        self.figures.print(title, "latency", &rows.map(str::to_owned), self.systems);
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        let topic = self.tool.create_topic(&unique("start"), PARTITIONS, &[]);
        self.tool.fill(&topic, PARTITIONS, 6000, 100, serde_json::json!({}));
        for mode in STARTS {
            self.alternate(Section::Start, mode, |bench, system| {
                let job = bench.job(mode, "default", &topic, 1);
                let line = system.line(bench.settings, &job);
                let began = micros();
                let reading = read(&line, false, None)?;
                #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
                let ms = (reading.first_at - began) as f64 / 1000.0;
                bench.figures.add("start", mode, system, ms);
                Ok(())
            });
        }
        self.tool.delete_topic(&topic);
        let title = "From the start of the process to the first record, ms";
        self.figures.print(title, "start", &STARTS.map(str::to_owned), self.systems);
        Ok(())
    }

    fn waste(&mut self) -> Result<(), String> {
        for row in TWO {
            let topic = self.topic(row)?;
            let name = row.name();
            self.alternate(Section::Waste, name, |bench, system| {
                let kafka = bench.broker.kafka();
                let mut job = bench.job("read", "default", &topic.name, topic.records);
                job.bootstrap = kafka.bootstrap();
                let before = kafka.proxy(1).answers().1;
                read(&system.line(bench.settings, &job), false, Some(&topic))?;
                // Java reads everything twice.
                let passes = if system == System::Java { 2.0 } else { 1.0 };
                let came = exact(settled(|| kafka.proxy(1).answers().1) - before) / passes;
                let delivered = exact(topic.bytes + topic.header_bytes);
                bench.figures.add("waste", name, system, came / delivered);
                bench.figures.add("waste-log", name, system, came / exact(topic.log_bytes));
                Ok(())
            });
        }
        let rows = names(&TWO);
        let title = "Bytes over the socket for each byte of key, value and header delivered, defaults";
        self.figures.print(title, "waste", &rows, self.systems);
        let title = "Bytes over the socket for each byte of the log, defaults";
        self.figures.print(title, "waste-log", &rows, self.systems);
        Ok(())
    }
}

fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.name().to_owned()).collect()
}

fn millions(records: u64) -> f64 {
    exact(records) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn exact(number: u64) -> f64 {
    number as f64
}

/// The value of a counter once it has stood still for a moment, as data in flight at the end of a process is still counted.
fn settled(counter: impl Fn() -> u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut last = counter();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = counter();
        if now == last || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}
