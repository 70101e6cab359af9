//! `offtake produce`: lines of stdin to records.
//!
//! Always true: status 0 says that every record is written. What was read before a line that cannot be read, a signal or an error is
//! written all the same, as far as it can be.

mod input;
mod line;
mod transactional;

use std::time::Instant;

use offtake_producer::{Builder, Config, Delivery, Error, Producer, ProducerRecord, RecordMetadata};
use serde_json::json;

use crate::{
    args::{Common, Produce},
    clock::now,
    failure::{Failure, say},
    output::Output,
    sending::{CLOSING, Unacknowledged, due, until},
    setup,
    stop::Stop,
};
use input::{Input, Line};

pub(crate) async fn run(common: &Common, args: Produce) -> Result<(), Failure> {
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
    let producer = Builder::from_config(config).build().await?;
    let mut work = Work {
        producer,
        args,
        shape,
        waiting,
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

/// What `--registry` writes values by; and what the command line says of other things.
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
    let encoder =
        serializer.encoder(&args.topic).await.map_err(|error| Failure::failed(error.to_string()))?;
    Ok((Some(encoder), rest))
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
    /// With the line of each.
    waiting: Unacknowledged<Delivery, u64>,
    sent: u64,
    written: u64,
    began: Instant,
    /// The first record that was not written, by its line.
    failed: Option<(u64, Error)>,
    output: Output,
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
            let has_room = self.waiting.has_room();
            let due = due(self.args.rate, self.began, self.sent);
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
                (line, outcome) = self.waiting.next() => {
                    if let Err(failure) = self.told(line, outcome) {
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
        self.waiting.push(delivery, line.len(), number);
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// The record of this line has its outcome.
    fn told(&mut self, line: u64, outcome: Result<RecordMetadata, Error>) -> Result<(), Failure> {
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
            let (line, outcome) = self.waiting.next().await;
            self.told(line, outcome)?;
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
