//! Letters as they are written: to the dead letters, or to a topic for a later attempt.

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

    fn topic(&self, to: LetterTo) -> Option<&str> {
        match to {
            LetterTo::DeadLetters => Some(self.dead_letters.as_str()),
            LetterTo::Retry(index) => self.retries.get(index).map(|topic| topic.name.as_str()),
        }
    }

    /// Every topic that it writes to.
    pub(super) fn topics(&self) -> impl Iterator<Item = (LetterTo, &str)> {
        let retries = (0..self.retries.len()).map(LetterTo::Retry);
        let all = std::iter::once(LetterTo::DeadLetters).chain(retries);
        all.filter_map(|to| Some((to, self.topic(to)?)))
    }
}

/// Writes letters, where no transaction does.
pub(super) struct Letters {
    producer: Producer,
    /// The producer's (`buffer.memory`).
    memory: usize,
    /// How much of that those take that it has.
    taken: usize,
    /// Those that wait for it to have room, in order. Then it has others.
    held: VecDeque<(LetterTicket, Output)>,
    /// Those that it has, and what each takes.
    written: JoinSet<(usize, Written)>,
    /// How many there are in all, by where they go.
    on_their_way: BTreeMap<LetterTo, usize>,
    /// Whether topics exist: it is asked once.
    asked: JoinSet<Option<(LetterTo, Error)>>,
    has_asked: bool,
    /// What could not be written when it was last tried, or does not exist.
    unwritable: BTreeSet<LetterTo>,
}

type Written = (LetterTicket, Result<RecordMetadata, Error>);

/// What is known of letters.
pub(super) enum LetterNews {
    Ended(Result<Written, JoinError>),
    /// There is no topic for them.
    NoTopic(Error),
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

    /// A letter is to be [written](Self::send_held).
    pub(super) fn hold(&mut self, letter: LetterTicket, output: Output) {
        *self.on_their_way.entry(letter.letter.to).or_default() += 1;
        self.held.push_back((letter, output));
    }

    /// Gives the producer what it has room for, so that it keeps none waiting and refuses none; what is too large for it, it says itself. What is not wanted any
    /// more, as its partition is gone, is not written.
    pub(super) fn send_held(&mut self, is_wanted: impl Fn(&LetterTicket) -> bool) {
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

    /// What is known next. Dropped, it loses nothing.
    pub(super) async fn next(&mut self) -> LetterNews {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.written.join_next() => {
                    if let Ok((memory, (letter, result))) = &ended {
                        self.note(letter.letter.to, result.as_ref().err());
                        self.taken = self.taken.saturating_sub(*memory);
                    }
                    return LetterNews::Ended(ended.map(|(_, written)| written));
                }
                Some(asked) = self.asked.join_next() => {
                    if let Ok(Some((to, error))) = asked {
                        self.unwritable.insert(to);
                        return LetterNews::NoTopic(error);
                    }
                }
                else => pending().await,
            }
        }
    }

    fn note(&mut self, to: LetterTo, error: Option<&Error>) {
        use ErrorKind::{Authorization, OutcomeUnknown, Timeout, UnknownTopic};
        self.has_ended(to);
        match error.map(Error::kind) {
            None => drop(self.unwritable.remove(&to)),
            Some(Authorization | OutcomeUnknown | Timeout | UnknownTopic) => {
                self.unwritable.insert(to);
            }
            // It says something of its record.
            Some(_) => {}
        }
    }

    fn has_ended(&mut self, to: LetterTo) {
        if let Some(count) = self.on_their_way.get_mut(&to) {
            *count = count.saturating_sub(1);
        }
    }

    /// Asks whether the topics exist, once letters are on their way: at the end those to others are not waited for.
    pub(super) fn ask(&mut self, form: &LetterForm, consumer: &Handle) {
        if self.has_asked || self.written.is_empty() {
            return;
        }
        self.has_asked = true;
        for (to, topic) in form.topics() {
            let missing = missing(consumer.clone(), Topic::from(topic));
            self.asked.spawn(async move { missing.await.map(|error| (to, error)) });
        }
    }

    /// Whether some are on their way, and all of them to where nothing can be written, as far as known.
    pub(super) fn are_hopeless(&self) -> bool {
        let mut goals = self.on_their_way.iter().filter(|(_, count)| **count > 0);
        !self.written.is_empty() && goals.all(|(to, _)| self.unwritable.contains(to))
    }

    /// Ends its producer. What is not written by then is given up: its records are not finished.
    pub(super) async fn close(mut self, timeout: Duration) {
        let timeout = if self.are_hopeless() { Duration::ZERO } else { timeout };
        self.written.detach_all();
        if let Err(error) = self.producer.close(timeout).await {
            tracing::warn!(%error, "the producer of dead letters was not closed in time");
        }
    }
}
