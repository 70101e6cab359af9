//! The parts that every rival shares: its command line, its counts, and the line that it prints.
//!
//! `PROGRAM MODE SETTINGS BOOTSTRAP TOPIC PARTITIONS COUNT`; benches/README.md explains modes and settings. BOOTSTRAP
//! is `HOST:PORT`, or `HOST:PORT+FILE` for TLS with an authority's certificate.
#![allow(dead_code, reason = "no rival needs all of it")]
#![allow(clippy::disallowed_methods, reason = "a stopwatch reads the clock, and an application may sleep")]

use std::time::{Duration, Instant, SystemTime};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything from the beginning, by manual assignment of all partitions.
    Read,
    /// The same for an application that sleeps this many milliseconds after as many thousand records.
    Sleep(u64),
    /// Records produced from now on; the third word of each value is its time, in microseconds since the epoch.
    Latency,
    /// Until the first record: by manual assignment, or as a member of a group of either protocol.
    StartAssign,
    StartClassic,
    StartConsumer,
}

pub struct Job {
    pub mode: Mode,
    /// Set up as the library's documentation recommends for throughput; else with its defaults.
    pub tuned: bool,
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    pub count: u64,
}

impl Job {
    pub fn from_args() -> Result<Self, Failure> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let [mode, settings, bootstrap, topic, partitions, count] = words.as_slice() else {
            return Err("usage: PROGRAM MODE tuned|default BOOTSTRAP TOPIC PARTITIONS COUNT".into());
        };
        let mode = match mode.as_str() {
            "read" => Mode::Read,
            "sleep-1" => Mode::Sleep(1),
            "sleep-5" => Mode::Sleep(5),
            "latency" => Mode::Latency,
            "start-assign" => Mode::StartAssign,
            "start-classic" => Mode::StartClassic,
            "start-consumer" => Mode::StartConsumer,
            other => return Err(format!("no such mode: {other}").into()),
        };
        Ok(Self {
            mode,
            tuned: settings == "tuned",
            bootstrap: bootstrap.clone(),
            topic: topic.clone(),
            partitions: partitions.parse()?,
            count: count.parse()?,
        })
    }

    /// The address, and the file with the authority's certificate for TLS.
    pub fn address(&self) -> (&str, Option<&str>) {
        match self.bootstrap.split_once('+') {
            Some((address, authority)) => (address, Some(authority)),
            None => (&self.bootstrap, None),
        }
    }

    /// Whether to begin at the log end.
    pub fn at_the_end(&self) -> bool {
        self.mode == Mode::Latency
    }

    /// A group that was never used before.
    pub fn group(&self) -> String {
        format!("peers-{}-{}", std::process::id(), micros())
    }
}

/// Records of the warm-up, whose latency does not count.
const WARM_UP: u64 = 2000;

pub struct Tally {
    began: Instant,
    /// When the first record arrived.
    flowing: Option<Instant>,
    used: (f64, f64),
    mode: Mode,
    wanted: u64,
    records: u64,
    bytes: u64,
    headers: u64,
    first: i64,
    late: Vec<i64>,
}

impl Tally {
    /// To be called before the client is created.
    pub fn begin(job: &Job) -> Self {
        let wanted = if job.mode == Mode::Latency { job.count + WARM_UP } else { job.count };
        Self {
            began: Instant::now(),
            flowing: None,
            used: processor_time(),
            mode: job.mode,
            wanted,
            records: 0,
            bytes: 0,
            headers: 0,
            first: 0,
            late: Vec::new(),
        }
    }

    /// One record: the lengths of its key and value, those of all header keys and values, and the value.
    #[inline]
    pub fn add(&mut self, key: usize, headers: usize, value: &[u8]) {
        self.records += 1;
        self.bytes += (key + value.len()) as u64;
        self.headers += headers as u64;
        if self.records == 1 {
            self.flowing = Some(Instant::now());
        }
        if self.mode != Mode::Read {
            self.look(value);
        }
    }

    fn look(&mut self, value: &[u8]) {
        match self.mode {
            Mode::Sleep(ms) if self.records.is_multiple_of(1000 * ms) => {
                std::thread::sleep(Duration::from_millis(ms));
            }
            Mode::Latency if self.records > WARM_UP => {
                self.late.extend(produced(value).map(|at| micros() - at))
            }
            Mode::StartAssign | Mode::StartClassic | Mode::StartConsumer if self.first == 0 => {
                self.first = micros();
            }
            _ => {}
        }
    }

    pub fn is_done(&self) -> bool {
        self.records >= self.wanted || self.first != 0
    }

    /// Prints the line. To be called once the last record is counted.
    pub fn report(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let flowing = self.flowing.map_or(0.0, |flowing| flowing.elapsed().as_secs_f64());
        let (user, sys) = processor_time();
        self.late.sort_unstable();
        let late = |share: f64| {
            let at = (self.late.len().saturating_sub(1)) as f64 * share;
            self.late.get(at as usize).copied().unwrap_or(-1)
        };
        println!(
            "{{\"records\":{},\"bytes\":{},\"header_bytes\":{},\"seconds\":{seconds:.6},\"flowing\":{flowing:.6},\"user\":{:.6},\"sys\":{:.6},\
             \"max_rss_kb\":{},\"first_at\":{},\"p50\":{},\"p99\":{},\"p999\":{}}}",
            self.records,
            self.bytes,
            self.headers,
            user - self.used.0,
            sys - self.used.1,
            peak_kb(),
            self.first,
            late(0.5),
            late(0.99),
            late(0.999),
        );
    }

    /// Prints the line and ends the process, as closing the client is not measured.
    pub fn end(&mut self) -> ! {
        self.report();
        std::process::exit(0)
    }
}

fn produced(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.split(' ').nth(2)?.parse().ok()
}

pub fn micros() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn usage() -> libc::rusage {
    // SAFETY: all zeros is a value of this plain struct, and getrusage only writes to it.
    unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    }
}

/// Seconds of user and of system time of this process.
pub fn processor_time() -> (f64, f64) {
    let usage = usage();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

pub fn peak_kb() -> i64 {
    usage().ru_maxrss
}
