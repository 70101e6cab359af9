//! The records that one handler was sent and has not yet answered.
//!
//! Owns no pipe and reads no clock: records go in by [`ask`](Conversation::ask), the handler's output by
//! [`receive`](Conversation::receive); then drain [`next_answer`](Conversation::next_answer).
//!
//! Always true:
//! - each record is answered at most once, by the handler or by [`end`](Conversation::end);
//! - an answer for a record that the handler does not have, or was not sent completely, is an error, so that fewer answers are
//!   mistaken for another record's.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use offtake::TopicPartition;

use super::{
    answer::{self, Answer, HandlerResult},
    framing::Answers,
};
use crate::args::Framing;

/// `T` is the receiver of an answer.
#[derive(Debug)]
pub(super) struct Conversation<T> {
    /// In the order in which they were sent.
    unanswered: VecDeque<Asked<T>>,
    answers: Answers,
    timeout: Duration,
    /// The number of answers so far.
    answered: u64,
    /// The bytes of all records for it, and how many of them were written.
    asked_bytes: u64,
    given_bytes: u64,
}

#[derive(Debug)]
struct Asked<T> {
    partition: TopicPartition,
    offset: i64,
    at: Instant,
    /// The end of its bytes within everything that is sent to the handler.
    end: u64,
    ticket: T,
}

impl<T> Conversation<T> {
    pub(super) fn new(framing: Framing, timeout: Duration) -> Self {
        Self {
            unanswered: VecDeque::new(),
            answers: Answers::new(framing),
            timeout,
            answered: 0,
            asked_bytes: 0,
            given_bytes: 0,
        }
    }

