//! The progress line of a long read.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::now;

/// A shorter read needs no progress line.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts the records read, and shows a line where a person watches stderr and stdout goes elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// When it was last shown, with the counts of that moment: rates are computed since then.
    shown: (Instant, u64, u64),
    records: u64,
    bytes: u64,
}

impl Progress {
    pub(crate) fn new(stdout_is_terminal: bool, quiet: bool) -> Self {
        let visible = std::io::stderr().is_terminal() && !stdout_is_terminal && !quiet;
        let bar = visible.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = now();
        Self { bar, began: now, shown: (now, 0, 0), records: 0, bytes: 0 }
    }

    /// Adds to the printed records.
    pub(crate) fn add(&mut self, records: u64, bytes: usize) {
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Shows the line if it is due. `lag` is called only then.
    pub(crate) fn show(&mut self, lag: impl FnOnce() -> u64) {
        let Some(bar) = &self.bar else { return };
        let now = now();
        let (last, records, bytes) = self.shown;
        let since = now.saturating_duration_since(last);
        if now.saturating_duration_since(self.began) < PATIENCE || since < INTERVAL {
            return;
        }
        self.shown = (now, self.records, self.bytes);
        let records = self.records.saturating_sub(records);
        bar.set_message(line(self.records, records, self.bytes.saturating_sub(bytes), since, lag()));
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
/// `total`: all records printed so far; `records` and `bytes`: those printed within `since`.
fn line(total: u64, records: u64, bytes: u64, since: Duration, lag: u64) -> String {
    let seconds = since.as_secs_f64().max(0.001);
    let rate = records as f64 / seconds;
    let megabytes = bytes as f64 / 1e6 / seconds;
    let eta = if lag == 0 {
        "at the end".to_owned()
    } else if rate >= 1.0 {
        format!("ETA {} s", (lag as f64 / rate).ceil())
    } else {
        "ETA unknown".to_owned()
    };
    format!("{total} records  {rate:.0}/s  {megabytes:.1} MB/s  lag {lag}  {eta}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_records_rates_lag_and_the_time_left() {
        let text = line(7000, 1000, 5_000_000, Duration::from_secs(2), 2000);
        assert_eq!(text, "7000 records  500/s  2.5 MB/s  lag 2000  ETA 4 s");
        assert!(line(1, 1, 1, Duration::from_secs(2), 0).ends_with("at the end"));
        assert!(line(0, 0, 0, Duration::ZERO, 5).ends_with("ETA unknown"));
    }
}
