//! `offtake bench produce`: how many records are written a second, at what cost, and how soon each is acknowledged.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use offtake_producer::{Builder, Config, Delivery, Error, Producer, ProducerRecord, RecordMetadata};
use serde_json::json;

use super::{usage, values::Values};
use crate::{
    args::{BenchProduce, Common},
    clock::now,
    failure::Failure,
    output::Output,
    setup,
    stop::Stop,
};

/// The most records that wait for their outcomes; beside them half of `buffer.memory` is the bound.
const MOST_WAITING: usize = 20_000;
/// So many records are sent between two looks at what has been acknowledged.
const LOOK_EVERY: u64 = 32;
/// Without a rate the time is taken of one record in so many; with one, of so many a second.
const TIMED: u64 = 1000;
/// Everything has its outcome when the producer is closed.
const CLOSING: Duration = Duration::from_secs(5);

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

/// The records that are sent, and what is measured of them.
struct Load {
    args: BenchProduce,
    values: Values,
    most_waiting: usize,
    /// The time is taken of one record in so many.
    timed: u64,
    waiting: VecDeque<Waiting>,
    sent: u64,
    written: u64,
    /// Of the values that were written.
    bytes: u64,
    /// From `send` to the acknowledgement.
    latencies: Vec<Duration>,
    /// When the first record was sent, and when the last was acknowledged.
    span: Option<(Instant, Instant)>,
    /// The first record that was not written, by its number from 1 on.
    failed: Option<(u64, Error)>,
}

/// A record without an outcome.
struct Waiting {
    delivery: Delivery,
    bytes: usize,
    /// When it was sent, if its time is taken.
    sent_at: Option<Instant>,
}

impl Load {
    fn new(config: &Config, args: BenchProduce) -> Self {
        let most_bytes = config.buffer_memory / 2;
        Self {
            values: Values::of_size(args.size),
            most_waiting: most_bytes.checked_div(args.size).unwrap_or(MOST_WAITING).clamp(1, MOST_WAITING),
            timed: args.rate.map_or(TIMED, |rate| (rate / TIMED).max(1)),
            waiting: VecDeque::new(),
            sent: 0,
            written: 0,
            bytes: 0,
            latencies: Vec::new(),
            span: None,
            failed: None,
            args,
        }
    }

    /// Sends as many records as are asked for, or until somebody asks to stop.
    async fn send_all(&mut self, producer: &Producer, stop: &mut Stop) {
        while self.sent < self.args.count && self.failed.is_none() {
            let due = self.due();
            let is_full = self.waiting.len() >= self.most_waiting;
            if due.is_none() && !is_full {
                self.send(producer);
                if self.sent.is_multiple_of(LOOK_EVERY) {
                    self.take_outcomes();
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.asked() => return,
                outcome = first_outcome(&mut self.waiting) => self.take(outcome),
                () = until(due), if !is_full => {}
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
        self.waiting.push_back(Waiting { delivery, bytes: value.len(), sent_at });
        self.sent = self.sent.saturating_add(1);
    }

    /// When the next record may be sent, if that is not now.
    fn due(&self) -> Option<Instant> {
        let rate = self.args.rate.filter(|rate| *rate > 0)?;
        let (began, _) = self.span?;
        let nanos = u128::from(self.sent) * 1_000_000_000 / u128::from(rate);
        let due = began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        (due > now()).then_some(due)
    }

    /// Takes the outcomes that are known.
    fn take_outcomes(&mut self) {
        while let Some(outcome) = first_outcome(&mut self.waiting).now_or_never() {
            self.take(outcome);
        }
    }

    /// Takes the outcome of the first record that waits for one.
    fn take(&mut self, outcome: Result<RecordMetadata, Error>) {
        let Some(Waiting { bytes, sent_at, .. }) = self.waiting.pop_front() else { return };
        match outcome {
            Ok(_) => {
                self.written = self.written.saturating_add(1);
                self.bytes = self.bytes.saturating_add(bytes as u64);
                if sent_at.is_some() || self.waiting.is_empty() {
                    let at = now();
                    self.latencies.extend(sent_at.map(|sent_at| at.saturating_duration_since(sent_at)));
                    self.span = self.span.map(|(began, _)| (began, at));
                }
            }
            Err(error) => {
                let number = self.sent.saturating_sub(self.waiting.len() as u64);
                self.failed.get_or_insert((number, error));
            }
        }
    }

    /// Waits until each record has its outcome.
    async fn drain(&mut self, producer: &Producer) {
        let _ = producer.flush().await; // each record tells of itself
        while !self.waiting.is_empty() {
            let outcome = first_outcome(&mut self.waiting).await;
            self.take(outcome);
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

/// The value that so many of a hundred do not pass, in milliseconds; `None` if there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let at = sorted.len().checked_sub(1)?.saturating_mul(percent) / 100;
    sorted.get(at).map(|latency| latency.as_secs_f64() * 1e3)
}

/// The outcome of the first that waits for one; never, if there is none.
async fn first_outcome(waiting: &mut VecDeque<Waiting>) -> Result<RecordMetadata, Error> {
    poll_fn(|cx| match waiting.front_mut() {
        Some(first) => Pin::new(&mut first.delivery).poll(cx),
        None => Poll::Pending,
    })
    .await
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
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
