//! The counts: the same as in `benches/workers/java/Tally.java`.

use std::{
    fs::{self, File},
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use offtake::OwnedRecord;
use tokio::sync::Notify;

use crate::Job;

/// From the first record to the last.
pub(crate) struct Tally {
    wanted: u64,
    done: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds spent in handlers, in total.
    busy: AtomicU64,
    began: OnceLock<(Instant, f64)>,
    ended: OnceLock<(Instant, f64)>,
    all_done: Notify,
    ledger: Option<File>,
}

/// Lives as long as the process: handlers share it without reference counts.
pub(crate) fn begin(wanted: u64, ledger: Option<&str>) -> io::Result<&'static Tally> {
    let open = |path| File::options().append(true).create(true).open(path);
    Ok(Box::leak(Box::new(Tally {
        wanted,
        done: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        busy: AtomicU64::new(0),
        began: OnceLock::new(),
        ended: OnceLock::new(),
        all_done: Notify::new(),
        ledger: ledger.map(open).transpose()?,
    })))
}

/// The handler.
pub(crate) async fn handled(record: &OwnedRecord, job: Job, tally: &Tally) {
    tally.begin_one();
    if job.work > 0 {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(job.work)).await;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tally.busy.fetch_add(took, Ordering::Relaxed);
    }
    tally.done_one(record.partition(), record.offset(), record.value().map(AsRef::as_ref));
}

impl Tally {
    pub(crate) fn begin_one(&self) {
        self.began.get_or_init(|| (Instant::now(), cpu_seconds()));
    }

    pub(crate) fn done_one(&self, partition: i32, offset: i64, value: Option<&[u8]>) {
        self.bytes.fetch_add(value.map_or(0, <[u8]>::len) as u64, Ordering::Relaxed);
        if let Some(mut ledger) = self.ledger.as_ref() {
            let line = format!("{partition} {offset}\n");
            ledger.write_all(line.as_bytes()).expect("the ledger takes a line");
        }
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.ended.get_or_init(|| (Instant::now(), cpu_seconds()));
            self.all_done.notify_one();
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ended.get().is_some()
    }

    pub(crate) async fn all_done(&self) {
        self.all_done.notified().await;
    }

    pub(crate) fn print(&self) {
        let (Some((began, used_before)), Some((ended, used))) = (self.began.get(), self.ended.get()) else {
            return;
        };
        println!(
            "{{\"records\":{},\"bytes\":{},\"seconds\":{:.6},\"cpu\":{:.3},\"busy\":{:.6},\"peak_kib\":{}}}",
            self.wanted,
            self.bytes.load(Ordering::Relaxed),
            ended.saturating_duration_since(*began).as_secs_f64(),
            used - used_before,
            Duration::from_nanos(self.busy.load(Ordering::Relaxed)).as_secs_f64(),
            peak_kib(),
        );
    }
}

/// User and system time of all threads; Linux reports it in hundredths.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
