//! The writing of letters: to the dead letters, or to a retry topic.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    time::Duration,
};

use offtake::{Error, ErrorKind, Handle, OwnedRecord, Topic};
use offtake_producer::{Producer, RecordMetadata, config::Acks};
use tokio::task::{JoinError, JoinSet};

use super::watch::missing;
use crate::{
    DeadLetters,
    clock::WallClock,
    dead_letters::{DeadLetterHeaders, Origin},
    machine::{DeadLetter, DeadLetterTarget, DeadLetterTicket},
    output::Output,
    producing::ProducerOptions,
    retry::RetryTopic,
};

/// The contents and destinations of letters.
pub(super) struct DeadLetterForm {
    dead_letters: String,
    retries: Vec<RetryTopic>,
    headers: DeadLetterHeaders,
    group: String,
    wall: WallClock,
}

impl DeadLetterForm {
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

    /// The letter of a record. A record read from the dead letters does not become another dead letter, which would repeat for
    /// ever.
    pub(super) fn output(&self, letter: &DeadLetter, record: &OwnedRecord) -> Result<Output, Error> {
        let topic = self.topic(letter.to).ok_or_else(|| Error::misuse("there is no such retry topic"))?;
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

    fn topic(&self, to: DeadLetterTarget) -> Option<&str> {
        match to {
            DeadLetterTarget::DeadLetters => Some(self.dead_letters.as_str()),
            DeadLetterTarget::Retry(index) => self.retries.get(index).map(|topic| topic.name.as_str()),
        }
    }

    /// All topics that letters are written to.
    pub(super) fn topics(&self) -> impl Iterator<Item = (DeadLetterTarget, &str)> {
        let retries = (0..self.retries.len()).map(DeadLetterTarget::Retry);
        let all = std::iter::once(DeadLetterTarget::DeadLetters).chain(retries);
        all.filter_map(|to| Some((to, self.topic(to)?)))
    }
}

/// Writes letters outside transactions.
pub(super) struct DeadLetterWriter {
    producer: Producer,
    /// The producer's memory (`buffer.memory`).
    memory: usize,
    /// The memory used by the letters given to it.
    taken: usize,
    /// Letters that wait for memory, in order.
    held: VecDeque<(DeadLetterTicket, Output)>,
    /// The letters given to the producer, with the memory that each uses.
    written: JoinSet<(usize, Written)>,
    /// The number of all letters, by destination.
    on_their_way: BTreeMap<DeadLetterTarget, usize>,
    /// The checks whether topics exist, which are made once.
    asked: JoinSet<Option<(DeadLetterTarget, Error)>>,
    has_asked: bool,
    /// Destinations whose last letter could not be written, or which do not exist.
    unwritable: BTreeSet<DeadLetterTarget>,
}

type Written = (DeadLetterTicket, Result<RecordMetadata, Error>);

/// An event about letters.
pub(super) enum DeadLetterEvent {
    Ended(Result<Written, JoinError>),
    /// The topic for letters does not exist.
    NoTopic(Error),
}

impl DeadLetterWriter {
    /// Starts the producer, with the consumer's connection settings.
    pub(super) async fn start(options: &ProducerOptions, consumer: &offtake::Config) -> Result<Self, Error> {
        let builder = options.builder(consumer, |config| {
            // Each record gets its own batch: a batch that the broker refuses takes no other records with it.
            config.batch_size = 1;
            #[cfg(feature = "zstd")]
            {
                config.compression = offtake_producer::config::Compression::Zstd;
            }
        });
        let (mut is_safe, mut memory) = (false, 0);
        let builder = builder.configure(|it| {
            is_safe = it.is_idempotent() && it.acks == Acks::All;
            memory = it.buffer_memory;
        });
        if !is_safe {
            let text = "dead letters are written by an idempotent producer with `acks=all`: leave `acks` and `enable.idempotence` as they are";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self {
            producer: builder.build().await?,
            memory,
            taken: 0,
            held: VecDeque::new(),
            written: JoinSet::new(),
            on_their_way: BTreeMap::new(),
            asked: JoinSet::new(),
            has_asked: false,
            unwritable: BTreeSet::new(),
        })
    }

