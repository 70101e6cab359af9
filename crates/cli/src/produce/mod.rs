//! `offtake produce`: lines of stdin to records.
//!
//! Always true: status 0 means that every record is written. Lines read before an unreadable line, a signal or
//! an error are written all the same, as far as possible.

mod input;
mod line;
mod transactional;

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use offtake_producer::{Builder, Config, Delivery, Error, Producer, ProducerRecord, RecordMetadata};
#[cfg(feature = "registry")]
use offtake_schema::IdLocation;
use serde_json::json;

use crate::{
    args::{Common, Produce},
    clock::now,
    failure::{Failure, say},
    output::Output,
    sending::{CLOSING, Unacknowledged, due, size, until, without_pauses},
    setup,
    stop::Stop,
};
use input::{Input, Line};

pub(crate) async fn run(common: &Common, args: Produce) -> Result<(), Failure> {
    check(common, &args)?;
    #[cfg(feature = "registry")]
    let (encoder, common) = encoder(common, &args).await?;
    #[cfg(feature = "registry")]
    let common = &common;
    let config = config(common, &args)?;
    let shape = line::Shape::of(common, &args);
    #[cfg(feature = "registry")]
    let shape = shape.encoded_by(encoder);
    let mut stop = Stop::listen()?;
    if config.transactional_id.is_some() {
        return transactional::run(config, args, shape, &mut stop).await;
    }
    let waiting = Unacknowledged::new(config.buffer_memory);
    let max_request_size = config.max_request_size;
    let producer = Builder::from_config(config).build().await?;
    let mut work = Work {
        producer,
        args,
        shape,
        waiting,
        silent: None,
        sent: 0,
        written: 0,
        began: now(),
        failed: None,
        unreported: None,
        output: Output::stdout(),
    };
    let end = work.send_all(&mut Input::start(max_request_size)?, &mut stop).await;
    work.drain().await;
    let _ = work.producer.close(CLOSING).await;
    work.into_result(end)
}

/// The encoder of `--registry`; and the command line without the registry's properties.
#[cfg(feature = "registry")]
async fn encoder(
    common: &Common,
    args: &Produce,
) -> Result<(Option<offtake_schema::Encoder>, Common), Failure> {
    let options = &args.registry;
    if options.at.registry.is_empty() {
        return Ok((None, common.clone()));
    }
    let (registry, rest) = crate::registry::open(common, &options.at, None)?;
    let serializer = match &options.schema {
        Some(file) => offtake_schema::Serializer::register(registry, crate::registry::read_schema(file)?),
        None => offtake_schema::Serializer::latest(registry),
    };
    let serializer = match &options.subject {
        Some(subject) => serializer.subject(subject),
        None => serializer,
    };
    let place = if options.registry_headers { IdLocation::Header } else { IdLocation::Payload };
    let serializer = serializer.framing(options.framed.framing()).id_location(place);
    let encoder =
        serializer.encoder(&args.topic).await.map_err(|error| Failure::failed(error.to_string()))?;
    Ok((Some(encoder), rest))
}

/// Checks for options that have no meaning with the format of the lines.
fn check(common: &Common, args: &Produce) -> Result<(), Failure> {
    let wrong = match (common.json, &args.key_separator) {
        (true, Some(_)) => "--key-separator: with --json a line has its key itself, as \"key\"",
        (false, _) if args.keep_partition => {
            "--keep-partition is for lines that name a partition: add --json"
        }
        _ => return Ok(()),
    };
    Err(Failure::Usage(wrong.to_owned()))
}

/// The producer's properties of the command line, over those for every client.
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

/// Records without an outcome for this long get a notice: their topic may be gone.
const SILENCE: Duration = Duration::from_secs(10);

struct Work {
    producer: Producer,
    args: Produce,
    shape: line::Shape,
    /// The records without an outcome, each with its line number.
    waiting: Unacknowledged<Delivery, u64>,
    /// Since when no outcome arrived; `None` once that was reported.
    silent: Option<Instant>,
    sent: u64,
    written: u64,
    began: Instant,
    /// The line number and error of the first record that was not written.
    failed: Option<(u64, Error)>,
    /// Why reports could not be written.
    unreported: Option<Failure>,
    output: Output,
}

/// Why no more lines are sent.
enum End {
    /// There are no more, or the requested count is reached.
    Done,
    /// A signal arrived; this is the last line that was read.
    Signal(u64),
    /// This line cannot be read.
    Unreadable(u64, String),
    /// A record was not written, or its report was not.
    Failed,
}

/// The result of sending a line.
enum Sent {
    Away,
    /// There is no room for its record, which takes this many bytes.
    Waits(usize),
}

