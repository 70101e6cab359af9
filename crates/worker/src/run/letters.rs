//! Dead letters as they are written.

use std::time::Duration;

use offtake::{Error, ErrorKind, OwnedRecord};
use offtake_producer::{Builder, Config, Producer, ProducerRecord, RecordMetadata, config::Acks};
use tokio::task::JoinSet;

use crate::{
    DeadLetters,
    clock::WallClock,
    dead_letters::{DeadLetterHeaders, Origin},
    machine::LetterTicket,
};

/// A record that could be read can be written, if the topic takes it: the producer's own limit is its memory.
const LARGEST_RECORD: usize = 32 << 20;

/// Writes dead letters.
pub(super) struct Letters {
    producer: Producer,
    topic: String,
    headers: DeadLetterHeaders,
    group: String,
    wall: WallClock,
    /// Those on their way.
    pub(super) written: JoinSet<(LetterTicket, Result<RecordMetadata, Error>)>,
}

impl Letters {
    /// Starts its producer, with the connection of this consumer.
    pub(super) async fn start(
        letters: &DeadLetters,
        consumer: &offtake::Config,
        group: String,
        wall: WallClock,
    ) -> Result<Self, Error> {
        offtake::Topic::from(&letters.topic).check().map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("the topic of dead letters cannot be `{}`: {error}", letters.topic),
            )
        })?;
        let mut config = Config::default();
        config.client = consumer.client.clone();
        config.max_request_size = LARGEST_RECORD;
        // Each alone in its batch: one that the broker refuses takes no others with it.
        config.batch_size = 1;
        let mut builder = Builder::from_config(config);
        if cfg!(feature = "zstd") {
            builder = builder.property("compression.type", "zstd");
        }
        for (name, value) in &letters.properties {
            builder = builder.property(name, value);
        }
        if let Some(change) = &letters.producer {
            builder = change.apply(builder);
        }
        let mut is_safe = false;
        let builder = builder.configure(|it| is_safe = it.is_idempotent() && it.acks == Acks::All);
        if !is_safe {
            let text = "dead letters are written by an idempotent producer with `acks=all`: leave `acks` and `enable.idempotence` as they are";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self {
            producer: builder.build().await?,
            topic: letters.topic.clone(),
            headers: letters.headers,
            group,
            wall,
            written: JoinSet::new(),
        })
    }

    /// Sends a record's dead letter. One that is a dead letter of this very topic is refused: it would come again and again.
    pub(super) fn send(
        &mut self,
        letter: LetterTicket,
        record: &OwnedRecord,
    ) -> Result<(), Box<(LetterTicket, Error)>> {
        if record.topic() == self.topic {
            let text = format!("it was read from `{}`, where dead letters are written to", self.topic);
            return Err(Box::new((letter, Error::misuse(text))));
        }
        let now_ms = self.wall.now_ms();
        let origin = Origin::new(record, &self.group, &letter.reason, letter.attempts, now_ms);
        let headers = self.headers.write(record.headers(), &origin);
        let mut sent = ProducerRecord::to(&self.topic)
            .timestamp(now_ms)
            .maybe_key(record.key().map(|key| key.as_ref()))
            .maybe_value(record.value().map(|value| value.as_ref()));
        for (name, value) in &headers {
            sent = sent.maybe_header(name, value.as_deref());
        }
        let delivery = self.producer.send(sent);
        self.written.spawn(async move { (letter, delivery.await) });
        Ok(())
    }

    /// Ends its producer. What is not written by then is given up: its records are not finished.
    pub(super) async fn close(mut self, timeout: Duration) {
        self.written.detach_all();
        if let Err(error) = self.producer.close(timeout).await {
            tracing::warn!(%error, "the producer of dead letters was not closed in time");
        }
    }
}
