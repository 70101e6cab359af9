//! `offtake produce`: lines of stdin to records.
//!
//! Always true: status 0 says that every record is written. What was read before a line that cannot be read, a signal or an error is
//! written all the same, as far as it can be.

mod input;
mod line;
mod transactional;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use offtake_producer::{Builder, Config, Delivery, Error, Producer, ProducerRecord, RecordMetadata};
use serde_json::json;

use crate::{
    args::{Common, Produce},
    clock::now,
    failure::{Failure, say},
    output::Output,
    setup,
    stop::Stop,
};
use input::{Input, Line};

/// The most records that wait for their outcomes; beside them `buffer.memory` is the bound.
const MOST_WAITING: usize = 20_000;
/// Everything has its outcome when the producer is closed.
const CLOSING: Duration = Duration::from_secs(5);

pub(crate) async fn run(common: &Common, args: Produce) -> Result<(), Failure> {
    let config = config(common, &args)?;
    let shape = line::Shape::of(common, &args);
    let mut stop = Stop::listen()?;
    let most_bytes = config.buffer_memory / 2;
    if config.transactional_id.is_some() {
        return transactional::run(config, args, shape, &mut stop, most_bytes).await;
    }
    let producer = Builder::from_config(config).build().await?;
    let mut work = Work {
        producer,
        args,
        shape,
        most_bytes,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        sent: 0,
        written: 0,
        began: now(),
        failed: None,
        output: Output::stdout(),
    };
    let end = work.send_all(&mut Input::start()?, &mut stop).await;
    let drained = work.drain().await;
    let _ = work.producer.close(CLOSING).await;
    drained?;
    match work.output.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => work.verdict(end),
    }
}

/// What the command line says of the producer, over what it says of every client.
fn config(common: &Common, args: &Produce) -> Result<Config, Failure> {
    let mut config = setup::producer_config(common)?;
    let mut mistakes = Vec::new();
    let given = [
        ("--compression", "compression.type", &args.compression),
        ("--acks", "acks", &args.acks),
        ("--transactional-id", "transactional.id", &args.transactional_id),
    ];
    for (option, name, value) in given {
        if let Some(Err(error)) = value.as_ref().map(|value| config.set(name, value)) {
            mistakes.push(format!("{option}: {error}"));
        }
    }
    if mistakes.is_empty() { Ok(config) } else { Err(Failure::Usage(mistakes.join("; "))) }
}

struct Work {
    producer: Producer,
    args: Produce,
    shape: line::Shape,
    /// So many bytes may wait for their outcomes.
    most_bytes: usize,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    sent: u64,
    written: u64,
    began: Instant,
    /// The first record that was not written, by its line.
    failed: Option<(u64, Error)>,
    output: Output,
}

/// A record without an outcome.
struct Waiting {
    line: u64,
    bytes: usize,
    delivery: Delivery,
}

/// Why no more lines are sent.
enum End {
    /// There are no more, or as many as were asked for.
    Done,
    Signal,
    /// This line cannot be read.
    Unreadable(u64, String),
    /// A record was not written.
    Failed,
}

impl Work {
    /// Sends lines until there are no more, or something ends it.
    async fn send_all(&mut self, input: &mut Input, stop: &mut Stop) -> End {
        let mut next: Option<(u64, Line)> = None;
        loop {
            if self.failed.is_some() {
                return End::Failed;
            }
            if self.args.count.is_some_and(|count| self.sent >= count) {
                return End::Done;
            }
            let has_room = self.waiting.len() < MOST_WAITING && self.waiting_bytes <= self.most_bytes;
            let due = due(&self.args, self.began, self.sent);
            if has_room
                && due.is_none()
                && let Some((number, line)) = next.take()
            {
                match line {
                    Ok(line) => {
                        if let Err(why) = self.send(number, &line) {
                            return End::Unreadable(number, why);
                        }
                    }
                    Err(error) => return End::Unreadable(number, error.to_string()),
                }
                if input.has_more() {
                    continue;
                }
            }
            let wants_line = next.is_none();
            tokio::select! {
                biased;
                () = stop.asked() => return End::Signal,
                outcome = first_outcome(&mut self.waiting) => {
                    if let Err(failure) = self.told(outcome) {
                        return match failure {
                            Failure::BrokenPipe => End::Done,
                            other => End::Unreadable(0, other.to_string()),
                        };
                    }
                }
                line = input.next(), if wants_line => match line {
                    Some(line) => next = Some(line),
                    None => return End::Done,
                },
                () = until(due), if !wants_line && has_room => {}
            }
        }
    }

