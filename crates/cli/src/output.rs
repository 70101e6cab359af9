//! Stdout with one buffer, written in large pieces.

use std::io::{self, IsTerminal, Write};

use crate::text::table::Sheet;

/// The size at which the buffer is written.
const FULL: usize = 256 << 10;

/// Data on its way to stdout.
pub(crate) struct Output {
    buffer: Vec<u8>,
    to: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { buffer: Vec::with_capacity(FULL), to: unbuffered(stdout), terminal }
    }

    /// Whether stdout is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the buffer if it is full.
    pub(crate) fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Writes everything. Afterwards the reader has it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.to.write_all(&self.buffer)?;
        self.to.flush()?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes an object as a line.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        // Writing a `Value` as text cannot fail.
        self.buffer.extend_from_slice(value.to_string().as_bytes());
        self.buffer.push(b'\n');
    }

    pub(crate) fn sheet(&mut self, sheet: &Sheet) {
        sheet.push(&mut self.buffer);
    }
}

/// Rust's stdout has a line buffer of its own; ours is enough.
#[cfg(unix)]
fn unbuffered(stdout: io::Stdout) -> Box<dyn Write> {
    use std::os::fd::AsFd;
    match stdout.as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(Waiting(fd.into())),
        Err(_) => Box::new(stdout),
    }
}

#[cfg(not(unix))]
fn unbuffered(stdout: io::Stdout) -> Box<dyn Write> {
    Box::new(stdout)
}

/// A file that is waited for if it accepts nothing at once: another process that shares it may have made it
/// non-blocking.
#[cfg(unix)]
struct Waiting(std::fs::File);

#[cfg(unix)]
impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::disallowed_methods, reason = "a reader has a thread of its own")]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream, thread};

    use super::*;

    #[test]
    fn bytes_that_a_pipe_cannot_take_at_once_are_written_later() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let bytes: Vec<u8> = (0..8 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
        let read = thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        let mut to = Waiting(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        to.write_all(&bytes).unwrap();
        drop(to);
        assert!(read.join().unwrap() == bytes);
    }
}
