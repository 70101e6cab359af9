//! The writing of letters: to the dead letters, or to a retry topic.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    time::{Duration, Instant},
};

use offtake::{Error, ErrorKind, Handle, OwnedRecord, Topic};
use offtake_producer::{Producer, RecordMetadata, config::Acks};
use tokio::task::{JoinError, JoinSet};

use super::watch::missing;
use crate::{
    DeadLetters,
    clock::{self, WallClock},
    dead_letters::{DeadLetterHeaders, Origin},
    machine::{DeadLetter, DeadLetterTarget, DeadLetterTicket, may_be_written_later},
    output::Output,
    producing::ProducerOptions,
    retry::RetryTopic,
};

/// How long none of the letters to a topic may be acknowledged before that is reported.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How often it is reported that letters cannot be written.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The contents and destinations of letters.
pub(super) struct DeadLetterForm {
    dead_letters: String,
    retries: Vec<RetryTopic>,
    headers: DeadLetterHeaders,
    group: String,
    wall: WallClock,
    /// Whether their topics are of another cluster than the consumer's.
    is_elsewhere: bool,
}

impl DeadLetterForm {
    pub(super) fn new(
        letters: &DeadLetters,
        retries: &[RetryTopic],
        group: String,
        wall: WallClock,
        is_elsewhere: bool,
    ) -> Result<Self, Error> {
        let dead_letters = [("of dead letters", letters.topic.as_str())].into_iter();
        let topics = dead_letters.chain(retries.iter().map(|topic| ("for retries", topic.name.as_str())));
        for (what, topic) in topics {
            let wrong = |error| format!("the topic {what} cannot be `{topic}`: {error}");
            let checked = offtake::Topic::from(topic).check();
            checked.map_err(|error| Error::new(ErrorKind::Config, wrong(error)))?;
        }
        let (dead_letters, headers) = (letters.topic.clone(), letters.headers);
        Ok(Self { dead_letters, retries: retries.to_vec(), headers, group, wall, is_elsewhere })
    }

