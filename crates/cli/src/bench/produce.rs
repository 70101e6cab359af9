//! `offtake bench produce`: records written per second, the cost, and the latency until each is acknowledged.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use offtake_producer::{Builder, Config, Delivery, Error, Producer, ProducerRecord, RecordMetadata};
use serde_json::json;

use super::{usage, values::Values};
use crate::{
    args::{BenchProduce, Common},
    clock::now,
    failure::Failure,
    output::Output,
    sending::{CLOSING, Unacknowledged, due, until},
    setup,
    stop::Stop,
};

/// The number of records sent between two checks for acknowledgements.
const LOOK_EVERY: u64 = 32;
/// Without a rate, one record in this many is timed; with one, about this many a second.
const TIMED: u64 = 1000;

pub(super) async fn run(common: &Common, args: BenchProduce) -> Result<(), Failure> {
    let config = setup::producer_config(common)?;
    let mut stop = Stop::listen()?;
    let mut load = Load::new(&config, args);
    let producer = Builder::from_config(config).build().await?;
    load.send_all(&producer, &mut stop).await;
    load.drain(&producer).await;
    let _ = producer.close(CLOSING).await;
    if let Some((record, error)) = load.failed {
        return Err(Failure::failed(format!("record {record}: {error}; {} were written", load.written)));
    }
    let mut output = Output::stdout();
    load.report(common.json, &mut output);
    Ok(output.flush()?)
}

/// The records being sent, and their measurements.
struct Load {
    args: BenchProduce,
    values: Values,
    /// One record in this many is timed.
    timed: u64,
    waiting: Unacknowledged<Delivery, Known>,
    sent: u64,
    written: u64,
    /// The bytes of the values written.
    bytes: u64,
    /// From `send` to the acknowledgement.
    latencies: Vec<Duration>,
    /// When the first record was sent, and when the last was acknowledged.
    span: Option<(Instant, Instant)>,
    /// The first record that was not written, by its number from 1 on.
    failed: Option<(u64, Error)>,
}

/// The state of a record that has no outcome yet.
struct Known {
    /// Counted from 1.
    number: u64,
    bytes: usize,
    /// When it was sent, if it is timed.
    sent_at: Option<Instant>,
}

impl Load {
    fn new(config: &Config, args: BenchProduce) -> Self {
        Self {
            values: Values::of_size(args.size),
            timed: args.rate.map_or(TIMED, |rate| (rate / TIMED).max(1)),
            waiting: Unacknowledged::new(config.buffer_memory),
            sent: 0,
            written: 0,
            bytes: 0,
            latencies: Vec::new(),
            span: None,
            failed: None,
            args,
        }
    }

    /// Sends as many records as requested, or until a signal.
    async fn send_all(&mut self, producer: &Producer, stop: &mut Stop) {
        while self.sent < self.args.count && self.failed.is_none() {
            let due = self.span.and_then(|(began, _)| due(self.args.rate, began, self.sent));
            let has_room = self.waiting.has_room();
            if due.is_none() && has_room {
                self.send(producer);
                if self.sent.is_multiple_of(LOOK_EVERY) {
                    self.take_outcomes();
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.asked() => return,
                (known, outcome) = self.waiting.next() => self.take(&known, outcome),
                () = until(due), if has_room => {}
            }
        }
    }

    fn send(&mut self, producer: &Producer) {
        let value = self.values.get(self.sent);
        let is_timed = self.sent.is_multiple_of(self.timed);
        let sent_at = (is_timed || self.span.is_none()).then(now);
        if let (None, Some(at)) = (self.span, sent_at) {
            self.span = Some((at, at));
        }
        let delivery = producer.send(ProducerRecord::to(&self.args.topic).value(value));
        self.sent = self.sent.saturating_add(1);
        self.waiting.push(delivery, value.len(), Known { number: self.sent, bytes: value.len(), sent_at });
    }

    /// Takes the outcomes that are available.
    fn take_outcomes(&mut self) {
        while let Some((known, outcome)) = self.waiting.next().now_or_never() {
            self.take(&known, outcome);
        }
    }

    fn take(&mut self, known: &Known, outcome: Result<RecordMetadata, Error>) {
        match outcome {
            Ok(_) => {
                self.written = self.written.saturating_add(1);
                self.bytes = self.bytes.saturating_add(known.bytes as u64);
                if known.sent_at.is_some() || self.waiting.is_empty() {
                    let at = now();
                    self.latencies.extend(known.sent_at.map(|sent_at| at.saturating_duration_since(sent_at)));
                    self.span = self.span.map(|(began, _)| (began, at));
                }
            }
            Err(error) => {
                self.failed.get_or_insert((known.number, error));
            }
        }
    }

    /// Waits until each record has its outcome.
    async fn drain(&mut self, producer: &Producer) {
        let _ = producer.flush().await; // each record reports its own outcome
        while !self.waiting.is_empty() {
            let (known, outcome) = self.waiting.next().await;
            self.take(&known, outcome);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "rates are read to three digits")]
    fn report(&mut self, json: bool, output: &mut Output) {
        let seconds =
            self.span.map_or(0.0, |(began, ended)| ended.saturating_duration_since(began).as_secs_f64());
        let cpu = usage::cpu_seconds();
        let millions = self.written as f64 / 1e6;
        let per_million = cpu.map(|cpu| if millions > 0.0 { cpu / millions } else { 0.0 });
        let per_second = |of: u64| if seconds > 0.0 { of as f64 / seconds } else { 0.0 };
        let rss = usage::peak_rss_kib();
        self.latencies.sort_unstable();
        let [p50, p99] = [50, 99].map(|percent| percentile(&self.latencies, percent));
        if json {
            output.json(&json!({
                "records": self.written, "bytes": self.bytes, "seconds": seconds, "cpu_seconds": cpu,
                "cpu_seconds_per_million": per_million, "records_per_second": per_second(self.written),
                "peak_rss_kib": rss, "latency_p50_ms": p50, "latency_p99_ms": p99,
            }));
            return;
        }
        let unknown = || "unknown".to_owned();
        let text = format!(
            "records       {}\nbytes         {}\nseconds       {seconds:.3}\nrecords/s     {:.0}\nMB/s          {:.1}\n\
             cpu seconds   {} ({} per million records)\npeak memory   {}\nlatency       {} (median), {} (99 of 100)\n",
            self.written,
            self.bytes,
            per_second(self.written),
            per_second(self.bytes) / 1e6,
            cpu.map_or_else(unknown, |cpu| format!("{cpu:.3}")),
            per_million.map_or_else(unknown, |cpu| format!("{cpu:.4}")),
            rss.map_or_else(unknown, |kib| format!("{kib} KiB")),
            p50.map_or_else(unknown, |ms| format!("{ms:.2} ms")),
            p99.map_or_else(unknown, |ms| format!("{ms:.2} ms")),
        );
        output.buffer().extend_from_slice(text.as_bytes());
    }
}

/// The value that `percent` percent of the durations do not exceed, in milliseconds; `None` if there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let at = sorted.len().checked_sub(1)?.saturating_mul(percent) / 100;
    sorted.get(at).map(|latency| latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Some(100.0));
        assert_eq!(percentile(&sorted, 99), Some(198.0));
        assert_eq!(percentile(&sorted[..1], 99), Some(1.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
