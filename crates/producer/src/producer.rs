//! [`Producer`]: the handle.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_client::{BootstrapServers, Error, ErrorKind, Result, clock};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Builder, Config, ProducerRecord,
    accumulator::{FilledBatch, Shared, seal},
    delivery::Delivery,
    engine::Command,
};

/// Writes records to Kafka. Clones share the same producer, and any task may send with it.
///
/// When the last clone is dropped, the engine goes on until each record is written or its `delivery.timeout.ms` has ended, as
/// long as the program runs. [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// For a replay: the wall clock at the start, and the instant of the start.
    wall: Option<(i64, Instant)>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer for these brokers, with the defaults of [`Config`].
    pub fn builder(bootstrap: impl Into<BootstrapServers>) -> Builder {
        Builder::from_config(Config::default()).property("bootstrap.servers", bootstrap.into())
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: mpsc::UnboundedSender<Command>,
        wall: Option<(i64, Instant)>,
    ) -> Self {
        Self { shared, commands, wall }
    }

    /// Sends a record. When this returns, the record is in its batch or queued for one. The [`Delivery`] returns where it was
    /// written.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), offtake_producer::Error> {
    /// use offtake_producer::{Producer, ProducerRecord};
    ///
    /// let producer = Producer::builder("localhost:9092").build().await?;
    /// let written = producer.send(ProducerRecord::to("orders").key("7").value("paid")).await?;
    /// println!("{} at {:?}", written.partition, written.offset);
    /// producer.close(std::time::Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Records of one partition are written in the order of the calls, whether their deliveries are awaited or not. To fill
    /// batches, send many records and await the deliveries later.
    ///
    /// # Errors
    /// Returned by the delivery:
    /// - `TooLarge`: the record is larger than `max.request.size`, `buffer.memory` or the topic's limit. It was not sent.
    /// - `Timeout`: for `max.block.ms`, `buffer.memory` stayed full or no broker returned the topic's metadata; or the record was
    ///   not written within `delivery.timeout.ms`. It was not written.
    /// - `UnknownTopic`: the topic, or the partition that the record names, did not exist for `max.block.ms`.
    /// - `OutcomeUnknown`: the record was sent, and no broker confirmed whether it was written, or the broker failed
    ///   (`UNKNOWN_SERVER_ERROR`). It may be written.
    /// - `Authorization`, `Refused`, `Misuse`: the record was not written. Sending it again unchanged would fail again.
    /// - `MissingCodec`: the codec of `compression.type` is not compiled in.
    /// - `Closed`, or the error that ended the producer (`Unsupported`, `NotKafka`, `Authentication`).
    pub fn send(&self, record: ProducerRecord<'_>) -> Delivery {
        let timestamp = record.timestamp.unwrap_or_else(|| self.wall_ms());
        if timestamp < 0 {
            let text = format!("the timestamp {timestamp} is before 1970: Kafka accepts none below 0");
            let error = Error::misuse(text);
            self.shared.lock().note_fault(&error);
            return Delivery::refused(error);
        }
        let mut accumulator = self.shared.lock();
        let appended = accumulator.append(&record, timestamp, clock::now);
        let codec = accumulator.codec();
        drop(accumulator);
        let mut wakes_engine = appended.wakes_engine;
        if let Some(FilledBatch { slot, serial, writer }) = appended.filled {
            let sealed = seal(writer, codec);
            wakes_engine |= self.shared.lock().sealed(slot, serial, sealed);
        }
        if wakes_engine && self.commands.send(Command::Look).is_err() {
            self.shared.lock().close(ended());
        }
        appended.delivery
    }

    /// Sends everything given to [`send`](Self::send) before, without waiting for `linger.ms`, and waits until each record has an
    /// outcome. The outcome is in the record's [`Delivery`].
    ///
    /// # Errors
    /// `Closed`.
    pub async fn flush(&self) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        self.commands.send(Command::Flush(done)).map_err(|_| ended())?;
        is_done.await.map_err(|_| ended())
    }

    /// Accepts no more records from any clone, writes the pending ones, and ends. Records not written within `timeout` fail: with
    /// `Closed` if they were not sent, with `OutcomeUnknown` if they may be written.
    ///
    /// # Errors
    /// `Timeout`: not every record has an outcome. Or the error that ended the producer before.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        let close = Command::Close { deadline: clock::after(timeout), done };
        if self.commands.send(close).is_err() {
            return Ok(());
        }
        is_done.await.unwrap_or(Ok(()))
    }

    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64 {
        let Some((start_ms, start)) = self.wall else { return clock::wall_ms() };
        let since = clock::now().saturating_duration_since(start).as_millis();
        start_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the producer is closed")
}