    /// Queues a letter to be [written](Self::send_held).
    pub(super) fn hold(&mut self, letter: DeadLetterTicket, output: Output) {
        *self.on_their_way.entry(letter.letter.to).or_default() += 1;
        self.held.push_back((letter, output));
    }

    /// Gives the producer as many letters as it has memory for, so that none wait in it or are refused for want of memory; a
    /// letter larger than its memory gets the producer's error. Letters that are no longer wanted, because their partition is
    /// gone, are not written.
    pub(super) fn send_held(&mut self, is_wanted: impl Fn(&DeadLetterTicket) -> bool) {
        while let Some((letter, output)) = self.held.pop_front() {
            if !is_wanted(&letter) {
                self.has_ended(letter.letter.to);
                continue;
            }
            let memory = output.memory();
            if self.taken > 0 && self.taken.saturating_add(memory) > self.memory {
                return self.held.push_front((letter, output));
            }
            let delivery = self.producer.send(output.as_record());
            self.taken = self.taken.saturating_add(memory);
            self.written.spawn(async move { (memory, (letter, delivery.await)) });
        }
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> DeadLetterEvent {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.written.join_next() => {
                    if let Ok((memory, (letter, result))) = &ended {
                        self.note(letter.letter.to, result.as_ref().err());
                        self.taken = self.taken.saturating_sub(*memory);
                    }
                    return DeadLetterEvent::Ended(ended.map(|(_, written)| written));
                }
                Some(asked) = self.asked.join_next() => {
                    if let Ok(Some((to, error))) = asked {
                        self.unwritable.insert(to);
                        return DeadLetterEvent::NoTopic(error);
                    }
                }
                else => pending().await,
            }
        }
    }

    fn note(&mut self, to: DeadLetterTarget, error: Option<&Error>) {
        use ErrorKind::{Authorization, OutcomeUnknown, Timeout, UnknownTopic};
        self.has_ended(to);
        match error.map(Error::kind) {
            None => drop(self.unwritable.remove(&to)),
            Some(Authorization | OutcomeUnknown | Timeout | UnknownTopic) => {
                self.unwritable.insert(to);
            }
            // The error is about the record itself.
            Some(_) => {}
        }
    }

    fn has_ended(&mut self, to: DeadLetterTarget) {
        if let Some(count) = self.on_their_way.get_mut(&to) {
            *count = count.saturating_sub(1);
        }
    }

    /// Checks once letters are in flight whether their topics exist. At the end, the worker does not wait for letters to missing
    /// topics.
    pub(super) fn ask(&mut self, form: &DeadLetterForm, consumer: &Handle) {
        if self.has_asked || self.written.is_empty() {
            return;
        }
        self.has_asked = true;
        for (to, topic) in form.topics() {
            let missing = missing(consumer.clone(), Topic::from(topic));
            self.asked.spawn(async move { missing.await.map(|error| (to, error)) });
        }
    }

    /// Whether letters are in flight, and all of them go to destinations where nothing can be written, as far as known.
    pub(super) fn are_hopeless(&self) -> bool {
        let mut goals = self.on_their_way.iter().filter(|(_, count)| **count > 0);
        !self.written.is_empty() && goals.all(|(to, _)| self.unwritable.contains(to))
    }

    /// Closes the producer. Letters not written by then are given up, and their records are not finished.
    pub(super) async fn close(mut self, timeout: Duration) {
        let timeout = if self.are_hopeless() { Duration::ZERO } else { timeout };
        self.written.detach_all();
        if let Err(error) = self.producer.close(timeout).await {
            tracing::warn!(%error, "the producer of dead letters was not closed in time");
        }
    }
}
