//! Lines of stdin, read by a thread of their own, as a read of stdin cannot be cancelled.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use offtake_client::clock::later;
use tokio::{sync::mpsc, time::timeout_at};

use crate::{clock::now, failure::Failure};

/// The number of pieces that wait to be sent, and of lines in each.
const PIECES: usize = 16;
const LINES: usize = 256;
/// A piece is passed on at this size.
const BYTES: usize = 256 << 10;

/// After a stop: how long to wait for the thread to hand over its lines, which it does at once. A blocked read
/// looks the same.
const LAST_PIECE: Duration = Duration::from_millis(250);
/// A line may be this many times as long as a record: JSON may write a byte as `\\u0000`, and field names that
/// a schema leaves out.
const LINE_OF_RECORD: usize = 8;
/// The additional length that a line may have.
const LONGER: usize = 16 << 20;

/// A line without its line end, or why it cannot be read.
pub(super) type Line = io::Result<Vec<u8>>;

/// The lines of stdin, with their numbers from 1.
pub(super) struct Input {
    pieces: mpsc::Receiver<Vec<Line>>,
    piece: VecDeque<Line>,
    number: u64,
    stops: Arc<AtomicBool>,
    /// After a stop: how long to wait for a piece.
    until: Option<Instant>,
}

impl Input {
    /// Reads from now on. Lines much longer than the largest allowed record are not kept.
    pub(super) fn start(max_request_size: usize) -> Result<Self, Failure> {
        let longest = max_request_size.saturating_mul(LINE_OF_RECORD).saturating_add(LONGER);
        let (sender, pieces) = mpsc::channel(PIECES);
        let stops = Arc::new(AtomicBool::new(false));
        let is_stopped = stops.clone();
        let reader = std::thread::Builder::new().name("offtake-stdin".into());
        let started = reader.spawn(move || {
            let mut stdin = BufReader::new(io::stdin());
            while let Some(piece) = next_piece(&mut stdin, longest) {
                let is_last = piece.last().is_some_and(Result::is_err);
                if sender.blocking_send(piece).is_err() || is_last {
                    return;
                }
                // Lines that were read are handed over; nothing more is read.
                if is_stopped.load(Ordering::Relaxed) && !stdin.buffer().contains(&b'\n') {
                    return;
                }
            }
        });
        started
            .map_err(|error| Failure::failed(format!("cannot start the thread that reads stdin: {error}")))?;
        Ok(Self { pieces, piece: VecDeque::new(), number: 0, stops, until: None })
    }

    /// Stops reading. The lines already read follow, and then the end.
    pub(super) fn stop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        self.until.get_or_insert_with(|| later(now(), LAST_PIECE));
    }

    /// Whether there is a line without waiting.
    pub(super) fn has_more(&self) -> bool {
        !self.piece.is_empty()
    }

    /// The next line, `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(u64, Line)> {
        if self.piece.is_empty() {
            let piece = match self.until {
                None => self.pieces.recv().await,
                // A piece that is there is taken, however late it is.
                Some(until) => timeout_at(until.into(), self.pieces.recv()).await.unwrap_or(None),
            };
            self.piece = piece?.into();
        }
        self.number = self.number.saturating_add(1);
        Some((self.number, self.piece.pop_front()?))
    }
}

/// Lines up to a number or size: at least one, and no more than are there without waiting. `None` at the end.
fn next_piece<R: Read>(from: &mut BufReader<R>, longest: usize) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    loop {
        match next_line(from, longest) {
            Ok(Some(line)) => {
                bytes += line.len();
                lines.push(Ok(line));
            }
            Ok(None) => break,
            Err(error) => {
                lines.push(Err(error));
                break;
            }
        }
        // Lines that have not arrived are not waited for: a person may have typed this one.
        let is_more_there = from.buffer().contains(&b'\n');
        if lines.len() >= LINES || bytes >= BYTES || !is_more_there {
            break;
        }
    }
    (!lines.is_empty()).then_some(lines)
}

/// The next line without its line end; the last one need not have any.
fn next_line(from: &mut impl BufRead, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    if from.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > longest {
        let why = format!("it has no end within {longest} bytes, which follow from `max.request.size`");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one line at a time, and fails a test that asks for more than it needs.
    struct Typed(Vec<&'static [u8]>);

    impl Read for Typed {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let line = self.0.pop().expect("nobody asks while a line waits to be passed on");
            into[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }

    #[test]
    fn a_line_that_was_typed_is_passed_on_at_once() {
        let mut from = BufReader::new(Typed(vec![b"two\n", b"one\n"]));
        for expected in ["one", "two"] {
            let piece = next_piece(&mut from, 100).unwrap();
            assert_eq!(piece.len(), 1);
            assert_eq!(piece[0].as_ref().unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn lines_come_whole_and_the_last_needs_no_end() {
        let mut from = BufReader::with_capacity(4, &b"one\n\ntwo\r\nthree"[..]);
        let mut lines = Vec::new();
        while let Some(piece) = next_piece(&mut from, 100) {
            lines.extend(piece.into_iter().map(Result::unwrap));
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two\r", b"three"]);
        assert!(next_piece(&mut BufReader::new(&b""[..]), 100).is_none());
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut from = BufReader::new(&b"1234\n12345\n"[..]);
        assert_eq!(next_line(&mut from, 4).unwrap().unwrap(), b"1234");
        let error = next_line(&mut from, 4).unwrap_err();
        assert!(error.to_string().contains("no end within 4 bytes"), "{error}");
        let endless = next_piece(&mut BufReader::new(io::repeat(b'x')), 1 << 20).unwrap();
        assert!(endless.len() == 1 && endless[0].is_err());
    }
}