    /// Adds a record for the handler, of this many bytes.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        offset: i64,
        bytes: usize,
        ticket: T,
    ) {
        self.asked_bytes = self.asked_bytes.saturating_add(bytes as u64);
        let end = self.asked_bytes;
        self.unanswered.push_back(Asked { partition, offset, at: now, end, ticket });
    }

    /// Counts bytes that were written to the handler.
    pub(super) fn on_written(&mut self, bytes: usize) {
        self.given_bytes = self.given_bytes.saturating_add(bytes as u64);
    }

    /// Receives the handler's output.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.answers.receive(bytes);
    }

    /// The next answer in the output; or why it is invalid, after which the handler cannot be used any more.
    pub(super) fn next_answer(&mut self) -> Result<Option<(T, HandlerResult)>, String> {
        let Some(line) = self.answers.next()? else { return Ok(None) };
        let (asked, result) = match answer::parse(line)? {
            Answer::Oldest(result) => {
                let asked = self.unanswered.pop_front();
                (asked.ok_or("it sent an answer, but has no unanswered record")?, result)
            }
            Answer::To(partition, offset, result) => {
                let of = |asked: &Asked<T>| asked.offset == offset && asked.partition == partition;
                let asked = self.unanswered.iter().position(of).and_then(|at| self.unanswered.remove(at));
                let unknown = || {
                    format!(
                        "it answered for offset {offset} of {partition}, which it does not have or has already answered"
                    )
                };
                (asked.ok_or_else(unknown)?, result)
            }
        };
        if asked.end > self.given_bytes {
            let Asked { partition, offset, .. } = asked;
            return Err(format!(
                "it answered for offset {offset} of {partition} before it was given all of it"
            ));
        }
        self.answered = self.answered.saturating_add(1);
        Ok(Some((asked.ticket, result)))
    }

    /// How many records it has not answered.
    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether it has answered anything.
    pub(super) fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// The receivers that wait for an answer.
    pub(super) fn tickets(&self) -> impl Iterator<Item = &T> {
        self.unanswered.iter().map(|asked| &asked.ticket)
    }

    /// When the first answer is overdue; `None` if no record waits, or if it never is.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // They were sent in this order, and all have the same timeout.
        self.unanswered.front().and_then(|oldest| oldest.at.checked_add(self.timeout))
    }

    /// Ends the conversation. Returns the waiting receivers, and whether their answer was overdue.
    pub(super) fn end(self, now: Instant) -> impl Iterator<Item = (T, bool)> {
        let timeout = self.timeout;
        let overdue = move |at: Instant| now.saturating_duration_since(at) >= timeout;
        self.unanswered.into_iter().map(move |asked| (asked.ticket, overdue(asked.at)))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    struct Handler {
        start: Instant,
        conversation: Conversation<i64>,
    }

    impl Handler {
        /// A conversation about the records at these offsets of `t-0`, a second apart.
        fn with(offsets: impl IntoIterator<Item = i64>) -> Self {
            let start = Instant::now();
            let mut conversation = Conversation::new(Framing::Lines, TIMEOUT);
            for (second, offset) in (0..).zip(offsets) {
                let at = start + Duration::from_secs(second);
                conversation.ask(at, TopicPartition::new("t", 0), offset, 10, offset);
                conversation.on_written(10);
            }
            Self { start, conversation }
        }

        /// The records that this output answers.
        fn writes(&mut self, text: &str) -> Result<Vec<(i64, HandlerResult)>, String> {
            self.conversation.receive(text.as_bytes());
            let mut answers = Vec::new();
            while let Some(answer) = self.conversation.next_answer()? {
                answers.push(answer);
            }
            Ok(answers)
        }
    }

    fn json(offset: i64) -> String {
        format!("{{\"topic\":\"t\",\"partition\":0,\"offset\":{offset},\"result\":\"ok\"}}\n")
    }

    #[test]
    fn answers_come_in_any_order_and_bare_ones_are_of_the_oldest() {
        let mut handler = Handler::with([5, 6, 7, 8]);
        let ok = |offset| (offset, HandlerResult::Ok);
        assert_eq!(handler.writes(&json(7)), Ok(vec![ok(7)]));
        assert_eq!(handler.writes("o"), Ok(Vec::new()), "half a line");
        assert_eq!(handler.writes(&format!("k\n{}ok\n", json(8))), Ok(vec![ok(5), ok(8), ok(6)]));
        assert_eq!((handler.conversation.len(), handler.conversation.poll_timeout()), (0, None));
        assert!(handler.conversation.has_answered());
    }

    #[test]
    fn an_answer_of_a_record_that_it_does_not_have_is_nonsense() {
        assert!(Handler::with([]).writes("ok\n").unwrap_err().contains("no unanswered record"));
        assert!(Handler::with([5]).writes(&json(6)).unwrap_err().contains("offset 6 of t-0"));
        let mut twice = Handler::with([5, 6]);
        assert!(twice.writes(&json(5)).is_ok());
        assert!(twice.writes(&json(5)).is_err(), "nor twice");
        let mut other = Handler::with([5]);
        assert!(other.writes("{\"topic\":\"t\",\"partition\":1,\"offset\":5,\"result\":\"ok\"}\n").is_err());
    }

    #[test]
    fn an_answer_of_a_record_that_it_was_not_given_whole_is_nonsense() {
        let mut handler = Handler::with([5]);
        let at = handler.start;
        handler.conversation.ask(at, TopicPartition::new("t", 0), 6, 10, 6);
        handler.conversation.on_written(9);
        assert_eq!(handler.writes("ok\n"), Ok(vec![(5, HandlerResult::Ok)]));
        assert!(handler.writes("ok\n").unwrap_err().contains("before it was given all of it"));
    }

    #[test]
    fn answers_before_an_invalid_one_count() {
        let mut handler = Handler::with([5, 6]);
        handler.conversation.receive(b"ok\nhello\nok\n");
        assert_eq!(handler.conversation.next_answer(), Ok(Some((5, HandlerResult::Ok))));
        assert!(handler.conversation.next_answer().unwrap_err().contains("`hello`"));
        assert_eq!(handler.conversation.end(handler.start).collect::<Vec<_>>(), [(6, false)]);
    }

    #[test]
    fn each_record_has_as_long_from_when_it_was_given() {
        let mut handler = Handler::with([5, 6]);
        let start = handler.start;
        assert_eq!(handler.conversation.poll_timeout(), Some(start + TIMEOUT));
        handler.writes("ok\n").unwrap();
        assert_eq!(handler.conversation.poll_timeout(), Some(start + TIMEOUT + Duration::from_secs(1)));
        let handler = Handler::with([5, 6]);
        let ended = handler.conversation.end(handler.start + TIMEOUT).collect::<Vec<_>>();
        assert_eq!(ended, [(5, true), (6, false)], "the second was given later");
        let mut patient = Conversation::new(Framing::Lines, Duration::MAX);
        patient.ask(start, TopicPartition::new("t", 0), 1, 10, 1);
        assert_eq!(patient.poll_timeout(), None);
    }

    #[test]
    fn whatever_it_writes_each_record_is_answered_once() {
        let mut random = 1_u64;
        let mut roll = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % sides
        };
        let mut nonsense = 0;
        for _ in 0..2000 {
            let count = i64::try_from(roll(6)).unwrap();
            let mut handler = Handler::with(0..count);
            let mut text = String::new();
            for _ in 0..roll(8) {
                text += &match roll(12) {
                    0 => "okay\n".to_owned(),
                    1..6 => "ok\n".to_owned(),
                    6 => "retry \u{1f980}\n".to_owned(),
                    _ => json(i64::try_from(roll(6)).unwrap()),
                };
            }
            let mut told = Vec::new();
            let size = usize::try_from(1 + roll(40)).unwrap();
            'pieces: for piece in text.as_bytes().chunks(size) {
                handler.conversation.receive(piece);
                loop {
                    match handler.conversation.next_answer() {
                        Ok(Some((offset, _))) => told.push(offset),
                        Ok(None) => break,
                        Err(_) => {
                            nonsense += 1;
                            break 'pieces;
                        }
                    }
                }
            }
            told.extend(handler.conversation.end(handler.start).map(|(offset, _)| offset));
            told.sort_unstable();
            assert_eq!(told, (0..count).collect::<Vec<_>>(), "{text}");
        }
        assert!((100..1900).contains(&nonsense), "{nonsense}");
    }
}
