//! Lines of stdin, read by a thread of their own: a read of stdin cannot be given up.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
};

use tokio::sync::mpsc;

use crate::failure::Failure;

/// Lines that wait to be sent: so many pieces of some lines each.
const PIECES: usize = 16;
const LINES: usize = 256;
/// A piece is passed on when it has so many bytes.
const BYTES: usize = 256 << 10;

/// A line without its end, or why it cannot be read.
pub(super) type Line = io::Result<Vec<u8>>;

/// The lines of stdin, with their numbers from 1.
pub(super) struct Input {
    pieces: mpsc::Receiver<Vec<Line>>,
    piece: VecDeque<Line>,
    number: u64,
}

impl Input {
    pub(super) fn start() -> Result<Self, Failure> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let reader = std::thread::Builder::new().name("offtake-stdin".into());
        let started = reader.spawn(move || {
            let mut stdin = BufReader::new(io::stdin());
            while let Some(piece) = next_piece(&mut stdin) {
                let is_last = piece.last().is_some_and(Result::is_err);
                if sender.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        started
            .map_err(|error| Failure::failed(format!("cannot start the thread that reads stdin: {error}")))?;
        Ok(Self { pieces, piece: VecDeque::new(), number: 0 })
    }

    /// Whether there is a line that need not be waited for.
    pub(super) fn has_more(&self) -> bool {
        !self.piece.is_empty()
    }

    /// The next line, `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(u64, Line)> {
        if self.piece.is_empty() {
            self.piece = self.pieces.recv().await?.into();
        }
        self.number = self.number.saturating_add(1);
        Some((self.number, self.piece.pop_front()?))
    }
}

/// Lines up to a number or size; at least one, and no more than there are without waiting. `None` at the end.
fn next_piece<R: Read>(from: &mut BufReader<R>) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    loop {
        match next_line(from) {
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
        // What has not come yet is not waited for: a person may have typed this line.
        let is_more_there = from.buffer().contains(&b'\n');
        if lines.len() >= LINES || bytes >= BYTES || !is_more_there {
            break;
        }
    }
    (!lines.is_empty()).then_some(lines)
}

/// The next line without its end; the last one need not have any.
fn next_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one line at a time, and fails a test that asks for more than it needs.
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
            let piece = next_piece(&mut from).unwrap();
            assert_eq!(piece.len(), 1);
            assert_eq!(piece[0].as_ref().unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn lines_come_whole_and_the_last_needs_no_end() {
        let mut from = BufReader::with_capacity(4, &b"one\n\ntwo\r\nthree"[..]);
        let mut lines = Vec::new();
        while let Some(piece) = next_piece(&mut from) {
            lines.extend(piece.into_iter().map(Result::unwrap));
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two\r", b"three"]);
        assert!(next_piece(&mut BufReader::new(&b""[..])).is_none());
    }
}