    /// The letter of a record.
    pub(super) fn output(&self, letter: &DeadLetter, record: &OwnedRecord) -> Result<Output, Error> {
        let topic = self.topic(letter.to).ok_or_else(|| Error::misuse("there is no such retry topic"))?;
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

    /// The topics of the consumer's cluster that letters are written to.
    pub(super) fn topics(&self) -> impl Iterator<Item = (DeadLetterTarget, &str)> {
        let retries = (0..self.retries.len()).map(DeadLetterTarget::Retry);
        let all = std::iter::once(DeadLetterTarget::DeadLetters).chain(retries);
        all.filter(|_| !self.is_elsewhere).filter_map(|to| Some((to, self.topic(to)?)))
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
    destinations: BTreeMap<DeadLetterTarget, Destination>,
    /// The checks whether topics exist, which are made once.
    asked: JoinSet<Option<(DeadLetterTarget, Error)>>,
    has_asked: bool,
}

/// The state of a topic for letters.
struct Destination {
    /// The number of letters held or in flight.
    on_their_way: usize,
    /// When the last of its letters was written, or the first of these was begun.
    progress: Instant,
    /// Since when nothing could be written to it, or it is known not to exist.
    unwritable_since: Option<Instant>,
    /// When that was last reported.
    reported: Option<Instant>,
    /// When it was last reported that no letter is acknowledged.
    reported_as_stalled: Option<Instant>,
}

impl Destination {
    fn new(now: Instant) -> Self {
        Self {
            on_their_way: 0,
            progress: now,
            unwritable_since: None,
            reported: None,
            reported_as_stalled: None,
        }
    }

    /// Whether that its letters cannot be written is to be reported now: at once, and then again after a while.
    fn is_to_be_reported(&mut self, now: Instant) -> bool {
        is_due(&mut self.reported, now)
    }
}

/// Whether something that was last reported at `last` is to be reported now. Notes that it is.
fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = last.is_none_or(|last| now >= clock::later(last, REPORT_EVERY));
    if is_due {
        *last = Some(now);
    }
    is_due
}

type Written = (DeadLetterTicket, Result<RecordMetadata, Error>);

/// An event about letters.
pub(super) enum DeadLetterEvent {
    Ended(Result<Written, JoinError>),
    /// Letters cannot be written, for this reason.
    Unwritable(Error),
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
            destinations: BTreeMap::new(),
            asked: JoinSet::new(),
            has_asked: false,
        })
    }

    /// Queues a letter to be [written](Self::send_held).
    pub(super) fn hold(&mut self, letter: DeadLetterTicket, output: Output) {
        let destination = self.destination(letter.letter.to);
        if destination.on_their_way == 0 {
            destination.progress = clock::now();
        }
        destination.on_their_way += 1;
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
                    if let Ok((memory, _)) = &ended {
                        self.taken = self.taken.saturating_sub(*memory);
                    }
                    return DeadLetterEvent::Ended(ended.map(|(_, written)| written));
                }
                Some(asked) = self.asked.join_next() => {
                    if let Ok(Some((to, error))) = asked {
                        let destination = self.destination(to);
                        let now = clock::now();
                        destination.unwritable_since.get_or_insert(now);
                        if destination.is_to_be_reported(now) {
                            return DeadLetterEvent::Unwritable(will_be_written_again(to, &error));
                        }
                    }
                }
                else => pending().await,
            }
        }
    }

    /// Notes the result of a letter. Returns an error to report if letters cannot be written to its destination.
    pub(super) fn note(&mut self, to: DeadLetterTarget, error: Option<&Error>) -> Option<Error> {
        self.has_ended(to);
        let (now, destination) = (clock::now(), self.destination(to));
        match error {
            None => {
                (destination.progress, destination.unwritable_since) = (now, None);
                None
            }
            Some(error) if may_be_written_later(error) => {
                destination.unwritable_since.get_or_insert(now);
                destination.is_to_be_reported(now).then(|| will_be_written_again(to, error))
            }
            // The partition stops, which is reported.
            Some(error) if error.kind() == ErrorKind::Authorization => {
                destination.unwritable_since.get_or_insert(now);
                None
            }
            // The error is about the record itself.
            Some(_) => None,
        }
    }

    fn destination(&mut self, to: DeadLetterTarget) -> &mut Destination {
        self.destinations.entry(to).or_insert_with(|| Destination::new(clock::now()))
    }

    fn has_ended(&mut self, to: DeadLetterTarget) {
        let destination = self.destination(to);
        destination.on_their_way = destination.on_their_way.saturating_sub(1);
    }

    /// Errors to report about letters that have not been acknowledged for a while, although none has failed yet: their producer
    /// tries for longer.
    pub(super) fn stalled(&mut self, now: Instant, form: &DeadLetterForm) -> Vec<Error> {
        let stalled = |(to, destination): (&DeadLetterTarget, &mut Destination)| {
            let is_late =
                destination.on_their_way > 0 && now >= clock::later(destination.progress, STALLED_AFTER);
            if !is_late
                || destination.unwritable_since.is_some()
                || !is_due(&mut destination.reported_as_stalled, now)
            {
                return None;
            }
            let topic = form.topic(*to)?;
            let waited = now.saturating_duration_since(destination.progress).as_secs();
            let (what, count) = (name(*to), destination.on_their_way);
            let text = format!(
                "no {what} to `{topic}` has been acknowledged for {waited} s (in flight: {count}): check that the topic exists, and that it has a leader \
                 and enough in-sync replicas"
            );
            Some(Error::new(ErrorKind::Timeout, text))
        };
        self.destinations.iter_mut().filter_map(stalled).collect()
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
        self.are_hopeless_for(clock::now(), Duration::ZERO)
    }

    /// Whether that has been so for this long: a letter that failed alone says little about the next one.
    pub(super) fn are_hopeless_for(&self, now: Instant, long: Duration) -> bool {
        let is_unwritable = |destination: &Destination| {
            destination.unwritable_since.is_some_and(|since| now >= clock::later(since, long))
        };
        let mut goals = self.destinations.values().filter(|destination| destination.on_their_way > 0);
        !self.written.is_empty() && goals.all(is_unwritable)
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

fn name(to: DeadLetterTarget) -> &'static str {
    match to {
        DeadLetterTarget::DeadLetters => "dead letter",
        DeadLetterTarget::Retry(_) => "record for a retry topic",
    }
}

fn will_be_written_again(to: DeadLetterTarget, error: &Error) -> Error {
    let text = format!("a {} cannot be written, and will be written again: {error}", name(to));
    let again = Error::new(error.kind(), text);
    let again = error.code().into_iter().fold(again, Error::with_code);
    error.partition().cloned().into_iter().fold(again, Error::with_partition)
}