    fn send(&mut self, number: u64, line: &[u8]) -> Result<(), String> {
        let parsed = self.shape.parse(line)?;
        let delivery = self.producer.send(record(&self.args, &parsed));
        self.waiting.push_back(Waiting { line: number, bytes: line.len(), delivery });
        self.waiting_bytes = self.waiting_bytes.saturating_add(line.len());
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// Takes the outcome of the first record that waits for one.
    fn told(&mut self, outcome: Result<RecordMetadata, Error>) -> Result<(), Failure> {
        let Some(Waiting { line, bytes, .. }) = self.waiting.pop_front() else { return Ok(()) };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        match outcome {
            Ok(metadata) => {
                self.written = self.written.saturating_add(1);
                if self.args.json_report {
                    self.output.json(&report(&metadata));
                    let written =
                        if self.waiting.is_empty() { self.output.flush() } else { self.output.spill() };
                    match written {
                        // Nobody reads the reports any more; the records are wanted all the same.
                        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                            self.args.json_report = false;
                            self.output.buffer().clear();
                        }
                        written => written?,
                    }
                }
            }
            Err(error) => {
                self.failed.get_or_insert((line, error));
            }
        }
        Ok(())
    }

    /// Waits until each record has its outcome.
    async fn drain(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let _ = self.producer.flush().await; // each record tells of itself
        while !self.waiting.is_empty() {
            let outcome = first_outcome(&mut self.waiting).await;
            self.told(outcome)?;
        }
        Ok(())
    }

    fn verdict(self, end: End) -> Result<(), Failure> {
        let written = self.written;
        if let Some((line, error)) = self.failed {
            say(format_args!("offtake: {written} of {} records were written", self.sent));
            return Err(Failure::failed(format!("line {line}: {error}")));
        }
        match end {
            End::Done | End::Failed => Ok(()),
            End::Signal => {
                Err(Failure::failed(format!("stopped; the {written} records that were read are written")))
            }
            End::Unreadable(line, why) => {
                Err(Failure::failed(format!("line {line}: {why}; the {written} before it are written")))
            }
        }
    }
}

/// The record that a line says.
fn record<'a>(args: &'a Produce, parsed: &'a line::Parsed<'_>) -> ProducerRecord<'a> {
    let mut record =
        ProducerRecord::to(&args.topic).maybe_key(parsed.key.as_deref()).maybe_value(parsed.value.as_deref());
    for (key, value) in &parsed.headers {
        record = record.maybe_header(key, value.as_deref());
    }
    for (key, value) in &args.headers {
        record = record.header(key, value);
    }
    record = parsed.timestamp.into_iter().fold(record, ProducerRecord::timestamp);
    let partition = args.partition.or(parsed.partition);
    partition.into_iter().fold(record, ProducerRecord::partition)
}

/// What `--json-report` prints of a record.
fn report(metadata: &RecordMetadata) -> serde_json::Value {
    json!({
        "topic": metadata.partition.topic.as_str(),
        "partition": metadata.partition.partition,
        "offset": metadata.offset,
        "timestamp": metadata.timestamp,
    })
}

/// When the next record may be sent, if that is not now.
fn due(args: &Produce, began: Instant, sent: u64) -> Option<Instant> {
    let rate = args.rate.filter(|rate| *rate > 0)?;
    let nanos = u128::from(sent) * 1_000_000_000 / u128::from(rate);
    let due = began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    (due > now()).then_some(due)
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