impl Work {
    /// Sends lines until there are no more, or something ends it.
    async fn send_all(&mut self, input: &mut Input, stop: &mut Stop) -> End {
        let mut next: Option<(u64, Line)> = None;
        // The size of the next record, as far as it is known.
        let mut bytes = 0;
        let mut last = 0;
        let mut stops = false;
        loop {
            if self.failed.is_some() || self.unreported.is_some() {
                return End::Failed;
            }
            if self.args.count.is_some_and(|count| self.sent >= count) {
                return End::Done;
            }
            let has_room = self.waiting.has_room_for(bytes);
            // Lines that were read before a signal are written at once.
            self.began = without_pauses(self.args.rate, self.began, self.sent, now());
            let due = due(self.args.rate, self.began, self.sent).filter(|_| !stops);
            if has_room
                && due.is_none()
                && let Some((number, line)) = next.take()
            {
                let line = match line {
                    Ok(line) => line,
                    Err(error) => return End::Unreadable(number, error.to_string()),
                };
                match self.send(number, &line) {
                    Ok(Sent::Away) => (bytes, last) = (0, number),
                    Ok(Sent::Waits(takes)) => {
                        bytes = takes;
                        next = Some((number, Ok(line)));
                        continue;
                    }
                    Err(why) => return End::Unreadable(number, why),
                }
                if input.has_more() {
                    continue;
                }
            }
            self.report_outcomes();
            let wants_line = next.is_none();
            let overdue = self.overdue();
            tokio::select! {
                biased;
                () = stop.asked(), if !stops => {
                    stops = true;
                    input.stop();
                }
                (line, outcome) = self.waiting.next() => self.on_outcome(line, outcome),
                line = input.next(), if wants_line => match line {
                    Some(line) => next = Some(line),
                    None if stops => return End::Signal(last),
                    None => return End::Done,
                },
                () = until(due), if !wants_line && has_room => {}
                () = until(overdue), if overdue.is_some() => self.report_silence(),
            }
        }
    }

    fn send(&mut self, number: u64, line: &[u8]) -> Result<Sent, String> {
        let parsed = self.shape.parse(line)?;
        let record = record(&self.args, &parsed);
        let bytes = size(&record);
        if !self.waiting.has_room_for(bytes) {
            return Ok(Sent::Waits(bytes));
        }
        if self.waiting.is_empty() {
            self.silent = Some(now());
        }
        let delivery = self.producer.send(record);
        self.waiting.push(delivery, bytes, number);
        self.sent = self.sent.saturating_add(1);
        Ok(Sent::Away)
    }

    /// Handles the outcome of this line's record.
    fn on_outcome(&mut self, line: u64, outcome: Result<RecordMetadata, Error>) {
        self.silent = Some(now());
        match outcome {
            Ok(metadata) => {
                self.written = self.written.saturating_add(1);
                if self.args.json_report {
                    self.output.json(&report(&metadata));
                    let written = self.output.spill();
                    self.reported(written);
                }
            }
            Err(error) => {
                self.failed.get_or_insert((line, error));
            }
        }
    }

    /// When it will have been silent for too long.
    fn overdue(&self) -> Option<Instant> {
        self.silent.filter(|_| !self.waiting.is_empty()).map(|since| since + SILENCE)
    }

    fn report_silence(&mut self) {
        self.silent = None;
        tracing::warn!(
            "no record was acknowledged for {SILENCE:?}: {} of topic {} wait, each for delivery.timeout.ms; check whether the brokers answer (`offtake doctor`) and whether the topic still exists",
            self.waiting.len(),
            self.args.topic
        );
    }

    /// Takes all available outcomes, and writes their reports.
    fn report_outcomes(&mut self) {
        while let Some((line, outcome)) = self.waiting.next().now_or_never() {
            self.on_outcome(line, outcome);
        }
        let written = self.output.flush();
        self.reported(written);
    }

    fn reported(&mut self, written: std::io::Result<()>) {
        let Err(error) = written else { return };
        self.args.json_report = false;
        self.output.buffer().clear();
        // If the reports have no reader any more, the records are still wanted.
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            self.unreported.get_or_insert(error.into());
        }
    }

    /// Waits until each record has its outcome.
    async fn drain(&mut self) {
        let mut is_flushed = self.waiting.is_empty();
        loop {
            self.report_outcomes();
            if self.waiting.is_empty() {
                return;
            }
            let overdue = self.overdue();
            tokio::select! {
                biased;
                _ = self.producer.flush(), if !is_flushed => is_flushed = true, // each record reports its own outcome
                (line, outcome) = self.waiting.next(), if is_flushed => self.on_outcome(line, outcome),
                () = until(overdue), if overdue.is_some() => self.report_silence(),
            }
        }
    }

    fn into_result(self, end: End) -> Result<(), Failure> {
        let written = self.written;
        if let Some((line, error)) = self.failed {
            say(format_args!("offtake: {written} of {} records were written", self.sent));
            return Err(Failure::failed(format!("line {line}: {error}")));
        }
        if let Some(failure) = self.unreported {
            return Err(match failure {
                Failure::Failed(why) => Failure::failed(format!("{why}; {written} records are written")),
                other => other,
            });
        }
        match end {
            End::Done | End::Failed => Ok(()),
            End::Signal(last) => Err(Failure::failed(format!(
                "stopped; the {written} records that were read are written, up to line {last}"
            ))),
            End::Unreadable(line, why) => {
                Err(Failure::failed(format!("line {line}: {why}; the {written} before it are written")))
            }
        }
    }
}

/// The record of a parsed line.
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

/// The object that `--json-report` prints for a record.
fn report(metadata: &RecordMetadata) -> serde_json::Value {
    json!({
        "topic": metadata.partition.topic.as_str(),
        "partition": metadata.partition.partition,
        "offset": metadata.offset,
        "timestamp": metadata.timestamp,
    })
}
