//! Letters as they are written: to the dead letters, or to a topic for a later attempt.

use std::time::Duration;

use offtake::{Error, ErrorKind, OwnedRecord};
use offtake_producer::{Producer, RecordMetadata, config::Acks};
use tokio::task::JoinSet;

use crate::{
    DeadLetters,
    clock::WallClock,
    dead_letters::{DeadLetterHeaders, Origin},
    machine::{Letter, LetterTicket, LetterTo},
    output::Output,
    producing::ProducerOptions,
    retry::RetryTopic,
};

/// What letters look like, and where they go.
pub(super) struct LetterForm {
    dead_letters: String,
    retries: Vec<RetryTopic>,
    headers: DeadLetterHeaders,
    group: String,
    wall: WallClock,
}

impl LetterForm {
    pub(super) fn new(
        letters: &DeadLetters,
        retries: &[RetryTopic],
        group: String,
        wall: WallClock,
    ) -> Result<Self, Error> {
        let dead_letters = [("of dead letters", letters.topic.as_str())].into_iter();
        let topics = dead_letters.chain(retries.iter().map(|topic| ("for retries", topic.name.as_str())));
        for (what, topic) in topics {
            let wrong = |error| format!("the topic {what} cannot be `{topic}`: {error}");
            let checked = offtake::Topic::from(topic).check();
            checked.map_err(|error| Error::new(ErrorKind::Config, wrong(error)))?;
        }
        let (dead_letters, headers) = (letters.topic.clone(), letters.headers);
        Ok(Self { dead_letters, retries: retries.to_vec(), headers, group, wall })
    }

    /// A record's letter. A dead letter of one that is read from the dead letters is refused: it would come again and again.
    pub(super) fn output(&self, letter: &Letter, record: &OwnedRecord) -> Result<Output, Error> {
        let topic = match letter.to {
            LetterTo::DeadLetters => Some(self.dead_letters.as_str()),
            LetterTo::Retry(index) => self.retries.get(index).map(|topic| topic.name.as_str()),
        };
        let topic = topic.ok_or_else(|| Error::misuse("there is no such retry topic"))?;
        if record.topic() == topic {
            let text = format!("it was read from `{topic}`, where dead letters are written to");
            return Err(Error::misuse(text));
        }
        let now_ms = self.wall.now_ms();
        let origin = Origin::new(record, &self.group, letter, now_ms);
        Ok(Output {
            first: None,
            topic: topic.to_owned(),
            partition: None,
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: self.headers.write(record.headers(), &origin),
            timestamp: Some(now_ms),
        })
    }

    /// Every topic that it writes to.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let retries = self.retries.iter().map(|topic| topic.name.as_str());
        std::iter::once(self.dead_letters.as_str()).chain(retries)
    }
}

/// Writes letters, where no transaction does.
pub(super) struct Letters {
    producer: Producer,
    /// Those on their way.
    pub(super) written: JoinSet<(LetterTicket, Result<RecordMetadata, Error>)>,
}

impl Letters {
    /// Starts its producer, with the connection of this consumer.
    pub(super) async fn start(options: &ProducerOptions, consumer: &offtake::Config) -> Result<Self, Error> {
        let builder = options.builder(consumer, |config| {
            // Each alone in its batch: one that the broker refuses takes no others with it.
            config.batch_size = 1;
            #[cfg(feature = "zstd")]
            {
                config.compression = offtake_producer::config::Compression::Zstd;
            }
        });
        let mut is_safe = false;
        let builder = builder.configure(|it| is_safe = it.is_idempotent() && it.acks == Acks::All);
        if !is_safe {
            let text = "dead letters are written by an idempotent producer with `acks=all`: leave `acks` and `enable.idempotence` as they are";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self { producer: builder.build().await?, written: JoinSet::new() })
    }

    pub(super) fn send(&mut self, letter: LetterTicket, output: &Output) {
        let delivery = self.producer.send(output.as_record());
        self.written.spawn(async move { (letter, delivery.await) });
    }

    /// Ends its producer. What is not written by then is given up: its records are not finished.
    pub(super) async fn close(mut self, timeout: Duration) {
        self.written.detach_all();
        if let Err(error) = self.producer.close(timeout).await {
            tracing::warn!(%error, "the producer of dead letters was not closed in time");
        }
    }
}
